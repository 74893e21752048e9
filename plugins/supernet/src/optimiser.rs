//! Stochastic gradient descent over the parameters that a step used.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use crate::weights::Parameter;

/// What a step is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) learning_rate: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    pub(crate) clip: f64,
}

/// The learning rate of a step: half a cosine from `first` to `last` (Loshchilov and Hutter 2017).
pub(crate) fn cosine(first: f64, last: f64, step: u64, steps: u64) -> f64 {
    let share = step as f64 / steps.max(1) as f64;
    last + (first - last) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
}

/// Moves the parameters at `used` along their gradients, which are then zero. Others are not
/// touched. Nothing is read back from the device.
pub(crate) fn step(parameters: &mut [Parameter], used: &[usize], rates: Rates, device: Device) -> Result<(), TchError> {
    no_grad(|| {
        let scalar = |value: f64| Tensor::f_full([0i64; 0], value, (Kind::Float, device));
        let mut gradients = Vec::with_capacity(used.len());
        for index in used {
            gradients.push(parameters[*index].value.f_grad()?);
        }
        let scale = if rates.clip > 0.0 && !used.is_empty() {
            let norms: Result<Vec<Tensor>, TchError> = gradients.iter().map(Tensor::f_norm).collect();
            let norm = Tensor::f_stack(&norms?, 0)?.f_norm()?;
            norm.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(rates.clip)?.f_clamp_max(1.0)?
        } else {
            scalar(1.0)?
        };
        let decay = scalar(rates.weight_decay)?;
        let against = scalar(-rates.learning_rate)?;
        for (index, mut gradient) in used.iter().zip(gradients) {
            let Parameter { value, momentum, .. } = &mut parameters[*index];
            let _ = momentum.f_mul_scalar_(rates.momentum)?;
            let _ = momentum.f_addcmul_(&gradient, &scale)?;
            let _ = momentum.f_addcmul_(value, &decay)?;
            let _ = value.f_addcmul_(momentum, &against)?;
            let _ = gradient.f_zero_()?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_goes_from_first_to_last() {
        assert_eq!(cosine(0.1, 0.0, 0, 10), 0.1);
        assert!((cosine(0.1, 0.02, 5, 10) - 0.06).abs() < 1e-12);
        assert!((cosine(0.1, 0.02, 10, 10) - 0.02).abs() < 1e-12);
    }
}
