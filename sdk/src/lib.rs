//! Everything that a pleach plugin imports.
#![deny(missing_docs)]

#[doc(hidden)]
pub mod bridge;
mod component;
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
mod seed;
mod space;
mod strategy;

pub use component::{
    BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, Component, ComponentInfo, Context, Kind,
    PluginInfo,
};
pub use dataset::{Dataset, DatasetInfo, Split};
pub use description::{Description, Shape};
pub use error::{Error, ErrorKind, Result, nearest, unknown_name};
pub use estimator::{Estimator, Outcome, TrainPlan, TrainReport};
pub use network::{Cost, Network};
pub use objective::{COMPUTED, Goal, Measured, Objective, Objectives};
pub use operator::{Operator, WeightedOperator};
pub use seed::{Generator, Seed};
pub use space::{Genome, Region, SearchSpace};
pub use strategy::{Batch, Candidate, Evaluation, Origin, Step, Strategy};

pub use rand;
pub use schemars;
pub use serde;
pub use serde_json;
pub use tracing;
