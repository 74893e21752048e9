//! The networks of a space as the page draws them: shapes, costs and layers in words.

use pleach_sdk::{
    Cost, Network, Shape,
    description::{Activation, Meaning, Pool},
    network::{Layer, ResolvedNode, ResolvedOperation, Source},
};
use serde::Serialize;

/// Everything that drawing any genome of a space takes.
#[derive(Debug, Serialize)]
pub(super) struct SpaceView {
    name: String,
    input: Shape,
    classes: u32,
    blocks: Vec<BlockView>,
    slots: Vec<SlotView>,
    nodes: Vec<NodeView>,
    /// What all networks have.
    fixed: Cost,
}

#[derive(Debug, Serialize)]
struct BlockView {
    name: String,
    slots: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct SlotView {
    name: String,
    choices: Vec<ChoiceView>,
}

/// A choice of a slot, with its cost in all nodes that the slot decides.
#[derive(Debug, Serialize)]
struct ChoiceView {
    name: String,
    meaning: Meaning,
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Debug, Serialize)]
struct NodeView {
    name: String,
    /// Earlier nodes by index; `null` is the image.
    inputs: Vec<Option<usize>>,
    input: Shape,
    output: Shape,
    slot: Option<usize>,
    candidates: Vec<OperationView>,
}

#[derive(Debug, Serialize)]
struct OperationView {
    name: String,
    meaning: Meaning,
    residual: bool,
    /// Its layers in words.
    layers: Vec<String>,
    #[serde(flatten)]
    cost: Cost,
}

impl SpaceView {
    pub(super) fn of(network: &Network) -> Self {
        let description = network.description();
        let choice = |slot: usize, choice: usize, name: &String| ChoiceView {
            name: name.clone(),
            meaning: network.meaning(slot, choice as u16),
            cost: network
                .nodes()
                .iter()
                .filter(|node| node.slot == Some(slot))
                .map(|node| node.candidates[choice].cost)
                .sum(),
        };
        let slots = network.slots().iter().enumerate().map(|(index, slot)| SlotView {
            name: slot.name.clone(),
            choices: slot.choices.iter().enumerate().map(|(number, name)| choice(index, number, name)).collect(),
        });
        let blocks = network.blocks().iter();
        SpaceView {
            name: description.name.clone(),
            input: description.input,
            classes: description.classes,
            blocks: blocks.map(|block| BlockView { name: block.name.clone(), slots: block.slots.clone() }).collect(),
            slots: slots.collect(),
            nodes: network.nodes().iter().map(node).collect(),
            fixed: network.nodes().iter().filter(|node| node.slot.is_none()).map(|node| node.candidates[0].cost).sum(),
        }
    }
}

fn node(node: &ResolvedNode) -> NodeView {
    let source = |source: &Source| match source {
        Source::Image => None,
        Source::Node(index) => Some(*index),
    };
    NodeView {
        name: node.name.clone(),
        inputs: node.inputs.iter().map(source).collect(),
        input: node.input,
        output: node.output,
        slot: node.slot,
        candidates: node.candidates.iter().map(operation).collect(),
    }
}

fn operation(operation: &ResolvedOperation) -> OperationView {
    OperationView {
        name: operation.name.clone(),
        meaning: operation.meaning,
        residual: operation.residual,
        layers: operation.layers.iter().map(spoken).collect(),
        cost: operation.cost,
    }
}

/// A layer in words.
fn spoken(layer: &Layer) -> String {
    match layer {
        Layer::Convolution { input, output, kernel, stride, dilation, groups, .. } => {
            let kind = match groups {
                1 => String::new(),
                groups if groups == input => "depthwise ".to_owned(),
                groups => format!("{groups} groups of "),
            };
            let stride = if *stride > 1 { format!(", stride {stride}") } else { String::new() };
            let dilation = if *dilation > 1 { format!(", dilation {dilation}") } else { String::new() };
            format!("{kind}convolution {kernel} × {kernel}, {input} → {output}{stride}{dilation}")
        }
        Layer::BatchNorm { .. } => "batch norm".to_owned(),
        Layer::Activation(activation) => named(*activation).to_owned(),
        Layer::Pool { kind, kernel, stride, .. } => {
            let kind = match kind {
                Pool::Max => "max",
                Pool::Average => "average",
            };
            format!("{kind} pooling {kernel} × {kernel}, stride {stride}")
        }
        Layer::SqueezeExcite { channels, hidden, gate } => {
            format!("squeeze-and-excitation {channels} → {hidden} → {channels}, {}", named(*gate))
        }
        Layer::GlobalAverage => "global average".to_owned(),
        Layer::Linear { input, output } => format!("linear {input} → {output}"),
    }
}

fn named(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "ReLU",
        Activation::Relu6 => "ReLU6",
        Activation::Silu => "SiLU",
        Activation::HardSwish => "hard swish",
        Activation::HardSigmoid => "hard sigmoid",
        Activation::Sigmoid => "sigmoid",
        Activation::Gelu => "GELU",
    }
}
