//! The run file: from YAML to [`Config`]. The only module that knows YAML.
//!
//! It checks shape alone, by JSON Schema; what the names in a run file stand for is decided in
//! `plugins.rs` and `assemble.rs`, which ask [`RunFile::diagnostic`] for places in the text.

mod executor;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use indexmap::IndexMap;
use pleach_sdk::{Goal, Objective, Objectives, network::CostLimit};
use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Diagnostic, Error, Place, Result},
    schema::Schema,
};

pub use executor::{Executor, ExecutorName, SetExecutor, Workers};

/// What a run file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the run is called: letters, digits, `.`, `_` and `-`. Its directory is named after it.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub name: String,
    /// The root of all randomness: the same seed gives the same result.
    pub seed: u64,
    /// The plugins to load: names found on the search path, or paths to libraries.
    #[schemars(length(min = 1))]
    pub plugins: Vec<PluginReference>,
    /// What networks there are.
    pub space: Component,
    /// What networks are trained and measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Component>,
    /// What measures them.
    pub estimator: Component,
    /// How children are made from parents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<WeightedComponent>,
    /// What decides what to train and evaluate.
    pub strategy: Component,
    /// What is wanted: `maximise`, `minimise`, or limits, for each quantity by name.
    #[schemars(length(min = 1))]
    pub objectives: BTreeMap<String, Wish>,
    /// When to stop at the latest.
    #[serde(default)]
    pub budget: Budget,
    /// Where candidates are evaluated: `local` in this process, `processes` in children of it.
    #[serde(default)]
    pub executor: Executor,
    /// How much time passes between two checkpoints, such as `1m`; one is written after each
    /// training too. Without it 10 s, and more where checkpoints take long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<String>,
    /// How many random networks are measured at the end, with the winner's weights, to compare.
    #[serde(default = "twenty")]
    #[schemars(range(max = 10000))]
    pub random_networks: u32,
    /// What `pleach rank` measures; a search takes no notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// What `pleach compare` holds side by side; a search takes no notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// Who names the winner; without it the estimator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
    /// What networks take on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// How `pleach train` trains what was found; a search takes no notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Training>,
}

/// What networks take on a device: measured by `pleach profile`, predicted in a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// What measures, such as `supernet/latency`; `pleach profile` needs it. With a profile too it
    /// must be what that was measured by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Component>,
    /// What `pleach profile` wrote. With it objectives and limits may name `latency`, in
    /// milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
    /// By which share of the prediction networks are kept below a limit on latency. Without it the
    /// profile says: 95 of 100 unseen networks took no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub margin: Option<f64>,
}

/// A second opinion of the best networks, which names the winner among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Winner {
    /// How many of the best networks are measured once more.
    #[serde(default = "five")]
    #[schemars(range(min = 2, max = 1000))]
    pub among: u32,
    /// An estimator that knows better, such as a short training from scratch.
    pub by: Component,
}

/// A network trained by itself, until it can be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// What trains: an estimator that trains the one network of a region, such as
    /// `supernet/stand-alone`.
    pub estimator: Component,
    /// The data set, where it is not that of the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Component>,
    /// The space that the network is taken to, by the names of its operations, where it is not
    /// the one that was searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Component>,
    /// What widths are scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<WidthLimit>,
    /// One training for each; without any, one with the run's seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
}

/// The widest network that keeps one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WidthLimit {
    /// Parameters at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub params: Option<f64>,
    /// Multiply-adds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub flops: Option<f64>,
}

fn five() -> u32 {
    5
}

/// How well the estimator ranks networks, held against a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rank {
    /// An estimator that knows better: a table, or training from scratch.
    pub reference: Component,
    /// Which number of the reference is compared, where it is not called as the run's objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Networks to rank after each training, drawn from the whole space at the stage's depth,
    /// and as many from the stage's region.
    #[serde(default = "hundred")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub networks: u32,
    /// The seeds to search with.
    #[serde(default = "three_seeds")]
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// What to compare: for each variant by name what it replaces, each as in `--set`.
    /// Without any there is one, the run file as it stands.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub variants: IndexMap<String, Vec<String>>,
}

