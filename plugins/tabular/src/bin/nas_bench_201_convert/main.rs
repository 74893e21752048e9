//! Writes the table that `tabular/nas-bench-201` reads from the folder of pickles that NATS-Bench
//! publishes (`NATS-tss-v1_0-3ffb9-simple`: a bzip2-packed pickle for each cell), without Python.
//!
//! The one-file archives of NAS-Bench-201 (`.pth`) are PyTorch's own format and are not read.

mod pickle;

use std::{
    error::Error,
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bzip2::read::BzDecoder;
use flate2::{Compression, write::GzEncoder};
use pleach_tabular::COLUMNS;

use pickle::Value;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder, output] = arguments.as_slice() else {
        eprintln!("usage: pleach-nas-bench-201-convert NATS-tss-v1_0-3ffb9-simple OUTPUT.csv.gz");
        return ExitCode::from(2);
    };
    match convert(Path::new(folder), Path::new(output)) {
        Ok(cells) => {
            println!("{cells} cells are in {}", Path::new(output).display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed to convert NAS-Bench-201: {error}");
            ExitCode::from(3)
        }
    }
}

fn convert(folder: &Path, output: &Path) -> Result<usize, Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // `meta.pickle.pbz2` and whatever else lies there tells of no cell.
        if let Some(index) = name.strip_suffix(".pickle.pbz2").and_then(|number| number.parse().ok()) {
            files.push((index, path));
        }
    }
    if files.is_empty() {
        return Err(format!("{} has no file such as 000000.pickle.pbz2", folder.display()).into());
    }
    files.sort_unstable();
    let packed = GzEncoder::new(File::create(output)?, Compression::best());
    let mut writer = csv::Writer::from_writer(packed);
    writer.write_record(["index", "arch"].into_iter().chain(COLUMNS))?;
    for (index, path) in &files {
        let row = row(path).map_err(|why| format!("{}: {why}", path.display()))?;
        writer.write_record([&index.to_string()].into_iter().chain(&row))?;
    }
    writer.into_inner().map_err(|error| error.to_string())?.finish()?.sync_all()?;
    Ok(files.len())
}

/// The cell's name and its columns.
fn row(path: &Path) -> Result<Vec<String>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    BzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let schedules = pickle::read(&bytes)?;
    let name = schedule(&schedules, 12)?.get("arch_str").and_then(|name| name.text().map(str::to_owned));
    let mut row = vec![name.ok_or("there is no `arch_str`")?];
    for column in COLUMNS {
        let value = column_of(&schedules, column)?;
        row.push(format!("{}", (value * 1e5).round() / 1e5));
    }
    Ok(row)
}

/// What a column of the table is among the published numbers: the mean over the trainings of a
/// schedule.
fn column_of(schedules: &Value, column: &str) -> Result<f64, String> {
    if column == "cifar10_train_seconds_per_epoch" {
        return mean(schedules, 12, "cifar10-valid", |training| {
            let times = training.get("train_times")?.entries();
            let seconds: Option<f64> = times.iter().map(|(_, seconds)| seconds.number()).sum();
            Some(seconds? / times.len() as f64)
        });
    }
    if column == "cifar10_valid_seconds" {
        return mean(schedules, 12, "cifar10-valid", |training| {
            training.get("eval_times")?.get("x-valid@11")?.number()
        });
    }
    let mut parts = column.split('_');
    let (Some(data), Some(set), Some(epochs)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("the column `{column}` is not known"));
    };
    let epochs: u32 = epochs.parse().map_err(|_| format!("the column `{column}` is not known"))?;
    let (data, set) = match (data, set) {
        ("cifar10", "valid") => ("cifar10-valid", "x-valid"),
        ("cifar10", _) => ("cifar10", "ori-test"),
        ("cifar100", "valid") => ("cifar100", "x-valid"),
        ("cifar100", _) => ("cifar100", "x-test"),
        (_, "valid") => ("ImageNet16-120", "x-valid"),
        _ => ("ImageNet16-120", "x-test"),
    };
    let key = format!("{set}@{}", epochs - 1);
    mean(schedules, epochs, data, |training| training.get("eval_acc1es")?.get(&key)?.number())
        .map_err(|why| format!("`{column}`: {why}"))
}

/// The results of the schedule of so many epochs.
fn schedule(schedules: &Value, epochs: u32) -> Result<Value, String> {
    let wanted = epochs.to_string();
    let is_wanted = |key: &Value| key.text() == Some(&wanted) || key.number() == Some(f64::from(epochs));
    let found = schedules.entries().into_iter().find(|(key, _)| is_wanted(key));
    found.map(|(_, schedule)| schedule).ok_or_else(|| format!("there is no schedule of {epochs} epochs"))
}

/// The mean of a number over the trainings on a data set.
fn mean(schedules: &Value, epochs: u32, data: &str, number: impl Fn(&Value) -> Option<f64>) -> Result<f64, String> {
    let results = schedule(schedules, epochs)?.get("all_results").ok_or("there is no `all_results`")?;
    let mut numbers = Vec::new();
    for (key, training) in results.entries() {
        if key.values().first().and_then(Value::text) == Some(data) {
            let missing = || format!("a training of {epochs} epochs on {data} does not have the number");
            numbers.push(number(&training).filter(|number| number.is_finite()).ok_or_else(missing)?);
        }
    }
    if numbers.is_empty() {
        return Err(format!("there is no training of {epochs} epochs on {data}"));
    }
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two cells and the meta file, written by `nats_bench` 1.8 itself with made-up numbers, as
    /// `tests/write_nats_tss_simple.py` does it.
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nats-tss-simple");

    fn table(folder: &Path) -> Result<Vec<Vec<String>>, String> {
        let output = tempfile::tempdir().expect("a temporary folder");
        let path = output.path().join("table.csv.gz");
        convert(folder, &path).map_err(|error| error.to_string())?;
        let file = flate2::read::GzDecoder::new(File::open(path).expect("it was written"));
        let rows = csv::Reader::from_reader(file).into_records();
        Ok(rows.map(|row| row.expect("a whole row").iter().map(str::to_owned).collect()).collect())
    }

    #[test]
    fn numbers_are_those_that_the_published_code_reads() {
        let rows = table(Path::new(FOLDER)).expect("the files are whole");
        let expected = fs::read_to_string(Path::new(FOLDER).join("expected.csv")).expect("it is there");
        let expected: Vec<Vec<String>> =
            expected.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn damaged_and_foreign_files_are_named() {
        let check = |name: &str, bytes: &[u8], expected: &str| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            fs::write(folder.path().join(name), bytes).expect("it can be written");
            let error = table(folder.path()).expect_err(expected);
            assert!(error.contains(expected), "expected {expected}\nfound {error}");
        };
        let whole = fs::read(Path::new(FOLDER).join("000000.pickle.pbz2")).expect("it is there");
        check("other.txt", b"", "has no file such as 000000.pickle.pbz2");
        check("000000.pickle.pbz2", &whole[..whole.len() / 2], "000000.pickle.pbz2: ");
        check("000000.pickle.pbz2", b"no bzip2", "000000.pickle.pbz2: ");
        let packed = |bytes: &[u8]| {
            let mut packed = Vec::new();
            let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
            encoder.read_to_end(&mut packed).expect("memory can be read");
            packed
        };
        check("000000.pickle.pbz2", &packed(b"\x80\x04}."), "there is no schedule of 12 epochs");
        check("000000.pickle.pbz2", &packed(b"\x80\x04}"), "byte 3: the pickle ends too early");
        check("000000.pickle.pbz2", &packed(b"\x80\x04Z."), "the opcode 0x5a is not known");
    }
}
