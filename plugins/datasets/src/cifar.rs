//! CIFAR-10 and CIFAR-100 in their published binary layouts (Krizhevsky 2009): records of a label
//! byte (CIFAR-100: a coarse one and a fine one) and 1,024 red, 1,024 green and 1,024 blue bytes,
//! row by row.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Error, Result, Shape, Split,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::records::{Layout, RecordFile, Records};

/// Bytes of one image.
pub const IMAGE_BYTES: usize = 3 * 32 * 32;
/// Bytes of one record of CIFAR-10: a label and an image.
pub const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
/// The files of CIFAR-10's training split, in order, and that of its test split.
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
const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };

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
pub struct Cifar10(Records);

impl Component for Cifar10 {
    type Config = Cifar10Config;
    const NAME: &'static str = "cifar10";
    const SUMMARY: &'static str = "CIFAR-10 from its binary files";
    const NEEDS: &'static str = "the files of CIFAR-10; `bash examples/setup/cifar10.sh` gets them";

    fn example() -> Cifar10Config {
        Cifar10Config { root: PathBuf::from("data/cifar10"), records_per_file: published_records() }
    }
}

impl BuildDataset for Cifar10 {
    fn build(config: Cifar10Config, _: &Context) -> Result<Self> {
        let wrong = |message: String| {
            Error::config(format!("{message}; `bash examples/setup/cifar10.sh` gets the files")).at("/root")
        };
        check_folder(&config.root).map_err(wrong)?;
        let layout = Layout { label: 0, header: 1, image: IMAGE_BYTES, classes: CLASSES.len() };
        let open = |name: &str| RecordFile::open(config.root.join(name), layout, config.records_per_file);
        let (train, test) = FILES.split_at(TRAINING_FILES);
        let files = |names: &[&str]| names.iter().map(|name| open(name)).collect::<std::result::Result<Vec<_>, _>>();
        let info = DatasetInfo {
            name: "CIFAR-10".to_owned(),
            shape: SHAPE,
            classes: CLASSES.map(str::to_owned).to_vec(),
            train: config.records_per_file * TRAINING_FILES as u64,
            test: config.records_per_file,
            views: false,
        };
        Ok(Cifar10(Records::new(info, files(train).map_err(wrong)?, files(test).map_err(wrong)?)))
    }
}

impl Dataset for Cifar10 {
    fn info(&self) -> &DatasetInfo {
        self.0.info()
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        self.0.fetch(split, indices, images, labels)
    }
}

/// Where CIFAR-100 is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "pleach_sdk::schemars")]
pub struct Cifar100Config {
    /// The folder with `train.bin` and `test.bin`, and the names of the classes in
    /// `fine_label_names.txt` and `coarse_label_names.txt` (without these they are numbers).
    pub root: PathBuf,
    /// Which labels.
    #[serde(default)]
    pub labels: Labels,
    /// Records in `train.bin`: 50,000 as published; another number for excerpts.
    #[serde(default = "published_training_records")]
    #[schemars(range(min = 1, max = 50000))]
    pub training_records: u64,
    /// Records in `test.bin`: 10,000 as published; another number for excerpts.
    #[serde(default = "published_records")]
    #[schemars(range(min = 1, max = 10000))]
    pub test_records: u64,
}

fn published_training_records() -> u64 {
    50_000
}

/// Which labels of CIFAR-100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Labels {
    /// 100 classes.
    #[default]
    Fine,
    /// 20 classes of classes.
    Coarse,
}

/// CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 pixels in 100 or 20 classes.
pub struct Cifar100(Records);

impl Component for Cifar100 {
    type Config = Cifar100Config;
    const NAME: &'static str = "cifar100";
    const SUMMARY: &'static str = "CIFAR-100 from its binary files";
    const NEEDS: &'static str = "the files of CIFAR-100";

    fn example() -> Cifar100Config {
        Cifar100Config {
            root: PathBuf::from("data/cifar100"),
            labels: Labels::Fine,
            training_records: published_training_records(),
            test_records: published_records(),
        }
    }
}

impl BuildDataset for Cifar100 {
    fn build(config: Cifar100Config, _: &Context) -> Result<Self> {
        let wrong = |message: String| {
            Error::config(format!(
                "{message}; unpack cifar-100-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) there"
            ))
            .at("/root")
        };
        check_folder(&config.root).map_err(wrong)?;
        let (label, classes, names) = match config.labels {
            Labels::Coarse => (0, 20, "coarse_label_names.txt"),
            Labels::Fine => (1, 100, "fine_label_names.txt"),
        };
        let layout = Layout { label, header: 2, image: IMAGE_BYTES, classes };
        let open = |name: &str, count| RecordFile::open(config.root.join(name), layout, count).map_err(wrong);
        let info = DatasetInfo {
            name: "CIFAR-100".to_owned(),
            shape: SHAPE,
            classes: class_names(&config.root.join(names), classes).map_err(wrong)?,
            train: config.training_records,
            test: config.test_records,
            views: false,
        };
        let train = open("train.bin", config.training_records)?;
        let test = open("test.bin", config.test_records)?;
        Ok(Cifar100(Records::new(info, vec![train], vec![test])))
    }
}

impl Dataset for Cifar100 {
    fn info(&self) -> &DatasetInfo {
        self.0.info()
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        self.0.fetch(split, indices, images, labels)
    }
}

