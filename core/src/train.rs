//! `pleach train`: the network that a search found, trained by itself until it can be used.
//!
//! The network comes from a run directory and is taken to the space, the widths and the data set
//! that `train:` names (`train/ground.rs`). The host owns the loop: one epoch, one event, one
//! checkpoint; the estimator owns the weights. The measurement at the end is made once.

mod ground;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use pleach_sdk::{
    Cost, ErrorKind, Genome, Network, Objectives, Region, Seed, TrainPlan, host::Host, network::Document,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    assemble,
    config::{self, Config, RunFile, Training},
    described::DescribedSpace,
    error::{Error, Result},
    host::Process,
    latency::{self, Profile},
    plugins::{Registry, SearchPath, sha256_of},
    progress::spoken,
    result::{Found, SearchResult},
    run::{self, NETWORK, RunDirectory},
    statistics::Spread,
};

use ground::TrainingGround;
pub(crate) use ground::TrainingParts;

/// The folder with the network that was trained.
pub const MODEL: &str = "model";

/// What is to be trained, and how.
pub struct Request<'a> {
    /// The run directory of a search.
    pub run: &'a Path,
    /// A run file that says how, in the place of the search's own.
    pub recipe: Option<&'a Path>,
    /// What is replaced in that run file.
    pub sets: &'a [String],
    /// Which network.
    pub network: Choice,
    /// Where to write, in the place of a folder of the run directory.
    pub folder: Option<&'a Path>,
}

/// Which network of a space is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The one that the search found.
    Winner,
    /// This one.
    Genome(Genome),
    /// One drawn at random by a seed, inside the search's limits: what a search is worth shows
    /// beside it.
    Random(u64),
}

/// What training came to: the document `training.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The format of this document.
    pub format: u32,
    /// The name of the run file that said how.
    pub name: String,
    /// The estimator that trained.
    pub estimator: String,
    /// The data set.
    pub dataset: Option<String>,
    /// The network in the space that was searched.
    pub found: Genome,
    /// The network in the space that it was trained in.
    pub genome: Genome,
    /// Its operations, Block by Block.
    pub blocks: BTreeMap<String, Vec<String>>,
    /// Parameters and FLOPs there.
    #[serde(flatten)]
    pub cost: Cost,
    /// One training for each seed.
    pub trainings: Vec<OneTraining>,
    /// What was measured at the end, by name, over the seeds.
    pub measured: BTreeMap<String, Spread>,
}

/// A training with one seed: the document `result.json` of its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OneTraining {
    /// Its seed.
    pub seed: u64,
    /// Times that the training images were seen.
    pub epochs: u64,
    /// What was measured at the end.
    pub measured: BTreeMap<String, f64>,
    /// The last epoch's numbers.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds of training.
    pub seconds: f64,
    /// The SHA-256 of each file of the trained network.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The host's part of a checkpoint.
#[derive(Default, Serialize, Deserialize)]
struct Progress {
    epochs: u64,
    metrics: BTreeMap<String, f64>,
    seconds: f64,
}

/// Trains a network with every seed. What is finished is not done again, and what was
/// interrupted goes on from its last epoch.
///
/// # Errors
///
/// A run directory that is no finished search, a run file without `train:`, a component that
/// cannot be used or fails, a request to stop.
pub fn train(request: &Request<'_>, search_path: &SearchPath, process: &Arc<Process>) -> Result<(PathBuf, Trained)> {
    let search = Searched::read(request.run)?;
    let (config, file) = match request.recipe {
        Some(recipe) => config::load(recipe, request.sets)?,
        None => config::load(&request.run.join("config.yaml"), &[&search.sets, request.sets].concat())?,
    };
    let Some(train) = &config.train else {
        return Err(Error::Unusable(vec![
            file.diagnostic("", "the run file does not say how to train what was found")
                .help("add `train: { estimator: { use: supernet/stand-alone } }`, or name a run file that has it"),
        ]));
    };
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    let registry = assemble::load_plugins(&config, &file, search_path, &host)?;
    let found = search.choose(&request.network)?;
    let folder = match request.folder {
        Some(folder) => folder.to_owned(),
        None => request.run.join(folder_name(request, &config)),
    };
    let seeds = if train.seeds.is_empty() { vec![config.seed] } else { train.seeds.clone() };
    let mut trained: Option<Trained> = None;
    let all = seeds.len() as u64;
    for (seed, done) in seeds.into_iter().zip(0..) {
        let note = format!("seed {seed}");
        process.view().overall(&pleach_sdk::host::Progress { task: "trainings", done, total: all, note: &note });
        let one = Job { config: &config, file: &file, train, registry: &registry, network: &search.network, process };
        let (ground, training) = one.run(&found, seed, &folder)?;
        let document = trained.get_or_insert_with(|| Trained::new(&config, train, &found, &ground));
        document.trainings.push(training);
        document.sum_up();
        run::write_document(&folder.join("training.json"), document)?;
    }
    let trained = trained.expect("there is at least one seed");
    Ok((folder, trained))
}