/// Searches that are held side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// How many searches of each variant, with as many seeds from the run's seed on.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub seeds: u32,
    /// What to compare: for each variant by name what it replaces, each as in `--set`.
    /// Without any there is one, the run file as it stands.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub variants: IndexMap<String, Vec<String>>,
    /// An estimator that says what the networks are worth that a search takes for the best, such
    /// as a table's test accuracy. Searches know nothing of it. Without it they are compared by
    /// the objective that they follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Component>,
    /// Which number of it is compared, where it is not called as the run's objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// How many evaluations a search needs to come to a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// A value that searches are to come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The value, of the number that is compared.
    pub value: f64,
    /// Which network has to come to it.
    #[serde(default)]
    pub of: TargetOf,
}

/// A network of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetOf {
    /// The one that the search takes for the best so far.
    #[default]
    Best,
    /// Any that it has evaluated, whether it takes it for the best or not.
    Any,
}

impl Default for Compare {
    fn default() -> Self {
        Compare { seeds: ten(), variants: IndexMap::new(), report: None, against: None, target: None }
    }
}

fn ten() -> u32 {
    10
}

fn hundred() -> u32 {
    100
}

fn three_seeds() -> Vec<u64> {
    vec![0, 1, 2]
}

fn twenty() -> u32 {
    20
}

/// A plugin by name or path, with an optional pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PluginReference {
    /// A name on the search path, or a path.
    Bare(String),
    /// The same with what the file must be.
    Pinned(PinnedPlugin),
}

/// A plugin whose file is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinnedPlugin {
    /// A name on the search path, or a path.
    #[serde(rename = "use")]
    pub name: String,
    /// The SHA-256 of the library file, in hexadecimal.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

impl PluginReference {
    /// The name or path.
    pub fn name(&self) -> &str {
        match self {
            PluginReference::Bare(name) => name,
            PluginReference::Pinned(pinned) => &pinned.name,
        }
    }

    /// The pin.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            PluginReference::Bare(_) => None,
            PluginReference::Pinned(pinned) => Some(&pinned.sha256),
        }
    }
}

/// A component and its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// `plugin/component`.
    #[serde(rename = "use")]
    #[schemars(regex(pattern = r"^[^/]+/[^/]+$"))]
    pub name: String,
    /// The component's own configuration.
    #[serde(default = "no_keys")]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub with: Value,
}

/// An operator, its share and its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedComponent {
    /// `plugin/component`.
    #[serde(rename = "use")]
    #[schemars(regex(pattern = r"^[^/]+/[^/]+$"))]
    pub name: String,
    /// The share of children it makes, relative to the other operators.
    #[serde(default = "one")]
    #[schemars(range(min = 0.000_001, max = 1e6))]
    pub weight: f64,
    /// The operator's own configuration.
    #[serde(default = "no_keys")]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub with: Value,
}

fn no_keys() -> Value {
    Value::Object(serde_json::Map::new())
}

fn one() -> f64 {
    1.0
}

/// What is wanted of one quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wish {
    /// A direction.
    Direction(Goal),
    /// Limits, with or without a direction.
    Limits(Limits),
}

/// Limits of one quantity.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// The largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The smallest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Where several objectives have a direction: up to which value the volume is counted that
    /// networks dominate. Without it the limit on that side, or else the worst value of the space
    /// (params, flops) or of the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
}

/// When to stop at the latest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Networks evaluated; one whose fitness is known does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub evaluations: Option<u64>,
    /// Networks that may fail to be evaluated; one more ends the run with exit code 3 and the
    /// state before that step saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
    /// Time, such as `30m` or `1h 30m`. What it cuts off depends on the machine's speed, unless the
    /// clock is simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_clock: Option<String>,
    /// What `wall_clock` is read on. `simulated` adds up the `seconds` that the estimator gives
    /// for each network, such as the published training times of a table.
    #[serde(default, skip_serializing_if = "Clock::is_real")]
    pub clock: Clock,
    /// What a network that is known costs on a simulated clock.
    #[serde(default, skip_serializing_if = "Repeats::are_free")]
    pub repeats: Repeats,
}

/// What a network costs that is proposed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Repeats {
    /// Nothing: its fitness is remembered.
    #[default]
    Free,
    /// Its seconds once more, as in published simulations, which train every proposal.
    Paid,
}

