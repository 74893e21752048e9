//! The resolved network: shapes of every candidate operation, costs, and canonical forms.

use std::collections::HashMap;

use crate::{
    description::{
        Activation, Apply, Block, Combine, Description, Groups, Meaning, Node, Operation, Pool, Primitive, Shape, Slot,
        Stride, Width,
    },
    error::{Error, Result, unknown_name},
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
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, flops: self.flops + other.flops }
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
            Network { description, nodes, meanings, chains }
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
        self.nodes.iter().map(|node| node.candidates[node.chosen(genome)].cost).sum()
    }

    /// The least and the most that networks of a region cost, parameters and FLOPs each by
    /// themselves. The region must be of this space.
    pub fn cost_range(&self, region: &Region) -> (Cost, Cost) {
        // Slots that several nodes share are counted together, so the bounds are reached.
        let mut by_slot: HashMap<usize, Vec<Cost>> = HashMap::new();
        let mut fixed = Cost::default();
        for node in &self.nodes {
            match node.slot {
                None => fixed = fixed + node.candidates[0].cost,
                Some(slot) => {
                    let sums = by_slot.entry(slot).or_insert_with(|| vec![Cost::default(); node.candidates.len()]);
                    for (sum, candidate) in sums.iter_mut().zip(&node.candidates) {
                        *sum = *sum + candidate.cost;
                    }
                }
            }
        }
        let (mut least, mut most) = (fixed, fixed);
        for (slot, sums) in by_slot {
            let allowed = || region.allowed(slot).iter().map(|choice| sums[usize::from(*choice)]);
            let low = |part: fn(Cost) -> u64| allowed().map(part).min().unwrap_or(0);
            let high = |part: fn(Cost) -> u64| allowed().map(part).max().unwrap_or(0);
            least = least + Cost { params: low(|cost| cost.params), flops: low(|cost| cost.flops) };
            most = most + Cost { params: high(|cost| cost.params), flops: high(|cost| cost.flops) };
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

/// The runs of slots in which layers may trade places.
fn chains(description: &Description, nodes: &[ResolvedNode], meanings: &[Vec<Meaning>]) -> Vec<Vec<usize>> {
    let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(slot) = node.slot {
            users.entry(slot).or_default().push(index);
        }
    }
    let readers = |of: usize| nodes.iter().filter(|node| node.inputs.contains(&Source::Node(of))).count();
    // The one node of a slot whose layers may be left out.
    let layer = |slot: usize| match users.get(&slot).map(Vec::as_slice) {
        Some([node]) => {
            let node = *node;
            let keeps_shape = nodes[node].input == nodes[node].output && nodes[node].inputs.len() == 1;
            let passes = meanings[slot].iter().any(|meaning| meaning.passes_through());
            (keeps_shape && passes).then_some(node)
        }
        _ => None,
    };
    let mut chains = Vec::new();
    for block in &description.blocks {
        let mut chain: Vec<usize> = Vec::new();
        for slot in &block.slots {
            let follows = chain.last().is_some_and(|previous| {
                let same_choices = description.slots[*previous].choices == description.slots[*slot].choices;
                match (layer(*previous), layer(*slot)) {
                    (Some(before), Some(after)) => {
                        same_choices && nodes[after].inputs == [Source::Node(before)] && readers(before) == 1
                    }
                    _ => false,
                }
            });
            if !follows {
                chains.push(std::mem::take(&mut chain));
            }
            if layer(*slot).is_some() {
                chain.push(*slot);
            }
        }
        chains.push(chain);
    }
    chains.retain(|chain| !chain.is_empty());
    chains
}

/// Turns names into indices and expressions into numbers.
struct Resolver<'a> {
    description: &'a Description,
    operations: HashMap<&'a str, &'a Operation>,
}

