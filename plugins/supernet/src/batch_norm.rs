//! What batch norm normalises by. Statistics live as long as one candidate's evaluation, in a
//! value of this module; the SuperNet has none, so nothing can leak to the next candidate.

use tch::{TchError, Tensor};

const EPSILON: f64 = 1e-5;

/// What batch norms normalise by during one pass through a network.
pub(crate) enum Mode<'a> {
    /// The batch's own statistics: training.
    Batch,
    /// The batch's own statistics, which are added to a record.
    Record(&'a mut Statistics),
    /// Recorded statistics.
    Recorded(&'a Statistics),
}

/// The mean statistics of several batches, one pair for each batch norm in the order in which a
/// pass meets them.
#[derive(Default)]
pub(crate) struct Statistics {
    batches: u32,
    /// Means and (unbiased) variances.
    layers: Vec<(Tensor, Tensor)>,
}

impl Statistics {
    /// Says that the next pass is another batch.
    pub(crate) fn begin_batch(&mut self) {
        self.batches += 1;
    }

    #[cfg(test)]
    pub(crate) fn means_for_test(&self) -> Tensor {
        Tensor::cat(&self.layers.iter().map(|(mean, _)| mean.shallow_clone()).collect::<Vec<_>>(), 0)
    }
}

/// Normalises `input`; `met` counts the batch norms of this pass.
pub(crate) fn apply(
    mode: &mut Mode<'_>,
    met: &mut usize,
    input: &Tensor,
    scale: Option<&Tensor>,
    shift: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let index = *met;
    *met += 1;
    match mode {
        Mode::Batch => input.f_batch_norm(scale, shift, None, None, true, 0.0, EPSILON, true),
        Mode::Record(statistics) => {
            if statistics.layers.len() == index {
                let channels = input.size()[1];
                let options = (input.kind(), input.device());
                statistics.layers.push((Tensor::f_zeros([channels], options)?, Tensor::f_zeros([channels], options)?));
            }
            // With momentum 1/k after k batches the running statistics are the mean of all.
            let momentum = 1.0 / f64::from(statistics.batches.max(1));
            let (mean, variance) = &statistics.layers[index];
            input.f_batch_norm(scale, shift, Some(mean), Some(variance), true, momentum, EPSILON, true)
        }
        Mode::Recorded(statistics) => {
            let (mean, variance) = &statistics.layers[index];
            input.f_batch_norm(scale, shift, Some(mean), Some(variance), false, 0.0, EPSILON, true)
        }
    }
}
