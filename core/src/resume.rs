//! `pleach resume`: goes on with a run where its last whole checkpoint stands.
//!
//! What the run is comes from its `run.json`: the configuration, and what the plugins and the data
//! set must be. What it has done comes from the checkpoint (`checkpoint.rs`, `search.rs`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pleach_sdk::DatasetInfo;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    assemble::{Assembly, assemble},
    checkpoint::{Damaged, Found},
    config::{self, Config, RunFile},
    error::{Diagnostic, Error, Result},
    host::Process,
    latency::PROFILE,
    plugins::{SearchPath, sha256_of},
    result::{Ending, SearchResult},
    run::{self, MachineRecord, RUN_FORMAT, RunDirectory, absolute},
    search::Search,
    show,
};

/// How a run is to go on.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Replaced values; only those below `budget` and `executor` can be.
    pub sets: Vec<String>,
    /// Whether plugins may have changed since the run began.
    pub allow_changed_plugins: bool,
    /// Whether to begin again where no checkpoint is whole.
    pub from_the_start: bool,
}

/// What became of a run.
pub enum Resumed {
    /// It was over before.
    WasOver(Box<SearchResult>),
    /// It is over now; with a drawing of what was found.
    Ended(Box<SearchResult>, String),
}

/// What `run.json` says a run was made of.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// The format of the run directory.
    pub format: u32,
    /// The command that wrote it.
    pub command: String,
    /// The resolved configuration.
    pub config: Value,
    /// What was set on top of the run file.
    #[serde(default)]
    pub set: Vec<String>,
    /// The program.
    pub host: HostRecord,
    /// The plugins, in the order of the configuration.
    pub plugins: Vec<PluginRecord>,
    /// The data set.
    pub dataset: Option<DatasetInfo>,
    /// The machine that it began on.
    #[serde(default)]
    pub machine: Option<MachineRecord>,
    /// The folder from which relative paths in the configuration are resolved.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

/// The program that began a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HostRecord {
    /// Its version.
    pub version: String,
    /// The SHA-256 of its file.
    pub sha256: Option<String>,
}

/// A plugin that a run began with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PluginRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of its file.
    pub sha256: String,
}

impl Record {
    /// Reads the record of a run.
    ///
    /// # Errors
    ///
    /// A folder that holds no run, or one of another format.
    pub fn read(directory: &Path) -> Result<(Self, Value)> {
        let path = directory.join(run::RECORD);
        let wrong = |message: String| Error::RunDirectory { path: path.clone(), message };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", run::RECORD)))?;
        let document: Value =
            serde_json::from_str(&text).map_err(|error| wrong(format!("this is no JSON: {error}")))?;
        let format = document["format"].as_u64();
        if format != Some(u64::from(RUN_FORMAT)) {
            let found = format.map_or("no format".to_owned(), |format| format!("format {format}"));
            return Err(wrong(format!("the run has {found}, this pleach knows format {RUN_FORMAT}")));
        }
        let record =
            Record::deserialize(&document).map_err(|error| wrong(format!("this is no record of a search: {error}")))?;
        Ok((record, document))
    }

    /// The configuration and a search path that ends where the plugins were.
    ///
    /// # Errors
    ///
    /// A configuration that this version cannot use.
    pub fn configuration(
        &self,
        directory: &Path,
        sets: &[String],
        path: &SearchPath,
    ) -> Result<(Config, RunFile, SearchPath)> {
        let (mut config, file) = config::recorded(&directory.join(run::RECORD), &self.config, sets)?;
        let own = directory.join(PROFILE);
        let is_given = sets.iter().any(|set| set.starts_with("latency"));
        if let Some(latency) = config.latency.as_mut().filter(|_| !is_given && own.is_file()) {
            // What networks take does not change in the middle of a run.
            latency.profile = latency.profile.take().map(|_| own);
        }
        let folders = self.plugins.iter().filter_map(|plugin| plugin.path.parent());
        Ok((config, file, path.clone().then(folders.map(Path::to_owned))))
    }

    /// Makes the folder current in which the run began, so that relative paths mean what they
    /// meant.
    ///
    /// # Errors
    ///
    /// A folder that is no more.
    pub fn enter(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        std::env::set_current_dir(directory).map_err(|error| {
            Error::unusable(
                format!("the folder {} in which the run began cannot be entered: {error}", directory.display()),
                "relative paths in its configuration start there: bring it back, or correct `directory` in run.json",
            )
        })
    }