impl<'a> Resolver<'a> {
    fn new(description: &'a Description) -> Result<Self> {
        if description.format != crate::description::DESCRIPTION_FORMAT {
            return Err(Error::failed(format!(
                "the network description has format {}, this SDK reads format {}",
                description.format,
                crate::description::DESCRIPTION_FORMAT
            )));
        }
        let mut operations = HashMap::new();
        for operation in &description.operations {
            if operations.insert(operation.name.as_str(), operation).is_some() {
                return Err(Error::failed(format!("two operations are called `{}`", operation.name)));
            }
            if operation.meaning != Meaning::Sequence && !operation.primitives.is_empty() {
                return Err(Error::failed(format!(
                    "operation `{}` has primitives but its meaning is not `sequence`",
                    operation.name
                )));
            }
        }
        Ok(Resolver { description, operations })
    }

    fn resolve(&self) -> Result<(Vec<ResolvedNode>, Vec<Vec<Meaning>>)> {
        let meanings = self.meanings()?;
        self.check_blocks()?;
        let mut nodes: Vec<ResolvedNode> = Vec::new();
        let mut used = vec![false; self.description.slots.len()];
        for node in &self.description.network {
            let resolved = self
                .node(node, &nodes)
                .map_err(|error| Error { message: format!("node `{}`: {}", node.name, error.message), ..error })?;
            if let Some(slot) = resolved.slot {
                used[slot] = true;
            }
            nodes.push(resolved);
        }
        if let Some(slot) = used.iter().position(|used| !used) {
            return Err(Error::failed(format!("no node uses slot {slot} (`{}`)", self.description.slots[slot].name)));
        }
        let output = nodes.last().map(|node| node.output);
        let wanted = Shape { channels: self.description.classes, height: 1, width: 1 };
        if output != Some(wanted) {
            return Err(Error::failed(format!(
                "the last node gives {}, the description has {} classes",
                output.map_or("nothing".to_owned(), |shape| shape.to_string()),
                self.description.classes
            )));
        }
        Ok((nodes, meanings))
    }