/// A name on each line; numbers where the file is not there.
fn class_names(path: &Path, classes: usize) -> std::result::Result<Vec<String>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((0..classes).map(|class| class.to_string()).collect());
        }
        Err(error) => return Err(format!("failed to read {}: {error}", path.display())),
    };
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == classes {
        return Ok(names);
    }
    Err(format!("{} names {} classes, there are {classes}", path.display(), names.len()))
}

/// Checks that a folder is there.
pub(crate) fn check_folder(root: &Path) -> std::result::Result<(), String> {
    if root.is_dir() {
        return Ok(());
    }
    let place = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    Err(format!("there is no folder {}", place.display()))
}

#[cfg(test)]
mod tests {
    use pleach_sdk::{
        conformance::{self, Surroundings},
        serde_json::json,
    };

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

    /// CIFAR-100 of three training records and two test ones: coarse labels 0, 1, ..., fine ones
    /// 10 more.
    fn excerpt_of_hundred() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, count) in [("train.bin", 3), ("test.bin", 2)] {
            let mut bytes = Vec::new();
            for record in 0..count {
                bytes.extend([record as u8, record as u8 + 10]);
                bytes.extend((0..IMAGE_BYTES).map(|pixel| pixel_byte(record, pixel)));
            }
            fs::write(folder.path().join(name), bytes).expect("the file can be written");
        }
        folder
    }

    fn open_hundred(folder: &Path, labels: Labels) -> Result<Cifar100> {
        let config = Cifar100Config { root: folder.to_owned(), labels, training_records: 3, test_records: 2 };
        Cifar100::build(config, &Context::default())
    }

    #[test]
    fn cifar_100_has_coarse_and_fine_labels() {
        let folder = excerpt_of_hundred();
        let check = |labels, classes: usize, expected: [u32; 2]| {
            let data = open_hundred(folder.path(), labels).expect("the files are whole");
            assert_eq!(data.info().classes.len(), classes);
            let (mut images, mut found) = (vec![0; 2 * IMAGE_BYTES], vec![0; 2]);
            data.fetch(Split::Train, &[2, 1], &mut images, &mut found).expect("the records are there");
            assert_eq!(found, expected);
            assert!(images[..IMAGE_BYTES].iter().enumerate().all(|(pixel, byte)| *byte == pixel_byte(2, pixel)));
        };
        check(Labels::Coarse, 20, [2, 1]);
        check(Labels::Fine, 100, [12, 11]);
    }

    #[test]
    fn names_of_classes_are_read_where_they_are() {
        let folder = excerpt_of_hundred();
        let names: Vec<String> = (0..20).map(|class| format!("superclass_{class}")).collect();
        let path = folder.path().join("coarse_label_names.txt");
        fs::write(&path, names.join("\n") + "\n\n").expect("the file can be written");
        let data = open_hundred(folder.path(), Labels::Coarse).expect("the files are whole");
        assert_eq!(data.info().classes, names);
        fs::write(&path, "one\ntwo").expect("the file can be written");
        let error = open_hundred(folder.path(), Labels::Coarse).err().expect("names are missing");
        assert!(error.message.contains("names 2 classes, there are 20"), "{error}");
    }

    #[test]
    fn a_label_beyond_the_classes_is_no_image_of_cifar_100() {
        let folder = excerpt_of_hundred();
        let path = folder.path().join("test.bin");
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[1] = 100;
        fs::write(&path, bytes).expect("it can be written");
        let data = open_hundred(folder.path(), Labels::Fine).expect("the sizes are right");
        let error = data.fetch(Split::Test, &[1], &mut [0; IMAGE_BYTES], &mut [0]).expect_err("a label is wrong");
        assert!(error.message.contains("record 0 of") && error.message.contains("the label 100"), "{error}");
        fs::write(&path, [0; 10]).expect("it can be written");
        let error = open_hundred(folder.path(), Labels::Fine).err().expect("the file is cut off");
        assert!(error.message.contains("test.bin has 10 bytes, 2 records need 6148"), "{error}");
    }

    #[test]
    fn the_published_first_record_is_read_as_published() {
        let folder = std::env::var_os("PLEACH_TEST_DATA")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
        let record = folder.join("cifar-100/train_first_record.bin");
        let Ok(bytes) = fs::read(&record) else {
            eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", record.display());
            return;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["train.bin", "test.bin"] {
            fs::write(folder.path().join(name), &bytes).expect("the file can be written");
        }
        for (labels, expected) in [(Labels::Coarse, 11), (Labels::Fine, 19)] {
            let config =
                Cifar100Config { root: folder.path().to_owned(), labels, training_records: 1, test_records: 1 };
            let data = Cifar100::build(config, &Context::default()).expect("it is a record");
            let (mut image, mut label) = (vec![0; IMAGE_BYTES], [0]);
            data.fetch(Split::Train, &[0], &mut image, &mut label).expect("it is there");
            assert_eq!((label[0], &image[IMAGE_BYTES - 3..]), (expected, [10, 59, 79].as_slice()));
        }
    }

    #[test]
    fn the_promises_of_a_data_set_are_kept() {
        let folder = excerpt();
        let config = json!({ "root": folder.path(), "records_per_file": 3 });
        conformance::dataset::<Cifar10>(&Surroundings { config: Some(config), ..Surroundings::default() }).assert();
        let folder = excerpt_of_hundred();
        let config = json!({ "root": folder.path(), "training_records": 3, "test_records": 2 });
        conformance::dataset::<Cifar100>(&Surroundings { config: Some(config), ..Surroundings::default() }).assert();
    }
}
