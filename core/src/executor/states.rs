//! Folders in which workers leave the state of an estimator for others.

use std::{fs, path::Path};

use pleach_sdk::{Error, Result};

pub(super) fn make_anew(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritten(folder, &error)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))
}

/// Copies what is in a folder, and in folders below it, into another one that is there.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(|error| unwritten(from, &error))? {
        let path = entry.map_err(|error| unwritten(from, &error))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir(&target).map_err(|error| unwritten(&target, &error))?;
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|error| unwritten(&target, &error))?;
        }
    }
    Ok(())
}

pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("failed to copy the state of an estimator: {}: {error}", path.display()))
}
