//! The longest beginning of layers that is convolutions, of points or depthwise, with batch norms and
//! activations behind them. Kernels of the device compute it at once, with gradients where batch norms
//! are by the batch's own statistics.

use pleach_sdk::{description::Activation, network::Layer};
use tch::{Device, Kind, TchError, Tensor};

use super::{Layers, Pass, Precision};
use crate::{
    batch_norm::{EPSILON, Mode},
    kernels::{self, Between, Chain, Link, LinkNorm},
    weights::{LayerWeights, Weights},
};

/// Bytes that a thread's piece of a tensor may take.
pub(super) const ROOM: u64 = 1 << 20;

/// A convolution of a chain, and what follows it at once.
struct Step<'a> {
    layer: &'a Layer,
    weight: usize,
    bias: Option<usize>,
    /// Scale and shift of a batch norm.
    norm: Option<(Option<usize>, Option<usize>)>,
    then: Option<Activation>,
    /// The layers up to here.
    taken: usize,
}

/// What a chain gave.
pub(super) struct Computed {
    pub(super) value: Tensor,
    /// How many layers that took.
    pub(super) taken: usize,
    /// Whether the input was added.
    pub(super) is_residual: bool,
}

/// Computes the beginning of layers; `None` where no kernel is made for it. If the chain is all of
/// them and `is_residual`, the input is added.
pub(super) fn run(
    layers: Layers<'_>,
    is_residual: bool,
    weights: &Weights,
    input: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<Option<Computed>, TchError> {
    let by_batch = pass.mode.is_by_batch();
    let is_made_for = pass.own_kernels
        && pass.watch.is_none()
        && has_kernels(input, pass.precision)
        && (by_batch || matches!(pass.mode, Mode::Recorded(_)));
    if !is_made_for {
        return Ok(None);
    }
    let mut steps = steps(layers);
    if by_batch {
        // A batch norm follows each but perhaps the last.
        let count = steps.iter().take_while(|step| step.bias.is_none() && step.norm.is_some()).count();
        let has_last = steps.get(count).is_some_and(|step| step.bias.is_none());
        steps.truncate(count + usize::from(has_last));
    }
    let Some(last) = steps.last() else { return Ok(None) };
    let is_normalised = last.norm.is_some();
    if by_batch && !is_normalised && steps.len() < 2 {
        return Ok(None);
    }
    // What follows the last convolution and its batch norm, if it has one.
    let taken = if by_batch && !is_normalised { last.taken - usize::from(last.then.is_some()) } else { last.taken };
    let is_residual = is_residual && taken == layers.0.len() && (is_normalised || !by_batch);
    let mut met = pass.met;
    let mut links = Vec::with_capacity(steps.len());
    for step in &steps {
        let &Layer::Convolution { stride, padding, .. } = step.layer else { continue };
        let value = |index: usize| weights.parameters[index].value.shallow_clone();
        let (weight, bias) = (value(step.weight), step.bias.map(value));
        let mut link = Link { weight, bias, stride, padding, norm: None, then: step.then };
        match (step.norm, &mut pass.mode) {
            (Some((scale, shift)), Mode::Recorded(statistics)) => {
                let (scale, shift) = (scale.map(value), shift.map(value));
                let (weight, bias) = (&link.weight, link.bias.as_ref());
                let (weight, bias) = statistics.folded(met, (weight, bias), (scale.as_ref(), shift.as_ref()))?;
                (link.weight, link.bias) = (weight, Some(bias));
                met += 1;
            }
            (Some((scale, shift)), mode) => {
                let running = mode.followed(met, link.weight.size()[0], input.device())?;
                // They share their numbers with the statistics.
                let running = running
                    .map(|((mean, variance), momentum)| ((mean.shallow_clone(), variance.shallow_clone()), momentum));
                link.norm = Some(LinkNorm { scale: scale.map(value), shift: shift.map(value), running });
                met += 1;
            }
            (None, _) => {}
        }
        links.push(link);
    }
    let between = if by_batch { Between::BatchNorms } else { Between::Activations };
    let chain = Chain { links, between, is_residual, epsilon: EPSILON, room: pass.room };
    let Some(value) = chain.apply(input)? else { return Ok(None) };
    pass.met = met;
    Ok(Some(Computed { value, taken, is_residual }))
}

/// Whether there may be kernels for a tensor; which layers they are made for, they say themselves.
fn has_kernels(input: &Tensor, precision: Precision) -> bool {
    match (input.device(), precision) {
        (Device::Cpu, _) => input.kind() == Kind::Float && kernels::instruction_set().is_some(),
        (_, Precision::Single) => input.kind() == Kind::Float,
        (_, Precision::Mixed) => input.kind() == Kind::BFloat16,
    }
}

/// The convolutions that layers begin with.
fn steps<'a>((layers, weights): Layers<'a>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut place = 0;
    while let (Some(layer), Some(LayerWeights::Convolution { weight, bias })) = (layers.get(place), weights.get(place))
    {
        let &Layer::Convolution { input, output, kernel, stride, padding, dilation, groups, .. } = layer else { break };
        let is_pointwise = kernel == 1 && groups == 1 && stride == 1 && padding == 0;
        let is_depthwise = kernel > 1 && groups == input && groups == output && dilation == 1;
        if !is_pointwise && !is_depthwise {
            break;
        }
        place += 1;
        let norm = match weights.get(place) {
            Some(LayerWeights::BatchNorm { scale, shift }) => Some((*scale, *shift)),
            _ => None,
        };
        place += usize::from(norm.is_some());
        let then = match layers.get(place) {
            Some(Layer::Activation(function)) if kernels::has_activation(*function) => Some(*function),
            _ => None,
        };
        place += usize::from(then.is_some());
        steps.push(Step { layer, weight: *weight, bias: *bias, norm, then, taken: place });
    }
    steps
}