/// The folder of a training in its run directory.
fn folder_name(request: &Request<'_>, config: &Config) -> String {
    let mut name = "training".to_owned();
    if request.recipe.is_some() {
        name.push_str(&format!("-{}", config.name));
    }
    match &request.network {
        Choice::Winner => {}
        Choice::Genome(genome) => name.push_str(&format!("-{genome}")),
        Choice::Random(seed) => name.push_str(&format!("-random-{seed}")),
    }
    name
}

/// What a search left behind.
struct Searched {
    network: Network,
    result: SearchResult,
    /// What it wanted; a limit on latency is that of predictions, as it was for the search.
    objectives: Objectives,
    sets: Vec<String>,
}

impl Searched {
    fn read(run: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Record {
            config: Config,
            set: Vec<String>,
        }
        let Record { config, set } = read(run, "run.json")?;
        let document: Document = read(run, NETWORK)?;
        let network = Network::of(document).map_err(|error| Error::RunDirectory {
            path: run.join(NETWORK),
            message: format!("the description of the networks cannot be used: {}", error.message),
        })?;
        if !run.join("result.json").is_file() {
            return Err(Error::RunDirectory {
                path: run.to_owned(),
                message: "the search has no result yet: `pleach resume` ends it".to_owned(),
            });
        }
        let mut objectives = config.objectives();
        if let Some((latency, _)) = config.latency.as_ref().and_then(|it| Some((it, it.profile.as_ref()?))) {
            let unreadable = |message| Error::RunDirectory { path: run.to_owned(), message };
            let profile = Profile::read(&run.join(latency::PROFILE)).map_err(unreadable)?;
            objectives = profile.objectives(&objectives, latency.margin);
        }
        Ok(Searched { network, result: read(run, "result.json")?, objectives, sets: set })
    }

    fn choose(&self, choice: &Choice) -> Result<Genome> {
        match choice {
            Choice::Genome(genome) => {
                let unusable = |error: pleach_sdk::Error| {
                    let slots = self.network.slots().iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>();
                    Error::unusable(error.message, format!("give one number for each of {}", slots.join(", ")))
                };
                self.network.validate(genome).map_err(unusable)?;
                Ok(genome.clone())
            }
            Choice::Winner => match &self.result.winner {
                Some(winner) => Ok(winner.genome.clone()),
                None => Err(Error::unusable(
                    "the search found no network",
                    "give one with --genome, or draw one with --random",
                )),
            },
            Choice::Random(seed) => {
                let space = DescribedSpace(self.network.clone());
                let region = Region::complete(&self.network);
                let seed = Seed(*seed).derive("random network to train", 0);
                assemble::draw(&space, &self.objectives, &region, 1, seed)?.pop().ok_or_else(|| {
                    Error::unusable("no random network keeps the limits of the search", "loosen `objectives`")
                })
            }
        }
    }
}

/// Reads a document of a run directory.
pub(crate) fn read<T: serde::de::DeserializeOwned>(run: &Path, name: &str) -> Result<T> {
    let path = run.join(name);
    let unreadable = |message: String| Error::RunDirectory { path: path.clone(), message };
    let text = fs::read_to_string(&path)
        .map_err(|error| unreadable(format!("{name} cannot be read, so this is no run directory: {error}")))?;
    serde_json::from_str(&text).map_err(|error| unreadable(format!("{name} is damaged: {error}")))
}

