//! Readers of files that a run leaves, for the fuzz targets in `tests/fuzz/`, which are no part of this
//! crate.

use std::path::Path;

use crate::{books::Books, checkpoint, journal, resume::Record};

/// Whether a text is what a checkpoint keeps of the host.
pub fn host_state(text: &str) -> bool {
    serde_json::from_str::<Books>(text).is_ok()
}

/// Whether a folder of checkpoints has a whole one.
pub fn last_checkpoint(folder: &Path) -> bool {
    checkpoint::last_whole(folder, 1000).is_ok_and(|found| found.checkpoint.is_some())
}

/// Whether a text is a journal.
pub fn journal(text: &str) -> bool {
    journal::parse(text.as_bytes(), 1).iter().all(Result::is_ok)
}

/// Whether a text is the record of a run.
pub fn record(text: &str) -> bool {
    serde_json::from_str::<Record>(text).is_ok()
}
