//! The strategy `gevonas/grow-and-prune`.
//!
//! A stage trains the SuperNet in the stage's region, evolves a population in it, prunes the
//! region to what the elite group uses, and lets layers be born. The next stage starts from the
//! grown population and the weights that were trained before.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Error, Evaluation, Generator, Genome, Goal, Objectives,
    Origin, Region, Result, SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, config,
    rand::{Rng, distr::weighted::WeightedIndex, prelude::Distribution},
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state, tracing,
};

use crate::{
    crossover::inside,
    growth::{self, Growth},
    population::{Comparison, Individual},
    prune::{self, PruneConfig},
};

config! {
    /// Growth, evolution, pruning.
    ///
    /// The defaults follow pEvoNAS (Sinha and Chen 2021), SPOS (Guo et al. 2020), CARS (Yang et
    /// al. 2020) and P-DARTS (Chen et al. 2019); none of them is from G-EvoNAS's paper.
    pub struct GrowAndPruneConfig {
        /// Networks in the population.
        #[schemars(range(min = 2, max = 100_000))]
        pub population: usize = 50,
        /// Generations of children in a stage.
        #[schemars(range(max = 1_000_000))]
        pub generations: u32 = 20,
        /// A stage ends after so many generations without a better network.
        #[schemars(range(min = 1, max = 1_000_000))]
        pub patience: u32 = 10,
        /// Networks that compete to become a parent.
        #[schemars(range(min = 1, max = 1000))]
        pub tournament: usize = 5,
        /// Best networks that live on unchanged.
        #[schemars(range(max = 1000))]
        pub elites: usize = 2,
        /// Random networks in each generation of children.
        #[schemars(range(max = 1000))]
        pub immigrants: usize = 2,
        /// How long the SuperNet is trained.
        pub epochs: EpochsConfig = EpochsConfig::default(),
        /// What a stage adds.
        pub growth: Growth = Growth::AllBlocks,
        /// Layers of each Block in the first stage.
        #[schemars(range(min = 1, max = 1000))]
        pub layers_at_start: usize = 1,
        /// Layers that a stage adds to a Block.
        #[schemars(range(min = 1, max = 1000))]
        pub layers_per_stage: usize = 1,
        /// What is kept at the end of a stage.
        pub prune: PruneConfig = PruneConfig::default(),
    }
}

config! {
    /// Epochs of training: how many times the training images are seen.
    pub struct EpochsConfig {
        /// In the first stage.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub first: f64 = 50.0,
        /// In each later stage.
        #[schemars(range(min = 0.0, max = 100_000.0))]
        pub later: f64 = 25.0,
    }
}

/// How many proposals are drawn for each that is wanted, before a generation stays smaller.
const TRIES_PER_PROPOSAL: usize = 50;

/// Growth, evolution, pruning.
pub struct GrowAndPrune {
    config: GrowAndPruneConfig,
    space: Arc<dyn SearchSpace>,
    operators: Vec<WeightedOperator>,
    weights: WeightedIndex<f64>,
    objectives: Objectives,
    goal: (usize, Goal),
    /// The depth of each Block in each stage.
    depths: Vec<Vec<usize>>,
    state: State,
}

/// Everything that changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    stage: usize,
    region: Region,
    phase: Phase,
    generation: u32,
    /// Generations since a better network was found.
    stale: u32,
    population: Vec<Individual>,
    /// All networks evaluated in this stage.
    evaluated: Vec<Individual>,
    /// Keys of networks of this stage that could not be evaluated.
    failed: BTreeSet<Genome>,
    /// The population of the stage before, not yet grown.
    ancestors: Vec<Genome>,
    /// How the region came about, for the journal.
    pruned: Vec<Vec<u16>>,
    grown: Vec<usize>,
    elites: Vec<Genome>,
}

/// What the next step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
enum Phase {
    Train,
    Found,
    Breed,
    Finished,
}

impl Component for GrowAndPrune {
    type Config = GrowAndPruneConfig;
    const NAME: &'static str = "grow-and-prune";
    const SUMMARY: &'static str = "G-EvoNAS: evolution that grows networks and prunes the SuperNet";

    fn example() -> GrowAndPruneConfig {
        GrowAndPruneConfig::default()
    }
}