/// What one training needs.
struct Job<'a> {
    config: &'a Config,
    file: &'a RunFile,
    train: &'a Training,
    registry: &'a Registry,
    /// The networks of the search.
    network: &'a Network,
    process: &'a Arc<Process>,
}

impl Job<'_> {
    fn run(&self, found: &Genome, seed: u64, folder: &Path) -> Result<(TrainingGround, OneTraining)> {
        let root = Seed(seed);
        let networks = (self.network, found);
        let mut ground = ground::build(self.config, self.file, self.train, self.registry, networks, root)?;
        let path = folder.join(format!("seed-{seed}"));
        let record = json!({
            "format": run::RUN_FORMAT, "config": self.config, "seed": seed, "genome": ground.genome,
            "plugins": run::plugins_record(self.registry),
            "dataset": ground.dataset.as_ref().map(|dataset| dataset.info().clone()),
        });
        if path.join("result.json").is_file() {
            self.belongs(&path, &record, &["config", "genome"])?;
            self.process.view().line(&format!("seed {seed}: {} has its result", path.display()));
            let one: OneTraining = read(&path, "result.json")?;
            return Ok((ground, one));
        }
        let (mut directory, mut progress) = self.open(&path, &mut ground, record)?;
        self.epochs(&mut directory, &mut ground, &mut progress, root)?;
        let outcome = ground
            .estimator
            .evaluate(std::slice::from_ref(&ground.genome), root.derive("evaluate", 0))
            .map_err(|error| in_folder(error, &directory))?
            .pop();
        let values = match outcome {
            Some(Ok(values)) => values,
            Some(Err(reason)) => return Err(in_folder(pleach_sdk::Error::failed(reason), &directory)),
            None => return Err(in_folder(pleach_sdk::Error::failed("no answer for one network"), &directory)),
        };
        let names = ground.estimator.objectives().into_iter().map(|measured| measured.name);
        directory
            .folder(MODEL, |folder| ground.estimator.save(folder).map_err(|error| in_folder(error, &directory)))?;
        let training = OneTraining {
            seed,
            epochs: progress.epochs,
            measured: names.zip(values).collect(),
            metrics: progress.metrics,
            seconds: progress.seconds,
            files: hashes(&path.join(MODEL))?,
        };
        directory.event("finished", json!(training))?;
        directory.write_json("result.json", &training)?;
        Ok((ground, training))
    }

    /// A fresh folder, or one that was interrupted, with the estimator as it was then.
    fn open(&self, path: &Path, ground: &mut TrainingGround, record: Value) -> Result<(RunDirectory, Progress)> {
        if path.join("run.json").is_file() {
            self.belongs(path, &record, &["config", "genome", "plugins"])?;
            let mut directory = RunDirectory::open(path)?;
            let last = directory.last_checkpoint()?;
            for damaged in &last.damaged {
                tracing::warn!("the checkpoint {} is damaged: {}", damaged.path.display(), damaged.why);
            }
            directory.go_back_to(&last)?;
            let Some(checkpoint) = last.checkpoint else {
                // An epoch that was not saved is done again.
                directory.event("started", record)?;
                return Ok((directory, Progress::default()));
            };
            let progress: Progress = read(&checkpoint.path, "host.json")?;
            let loaded = ground.estimator.load(&checkpoint.path.join("estimator"));
            loaded.map_err(|error| in_folder(error, &directory))?;
            self.process.view().line(&format!("{} goes on after epoch {}", path.display(), progress.epochs));
            return Ok((directory, progress));
        }
        let mut directory = RunDirectory::create(Some(path), &self.config.name)?;
        directory.write_json(NETWORK, ground.space.network().description())?;
        directory.event("started", record.clone())?;
        // Last, for it says that the folder is whole.
        directory.write_json("run.json", &record)?;
        Ok((directory, Progress::default()))
    }

    /// Whether a folder that is there was written by the same training.
    fn belongs(&self, path: &Path, record: &Value, keys: &[&str]) -> Result<()> {
        let there: Value = read(path, "run.json")?;
        match keys.iter().find(|key| there.get(key) != record.get(key)) {
            None => Ok(()),
            Some(key) => Err(Error::RunDirectory {
                path: path.to_owned(),
                message: format!(
                    "a training with another `{key}` is there: name another folder with --dir, or remove this one"
                ),
            }),
        }
    }

    fn epochs(
        &self,
        directory: &mut RunDirectory,
        ground: &mut TrainingGround,
        progress: &mut Progress,
        root: Seed,
    ) -> Result<()> {
        let region = Region::union_of([&ground.genome])?;
        loop {
            if self.process.is_interrupted() {
                return Err(Error::Interrupted { folder: directory.path().to_owned() });
            }
            let plan = TrainPlan { region: region.clone(), epochs: 1.0, stage: 0, notes: json!({}) };
            let started = Instant::now();
            let report = ground
                .estimator
                .train(&plan, root.derive("train", progress.epochs))
                .map_err(|error| in_folder(error, directory))?;
            let total = report.metrics.get("epochs").copied();
            if !report.weights_changed && progress.epochs > 0 {
                return Ok(());
            }
            let Some(total) = total.filter(|_| report.weights_changed) else {
                let name = &self.train.estimator.name;
                return Err(Error::Unusable(vec![
                    self.file
                        .diagnostic("/train/estimator", &format!("{name} does not train a single network to an end"))
                        .help("use supernet/stand-alone"),
                ]));
            };
            let seconds = started.elapsed().as_secs_f64();
            progress.epochs += 1;
            progress.seconds += seconds;
            progress.metrics = report.metrics;
            directory.event("epoch", json!({ "metrics": progress.metrics, "seconds": seconds }))?;
            let number =
                |name: &str| progress.metrics.get(name).map_or(String::new(), |it| format!(", {name} {it:.4}"));
            self.process.view().line(&format!(
                "seed {} epoch {}/{total}{}{} in {}",
                root.0,
                progress.epochs,
                number("loss"),
                number("accuracy"),
                spoken(Duration::from_secs_f64(seconds)),
            ));
            let estimator = &ground.estimator;
            directory.checkpoint(progress.epochs, |folder| {
                estimator.save(&run::folder_in(folder, "estimator")?)?;
                run::write_document(&folder.join("host.json"), progress)
            })?;
        }
    }
}

