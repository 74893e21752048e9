//! Files of records of one length: a few label bytes, then an image.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use pleach_sdk::{Dataset, DatasetInfo, Error, Result, Split};

use crate::request;

/// What a record looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Which byte is the label.
    pub(crate) label: usize,
    /// Bytes before the image.
    pub(crate) header: usize,
    /// Bytes of the image: channel by channel, row by row.
    pub(crate) image: usize,
    /// Labels are below this.
    pub(crate) classes: usize,
}

impl Layout {
    fn record(self) -> usize {
        self.header + self.image
    }
}

/// Labelled images in files of records.
pub(crate) struct Records {
    info: DatasetInfo,
    train: Vec<RecordFile>,
    test: Vec<RecordFile>,
}

/// A file that is read when its first image is asked for.
pub(crate) struct RecordFile {
    path: PathBuf,
    layout: Layout,
    count: u64,
    bytes: OnceLock<Result<Vec<u8>>>,
}

impl Records {
    /// Data from files that were opened before; `info` says how many records there are.
    pub(crate) fn new(info: DatasetInfo, train: Vec<RecordFile>, test: Vec<RecordFile>) -> Self {
        Records { info, train, test }
    }
}

impl Dataset for Records {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        request::check(&self.info, split, indices, images, labels)?;
        let files = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        let buffers = images.chunks_exact_mut(self.info.image_bytes()).zip(labels);
        for (index, (image, label)) in indices.iter().zip(buffers) {
            let mut record = *index;
            for file in files {
                if record < file.count {
                    file.copy(record as usize, image, label)?;
                    break;
                }
                record -= file.count;
            }
        }
        Ok(())
    }
}

impl RecordFile {
    /// Checks that the file is there and has `count` records. Reads none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(crate) fn open(path: PathBuf, layout: Layout, count: u64) -> std::result::Result<Self, String> {
        let metadata = fs::metadata(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        let needed = count * layout.record() as u64;
        if metadata.len() != needed {
            return Err(format!("{} has {} bytes, {count} records need {needed}", path.display(), metadata.len()));
        }
        Ok(RecordFile { path, layout, count, bytes: OnceLock::new() })
    }

    fn copy(&self, record: usize, image: &mut [u8], label: &mut u32) -> Result<()> {
        let bytes = self.bytes.get_or_init(|| self.read()).as_ref().map_err(Clone::clone)?;
        let record = &bytes[record * self.layout.record()..][..self.layout.record()];
        *label = u32::from(record[self.layout.label]);
        image.copy_from_slice(&record[self.layout.header..]);
        Ok(())
    }

    /// Reads the file whole and checks every label.
    fn read(&self) -> Result<Vec<u8>> {
        let Layout { label, classes, .. } = self.layout;
        let bytes = read(&self.path)?;
        if bytes.len() as u64 != self.count * self.layout.record() as u64 {
            return Err(Error::failed(format!("{} changed its size to {} bytes", self.path.display(), bytes.len())));
        }
        let wrong = bytes.chunks_exact(self.layout.record()).position(|record| usize::from(record[label]) >= classes);
        match wrong {
            Some(record) => Err(Error::failed(format!(
                "record {record} of {} has the label {}, labels are 0 to {}: the file is damaged or of another data set",
                self.path.display(),
                bytes[record * self.layout.record() + label],
                classes - 1
            ))),
            None => Ok(bytes),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::failed(format!("failed to read {}: {error}", path.display())))
}