impl BuildStrategy for GrowAndPrune {
    fn build(
        config: GrowAndPruneConfig,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        if operators.is_empty() {
            return Err(Error::config("grow-and-prune makes children by operators: add some to `operators:`"));
        }
        let shares = operators.iter().map(|weighted| weighted.weight);
        let weights = WeightedIndex::new(shares)
            .map_err(|error| Error::config(format!("the weights of the operators cannot be used: {error}")))?;
        if config.elites >= config.population {
            return Err(Error::config(format!(
                "{} elites leave no room for children in a population of {}",
                config.elites, config.population
            ))
            .at("/elites"));
        }
        let objectives = context.objectives.clone();
        let goal = objectives.only_goal("grow-and-prune")?;
        let network = space.network();
        let depths = growth::depths(network, config.growth, config.layers_at_start, config.layers_per_stage);
        let region = growth::region_at(network, &depths[0])?;
        objectives.check_limits(network, &region, &Region::complete(network))?;
        let slots = network.slots().len();
        let state = State {
            stage: 0,
            region,
            phase: Phase::Train,
            generation: 0,
            stale: 0,
            population: Vec::new(),
            evaluated: Vec::new(),
            failed: BTreeSet::new(),
            ancestors: Vec::new(),
            pruned: vec![Vec::new(); slots],
            grown: Vec::new(),
            elites: Vec::new(),
        };
        Ok(GrowAndPrune { config, space, operators, weights, objectives, goal, depths, state })
    }
}

impl Strategy for GrowAndPrune {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        loop {
            match self.state.phase {
                Phase::Train => {
                    self.state.phase = Phase::Found;
                    return Ok(Step::Train(self.plan()));
                }
                Phase::Found => return Ok(Step::Evaluate(self.found(&mut seed.generator())?)),
                Phase::Breed => {
                    let is_over =
                        self.state.generation >= self.config.generations || self.state.stale >= self.config.patience;
                    if !is_over {
                        self.state.generation += 1;
                        let children = self.children(seed)?;
                        // A region that has no new network is searched to its end.
                        if !children.candidates.is_empty() {
                            return Ok(Step::Evaluate(children));
                        }
                    }
                    self.end_stage()?;
                }
                Phase::Finished => return Ok(Step::Finished(self.final_notes())),
            }
        }
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let comparison = Comparison { objectives: &self.objectives_of_stage(), goal: self.goal };
        let best_before = comparison.ranked(&self.state.evaluated).first().map(|best| (*best).clone());
        let mut children = Vec::new();
        for evaluation in evaluations {
            let key = self.space.canonical(&evaluation.genome)?;
            match &evaluation.outcome {
                Ok(values) => {
                    children.push(Individual { genome: evaluation.genome.clone(), key, values: values.clone() });
                }
                Err(reason) => {
                    tracing::debug!("{} could not be evaluated: {reason}", evaluation.genome);
                    self.state.failed.insert(key);
                }
            }
        }
        let is_better =
            children.iter().any(|child| best_before.as_ref().is_none_or(|best| comparison.better(child, best)));
        self.state.stale = if is_better { 0 } else { self.state.stale + 1 };
        self.state.evaluated.extend(children.iter().cloned());
        // The elites live on; a generation that stayed small is filled up with their like.
        let room = self.config.population.saturating_sub(children.len()).max(self.config.elites);
        let survivors = comparison.ranked(&self.state.population).into_iter().take(room).cloned();
        let population: Vec<Individual> = survivors.chain(children).take(self.config.population).collect();
        self.state.population = population;
        self.state.phase = Phase::Breed;
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        state.region.validate(self.space.network()).map_err(|error| state::unreadable(folder, error.message))?;
        if state.stage >= self.depths.len() {
            let (stage, stages) = (state.stage + 1, self.depths.len());
            return Err(state::unreadable(folder, format!("it is in stage {stage}, this search has {stages}")));
        }
        self.state = state;
        Ok(())
    }
}

impl GrowAndPrune {
    fn plan(&self) -> TrainPlan {
        let State { stage, region, pruned, grown, elites, .. } = &self.state;
        let epochs = if *stage == 0 { self.config.epochs.first } else { self.config.epochs.later };
        let notes = json!({
            "stage": stage, "stages": self.depths.len(), "depths": self.depths[*stage],
            "pruned": pruned, "grown": grown, "elites": elites,
        });
        TrainPlan { region: region.clone(), epochs, stage: *stage as u32, notes }
    }

    fn notes(&self) -> Value {
        json!({ "stage": self.state.stage, "generation": self.state.generation })
    }

    fn final_notes(&self) -> Value {
        json!({ "region": self.state.region, "pruned": self.state.pruned, "elites": self.state.elites })
    }

    /// What is wanted in this stage. Shallow networks cannot keep lower limits on costs, so these
    /// count in the last stage only.
    fn objectives_of_stage(&self) -> Objectives {
        let mut objectives = self.objectives.clone();
        if self.state.stage + 1 < self.depths.len() {
            let (least, _) = self.space.network().cost_range(&self.state.region);
            for objective in &mut objectives.0 {
                if objective.computed(least).is_some() {
                    objective.at_least = None;
                }
            }
        }
        objectives
    }

    /// The first networks of a stage: those of the stage before, grown, and random ones.
    fn found(&self, generator: &mut Generator) -> Result<Batch> {
        let mut proposals = Proposals::new(self);
        for ancestor in &self.state.ancestors {
            // A few ways to draw the new layers; an ancestor that has none inside the limits ends.
            for _ in 0..TRIES_PER_PROPOSAL {
                let mut genome = ancestor.clone();
                for slot in &self.state.grown {
                    genome.0[*slot] = self.state.region.sample_slot(*slot, generator);
                }
                let genome = inside(genome, &self.state.region, generator);
                let origin = Origin { by: "grown".to_owned(), parents: vec![ancestor.clone()] };
                if proposals.add(genome, origin)? {
                    break;
                }
            }
        }
        proposals.fill_randomly(self.config.population, "random", generator)?;
        Ok(proposals.batch(self.notes()))
    }

