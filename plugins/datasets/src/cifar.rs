//! CIFAR-10 in its published binary layout (Krizhevsky 2009): records of a label byte and
//! 1,024 red, 1,024 green and 1,024 blue bytes, row by row.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Error, Result, Shape, Split,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::request;

/// Bytes of one image.
pub const IMAGE_BYTES: usize = 3 * 32 * 32;
/// Bytes of one record: a label and an image.
pub const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
/// The files of the training split, in order, and that of the test split.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
const TRAINING_FILES: usize = 5;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Where CIFAR-10 is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "pleach_sdk::schemars")]
pub struct Cifar10Config {
    /// The folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    pub root: PathBuf,
    /// Records in each file: 10,000 as published; another number for excerpts.
    #[serde(default = "published_records")]
    #[schemars(range(min = 1, max = 10000))]
    pub records_per_file: u64,
}

fn published_records() -> u64 {
    10_000
}

/// CIFAR-10: 50,000 training and 10,000 test images of 32 x 32 pixels in 10 classes.
pub struct Cifar10 {
    info: DatasetInfo,
    files: Vec<BatchFile>,
    records_per_file: u64,
}

/// A file that is read when its first image is asked for.
struct BatchFile {
    path: PathBuf,
    records: OnceLock<Result<Vec<u8>>>,
}

impl Component for Cifar10 {
    type Config = Cifar10Config;
    const NAME: &'static str = "cifar10";
    const SUMMARY: &'static str = "CIFAR-10 from its binary files";

    fn example() -> Cifar10Config {
        Cifar10Config { root: PathBuf::from("data/cifar10"), records_per_file: published_records() }
    }
}

impl BuildDataset for Cifar10 {
    fn build(config: Cifar10Config, _: &Context) -> Result<Self> {
        let wrong = |message: String| {
            Error::config(format!("{message}; `bash examples/setup/cifar10.sh` gets the files")).at("/root")
        };
        if !config.root.is_dir() {
            let place = std::path::absolute(&config.root).unwrap_or_else(|_| config.root.clone());
            return Err(wrong(format!("there is no folder {}", place.display())));
        }
        let bytes = config.records_per_file * RECORD_BYTES as u64;
        let mut files = Vec::new();
        for name in FILES {
            let path = config.root.join(name);
            let metadata =
                fs::metadata(&path).map_err(|error| wrong(format!("failed to read {}: {error}", path.display())))?;
            if metadata.len() != bytes {
                return Err(wrong(format!(
                    "{} has {} bytes, {} records need {bytes}",
                    path.display(),
                    metadata.len(),
                    config.records_per_file
                )));
            }
            files.push(BatchFile { path, records: OnceLock::new() });
        }
        let info = DatasetInfo {
            name: "CIFAR-10".to_owned(),
            shape: Shape { channels: 3, height: 32, width: 32 },
            classes: CLASSES.map(str::to_owned).to_vec(),
            train: config.records_per_file * TRAINING_FILES as u64,
            test: config.records_per_file,
        };
        Ok(Cifar10 { info, files, records_per_file: config.records_per_file })
    }
}

impl Dataset for Cifar10 {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        request::check(&self.info, split, indices, images, labels)?;
        let first_file = match split {
            Split::Train => 0,
            Split::Test => TRAINING_FILES,
        };
        for ((index, image), label) in indices.iter().zip(images.chunks_exact_mut(IMAGE_BYTES)).zip(labels) {
            let file = &self.files[first_file + (index / self.records_per_file) as usize];
            let start = (index % self.records_per_file) as usize * RECORD_BYTES;
            let record = &file.records(self.records_per_file)?[start..start + RECORD_BYTES];
            *label = u32::from(record[0]);
            image.copy_from_slice(&record[1..]);
        }
        Ok(())
    }
}

impl BatchFile {
    fn records(&self, count: u64) -> Result<&[u8]> {
        self.records.get_or_init(|| read_records(&self.path, count)).as_deref().map_err(Clone::clone)
    }
}

