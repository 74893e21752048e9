//! A pass through the SuperNet along one path.

use pleach_sdk::{
    Genome, Network,
    description::{Activation, Combine, Meaning, Pool},
    network::{Layer, ResolvedNode, ResolvedOperation, Source},
};
use tch::{TchError, Tensor};

use crate::{
    batch_norm::{self, Mode},
    weights::{LayerWeights, Weights},
};

/// Computes the logits, of shape (images, classes), of `images` of shape (images, channels,
/// rows, columns) for the network that `path` chooses.
pub(crate) fn forward(
    network: &Network,
    weights: &Weights,
    path: &Genome,
    images: &Tensor,
    mut mode: Mode<'_>,
) -> Result<Tensor, TchError> {
    let nodes = network.nodes();
    let mut outputs: Vec<Option<Tensor>> = Vec::with_capacity(nodes.len());
    let mut met = 0;
    for (index, node) in nodes.iter().enumerate() {
        let input = combine(node, images, &outputs)?;
        let chosen = node.chosen(path);
        let operation = &node.candidates[chosen];
        let output = match operation.meaning {
            Meaning::Identity | Meaning::Absent => input,
            Meaning::Zero => zeros(&input, node)?,
            Meaning::Sequence => run(operation, weights, weights.of(index, chosen), input, &mut mode, &mut met)?,
        };
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
    last.f_flatten(1, -1)
}

fn combine(node: &ResolvedNode, images: &Tensor, outputs: &[Option<Tensor>]) -> Result<Tensor, TchError> {
    let inputs: Vec<&Tensor> = node
        .inputs
        .iter()
        .filter_map(|source| match source {
            Source::Image => Some(images),
            Source::Node(index) => outputs[*index].as_ref(),
        })
        .collect();
    match (inputs.as_slice(), node.combine) {
        ([one], _) => Ok(one.shallow_clone()),
        (several, Combine::Concat) => Tensor::f_cat(several, 1),
        (several, Combine::Sum) => {
            let mut sum = several[0].shallow_clone();
            for input in &several[1..] {
                sum = sum.f_add(input)?;
            }
            Ok(sum)
        }
    }
}

fn zeros(input: &Tensor, node: &ResolvedNode) -> Result<Tensor, TchError> {
    let shape = [input.size()[0], node.output.channels.into(), node.output.height.into(), node.output.width.into()];
    Tensor::f_zeros(shape, (input.kind(), input.device()))
}

fn run(
    operation: &ResolvedOperation,
    weights: &Weights,
    layers: &[LayerWeights],
    input: Tensor,
    mode: &mut Mode<'_>,
    met: &mut usize,
) -> Result<Tensor, TchError> {
    let mut here = input.shallow_clone();
    // The operation's input may be read by others, so only what it computed itself is overwritten.
    let mut is_own = false;
    for (layer, own) in operation.layers.iter().zip(layers) {
        here = apply(layer, weights, own, here, is_own, mode, met)?;
        is_own = true;
    }
    if operation.residual { here.f_add(&input) } else { Ok(here) }
}

fn apply(
    layer: &Layer,
    weights: &Weights,
    own: &LayerWeights,
    input: Tensor,
    is_own: bool,
    mode: &mut Mode<'_>,
    met: &mut usize,
) -> Result<Tensor, TchError> {
    let value = |index: usize| &weights.parameters[index].value;
    match (layer, own) {
        (Layer::Convolution { stride, padding, dilation, groups, .. }, LayerWeights::Convolution { weight, bias }) => {
            let pair = |number: &u32| [i64::from(*number); 2];
            let (stride, padding, dilation) = (pair(stride), pair(padding), pair(dilation));
            input.f_conv2d(value(*weight), bias.map(value), stride, padding, dilation, i64::from(*groups))
        }
        (Layer::BatchNorm { .. }, LayerWeights::BatchNorm { scale, shift }) => {
            batch_norm::apply(mode, met, &input, scale.map(value), shift.map(value))
        }
        (Layer::SqueezeExcite { gate, .. }, LayerWeights::SqueezeExcite { reduce, expand }) => {
            let point = |input: &Tensor, (weight, bias): (usize, usize)| {
                input.f_conv2d(value(weight), Some(value(bias)), [1, 1], [0, 0], [1, 1], 1)
            };
            let mean = input.f_mean_dim([2i64, 3].as_slice(), true, None)?;
            let hidden = point(&mean, *reduce)?.f_relu()?;
            input.f_mul(&activate(*gate, point(&hidden, *expand)?, true)?)
        }
        (Layer::Linear { .. }, LayerWeights::Linear { weight, bias }) => {
            input.f_flatten(1, -1)?.f_linear(value(*weight), Some(value(*bias)))?.f_unsqueeze(-1)?.f_unsqueeze(-1)
        }
        (Layer::Activation(function), _) => activate(*function, input, is_own),
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

fn activate(function: Activation, mut input: Tensor, is_own: bool) -> Result<Tensor, TchError> {
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
