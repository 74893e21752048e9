//! What batch norm normalises by. Statistics live as long as one candidate's evaluation, in a
//! value of this module; the SuperNet has none, so nothing can leak to the next candidate.

use tch::{Kind, TchError, Tensor};

const EPSILON: f64 = 1e-5;

/// How far a running mean moves towards each batch.
const MOMENTUM: f64 = 0.1;

/// What batch norms normalise by during one pass through a network.
pub(crate) enum Mode<'a> {
    /// The batch's own statistics: training.
    Batch,
    /// The batch's own statistics, which are added to a record.
    Record(&'a mut Statistics),
    /// The batch's own statistics, which a running mean follows: training of a single network.
    Running(&'a mut Statistics),
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

    /// The pair of the batch norm that is met as number `index`; at first mean 0 and variance 1.
    fn layer(&mut self, index: usize, input: &Tensor) -> Result<&(Tensor, Tensor), TchError> {
        if self.layers.len() == index {
            let (channels, options) = (input.size()[1], (Kind::Float, input.device()));
            self.layers.push((Tensor::f_zeros([channels], options)?, Tensor::f_ones([channels], options)?));
        }
        Ok(&self.layers[index])
    }

    /// All pairs, in the order in which a pass meets their batch norms.
    pub(crate) fn layers(&self) -> &[(Tensor, Tensor)] {
        &self.layers
    }

    /// Statistics that were stored.
    pub(crate) fn of(layers: Vec<(Tensor, Tensor)>) -> Self {
        Statistics { batches: 0, layers }
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
            // With momentum 1/k after k batches the running statistics are the mean of all.
            let momentum = 1.0 / f64::from(statistics.batches.max(1));
            let (mean, variance) = statistics.layer(index, input)?;
            input.f_batch_norm(scale, shift, Some(mean), Some(variance), true, momentum, EPSILON, true)
        }
        Mode::Running(statistics) => {
            let (mean, variance) = statistics.layer(index, input)?;
            input.f_batch_norm(scale, shift, Some(mean), Some(variance), true, MOMENTUM, EPSILON, true)
        }
        Mode::Recorded(statistics) => {
            let (mean, variance) = &statistics.layers[index];
            input.f_batch_norm(scale, shift, Some(mean), Some(variance), false, 0.0, EPSILON, true)
        }
    }
}
