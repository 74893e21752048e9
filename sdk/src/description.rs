//! The network description: the document in which a space says what its networks are made of.
//!
//! It is plain data. [`crate::Network`] resolves it to shapes, checks it and counts costs;
//! an estimator builds tensors from the resolved form. A third party describes a new layer
//! as a sequence of primitives, and no estimator needs to change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of the document's format.
pub const DESCRIPTION_FORMAT: u32 = 1;

/// A space's networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// [`DESCRIPTION_FORMAT`].
    pub format: u32,
    /// What the space is called in reports.
    pub name: String,
    /// The shape of one image.
    pub input: Shape,
    /// How many classes the network tells apart: the features of its last node.
    pub classes: u32,
    /// What slots and nodes refer to by name.
    pub operations: Vec<Operation>,
    /// The genes, in the order of the genome.
    pub slots: Vec<Slot>,
    /// The Blocks, in order from input to output.
    pub blocks: Vec<Block>,
    /// The network: every node takes what earlier nodes give; the last one is the output.
    pub network: Vec<Node>,
}

/// Channels, rows and columns of a feature map; features after a linear layer have 1 x 1 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Shape {
    /// How many channels.
    pub channels: u32,
    /// How many rows.
    pub height: u32,
    /// How many columns.
    pub width: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// A named sequence of primitives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// What it means to variation and growth.
    pub meaning: Meaning,
    /// What it computes, first to last; empty unless the meaning is `sequence`.
    #[serde(default)]
    pub primitives: Vec<Primitive>,
    /// Whether its input is added to its output where both have the same shape.
    #[serde(default)]
    pub residual: bool,
}

/// What an operation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// It computes its primitives.
    Sequence,
    /// It passes its input through: a layer that the search chose to leave out.
    Identity,
    /// It gives zeros: an edge that is cut.
    Zero,
    /// It passes its input through: a layer that is not born yet.
    Absent,
}

impl Meaning {
    /// Whether the operation passes its input through.
    pub fn passes_through(self) -> bool {
        matches!(self, Meaning::Identity | Meaning::Absent)
    }
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Primitive {
    /// A convolution, padded so that stride 1 keeps rows and columns.
    Convolution {
        /// Rows and columns of the kernel, odd.
        kernel: u32,
        /// How far the kernel moves.
        #[serde(default)]
        stride: Stride,
        /// How channels are grouped.
        #[serde(default)]
        groups: Groups,
        /// How many channels come out.
        channels: Width,
        /// Distance between kernel elements.
        #[serde(default = "one")]
        dilation: u32,
        /// Whether a bias is added.
        #[serde(default)]
        bias: bool,
    },
    /// Normalisation by the statistics of the batch, with a scale and a shift per channel.
    BatchNorm,
    /// An element-wise function.
    Activation(Activation),
    /// Pooling, padded like a convolution; averages do not count the padding.
    Pool {
        /// Which statistic.
        kind: Pool,
        /// Rows and columns of the window: odd, or even where windows lie side by side (a fixed
        /// stride that equals the kernel and divides the image).
        kernel: u32,
        /// How far the window moves.
        #[serde(default)]
        stride: Stride,
    },
    /// Squeeze-and-excitation (Hu et al. 2018): channels scaled by a gate that sees them all.
    SqueezeExcite {
        /// Channels between the two layers of the gate, as a share of the operation's *input*
        /// channels, rounded, at least 1.
        ratio: f64,
        /// The function of the gate.
        gate: Activation,
    },
    /// The mean over rows and columns.
    GlobalAverage,
    /// A linear layer with bias over features of 1 x 1 pixels.
    Linear {
        /// How many features come out.
        features: Width,
    },
}

fn one() -> u32 {
    1
}

/// How many channels a primitive gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// As many as it receives.
    Same,
    /// So many.
    Fixed(u32),
    /// A multiple of the operation's input channels, rounded.
    Input(f64),
    /// As many as the node that holds the operation gives.
    Output,
}

/// How far a kernel moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stride {
    /// Every pixel.
    #[default]
    One,
    /// So many pixels.
    Fixed(u32),
    /// The stride of the node that holds the operation.
    Node,
}

/// How a convolution groups channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// All channels see all channels.
    #[default]
    Dense,
    /// Each channel by itself.
    Depthwise,
    /// So many groups.
    Fixed(u32),
}

/// An element-wise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x times the logistic function of x.
    Silu,
    /// x times min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// The logistic function.
    Sigmoid,
    /// x times the normal distribution function of x.
    Gelu,
}

/// A pooling statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The largest.
    Max,
    /// The mean.
    Average,
}

/// A gene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// The operations it chooses from, by name; a genome holds an index into this list.
    pub choices: Vec<String>,
}

/// A part of the network that grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Its slots, by index, in the order in which they are born.
    pub slots: Vec<usize>,
}

/// A vertex of the network's graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Earlier nodes, by name; `input` is the image.
    pub inputs: Vec<String>,
    /// How several inputs become one.
    #[serde(default)]
    pub combine: Combine,
    /// What is computed.
    pub apply: Apply,
    /// The channels that come out; without it as many as go in.
    #[serde(default)]
    pub channels: Option<u32>,
    /// The stride of the operation.
    #[serde(default = "one")]
    pub stride: u32,
}

/// How a node's inputs become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Added; all have the same shape.
    #[default]
    Sum,
    /// Laid side by side along channels; all have the same rows and columns.
    Concat,
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// Always this operation, by name.
    Operation(String),
    /// What the genome chose for this slot, by index.
    Slot(usize),
}
