//! Evolution on a SuperNet that is trained once (Single Path One-Shot, Guo et al. 2020,
//! algorithm 1).
//!
//! The weights are trained on the whole space before the search, with the paths that the
//! estimator's own configuration draws, and stay as they are. Each generation crosses and mutates
//! the best networks found so far.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Component, Context, Evaluation, Genome, Goal, Result, SearchSpace, Seed, Step, Strategy,
    WeightedOperator, config,
    rand::{Rng, seq::IndexedRandom},
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

use crate::{
    operators::{Operators, not_used},
    proposals::Setting,
};

config! {
    /// Evolution on a SuperNet that is trained once. The numbers of networks are those of the
    /// paper (section 3.4 and its published code), which mutates with a rate of 0.1.
    pub struct SposEvolutionConfig {
        /// Networks in each generation.
        #[schemars(range(min = 1, max = 100_000))]
        pub population: usize = 50,
        /// Generations, the first and random one among them.
        #[schemars(range(min = 1, max = 1_000_000))]
        pub generations: u32 = 20,
        /// Best networks so far that have children.
        #[schemars(range(min = 1, max = 100_000))]
        pub parents: usize = 10,
        /// Children of two parents in each generation.
        #[schemars(range(max = 100_000))]
        pub crossovers: usize = 25,
        /// Children of one parent in each generation; random networks fill the rest.
        #[schemars(range(max = 100_000))]
        pub mutations: usize = 25,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 120.0,
    }
}

/// Evolution on a SuperNet that is trained once.
pub struct SposEvolution {
    config: SposEvolutionConfig,
    setting: Setting,
    goal: (usize, Goal),
    /// None where the configuration has no such children.
    crossovers: Option<Operators>,
    mutations: Option<Operators>,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    trained: bool,
    known: BTreeSet<Genome>,
    /// Generations that were proposed.
    generation: u32,
    /// The best networks so far, the best first.
    best: Vec<(Genome, Vec<f64>)>,
}

impl Component for SposEvolution {
    type Config = SposEvolutionConfig;
    const NAME: &'static str = "spos-evolution";
    const SUMMARY: &'static str = "evolution on a SuperNet that is trained once (Guo et al. 2020)";

    fn example() -> SposEvolutionConfig {
        SposEvolutionConfig::default()
    }
}

impl BuildStrategy for SposEvolution {
    fn build(
        config: SposEvolutionConfig,
        space: Arc<dyn SearchSpace>,
        mut operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let mut take =
            |arity, wanted| (wanted > 0).then(|| Operators::take("spos-evolution", arity, &mut operators)).transpose();
        let crossovers = take(2, config.crossovers)?;
        let mutations = take(1, config.mutations)?;
        not_used("spos-evolution", &operators);
        let goal = context.objectives.only_goal("spos-evolution")?;
        let setting = Setting::new(space, context)?;
        Ok(SposEvolution { config, setting, goal, crossovers, mutations, state: State::default() })
    }
}

impl Strategy for SposEvolution {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        if self.state.generation >= self.config.generations {
            return Ok(Step::Finished(Value::Null));
        }
        let mut generator = seed.generator();
        let mut known = std::mem::take(&mut self.state.known);
        let mut candidates = Vec::new();
        let region = &self.setting.region;
        let best = &self.state.best;
        if !best.is_empty() {
            let kinds = [(&self.crossovers, self.config.crossovers), (&self.mutations, self.config.mutations)];
            for (operators, wanted) in kinds {
                let Some(operators) = operators else { continue };
                for _ in 0..wanted {
                    let make =
                        |generator: &mut _| operators.child(region, generator, |generator| parent(best, generator));
                    let Some(child) = self.setting.propose(&mut known, &mut generator, make)? else { break };
                    candidates.push(child);
                }
            }
        }
        while candidates.len() < self.config.population {
            let random = |generator: &mut _| self.setting.random(generator);
            let Some(candidate) = self.setting.propose(&mut known, &mut generator, random)? else { break };
            candidates.push(candidate);
        }
        self.state.known = known;
        if candidates.is_empty() {
            return Ok(Step::Finished(Value::Null));
        }
        let notes = json!({ "stage": 0, "generation": self.state.generation });
        self.state.generation += 1;
        Ok(Step::Evaluate(Batch { candidates, notes }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let measured =
            evaluations.iter().filter_map(|one| Some((one.genome.clone(), one.outcome.as_ref().ok()?.clone())));
        self.state.best.extend(measured);
        let objectives = &self.setting.objectives;
        self.state.best.sort_by(|(_, one), (_, other)| objectives.compare(self.goal, one, other));
        self.state.best.truncate(self.config.parents);
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        self.setting.check_loaded(folder, state.known.iter().chain(state.best.iter().map(|(genome, _)| genome)))?;
        self.state = state;
        Ok(())
    }
}

/// One of the best networks, all alike.
fn parent(best: &[(Genome, Vec<f64>)], generator: &mut impl Rng) -> Genome {
    best.choose(generator).expect("there are parents before there are children").0.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain, mutation};