/// Reads a file whole and checks every label.
fn read_records(path: &Path, count: u64) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| Error::failed(format!("failed to read {}: {error}", path.display())))?;
    if bytes.len() as u64 != count * RECORD_BYTES as u64 {
        return Err(Error::failed(format!("{} changed its size to {} bytes", path.display(), bytes.len())));
    }
    match bytes.chunks_exact(RECORD_BYTES).position(|record| usize::from(record[0]) >= CLASSES.len()) {
        Some(record) => Err(Error::failed(format!(
            "record {record} of {} has the label {}, labels are 0 to 9: the file is damaged or of another data set",
            path.display(),
            bytes[record * RECORD_BYTES]
        ))),
        None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six files of three records: the label is the record's number in its split modulo 10, each
    /// pixel byte says colour, row and column modulo 251 plus the number.
    fn excerpt() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, name) in FILES.iter().enumerate() {
            let mut bytes = Vec::new();
            for record in 0..3 {
                let number = if file < TRAINING_FILES { file * 3 + record } else { record };
                bytes.push((number % 10) as u8);
                bytes.extend((0..IMAGE_BYTES).map(|pixel| pixel_byte(number, pixel)));
            }
            fs::write(folder.path().join(name), bytes).expect("the file can be written");
        }
        folder
    }

    fn pixel_byte(number: usize, pixel: usize) -> u8 {
        ((pixel + number) % 251) as u8
    }

    fn open(folder: &Path) -> Result<Cifar10> {
        Cifar10::build(Cifar10Config { root: folder.to_owned(), records_per_file: 3 }, &Context::default())
    }

    #[test]
    fn images_come_from_the_right_record_of_the_right_file() {
        let folder = excerpt();
        let data = open(folder.path()).expect("the files are whole");
        assert_eq!((data.info().train, data.info().test), (15, 3));
        let check = |split, indices: &[u64]| {
            let mut images = vec![0; IMAGE_BYTES * indices.len()];
            let mut labels = vec![0; indices.len()];
            data.fetch(split, indices, &mut images, &mut labels).expect("the indices are there");
            for ((index, image), label) in indices.iter().zip(images.chunks(IMAGE_BYTES)).zip(labels) {
                assert_eq!(label, (index % 10) as u32);
                assert!(image.iter().enumerate().all(|(pixel, byte)| *byte == pixel_byte(*index as usize, pixel)));
            }
        };
        check(Split::Train, &[0, 14, 3, 3, 8]);
        check(Split::Test, &[2, 0]);
        check(Split::Test, &[]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = excerpt();
        let data = open(folder.path()).expect("the files are whole");
        let check = |split, indices: &[u64], images: usize, labels: usize, expected: &str| {
            let error = data.fetch(split, indices, &mut vec![0; images], &mut vec![0; labels]).expect_err(expected);
            assert!(error.message.contains(expected), "{error}");
        };
        check(Split::Test, &[3], IMAGE_BYTES, 1, "index 3 is beyond the 3 images of Test");
        check(Split::Train, &[0], IMAGE_BYTES - 1, 1, "the buffers have 3071 and 1");
        check(Split::Train, &[0], IMAGE_BYTES, 2, "the buffers have 3072 and 2");
    }

    #[test]
    fn broken_files_are_named() {
        let check = |damage: fn(&Path), expected: &str| {
            let folder = excerpt();
            damage(folder.path());
            let built = open(folder.path());
            let error = match built {
                Err(error) => error,
                Ok(data) => data
                    .fetch(Split::Train, &[4], &mut [0; IMAGE_BYTES], &mut [0])
                    .expect_err("the damage shows at the first image"),
            };
            assert!(error.message.contains(expected), "{error}");
        };
        check(|folder| fs::remove_dir_all(folder).expect("it is there"), "there is no folder");
        check(|folder| fs::remove_file(folder.join(FILES[4])).expect("it is there"), "data_batch_5.bin");
        check(
            |folder| fs::write(folder.join(FILES[0]), [0; 100]).expect("it can be written"),
            "data_batch_1.bin has 100 bytes, 3 records need 9219",
        );
        check(
            |folder| {
                let path = folder.join(FILES[1]);
                let mut bytes = fs::read(&path).expect("it is there");
                bytes[RECORD_BYTES] = 10;
                fs::write(path, bytes).expect("it can be written");
            },
            "record 1 of",
        );
    }
}
