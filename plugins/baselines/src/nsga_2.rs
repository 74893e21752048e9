//! NSGA-II (Deb, Pratap, Agarwal and Meyarivan 2002, "A fast and elitist multiobjective genetic
//! algorithm: NSGA-II"): a whole front of trade-offs in one search.
//!
//! Sorting, crowding and survival are `pleach_sdk::pareto`'s; limits are objectives' as in its
//! section VI, a network inside all of them before any outside.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Component, Context, Error, Evaluation, Genome, Origin, Result, SearchSpace, Seed, Step,
    Strategy, WeightedOperator, config,
    pareto::{Point, Standing, standings, survivors},
    rand::Rng,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

use crate::{
    operators::{Operators, not_used},
    proposals::Setting,
};

config! {
    /// A front of trade-offs between all objectives that have a direction. Population and
    /// crossover are those of Deb et al. 2002 (section V A); the paper evaluates 25,000 points.
    pub struct Nsga2Config {
        /// Networks in the population, and children in each generation.
        #[schemars(range(min = 2, max = 100_000))]
        pub population: usize = 100,
        /// Networks to evaluate, the first population among them.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// Probability that a child is made of two parents before it is mutated.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub crossover: f64 = 0.9,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 50.0,
    }
}

/// The elitist non-dominated sorting genetic algorithm.
pub struct Nsga2 {
    config: Nsga2Config,
    setting: Setting,
    crossovers: Option<Operators>,
    mutations: Option<Operators>,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    trained: bool,
    known: BTreeSet<Genome>,
    /// Networks that were proposed.
    proposed: usize,
    /// Generations that were proposed.
    generation: u32,
    /// The best first.
    population: Vec<(Genome, Vec<f64>)>,
}

impl Component for Nsga2 {
    type Config = Nsga2Config;
    const NAME: &'static str = "nsga-2";
    const SUMMARY: &'static str = "a front of trade-offs between several objectives (NSGA-II, Deb et al. 2002)";

    fn example() -> Nsga2Config {
        Nsga2Config::default()
    }
}

impl BuildStrategy for Nsga2 {
    fn build(
        config: Nsga2Config,
        space: Arc<dyn SearchSpace>,
        mut operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let crossovers = if config.crossover > 0.0 { Operators::of_arity(2, &mut operators)? } else { None };
        let mutations = Operators::of_arity(1, &mut operators)?;
        if crossovers.is_none() && mutations.is_none() {
            return Err(Error::config(
                "nsga-2 makes children by crossover and mutation: add an operator of one or two parents to \
                 `operators:`, such as gevonas/uniform-crossover and gevonas/operation-mutation",
            ));
        }
        not_used("nsga-2", &operators);
        let setting = Setting::new(space, context)?;
        Ok(Nsga2 { config, setting, crossovers, mutations, state: State::default() })
    }
}

