//! What a caller asks of a data set, checked once for all of them.

use pleach_sdk::{DatasetInfo, Error, Result, Split, VIEWS};

/// Checks that buffers and indices fit the data set.
///
/// # Errors
///
/// A buffer of another length than the indices need, or an index beyond the split.
pub(crate) fn check(info: &DatasetInfo, split: Split, indices: &[u64], images: &[u8], labels: &[u32]) -> Result<()> {
    let bytes = info.image_bytes() * indices.len();
    if images.len() != bytes || labels.len() != indices.len() {
        return Err(Error::failed(format!(
            "{} images of {} need {bytes} bytes and {} labels, the buffers have {} and {}",
            indices.len(),
            info.shape,
            indices.len(),
            images.len(),
            labels.len()
        )));
    }
    let views = if info.views && split == Split::Train { VIEWS + 1 } else { 1 };
    let there = info.len(split).saturating_mul(views);
    match indices.iter().find(|index| **index >= there) {
        Some(index) => Err(Error::failed(format!("index {index} is beyond the {there} images of {split:?}"))),
        None => Ok(()),
    }
}
