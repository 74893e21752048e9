//! What a search found: the document `result.json`.
//!
//! All that depends on the machine's speed stands under `times`, so two runs with one seed have
//! results that are equal but for that key.

use std::{collections::BTreeMap, time::Duration};

use pleach_sdk::{Cost, Genome, Network, Objectives, Region};
use serde::{Deserialize, Deserializer, Serialize};

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// The format of this document.
    pub format: u32,
    /// The name in the run file.
    pub name: String,
    /// The seed in the run file.
    pub seed: u64,
    /// Why the search ended.
    pub ended: Ending,
    /// The best network of those that were evaluated with the last weights, or of the best of
    /// those the one that `winner:` named. With several objectives it is the best by the first.
    pub winner: Option<Found>,
    /// The five best of those (or as many as `winner:` judged), the winner first.
    pub elites: Vec<Found>,
    /// The trade-offs between several objectives with a direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<ParetoFront>,
    /// The winner beside random networks, measured with the same weights on the same images.
    pub random_networks: Vec<RandomNetworks>,
    /// Networks that were evaluated.
    pub evaluations: u64,
    /// Candidates whose fitness was known already.
    pub known: u64,
    /// Candidates that could not be evaluated.
    pub failed: u64,
    /// Where a simulated clock stood at the end: at its limit where the budget ended the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_seconds: Option<f64>,
    /// How often the weights were trained, and what each training was followed by.
    pub stages: Vec<Stage>,
    /// The region at the end.
    pub final_region: Option<Region>,
    /// Where the time went.
    pub times: Times,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The strategy was done.
    Finished,
    /// `budget.evaluations` was used up.
    Evaluations,
    /// `budget.wall_clock` was used up.
    WallClock,
}

/// A network and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The network, as it was proposed.
    pub genome: Genome,
    /// Its operations by name, Block by Block; layers that pass their input through are left out.
    pub blocks: BTreeMap<String, Vec<String>>,
    /// Every objective by name.
    pub objectives: BTreeMap<String, f64>,
    /// What the estimator of `winner:` measured, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub judged: BTreeMap<String, f64>,
    /// Whether it keeps all limits.
    pub within_limits: bool,
    /// Parameters and FLOPs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// The trade-offs that no other network dominates, of those that were evaluated with the last
/// weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParetoFront {
    /// The volume between the front and the reference.
    pub hypervolume: f64,
    /// Up to where it is counted, for each objective with a direction.
    pub reference: Vec<Reference>,
    /// The networks by the first objective, the best first.
    pub networks: Vec<OnFront>,
}

/// A coordinate of the point up to which a hypervolume is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The objective.
    pub objective: String,
    /// Its value; a network that is not better adds nothing.
    pub value: f64,
    /// Who says so.
    pub from: ReferenceFrom,
}

/// Where a reference comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceFrom {
    /// `reference` in the run file.
    RunFile,
    /// The limit on that side.
    Limit,
    /// The worst value of all complete networks of the space.
    Space,
    /// The worst value of the first step that had values: it depends on the strategy.
    FirstStep,
}

/// A network on the front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnFront {
    /// The network.
    #[serde(flatten)]
    pub found: Found,
    /// Its crowding distance (Deb et al. 2002); `null` where it is infinite, at the ends.
    pub crowding: Option<f64>,
}

/// Random networks in comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomNetworks {
    /// Where they were drawn from.
    pub drawn_from: DrawnFrom,
    /// How many could be evaluated.
    pub count: usize,
    /// The objective that is compared.
    pub objective: String,
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation.
    pub standard_deviation: f64,
    /// Its best value.
    pub best: f64,
}

/// Where random networks are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrawnFrom {
    /// The region of the last training: every operation in it was trained until the end.
    LastRegion,
    /// All complete networks of the space; operations that were pruned early were trained less.
    WholeSpace,
}

/// One training and the evaluations that followed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's number, as the strategy counts.
    pub stage: u32,
    /// Where paths were drawn from.
    pub region: Region,
    /// How many networks that is; infinite, and `null` in JSON, from 1e308 on.
    #[serde(deserialize_with = "infinite_without_number")]
    pub networks: f64,
    /// How many times the training images were seen.
    pub epochs: f64,
    /// What the estimator reported, such as the loss.
    pub metrics: BTreeMap<String, f64>,
    /// Networks evaluated with these weights.
    pub evaluations: u64,
    /// The best value of the first objective with a direction.
    pub best: Option<f64>,
}

fn infinite_without_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// Where the time of a run went, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Times {
    /// From the first step to the last.
    pub total: f64,
    /// Inside the estimator's `train`.
    pub training: f64,
    /// Inside the estimator's `evaluate`.
    pub evaluation: f64,
    /// Inside the strategy, with the operators it calls.
    pub strategy: f64,
    /// The random networks at the end.
    pub random_networks: f64,
    /// Naming the winner; 0 without `winner:`.
    #[serde(default)]
    pub naming: f64,
    /// Ranking networks after each training; 0 but in `pleach rank`.
    #[serde(default)]
    pub ranking: f64,
    /// What workers had done that were lost; others went on meanwhile. 0 without `executor:`.
    #[serde(default)]
    pub lost: f64,
    /// How many workers were lost.
    #[serde(default)]
    pub workers_lost: u64,
    /// Saving the state of components.
    pub checkpoints: f64,
    /// The rest: the loop, the journal, and canonical forms.
    pub host: f64,
}

impl Times {
    /// Adds what remains of `total` to the host.
    pub fn close(&mut self, total: Duration) {
        self.total = total.as_secs_f64();
        let spent = self.training
            + self.evaluation
            + self.strategy
            + self.naming
            + self.random_networks
            + self.ranking
            + self.checkpoints;
        self.host = (self.total - spent).max(0.0);
    }

    /// The host's share of the total, journal and checkpoints included.
    pub fn host_share(&self) -> f64 {
        (self.host + self.checkpoints) / self.total.max(f64::MIN_POSITIVE)
    }
}

impl Found {
    /// Describes an evaluated network.
    pub fn new(genome: &Genome, values: &[f64], network: &Network, objectives: &Objectives) -> Self {
        let cost = network.cost(genome);
        Found {
            genome: genome.clone(),
            blocks: Found::operations(genome, network),
            judged: BTreeMap::new(),
            objectives: objectives.0.iter().zip(values).map(|(one, value)| (one.name.clone(), *value)).collect(),
            within_limits: objectives.violation(values) == 0.0,
            cost,
        }
    }

    /// The operations of a network by name, Block by Block, without those that pass their input
    /// through.
    pub fn operations(genome: &Genome, network: &Network) -> BTreeMap<String, Vec<String>> {
        let operations = |slots: &[usize]| {
            slots
                .iter()
                .filter(|slot| !network.meaning(**slot, genome[**slot]).passes_through())
                .map(|slot| network.operation(*slot, genome[*slot]).to_owned())
                .collect()
        };
        network.blocks().iter().map(|block| (block.name.clone(), operations(&block.slots))).collect()
    }
}

impl RandomNetworks {
    /// Sums up the values of one objective; `None` without any.
    pub fn new(drawn_from: DrawnFrom, objective: &str, values: &[f64], best: f64) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        Some(RandomNetworks { drawn_from, count, objective: objective.to_owned(), mean, standard_deviation, best })
    }
}