impl Repeats {
    fn are_free(&self) -> bool {
        *self == Repeats::Free
    }
}

/// A clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The time that the run is worked on.
    #[default]
    Real,
    /// The seconds that measuring each network would have cost, one after the other.
    Simulated,
}

impl Clock {
    fn is_real(&self) -> bool {
        *self == Clock::Real
    }
}

impl WidthLimit {
    /// The one limit; [`load`] made sure that there is one.
    pub fn limit(&self) -> Option<CostLimit> {
        self.params.map(CostLimit::Params).or(self.flops.map(CostLimit::Flops))
    }
}

impl Budget {
    /// The time limit, on whatever clock; [`load`] made sure that it can be read.
    pub fn wall_clock(&self) -> Option<Duration> {
        self.wall_clock.as_deref().and_then(|text| humantime::parse_duration(text).ok())
    }

    /// The limit of real time.
    pub fn real_time(&self) -> Option<Duration> {
        self.wall_clock().filter(|_| self.clock == Clock::Real)
    }

    /// The limit of simulated seconds.
    pub fn simulated_seconds(&self) -> Option<f64> {
        self.wall_clock().filter(|_| self.clock == Clock::Simulated).map(|limit| limit.as_secs_f64())
    }
}

impl Config {
    /// The time between two checkpoints; [`load`] made sure that it can be read.
    pub fn checkpoint_every(&self) -> Option<Duration> {
        self.checkpoint_every.as_deref().and_then(|text| humantime::parse_duration(text).ok())
    }

    /// Up to which value of a quantity hypervolumes are counted, where the run file says it.
    pub fn reference(&self, name: &str) -> Option<f64> {
        match self.objectives.get(name)? {
            Wish::Direction(_) => None,
            Wish::Limits(limits) => limits.reference,
        }
    }

    /// What is wanted, in the order of names.
    pub fn objectives(&self) -> Objectives {
        objectives_of(&self.objectives)
    }
}

fn objectives_of(wishes: &BTreeMap<String, Wish>) -> Objectives {
    let objective = |(name, wish): (&String, &Wish)| {
        let limits = match wish {
            Wish::Direction(goal) => Limits { goal: Some(*goal), ..Limits::default() },
            Wish::Limits(limits) => limits.clone(),
        };
        Objective { name: name.clone(), goal: limits.goal, at_most: limits.at_most, at_least: limits.at_least }
    };
    Objectives(wishes.iter().map(objective).collect())
}

/// What the configuration in a run's record wants, whatever else stands in it: one that this
/// version cannot use can still be looked at.
///
/// # Errors
///
/// No objectives, or none with a direction.
pub fn recorded_objectives(config: &Value) -> std::result::Result<Objectives, String> {
    let wishes: BTreeMap<String, Wish> =
        Deserialize::deserialize(&config["objectives"]).map_err(|error: serde_json::Error| error.to_string())?;
    let objectives = objectives_of(&wishes);
    if objectives.goals().next().is_none() {
        return Err("none of them has a direction".to_owned());
    }
    Ok(objectives)
}

/// The JSON Schema of a run file, in which `with` is any mapping.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The text of a run file, and where in it each key stands.
pub struct RunFile {
    /// The file.
    pub path: PathBuf,
    /// Its text, as given.
    pub text: String,
    /// JSON pointers of `--set` and what was given.
    overrides: Vec<(String, String)>,
    /// Line and column of each value's key (or of the value, in lists), by JSON pointer.
    positions: BTreeMap<String, (usize, usize)>,
}

/// Reads and checks a run file.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn load(path: &Path, sets: &[String]) -> Result<(Config, RunFile)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::unusable(
            format!("failed to read the run file {}: {error}", path.display()),
            "give the path of a YAML file",
        )
    })?;
    parse(path, &text, sets)
}

/// Checks the text of a run file.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn parse(path: &Path, text: &str, sets: &[String]) -> Result<(Config, RunFile)> {
    let (path, text, positions) = (path.to_owned(), text.to_owned(), positions(text));
    let file = RunFile { path, text, overrides: Vec::new(), positions };
    let document = serde_yaml::from_str(&file.text).map_err(|error| file.syntax_error(&error))?;
    complete(file, document, sets)
}

