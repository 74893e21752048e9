//! The data set `datasets/idx`: MNIST, Fashion-MNIST and whatever else comes in IDX files
//! (LeCun et al. 1998), gzipped or not.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use flate2::read::GzDecoder;
use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Error, Result, Shape, Split,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::{cifar::check_folder, request};

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "pleach_sdk::schemars")]
pub struct IdxConfig {
    /// The folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of
    /// `t10k`, each with or without `.gz`.
    pub root: PathBuf,
    /// The names of the classes, label 0 first.
    #[serde(default = "digits")]
    #[schemars(length(min = 2, max = 256))]
    pub classes: Vec<String>,
}

fn digits() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// Grey images in IDX files.
pub struct Idx {
    info: DatasetInfo,
    train: Pair,
    test: Pair,
}

/// Images and labels of a split, read when the first is asked for.
struct Pair {
    images: IdxFile,
    labels: IdxFile,
    /// Labels are below this.
    classes: usize,
    data: OnceLock<Result<(Vec<u8>, Vec<u8>)>>,
}

/// A file and what its header says.
struct IdxFile {
    path: PathBuf,
    /// Sizes of dimensions: images, and rows and columns.
    dimensions: Vec<u32>,
}

impl Component for Idx {
    type Config = IdxConfig;
    const NAME: &'static str = "idx";
    const SUMMARY: &'static str = "MNIST, Fashion-MNIST and others from IDX files";
    const NEEDS: &'static str = "files of MNIST or in its format";

    fn example() -> IdxConfig {
        IdxConfig { root: PathBuf::from("data/mnist"), classes: digits() }
    }
}

impl BuildDataset for Idx {
    fn build(config: IdxConfig, _: &Context) -> Result<Self> {
        let wrong = |message: String| Error::config(message).at("/root");
        check_folder(&config.root).map_err(wrong)?;
        let pair = |name: &str| -> std::result::Result<Pair, String> {
            let images = IdxFile::open(&config.root, &format!("{name}-images-idx3-ubyte"), 3)?;
            let labels = IdxFile::open(&config.root, &format!("{name}-labels-idx1-ubyte"), 1)?;
            if images.dimensions[0] != labels.dimensions[0] {
                return Err(format!(
                    "{} has {} images, {} has {} labels",
                    images.path.display(),
                    images.dimensions[0],
                    labels.path.display(),
                    labels.dimensions[0]
                ));
            }
            Ok(Pair { images, labels, classes: config.classes.len(), data: OnceLock::new() })
        };
        let (train, test) = (pair("train").map_err(wrong)?, pair("t10k").map_err(wrong)?);
        if train.images.dimensions[1..] != test.images.dimensions[1..] {
            return Err(wrong(format!(
                "training images have {:?} pixels, test images {:?}",
                &train.images.dimensions[1..],
                &test.images.dimensions[1..]
            )));
        }
        let info = DatasetInfo {
            name: config.root.file_name().map_or("IDX".to_owned(), |name| name.to_string_lossy().into_owned()),
            shape: Shape { channels: 1, height: train.images.dimensions[1], width: train.images.dimensions[2] },
            classes: config.classes,
            train: u64::from(train.images.dimensions[0]),
            test: u64::from(test.images.dimensions[0]),
            views: false,
        };
        Ok(Idx { info, train, test })
    }
}

impl Dataset for Idx {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        request::check(&self.info, split, indices, images, labels)?;
        let pair = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        let (pixels, classes) = pair.data.get_or_init(|| pair.read()).as_ref().map_err(Clone::clone)?;
        let size = self.info.image_bytes();
        for (index, (image, label)) in indices.iter().zip(images.chunks_exact_mut(size).zip(labels)) {
            let index = *index as usize;
            image.copy_from_slice(&pixels[index * size..][..size]);
            *label = u32::from(classes[index]);
        }
        Ok(())
    }
}

impl Pair {
    fn read(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let images = self.images.read().map_err(Error::failed)?;
        let labels = self.labels.read().map_err(Error::failed)?;
        match labels.iter().position(|label| usize::from(*label) >= self.classes) {
            Some(wrong) => Err(Error::failed(format!(
                "label {wrong} of {} is {}, there are {} classes",
                self.labels.path.display(),
                labels[wrong],
                self.classes
            ))),
            None => Ok((images, labels)),
        }
    }
}

