//! Strategies to compare with. They search complete networks on a SuperNet that is trained once,
//! and work with every space and estimator.

mod bananas;
mod hyperband;
mod local_search;
mod nsga_2;
mod operators;
mod predictor;
mod proposals;
mod random_search;
mod regularized_evolution;
mod spos_evolution;

#[cfg(test)]
mod testing;

pub use bananas::{Bananas, BananasConfig};
pub use hyperband::{Hyperband, HyperbandConfig};
pub use local_search::{LocalSearch, LocalSearchConfig, To};
pub use nsga_2::{Nsga2, Nsga2Config};
pub use random_search::{RandomSearch, RandomSearchConfig};
pub use regularized_evolution::{RegularizedEvolution, RegularizedEvolutionConfig};
pub use spos_evolution::{SposEvolution, SposEvolutionConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "baselines",
    summary: "strategies to compare with",
    strategies: [Bananas, Hyperband, LocalSearch, Nsga2, RandomSearch, RegularizedEvolution, SposEvolution],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, Surroundings};

    use super::*;

    #[test]
    fn every_component_keeps_its_promises() {
        let example = Surroundings::default();
        conformance::strategy::<Bananas>(&example).assert();
        conformance::strategy::<Hyperband>(&example).assert();
        conformance::strategy::<LocalSearch>(&example).assert();
        conformance::strategy::<Nsga2>(&example).assert();
        conformance::strategy::<RandomSearch>(&example).assert();
        conformance::strategy::<RegularizedEvolution>(&example).assert();
        conformance::strategy::<SposEvolution>(&example).assert();
    }
}
