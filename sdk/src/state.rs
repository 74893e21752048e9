//! The state of a strategy or an estimator as one JSON file in its checkpoint folder.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// The file in a component's checkpoint folder.
pub const FILE: &str = "state.json";

/// Writes a state into a component's checkpoint folder.
///
/// # Errors
///
/// A state that is no JSON (a map whose keys are no text), or a folder that cannot be written.
pub fn save(folder: &Path, state: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(state)
        .map_err(|error| Error::failed(format!("failed to write the state as JSON: {error}")))?;
    std::fs::write(folder.join(FILE), text).map_err(|error| Error::failed(format!("failed to write {FILE}: {error}")))
}

/// Reads what [`save`] wrote.
///
/// # Errors
///
/// A file that is missing, damaged, or of another version of the state.
pub fn load<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let text = std::fs::read_to_string(folder.join(FILE)).map_err(|error| unreadable(folder, error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(folder, error))
}

/// The error of a state that does not fit the component that reads it.
pub fn unreadable(folder: &Path, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("failed to read {}: {why}", folder.join(FILE).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        save(folder.path(), &vec![0.1, f64::MAX]).expect("the folder can be written");
        assert_eq!(load::<Vec<f64>>(folder.path()).expect("it was written"), [0.1, f64::MAX]);
        std::fs::write(folder.path().join(FILE), "[0.1").expect("the file can be written");
        let error = load::<Vec<f64>>(folder.path()).expect_err("the file is damaged");
        assert!(error.message.contains("state.json"), "{error}");
    }
}
