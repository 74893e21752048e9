//! Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983): a strategy that a stranger could have
//! written.

use std::{path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Error, Evaluation, Genome, Goal, Objectives, Origin, Region,
    Result, SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, config, export_plugin,
    rand::Rng,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

config! {
    /// Changes one gene at a time. Moves to a better network, and to one that is worse by `d` with
    /// the probability `exp(-d / temperature)`.
    pub struct SimulatedAnnealingConfig {
        /// Networks to propose in all.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// The temperature at the start, in units of the objective.
        #[schemars(range(min = 1e-12))]
        pub first: f64 = 0.02,
        /// The temperature at the end; it falls by the same factor with each network.
        #[schemars(range(min = 1e-12))]
        pub last: f64 = 0.001,
        /// Epochs of the one training before the first network, for estimators that train.
        #[schemars(range(min = 0.0))]
        pub epochs: f64 = 50.0,
    }
}

/// Simulated annealing.
pub struct SimulatedAnnealing {
    config: SimulatedAnnealingConfig,
    space: Arc<dyn SearchSpace>,
    objectives: Objectives,
    goal: (usize, Goal),
    state: State,
}

/// What a checkpoint keeps.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
struct State {
    trained: bool,
    proposed: usize,
    /// Moves to networks that were worse.
    descents: usize,
    /// Where the search stands; nowhere before the first network that could be evaluated.
    here: Option<Evaluation>,
    /// Drawn from 0 to 1 with the network that was proposed last: whether to move if it is worse.
    luck: f64,
}

impl Component for SimulatedAnnealing {
    type Config = SimulatedAnnealingConfig;
    const NAME: &'static str = "simulated-annealing";
    const SUMMARY: &'static str = "changes one gene at a time and moves to worse networks less and less";

    fn example() -> SimulatedAnnealingConfig {
        SimulatedAnnealingConfig::default()
    }
}

impl BuildStrategy for SimulatedAnnealing {
    fn build(
        config: SimulatedAnnealingConfig,
        space: Arc<dyn SearchSpace>,
        _: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        if config.last > config.first {
            let message = format!("a temperature of {} at the end is more than {} before", config.last, config.first);
            return Err(Error::config(message).at("/last"));
        }
        let objectives = context.objectives.clone();
        let goal = objectives.only_goal("simulated-annealing")?;
        let full = Region::complete(space.network());
        objectives.check_limits(space.network(), &full, &full)?;
        Ok(SimulatedAnnealing { config, space, objectives, goal, state: State::default() })
    }
}

impl SimulatedAnnealing {
    fn temperature(&self) -> f64 {
        let share = self.state.proposed as f64 / self.config.evaluations as f64;
        self.config.first * (self.config.last / self.config.first).powf(share)
    }

    /// Whether to move from some values to others (Metropolis et al. 1953).
    fn moves(&self, here: &[f64], there: &[f64]) -> bool {
        if !self.objectives.better(self.goal, here, there) {
            return true;
        }
        // Limits are not for sale.
        if self.objectives.violation(there) > self.objectives.violation(here) {
            return false;
        }
        let (index, _) = self.goal;
        self.state.luck < (-(here[index] - there[index]).abs() / self.temperature()).exp()
    }
}

/// A genome of the region that differs from one in one gene, if there is one.
fn neighbour(genome: &Genome, region: &Region, generator: &mut impl Rng) -> Option<Genome> {
    let others = |slot: usize| region.allowed(slot).iter().copied().filter(move |choice| *choice != genome[slot]);
    let slots: Vec<usize> = (0..genome.len()).filter(|slot| others(*slot).next().is_some()).collect();
    let slot = *slots.get(generator.random_range(0..slots.len().max(1)))?;
    let choices: Vec<u16> = others(slot).collect();
    let mut neighbour = genome.clone();
    neighbour.0[slot] = choices[generator.random_range(0..choices.len())];
    Some(neighbour)
}

impl Strategy for SimulatedAnnealing {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let region = Region::complete(self.space.network());
        if !self.state.trained {
            self.state.trained = true;
            return Ok(Step::Train(TrainPlan { region, epochs: self.config.epochs, stage: 0, notes: Value::Null }));
        }
        if self.state.proposed == self.config.evaluations {
            return Ok(Step::Finished(json!({ "descents": self.state.descents })));
        }
        let mut generator = seed.generator();
        let here = self.state.here.as_ref().map(|here| &here.genome);
        let candidate = match here.and_then(|here| Some((here, neighbour(here, &region, &mut generator)?))) {
            Some((here, genome)) => {
                Candidate { genome, origin: Origin { by: "neighbour".to_owned(), parents: vec![here.clone()] } }
            }
            None => Candidate { genome: region.sample(&mut generator), origin: Origin::new("random") },
        };
        self.state.luck = generator.random();
        self.state.proposed += 1;
        let notes = json!({ "temperature": self.temperature() });
        Ok(Step::Evaluate(Batch { candidates: vec![candidate], notes }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        for evaluation in evaluations {
            let Ok(there) = &evaluation.outcome else { continue };
            if let Some(Evaluation { outcome: Ok(here), .. }) = &self.state.here {
                if !self.moves(here, there) {
                    continue;
                }
                self.state.descents += usize::from(self.objectives.better(self.goal, here, there));
            }
            self.state.here = Some(evaluation.clone());
        }
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        if let Some(here) = &state.here {
            self.space.network().validate(&here.genome)?;
        }
        self.state = state;
        Ok(())
    }
}

export_plugin! {
    name: "simulated-annealing",
    summary: "simulated annealing",
    strategies: [SimulatedAnnealing],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, fixtures};

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_strategy() {
        conformance::strategy::<SimulatedAnnealing>(&Default::default()).assert();
    }

    /// Searches a smooth landscape to the end: its moves to worse networks, and where it ended.
    fn search(first: f64, last: f64) -> (usize, f64) {
        let context = Context { objectives: fixtures::accuracy(), ..Context::default() };
        let config = SimulatedAnnealingConfig { evaluations: 400, first, last, epochs: 1.0 };
        let built = SimulatedAnnealing::build(config, fixtures::chain(), Vec::new(), &context);
        let mut search = built.expect("it follows one objective");
        for number in 0.. {
            match search.next(Seed(1).derive("step", number)).expect("it goes on") {
                Step::Train(_) => {}
                Step::Evaluate(batch) => {
                    let genome = batch.candidates[0].genome.clone();
                    let fitness = genome.iter().map(|gene| f64::from(*gene)).sum();
                    search.tell(&[Evaluation { genome, outcome: Ok(vec![fitness]) }]).expect("it takes them");
                }
                Step::Finished(_) => break,
            }
        }
        let end = search.state.here.and_then(|here| here.outcome.ok()).expect("it stands somewhere");
        (search.state.descents, end[0])
    }

    // Two Blocks of three layers, whose last choices are 1, 3 and 3: the top has 14.

    #[test]
    fn what_is_cold_climbs_to_the_top() {
        assert_eq!(search(1e-9, 1e-9), (0, 14.0));
    }

    #[test]
    fn what_cools_down_leaves_the_slope_at_first_and_ends_at_the_top() {
        let (descents, end) = search(5.0, 1e-3);
        assert!(descents > 20, "{descents} descents");
        assert_eq!(end, 14.0);
    }

    #[test]
    fn what_stays_hot_does_not_settle() {
        assert!(search(1e9, 1e9).0 > 100);
    }

    #[test]
    fn a_temperature_that_rises_is_refused() {
        let config = SimulatedAnnealingConfig { first: 0.1, last: 0.2, ..SimulatedAnnealingConfig::default() };
        let context = Context { objectives: fixtures::accuracy(), ..Context::default() };
        let error = SimulatedAnnealing::build(config, fixtures::chain(), Vec::new(), &context).err();
        assert!(error.is_some_and(|error| error.message.contains("0.2 at the end is more than 0.1")));
    }
}
