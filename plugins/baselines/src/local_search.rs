//! Local search (White, Nolen and Savani 2021, "Exploring the Loss Landscape in Neural
//! Architecture Search", first called "Local Search is State of the Art for NAS Benchmarks").
//!
//! From a random network to its best neighbour, as long as that is better; then again from
//! another random network. A neighbour differs in one gene.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Evaluation, Genome, Goal, Origin, Result, SearchSpace, Seed,
    Step, Strategy, WeightedOperator, config,
    rand::seq::IndexedRandom,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

use crate::{
    operators::not_used,
    proposals::{Setting, pairs},
};

config! {
    /// Climbs from random networks. The default is algorithm 1 of White et al. 2021.
    pub struct LocalSearchConfig {
        /// Networks to evaluate.
        #[schemars(range(min = 1))]
        pub evaluations: usize = 1000,
        /// Which neighbour is gone to.
        pub to: To = To::Best,
        /// Epochs that the estimator's weights are trained for before the first evaluation.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub epochs: f64 = 50.0,
    }
}

/// Which neighbour is gone to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum To {
    /// The best of all, which are evaluated in one step.
    Best,
    /// The first that is better, each a step of its own, in random order: what the paper calls
    /// query until lower.
    FirstBetter,
}

/// Climbing from random networks.
pub struct LocalSearch {
    config: LocalSearchConfig,
    setting: Setting,
    goal: (usize, Goal),
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    trained: bool,
    known: BTreeSet<Genome>,
    /// Networks that were proposed.
    proposed: usize,
    /// Climbs that have begun.
    climbs: u64,
    /// Where the climb has come to; none before its first network is measured.
    here: Option<(Genome, Vec<f64>)>,
    /// What networks were measured at, by key.
    #[serde(with = "pairs")]
    measured: BTreeMap<Genome, Vec<f64>>,
}

impl Component for LocalSearch {
    type Config = LocalSearchConfig;
    const NAME: &'static str = "local-search";
    const SUMMARY: &'static str = "from neighbour to better neighbour, and again from elsewhere (White et al. 2021)";

    fn example() -> LocalSearchConfig {
        LocalSearchConfig::default()
    }
}

impl BuildStrategy for LocalSearch {
    fn build(
        config: LocalSearchConfig,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        not_used("local-search", &operators);
        let goal = context.objectives.only_goal("local-search")?;
        Ok(LocalSearch { config, setting: Setting::new(space, context)?, goal, state: State::default() })
    }
}

impl Strategy for LocalSearch {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        if !std::mem::replace(&mut self.state.trained, true) && self.config.epochs > 0.0 {
            return Ok(self.setting.training(self.config.epochs));
        }
        let left = self.config.evaluations.saturating_sub(self.state.proposed);
        let mut generator = seed.generator();
        let mut candidates = Vec::new();
        while left > 0 && candidates.is_empty() {
            let Some((here, values)) = self.state.here.clone() else {
                let random = |generator: &mut _| self.setting.random(generator);
                let first = self.setting.propose(&mut self.state.known, &mut generator, random)?;
                let Some(first) = first else { break };
                self.state.climbs += 1;
                candidates.push(first);
                break;
            };
            let neighbours = self.neighbours(&here)?;
            let (known, unknown): (Vec<_>, Vec<_>) =
                neighbours.into_iter().partition(|(key, _)| self.state.known.contains(key));
            let better = self.best_of(&known, &values);
            let is_to_move = unknown.is_empty() || (self.config.to == To::FirstBetter && better.is_some());
            if is_to_move {
                // At the top a climb ends, and the next one begins.
                self.state.here = better;
                continue;
            }
            let asked = match self.config.to {
                To::Best => unknown.into_iter().take(left).collect(),
                To::FirstBetter => unknown.choose(&mut generator).cloned().into_iter().collect::<Vec<_>>(),
            };
            for (key, genome) in asked {
                self.state.known.insert(key);
                let origin = Origin { by: "neighbour".to_owned(), parents: vec![here.clone()] };
                candidates.push(Candidate { genome, origin });
            }
        }
        self.state.proposed += candidates.len();
        if candidates.is_empty() {
            return Ok(Step::Finished(Value::Null));
        }
        Ok(Step::Evaluate(Batch { candidates, notes: json!({ "climb": self.state.climbs }) }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        for evaluation in evaluations {
            let Ok(values) = &evaluation.outcome else { continue };
            let key = self.setting.space.canonical(&evaluation.genome)?;
            self.state.measured.insert(key, values.clone());
            self.state.here.get_or_insert_with(|| (evaluation.genome.clone(), values.clone()));
        }
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        let here = state.here.iter().map(|(genome, _)| genome);
        self.setting.check_loaded(folder, here.chain(&state.known).chain(state.measured.keys()))?;
        self.state = state;
        Ok(())
    }
}

impl LocalSearch {
    /// The networks inside the limits that differ from one in one gene, with their keys; each once.
    fn neighbours(&self, here: &Genome) -> Result<Vec<(Genome, Genome)>> {
        let Setting { space, region, objectives } = &self.setting;
        let network = space.network();
        let mut seen = BTreeSet::from([space.canonical(here)?]);
        let mut neighbours = Vec::new();
        for slot in 0..here.len() {
            for choice in region.allowed(slot).iter().filter(|choice| **choice != here[slot]) {
                let mut neighbour = here.clone();
                neighbour.0[slot] = *choice;
                let neighbour = network.aligned(&neighbour, region);
                let key = space.canonical(&neighbour)?;
                if objectives.allows(network.cost(&neighbour)) && seen.insert(key.clone()) {
                    neighbours.push((key, neighbour));
                }
            }
        }
        Ok(neighbours)
    }