    /// A generation of children, and some immigrants.
    fn children(&self, seed: Seed) -> Result<Batch> {
        let mut generator = seed.generator();
        let objectives = self.objectives_of_stage();
        let comparison = Comparison { objectives: &objectives, goal: self.goal };
        let wanted = self.config.population - self.config.elites;
        let immigrants = self.config.immigrants.min(wanted);
        let mut proposals = Proposals::new(self);
        for number in 0..(wanted - immigrants) * TRIES_PER_PROPOSAL {
            if proposals.candidates.len() == wanted - immigrants {
                break;
            }
            let weighted = &self.operators[self.weights.sample(&mut generator)];
            let arity = weighted.operator.arity();
            let Some(parents) =
                comparison.parents(&self.state.population, arity, self.config.tournament, &mut generator)
            else {
                break;
            };
            let child = weighted.child(&parents, &self.state.region, seed.derive("vary", number as u64))?;
            proposals.add(child, Origin { by: weighted.name.clone(), parents })?;
        }
        proposals.fill_randomly(proposals.candidates.len() + immigrants, "immigrant", &mut generator)?;
        Ok(proposals.batch(self.notes()))
    }

    /// Prunes the region to what the stage's elite group uses, and lets layers be born.
    fn end_stage(&mut self) -> Result<()> {
        let objectives = self.objectives_of_stage();
        let comparison = Comparison { objectives: &objectives, goal: self.goal };
        let elites: Vec<Genome> = comparison
            .ranked(&self.state.evaluated)
            .into_iter()
            .take(self.config.prune.top)
            .map(|elite| elite.genome.clone())
            .collect();
        let pruned = prune::prune(&self.state.region, &elites, &self.config.prune)?;
        let removed = prune::removed(&self.state.region, &pruned);
        let ancestors = comparison.ranked(&self.state.population).into_iter().map(|one| one.genome.clone()).collect();
        self.state.pruned = removed;
        self.state.elites = elites;
        if self.state.stage + 1 == self.depths.len() {
            self.state.region = pruned;
            self.state.phase = Phase::Finished;
            return Ok(());
        }
        let (before, after) = (&self.depths[self.state.stage], &self.depths[self.state.stage + 1]);
        let (region, grown) = growth::grow(self.space.network(), &pruned, before, after)?;
        self.state = State {
            stage: self.state.stage + 1,
            region,
            phase: Phase::Train,
            generation: 0,
            stale: 0,
            population: Vec::new(),
            evaluated: Vec::new(),
            failed: BTreeSet::new(),
            ancestors,
            pruned: std::mem::take(&mut self.state.pruned),
            grown,
            elites: std::mem::take(&mut self.state.elites),
        };
        Ok(())
    }
}

/// Networks to evaluate next: new ones, each once, inside region and limits.
struct Proposals<'a> {
    strategy: &'a GrowAndPrune,
    objectives: Objectives,
    keys: BTreeSet<Genome>,
    candidates: Vec<Candidate>,
}

impl<'a> Proposals<'a> {
    fn new(strategy: &'a GrowAndPrune) -> Self {
        let mut keys: BTreeSet<Genome> = strategy.state.evaluated.iter().map(|one| one.key.clone()).collect();
        keys.extend(strategy.state.failed.iter().cloned());
        Proposals { strategy, objectives: strategy.objectives_of_stage(), keys, candidates: Vec::new() }
    }

    /// Adds a network of the region, unless it is known or outside of the limits.
    fn add(&mut self, genome: Genome, origin: Origin) -> Result<bool> {
        let network = self.strategy.space.network();
        let genome = network.aligned(&genome, &self.strategy.state.region);
        if !self.objectives.allows(network.cost(&genome)) {
            return Ok(false);
        }
        let is_new = self.keys.insert(self.strategy.space.canonical(&genome)?);
        if is_new {
            self.candidates.push(Candidate { genome, origin });
        }
        Ok(is_new)
    }

    /// Random networks until there are `count` candidates, or until tries run out.
    fn fill_randomly(&mut self, count: usize, by: &str, generator: &mut impl Rng) -> Result<()> {
        let missing = count.saturating_sub(self.candidates.len());
        for _ in 0..missing * TRIES_PER_PROPOSAL {
            if self.candidates.len() >= count {
                break;
            }
            let genome = self.strategy.state.region.sample(generator);
            self.add(genome, Origin::new(by))?;
        }
        Ok(())
    }

    fn batch(self, notes: Value) -> Batch {
        Batch { candidates: self.candidates, notes }
    }
}

#[cfg(test)]
mod tests;
