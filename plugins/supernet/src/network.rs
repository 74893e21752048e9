//! A pass through the SuperNet along one path.

mod chain;

use pleach_sdk::{
    Genome, Network, Seed,
    description::{Activation, Combine, Meaning, Pool},
    network::{Layer, ResolvedNode, ResolvedOperation, Source},
    rand::Rng,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::{
    batch_norm::{BatchNorm, Mode},
    device::upload,
    kernels,
    weights::{LayerWeights, Weights},
};

/// How a pass through a network is made.
pub(crate) struct Pass<'a> {
    /// What batch norms normalise by.
    mode: Mode<'a>,
    drop_path: Option<DropPath>,
    precision: Precision,
    /// Whether our own kernels compute what they are made for.
    own_kernels: bool,
    /// Bytes that a thread's piece of a tensor may take in kernels that compute several layers.
    room: u64,
    /// The node whose output is wanted beside the logits.
    tap: Option<usize>,
    watch: Option<Watch<'a>>,
    /// Batch norms met so far.
    met: usize,
}

/// Is shown each activation and what it gave, in the order in which they are computed.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Activation, &Tensor) -> Result<(), TchError>;

/// The type of numbers that a pass computes with. Weights, statistics of batch norms and the
/// logits are in single precision all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Precision {
    /// 32 bits; on CUDA the factors of products are rounded to 10 bits of fraction (TF32).
    #[default]
    Single,
    /// 16 bits with the range of 32 (bfloat16) for convolutions and what is between them.
    Mixed,
}

impl Precision {
    /// The same values in the numbers that convolutions compute with.
    pub(crate) fn narrow(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Precision::Single => Ok(tensor.shallow_clone()),
            Precision::Mixed => tensor.f_to_kind(Kind::BFloat16),
        }
    }

    /// The same values in the numbers of weights and logits.
    fn widen(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Precision::Single => Ok(tensor.shallow_clone()),
            Precision::Mixed => tensor.f_to_kind(Kind::Float),
        }
    }
}

/// Leaves out branches beside shortcuts, image by image (Huang et al. 2016).
struct DropPath {
    /// What each branch of each image is multiplied by, of shape (branches, images).
    kept: Tensor,
    /// Branches met so far.
    met: i64,
}

/// What each branch beside a shortcut of a network is multiplied by, of shape (branches, images), if it is left out
/// with a probability of `rate`, by a seed; what is kept grows, so that the mean stays as it is.
pub(crate) fn kept_branches(
    network: &Network,
    path: &Genome,
    rate: f64,
    images: i64,
    device: Device,
    seed: Seed,
) -> Result<Tensor, TchError> {
    let chosen = network.nodes().iter().map(|node| &node.candidates[node.chosen(path)]);
    let branches = chosen.filter(|operation| operation.residual).count() as i64;
    let mut generator = seed.generator();
    let keep = 1.0 - rate;
    let mut scale = || if generator.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 };
    let scales: Vec<f32> = (0..branches * images).map(|_| scale()).collect();
    upload(&Tensor::f_from_slice(&scales)?.f_view([branches, images])?, device)
}

impl<'a> From<Mode<'a>> for Pass<'a> {
    fn from(mode: Mode<'a>) -> Self {
        let precision = Precision::Single;
        Pass { mode, drop_path: None, precision, own_kernels: true, room: chain::ROOM, tap: None, watch: None, met: 0 }
    }
}

impl<'a> Pass<'a> {
    /// Multiplies branches beside shortcuts by what `kept_branches` gives.
    pub(crate) fn with_branches(mut self, kept: Option<&Tensor>) -> Self {
        self.drop_path = kept.map(|kept| DropPath { kept: kept.shallow_clone(), met: 0 });
        self
    }

    /// Computes with other numbers.
    pub(crate) fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Computes with our own kernels or without.
    pub(crate) fn with_own_kernels(mut self, own_kernels: bool) -> Self {
        self.own_kernels = own_kernels;
        self
    }

