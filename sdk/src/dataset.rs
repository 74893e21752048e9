//! Data sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{description::Shape, error::Result};

/// Labelled images of one shape.
///
/// The estimator calls it, from several threads at once. It holds no state that can be seen.
pub trait Dataset: Send + Sync {
    /// What there is.
    fn info(&self) -> &DatasetInfo;

    /// Copies images and labels into the caller's buffers.
    ///
    /// `images` has room for `indices.len()` images, each channel by channel, row by row, one
    /// byte a value; `labels` for as many class numbers. Indices may repeat and need no order.
    ///
    /// # Errors
    ///
    /// An index beyond the split, a buffer of the wrong length, a file that cannot be read or
    /// holds a label that is no class; the buffers may then hold anything. Ends the run with
    /// exit code 3.
    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()>;
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What networks learn from. Searches take their held-out images from here too.
    Train,
    /// What a finished network is judged by, once. A search never sees it.
    Test,
}

impl Split {
    /// The number that stands for it in the ABI.
    pub fn number(self) -> u32 {
        match self {
            Split::Train => 0,
            Split::Test => 1,
        }
    }

    /// The split of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Split::Train, Split::Test].into_iter().find(|split| split.number() == number)
    }
}

/// What a data set holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetInfo {
    /// What it is called in reports.
    pub name: String,
    /// The shape of every image.
    pub shape: Shape,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// Images in [`Split::Train`].
    pub train: u64,
    /// Images in [`Split::Test`].
    pub test: u64,
    /// Whether training images have random views, such as crops of different size and place.
    /// Then [`Split::Train`] also takes the indices `index + view * train` with a view from 1 to
    /// [`VIEWS`], the same view always being the same image; view 0 is the image as it is judged.
    #[serde(default)]
    pub views: bool,
}

/// The largest view number of a data set with [`DatasetInfo::views`].
pub const VIEWS: u64 = u32::MAX as u64;

impl DatasetInfo {
    /// The index of a view of a training image.
    pub fn view(&self, index: u64, view: u64) -> u64 {
        index + view * self.train
    }

    /// How many images a split holds.
    pub fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.train + self.test == 0
    }

    /// Bytes of one image.
    pub fn image_bytes(&self) -> usize {
        self.shape.channels as usize * self.shape.height as usize * self.shape.width as usize
    }
}