    fn operation(&self, name: &str) -> Result<&'a Operation> {
        self.operations.get(name).copied().ok_or_else(|| {
            let known: Vec<_> = self.description.operations.iter().map(|known| known.name.as_str()).collect();
            Error::failed(unknown_name("operation", name, &known))
        })
    }

    fn meanings(&self) -> Result<Vec<Vec<Meaning>>> {
        let mut meanings = Vec::new();
        for (index, slot) in self.description.slots.iter().enumerate() {
            if slot.choices.is_empty() || slot.choices.len() > usize::from(u16::MAX) {
                return Err(Error::failed(format!(
                    "slot {index} (`{}`) has {} choices, it needs 1 to {}",
                    slot.name,
                    slot.choices.len(),
                    u16::MAX
                )));
            }
            let of_slot: Result<Vec<_>> = slot.choices.iter().map(|name| Ok(self.operation(name)?.meaning)).collect();
            meanings.push(of_slot?);
        }
        Ok(meanings)
    }

    fn check_blocks(&self) -> Result<()> {
        let mut owner: HashMap<usize, &str> = HashMap::new();
        for block in &self.description.blocks {
            for slot in &block.slots {
                if *slot >= self.description.slots.len() {
                    return Err(Error::failed(format!("Block `{}` names slot {slot}, which is not there", block.name)));
                }
                if let Some(other) = owner.insert(*slot, &block.name) {
                    return Err(Error::failed(format!(
                        "slot {slot} is in Block `{other}` and in Block `{}`",
                        block.name
                    )));
                }
            }
        }
        Ok(())
    }

    fn node(&self, node: &Node, earlier: &[ResolvedNode]) -> Result<ResolvedNode> {
        if node.name == "input" || earlier.iter().any(|known| known.name == node.name) {
            return Err(Error::failed("the name is taken"));
        }
        let (inputs, input) = self.inputs(node, earlier)?;
        let (slot, names): (_, Vec<&str>) = match &node.apply {
            Apply::Operation(name) => (None, vec![name]),
            Apply::Slot(slot) => {
                let known = self.description.slots.get(*slot);
                let known = known.ok_or_else(|| Error::failed(format!("there is no slot {slot}")))?;
                (Some(*slot), known.choices.iter().map(String::as_str).collect())
            }
        };
        let target = Target { channels: node.channels.unwrap_or(input.channels), stride: node.stride };
        let mut candidates = Vec::new();
        let mut shapes = Vec::new();
        for name in names {
            let (candidate, shape) = self
                .candidate(name, input, target)
                .map_err(|error| Error { message: format!("operation `{name}`: {}", error.message), ..error })?;
            candidates.push(candidate);
            shapes.push(shape);
        }
        // A `zero` takes the shape that the other candidates give.
        let output = shapes.iter().flatten().next().copied().unwrap_or(Shape {
            channels: target.channels,
            height: input.height.div_ceil(target.stride),
            width: input.width.div_ceil(target.stride),
        });
        for (candidate, shape) in candidates.iter().zip(&shapes) {
            if let Some(shape) = shape
                && *shape != output
            {
                return Err(Error::failed(format!(
                    "operation `{}` gives {shape} where another choice gives {output}",
                    candidate.name
                )));
            }
        }
        Ok(ResolvedNode { name: node.name.clone(), inputs, combine: node.combine, input, output, slot, candidates })
    }

    fn inputs(&self, node: &Node, earlier: &[ResolvedNode]) -> Result<(Vec<Source>, Shape)> {
        let mut sources = Vec::new();
        let mut shapes = Vec::new();
        for name in &node.inputs {
            if name == "input" {
                sources.push(Source::Image);
                shapes.push(self.description.input);
                continue;
            }
            let index = earlier.iter().position(|known| known.name == *name).ok_or_else(|| {
                let known: Vec<_> =
                    std::iter::once("input").chain(earlier.iter().map(|known| known.name.as_str())).collect();
                Error::failed(unknown_name("earlier node", name, &known))
            })?;
            sources.push(Source::Node(index));
            shapes.push(earlier[index].output);
        }
        let first = *shapes.first().ok_or_else(|| Error::failed("it has no input"))?;
        let fits = |shape: &Shape| match node.combine {
            Combine::Sum => *shape == first,
            Combine::Concat => (shape.height, shape.width) == (first.height, first.width),
        };
        if let Some(other) = shapes.iter().find(|shape| !fits(shape)) {
            return Err(Error::failed(format!("its inputs {first} and {other} cannot be combined")));
        }
        let channels = match node.combine {
            Combine::Sum => first.channels,
            Combine::Concat => shapes.iter().map(|shape| shape.channels).sum(),
        };
        Ok((sources, Shape { channels, ..first }))
    }

    /// The operation with its shapes, and the shape it gives (`None` for `zero`, which gives any).
    fn candidate(&self, name: &str, input: Shape, target: Target) -> Result<(ResolvedOperation, Option<Shape>)> {
        let operation = self.operation(name)?;
        let mut layers = Vec::new();
        let mut cost = Cost::default();
        let mut shape = input;
        for primitive in &operation.primitives {
            let (layer, next) = resolve_primitive(primitive, shape, input, target)?;
            cost = cost + layer_cost(&layer, next);
            layers.push(layer);
            shape = next;
        }
        if operation.meaning.passes_through() && (target.stride != 1 || target.channels != input.channels) {
            return Err(Error::failed(format!(
                "it passes its input through, but the node changes {input} to {} channels with stride {}",
                target.channels, target.stride
            )));
        }
        let residual = operation.residual && shape == input && !layers.is_empty();
        let resolved = ResolvedOperation { name: name.to_owned(), meaning: operation.meaning, layers, residual, cost };
        Ok((resolved, (operation.meaning != Meaning::Zero).then_some(shape)))
    }
}

/// What the node that holds an operation gives.
#[derive(Clone, Copy)]
struct Target {
    channels: u32,
    stride: u32,
}

