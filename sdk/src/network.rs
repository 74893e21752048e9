//! The resolved network: shapes of every candidate operation, costs, and canonical forms.

mod latency;
mod resolve;
#[cfg(test)]
mod tests;
mod transfer;

use self::resolve::{Resolver, chains};
pub use self::{
    latency::{Document, Latencies},
    transfer::CostLimit,
};
use crate::{
    description::{Activation, Block, Combine, Description, Meaning, Pool, Shape, Slot},
    error::{Error, Result},
    space::{Genome, Region},
};

/// A [`Description`] whose names and shapes were resolved and checked.
#[derive(Debug, Clone)]
pub struct Network {
    description: Description,
    nodes: Vec<ResolvedNode>,
    /// For each slot, what each choice means.
    meanings: Vec<Vec<Meaning>>,
    /// Runs of slots whose layers may trade places; see [`Network::canonical`].
    chains: Vec<Vec<usize>>,
    /// What the fixed operations cost.
    fixed_cost: Cost,
    /// For each slot, what each choice costs in all nodes that it decides.
    slot_costs: Vec<Vec<Cost>>,
    /// What they take on a device, where that is known; the costs above have it too.
    latencies: Option<Latencies>,
}

/// A node with all its candidate operations.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedNode {
    /// Its name.
    pub name: String,
    /// Where its inputs come from.
    pub inputs: Vec<Source>,
    /// How several inputs become one.
    pub combine: Combine,
    /// The shape that goes in, after combining.
    pub input: Shape,
    /// The shape that comes out, whatever the genome chose.
    pub output: Shape,
    /// The slot that decides which candidate is used; `None` for a fixed operation.
    pub slot: Option<usize>,
    /// The candidate operations: one for each choice of the slot, or the fixed one.
    pub candidates: Vec<ResolvedOperation>,
}

impl ResolvedNode {
    /// The index among [`ResolvedNode::candidates`] that a genome uses.
    pub fn chosen(&self, genome: &Genome) -> usize {
        self.slot.map_or(0, |slot| usize::from(genome[slot]))
    }
}

/// Where a node's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The image.
    Image,
    /// An earlier node, by index.
    Node(usize),
}

/// An operation with concrete shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedOperation {
    /// Its name.
    pub name: String,
    /// What it means.
    pub meaning: Meaning,
    /// What it computes, first to last.
    pub layers: Vec<Layer>,
    /// Whether its input is added to its output.
    pub residual: bool,
    /// What it costs.
    pub cost: Cost,
}

/// A primitive with concrete shapes.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// A convolution; its weight has the shape (output, input / groups, kernel, kernel).
    Convolution {
        /// Channels that go in.
        input: u32,
        /// Channels that come out.
        output: u32,
        /// Rows and columns of the kernel.
        kernel: u32,
        /// How far it moves.
        stride: u32,
        /// Zeros on each side.
        padding: u32,
        /// Distance between kernel elements.
        dilation: u32,
        /// Groups of channels.
        groups: u32,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation.
    BatchNorm {
        /// How many channels.
        channels: u32,
    },
    /// An element-wise function.
    Activation(Activation),
    /// Pooling.
    Pool {
        /// Which statistic.
        kind: Pool,
        /// Rows and columns of the window.
        kernel: u32,
        /// How far it moves.
        stride: u32,
        /// Margin on each side.
        padding: u32,
    },
    /// Squeeze-and-excitation: two 1 x 1 convolutions with bias, ReLU between, then the gate.
    SqueezeExcite {
        /// How many channels.
        channels: u32,
        /// Channels between the two layers.
        hidden: u32,
        /// The function of the gate.
        gate: Activation,
    },
    /// The mean over rows and columns.
    GlobalAverage,
    /// A linear layer with bias.
    Linear {
        /// Features that go in.
        input: u32,
        /// Features that come out.
        output: u32,
    },
}

/// What a network costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// Trainable numbers: weights, biases, and the scale and shift of batch norms.
    pub params: u64,
    /// Multiply-adds of convolutions and linear layers for one image, without bias,
    /// batch norm, activation and pooling: how NAS-Bench-Macro counts "FLOPs".
    pub flops: u64,
    /// Nanoseconds that a batch is predicted to take on a device; none where no profile of the
    /// device is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanoseconds: Option<u64>,
}

impl Cost {
    /// Parameters and multiply-adds, of which no latency is known.
    pub fn new(params: u64, flops: u64) -> Self {
        Cost { params, flops, nanoseconds: None }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        let nanoseconds = match (self.nanoseconds, other.nanoseconds) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        let (params, flops) = (self.params.saturating_add(other.params), self.flops.saturating_add(other.flops));
        Cost { params, flops, nanoseconds }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |sum, cost| sum + cost)
    }
}

impl Network {
    /// Resolves a description.
    ///
    /// # Errors
    ///
    /// A name that is not known or used twice, a slot or choice that does not exist, shapes that
    /// do not fit, a choice whose output differs from its node's: the first of these, naming the
    /// node.
    pub fn new(description: Description) -> Result<Self> {
        Resolver::new(&description)?.resolve().map(|(nodes, meanings)| {
            let chains = chains(&description, &nodes, &meanings);
            let (fixed_cost, slot_costs) = costs(&description, &nodes);
            Network { description, nodes, meanings, chains, fixed_cost, slot_costs, latencies: None }
        })
    }

    /// The document this network was resolved from.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The slots, in the order of the genome.
    pub fn slots(&self) -> &[Slot] {
        &self.description.slots
    }

    /// The Blocks, from input to output.
    pub fn blocks(&self) -> &[Block] {
        &self.description.blocks
    }

    /// The nodes in an order in which they can be computed.
    pub fn nodes(&self) -> &[ResolvedNode] {
        &self.nodes
    }

