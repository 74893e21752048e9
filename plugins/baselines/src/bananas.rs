//! A search by a model, after BANANAS (White, Neiswanger and Savani 2021, "BANANAS: Bayesian
//! Optimization with Neural Architectures for Neural Architecture Search").
//!
//! An ensemble learns from what was measured (`predictor.rs`), mutations of the best networks are
//! candidates, and independent Thompson sampling chooses among them. What differs from the paper:
//! the members of the ensemble are random forests and not neural networks, and they read operations
//! and costs and not paths, which spaces without small cells have too many of.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Evaluation, Genome, Goal, Result, SearchSpace, Seed, Step,
    Strategy, WeightedOperator, config,
    rand::{Rng, seq::IndexedRandom},
    serde::{Deserialize, Serialize},
    serde_json::Value,
    state,
};

use crate::{
    operators::{Operators, not_used},
    predictor::{Prediction, Predictor, scores},
    proposals::Setting,
};

config! {
    /// A search by a model of what networks are worth. `initial`, `candidates` and `members` are
    /// those of White et al. 2021 and their published code, the number of evaluations is that of
    /// their experiments.
    pub struct BananasConfig {
        /// Networks to evaluate, the random ones among them.
        #[schemars(range(min = 1, max = 100_000))]
        pub evaluations: usize = 150,
        /// Random networks that the model first learns from.
        #[schemars(range(min = 2, max = 100_000))]
        pub initial: usize = 10,
        /// Networks of a step. More keep an estimator busy, and let the model learn less often;
        /// the published code has 10.
        #[schemars(range(min = 1, max = 100_000))]
        pub batch: usize = 1,
        /// Mutated networks that the model chooses among.
        #[schemars(range(min = 1, max = 100_000))]
        pub candidates: usize = 100,
        /// Best networks so far that are mutated.
        #[schemars(range(min = 1, max = 100_000))]
        pub parents: usize = 10,
        /// Members of the ensemble; their disagreement is the model's uncertainty.
        #[schemars(range(min = 2, max = 1000))]
        pub members: usize = 5,
        /// Trees of each member.
        #[schemars(range(min = 1, max = 1000))]
        pub trees: usize = 10,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 50.0,
    }
}

/// A search by a model.
pub struct Bananas {
    config: BananasConfig,
    setting: Setting,
    goal: (usize, Goal),
    mutations: Operators,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    trained: bool,
    known: BTreeSet<Genome>,
    /// Networks that were proposed.
    proposed: usize,
    /// The best first.
    measured: Vec<(Genome, Vec<f64>)>,
}

impl Component for Bananas {
    type Config = BananasConfig;
    const NAME: &'static str = "bananas";
    const SUMMARY: &'static str = "networks that a model expects much of (after BANANAS, White et al. 2021)";

    fn example() -> BananasConfig {
        BananasConfig::default()
    }
}

impl BuildStrategy for Bananas {
    fn build(
        config: BananasConfig,
        space: Arc<dyn SearchSpace>,
        mut operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let mutations = Operators::take("bananas", 1, &mut operators)?;
        not_used("bananas", &operators);
        let goal = context.objectives.only_goal("bananas")?;
        Ok(Bananas { config, setting: Setting::new(space, context)?, goal, mutations, state: State::default() })
    }
}

impl Strategy for Bananas {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        let left = self.config.evaluations.saturating_sub(self.state.proposed);
        let mut generator = seed.generator();
        let candidates = if self.state.proposed < self.config.initial || self.state.measured.is_empty() {
            let missing = self.config.initial.saturating_sub(self.state.proposed).max(1);
            self.random(missing.min(left), &mut generator)?
        } else {
            self.chosen(self.config.batch.min(left), &mut generator)?
        };
        if candidates.is_empty() {
            return Ok(Step::Finished(Value::Null));
        }
        for candidate in &candidates {
            self.state.known.insert(self.setting.space.canonical(&candidate.genome)?);
        }
        self.state.proposed += candidates.len();
        Ok(Step::Evaluate(Batch { candidates, notes: Value::Null }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let measured =
            evaluations.iter().filter_map(|one| Some((one.genome.clone(), one.outcome.as_ref().ok()?.clone())));
        self.state.measured.extend(measured);
        let objectives = &self.setting.objectives;
        self.state.measured.sort_by(|(_, one), (_, other)| objectives.compare(self.goal, one, other));
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        self.setting.check_loaded(folder, state.known.iter().chain(state.measured.iter().map(|(genome, _)| genome)))?;
        self.state = state;
        Ok(())
    }
}

impl Bananas {
    fn random(&self, wanted: usize, generator: &mut impl Rng) -> Result<Vec<Candidate>> {
        let mut known = self.state.known.clone();
        let mut drawn = Vec::new();
        while drawn.len() < wanted {
            let random = |generator: &mut _| self.setting.random(generator);
            let Some(candidate) = self.setting.propose(&mut known, generator, random)? else { break };
            drawn.push(candidate);
        }
        Ok(drawn)
    }

