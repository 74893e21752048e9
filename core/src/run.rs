//! The run directory: everything a run leaves behind, and how it is written.
//!
//! `docs/run-directory.md` describes the files. Events are appended and synced one by one;
//! every other file is written beside its place and renamed into it.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    assemble::Assembly,
    config::Config,
    error::{Error, Result},
    plugins::{Loaded, Registry, sha256_of},
};

/// The number of the run directory's format.
pub const RUN_FORMAT: u32 = 1;

/// How many checkpoints are kept.
const KEPT_CHECKPOINTS: usize = 2;

/// A run directory that is being written.
pub struct RunDirectory {
    path: PathBuf,
    events: File,
    next_event: u64,
    started: Instant,
}

impl RunDirectory {
    /// Makes the directory: `given`, or the first free `runs/<name>-<number>`.
    ///
    /// # Errors
    ///
    /// A directory that exists already and is not empty, or cannot be written.
    pub fn create(given: Option<&Path>, name: &str) -> Result<Self> {
        let path = make_directory(given, name)?;
        let events = path.join("events.jsonl");
        let events = File::options()
            .create_new(true)
            .append(true)
            .open(&events)
            .map_err(|error| failed(&events, "make", &error))?;
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(|error| failed(&checkpoints, "make", &error))?;
        Ok(RunDirectory { path, events, next_event: 0, started: Instant::now() })
    }

    /// Opens a directory that is there to append to its journal.
    ///
    /// # Errors
    ///
    /// A journal that cannot be read or written.
    pub fn open(path: &Path) -> Result<Self> {
        let journal = path.join("events.jsonl");
        let events = File::options().append(true).open(&journal).map_err(|error| failed(&journal, "open", &error))?;
        let text = fs::read_to_string(&journal).map_err(|error| failed(&journal, "read", &error))?;
        let next_event = text.lines().count() as u64;
        Ok(RunDirectory { path: path.to_owned(), events, next_event, started: Instant::now() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of its own.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write_renamed(&self.path.join(name), text.as_bytes())
    }

    /// Writes a document.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write_json(&self, name: &str, document: &impl Serialize) -> Result<()> {
        self.write(name, &(to_text(&self.path.join(name), document)? + "\n"))
    }

    /// Appends an event and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn event(&mut self, kind: &str, details: Value) -> Result<()> {
        let mut event = json!({
            "event": kind,
            "number": self.next_event,
            "at_seconds": (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        });
        if let (Value::Object(event), Value::Object(details)) = (&mut event, details) {
            event.extend(details);
        }
        let path = self.path.join("events.jsonl");
        self.events
            .write_all(format!("{event}\n").as_bytes())
            .and_then(|()| self.events.sync_data())
            .map_err(|error| failed(&path, "write", &error))?;
        self.next_event += 1;
        Ok(())
    }

    /// Writes a checkpoint: `fill` puts files into an empty folder, which then takes its place.
    ///
    /// Older checkpoints go, but for the last before this one.
    ///
    /// # Errors
    ///
    /// What `fill` or the file system says; the checkpoint before stays as it was.
    pub fn checkpoint(&self, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.path.join("checkpoints");
        let partial = folder.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| failed(&partial, "remove", &error))?;
        }
        fs::create_dir(&partial).map_err(|error| failed(&partial, "make", &error))?;
        fill(&partial)?;
        let done = folder.join(format!("step-{step:08}"));
        if done.exists() {
            fs::remove_dir_all(&done).map_err(|error| failed(&done, "replace", &error))?;
        }
        fs::rename(&partial, &done).map_err(|error| failed(&done, "write", &error))?;
        sync_folder(&folder)?;
        let mut kept = self.checkpoints()?;
        let surplus = kept.len().saturating_sub(KEPT_CHECKPOINTS);
        for old in kept.drain(..surplus) {
            fs::remove_dir_all(&old).map_err(|error| failed(&old, "remove", &error))?;
        }
        Ok(())
    }

    /// The checkpoints, oldest first.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.join("checkpoints");
        let entries = fs::read_dir(&folder).map_err(|error| failed(&folder, "read", &error))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("step-"))
            })
            .collect();
        found.sort();
        Ok(found)
    }
}

/// Makes a directory: `given`, or the first free `runs/<name>-<number>`.
///
/// # Errors
///
/// A directory that exists already and is not empty, or cannot be written.
pub fn make_directory(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let Some(path) = given else { return free_directory(name) };
    let is_used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if is_used || path.is_file() {
        return Err(Error::RunDirectory {
            path: path.to_owned(),
            message: "the run directory is in use: give one that does not exist or is empty".to_owned(),
        });
    }
    fs::create_dir_all(path).map_err(|error| failed(path, "make", &error))?;
    Ok(path.to_owned())
}

/// What a run was made of: enough to repeat it.
///
/// # Errors
///
/// A program file that cannot be read.
pub fn record(config: &Config, sets: &[String], assembly: &Assembly) -> Result<Value> {
    let program = std::env::current_exe().ok();
    Ok(json!({
        "format": RUN_FORMAT,
        "config": config,
        "set": sets,
        "seed": config.seed,
        "host": {
            "version": env!("CARGO_PKG_VERSION"),
            "abi": pleach_abi::ABI_MAJOR,
            "sha256": program.as_deref().map(sha256_of).transpose()?,
        },
        "plugins": plugins_record(&assembly.registry),
        "dataset": assembly.dataset.as_ref().map(|dataset| dataset.info().clone()),
    }))
}

/// What libraries a run uses.
pub fn plugins_record(registry: &Registry) -> Vec<Value> {
    let record = |loaded: &Loaded| {
        let info = loaded.plugin.info();
        json!({
            "name": info.name, "version": info.version, "sdk": info.sdk, "compiler": info.compiler,
            "path": loaded.path, "sha256": loaded.sha256,
        })
    };
    registry.plugins().iter().map(record).collect()
}

fn free_directory(name: &str) -> Result<PathBuf> {
    let runs = PathBuf::from("runs");
    fs::create_dir_all(&runs).map_err(|error| failed(&runs, "make", &error))?;
    for number in 1.. {
        let path = runs.join(format!("{name}-{number:03}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, "make", &error)),
        }
    }
    unreachable!("the numbers of run directories do not end")
}

/// A folder below a checkpoint, made and empty.
pub fn folder_in(checkpoint: &Path, name: &str) -> Result<PathBuf> {
    let path = checkpoint.join(name);
    fs::create_dir(&path).map_err(|error| failed(&path, "make", &error))?;
    Ok(path)
}

/// Writes a document into a folder that has not taken its place yet.
pub fn write_document(path: &Path, document: &impl Serialize) -> Result<()> {
    let text = to_text(path, document)?;
    let mut file = File::create(path).map_err(|error| failed(path, "make", &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| failed(path, "write", &error))
}

fn write_renamed(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(|error| failed(&partial, "make", &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| failed(&partial, "write", &error))?;
    fs::rename(&partial, path).map_err(|error| failed(path, "write", &error))?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(|error| failed(folder, "sync", &error))
}

fn to_text(path: &Path, document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document).map_err(|error| failed(path, "write", &error))
}

fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::RunDirectory { path: path.to_owned(), message: format!("failed to {what} a file or folder: {error}") }
}
