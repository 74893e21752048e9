//! From the names and expressions of a description to nodes with indices, shapes and costs.

use std::collections::HashMap;

use super::{Cost, Layer, ResolvedNode, ResolvedOperation, Source};
use crate::{
    description::{
        Apply, Combine, DESCRIPTION_FORMAT, Description, Groups, Meaning, Node, Operation, Primitive, Shape, Stride,
        Width,
    },
    error::{Error, Result, unknown_name},
};

/// The runs of slots in which layers may trade places.
pub(super) fn chains(description: &Description, nodes: &[ResolvedNode], meanings: &[Vec<Meaning>]) -> Vec<Vec<usize>> {
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
pub(super) struct Resolver<'a> {
    description: &'a Description,
    operations: HashMap<&'a str, &'a Operation>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(description: &'a Description) -> Result<Self> {
        if description.format != DESCRIPTION_FORMAT {
            return Err(Error::failed(format!(
                "the network description has format {}, this SDK reads format {}",
                description.format, DESCRIPTION_FORMAT
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

    pub(super) fn resolve(&self) -> Result<(Vec<ResolvedNode>, Vec<Vec<Meaning>>)> {
        let meanings = self.meanings()?;
        self.check_blocks()?;
        let Shape { channels, height, width } = self.description.input;
        within("an image", "channels", channels, MOST_CHANNELS)?;
        within("an image", "rows", height, MOST_PIXELS)?;
        within("an image", "columns", width, MOST_PIXELS)?;
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
        within("it", "pixels as its stride", node.stride, MOST_PIXELS)?;
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
        within("it", "channels", target.channels, MOST_CHANNELS)?;
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
            Combine::Concat => shapes.iter().fold(0, |sum: u32, shape| sum.saturating_add(shape.channels)),
        };
        within("it", "channels of its inputs", channels, MOST_CHANNELS)?;
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
        if (1.0..=f64::from(MOST_CHANNELS)).contains(&channels) {
            Ok(channels as u32)
        } else {
            Err(Error::failed(format!("a width of {channels} channels is out of 1 to {MOST_CHANNELS}")))
        }
    };
    let window = |kernel: u32, stride: Stride, dilation: u32| -> Result<(u32, u32, Shape)> {
        let stride = match stride {
            Stride::One => 1,
            Stride::Fixed(stride) => stride,
            Stride::Node => target.stride,
        };
        if kernel.is_multiple_of(2) || stride == 0 || dilation == 0 {
            return Err(Error::failed(format!(
                "kernel {kernel}, stride {stride}, dilation {dilation}: a kernel is odd, the others at least 1"
            )));
        }
        within("a window", "pixels as its kernel", kernel, MOST_PIXELS)?;
        within("a window", "pixels as its stride", stride, MOST_PIXELS)?;
        within("a window", "pixels as its dilation", dilation, MOST_PIXELS)?;
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
            if groups == 0 || !shape.channels.is_multiple_of(groups) || !output.is_multiple_of(groups) {
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
            // Even windows that lie side by side need no margin.
            if *stride == Stride::Fixed(*kernel)
                && kernel.is_multiple_of(2)
                && *kernel > 0
                && shape.height.is_multiple_of(*kernel)
                && shape.width.is_multiple_of(*kernel)
            {
                let next = Shape { height: shape.height / kernel, width: shape.width / kernel, ..shape };
                return Ok((Layer::Pool { kind: *kind, kernel: *kernel, stride: *kernel, padding: 0 }, next));
            }
            let (padding, stride, next) = window(*kernel, *stride, 1)?;
            (Layer::Pool { kind: *kind, kernel: *kernel, stride, padding }, next)
        }
        Primitive::SqueezeExcite { ratio, gate } => {
            let hidden = (f64::from(input.channels) * ratio).round().max(1.0);
            if !(*ratio > 0.0 && hidden <= f64::from(MOST_CHANNELS)) {
                return Err(Error::failed(format!(
                    "squeeze-and-excitation of {} channels with a ratio of {ratio}: it is above 0, and what it \
                     gives is at most {MOST_CHANNELS}",
                    input.channels
                )));
            }
            let hidden = hidden as u32;
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

/// The most channels that anything has, and the most pixels along one side of an image or a window.
const MOST_CHANNELS: u32 = 1_000_000;
const MOST_PIXELS: u32 = 65_535;

/// Whether a number is from 1 to `most`; `whose` has so many `what`.
fn within(whose: &str, what: &str, number: u32, most: u32) -> Result<()> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(Error::failed(format!("{whose} has {number} {what}, it needs 1 to {most}")))
}

/// What one layer costs, given the shape it gives; what cannot be counted is `u64::MAX`.
fn layer_cost(layer: &Layer, output_shape: Shape) -> Cost {
    let pixels = u64::from(output_shape.height) * u64::from(output_shape.width);
    match layer {
        Layer::Convolution { input, output, kernel, groups, bias, .. } => {
            let weights = u64::from(input / groups) * u64::from(*output);
            let weights = weights.saturating_mul(u64::from(*kernel) * u64::from(*kernel));
            let biases = if *bias { u64::from(*output) } else { 0 };
            Cost::new(weights.saturating_add(biases), weights.saturating_mul(pixels))
        }
        Layer::BatchNorm { channels } => Cost::new(2 * u64::from(*channels), 0),
        Layer::SqueezeExcite { channels, hidden, .. } => {
            let weights = 2 * u64::from(*channels) * u64::from(*hidden);
            Cost::new(weights + u64::from(*channels) + u64::from(*hidden), weights)
        }
        Layer::Linear { input, output } => {
            let weights = u64::from(*input) * u64::from(*output);
            Cost::new(weights + u64::from(*output), weights)
        }
        Layer::Activation(_) | Layer::Pool { .. } | Layer::GlobalAverage => Cost::default(),
    }
}