    /// Computes with pieces of so many bytes.
    #[cfg(test)]
    pub(crate) fn in_pieces_of(mut self, bytes: u64) -> Self {
        self.room = bytes;
        self
    }

    /// Wants the output of a node too.
    pub(crate) fn with_tap(mut self, node: Option<usize>) -> Self {
        self.tap = node;
        self
    }

    /// Shows every activation to someone.
    pub(crate) fn with_watch(mut self, watch: Watch<'a>) -> Self {
        self.watch = Some(watch);
        self
    }

    fn show(&mut self, function: Activation, output: &Tensor) -> Result<(), TchError> {
        match &mut self.watch {
            Some(watch) => watch(function, output),
            None => Ok(()),
        }
    }
}

/// Computes the logits, of shape (images, classes), of `images` of shape (images, channels,
/// rows, columns) for the network that `path` chooses.
pub(crate) fn forward<'a>(
    network: &Network,
    weights: &Weights,
    path: &Genome,
    images: &Tensor,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor, TchError> {
    forward_tapped(network, weights, path, images, &mut pass.into()).map(|(logits, _)| logits)
}

/// The same with the output of the node that the pass taps.
pub(crate) fn forward_tapped(
    network: &Network,
    weights: &Weights,
    path: &Genome,
    images: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<(Tensor, Option<Tensor>), TchError> {
    let nodes = network.nodes();
    let images = pass.precision.narrow(images)?;
    let mut outputs: Vec<Option<Tensor>> = Vec::with_capacity(nodes.len());
    let mut tapped = None;
    for (index, node) in nodes.iter().enumerate() {
        let of_source = |source: &Source| match source {
            Source::Image => Some(&images),
            Source::Node(index) => outputs[*index].as_ref(),
        };
        let inputs: Vec<&Tensor> = node.inputs.iter().filter_map(of_source).collect();
        let input = combine(node, &inputs)?;
        let chosen = node.chosen(path);
        let operation = &node.candidates[chosen];
        let output = match operation.meaning {
            Meaning::Identity | Meaning::Absent => input,
            Meaning::Zero => zeros(&images, node)?,
            Meaning::Sequence => run(operation, weights, weights.of(index, chosen), input, pass)?,
        };
        if pass.tap == Some(index) {
            tapped = Some(output.shallow_clone());
        }
        outputs.push(Some(output));
        // What no later node reads is freed at once.
        for source in &node.inputs {
            if let Source::Node(read) = source
                && !nodes[index + 1..].iter().any(|later| later.inputs.contains(source))
            {
                outputs[*read] = None;
            }
        }
    }
    let last = outputs.pop().flatten().ok_or_else(|| TchError::Shape("a network without nodes".to_owned()))?;
    Ok((pass.precision.widen(&last.f_flatten(1, -1)?)?, tapped))
}

/// What an operation reads, from what its node reads.
pub(crate) fn combine(node: &ResolvedNode, inputs: &[&Tensor]) -> Result<Tensor, TchError> {
    match (inputs, node.combine) {
        ([one], _) => Ok(one.shallow_clone()),
        (several, Combine::Concat) => Tensor::f_cat(several, 1),
        ([first, others @ ..], Combine::Sum) => {
            others.iter().try_fold(first.shallow_clone(), |sum, input| sum.f_add(input))
        }
        ([], Combine::Sum) => Err(TchError::Shape("a node without inputs".to_owned())),
    }
}

/// The output of a node that computes nothing.
pub(crate) fn zeros(images: &Tensor, node: &ResolvedNode) -> Result<Tensor, TchError> {
    let shape = [images.size()[0], node.output.channels.into(), node.output.height.into(), node.output.width.into()];
    Tensor::f_zeros(shape, (images.kind(), images.device()))
}

/// Computes one operation.
pub(crate) fn run(
    operation: &ResolvedOperation,
    weights: &Weights,
    layers: &[LayerWeights],
    input: Tensor,
    pass: &mut Pass<'_>,
) -> Result<Tensor, TchError> {
    let is_residual = operation.residual && pass.drop_path.is_none();
    let (here, is_added) = run_layers((&operation.layers, layers), is_residual, weights, &input, pass)?;
    if is_added || !operation.residual {
        return Ok(here);
    }
    let here = match &mut pass.drop_path {
        Some(drop_path) => drop_path.apply(&here)?,
        None => here,
    };
    here.f_add(&input)
}

/// Layers and their weights.
type Layers<'a> = (&'a [Layer], &'a [LayerWeights]);

/// Computes layers one after the other, or several at once where a kernel is made for it; such a kernel
/// may add the input if `is_residual`, and whether it did is said.
fn run_layers(
    (mut layers, mut weights_of): Layers<'_>,
    is_residual: bool,
    weights: &Weights,
    input: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<(Tensor, bool), TchError> {
    let mut here = input.shallow_clone();
    // The operation's input may be read by others, so only what it computed itself is overwritten.
    let mut is_own = false;
    while let ([layer, following @ ..], [own, owned @ ..]) = (layers, weights_of) {
        // What layers computed is no operation's input.
        let is_residual = is_residual && !is_own;
        let chained = chain::run((layers, weights_of), is_residual, weights, &here, pass)?;
        let taken = if let Some(chain::Computed { value, taken, is_residual }) = chained {
            if is_residual {
                return Ok((value, true));
            }
            here = value;
            taken - 1
        } else {
            // What follows may be computed with it.
            let taken = match (layer, following, &pass.mode) {
                (Layer::Convolution { .. }, [Layer::BatchNorm { .. }, Layer::Activation(_), ..], Mode::Recorded(_)) => {
                    2
                }
                (Layer::Convolution { .. }, [Layer::BatchNorm { .. }, ..], Mode::Recorded(_)) => 1,
                (Layer::BatchNorm { .. }, [Layer::Activation(_), ..], _) => 1,
                _ => 0,
            };
            here = apply((layer, own), (&following[..taken], &owned[..taken]), weights, (here, is_own), pass)?;
            taken
        };
        is_own = true;
        (layers, weights_of) = (&following[taken..], &owned[taken..]);
    }
    Ok((here, false))
}

impl DropPath {
    fn apply(&mut self, branch: &Tensor) -> Result<Tensor, TchError> {
        let kept = self.kept.f_select(0, self.met)?.f_to_kind(branch.kind())?;
        self.met += 1;
        branch.f_mul(&kept.f_view([-1, 1, 1, 1])?)
    }
}

/// Computes one layer, and with it those next to it that are taken along: the batch norm of a
/// convolution by recorded statistics, the activation of a batch norm.
fn apply(
    layer: (&Layer, &LayerWeights),
    next: Layers<'_>,
    weights: &Weights,
    (input, is_own): (Tensor, bool),
    pass: &mut Pass<'_>,
) -> Result<Tensor, TchError> {
    let value = |index: usize| &weights.parameters[index].value;
    let precision = pass.precision;
    let narrow = |tensor: &Tensor| precision.narrow(tensor);
    let then = match next.0 {
        [.., Layer::Activation(function)] => Some(*function),
        _ => None,
    };
    if let (convolution @ Layer::Convolution { .. }, LayerWeights::Convolution { weight, bias }) = layer {
        let (weight, bias) = (value(*weight), bias.map(value));
        let output = match (next.1, &pass.mode) {
            ([LayerWeights::BatchNorm { scale, shift }, ..], Mode::Recorded(statistics)) => {
                let norm = (scale.map(value), shift.map(value));
                let (weight, bias) = statistics.folded(pass.met, (weight, bias), norm)?;
                pass.met += 1;
                convolve(convolution, (&weight, Some(&bias)), &input, then, pass)?
            }
            _ => convolve(convolution, (weight, bias), &input, then, pass)?,
        };
        if let Some(function) = then {
            pass.show(function, &output)?;
        }
        return Ok(output);
    }
    match layer {
        (Layer::BatchNorm { .. }, LayerWeights::BatchNorm { scale, shift }) => {
            let (scale, shift) = (scale.map(value), shift.map(value));
            let norm = BatchNorm { scale, shift, then, own_kernels: pass.own_kernels };
            let output = norm.apply(&mut pass.mode, &mut pass.met, &input)?;
            if let Some(function) = then {
                pass.show(function, &output)?;
            }
            Ok(output)
        }
        (Layer::SqueezeExcite { gate, .. }, LayerWeights::SqueezeExcite { reduce, expand }) => {
            let point = |input: &Tensor, (weight, bias): (usize, usize)| {
                let bias = narrow(value(bias))?;
                input.f_conv2d(&narrow(value(weight))?, Some(&bias), [1, 1], [0, 0], [1, 1], 1)
            };
            let mean = input.f_mean_dim([2i64, 3].as_slice(), true, None)?;
            let hidden = point(&mean, *reduce)?.f_relu()?;
            pass.show(Activation::Relu, &hidden)?;
            input.f_mul(&activate(*gate, point(&hidden, *expand)?, true)?)
        }
        (Layer::Linear { .. }, LayerWeights::Linear { weight, bias }) => {
            let flat = precision.widen(&input.f_flatten(1, -1)?)?;
            flat.f_linear(value(*weight), Some(value(*bias)))?.f_unsqueeze(-1)?.f_unsqueeze(-1)
        }
        (Layer::Activation(function), _) => {
            let output = activate(*function, input, is_own)?;
            pass.show(*function, &output)?;
            Ok(output)
        }
        (Layer::Pool { kind, kernel, stride, padding }, _) => {
            let pair = |number: &u32| [i64::from(*number); 2];
            match kind {
                Pool::Max => input.f_max_pool2d(pair(kernel), pair(stride), pair(padding), [1, 1], false),
                Pool::Average => input.f_avg_pool2d(pair(kernel), pair(stride), pair(padding), false, false, None),
            }
        }
        (Layer::GlobalAverage, _) => input.f_mean_dim([2i64, 3].as_slice(), true, None),
        // Weights are made from the same layers, so the pairs above are all there are.
        _ => Err(TchError::Shape("the weights are not of this network".to_owned())),
    }
}

/// Computes a convolution and the activation that follows it.
fn convolve(
    layer: &Layer,
    (weight, bias): (&Tensor, Option<&Tensor>),
    input: &Tensor,
    then: Option<Activation>,
    pass: &Pass<'_>,
) -> Result<Tensor, TchError> {
    let &Layer::Convolution { input: channels, output, kernel, stride, padding, dilation, groups, .. } = layer else {
        return Err(TchError::Shape("a convolution was expected".to_owned()));
    };
    let is_depthwise = groups == channels && groups == output && kernel > 1 && dilation == 1;
    let own = match bias {
        None if pass.own_kernels && is_depthwise && pass.precision == Precision::Single => {
            kernels::depthwise(input, weight, stride, padding)?
        }
        _ => None,
    };
    let output = match own {
        Some(output) => output,
        None => {
            let narrow = |tensor: &Tensor| pass.precision.narrow(tensor);
            let pair = |number: u32| [i64::from(number); 2];
            let (weight, bias) = (narrow(weight)?, bias.map(narrow).transpose()?);
            let (stride, padding, dilation) = (pair(stride), pair(padding), pair(dilation));
            narrow(input)?.f_conv2d(&weight, bias.as_ref(), stride, padding, dilation, i64::from(groups))?
        }
    };
    match then {
        Some(function) => activate(function, output, true),
        None => Ok(output),
    }
}

/// Computes an activation; what nothing else reads may be overwritten.
pub(crate) fn activate(function: Activation, mut input: Tensor, is_own: bool) -> Result<Tensor, TchError> {
    match function {
        Activation::Relu if is_own => input.f_relu_(),
        Activation::Relu => input.f_relu(),
        Activation::Relu6 => input.f_clamp(0.0, 6.0),
        Activation::Silu => input.f_silu(),
        Activation::HardSwish => input.f_hardswish(),
        Activation::HardSigmoid => input.f_hardsigmoid(),
        Activation::Sigmoid => input.f_sigmoid(),
        Activation::Gelu => input.f_gelu("none"),
    }
}
