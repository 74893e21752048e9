//! Random search: the baseline that every other strategy must beat (Li and Talwalkar 2019).

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Component, Context, Evaluation, Genome, Result, SearchSpace, Seed, Step, Strategy,
    WeightedOperator, config,
    serde::{Deserialize, Serialize},
    serde_json::Value,
    state, tracing,
};

use crate::proposals::{Setting, TRIES_PER_PROPOSAL};

config! {
    /// Random complete networks.
    pub struct RandomSearchConfig {
        /// Networks to evaluate.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// Networks in a step.
        #[schemars(range(min = 1, max = 100_000))]
        pub batch: usize = 50,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 50.0,
    }
}

/// Random complete networks, each once.
pub struct RandomSearch {
    config: RandomSearchConfig,
    setting: Setting,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    trained: bool,
    known: BTreeSet<Genome>,
    /// Networks that were proposed.
    proposed: usize,
}

impl Component for RandomSearch {
    type Config = RandomSearchConfig;
    const NAME: &'static str = "random-search";
    const SUMMARY: &'static str = "random networks, each once";

    fn example() -> RandomSearchConfig {
        RandomSearchConfig::default()
    }
}

impl BuildStrategy for RandomSearch {
    fn build(
        config: RandomSearchConfig,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        if !operators.is_empty() {
            tracing::info!("random search uses no operators");
        }
        Ok(RandomSearch { config, setting: Setting::new(space, context)?, state: State::default() })
    }
}

impl Strategy for RandomSearch {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        let mut generator = seed.generator();
        let mut candidates = Vec::new();
        while candidates.len() < self.config.batch && self.state.proposed < self.config.evaluations {
            let random = |generator: &mut _| self.setting.random(generator);
            let Some(candidate) = self.setting.propose(&mut self.state.known, &mut generator, random)? else { break };
            candidates.push(candidate);
            self.state.proposed += 1;
        }
        if candidates.is_empty() {
            let proposed = self.state.proposed;
            if proposed < self.config.evaluations {
                tracing::warn!(
                    "random search ends after {proposed} of {} networks: {TRIES_PER_PROPOSAL} random networks in a row \
                     were known, so that few others can be left",
                    self.config.evaluations
                );
            }
            return Ok(Step::Finished(Value::Null));
        }
        Ok(Step::Evaluate(Batch { candidates, notes: Value::Null }))
    }

    fn tell(&mut self, _: &[Evaluation]) -> Result<()> {
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        self.setting.check_loaded(folder, &state.known)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain};

    fn build(evaluations: usize) -> RandomSearch {
        let config = RandomSearchConfig { evaluations, batch: 7, epochs: 3.0 };
        RandomSearch::build(config, chain(), Vec::new(), &testing::context(None)).expect("the configuration is sound")
    }

    #[test]
    fn it_trains_once_and_proposes_each_network_once() {
        let steps = testing::drive(&mut build(20), Seed(1));
        assert!(matches!(&steps[0], Step::Train(plan) if plan.epochs == 3.0));
        let genomes = testing::genomes(&steps);
        assert_eq!(genomes.len(), 20);
        assert_eq!(genomes.iter().collect::<BTreeSet<_>>().len(), 20);
    }

    #[test]
    fn it_ends_when_the_space_has_no_other_network() {
        let genomes = testing::genomes(&testing::drive(&mut build(100_000), Seed(1)));
        let space = chain();
        let keys: BTreeSet<_> =
            genomes.iter().map(|genome| space.canonical(genome).expect("it is of the space")).collect();
        assert_eq!(keys.len(), genomes.len());
        // Chains of up to four layers of two kinds: 1 + 2 + 4 + 8 + 16 networks.
        assert!((28..=31).contains(&genomes.len()), "{}", genomes.len());
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(|| build(40));
    }

    #[test]
    fn limits_are_kept() {
        let config = RandomSearchConfig { epochs: 0.0, ..RandomSearchConfig::default() };
        let context = testing::context(Some(100.0));
        let mut strategy = RandomSearch::build(config.clone(), chain(), Vec::new(), &context).expect("it can be met");
        let genomes = testing::genomes(&testing::drive(&mut strategy, Seed(1)));
        assert!(genomes.iter().all(|genome| chain().network().cost(genome).params <= 100));
        assert!(!genomes.is_empty() && genomes.len() < 28);
        let none = testing::context(Some(1.0));
        let error = RandomSearch::build(config, chain(), Vec::new(), &none).err().expect("it cannot be met");
        assert!(error.message.contains("no network can keep params at most 1"), "{error}");
    }
}
