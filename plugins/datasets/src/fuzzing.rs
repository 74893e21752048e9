//! The reader of image files, for the fuzz target in `tests/fuzz/`, which is no part of this crate.

use crate::{ImageFolder, ImageFolderConfig, decode};
use pleach_sdk::{Component, Seed};

/// Whether an image can be read, and as an image folder cuts and resizes it: as it is judged, and as a
/// random view of it.
pub fn image(bytes: &[u8]) -> bool {
    let ImageFolderConfig { view_area, view_ratio, .. } = ImageFolder::example();
    let Ok(image) = decode::decode(bytes) else { return false };
    let mut target = vec![0; 3 * 16 * 16];
    let parts = [
        decode::centre(&image, 18, 16),
        decode::random_part(&image, view_area, view_ratio, &mut Seed(bytes.len() as u64).generator()),
    ];
    parts.into_iter().all(|part| decode::resize(&image, part, 16, &mut target).is_ok())
}
