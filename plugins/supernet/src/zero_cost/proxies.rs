//! Proxies of one network with the weights that it begins with.

use pleach_sdk::{Genome, Network};
use tch::{Kind, Reduction, TchError, Tensor, no_grad};

use super::codes::Codes;
use crate::{
    batch_norm::Mode,
    data::LabelledBatch,
    network::{Pass, forward},
    weights::Weights,
};

/// The logarithm of the determinant of the kernel of codes, for a batch that is normalised by its own
/// statistics, or why it has none.
pub(crate) fn naswot(
    network: &Network,
    weights: &Weights,
    genome: &Genome,
    batch: &LabelledBatch,
) -> Result<Result<f64, String>, TchError> {
    let mut codes = Codes::default();
    let mut watch = |function, output: &Tensor| codes.add(function, output);
    let pass = Pass::from(Mode::Batch).with_watch(&mut watch);
    let _ = no_grad(|| forward(network, weights, genome, &batch.images, pass))?;
    codes.log_determinant()
}

/// What the gradient of a batch's cross-entropy says, summed over convolutions and linear layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saliency {
    /// Norms of gradients.
    pub(crate) grad_norm: f64,
    /// |weight x gradient|.
    pub(crate) snip: f64,
}

/// Computed in double precision: batch norms of few images magnify rounding.
pub(crate) fn saliency(
    network: &Network,
    weights: &Weights,
    genome: &Genome,
    batch: &LabelledBatch,
) -> Result<Saliency, TchError> {
    let weights = weights.map(|value| value.f_to_kind(Kind::Double))?;
    let pass = Pass::from(Mode::Batch).with_own_kernels(false);
    let logits = forward(network, &weights, genome, &batch.images.f_to_kind(Kind::Double)?, pass)?;
    logits.f_cross_entropy_loss(&batch.labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)?.f_backward()?;
    sums(network, &weights, genome)
}

/// The sum of |weight x gradient| over the weights of convolutions and linear layers, of the sum of
/// all outputs for one image of ones, with absolute weights and batch norms left out.
pub(crate) fn synflow(network: &Network, weights: &Weights, genome: &Genome) -> Result<f64, TchError> {
    let linear = weights.map(|value| value.f_abs()?.f_to_kind(Kind::Double))?;
    let shape = network.description().input;
    let shape = [1, i64::from(shape.channels), shape.height.into(), shape.width.into()];
    let ones = Tensor::f_ones(shape, (Kind::Double, weights.device()))?;
    let pass = Pass::from(Mode::Identity).with_own_kernels(false);
    forward(network, &linear, genome, &ones, pass)?.f_sum(Kind::Double)?.f_backward()?;
    Ok(sums(network, &linear, genome)?.snip)
}

/// The sums over the weights of a network's convolutions and linear layers, after a pass back;
/// without those that the outcome does not depend on.
fn sums(network: &Network, weights: &Weights, genome: &Genome) -> Result<Saliency, TchError> {
    let mut sums = Saliency { grad_norm: 0.0, snip: 0.0 };
    for index in weights.factors_of(network, genome) {
        let value = &weights.parameters[index].value;
        let gradient = value.f_grad()?;
        if gradient.defined() {
            sums.grad_norm += gradient.f_norm()?.f_double_value(&[])?;
            sums.snip += value.f_detach()?.f_mul(&gradient)?.f_abs()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        }
    }
    Ok(sums)
}
