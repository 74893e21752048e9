//! An estimator: how near a network comes to a wanted number of multiply-adds.

use std::sync::Arc;

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Estimator, Genome, Goal, Measured, Outcome,
    Result, SearchSpace, Seed, config, export_plugin,
};

config! {
    /// Measures how near a network comes to a wanted size.
    pub struct NearnessConfig {
        /// The wanted number of multiply-adds.
        #[schemars(range(min = 1))]
        pub flops: u64 = 1_000_000,
    }
}

/// Measures how near a network comes to a wanted size.
pub struct Nearness {
    config: NearnessConfig,
    space: Arc<dyn SearchSpace>,
}

impl Component for Nearness {
    type Config = NearnessConfig;
    const NAME: &'static str = "nearness";
    const SUMMARY: &'static str = "how near a network comes to a wanted number of multiply-adds";

    fn example() -> NearnessConfig {
        NearnessConfig::default()
    }
}

impl BuildEstimator for Nearness {
    fn build(
        config: NearnessConfig,
        space: Arc<dyn SearchSpace>,
        _: Option<Arc<dyn Dataset>>,
        _: &Context,
    ) -> Result<Self> {
        Ok(Nearness { config, space })
    }
}

impl Nearness {
    /// 1 where the network is as large as wanted, 1/2 where it is twice or half as large.
    fn measure(&self, genome: &Genome) -> Outcome {
        let network = self.space.network();
        // A network that cannot be measured has its reason, and the search goes on.
        network
            .validate(genome)
            .map_err(|error| error.to_string())?;
        let (flops, wanted) = (network.cost(genome).flops as f64, self.config.flops as f64);
        Ok(vec![flops.min(wanted) / flops.max(wanted)])
    }
}

impl Estimator for Nearness {
    fn objectives(&self) -> Vec<Measured> {
        vec![Measured {
            name: "nearness".to_owned(),
            goal: Goal::Maximise,
            unit: String::new(),
        }]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        Ok(genomes.iter().map(|genome| self.measure(genome)).collect())
    }

    // `train`, `save` and `load` have defaults for estimators without weights.
}

export_plugin! {
    name: "{{name}}",
    summary: "how near a network comes to a wanted size",
    estimators: [Nearness],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::{
        Region,
        conformance::{self, fixtures},
    };

    use super::*;

    #[test]
    fn keeps_the_promises_of_an_estimator() {
        conformance::estimator::<Nearness>(&Default::default()).assert();
    }

    #[test]
    fn a_network_of_the_wanted_size_has_one() {
        let space = fixtures::chain();
        let genome = Region::full(space.network()).sample(&mut Seed(1).generator());
        let flops = space.network().cost(&genome).flops;
        let measure = |wanted| {
            let config = NearnessConfig { flops: wanted };
            Nearness {
                config,
                space: fixtures::chain(),
            }
            .measure(&genome)
        };
        assert_eq!(measure(flops), Ok(vec![1.0]));
        assert_eq!(measure(2 * flops), Ok(vec![0.5]));
    }
}
