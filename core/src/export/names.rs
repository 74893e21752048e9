//! What layers and tensors are called in everything that is exported: as `model.py` has them.

use pleach_sdk::network::Layer;

use super::{plan::Step, trained::parts};

/// The mean of pixels.
pub(crate) const MEAN: &str = "mean";
/// Their deviation.
pub(crate) const DEVIATION: &str = "deviation";

/// What batch norms add to variances.
pub(crate) const BATCH_NORM_EPSILON: f32 = 1e-5;

/// A tensor of a step's layer: the place of its module in a `nn.Sequential`, and its name there.
pub(crate) fn exported(step: &Step<'_>, layer: usize, own: &str) -> String {
    let layers = step.operation.map_or([].as_slice(), |operation| &operation.layers);
    let place: usize = layers[..layer].iter().map(modules).sum::<usize>() + own_place(&layers[layer]);
    let torch =
        parts(&layers[layer]).into_iter().find(|(stored, ..)| *stored == own).map_or(own, |(_, torch, _)| torch);
    format!("{}.{place}.{torch}", step.name)
}

/// How many modules of PyTorch a layer is: a linear layer is preceded and followed by a change of
/// shape.
fn modules(layer: &Layer) -> usize {
    if matches!(layer, Layer::Linear { .. }) { 3 } else { 1 }
}

/// Which of them has its tensors.
fn own_place(layer: &Layer) -> usize {
    usize::from(matches!(layer, Layer::Linear { .. }))
}