    fn config() -> SposEvolutionConfig {
        SposEvolutionConfig { population: 6, generations: 4, parents: 2, crossovers: 2, mutations: 2, epochs: 3.0 }
    }

    fn build() -> SposEvolution {
        let operators = vec![mutation("mutation", 1), mutation("crossover", 2)];
        SposEvolution::build(config(), chain(), operators, &testing::context(None)).expect("the configuration is sound")
    }

    fn origins(step: &Step) -> Vec<String> {
        let Step::Evaluate(batch) = step else { panic!("a generation comes next") };
        batch.candidates.iter().map(|candidate| candidate.origin.by.clone()).collect()
    }

    #[test]
    fn it_trains_once_and_breeds_from_the_best() {
        let steps = testing::drive(&mut build(), Seed(1));
        assert!(matches!(&steps[0], Step::Train(plan) if plan.epochs == 3.0));
        assert!(steps[1..].iter().all(|step| !matches!(step, Step::Train(_))));
        assert_eq!(origins(&steps[1]), ["random"; 6]);
        assert_eq!(origins(&steps[2]), ["crossover", "crossover", "mutation", "mutation", "random", "random"]);
        // Children of the second generation are those of the two best of the first.
        let mut first = testing::genomes(&steps[1..2]);
        first.sort_by(|one, other| testing::fitness(other).total_cmp(&testing::fitness(one)));
        let limit = testing::fitness(&first[1]);
        let Step::Evaluate(second) = &steps[2] else { panic!("a generation comes next") };
        let mut parents = second.candidates.iter().flat_map(|child| &child.origin.parents);
        assert!(parents.all(|parent| testing::fitness(parent) >= limit));
        assert!(steps.len() <= 6);
    }

    #[test]
    fn the_best_of_all_generations_are_the_parents() {
        let mut strategy = build();
        let evaluation = |number: u16| Evaluation {
            genome: Genome(vec![number; 4]),
            outcome: if number == 9 { Err("no memory".to_owned()) } else { Ok(vec![f64::from(number)]) },
        };
        for numbers in [[1, 8, 2], [9, 5, 3]] {
            strategy.tell(&numbers.map(evaluation)).expect("nothing can fail");
        }
        let best: Vec<u16> = strategy.state.best.iter().map(|(genome, _)| genome[0]).collect();
        assert_eq!(best, [8, 5]);
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(build);
    }

    #[test]
    fn operators_are_asked_for_where_children_need_them() {
        let built = |config, operators| SposEvolution::build(config, chain(), operators, &testing::context(None));
        let error = built(config(), vec![mutation("mutation", 1)]).err().expect("there is no crossover");
        assert!(error.message.contains("of 2 parents"), "{error}");
        let error = built(config(), vec![mutation("crossover", 2)]).err().expect("there is no mutation");
        assert!(error.message.contains("by mutation"), "{error}");
        let random = SposEvolutionConfig { crossovers: 0, mutations: 0, ..config() };
        assert_eq!(
            testing::genomes(&testing::drive(&mut built(random, Vec::new()).expect("sound"), Seed(1))).len(),
            24
        );
    }
}
