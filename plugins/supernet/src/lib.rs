//! Fitness from a SuperNet: every operation of every layer has weights of its own, every network
//! of the space shares them, and a candidate is measured without being trained by itself.
//!
//! The only user of `tch`. It builds whatever the SDK's network description says and knows
//! nothing of evolution: growth and pruning reach it as regions.
//!
//! From a plan to weights: `training.rs` draws paths (`sampling.rs`) and batches (`data.rs`),
//! runs them through the network (`network.rs`, weights in `weights.rs`) and steps
//! (`optimiser.rs`). From weights to fitness: `evaluation.rs`, for all candidates at once
//! (`population.rs`, `shared.rs`), with batch norm as in `batch_norm.rs`. `zero_cost.rs` asks networks
//! with their first weights, `latency.rs` how long they take. What libtorch does slowly, and what
//! `tch` cannot call, is in `kernels.rs` and the C++ of `kernels/`: convolutions with what is between
//! them are one call (`network/chain.rs`), with kernels for the CPU and for CUDA.

mod allocator;
mod attempts;
mod batch_norm;
#[doc(hidden)]
pub mod bench;
mod captured;
mod config;
mod data;
mod device;
mod estimator;
mod evaluation;
mod finished;
mod fit;
mod kernels;
mod latency;
mod model;
mod network;
mod optimiser;
mod parts;
mod population;
mod race;
mod recipe;
mod sampling;
mod script;
mod shared;
mod stand_alone;
mod threads;
mod training;
mod weights;
mod workplace;
mod zero_cost;

#[cfg(test)]
mod tests;

pub use config::{Augmentation, BatchNormConfig, Config, Normalisation, Sampling};
pub use estimator::WeightSharing;
pub use latency::{Latency, LatencyConfig, Take};
pub use network::Precision;
pub use recipe::{Measure, Recipe, Schedule};
pub use stand_alone::StandAlone;
pub use zero_cost::{Proxy, ZeroCost, ZeroCostConfig};

use pleach_sdk::{Error, export_plugin};
use tch::TchError;

/// What libtorch complained about, and what it was doing.
fn torch(doing: &'static str) -> impl Fn(TchError) -> Error {
    move |error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or("no reason given").to_owned();
        Error::failed(format!("libtorch failed while {doing}: {first}"))
    }
}

export_plugin! {
    name: "supernet",
    summary: "fitness from a SuperNet with shared weights, from training from scratch, or without training, and how long networks take, on libtorch",
    estimators: [WeightSharing, StandAlone, ZeroCost, Latency],
}