    /// Which plugins are not those of the run, one sentence each. Their files are read and not
    /// opened.
    pub fn changed_plugins(&self, config: &Config, path: &SearchPath) -> Vec<String> {
        let mut changed = Vec::new();
        for (was, reference) in self.plugins.iter().zip(&config.plugins) {
            let Ok(candidate) = path.find(reference.name()) else {
                changed.push(format!("`{}` is not there any more", was.name));
                continue;
            };
            // What cannot be read says so when it is loaded.
            if sha256_of(&candidate.path).is_ok_and(|sha256| sha256 != was.sha256) {
                changed.push(format!(
                    "`{}` was version {} ({}), {} is another build",
                    was.name,
                    was.version,
                    was.path.display(),
                    candidate.path.display(),
                ));
            }
        }
        changed
    }

    /// What else is not as it was: the data set, the program, the machine.
    ///
    /// # Errors
    ///
    /// A program file that cannot be read.
    pub fn changes(&self, assembly: &Assembly, plugins: Vec<String>) -> Result<Changes> {
        let mut changes = Changes { plugins, ..Changes::default() };
        let dataset = assembly.dataset.as_ref().map(|dataset| dataset.info());
        if dataset != self.dataset.as_ref() {
            let name = |info: Option<&DatasetInfo>| {
                info.map_or("none".to_owned(), |info| {
                    format!("{} with {} training and {} test images", info.name, info.train, info.test)
                })
            };
            changes.dataset =
                Some(format!("the data set was {}, it is {}", name(self.dataset.as_ref()), name(dataset)));
        }
        let program = std::env::current_exe().ok().as_deref().map(sha256_of).transpose()?;
        if program != self.host.sha256 {
            changes.host = Some(format!(
                "the run began with pleach {} of another build than this pleach {}",
                self.host.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        changes.machine = self.machine.as_ref().and_then(changed_machine);
        Ok(changes)
    }
}

/// What is not as it was when a run began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Plugins, one sentence each.
    pub plugins: Vec<String>,
    /// The data set.
    pub dataset: Option<String>,
    /// The program itself.
    pub host: Option<String>,
    /// What of the machine numbers may depend on.
    pub machine: Option<String>,
}

fn changed_machine(was: &MachineRecord) -> Option<String> {
    let here = MachineRecord::here();
    let describe = |machine: &MachineRecord| {
        let variable = machine.omp_num_threads.as_deref().unwrap_or("not set");
        format!("{} threads on {}, OMP_NUM_THREADS {variable}", machine.threads, machine.architecture)
    };
    (here != *was).then(|| {
        let (was, is) = (describe(was), describe(&here));
        format!("the run began with {was}; here it is {is}: numbers may differ in rounding")
    })
}

/// Goes on with the run in a directory until it ends.
///
/// # Errors
///
/// A directory that holds no run, a plugin that has changed, no checkpoint that is whole, and
/// everything that ends a search.
pub fn resume(path: &Path, request: &Request, search_path: &SearchPath, process: &Arc<Process>) -> Result<Resumed> {
    check_sets(&request.sets)?;
    let path = &absolute(path);
    let search_path = &search_path.clone().absolute();
    let mut directory = RunDirectory::open(path)?;
    let (record, mut document) = Record::read(path)?;
    if record.command != "run" {
        return Err(Error::unusable(
            format!("{} was written by `pleach {}`", path.display(), record.command),
            format!("`pleach {}` with what it was given before and the same --dir goes on", record.command),
        ));
    }
    record.enter()?;
    let (config, file, search_path) = record.configuration(path, &request.sets, search_path)?;
    if let Some(result) = result_of(path)?.filter(|result| is_over(result, &config)) {
        return Ok(Resumed::WasOver(Box::new(result)));
    }
    let changed = record.changed_plugins(&config, &search_path);
    refuse_changed_plugins(&changed, request.allow_changed_plugins)?;
    let assembly = assemble(&config, &file, &search_path, process)?;
    let changes = record.changes(&assembly, changed)?;
    changes.refuse()?;
    let found = directory.last_checkpoint()?;
    tell(&found, path, request)?;
    if !request.sets.is_empty() {
        document["config"] = json!(config);
        let sets = document["set"].as_array().cloned().unwrap_or_default();
        document["set"] = sets.into_iter().chain(request.sets.iter().map(|set| json!(set))).collect();
        directory.write_json(run::RECORD, &document)?;
    }
    directory.go_back_to(&found)?;
    // Written right after the record; the process may have ended in between.
    directory.write_space(&assembly)?;
    let step = found.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
    match step {
        None => directory.event("started", document)?,
        Some(step) => {
            let damaged: Vec<String> = found.damaged.iter().map(describe).collect();
            let changed: Vec<&String> = changes.plugins.iter().chain(&changes.host).chain(&changes.machine).collect();
            let details = json!({ "step": step, "set": request.sets, "damaged": damaged, "changed": changed });
            directory.event("resumed", details)?;
        }
    }
    let from = step.map_or("from its beginning".to_owned(), |step| format!("after step {step}"));
    process.view().line(&format!("run directory {} goes on {from}", path.display()));
    let space = Arc::clone(&assembly.space);
    let search = Search::new(&config, assembly, &mut directory, Arc::clone(process));
    let search = match &found.checkpoint {
        Some(checkpoint) => search.from_checkpoint(&checkpoint.path)?,
        None => search,
    };
    let result = search.run()?;
    let drawing = show::summary(&result, space.network(), &config, &path.display().to_string());
    Ok(Resumed::Ended(Box::new(result), drawing))
}

/// The result of a run, where there is one.
///
/// # Errors
///
/// A result that cannot be read.
pub fn result_of(directory: &Path) -> Result<Option<SearchResult>> {
    let path = directory.join("result.json");
    let wrong = |message: String| Error::RunDirectory { path: path.clone(), message };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| wrong(format!("the result cannot be read: {error}")))?,
    };
    serde_json::from_str(&text).map(Some).map_err(|error| wrong(format!("this is no result: {error}")))
}