    /// The best of some networks, where it is better than `values`.
    fn best_of(&self, networks: &[(Genome, Genome)], values: &[f64]) -> Option<(Genome, Vec<f64>)> {
        let objectives = &self.setting.objectives;
        let measured = networks.iter().filter_map(|(key, genome)| Some((genome, self.state.measured.get(key)?)));
        let best = measured.min_by(|(_, one), (_, other)| objectives.compare(self.goal, one, other));
        best.filter(|(_, best)| objectives.better(self.goal, best, values))
            .map(|(genome, best)| (genome.clone(), best.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain};

    fn build(to: To, evaluations: usize, params_at_most: Option<f64>) -> LocalSearch {
        let config = LocalSearchConfig { evaluations, to, epochs: 2.0 };
        LocalSearch::build(config, chain(), Vec::new(), &testing::context(params_at_most)).expect("it is sound")
    }

    fn batches(steps: &[Step]) -> Vec<&Batch> {
        steps.iter().filter_map(|step| if let Step::Evaluate(batch) = step { Some(batch) } else { None }).collect()
    }

    #[test]
    fn it_climbs_by_single_genes_and_begins_again_at_the_top() {
        let steps = testing::drive(&mut build(To::Best, 1000, None), Seed(1));
        let batches = batches(&steps);
        assert_eq!(batches[0].candidates.len(), 1);
        let space = chain();
        let mut here = batches[0].candidates[0].genome.clone();
        for batch in batches[1..].iter().take_while(|batch| batch.notes["climb"] == 1) {
            let parents: BTreeSet<_> = batch.candidates.iter().flat_map(|one| &one.origin.parents).collect();
            let parent = parents.first().expect("a neighbour has a parent");
            assert_eq!(parents.len(), 1);
            assert!(testing::fitness(parent) >= testing::fitness(&here), "it goes up");
            here = (*parent).clone();
        }
        // Every neighbour of 2-2-2-2 is worse; nothing on the way there is a top.
        assert_eq!(*here, [2; 4]);
        let last = batches.last().expect("there are some");
        assert!(last.notes["climb"].as_u64().is_some_and(|climb| climb > 1), "{:?}", last.notes);
        let keys: Vec<_> = testing::genomes(&steps)
            .iter()
            .map(|genome| space.canonical(genome).expect("it is of the space"))
            .collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "nothing is evaluated twice");
        assert!(keys.len() >= 28, "begun again and again, it sees all of 31 networks: {}", keys.len());
    }

    #[test]
    fn the_first_better_neighbour_needs_no_other() {
        let (best, first) = (build(To::Best, 1000, None), build(To::FirstBetter, 1000, None));
        let until_the_top = |mut strategy: LocalSearch| {
            let genomes = testing::genomes(&testing::drive(&mut strategy, Seed(4)));
            genomes.iter().position(|genome| **genome == [2; 4]).expect("it comes to the top")
        };
        assert!(until_the_top(first) <= until_the_top(best));
        let steps = testing::drive(&mut build(To::FirstBetter, 10, None), Seed(4));
        assert!(batches(&steps).iter().all(|batch| batch.candidates.len() == 1));
        assert_eq!(testing::genomes(&steps).len(), 10);
    }

    #[test]
    fn it_stays_inside_the_limits_and_the_count() {
        let steps = testing::drive(&mut build(To::Best, 1000, Some(100.0)), Seed(1));
        let genomes = testing::genomes(&steps);
        assert!(genomes.iter().all(|genome| chain().network().cost(genome).params <= 100));
        assert!(genomes.len() > 3);
        assert_eq!(testing::genomes(&testing::drive(&mut build(To::Best, 5, None), Seed(1))).len(), 5);
    }

    #[test]
    fn a_first_network_that_fails_is_left() {
        let mut strategy = build(To::Best, 1000, None);
        strategy.next(Seed(0)).expect("it trains");
        let Ok(Step::Evaluate(batch)) = strategy.next(Seed(1)) else { panic!("a network comes next") };
        let genome = batch.candidates[0].genome.clone();
        strategy.tell(&[Evaluation { genome, outcome: Err("no memory".to_owned()) }]).expect("it is data");
        let Ok(Step::Evaluate(batch)) = strategy.next(Seed(2)) else { panic!("a network comes next") };
        assert_eq!(batch.candidates[0].origin.by, "random");
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(|| build(To::Best, 1000, None));
        testing::check_state(|| build(To::FirstBetter, 20, None));
    }
}
