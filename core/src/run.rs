//! The run directory: everything a run leaves behind, and how it is written.
//!
//! `docs/run-directory.md` describes the files. Events are appended one by one and synced; every
//! other file is written beside its place and renamed into it. How a checkpoint is kept is in
//! `checkpoint.rs`.

use std::{
    fs::{self, File, TryLockError},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    assemble::Assembly,
    checkpoint::{self, Found, JournalMark},
    config::Config,
    error::{Error, Result},
    latency::PROFILE,
    plugins::{Loaded, Registry, sha256_of},
};

/// The number of the run directory's format.
pub const RUN_FORMAT: u32 = 1;

/// What a run was made of; where it is, a run has begun.
pub const RECORD: &str = "run.json";

/// The description of the networks that are searched.
pub const NETWORK: &str = "network.json";

/// The journal.
pub const JOURNAL: &str = "events.jsonl";

const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = "lock";

/// How long a process that was killed may take to end: it holds its lock until the disk has
/// answered it.
const DYING: Duration = Duration::from_secs(2);

/// Events that come faster than this are put on the disk together: waiting for it is most of what
/// a step costs where fitness comes from a table.
const BETWEEN_SYNCS: Duration = Duration::from_millis(100);

/// A line of the journal.
#[derive(Serialize)]
struct Event<'a, T> {
    event: &'a str,
    number: u64,
    at_seconds: f64,
    #[serde(flatten)]
    details: T,
}

/// A run directory that is being written; nobody else writes in it meanwhile.
pub struct RunDirectory {
    path: PathBuf,
    events: File,
    /// How far the journal is.
    mark: JournalMark,
    /// When the mark's clock stood at its seconds.
    since: Instant,
    /// When events were last put on the disk.
    synced: Option<Instant>,
    _lock: Lock,
}

impl RunDirectory {
    /// Makes the directory: `given`, or the first free `runs/<name>-<number>`.
    ///
    /// Its run has begun when `run.json` is written. A directory that somebody made and left
    /// before that is taken over.
    ///
    /// # Errors
    ///
    /// A directory that exists already and is not empty, cannot be written, or is another
    /// process's.
    pub fn create(given: Option<&Path>, name: &str) -> Result<Self> {
        let path = make_directory(given, name)?;
        let lock = Lock::take(&path)?;
        let journal = path.join(JOURNAL);
        let events = File::options()
            .create(true)
            .append(true)
            .open(&journal)
            .and_then(|events| events.set_len(0).map(|()| events))
            .map_err(|error| failed(&journal, "make", &error))?;
        let checkpoints = path.join(CHECKPOINTS);
        fs::create_dir_all(&checkpoints).map_err(|error| failed(&checkpoints, "make", &error))?;
        sync_folder(&path)?;
        Ok(RunDirectory::with(path, events, lock))
    }

