//! Everything that a pleach plugin imports.
//!
//! A plugin is a dynamic library with *components*: search spaces, data sets, variation
//! operators, fitness estimators, strategies. Each is a Rust trait; nothing in it speaks of the
//! boundary, which `export_plugin!` builds around it. This is a whole plugin, with a mutation
//! that moves one layer of a network to another choice:
//!
//! ```
//! use std::sync::Arc;
//!
//! use pleach_sdk::{
//!     BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config, export_plugin,
//!     rand::Rng,
//! };
//!
//! config! {
//!     /// How many genes are drawn anew.
//!     pub struct RedrawConfig {
//!         /// Genes drawn anew in each child, at least 1.
//!         #[schemars(range(min = 1))]
//!         pub genes: usize = 1,
//!     }
//! }
//!
//! /// Draws genes anew.
//! pub struct Redraw(RedrawConfig);
//!
//! impl Component for Redraw {
//!     type Config = RedrawConfig;
//!     const NAME: &'static str = "redraw";
//!     const SUMMARY: &'static str = "a mutation that draws genes anew";
//!
//!     fn example() -> RedrawConfig {
//!         RedrawConfig::default()
//!     }
//! }
//!
//! impl BuildOperator for Redraw {
//!     fn build(config: RedrawConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
//!         Ok(Redraw(config))
//!     }
//! }
//!
//! impl Operator for Redraw {
//!     fn arity(&self) -> usize {
//!         1
//!     }
//!
//!     fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
//!         let mut generator = seed.generator();
//!         let mut child = parents[0].clone();
//!         for _ in 0..self.0.genes {
//!             let slot = generator.random_range(0..child.len());
//!             child.0[slot] = region.sample_slot(slot, &mut generator);
//!         }
//!         Ok(child)
//!     }
//! }
//!
//! export_plugin! {
//!     name: "redraw",
//!     summary: "one mutation",
//!     operators: [Redraw],
//! }
//! # fn main() {}
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib"]` and depends on this crate alone; the library is
//! called `pleach_<name>` so that a run file can name it:
//!
//! ```yaml
//! plugins: [redraw, ...]
//! operators:
//!   - { use: redraw/redraw, with: { genes: 2 } }
//! ```
//!
//! # What holds for every component
//!
//! - No generator is stored. What may be random receives a [`Seed`].
//! - The same configuration, state and seed give the same answer.
//! - Failures are [`Error`]s. A panic becomes one too, but the component takes no more calls.
//! - Diagnostics go through [`tracing`], progress and cancellation through [`host`].
#![deny(missing_docs)]

// `config!` names this crate by its name, here too.
extern crate self as pleach_sdk;

#[doc(hidden)]
pub mod bridge;
mod component;
pub mod conformance;
mod dataset;
pub mod description;
mod error;
mod estimator;
#[doc(hidden)]
pub mod export;
mod forward;
pub mod host;
pub mod network;
mod objective;
mod operator;
pub mod pareto;
mod seed;
mod space;
pub mod state;
mod strategy;

pub use component::{
    BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, Component, ComponentInfo, Context, Kind,
    PluginInfo,
};
pub use dataset::{Dataset, DatasetInfo, Split, VIEWS};
pub use description::{Description, Shape};
pub use error::{Error, ErrorKind, Result, nearest, unknown_name};
pub use estimator::{Estimator, Outcome, TrainPlan, TrainReport};
pub use network::{Cost, Network};
pub use objective::{COMPUTED, Goal, LATENCY, Measured, Objective, Objectives, SIMULATED_SECONDS};
pub use operator::{Operator, WeightedOperator};
pub use seed::{Generator, Seed};
pub use space::{Genome, Region, SearchSpace};
pub use strategy::{Batch, Candidate, Evaluation, Origin, Step, Strategy};

pub use rand;
pub use schemars;
pub use serde;
pub use serde_json;
pub use tracing;
