//! Latencies of the cells on many devices, by the number that the published table gives a cell.

use std::{collections::BTreeMap, path::Path};

use pleach_sdk::{Error, Result, unknown_name};

use super::{
    cell::{CELLS, number_of, parse},
    table::{Rows, check_count},
};
use crate::shared::Shared;

/// Milliseconds by device, and by the cell's number.
type Latencies = BTreeMap<String, Vec<f64>>;

static LATENCIES: Shared<Latencies> = Shared::new();

/// Milliseconds of each cell on a device, by the cell's number.
///
/// The file names cells by the published index; `table`, the file with the accuracies, says which
/// cell that is.
pub(super) fn read(path: &Path, device: &str, table: &Path) -> Result<Vec<f64>> {
    let latencies = LATENCIES.get(path, |path| read_all(path, &numbers(table)?));
    let latencies = latencies.map_err(|error| Error { place: Some("/latency/table".to_owned()), ..error })?;
    let known: Vec<&str> = latencies.keys().map(String::as_str).collect();
    let column = latencies.get(device);
    column.cloned().ok_or_else(|| Error::config(unknown_name("device", device, &known)).at("/latency/device"))
}

/// The number of the cell with each published index.
fn numbers(table: &Path) -> Result<Vec<Option<usize>>> {
    let mut numbers = vec![None; CELLS];
    for row in Rows::open(table, "arch", &["index"])? {
        let row = row?;
        let place = numbers.get_mut(row.values[0] as usize);
        let (Some(place), Some(cell)) = (place, parse(&row.key)) else {
            return Err(row.wrong(table, &format!("`{}` or its index is not of NAS-Bench-201", row.key)));
        };
        *place = Some(number_of(&cell));
    }
    Ok(numbers)
}

fn read_all(path: &Path, numbers: &[Option<usize>]) -> Result<Latencies> {
    let header = Rows::open(path, "index", &[])?.header()?;
    let devices: Vec<&str> = header.iter().map(String::as_str).filter(|name| *name != "index").collect();
    let mut columns = vec![vec![f64::NAN; CELLS]; devices.len()];
    let mut seen = vec![false; CELLS];
    for row in Rows::open(path, "index", &devices)? {
        let row = row?;
        let index = row.key.parse::<usize>().ok().filter(|index| *index < CELLS);
        let Some(number) = index.and_then(|index| numbers[index]).filter(|number| !seen[*number]) else {
            return Err(row.wrong(path, &format!("`{}` is no index of a cell, or is there a second time", row.key)));
        };
        seen[number] = true;
        for (column, value) in columns.iter_mut().zip(&row.values) {
            column[number] = *value;
        }
    }
    check_count(path, &seen)?;
    Ok(devices.into_iter().map(str::to_owned).zip(columns).collect())
}
