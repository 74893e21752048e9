//! Regularized evolution (Real et al. 2019): the oldest network dies, not the worst.

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
};

use pleach_sdk::{
    Batch, BuildStrategy, Component, Context, Error, Evaluation, Genome, Goal, Result, SearchSpace, Seed, Step,
    Strategy, WeightedOperator, config,
    rand::seq::IteratorRandom,
    serde::{Deserialize, Serialize},
    serde_json::Value,
    state,
};

use crate::{
    operators::{Operators, not_used},
    proposals::Setting,
};

config! {
    /// Aging evolution. Population and sample are those of Real et al. 2019.
    pub struct RegularizedEvolutionConfig {
        /// Networks in the population.
        #[schemars(range(min = 1, max = 100_000))]
        pub population: usize = 100,
        /// Networks that compete to become a parent.
        #[schemars(range(min = 1, max = 100_000))]
        pub sample: usize = 25,
        /// Networks to evaluate, the first population among them.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// Children of one step. Real et al. have 1; more keep an estimator busy and let children
        /// of one step not know of each other.
        #[schemars(range(min = 1, max = 100_000))]
        pub batch: usize = 10,
        /// Whether no network is proposed twice. Real et al. do not look for repeats.
        pub distinct: bool = true,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 50.0,
    }
}

/// Aging evolution by mutation.
pub struct RegularizedEvolution {
    config: RegularizedEvolutionConfig,
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
    proposed: usize,
    /// Oldest first.
    population: VecDeque<(Genome, Vec<f64>)>,
}

impl Component for RegularizedEvolution {
    type Config = RegularizedEvolutionConfig;
    const NAME: &'static str = "regularized-evolution";
    const SUMMARY: &'static str = "aging evolution by mutation (Real et al. 2019)";

    fn example() -> RegularizedEvolutionConfig {
        RegularizedEvolutionConfig::default()
    }
}

impl BuildStrategy for RegularizedEvolution {
    fn build(
        config: RegularizedEvolutionConfig,
        space: Arc<dyn SearchSpace>,
        mut operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        if config.sample > config.population {
            return Err(Error::config(format!(
                "a sample of {} is more than the population of {}",
                config.sample, config.population
            ))
            .at("/sample"));
        }
        let mutations = Operators::take("regularized-evolution", 1, &mut operators)?;
        not_used("regularized-evolution", &operators);
        let goal = context.objectives.only_goal("regularized-evolution")?;
        let setting = Setting::new(space, context)?;
        Ok(RegularizedEvolution { config, setting, goal, mutations, state: State::default() })
    }
}

impl Strategy for RegularizedEvolution {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        let is_founding = self.state.proposed < self.config.population;
        let wanted = if is_founding { self.config.population - self.state.proposed } else { self.config.batch };
        let wanted = wanted.min(self.config.evaluations.saturating_sub(self.state.proposed));
        let mut generator = seed.generator();
        let mut known = std::mem::take(&mut self.state.known);
        let mut candidates = Vec::new();
        for _ in 0..wanted {
            let make = |generator: &mut _| {
                if is_founding || self.state.population.is_empty() {
                    return self.setting.random(generator);
                }
                self.mutations.child(&self.setting.region, generator, |generator| self.parent(generator))
            };
            if !self.config.distinct {
                known.clear();
            }
            match self.setting.propose(&mut known, &mut generator, make)? {
                Some(candidate) => candidates.push(candidate),
                None => break,
            }
        }
        self.state.known = known;
        self.state.proposed += candidates.len();
        if candidates.is_empty() {
            return Ok(Step::Finished(Value::Null));
        }
        Ok(Step::Evaluate(Batch { candidates, notes: Value::Null }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        for evaluation in evaluations {
            // A candidate that failed is not born; the oldest lives on.
            let Ok(values) = &evaluation.outcome else { continue };
            self.state.population.push_back((evaluation.genome.clone(), values.clone()));
            if self.state.population.len() > self.config.population {
                self.state.population.pop_front();
            }
        }
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        self.setting
            .check_loaded(folder, state.known.iter().chain(state.population.iter().map(|(genome, _)| genome)))?;
        self.state = state;
        Ok(())
    }
}

impl RegularizedEvolution {
    /// The best of a sample of the population.
    fn parent(&self, generator: &mut impl pleach_sdk::rand::Rng) -> Genome {
        let mut sample = self.state.population.iter().choose_multiple(generator, self.config.sample).into_iter();
        let first = sample.next().expect("the population is not empty");
        let better = |one: &(Genome, Vec<f64>), other: &(Genome, Vec<f64>)| {
            self.setting.objectives.better(self.goal, &one.1, &other.1)
        };
        sample.fold(first, |best, next| if better(next, best) { next } else { best }).0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain, mutation};

