//! Local search (White, Nolen and Savani 2021): a strategy that a stranger could have written.

use std::{path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Evaluation, Genome, Goal, Objectives, Origin, Region, Result,
    SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, config, export_plugin,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

config! {
    /// Evaluates every network that differs from the best so far in one gene, moves to the best of
    /// them, and starts anew at random where none is better.
    pub struct LocalSearchConfig {
        /// Networks to propose in all.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// Epochs of the one training before the first network, for estimators that train.
        #[schemars(range(min = 0.0))]
        pub epochs: f64 = 50.0,
    }
}

/// Local search.
pub struct LocalSearch {
    config: LocalSearchConfig,
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
    starts: usize,
    /// Where the search stands; nowhere before it starts anew.
    here: Option<Evaluation>,
}

impl Component for LocalSearch {
    type Config = LocalSearchConfig;
    const NAME: &'static str = "local-search";
    const SUMMARY: &'static str = "moves to the best neighbour, starts anew where none is better";

    fn example() -> LocalSearchConfig {
        LocalSearchConfig::default()
    }
}

impl BuildStrategy for LocalSearch {
    fn build(
        config: LocalSearchConfig,
        space: Arc<dyn SearchSpace>,
        _: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let objectives = context.objectives.clone();
        let goal = objectives.only_goal("local-search")?;
        let full = Region::complete(space.network());
        objectives.check_limits(space.network(), &full, &full)?;
        Ok(LocalSearch { config, space, objectives, goal, state: State::default() })
    }
}

/// Every genome of the region that differs from one in one gene.
fn neighbours(genome: &Genome, region: &Region) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (slot, choices) in region.slots().iter().enumerate() {
        for choice in choices.iter().filter(|choice| **choice != genome[slot]) {
            let mut neighbour = genome.clone();
            neighbour.0[slot] = *choice;
            let origin = Origin { by: "neighbour".to_owned(), parents: vec![genome.clone()] };
            candidates.push(Candidate { genome: neighbour, origin });
        }
    }
    candidates
}

impl Strategy for LocalSearch {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let region = Region::complete(self.space.network());
        if !self.state.trained {
            self.state.trained = true;
            return Ok(Step::Train(TrainPlan { region, epochs: self.config.epochs, stage: 0, notes: Value::Null }));
        }
        let left = self.config.evaluations.saturating_sub(self.state.proposed);
        if left == 0 {
            return Ok(Step::Finished(json!({ "starts": self.state.starts })));
        }
        let mut candidates = self.state.here.as_ref().map_or(Vec::new(), |here| neighbours(&here.genome, &region));
        if candidates.is_empty() {
            self.state.here = None;
            self.state.starts += 1;
            let genome = region.sample(&mut seed.generator());
            candidates.push(Candidate { genome, origin: Origin::new("random") });
        }
        candidates.truncate(left);
        self.state.proposed += candidates.len();
        Ok(Step::Evaluate(Batch { candidates, notes: json!({ "start": self.state.starts }) }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let (mut best, mut has_moved) = (self.state.here.take(), false);
        for evaluation in evaluations {
            let Ok(values) = &evaluation.outcome else { continue };
            let is_better = match best.as_ref().map(|best| &best.outcome) {
                Some(Ok(others)) => self.objectives.better(self.goal, values, others),
                _ => true,
            };
            if is_better {
                (best, has_moved) = (Some(evaluation.clone()), true);
            }
        }
        self.state.here = best.filter(|_| has_moved);
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
    name: "local-search",
    summary: "local search",
    strategies: [LocalSearch],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, fixtures};

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_strategy() {
        conformance::strategy::<LocalSearch>(&Default::default()).assert();
    }

    /// Searches until the end; the fitness at which each start ended.
    fn ends(fitness: impl Fn(&Genome) -> f64) -> Vec<f64> {
        let context = Context { objectives: fixtures::accuracy(), ..Context::default() };
        let config = LocalSearchConfig { evaluations: 500, epochs: 1.0 };
        let built = LocalSearch::build(config, fixtures::chain(), Vec::new(), &context);
        let mut search = built.expect("it follows one objective");
        let (mut ends, mut here) = (Vec::new(), 0.0);
        for number in 0.. {
            match search.next(Seed(1).derive("step", number)).expect("it goes on") {
                Step::Train(_) => {}
                Step::Evaluate(batch) => {
                    let genomes = batch.candidates.iter().map(|candidate| candidate.genome.clone());
                    let evaluations: Vec<_> =
                        genomes.map(|genome| Evaluation { outcome: Ok(vec![fitness(&genome)]), genome }).collect();
                    search.tell(&evaluations).expect("it takes them");
                    match &search.state.here {
                        Some(Evaluation { outcome: Ok(values), .. }) => here = values[0],
                        _ => ends.push(here),
                    }
                }
                Step::Finished(_) => return ends,
            }
        }
        ends
    }

    #[test]
    fn every_start_climbs_to_the_top_of_a_smooth_landscape() {
        let ends = ends(|genome| genome.iter().map(|gene| f64::from(*gene)).sum());
        // Two Blocks of three layers, whose last choices are 1, 3 and 3.
        assert!(ends.len() > 3 && ends.iter().all(|end| *end == 14.0), "{ends:?}");
    }
}