    /// Opens the directory of a run that has begun; [`RunDirectory::go_back_to`] comes next.
    ///
    /// # Errors
    ///
    /// A directory without a run, one that cannot be written, or another process's.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(RECORD).is_file() {
            return Err(Error::RunDirectory {
                path: path.to_owned(),
                message: format!("there is no run to go on with: {RECORD} is missing"),
            });
        }
        let lock = Lock::take(path)?;
        let journal = path.join(JOURNAL);
        let events = File::options()
            .create(true)
            .append(true)
            .open(&journal)
            .map_err(|error| failed(&journal, "open", &error))?;
        Ok(RunDirectory::with(path.to_owned(), events, lock))
    }

    fn with(path: PathBuf, events: File, lock: Lock) -> Self {
        let (mark, since) = (JournalMark::default(), Instant::now());
        RunDirectory { path, events, mark, since, synced: None, _lock: lock }
    }

    /// The last checkpoint that is whole, and what is wrong with later ones.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn last_checkpoint(&self) -> Result<Found> {
        let journal = self.path.join(JOURNAL);
        let bytes = self.events.metadata().map_err(|error| failed(&journal, "read", &error))?.len();
        checkpoint::last_whole(&self.path.join(CHECKPOINTS), bytes)
    }

    /// Goes back to the run's beginning, or to a checkpoint that was found: events after it are
    /// cut, later checkpoints put aside, and the clock stands where it stood.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn go_back_to(&mut self, found: &Found) -> Result<()> {
        checkpoint::put_aside(&self.path.join(CHECKPOINTS), &found.damaged)?;
        self.mark = found.checkpoint.as_ref().map_or(JournalMark::default(), |checkpoint| checkpoint.journal);
        self.since = Instant::now();
        let journal = self.path.join(JOURNAL);
        self.events
            .set_len(self.mark.bytes)
            .and_then(|()| self.events.sync_all())
            .map_err(|error| failed(&journal, "cut", &error))
    }

    /// How long the run was worked on, by this process and those before it; what came after the
    /// checkpoint that was gone back to does not count.
    pub fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(self.mark.at_seconds) + self.since.elapsed()
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
        // What a document tells of comes before it.
        self.sync()?;
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

    /// Writes what genomes mean, and the profile that predicts how long their networks take.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write_space(&self, assembly: &Assembly) -> Result<()> {
        self.write_json(NETWORK, &assembly.space.network().document())?;
        assembly.profile.as_ref().map_or(Ok(()), |profile| self.write_json(PROFILE, profile))
    }

    /// Appends an event, and waits until it is on the disk unless the one before it was put there
    /// just now. What is not there yet lies after the last checkpoint, and is done again by
    /// whoever goes on with the run.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn event(&mut self, kind: &str, details: impl Serialize) -> Result<()> {
        let at_seconds = (self.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let event = Event { event: kind, number: self.mark.events, at_seconds, details };
        let path = self.path.join(JOURNAL);
        let mut line = serde_json::to_vec(&event).map_err(|error| failed(&path, "write", &error))?;
        line.push(b'\n');
        if let Err(error) = self.events.write_all(&line).and_then(|()| self.sync_at_times()) {
            // Half a line would run into the next one; if it cannot be cut now it will be by
            // whoever goes on with the run.
            drop(self.events.set_len(self.mark.bytes));
            return Err(failed(&path, "write", &error));
        }
        self.mark.bytes += line.len() as u64;
        self.mark.events += 1;
        Ok(())
    }

    /// Waits until all events are on the disk.
    fn sync(&self) -> Result<()> {
        self.events.sync_data().map_err(|error| failed(&self.path.join(JOURNAL), "sync", &error))
    }

    fn sync_at_times(&mut self) -> std::io::Result<()> {
        if self.synced.is_some_and(|synced| synced.elapsed() < BETWEEN_SYNCS) {
            return Ok(());
        }
        self.events.sync_data()?;
        self.synced = Some(Instant::now());
        Ok(())
    }

    /// Writes a checkpoint: `fill` puts files into an empty folder, which then takes its place.
    ///
    /// Older checkpoints go, but for the last before this one.
    ///
    /// # Errors
    ///
    /// What `fill` or the file system says; the checkpoints before stay as they were.
    pub fn checkpoint(&self, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let mark = JournalMark { at_seconds: self.elapsed().as_secs_f64(), ..self.mark };
        self.sync()?;
        checkpoint::write(&self.path.join(CHECKPOINTS), step, mark, fill)
    }

    /// Writes a folder of its own: `fill` puts files into an empty one, which then takes its
    /// place. One that is there stays.
    ///
    /// # Errors
    ///
    /// What `fill` or the file system says.
    pub fn folder(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let done = self.path.join(name);
        if done.is_dir() {
            return Ok(());
        }
        let partial = self.path.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| failed(&partial, "remove", &error))?;
        }
        fs::create_dir(&partial).map_err(|error| failed(&partial, "make", &error))?;
        fill(&partial)?;
        fs::rename(&partial, &done).map_err(|error| failed(&done, "write", &error))?;
        sync_folder(&self.path)
    }
}

/// Holds a run directory for this process. The system lets go of it when the process ends, in
/// whatever way, so that a lock that was left behind does not count.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Lock {
    pub(crate) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(LOCK);
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(|error| failed(&path, "open", &error))?;
        let patience = Instant::now() + DYING;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < patience => thread::sleep(DYING / 40),
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    // Who it is helps, but is not needed.
                    drop(file.read_to_string(&mut owner));
                    return Err(Error::RunDirectory {
                        path: directory.to_owned(),
                        message: format!("another process works on this run: {}", owner.trim()),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&path, "lock", &error)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("process {}\n", std::process::id()).as_bytes()))
            .map_err(|error| failed(&path, "write", &error))?;
        Ok(Lock(file))
    }
}

