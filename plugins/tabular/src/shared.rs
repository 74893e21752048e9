//! Tables that several estimators of one process share: a comparison builds hundreds of them.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use pleach_sdk::{Error, Result};

/// What a file was when it was read.
type Stamp = (u64, Option<SystemTime>);

/// Tables by the file that they were read from.
pub(crate) struct Shared<T>(Mutex<BTreeMap<PathBuf, (Stamp, Arc<T>)>>);

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Shared(Mutex::new(BTreeMap::new()))
    }

    /// The table of a file, read again only where the file has changed.
    pub(crate) fn get(&self, path: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<Arc<T>> {
        let unreadable = |error: std::io::Error| {
            let way = match error.kind() {
                ErrorKind::NotFound => "; docs/benchmark-tables.md says where tables are from",
                _ => "",
            };
            Error::config(format!("failed to read the table {}: {error}{way}", path.display())).at("/table")
        };
        let found = std::fs::metadata(path).map_err(unreadable)?;
        let stamp = (found.len(), found.modified().ok());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, table)) = tables.get(path)
            && *known == stamp
        {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(read(path)?);
        tables.insert(path.to_owned(), (stamp, Arc::clone(&table)));
        Ok(table)
    }
}
