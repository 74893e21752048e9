//! G-EvoNAS: evolution by network growth, after the abstract of Zou et al. 2024 (arXiv
//! 2403.02667). An independent implementation: every hyper-parameter that the abstract does not
//! give is ours, chosen after the methods that the documentation of each names.
//!
//! The space and the operators know nothing of the strategy, and the strategy works on any space
//! whose Blocks have layers that can be absent.

mod crossover;
mod growth;
mod layers;
mod mutation;
mod population;
#[cfg(test)]
mod properties;
mod prune;
mod space;
mod strategy;

pub use crossover::{BlockCrossover, UniformCrossover};
pub use growth::Growth;
pub use mutation::{OperationMutation, OperationMutationConfig};
pub use prune::{Keep, PruneConfig};
pub use space::{BlockConfig, GrowingBlocks, GrowingBlocksConfig, StemConfig};
pub use strategy::{EpochsConfig, GrowAndPrune, GrowAndPruneConfig};

use pleach_sdk::{config, export_plugin};

config! {
    /// Nothing to configure.
    pub struct NoConfig {}
}

export_plugin! {
    name: "gevonas",
    summary: "G-EvoNAS: evolution by network growth",
    spaces: [GrowingBlocks],
    operators: [UniformCrossover, BlockCrossover, OperationMutation],
    strategies: [GrowAndPrune],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, Surroundings};

    use super::*;

    #[test]
    fn every_component_keeps_its_promises() {
        let example = Surroundings::default();
        conformance::space::<GrowingBlocks>(&example).assert();
        conformance::operator::<UniformCrossover>(&example).assert();
        conformance::operator::<BlockCrossover>(&example).assert();
        conformance::operator::<OperationMutation>(&example).assert();
        conformance::strategy::<GrowAndPrune>(&example).assert();
    }
}
