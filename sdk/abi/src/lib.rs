//! The types that cross between the pleach host and its plugins: the ABI, major 1.
//!
//! **Nothing here may change within an ABI major**, not even by adding a method or a field:
//! the layout check refuses a plugin whose vtable is shorter than its host's.
//! Growth goes through the JSON documents that the methods carry (readers ignore unknown keys
//! of the other side), or through a new trait. `tests/lock.rs` holds the layout against
//! `abi-1.lock`; the policy is in `docs/abi.md`.
//!
//! This crate knows nothing of what the documents mean, and its users never see it:
//! `pleach-sdk` turns every trait here into a domain trait, in both directions.

#![deny(missing_docs)]
// The `sabi_trait` macro of abi_stable 0.11 expands to impls inside a constant.
#![allow(non_local_definitions)]

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec},
};

pub use abi_stable;

/// The ABI's major number, exported by every plugin under [`ABI_SYMBOL`].
pub const ABI_MAJOR: u32 = 1;

/// The name of the plain C symbol (a `u32`) that a host reads before any struct of a plugin.
pub const ABI_SYMBOL: &str = "PLEACH_ABI_MAJOR";

/// A network, one choice (an index into the slot's list) for each slot.
pub type GenomeAbi = RVec<u16>;

/// The allowed choices of each slot, ascending.
pub type RegionAbi = RVec<RVec<u16>>;

/// One number per objective, or the reason why a candidate has none.
pub type OutcomeAbi = RResult<RVec<f64>, RString>;

/// What most calls answer.
pub type ResultAbi<T> = RResult<T, ErrorAbi>;

/// An owned component as it crosses.
pub type Boxed = RBox<()>;

/// A failure on the other side of the boundary.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct ErrorAbi {
    /// What kind of failure: the numbers are those of `pleach_sdk::ErrorKind`.
    pub kind: u32,
    /// One sentence.
    pub message: RString,
    /// A JSON pointer into the configuration, or the file and line of a panic; empty if unknown.
    pub place: RString,
    /// `plugin/component operation` of the component that failed first; empty if unknown.
    pub origin: RString,
}

/// What a constructor receives beside the components it holds.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct BuildAbi {
    /// The component's name within its plugin.
    pub component: RString,
    /// The component's own configuration, a JSON document.
    pub config: RString,
    /// What the host tells every component of the run, a JSON document.
    pub context: RString,
    /// The seed of whatever the constructor draws.
    pub seed: u64,
}

/// An operator as a strategy receives it.
#[repr(C)]
#[derive(StableAbi)]
pub struct WeightedOperatorAbi {
    /// `plugin/component`.
    pub name: RString,
    /// The share of children it makes, relative to the other operators' weights.
    pub weight: f64,
    /// The operator.
    pub operator: OperatorAbi_TO<'static, Boxed>,
}

/// What a strategy asks of the host.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone)]
pub enum StepAbi {
    /// Train the estimator's weights inside a region.
    Train {
        /// Where paths are drawn from.
        region: RegionAbi,
        /// The rest of the plan, a JSON document.
        plan: RString,
    },
    /// Evaluate these genomes, in this order.
    Evaluate {
        /// The candidates.
        genomes: RVec<GenomeAbi>,
        /// Where they come from, a JSON document for the journal.
        notes: RString,
    },
    /// The search is over.
    Finished {
        /// What the strategy says at the end, a JSON document for the journal.
        notes: RString,
    },
}

/// What became of one candidate.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct EvaluationAbi {
    /// The candidate as it was proposed.
    pub genome: GenomeAbi,
    /// One number per objective of the run, or why there are none.
    pub outcome: OutcomeAbi,
}

/// What a plugin may ask of its host. Called from any thread.
#[sabi_trait]
pub trait HostAbi: Send + Sync {
    /// Passes on a diagnostic: level 1 (error) to 5 (trace).
    fn log(&self, level: u32, target: RStr<'_>, message: RStr<'_>);
    /// The most verbose level that anybody reads: 0 (nothing) to 5 (trace).
    fn log_level(&self) -> u32;
    /// Says how far a long operation has come.
    fn progress(&self, task: RStr<'_>, done: u64, total: u64, note: RStr<'_>);
    /// Whether the user asked to stop.
    #[sabi(last_prefix_field)]
    fn is_cancelled(&self) -> bool;
}

