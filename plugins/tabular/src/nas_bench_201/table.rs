//! The table: what the published trainings of each cell came to, read from a CSV file.
//!
//! 15,625 cells of 11 columns are 1.4 MB, where the published interface needs gigabytes.

use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;
use pleach_sdk::{Error, Result};

use super::cell::{CELLS, number_of, parse};
use crate::shared::Shared;

/// The columns of a table that are used, beside `arch` and `index`.
pub const COLUMNS: [&str; 11] = [
    "cifar10_train_seconds_per_epoch",
    "cifar10_valid_seconds",
    "cifar10_valid_12",
    "cifar100_valid_12",
    "imagenet16_valid_12",
    "cifar10_valid_200",
    "cifar100_valid_200",
    "imagenet16_valid_200",
    "cifar10_test_200",
    "cifar100_test_200",
    "imagenet16_test_200",
];

/// Numbers of cells, by column and by the cell's number.
pub(super) struct Table(Vec<Vec<f64>>);

static TABLES: Shared<Table> = Shared::new();

impl Table {
    /// The table of a file; one copy serves the whole process.
    pub(super) fn open(path: &Path) -> Result<std::sync::Arc<Table>> {
        TABLES.get(path, |path| {
            let mut columns = vec![vec![f64::NAN; CELLS]; COLUMNS.len()];
            let mut seen = vec![false; CELLS];
            for row in Rows::open(path, "arch", &COLUMNS)? {
                let row = row?;
                let cell = parse(&row.key)
                    .ok_or_else(|| row.wrong(path, &format!("`{}` is no cell of NAS-Bench-201", row.key)))?;
                let number = number_of(&cell);
                if std::mem::replace(&mut seen[number], true) {
                    return Err(row.wrong(path, &format!("the cell {} is there a second time", row.key)));
                }
                for (column, value) in columns.iter_mut().zip(row.values) {
                    column[number] = value;
                }
            }
            check_count(path, &seen)?;
            Ok(Table(columns))
        })
    }

    /// A column by its name in [`COLUMNS`].
    pub(super) fn column(&self, name: &str) -> Result<&[f64]> {
        let index = COLUMNS.iter().position(|known| *known == name);
        index.map(|index| self.0[index].as_slice()).ok_or_else(|| Error::failed(format!("the table has no `{name}`")))
    }
}

/// A table must tell of every cell.
pub(super) fn check_count(path: &Path, seen: &[bool]) -> Result<()> {
    let count = seen.iter().filter(|seen| **seen).count();
    if count == CELLS {
        return Ok(());
    }
    Err(wrong(path, &format!("the file ends after {count} cells of {CELLS}; fetch it again")))
}

pub(super) fn wrong(path: &Path, why: &str) -> Error {
    Error::config(format!("{}: {why}", path.display())).at("/table")
}

/// A line of a file.
pub(super) struct Row {
    line: u64,
    /// What stands in the column that names the cell.
    pub(super) key: String,
    /// The wanted columns, in the order in which they were asked for.
    pub(super) values: Vec<f64>,
}

impl Row {
    /// An error about this line.
    pub(super) fn wrong(&self, path: &Path, why: &str) -> Error {
        wrong(path, &format!("line {}: {why}", self.line))
    }
}

/// The lines of a CSV file, plain or packed with gzip.
pub(super) struct Rows<'a> {
    path: &'a Path,
    reader: csv::Reader<Box<dyn Read>>,
    record: csv::StringRecord,
    key: usize,
    columns: Vec<(usize, &'a str)>,
    /// The last line that could be read.
    line: u64,
}

impl<'a> Rows<'a> {
    /// Opens a file and finds the columns that are wanted.
    pub(super) fn open(path: &'a Path, key: &str, wanted: &[&'a str]) -> Result<Self> {
        let file = File::open(path).map_err(|error| wrong(path, &format!("failed to open the table: {error}")))?;
        let is_packed = path.extension().is_some_and(|extension| extension == "gz");
        let bytes: Box<dyn Read> = if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let mut reader = csv::Reader::from_reader(bytes);
        let header =
            reader.headers().map_err(|error| wrong(path, &format!("failed to read the table: {error}")))?.clone();
        if header.is_empty() {
            return Err(wrong(path, "the file is empty"));
        }
        let position = |name: &str| {
            header.iter().position(|known| known == name).ok_or_else(|| {
                let first: Vec<&str> = header.iter().take(4).collect();
                let first: String = first.join(", ").chars().take(80).collect();
                wrong(path, &format!("line 1: there is no column `{name}`; the file begins with `{first}`"))
            })
        };
        let key = position(key)?;
        let columns = wanted.iter().map(|name| Ok((position(name)?, *name))).collect::<Result<_>>()?;
        Ok(Rows { path, reader, record: csv::StringRecord::new(), key, columns, line: 1 })
    }

    /// The names of all columns.
    pub(super) fn header(&mut self) -> Result<Vec<String>> {
        let header = self.reader.headers().map_err(|error| wrong(self.path, &error.to_string()))?;
        Ok(header.iter().map(str::to_owned).collect())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        match self.reader.read_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                let line = self.line;
                return Some(Err(wrong(self.path, &format!("failed to read on after line {line}: {error}"))));
            }
        }
        self.line = self.record.position().map_or(self.line + 1, csv::Position::line);
        let mut row = Row { line: self.line, key: self.record[self.key].to_owned(), values: Vec::new() };
        for (index, name) in &self.columns {
            match self.record[*index].parse::<f64>() {
                Ok(value) if value.is_finite() => row.values.push(value),
                _ => {
                    let found = &self.record[*index];
                    return Some(Err(row.wrong(self.path, &format!("`{name}` is `{found}`, which is no number"))));
                }
            }
        }
        Some(Ok(row))
    }
}