    /// The networks that the model chooses among mutations of the best; random ones where no
    /// mutation is new.
    fn chosen(&self, wanted: usize, generator: &mut impl Rng) -> Result<Vec<Candidate>> {
        let best = &self.state.measured[..self.config.parents.min(self.state.measured.len())];
        let mut known = self.state.known.clone();
        let mut candidates = Vec::new();
        while candidates.len() < self.config.candidates.max(wanted) {
            let make = |generator: &mut _| {
                let parent = |generator: &mut _| best.choose(generator).expect("something was measured").0.clone();
                self.mutations.child(&self.setting.region, generator, parent)
            };
            let Some(candidate) = self.setting.propose(&mut known, generator, make)? else { break };
            candidates.push(candidate);
        }
        if candidates.is_empty() {
            return self.random(wanted, generator);
        }
        let Setting { space, region, objectives } = &self.setting;
        let (learned, values): (Vec<&Genome>, Vec<&[f64]>) =
            self.state.measured.iter().map(|(genome, values)| (genome, values.as_slice())).unzip();
        let is_equal = |one: &&[f64], other: &&[f64]| objectives.compare(self.goal, one, other).is_eq();
        let predictor = Predictor { network: space.network(), region };
        let genomes: Vec<&Genome> = candidates.iter().map(|candidate| &candidate.genome).collect();
        let seeds: Vec<u64> = (0..self.config.members).map(|_| generator.random()).collect();
        let predictions =
            predictor.predict(&learned, &scores(&values, is_equal), &genomes, self.config.trees, &seeds)?;
        // Independent Thompson sampling: each candidate by a draw from its own distribution.
        let draws = predictions.iter().map(|prediction: &Prediction| prediction.draw(generator));
        let mut order: Vec<(f64, Candidate)> = draws.zip(candidates.clone()).collect();
        order.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        Ok(order.into_iter().take(wanted).map(|(_, candidate)| candidate).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain, mutation};

    fn build_with(config: BananasConfig, params_at_most: Option<f64>) -> Bananas {
        Bananas::build(config, chain(), vec![mutation("mutation", 1)], &testing::context(params_at_most))
            .expect("the configuration is sound")
    }

    fn config() -> BananasConfig {
        BananasConfig { evaluations: 14, initial: 6, batch: 2, candidates: 10, epochs: 1.0, ..BananasConfig::default() }
    }

    #[test]
    fn it_begins_at_random_and_goes_on_with_mutations() {
        let steps = testing::drive(&mut build_with(config(), None), Seed(1));
        let batches: Vec<&Batch> =
            steps.iter().filter_map(|step| if let Step::Evaluate(batch) = step { Some(batch) } else { None }).collect();
        assert_eq!(batches.iter().map(|batch| batch.candidates.len()).collect::<Vec<_>>(), [6, 2, 2, 2, 2]);
        let origins = |batch: &Batch| batch.candidates.iter().map(|one| one.origin.by.clone()).collect::<BTreeSet<_>>();
        assert_eq!(origins(batches[0]), BTreeSet::from(["random".to_owned()]));
        assert_eq!(origins(batches[1]), BTreeSet::from(["mutation".to_owned()]));
        let genomes = testing::genomes(&steps);
        assert_eq!(genomes.iter().collect::<BTreeSet<_>>().len(), 14);
    }

    #[test]
    fn the_model_finds_the_best_network_sooner_than_chance() {
        // Among 31 networks a random one is the best after 16 on average.
        let found = |seed| {
            let config = BananasConfig { evaluations: 31, initial: 4, batch: 1, ..config() };
            let genomes = testing::genomes(&testing::drive(&mut build_with(config, None), Seed(seed)));
            genomes.iter().position(|genome| **genome == [2; 4]).expect("it sees nearly everything")
        };
        let mean = (0..20).map(found).sum::<usize>() as f64 / 20.0;
        assert!(mean < 10.0, "{mean}");
    }

    #[test]
    fn it_stays_inside_the_limits_and_ends_when_nothing_is_new() {
        let config = BananasConfig { evaluations: 1000, ..config() };
        let genomes = testing::genomes(&testing::drive(&mut build_with(config, Some(100.0)), Seed(1)));
        assert!(genomes.iter().all(|genome| chain().network().cost(genome).params <= 100));
        assert!((6..31).contains(&genomes.len()), "{}", genomes.len());
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(|| build_with(config(), None));
    }
}