impl Strategy for Nsga2 {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        let wanted = self.config.population.min(self.config.evaluations.saturating_sub(self.state.proposed));
        let mut generator = seed.generator();
        let mut known = std::mem::take(&mut self.state.known);
        let standings = standings(&self.points());
        let mut candidates = Vec::new();
        for _ in 0..wanted {
            let make = |generator: &mut _| {
                if standings.is_empty() { self.setting.random(generator) } else { self.child(&standings, generator) }
            };
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
        let notes = json!({ "stage": 0, "generation": self.state.generation });
        self.state.generation += 1;
        Ok(Step::Evaluate(Batch { candidates, notes }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let measured =
            evaluations.iter().filter_map(|one| Some((one.genome.clone(), one.outcome.as_ref().ok()?.clone())));
        self.state.population.extend(measured);
        let kept = survivors(&self.points(), self.config.population);
        self.state.population = kept.into_iter().map(|index| self.state.population[index].clone()).collect();
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

impl Nsga2 {
    fn points(&self) -> Vec<Point> {
        self.state.population.iter().map(|(_, values)| self.setting.objectives.point(values)).collect()
    }

    /// The better of two networks of the population.
    fn parent(&self, standings: &[Standing], generator: &mut impl Rng) -> Genome {
        let [one, other] = [(); 2].map(|()| generator.random_range(0..standings.len()));
        let better = if standings[other].compare(&standings[one]).is_lt() { other } else { one };
        self.state.population[better].0.clone()
    }

    /// A child of two parents, or a copy of one, mutated.
    fn child(&self, standings: &[Standing], generator: &mut impl Rng) -> Result<(Genome, Origin)> {
        let region = &self.setting.region;
        let crossed = match &self.crossovers {
            Some(crossovers) if self.mutations.is_none() || generator.random_bool(self.config.crossover) => {
                Some(crossovers.child(region, generator, |generator| self.parent(standings, generator))?)
            }
            _ => None,
        };
        match (crossed, &self.mutations) {
            (Some((child, origin)), Some(mutations)) => {
                let (child, mutation) = mutations.child(region, generator, |_| child.clone())?;
                Ok((child, Origin { by: format!("{} + {}", origin.by, mutation.by), ..origin }))
            }
            (Some(crossed), None) => Ok(crossed),
            (None, mutations) => {
                mutations
                    .as_ref()
                    .expect("it was built with operators")
                    .child(region, generator, |generator| self.parent(standings, generator))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pleach_sdk::{Region, pareto};

    use super::*;
    use crate::testing::{self, chain, mutation};

    fn config() -> Nsga2Config {
        Nsga2Config { population: 6, evaluations: 24, crossover: 0.9, epochs: 1.0 }
    }

    fn build_with(config: Nsga2Config, operators: &[(&str, usize)], context: &Context) -> Result<Nsga2> {
        let operators = operators.iter().map(|(name, arity)| mutation(name, *arity)).collect();
        Nsga2::build(config, chain(), operators, context)
    }

    fn build() -> Nsga2 {
        build_with(config(), &[("crossover", 2), ("mutation", 1)], &testing::accuracy_and_params())
            .expect("the configuration is sound")
    }

    #[test]
    fn children_are_crossed_and_mutated() {
        let steps = testing::drive(&mut build(), Seed(1));
        let origins: Vec<(String, usize)> = steps[2..]
            .iter()
            .filter_map(|step| if let Step::Evaluate(batch) = step { Some(&batch.candidates) } else { None })
            .flatten()
            .map(|child| (child.origin.by.clone(), child.origin.parents.len()))
            .collect();
        assert!(origins.contains(&("crossover + mutation".to_owned(), 2)));
        assert!(origins.contains(&("mutation".to_owned(), 1)));
        assert_eq!(origins.len(), 18);
        let one_kind = |operators, by: &str| {
            let mut strategy = build_with(config(), operators, &testing::accuracy_and_params()).expect("it is sound");
            let steps = testing::drive(&mut strategy, Seed(1));
            let Step::Evaluate(batch) = &steps[2] else { panic!("children come after founders") };
            assert!(batch.candidates.iter().all(|child| child.origin.by == by), "{by}");
        };
        one_kind(&[("crossover", 2)], "crossover");
        one_kind(&[("mutation", 1)], "mutation");
    }

    #[test]
    fn the_population_is_the_front_and_networks_inside_the_limits_come_first() {
        let mut strategy = build();
        let evaluation = |(gene, outcome): (u16, Result<[f64; 2], ()>)| Evaluation {
            genome: Genome(vec![gene; 4]),
            outcome: outcome.map(|values| values.to_vec()).map_err(|()| "no memory".to_owned()),
        };
        let outcomes = [Ok([0.9, 90.0]), Ok([0.5, 10.0]), Ok([0.7, 60.0]), Ok([0.4, 95.0]), Err(()), Ok([0.6, 11.0])];
        strategy.config.population = 3;
        strategy.tell(&(0..).zip(outcomes).map(evaluation).collect::<Vec<_>>()).expect("nothing can fail");
        let genes = |strategy: &Nsga2| -> BTreeSet<u16> {
            strategy.state.population.iter().map(|(genome, _)| genome[0]).collect()
        };
        // Of the front of four the two ends stay, and of the others the less crowded.
        assert_eq!(genes(&strategy), BTreeSet::from([0, 1, 2]));
        strategy.setting.objectives.0[1].at_most = Some(20.0);
        let evaluation = Evaluation { genome: Genome(vec![9; 4]), outcome: Ok(vec![0.1, 15.0]) };
        strategy.tell(&[evaluation]).expect("nothing can fail");
        assert_eq!(strategy.state.population.iter().map(|(genome, _)| genome[0]).collect::<Vec<_>>(), [1, 9, 2]);
    }

    #[test]
    fn it_finds_most_of_the_front() {
        let context = testing::accuracy_and_params();
        let point = |genome: &Genome| context.objectives.point(&testing::values(genome));
        let everything: Vec<_> = testing::all(&Region::complete(chain().network())).iter().map(point).collect();
        let volume = |points: &[pareto::Point]| pareto::hypervolume(points, &[1.0, 1000.0]);
        let found: Vec<_> = testing::genomes(&testing::drive(&mut build(), Seed(2))).iter().map(point).collect();
        assert!(volume(&found) > 0.9 * volume(&everything), "{} of {}", volume(&found), volume(&everything));
        assert!(volume(&found) > volume(&found[..6]), "it is better than its founders");
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(build);
    }

    #[test]
    fn without_operators_it_says_what_is_missing() {
        let error = build_with(config(), &[], &testing::accuracy_and_params()).err().expect("there is none");
        assert!(error.message.contains("gevonas/uniform-crossover and"), "{error}");
        let no_crossover = Nsga2Config { crossover: 0.0, ..config() };
        let error = build_with(no_crossover, &[("crossover", 2)], &testing::context(None)).err();
        assert!(error.expect("nothing makes children").message.contains("add an operator"));
    }
}