/// Reads and checks a configuration that a run directory's `run.json` recorded.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn recorded(path: &Path, document: &Value, sets: &[String]) -> Result<(Config, RunFile)> {
    let (positions, overrides) = (BTreeMap::new(), Vec::new());
    let file = RunFile { path: path.to_owned(), positions, text: String::new(), overrides };
    let document = serde_yaml::to_value(document).map_err(|error| file.syntax_error(&error))?;
    complete(file, document, sets)
}

/// Reads a value that was given on the command line.
///
/// # Errors
///
/// What is no YAML, or has no place in a run file.
pub fn value(text: &str) -> std::result::Result<Value, String> {
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| format!("this is no YAML: {error}"))?;
    serde_json::to_value(value).map_err(|error| format!("a key or value has no place in a run file: {error}"))
}

fn complete(mut file: RunFile, mut document: serde_yaml::Value, sets: &[String]) -> Result<(Config, RunFile)> {
    for set in sets {
        file.overrides.push((apply_set(&mut document, set)?, format!("--set {set}")));
    }
    let document = serde_json::to_value(document).map_err(|error| {
        Error::Unusable(vec![file.diagnostic("", &format!("a key or value has no place in a run file: {error}"))])
    })?;
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let known = match SCHEMA.get() {
        Some(known) => known,
        None => {
            let made = Schema::new(schema())?;
            SCHEMA.get_or_init(|| made)
        }
    };
    file.check(&document, known, "")?;
    let config: Config = serde_json::from_value(document).map_err(|error| {
        Error::Unusable(vec![file.diagnostic("", &format!("the run file cannot be read: {error}"))])
    })?;
    file.check_meaning(&config)?;
    Ok((config, file))
}

impl RunFile {
    /// Checks part of the document (at `pointer` of the whole) against a schema.
    ///
    /// # Errors
    ///
    /// Every mismatch, with its place.
    pub fn check(&self, document: &Value, schema: &Schema, pointer: &str) -> Result<()> {
        let complaints = schema.check(document);
        if complaints.is_empty() {
            return Ok(());
        }
        let diagnostics = complaints.into_iter().map(|complaint| {
            let diagnostic = self.diagnostic(&format!("{pointer}{}", complaint.pointer), &complaint.message);
            Diagnostic { help: complaint.help, ..diagnostic }
        });
        Err(Error::Unusable(diagnostics.collect()))
    }

    /// A message about the value at a JSON pointer, or about the nearest value around it.
    pub fn diagnostic(&self, pointer: &str, message: &str) -> Diagnostic {
        let key = pointer.trim_start_matches('/').replace('/', ".");
        // A value of `--set`, or a key that is there for `--set` alone.
        let is_given =
            |set: &str| is_within(pointer, set) || (is_within(set, pointer) && !self.positions.contains_key(pointer));
        if let Some((_, given)) = self.overrides.iter().find(|(set, _)| is_given(set)) {
            return Diagnostic::new(message).at(Place { file: given.clone(), position: None, key, excerpt: None });
        }
        let mut around = pointer;
        let position = loop {
            if let Some(position) = self.positions.get(around) {
                break Some(*position);
            }
            match around.rfind('/') {
                Some(end) => around = &around[..end],
                None => break None,
            }
        };
        Diagnostic::new(message).at(self.place(position, &key))
    }

    fn syntax_error(&self, error: &serde_yaml::Error) -> Error {
        let mut position = error.location().map(|location| (location.line(), location.column()));
        // For a key that is there twice serde_yaml names the place of the whole mapping only.
        if error.to_string().contains("duplicate")
            && let Err(precise) = MarkedYaml::load_from_str(&self.text)
        {
            position = Some((precise.marker().line(), precise.marker().col() + 1));
        }
        Error::Unusable(vec![
            Diagnostic::new(format!("this cannot be read as YAML: {error}"))
                .at(self.place(position, ""))
                .help("a run file is a mapping of keys; see examples/ for whole ones"),
        ])
    }

    fn place(&self, position: Option<(usize, usize)>, key: &str) -> Place {
        let file = self.path.display().to_string();
        Place { file, position, key: key.to_owned(), excerpt: self.excerpt(position) }
    }