fn resolve_primitive(primitive: &Primitive, shape: Shape, input: Shape, target: Target) -> Result<(Layer, Shape)> {
    let width = |width: Width| -> Result<u32> {
        let channels = match width {
            Width::Same => f64::from(shape.channels),
            Width::Fixed(channels) => f64::from(channels),
            Width::Input(factor) => (f64::from(input.channels) * factor).round(),
            Width::Output => f64::from(target.channels),
        };
        if (1.0..=1e6).contains(&channels) {
            Ok(channels as u32)
        } else {
            Err(Error::failed(format!("a width of {channels} channels is out of 1 to 1000000")))
        }
    };
    let window = |kernel: u32, stride: Stride, dilation: u32| -> Result<(u32, u32, Shape)> {
        let stride = match stride {
            Stride::One => 1,
            Stride::Fixed(stride) => stride,
            Stride::Node => target.stride,
        };
        if kernel % 2 == 0 || stride == 0 || dilation == 0 {
            return Err(Error::failed(format!(
                "kernel {kernel}, stride {stride}, dilation {dilation}: a kernel is odd, the others at least 1"
            )));
        }
        let padding = dilation * (kernel - 1) / 2;
        Ok((
            padding,
            stride,
            Shape { height: shape.height.div_ceil(stride), width: shape.width.div_ceil(stride), ..shape },
        ))
    };
    Ok(match primitive {
        Primitive::Convolution { kernel, stride, groups, channels, dilation, bias } => {
            let output = width(*channels)?;
            let (padding, stride, next) = window(*kernel, *stride, *dilation)?;
            let groups = match groups {
                Groups::Dense => 1,
                Groups::Depthwise => shape.channels,
                Groups::Fixed(groups) => *groups,
            };
            if groups == 0 || shape.channels % groups != 0 || output % groups != 0 {
                return Err(Error::failed(format!(
                    "{groups} groups do not divide {} and {output} channels",
                    shape.channels
                )));
            }
            let layer = Layer::Convolution {
                input: shape.channels,
                output,
                kernel: *kernel,
                stride,
                padding,
                dilation: *dilation,
                groups,
                bias: *bias,
            };
            (layer, Shape { channels: output, ..next })
        }
        Primitive::BatchNorm => (Layer::BatchNorm { channels: shape.channels }, shape),
        Primitive::Activation(function) => (Layer::Activation(*function), shape),
        Primitive::Pool { kind, kernel, stride } => {
            let (padding, stride, next) = window(*kernel, *stride, 1)?;
            (Layer::Pool { kind: *kind, kernel: *kernel, stride, padding }, next)
        }
        Primitive::SqueezeExcite { ratio, gate } => {
            let hidden = (f64::from(input.channels) * ratio).round().max(1.0) as u32;
            (Layer::SqueezeExcite { channels: shape.channels, hidden, gate: *gate }, shape)
        }
        Primitive::GlobalAverage => (Layer::GlobalAverage, Shape { height: 1, width: 1, ..shape }),
        Primitive::Linear { features } => {
            if (shape.height, shape.width) != (1, 1) {
                return Err(Error::failed(format!("a linear layer needs 1 x 1 pixels and gets {shape}")));
            }
            let output = width(*features)?;
            (Layer::Linear { input: shape.channels, output }, Shape { channels: output, ..shape })
        }
    })
}

