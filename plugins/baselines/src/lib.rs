//! Strategies to compare with. They search complete networks on a SuperNet that is trained once,
//! and work with every space and estimator.

mod proposals;
mod random_search;
mod regularized_evolution;

#[cfg(test)]
mod testing;

pub use random_search::{RandomSearch, RandomSearchConfig};
pub use regularized_evolution::{RegularizedEvolution, RegularizedEvolutionConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "baselines",
    summary: "random search and regularized evolution",
    strategies: [RandomSearch, RegularizedEvolution],
}