    fn excerpt(&self, position: Option<(usize, usize)>) -> Option<String> {
        let (line, _) = position?;
        self.text.lines().nth(line.checked_sub(1)?).map(|line| line.trim_end().to_owned())
    }

    /// What a schema cannot say.
    fn check_meaning(&self, config: &Config) -> Result<()> {
        let durations =
            [("/budget/wall_clock", &config.budget.wall_clock), ("/checkpoint_every", &config.checkpoint_every)];
        for (pointer, text) in durations {
            if let Some(text) = text
                && let Err(error) = humantime::parse_duration(text)
            {
                return Err(Error::Unusable(vec![
                    self.diagnostic(pointer, &format!("`{text}` is no duration: {error}"))
                        .help("write a number with a unit, such as 90s, 30m or 1h 30m"),
                ]));
            }
        }
        if config.budget.repeats == Repeats::Paid && config.budget.clock == Clock::Real {
            return Err(Error::Unusable(vec![
                self.diagnostic("/budget/repeats", "real time is not paid for a network that is known")
                    .help("leave `repeats` out, or write clock: simulated"),
            ]));
        }
        if let Some((pointer, message, help)) = config.executor.mistake() {
            let pointer = format!("/executor{pointer}");
            return Err(Error::Unusable(vec![self.diagnostic(&pointer, &message).help(help)]));
        }
        for (name, wish) in &config.objectives {
            let Wish::Limits(limits) = wish else { continue };
            let pointer = format!("/objectives/{name}");
            if limits == &Limits::default() {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&pointer, &format!("nothing is wanted of `{name}`"))
                        .help("write maximise, minimise, or a limit: { at_most: ... } or { at_least: ... }"),
                ]));
            }
            if limits.reference.is_some() && (limits.goal.is_none() || config.objectives().goals().count() < 2) {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&format!("{pointer}/reference"), "there is no volume that it could bound")
                        .help("a reference belongs to one of several objectives that have a direction (goal)"),
                ]));
            }
            if let (Some(most), Some(least)) = (limits.at_most, limits.at_least)
                && most < least
            {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&pointer, &format!("`{name}` cannot be at most {most} and at least {least}"))
                        .help("swap the two limits or leave one out"),
                ]));
            }
        }
        if let Some(width) = config.train.as_ref().and_then(|train| train.width.as_ref())
            && width.params.is_some() == width.flops.is_some()
        {
            return Err(Error::Unusable(vec![
                self.diagnostic("/train/width", "widths are scaled to one limit, of `params` or of `flops`")
                    .help("write one of the two, such as width: { params: 3.5e6 }"),
            ]));
        }
        if config.latency.as_ref().is_some_and(|latency| latency.by.is_none() && latency.profile.is_none()) {
            return Err(Error::Unusable(vec![
                self.diagnostic("/latency", "it says neither what measures latency nor where a profile of it is")
                    .help("write latency: { by: { use: supernet/latency } }, or latency: { profile: ... }"),
            ]));
        }
        if config.objectives().goals().next().is_none() {
            return Err(Error::Unusable(vec![
                self.diagnostic(
                    "/objectives",
                    "no objective has a direction, so no network would be better than another",
                )
                .help("add one, such as accuracy: maximise"),
            ]));
        }
        Ok(())
    }
}