impl IdxFile {
    /// Finds a file and reads its header.
    fn open(root: &Path, name: &str, dimensions: usize) -> std::result::Result<Self, String> {
        let candidates = [root.join(name), root.join(format!("{name}.gz"))];
        let Some(path) = candidates.iter().find(|path| path.is_file()) else {
            return Err(format!("{} has neither {name} nor {name}.gz", root.display()));
        };
        let mut header = vec![0; 4 + 4 * dimensions];
        let mut reader = open(path)?;
        let unreadable = |error: std::io::Error| format!("failed to read the header of {}: {error}", path.display());
        reader.read_exact(&mut header).map_err(unreadable)?;
        // Two zero bytes, the type of values (8: unsigned bytes), the number of dimensions.
        if header[..4] != [0, 0, 8, dimensions as u8] {
            return Err(format!(
                "{} begins with {:?}, an IDX file of bytes in {dimensions} dimensions with [0, 0, 8, {dimensions}]",
                path.display(),
                &header[..4]
            ));
        }
        let dimensions: Vec<u32> =
            header[4..].chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]])).collect();
        let is_sound = dimensions.iter().all(|size| *size > 0) && dimensions.iter().skip(1).all(|size| *size <= 4096);
        if !is_sound {
            return Err(format!("the header of {} speaks of {dimensions:?} values", path.display()));
        }
        Ok(IdxFile { path: path.clone(), dimensions })
    }

    /// Reads all values; a file with more or fewer than its header says is damaged.
    fn read(&self) -> std::result::Result<Vec<u8>, String> {
        let count = self.dimensions.iter().map(|size| *size as usize).product::<usize>();
        let mut reader = open(&self.path)?;
        let mut bytes = Vec::new();
        let most = (4 + 4 * self.dimensions.len() + count + 1) as u64;
        let read = reader.by_ref().take(most).read_to_end(&mut bytes);
        read.map_err(|error| format!("failed to read {}: {error}", self.path.display()))?;
        bytes.drain(..(4 + 4 * self.dimensions.len()).min(bytes.len()));
        match bytes.len().cmp(&count) {
            std::cmp::Ordering::Equal => Ok(bytes),
            std::cmp::Ordering::Less => {
                Err(format!("{} is cut off: it has {} of {count} values", self.path.display(), bytes.len()))
            }
            std::cmp::Ordering::Greater => {
                Err(format!("{} has more than the {count} values of its header", self.path.display()))
            }
        }
    }
}

fn open(path: &Path) -> std::result::Result<Box<dyn Read>, String> {
    let file = File::open(path).map_err(|error| format!("failed to open {}: {error}", path.display()))?;
    let is_zipped = path.extension().is_some_and(|ending| ending == "gz");
    Ok(if is_zipped { Box::new(GzDecoder::new(BufReader::new(file))) } else { Box::new(BufReader::new(file)) })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};
    use pleach_sdk::{
        conformance::{self, Surroundings},
        serde_json::json,
    };

    use super::*;

    fn file(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    /// Three training images of 2 x 3 pixels, zipped, and two test images, not zipped.
    fn excerpt() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).expect("it can be written");
        let pixels = |count: u8| (0..count * 6).collect::<Vec<u8>>();
        write("train-images-idx3-ubyte.gz", zipped(&file(&[3, 2, 3], &pixels(3))));
        write("train-labels-idx1-ubyte.gz", zipped(&file(&[3], &[7, 8, 9])));
        write("t10k-images-idx3-ubyte", file(&[2, 2, 3], &pixels(2)));
        write("t10k-labels-idx1-ubyte", file(&[2], &[1, 2]));
        folder
    }

    fn open_at(folder: &Path) -> Result<Idx> {
        Idx::build(IdxConfig { root: folder.to_owned(), classes: digits() }, &Context::default())
    }

    #[test]
    fn images_and_labels_are_read_zipped_or_not() {
        let folder = excerpt();
        let data = open_at(folder.path()).expect("the files are whole");
        assert_eq!(data.info().shape, Shape { channels: 1, height: 2, width: 3 });
        let check = |split, indices: &[u64], expected: &[u32]| {
            let (mut images, mut labels) = (vec![0; 6 * indices.len()], vec![0; indices.len()]);
            data.fetch(split, indices, &mut images, &mut labels).expect("the indices are there");
            assert_eq!(labels, expected);
            for (index, image) in indices.iter().zip(images.chunks(6)) {
                assert_eq!(image, (0..6).map(|pixel| (index * 6 + pixel) as u8).collect::<Vec<u8>>());
            }
        };
        check(Split::Train, &[2, 0], &[9, 7]);
        check(Split::Test, &[1], &[2]);
    }

    #[test]
    fn damage_is_named() {
        let check = |name: &str, bytes: Vec<u8>, expected: &str| {
            let folder = excerpt();
            fs::write(folder.path().join(name), bytes).expect("it can be written");
            let error = match open_at(folder.path()) {
                Err(error) => error,
                Ok(data) => data.fetch(Split::Test, &[0], &mut [0; 6], &mut [0]).expect_err(expected),
            };
            assert!(error.message.contains(expected), "{error}");
        };
        let images = "t10k-images-idx3-ubyte";
        check(images, file(&[2, 2, 3], &[0; 11]), "is cut off: it has 11 of 12 values");
        check(images, file(&[2, 2, 3], &[0; 13]), "has more than the 12 values");
        check(images, file(&[3, 2, 3], &[0; 18]), "has 3 images");
        check(images, file(&[2, 3, 3], &[0; 18]), "training images have [2, 3] pixels, test images [3, 3]");
        check(images, file(&[12], &[0; 12]), "begins with [0, 0, 8, 1]");
        check(images, vec![0; 3], "failed to read the header of");
        check("t10k-labels-idx1-ubyte", file(&[2], &[1, 10]), "label 1 of");
        check("train-images-idx3-ubyte.gz", b"no gzip".to_vec(), "failed to read the header of");
        let folder = excerpt();
        fs::remove_file(folder.path().join("train-labels-idx1-ubyte.gz")).expect("it is there");
        let error = open_at(folder.path()).err().expect("a file is missing");
        assert!(error.message.contains("neither train-labels-idx1-ubyte nor"), "{error}");
    }

    #[test]
    fn the_promises_of_a_data_set_are_kept() {
        let folder = excerpt();
        let config = json!({ "root": folder.path() });
        conformance::dataset::<Idx>(&Surroundings { config: Some(config), ..Surroundings::default() }).assert();
    }
}