/// The SHA-256 of each file of a folder.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let unreadable = |error: std::io::Error| run::failed(folder, "read", &error);
    let mut hashes = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().is_file() {
            hashes.insert(entry.file_name().to_string_lossy().into_owned(), sha256_of(&entry.path())?);
        }
    }
    Ok(hashes)
}

fn in_folder(error: pleach_sdk::Error, directory: &RunDirectory) -> Error {
    let folder = directory.path().to_owned();
    match error.kind {
        ErrorKind::Cancelled => Error::Interrupted { folder },
        _ => Error::Component { error, folder: Some(folder) },
    }
}

impl Trained {
    fn new(config: &Config, train: &Training, found: &Genome, ground: &TrainingGround) -> Self {
        let network = ground.space.network();
        Trained {
            format: run::RUN_FORMAT,
            name: config.name.clone(),
            estimator: train.estimator.name.clone(),
            dataset: ground.dataset.as_ref().map(|dataset| dataset.info().name.clone()),
            found: found.clone(),
            genome: ground.genome.clone(),
            blocks: Found::operations(&ground.genome, network),
            cost: network.cost(&ground.genome),
            trainings: Vec::new(),
            measured: BTreeMap::new(),
        }
    }

    fn sum_up(&mut self) {
        let names = self.trainings.iter().flat_map(|one| one.measured.keys().cloned());
        let spread =
            |name: &String| Spread::of(self.trainings.iter().filter_map(|one| one.measured.get(name).copied()));
        self.measured = names.filter_map(|name| Some((name.clone(), spread(&name)?))).collect();
    }
}