fn is_within(pointer: &str, set: &str) -> bool {
    pointer.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts `a.b=value` into the document and answers with the JSON pointer of what was set.
fn apply_set(document: &mut serde_yaml::Value, set: &str) -> Result<String> {
    let bad = |why: String| Error::unusable(format!("`--set {set}`: {why}"), "write --set key.of.the.run.file=value");
    let (key, value) = set.split_once('=').ok_or_else(|| bad("there is no `=`".to_owned()))?;
    let value: serde_yaml::Value =
        serde_yaml::from_str(value).map_err(|error| bad(format!("the value is no YAML: {error}")))?;
    let mut here = document;
    let mut pointer = String::new();
    for part in key.split('.') {
        pointer.push('/');
        pointer.push_str(part);
        here = match here {
            serde_yaml::Value::Sequence(items) => {
                let known = items.len();
                let index = part.parse::<usize>().ok();
                index
                    .and_then(|index| items.get_mut(index))
                    .ok_or_else(|| bad(format!("`{part}` is no index into a list of {known}")))?
            }
            other => {
                if other.is_null() {
                    *other = serde_yaml::Value::Mapping(serde_yaml::Mapping::new());
                }
                let mapping =
                    other.as_mapping_mut().ok_or_else(|| bad(format!("what stands before `{part}` has no keys")))?;
                mapping.entry(part.into()).or_insert(serde_yaml::Value::Null)
            }
        };
    }
    *here = value;
    Ok(pointer)
}

/// Where each key of a YAML text stands; empty where the text cannot be read, for then the
/// message about that carries its own place.
fn positions(text: &str) -> BTreeMap<String, (usize, usize)> {
    let mut positions = BTreeMap::new();
    if let Ok(documents) = MarkedYaml::load_from_str(text)
        && let Some(document) = documents.first()
    {
        collect_positions(document, String::new(), &mut positions);
    }
    positions
}

fn collect_positions(node: &MarkedYaml<'_>, pointer: String, positions: &mut BTreeMap<String, (usize, usize)>) {
    let start = |node: &MarkedYaml<'_>| (node.span.start.line(), node.span.start.col() + 1);
    match &node.data {
        YamlData::Mapping(mapping) => {
            for (key, value) in mapping.iter() {
                if let Some(name) = key.data.as_str() {
                    let inner = format!("{pointer}/{name}");
                    positions.insert(inner.clone(), start(key));
                    collect_positions(value, inner, positions);
                }
            }
        }
        YamlData::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = format!("{pointer}/{index}");
                positions.insert(inner.clone(), start(item));
                collect_positions(item, inner, positions);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
name: tiny
seed: 7
plugins: [one]
space: { use: one/space, with: { layers: 3 } }
estimator:
  use: one/estimator
strategy: { use: one/strategy }
objectives: { accuracy: maximise }
";

    fn check(text: &str, sets: &[&str], expected: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.yaml");
        std::fs::write(&path, text).expect("the file can be written");
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let found = match load(&path, &sets) {
            Ok((config, _)) => serde_json::to_string(&config).expect("a configuration is JSON"),
            Err(error) => error.to_string().replace(&path.display().to_string(), "run.yaml"),
        };
        assert!(found.contains(expected), "expected:\n{expected}\nfound:\n{found}");
    }

    #[test]
    fn a_whole_file_is_read() {
        check(RUN, &[], r#""seed":7"#);
        check(RUN, &[], r#""with":{"layers":3}"#);
    }

    #[test]
    fn set_replaces_and_adds() {
        check(RUN, &["seed=8", "space.with.layers=4", "budget.evaluations=10"], r#""seed":8"#);
        check(RUN, &["space.with.layers=4"], r#""layers":4"#);
        check(RUN, &["plugins.0=two"], r#""plugins":["two"]"#);
        check(RUN, &["plugins.5=two"], "`5` is no index into a list of 1");
        check(RUN, &["seed"], "there is no `=`");
        check(RUN, &["sed=8"], "--> --set sed=8 at `sed`");
    }

    #[test]
    fn mistakes_are_named_with_place_and_nearest_name() {
        check(&RUN.replace("seed", "sead"), &[], "unknown key `sead`");
        check(&RUN.replace("seed", "sead"), &[], "did you mean `seed`?");
        check(&RUN.replace("seed", "sead"), &[], "--> run.yaml:2:1 at `sead`\n    2 | sead: 7");
        check(&RUN.replace("seed: 7", "seed: x"), &[], "expected an integer, found the text `x`");
        check(&RUN.replace("  use: one/estimator", "  use: estimator"), &[], "run.yaml:6:3 at `estimator.use`");
        check(&RUN.replace("maximise", "maximize"), &[], "did you mean `maximise`?");
        check(&RUN.replace("accuracy: maximise", "accuracy: {at_most: 1}"), &[], "no objective has a direction");
        check(&RUN.replace("seed: 7", "seed: 7\nbudget: { wall_clock: 30 parsecs }"), &[], "is no duration");
        check(&RUN.replace("name: tiny", "name: [tiny"), &[], "this cannot be read as YAML");
        check(&RUN.replace("name: tiny\n", ""), &[], "the key `name` is missing");
    }
}
