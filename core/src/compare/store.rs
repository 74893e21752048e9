//! `searches.jsonl`: what each search of a comparison came to, a line for each, and for each
//! variant what it is made of. A comparison that was interrupted goes on from it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Searched;
use crate::{
    error::{Error, Result},
    run::{Lock, failed},
};

const FILE: &str = "searches.jsonl";

/// Lines that come faster than this are put on the disk together.
const BETWEEN_SYNCS: Duration = Duration::from_secs(1);

/// What a variant is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VariantRecord {
    pub(super) name: String,
    /// The resolved configuration without what may change.
    pub(super) config: Value,
    pub(super) plugins: Vec<Value>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Variant(VariantRecord),
    Search(Searched),
}

/// Results that are kept.
pub(super) struct Store {
    folder: PathBuf,
    file: File,
    variants: Vec<VariantRecord>,
    searches: Vec<Searched>,
    known: BTreeSet<(String, u64)>,
    synced: Instant,
    _lock: Lock,
}

impl Store {
    /// Opens the folder of a comparison, or begins one.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written, another process's, one with other things, or a line that
    /// is damaged.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        if !path.is_file() && !is_empty {
            return Err(Error::RunDirectory {
                path: folder.to_owned(),
                message: format!("the folder is in use and holds no comparison: there is no {FILE}"),
            });
        }
        fs::create_dir_all(folder).map_err(|error| failed(folder, "make", &error))?;
        let lock = Lock::take(folder)?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|error| failed(&path, "open", &error))?;
        let (variants, searches, known) = (Vec::new(), Vec::new(), BTreeSet::new());
        let folder = folder.to_owned();
        let mut store = Store { folder, file, variants, searches, known, synced: Instant::now(), _lock: lock };
        store.read(&path)?;
        Ok(store)
    }

    /// Reads what is there. A last line that was not finished goes.
    fn read(&mut self, path: &Path) -> Result<()> {
        let text = fs::read(path).map_err(|error| failed(path, "read", &error))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            self.file.set_len(whole as u64).map_err(|error| failed(path, "cut", &error))?;
        }
        for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Line::Variant(variant)) => self.variants.push(variant),
                Ok(Line::Search(searched)) => self.remember(searched),
                Err(error) => {
                    return Err(Error::RunDirectory {
                        path: path.to_owned(),
                        message: format!("line {} is damaged: {error}; remove it to search once more", index + 1),
                    });
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, searched: Searched) {
        if self.known.insert((searched.variant.clone(), searched.seed)) {
            self.searches.push(searched);
        }
    }

    /// Notes what a variant is made of.
    ///
    /// # Errors
    ///
    /// Results of a variant of this name that was made of something else.
    pub(super) fn add_variant(&mut self, variant: VariantRecord) -> Result<()> {
        let Some(known) = self.variants.iter().find(|known| known.name == variant.name) else {
            self.write(&Line::Variant(variant.clone()))?;
            self.variants.push(variant);
            return Ok(());
        };
        let hashes = |record: &VariantRecord| -> Vec<(Value, Value)> {
            record.plugins.iter().map(|plugin| (plugin["name"].clone(), plugin["sha256"].clone())).collect()
        };
        let changed = if known.config != variant.config {
            difference(&known.config, &variant.config, "").unwrap_or_default()
        } else if hashes(known) != hashes(&variant) {
            "its plugins are of another build".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::unusable(
            format!("{} has results of `{}`, which has changed: {changed}", self.folder.display(), variant.name),
            "give another --dir, or another name to what has changed",
        ))
    }

    /// Whether a search has its result.
    pub(super) fn has(&self, variant: &str, seed: u64) -> bool {
        self.known.contains(&(variant.to_owned(), seed))
    }

    /// Adds what a search came to.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn add(&mut self, searched: Searched) -> Result<()> {
        let line = Line::Search(searched);
        self.write(&line)?;
        if let Line::Search(searched) = line {
            self.remember(searched);
        }
        if self.synced.elapsed() > BETWEEN_SYNCS {
            self.sync()?;
        }
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let path = self.folder.join(FILE);
        let mut text = serde_json::to_vec(line).map_err(|error| failed(&path, "write", &error))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| failed(&path, "write", &error))
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(|error| failed(&self.folder.join(FILE), "sync", &error))
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every result, in no order.
    pub(super) fn searches(&self) -> &[Searched] {
        &self.searches
    }
}

/// The first key that differs, and how.
pub(crate) fn difference(one: &Value, other: &Value, key: &str) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort_unstable();
            let inner = |name: &&String| {
                let key = if key.is_empty() { (*name).clone() } else { format!("{key}.{name}") };
                difference(one.get(*name).unwrap_or(&Value::Null), other.get(*name).unwrap_or(&Value::Null), &key)
            };
            keys.iter().find_map(inner)
        }
        (one, other) if one == other => None,
        (one, other) => Some(format!("`{key}` was {one} and is {other}")),
    }
}