/// A search space. Called from any thread; holds no state.
#[sabi_trait]
pub trait SearchSpaceAbi: Send + Sync {
    /// The space as a JSON document.
    fn spec(&self) -> ResultAbi<RString>;
    /// The one genome that stands for all that describe the same network.
    #[sabi(last_prefix_field)]
    fn canonical(&self, genome: RSlice<'_, u16>) -> ResultAbi<GenomeAbi>;
}

/// A variation operator. Called from the strategy's thread; holds no state.
#[sabi_trait]
pub trait OperatorAbi: Send + Sync {
    /// How many parents it takes.
    fn arity(&self) -> ResultAbi<u32>;
    /// Makes one child inside the region.
    #[sabi(last_prefix_field)]
    fn vary(&self, parents: RSlice<'_, GenomeAbi>, region: RSlice<'_, RVec<u16>>, seed: u64) -> ResultAbi<GenomeAbi>;
}

/// A data set. Called from any thread; holds no state that can be seen.
#[sabi_trait]
pub trait DatasetAbi: Send + Sync {
    /// The data set as a JSON document.
    fn info(&self) -> ResultAbi<RString>;
    /// Copies images (channels, rows, columns; one byte each) and labels into the caller's buffers.
    #[sabi(last_prefix_field)]
    fn fetch(
        &self,
        split: u32,
        indices: RSlice<'_, u64>,
        images: RSliceMut<'_, u8>,
        labels: RSliceMut<'_, u32>,
    ) -> ResultAbi<()>;
}

/// A fitness estimator. Called from one thread; its state is its weights.
#[sabi_trait]
pub trait EstimatorAbi: Send {
    /// The objectives it measures, a JSON document.
    fn objectives(&self) -> ResultAbi<RString>;
    /// Measures genomes: for each, one number per objective or the reason why not.
    fn evaluate(&mut self, genomes: RSlice<'_, GenomeAbi>, seed: u64) -> ResultAbi<RVec<OutcomeAbi>>;
    /// Trains shared weights inside a region; answers with a JSON report.
    fn train(&mut self, region: RSlice<'_, RVec<u16>>, plan: RStr<'_>, seed: u64) -> ResultAbi<RString>;
    /// Writes its state into an empty folder.
    fn save(&self, folder: RStr<'_>) -> ResultAbi<()>;
    /// Takes up the state that `save` wrote.
    #[sabi(last_prefix_field)]
    fn load(&mut self, folder: RStr<'_>) -> ResultAbi<()>;
}

/// A search strategy. Called from one thread; its state is its population and region.
#[sabi_trait]
pub trait StrategyAbi: Send {
    /// What to do next.
    fn next(&mut self, seed: u64) -> ResultAbi<StepAbi>;
    /// What became of the candidates of the last `Evaluate` step, in its order.
    fn tell(&mut self, evaluations: RSlice<'_, EvaluationAbi>) -> ResultAbi<()>;
    /// Writes its state into an empty folder.
    fn save(&self, folder: RStr<'_>) -> ResultAbi<()>;
    /// Takes up the state that `save` wrote.
    #[sabi(last_prefix_field)]
    fn load(&mut self, folder: RStr<'_>) -> ResultAbi<()>;
}

/// A plugin's root module: what a host finds in a library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
pub struct PluginModule {
    /// Called once, first: hands over the host and sets up forwarding of logs and panics.
    pub start: extern "C" fn(HostAbi_TO<'static, Boxed>) -> ResultAbi<()>,
    /// The plugin and its components, a JSON document.
    pub describe: extern "C" fn() -> ResultAbi<RString>,
    /// Builds a search space.
    pub space: extern "C" fn(BuildAbi) -> ResultAbi<SearchSpaceAbi_TO<'static, Boxed>>,
    /// Builds a data set.
    pub dataset: extern "C" fn(BuildAbi) -> ResultAbi<DatasetAbi_TO<'static, Boxed>>,
    /// Builds an operator over a space.
    pub operator:
        extern "C" fn(BuildAbi, SearchSpaceAbi_TO<'static, Boxed>) -> ResultAbi<OperatorAbi_TO<'static, Boxed>>,
    /// Builds an estimator over a space and, where the run names one, a data set.
    pub estimator: extern "C" fn(
        BuildAbi,
        SearchSpaceAbi_TO<'static, Boxed>,
        ROption<DatasetAbi_TO<'static, Boxed>>,
    ) -> ResultAbi<EstimatorAbi_TO<'static, Boxed>>,
    /// Builds a strategy over a space and the run's operators.
    #[sabi(last_prefix_field)]
    pub strategy: extern "C" fn(
        BuildAbi,
        SearchSpaceAbi_TO<'static, Boxed>,
        RVec<WeightedOperatorAbi>,
    ) -> ResultAbi<StrategyAbi_TO<'static, Boxed>>,
}

impl RootModule for PluginModuleRef {
    declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "pleach_plugin";
    const NAME: &'static str = "pleach_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