/// What one layer costs, given the shape it gives.
fn layer_cost(layer: &Layer, output_shape: Shape) -> Cost {
    let pixels = u64::from(output_shape.height) * u64::from(output_shape.width);
    match layer {
        Layer::Convolution { input, output, kernel, groups, bias, .. } => {
            let weights = u64::from(input / groups) * u64::from(*output) * u64::from(*kernel) * u64::from(*kernel);
            Cost { params: weights + if *bias { u64::from(*output) } else { 0 }, flops: weights * pixels }
        }
        Layer::BatchNorm { channels } => Cost { params: 2 * u64::from(*channels), flops: 0 },
        Layer::SqueezeExcite { channels, hidden, .. } => {
            let weights = 2 * u64::from(*channels) * u64::from(*hidden);
            Cost { params: weights + u64::from(*channels) + u64::from(*hidden), flops: weights }
        }
        Layer::Linear { input, output } => {
            let weights = u64::from(*input) * u64::from(*output);
            Cost { params: weights + u64::from(*output), flops: weights }
        }
        Layer::Activation(_) | Layer::Pool { .. } | Layer::GlobalAverage => Cost::default(),
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::DESCRIPTION_FORMAT;

    fn operation(name: &str, meaning: Meaning, primitives: Vec<Primitive>) -> Operation {
        Operation { name: name.to_owned(), meaning, primitives, residual: true }
    }

    fn convolution(kernel: u32, groups: Groups, channels: Width, stride: Stride) -> Primitive {
        Primitive::Convolution { kernel, stride, groups, channels, dilation: 1, bias: false }
    }

    fn node(name: &str, input: &str, apply: Apply, channels: Option<u32>, stride: u32) -> Node {
        Node { name: name.to_owned(), inputs: vec![input.to_owned()], combine: Combine::Sum, apply, channels, stride }
    }

    /// A stem of 4 channels, one Block of three layers of which the first halves the image, a head.
    fn description() -> Description {
        let stem = vec![convolution(3, Groups::Dense, Width::Output, Stride::Node), Primitive::BatchNorm];
        let expanding = vec![
            convolution(1, Groups::Dense, Width::Input(2.0), Stride::One),
            convolution(3, Groups::Depthwise, Width::Same, Stride::Node),
            Primitive::SqueezeExcite { ratio: 0.5, gate: Activation::Sigmoid },
            convolution(1, Groups::Dense, Width::Output, Stride::One),
        ];
        let head = vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let slot = |name: &str, choices: &[&str]| Slot { name: name.to_owned(), choices: words(choices) };
        Description {
            format: DESCRIPTION_FORMAT,
            name: "test".to_owned(),
            input: Shape { channels: 3, height: 8, width: 8 },
            classes: 10,
            operations: vec![
                operation("stem", Meaning::Sequence, stem),
                operation("a", Meaning::Sequence, expanding),
                operation("b", Meaning::Sequence, vec![convolution(1, Groups::Dense, Width::Output, Stride::Node)]),
                operation("identity", Meaning::Identity, Vec::new()),
                operation("absent", Meaning::Absent, Vec::new()),
                operation("zero", Meaning::Zero, Vec::new()),
                operation("head", Meaning::Sequence, head),
            ],
            slots: vec![
                slot("first", &["a", "b"]),
                slot("second", &["a", "b", "identity", "absent"]),
                slot("third", &["a", "b", "identity", "absent"]),
            ],
            blocks: vec![Block { name: "Block 1".to_owned(), slots: vec![0, 1, 2] }],
            network: vec![
                node("stem", "input", Apply::Operation("stem".to_owned()), Some(4), 1),
                node("first", "stem", Apply::Slot(0), Some(6), 2),
                node("second", "first", Apply::Slot(1), None, 1),
                node("third", "second", Apply::Slot(2), None, 1),
                node("head", "third", Apply::Operation("head".to_owned()), Some(10), 1),
            ],
        }
    }

    #[test]
    fn shapes_and_costs_are_those_counted_by_hand() {
        let network = Network::new(description()).expect("the description is sound");
        assert_eq!(network.nodes()[1].output, Shape { channels: 6, height: 4, width: 4 });
        assert!(!network.nodes()[1].candidates[0].residual, "a stride leaves no shortcut");
        assert!(network.nodes()[2].candidates[0].residual);
        // Stem 3 x 4 x 9 weights over 64 pixels and 4 scales and shifts; `b` 4 x 6 over 16 pixels;
        // head 6 x 10 and 10 biases.
        let least = Cost { params: 108 + 8 + 24 + 70, flops: 108 * 64 + 24 * 16 + 60 };
        assert_eq!(network.cost(&Genome(vec![1, 2, 3])), least);
        // `a` in the second layer: 6 x 12 over 16 pixels, 12 x 9 over 16, gate of 3 between 12,
        // 12 x 6 over 16.
        let layer = Cost { params: 72 + 108 + (36 + 3 + 36 + 12) + 72, flops: (72 + 108 + 72) * 16 + 72 };
        assert_eq!(network.cost(&Genome(vec![1, 0, 3])), least + layer);
        let (low, high) = network.cost_range(&Region::full(&network));
        assert_eq!(low, least);
        assert_eq!(high.params, network.cost(&Genome(vec![0, 0, 0])).params.max(high.params));
    }

    #[test]
    fn equal_networks_have_one_canonical_form() {
        let network = Network::new(description()).expect("the description is sound");
        let check = |genome: [u16; 3], expected: [u16; 3]| {
            assert_eq!(network.canonical(&Genome(genome.to_vec())), Genome(expected.to_vec()), "{genome:?}");
        };
        check([0, 2, 1], [0, 1, 3]);
        check([0, 3, 1], [0, 1, 3]);
        check([0, 1, 2], [0, 1, 3]);
        check([0, 1, 3], [0, 1, 3]);
        check([0, 2, 3], [0, 3, 3]);
        check([0, 1, 0], [0, 1, 0]);
    }

    #[test]
    fn an_aligned_genome_stays_in_its_region_or_as_it_was() {
        let network = Network::new(description()).expect("the description is sound");
        let check = |genome: [u16; 3], region: [&[u16]; 3], expected: [u16; 3]| {
            let region =
                Region::new(region.iter().map(|choices| choices.to_vec()).collect()).expect("no slot is empty");
            assert_eq!(network.aligned(&Genome(genome.to_vec()), &region), Genome(expected.to_vec()));
        };
        check([0, 2, 1], [&[0], &[1, 2], &[1, 2]], [0, 1, 2]);
        // Choice 1 is pruned from the second slot, so the layer cannot move there.
        check([0, 2, 1], [&[0], &[0, 2], &[1, 2]], [0, 2, 1]);
        // The third layer is not born, so it stays absent.
        check([0, 2, 3], [&[0], &[1, 2], &[3]], [0, 2, 3]);
    }

    #[test]
    fn a_description_that_does_not_fit_is_refused_with_the_node() {
        let check = |change: fn(&mut Description), expected: &str| {
            let mut description = description();
            change(&mut description);
            let error = Network::new(description).expect_err(expected);
            assert!(error.message.contains(expected), "{error}");
        };
        check(|it| it.format = 2, "format 2, this SDK reads format 1");
        check(|it| it.slots[1].choices[0] = "aa".to_owned(), "unknown operation `aa`, did you mean `a`?");
        check(|it| it.network[2].inputs[0] = "third".to_owned(), "node `second`: unknown earlier node `third`");
        check(|it| it.network[2].stride = 2, "operation `identity`: it passes its input through");
        check(|it| it.network[1].name = "stem".to_owned(), "the name is taken");
        check(|it| it.classes = 11, "the last node gives 10 x 1 x 1, the description has 11 classes");
        check(|it| it.blocks[0].slots.push(3), "Block `Block 1` names slot 3");
        check(|it| it.blocks[0].slots.push(0), "slot 0 is in Block");
        check(|it| it.operations[3].name = "a".to_owned(), "two operations are called `a`");
        check(|it| drop(it.network.remove(3)), "unknown earlier node `third`");
        check(|it| it.slots.push(it.slots[0].clone()), "no node uses slot 3");
        check(|it| it.network[4].apply = Apply::Slot(9), "there is no slot 9");
        check(
            |it| it.operations[2].primitives = vec![convolution(2, Groups::Dense, Width::Output, Stride::Node)],
            "a kernel is odd",
        );
        check(
            |it| it.operations[2].primitives = vec![convolution(1, Groups::Fixed(5), Width::Output, Stride::Node)],
            "5 groups do not divide",
        );
        check(
            |it| it.operations[2].primitives = vec![convolution(1, Groups::Dense, Width::Fixed(0), Stride::Node)],
            "a width of 0 channels",
        );
        check(|it| it.operations[6].primitives.truncate(1), "the last node gives 6 x 1 x 1");
        check(|it| drop(it.operations[6].primitives.remove(0)), "a linear layer needs 1 x 1 pixels");
    }

    #[test]
    fn a_document_survives_json() {
        let description = description();
        let text = serde_json::to_string(&description).expect("a description is JSON");
        assert_eq!(serde_json::from_str::<Description>(&text).expect("it was written by us"), description);
        let later = text.replacen("\"format\"", "\"a key of a later version\":1,\"format\"", 1);
        assert!(serde_json::from_str::<Description>(&later).is_ok(), "unknown keys are for later versions");
    }
}