    /// What a choice of a slot means.
    pub fn meaning(&self, slot: usize, choice: u16) -> Meaning {
        self.meanings[slot][usize::from(choice)]
    }

    /// The name of the operation that a choice of a slot stands for.
    pub fn operation(&self, slot: usize, choice: u16) -> &str {
        &self.description.slots[slot].choices[usize::from(choice)]
    }

    /// The choice of a slot that means `absent`, if it has one: the slot can be unborn.
    pub fn absent(&self, slot: usize) -> Option<u16> {
        self.choice_meaning(slot, Meaning::Absent)
    }

    fn choice_meaning(&self, slot: usize, meaning: Meaning) -> Option<u16> {
        self.meanings[slot].iter().position(|known| *known == meaning).map(|choice| choice as u16)
    }

    /// Whether a genome is of this space.
    ///
    /// # Errors
    ///
    /// A wrong length or a choice that does not exist.
    pub fn validate(&self, genome: &Genome) -> Result<()> {
        if genome.len() != self.slots().len() {
            return Err(Error::failed(format!(
                "the genome {genome} has {} genes, the space has {} slots",
                genome.len(),
                self.slots().len()
            )));
        }
        for (slot, choice) in genome.iter().enumerate() {
            let known = self.meanings[slot].len();
            if usize::from(*choice) >= known {
                return Err(Error::failed(format!(
                    "the genome {genome} picks choice {choice} for slot {slot} (`{}`), which has {known} choices",
                    self.slots()[slot].name
                )));
            }
        }
        Ok(())
    }

    /// What a network costs. The genome must be of this space.
    pub fn cost(&self, genome: &Genome) -> Cost {
        let costs = genome.iter().zip(&self.slot_costs).map(|(choice, costs)| costs[usize::from(*choice)]);
        costs.fold(self.fixed_cost, std::ops::Add::add)
    }

    /// The least and the most that networks of a region cost, parameters, FLOPs and latency each by
    /// themselves. The region must be of this space.
    pub fn cost_range(&self, region: &Region) -> (Cost, Cost) {
        let (mut least, mut most) = (self.fixed_cost, self.fixed_cost);
        for (slot, costs) in self.slot_costs.iter().enumerate() {
            let allowed = || region.allowed(slot).iter().map(|choice| costs[usize::from(*choice)]);
            let low = |part: fn(Cost) -> u64| allowed().map(part).min().unwrap_or(0);
            let high = |part: fn(Cost) -> u64| allowed().map(part).max().unwrap_or(0);
            let nanoseconds = |of: u64| self.latencies.as_ref().map(|_| of);
            least = least
                + Cost {
                    nanoseconds: nanoseconds(low(|cost| cost.nanoseconds.unwrap_or(0))),
                    ..Cost::new(low(|cost| cost.params), low(|cost| cost.flops))
                };
            most = most
                + Cost {
                    nanoseconds: nanoseconds(high(|cost| cost.nanoseconds.unwrap_or(0))),
                    ..Cost::new(high(|cost| cost.params), high(|cost| cost.flops))
                };
        }
        (least, most)
    }

    /// The genome that stands for all that describe the same network.
    ///
    /// Within a chain (consecutive slots of a Block with the same choices, each fed by the one
    /// before and by nothing else, shapes kept) layers that pass their input through go to the
    /// end and are written as `absent` where the slot has it, else as `identity`. The result is
    /// a key: it need not lie in the region that the genome lies in.
    pub fn canonical(&self, genome: &Genome) -> Genome {
        let passing = |slot| self.absent(slot).or_else(|| self.choice_meaning(slot, Meaning::Identity));
        self.settled(genome, passing).unwrap_or_else(|| genome.clone())
    }

    /// The same network with the layers that pass their input through at the end of their chain,
    /// written so that it stays inside `region`; the genome itself where that cannot be.
    ///
    /// Strategies keep their populations in this form: otherwise two elites that are the same
    /// network would keep different operations alive.
    pub fn aligned(&self, genome: &Genome, region: &Region) -> Genome {
        let passing = |slot| {
            [self.choice_meaning(slot, Meaning::Identity), self.absent(slot)]
                .into_iter()
                .flatten()
                .find(|choice| region.allows(slot, *choice))
        };
        self.settled(genome, passing).filter(|settled| region.contains(settled)).unwrap_or_else(|| genome.clone())
    }

    /// In every chain first the layers that compute something, then `passing` of each slot left.
    fn settled(&self, genome: &Genome, passing: impl Fn(usize) -> Option<u16>) -> Option<Genome> {
        let mut settled = genome.clone();
        for chain in &self.chains {
            let mut computing = chain
                .iter()
                .map(|slot| genome[*slot])
                .filter(|choice| !self.meaning(chain[0], *choice).passes_through());
            for slot in chain {
                settled.0[*slot] = computing.next().or_else(|| passing(*slot))?;
            }
        }
        Some(settled)
    }
}

/// What the fixed operations of a network cost, and for each slot what each of its choices does:
/// the sum over all nodes that share the slot.
fn costs(description: &Description, nodes: &[ResolvedNode]) -> (Cost, Vec<Vec<Cost>>) {
    let mut fixed = Cost::default();
    let mut by_slot: Vec<Vec<Cost>> =
        description.slots.iter().map(|slot| vec![Cost::default(); slot.choices.len()]).collect();
    for node in nodes {
        match node.slot {
            None => fixed = fixed + node.candidates[0].cost,
            Some(slot) => {
                for (sum, candidate) in by_slot[slot].iter_mut().zip(&node.candidates) {
                    *sum = *sum + candidate.cost;
                }
            }
        }
    }
    (fixed, by_slot)
}
