//! An operation computed on a few images at a time, so that what its layers hand on stays in the
//! processor's cache. Batch norms by the batch's own statistics need all images before them: what
//! they read waits in memory, and is normalised where the next layer reads it.

use pleach_sdk::network::{Layer, ResolvedOperation};
use tch::{Device, Kind, TchError, Tensor};

use super::{Before, Here, Layers, Pass, run_layers};
use crate::{
    batch_norm::BatchNorm,
    kernels::{self, Moments, Normal},
    weights::{LayerWeights, Weights},
};

/// Bytes that the widest result of a piece may take: half and twice as many were slower on
/// processors with 512 KiB of cache for each core.
pub(super) const ROOM: u64 = 2 << 20;

/// How many images an operation takes at a time; `None` if all.
pub(super) fn images(operation: &ResolvedOperation, input: &Tensor, pass: &Pass<'_>) -> Option<i64> {
    let room = pass.pieces?;
    let is_made_for = pass.own_kernels
        && pass.watch.is_none()
        && pass.drop_path.is_none()
        && input.device() == Device::Cpu
        && input.kind() == Kind::Float
        && kernels::instruction_set().is_some();
    let [images, channels, rows, columns] = input.size()[..] else { return None };
    let widest = operation.layers.iter().fold(channels, |widest, layer| match layer {
        Layer::Convolution { output, .. } => widest.max(i64::from(*output)),
        _ => widest,
    });
    let bytes = 4 * (widest * rows * columns).unsigned_abs();
    let fitting = (room / bytes.max(1)).max(1);
    // As equal as can be: each size has convolutions prepared for it.
    let images = images.unsigned_abs();
    let pieces = images.div_ceil(fitting);
    (is_made_for && pieces > 1).then(|| images.div_ceil(pieces) as i64)
}

/// Computes an operation on so many images at a time.
pub(super) fn run(
    operation: &ResolvedOperation,
    weights: &Weights,
    layers: &[LayerWeights],
    input: &Tensor,
    images: i64,
    pass: &mut Pass<'_>,
) -> Result<Tensor, TchError> {
    let inputs = input.f_split(images, 0)?;
    let mut pieces: Vec<Tensor> = inputs.iter().map(Tensor::shallow_clone).collect();
    let mut rest = (operation.layers.as_slice(), layers);
    let mut before: Option<Before> = None;
    // Up to each batch norm that needs all pieces.
    while let Some((segment, norm, after)) = split(rest, pass) {
        let mut moments: Option<Moments> = None;
        let met = pass.met;
        for piece in &mut pieces {
            pass.met = met;
            *piece = advance(piece, before.as_ref(), segment, weights, pass)?;
            let moments = match &mut moments {
                Some(moments) => moments,
                none => none.insert(Moments::new(piece)?),
            };
            moments.add(piece)?;
        }
        let Some(moments) = moments else { break };
        let normal = norm_of(norm, weights, pass).of_moments(&mut pass.mode, &mut pass.met, &moments, &pieces[0])?;
        let then = match after.0 {
            [Layer::Activation(function), ..] if Normal::takes(*function) => Some(*function),
            _ => None,
        };
        let taken = usize::from(then.is_some());
        rest = (&after.0[taken..], &after.1[taken..]);
        before = Some(Before { normal, then });
    }
    let mut output: Option<Tensor> = None;
    let (met, mut first) = (pass.met, 0);
    for (piece, input_piece) in pieces.into_iter().zip(&inputs) {
        pass.met = met;
        let result = advance(&piece, before.as_ref(), rest, weights, pass)?;
        drop(piece);
        let result = if operation.residual { result.f_add(input_piece)? } else { result };
        let output = match &mut output {
            Some(output) => output,
            none => none.insert(room_for(input.size()[0], &result)?),
        };
        let count = result.size()[0];
        output.f_narrow(0, first, count)?.f_copy_(&result)?;
        first += count;
    }
    output.ok_or_else(|| TchError::Shape("an operation on no image".to_owned()))
}

/// The layers before the next batch norm that needs all pieces, its weights, and those after it.
fn split<'a>((layers, weights): Layers<'a>, pass: &Pass<'_>) -> Option<(Layers<'a>, &'a LayerWeights, Layers<'a>)> {
    let is_norm = |layer: &Layer| pass.mode.is_by_batch() && matches!(layer, Layer::BatchNorm { .. });
    let place = layers.iter().position(is_norm)?;
    let after = (&layers[place + 1..], &weights[place + 1..]);
    Some(((&layers[..place], &weights[..place]), &weights[place], after))
}

fn norm_of<'a>(of: &LayerWeights, weights: &'a Weights, pass: &Pass<'_>) -> BatchNorm<'a> {
    let value = |index: usize| &weights.parameters[index].value;
    let (scale, shift) = match of {
        LayerWeights::BatchNorm { scale, shift } => (scale.map(value), shift.map(value)),
        _ => (None, None),
    };
    BatchNorm { scale, shift, then: None, own_kernels: pass.own_kernels }
}

/// Computes some layers of a piece.
fn advance(
    piece: &Tensor,
    before: Option<&Before>,
    layers: Layers<'_>,
    weights: &Weights,
    pass: &mut Pass<'_>,
) -> Result<Tensor, TchError> {
    run_layers(layers, weights, Here { value: piece.shallow_clone(), before, is_own: false }, pass)
}

/// Room for the results of `images` images, channels-last, of which those of some are `like`.
fn room_for(images: i64, like: &Tensor) -> Result<Tensor, TchError> {
    let [_, channels, rows, columns] = like.size()[..] else {
        return Err(TchError::Shape(format!("a result of shape {:?}", like.size())));
    };
    Tensor::f_empty([images, rows, columns, channels], (Kind::Float, Device::Cpu))?.f_permute([0, 3, 1, 2])
}
