//! What batch norm normalises by. Statistics live as long as one candidate's evaluation, in a
//! value of this module; the SuperNet has none, so nothing can leak to the next candidate.

use std::{cell::RefCell, collections::BTreeMap};

use pleach_sdk::description::Activation;
use tch::{Device, Kind, TchError, Tensor};

use crate::{kernels, network::activate};

/// Added to variances.
pub(crate) const EPSILON: f64 = 1e-5;

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
    /// Nothing: batch norms pass their input through, without scale and shift.
    Identity,
}

/// A running mean and variance, and how far they move towards the batch's.
type Followed<'a> = Option<(&'a (Tensor, Tensor), f64)>;

impl Mode<'_> {
    /// Whether batch norms normalise by the batch's own statistics.
    pub(crate) fn is_by_batch(&self) -> bool {
        matches!(self, Mode::Batch | Mode::Record(_) | Mode::Running(_))
    }

    /// What follows the statistics of the batch norm that is met as number `index`.
    pub(crate) fn followed(&mut self, index: usize, channels: i64, device: Device) -> Result<Followed<'_>, TchError> {
        Ok(match self {
            Mode::Record(statistics) => {
                // With momentum 1/k after k batches the running statistics are the mean of all.
                let momentum = 1.0 / f64::from(statistics.batches.max(1));
                Some((statistics.layer(index, channels, device)?, momentum))
            }
            Mode::Running(statistics) => Some((statistics.layer(index, channels, device)?, MOMENTUM)),
            Mode::Batch | Mode::Recorded(_) | Mode::Identity => None,
        })
    }
}

/// The mean statistics of several batches, one pair for each batch norm in the order in which a
/// pass meets them.
#[derive(Default)]
pub(crate) struct Statistics {
    batches: u32,
    /// Means and (unbiased) variances.
    layers: Vec<(Tensor, Tensor)>,
    /// Weights and biases of convolutions that normalise too; made at first use, so the weights
    /// may not change while statistics live.
    folded: RefCell<BTreeMap<usize, (Tensor, Tensor)>>,
}

impl Statistics {
    /// Batches recorded.
    pub(crate) fn batches(&self) -> u32 {
        self.batches
    }

    /// Says that the next pass is another batch.
    pub(crate) fn begin_batch(&mut self) {
        self.batches += 1;
    }

    /// The pair of the batch norm that is met as number `index`; at first mean 0 and variance 1.
    fn layer(&mut self, index: usize, channels: i64, device: Device) -> Result<&(Tensor, Tensor), TchError> {
        if self.layers.len() == index {
            let options = (Kind::Float, device);
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
        Statistics { layers, ..Statistics::default() }
    }

    /// The weight and the bias of a convolution that does what the convolution and the batch norm
    /// that is met as number `index` do together.
    pub(crate) fn folded(
        &self,
        index: usize,
        (weight, bias): (&Tensor, Option<&Tensor>),
        (scale, shift): (Option<&Tensor>, Option<&Tensor>),
    ) -> Result<(Tensor, Tensor), TchError> {
        let mut folded = self.folded.borrow_mut();
        if let Some((weight, bias)) = folded.get(&index) {
            return Ok((weight.shallow_clone(), bias.shallow_clone()));
        }
        let (mean, variance) = &self.layers[index];
        let factor = variance.f_add_scalar(EPSILON)?.f_rsqrt()?;
        let factor = scale.map_or(Ok(factor.shallow_clone()), |scale| factor.f_mul(scale))?;
        let moved = bias.map_or_else(|| mean.f_neg(), |bias| bias.f_sub(mean))?.f_mul(&factor)?;
        let bias = shift.map_or(Ok(moved.shallow_clone()), |shift| moved.f_add(shift))?;
        let weight = weight.f_mul(&factor.f_view([-1, 1, 1, 1])?)?;
        folded.insert(index, (weight.shallow_clone(), bias.shallow_clone()));
        Ok((weight, bias))
    }

    #[cfg(test)]
    pub(crate) fn means_for_test(&self) -> Tensor {
        Tensor::cat(&self.layers.iter().map(|(mean, _)| mean.shallow_clone()).collect::<Vec<_>>(), 0)
    }
}

/// A batch norm's parameters, and the activation that follows it.
pub(crate) struct BatchNorm<'a> {
    pub(crate) scale: Option<&'a Tensor>,
    pub(crate) shift: Option<&'a Tensor>,
    pub(crate) then: Option<Activation>,
    /// Whether our own kernels may compute it.
    pub(crate) own_kernels: bool,
}

impl BatchNorm<'_> {
    /// Normalises and activates `input`; `met` counts the batch norms of this pass.
    pub(crate) fn apply(&self, mode: &mut Mode<'_>, met: &mut usize, input: &Tensor) -> Result<Tensor, TchError> {
        let index = *met;
        *met += 1;
        match mode {
            Mode::Recorded(statistics) => {
                let (mean, variance) = &statistics.layers[index];
                let output = input.f_batch_norm(
                    self.scale,
                    self.shift,
                    Some(mean),
                    Some(variance),
                    false,
                    0.0,
                    EPSILON,
                    true,
                )?;
                self.activate(output, true)
            }
            Mode::Identity => self.activate(input.shallow_clone(), false),
            Mode::Batch | Mode::Record(_) | Mode::Running(_) => {
                self.by_batch(input, mode.followed(index, input.size()[1], input.device())?)
            }
        }
    }

    /// By the batch's statistics, which the running ones follow.
    fn by_batch(&self, input: &Tensor, running: Followed<'_>) -> Result<Tensor, TchError> {
        let &BatchNorm { scale, shift, then, own_kernels } = self;
        if own_kernels {
            let own = kernels::BatchNorm { scale, shift, running, epsilon: EPSILON, then };
            if let Some(output) = own.apply(input)? {
                return Ok(output);
            }
        }
        let (statistics, momentum) = running.unzip();
        let (mean, variance) = statistics.map(|(mean, variance)| (mean, variance)).unzip();
        let momentum = momentum.unwrap_or_default();
        self.activate(input.f_batch_norm(scale, shift, mean, variance, true, momentum, EPSILON, true)?, true)
    }

    fn activate(&self, output: Tensor, is_own: bool) -> Result<Tensor, TchError> {
        match self.then {
            Some(function) => activate(function, output, is_own),
            None => Ok(output),
        }
    }
}