/// Whether a process works on a run now.
pub fn is_worked_on(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Makes a directory: `given`, or the first free `runs/<name>-<number>`.
///
/// # Errors
///
/// A directory that exists already and is not empty, or cannot be written.
pub fn make_directory(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let Some(path) = given else { return free_directory(name) };
    if !is_free(path) {
        return Err(Error::RunDirectory {
            path: path.to_owned(),
            message: "the run directory is in use: give one that does not exist or is empty".to_owned(),
        });
    }
    fs::create_dir_all(path).map_err(|error| failed(path, "make", &error))?;
    Ok(path.to_owned())
}

/// Whether nothing is there, or only what a process left that ended before its run began.
fn is_free(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return !path.is_file() };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    let is_left = |name: &std::ffi::OsString| {
        let stem = Path::new(name).file_stem().unwrap_or_default();
        [LOCK, JOURNAL, CHECKPOINTS].iter().any(|left| name == left)
            || (name != RECORD && ["config", "network", "profile", "run"].iter().any(|left| stem == *left))
    };
    names.is_empty() || (names.iter().any(|name| name == LOCK) && names.iter().all(is_left))
}

/// Makes the directory of a search and writes down what it is made of: its run has begun.
///
/// # Errors
///
/// What [`RunDirectory::create`] says, and the file system.
pub fn begin(
    command: &str,
    config: &Config,
    (text, sets): (&str, &[String]),
    assembly: &Assembly,
    folder: Option<&Path>,
) -> Result<RunDirectory> {
    let mut directory = RunDirectory::create(folder, &config.name)?;
    let mut record = record(config, sets, assembly)?;
    record["command"] = json!(command);
    directory.write("config.yaml", text)?;
    directory.write_space(assembly)?;
    directory.write_json(RECORD, &record)?;
    directory.event("started", record)?;
    Ok(directory)
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
        "command": "run",
        "config": config,
        "set": sets,
        "seed": config.seed,
        "host": {
            "version": env!("CARGO_PKG_VERSION"),
            "abi": pleach_abi::ABI_MAJOR,
            "sha256": program.as_deref().map(sha256_of).transpose()?,
        },
        "machine": MachineRecord::here(),
        "directory": std::env::current_dir().ok(),
        "plugins": plugins_record(&assembly.registry),
        "dataset": assembly.dataset.as_ref().map(|dataset| dataset.info().clone()),
    }))
}

/// The same place wherever this process goes.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What of a machine a result may depend on to the last bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Threads that estimators use which are not told how many.
    pub threads: usize,
    /// The variable `OMP_NUM_THREADS`, which libraries read.
    pub omp_num_threads: Option<String>,
    /// The kind of processor.
    pub architecture: String,
}

impl MachineRecord {
    /// Of this machine.
    pub fn here() -> Self {
        MachineRecord {
            threads: thread::available_parallelism().map_or(1, usize::from),
            omp_num_threads: std::env::var("OMP_NUM_THREADS").ok(),
            architecture: std::env::consts::ARCH.to_owned(),
        }
    }
}

/// What libraries a run uses.
pub fn plugins_record(registry: &Registry) -> Vec<Value> {
    let components = |loaded: &Loaded| -> Vec<Value> {
        let of = loaded.plugin.info().components.iter();
        of.map(|component| json!({ "kind": component.kind, "name": component.name })).collect()
    };
    let record = |loaded: &Loaded| {
        let info = loaded.plugin.info();
        json!({
            "name": info.name, "version": info.version, "sdk": info.sdk, "compiler": info.compiler,
            "abi": pleach_abi::ABI_MAJOR, "path": loaded.path, "sha256": loaded.sha256,
            "shadowed": loaded.shadowed, "components": components(loaded),
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
    write_synced(path, text.as_bytes())
}

/// Writes a document that may be large and that nobody reads: without white space, and piece by
/// piece.
pub fn write_state(path: &Path, document: &impl Serialize) -> Result<()> {
    let file = File::create(path).map_err(|error| failed(path, "make", &error))?;
    let mut out = BufWriter::new(file);
    serde_json::to_writer(&mut out, document).map_err(|error| failed(path, "write", &error))?;
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(path, "write", &error))
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(|error| failed(path, "make", &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| failed(path, "write", &error))
}

fn write_renamed(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    write_synced(&partial, bytes)?;
    fs::rename(&partial, path).map_err(|error| failed(path, "write", &error))?;
    path.parent().map_or(Ok(()), sync_folder)
}

pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(|error| failed(folder, "sync", &error))
}

fn to_text(path: &Path, document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document).map_err(|error| failed(path, "write", &error))
}

pub(crate) fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::RunDirectory { path: path.to_owned(), message: format!("failed to {what} a file or folder: {error}") }
}
