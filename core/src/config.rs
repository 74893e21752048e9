//! What a run file says, as [`Config`]. `run_file.rs` reads it; what the names in it stand for is
//! decided in `plugins.rs` and `assemble.rs`.

mod executor;
mod run_file;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use indexmap::IndexMap;
use pleach_sdk::{Goal, Objective, Objectives, network::CostLimit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use executor::{Executor, ExecutorName, SetExecutor, Workers};
pub use run_file::{RunFile, load, parse, recorded, value};

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