    fn config() -> RegularizedEvolutionConfig {
        RegularizedEvolutionConfig { population: 5, sample: 2, evaluations: 20, batch: 2, distinct: true, epochs: 1.0 }
    }

    fn build() -> RegularizedEvolution {
        RegularizedEvolution::build(config(), chain(), vec![mutation("mutation", 1)], &testing::context(None))
            .expect("the configuration is sound")
    }

    #[test]
    fn it_founds_a_population_and_then_mutates_it() {
        let steps = testing::drive(&mut build(), Seed(1));
        assert!(matches!(&steps[0], Step::Train(_)));
        let Step::Evaluate(founders) = &steps[1] else { panic!("a population comes first") };
        assert_eq!(founders.candidates.len(), 5);
        assert!(founders.candidates.iter().all(|candidate| candidate.origin.by == "random"));
        let Step::Evaluate(children) = &steps[2] else { panic!("children come next") };
        assert!(
            children.candidates.iter().all(|child| child.origin.by == "mutation" && child.origin.parents.len() == 1)
        );
        assert!(testing::genomes(&steps).len() <= 20);
    }

    #[test]
    fn repeats_are_proposed_where_they_may_be() {
        let config = RegularizedEvolutionConfig { distinct: false, evaluations: 200, ..config() };
        let mut strategy =
            RegularizedEvolution::build(config, chain(), vec![mutation("mutation", 1)], &testing::context(None))
                .expect("the configuration is sound");
        let genomes = testing::genomes(&testing::drive(&mut strategy, Seed(1)));
        // The space has 31 networks.
        assert_eq!(genomes.len(), 200);
    }

    #[test]
    fn the_oldest_dies() {
        let mut strategy = build();
        let evaluation = |number: u16| Evaluation {
            genome: Genome(vec![number; 4]),
            outcome: if number == 3 { Err("no memory".to_owned()) } else { Ok(vec![f64::from(number)]) },
        };
        strategy.tell(&(0..8).map(evaluation).collect::<Vec<_>>()).expect("nothing can fail");
        let genes: Vec<u16> = strategy.state.population.iter().map(|(genome, _)| genome[0]).collect();
        assert_eq!(genes, [2, 4, 5, 6, 7], "0 and 1 are too old, 3 was never born");
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(build);
    }

    #[test]
    fn it_finds_better_networks_than_its_founders() {
        let steps = testing::drive(&mut build(), Seed(3));
        let best = |genomes: &[Genome]| genomes.iter().map(testing::fitness).fold(0.0, f64::max);
        let genomes = testing::genomes(&steps);
        assert!(best(&genomes) > best(&genomes[..5]));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |config: RegularizedEvolutionConfig, arity, expected: &str| {
            let built =
                RegularizedEvolution::build(config, chain(), vec![mutation("two", arity)], &testing::context(None));
            let error = built.err().expect("it cannot work");
            assert!(error.message.contains(expected), "{error}");
        };
        check(config(), 2, "add an operator of one parent");
        check(
            RegularizedEvolutionConfig { sample: 6, ..config() },
            1,
            "a sample of 6 is more than the population of 5",
        );
    }
}