/// Whether a result is the run's last word under a configuration, whose budget may be larger than
/// the one that ended it.
fn is_over(result: &SearchResult, config: &Config) -> bool {
    match result.ended {
        Ending::Finished => true,
        Ending::Evaluations => config.budget.evaluations.is_some_and(|limit| limit <= result.evaluations),
        Ending::WallClock => {
            let spent = result.simulated_seconds.unwrap_or(result.times.total);
            config.budget.wall_clock().is_some_and(|limit| limit.as_secs_f64() <= spent)
        }
    }
}

/// A run that changes its course in the middle has no seed that repeats it.
fn check_sets(sets: &[String]) -> Result<()> {
    let may_change = |set: &&String| {
        let key = set.split(['.', '=']).next().unwrap_or_default();
        ["budget", "executor"].contains(&key)
    };
    match sets.iter().find(|set| !may_change(set)) {
        None => Ok(()),
        Some(set) => Err(Error::unusable(
            format!("`--set {set}`: a run that has begun goes on as it is; only `budget` and `executor` can change"),
            "start a new run with `pleach run`",
        )),
    }
}

/// Refuses plugins that are not those of a run, before code of theirs runs.
///
/// # Errors
///
/// Plugins that have changed, unless that is allowed.
pub fn refuse_changed_plugins(changed: &[String], is_allowed: bool) -> Result<()> {
    if changed.is_empty() || is_allowed {
        return Ok(());
    }
    let diagnostic = |change: &String| {
        Diagnostic::new(format!("the plugin {change}")).help(
            "bring back the plugin that the run began with, or give --allow-changed-plugins: the result may then \
             be one that no single version gives",
        )
    };
    Err(Error::Unusable(changed.iter().map(diagnostic).collect()))
}

impl Changes {
    /// Tells what has changed.
    ///
    /// # Errors
    ///
    /// Another data set.
    pub fn refuse(&self) -> Result<()> {
        if let Some(dataset) = &self.dataset {
            return Err(Error::unusable(dataset.clone(), "bring back the data set that the run began with"));
        }
        let plugins = self.plugins.iter().map(|change| format!("the plugin {change}"));
        for change in plugins.chain(self.host.clone()).chain(self.machine.clone()) {
            tracing::warn!("{change}");
        }
        Ok(())
    }
}

/// Says what is damaged, and that nothing is left if so.
fn tell(found: &Found, directory: &Path, request: &Request) -> Result<()> {
    let Some(last) = found.damaged.first() else { return Ok(()) };
    let way_out = "`pleach resume --from-the-start` begins again and comes to the same result";
    for damaged in &found.damaged {
        tracing::warn!("the checkpoint {} is damaged: {}", damaged.path.display(), damaged.why);
    }
    match &found.checkpoint {
        Some(checkpoint) => tracing::warn!("going back to the one before it, {}", checkpoint.path.display()),
        None if request.from_the_start => tracing::warn!("no checkpoint is whole: beginning again"),
        None => {
            return Err(Error::RunDirectory {
                path: directory.to_owned(),
                message: format!("no checkpoint is whole; the last one: {}; {way_out}", last.why),
            });
        }
    }
    Ok(())
}

fn describe(damaged: &Damaged) -> String {
    let name = damaged.path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}: {}", damaged.why)
}
