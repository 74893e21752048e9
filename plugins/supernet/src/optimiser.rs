//! Stochastic gradient descent over the parameters that a step used.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use crate::{
    kernels::{self, Moved},
    weights::Parameter,
};

/// Gradients of parameters, by their index; undefined for one that the loss does not depend on.
#[derive(Default)]
pub(crate) struct Gradients(pub(crate) BTreeMap<usize, Tensor>);

impl Gradients {
    /// Those of a loss by the parameters at `used`. What led to the loss is gone afterwards.
    pub(crate) fn of(loss: &Tensor, parameters: &[Parameter], used: &[usize]) -> Result<Self, TchError> {
        let values: Vec<&Tensor> = used.iter().map(|index| &parameters[*index].value).collect();
        let gradients = Tensor::f_run_backward(&[loss], &values, false, false)?;
        Ok(Gradients(used.iter().copied().zip(gradients).collect()))
    }

    /// Adds those of another loss.
    pub(crate) fn add(&mut self, other: Gradients) -> Result<(), TchError> {
        for (index, gradient) in other.0 {
            let sum = match self.0.remove(&index) {
                Some(sum) if sum.defined() && gradient.defined() => sum.f_add(&gradient)?,
                Some(sum) if sum.defined() => sum,
                _ => gradient,
            };
            let _ = self.0.insert(index, sum);
        }
        Ok(())
    }
}

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

/// Moves the parameters that there are gradients of, undefined ones too, which count as zero. Others are not
/// touched. Nothing is read back from the device.
pub(crate) fn step(parameters: &[Parameter], gradients: Gradients, rates: Rates) -> Result<(), TchError> {
    let moved = gradients.0.into_iter().map(|(index, gradient)| {
        let Parameter { value, momentum, .. } = &parameters[index];
        Moved { value, gradient, momentum }
    });
    kernels::sgd(&moved.collect::<Vec<_>>(), rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, no_grad};

    use crate::{tests::random, weights::channels_last};

    #[test]
    fn the_cosine_goes_from_first_to_last() {
        assert_eq!(cosine(0.1, 0.0, 0, 10), 0.1);
        assert!((cosine(0.1, 0.02, 5, 10) - 0.06).abs() < 1e-12);
        assert!((cosine(0.1, 0.02, 10, 10) - 0.02).abs() < 1e-12);
    }

    /// Parameters of several shapes and layouts, with momentum and gradients of these sizes; the
    /// last has no gradient.
    fn parameters(momentum: f64, gradient: f64) -> Vec<Parameter> {
        random::seed(3);
        let shapes: [&[i64]; 6] = [&[8, 3, 3, 3], &[8, 1, 5, 5], &[12, 8, 1, 1], &[12], &[4, 12], &[5]];
        let make = |(index, shape): (usize, &&[i64])| {
            let value = random::normal(shape);
            let value = if shape.len() == 4 { channels_last(&value).expect("it has four dimensions") } else { value };
            let value = value.set_requires_grad(true);
            if index + 1 < shapes.len() {
                (&value * random::normal(shape) * gradient).sum(Kind::Float).backward();
            }
            let momentum = value.zeros_like() + channels_last_like(&value, &random::normal(shape)) * momentum;
            Parameter::for_test(value, momentum)
        };
        shapes.iter().enumerate().map(make).collect()
    }

    fn channels_last_like(value: &Tensor, other: &Tensor) -> Tensor {
        if value.dim() == 4 { channels_last(other).expect("it has four dimensions") } else { other.shallow_clone() }
    }

    /// The formula, one parameter after the other.
    fn expected(parameters: &[Parameter], used: &[usize], rates: Rates) -> Vec<(Tensor, Tensor)> {
        let gradient = |parameter: &Parameter| {
            let gradient = parameter.value.grad();
            if gradient.defined() { gradient } else { parameter.value.zeros_like() }
        };
        let squares = used.iter().map(|index| gradient(&parameters[*index]).square().sum(Kind::Double));
        let norm = squares.map(|square| square.double_value(&[])).sum::<f64>().sqrt();
        let scale = if rates.clip > 0.0 { (rates.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        no_grad(|| {
            let moved = |(index, parameter): (usize, &Parameter)| {
                let (value, momentum) = (parameter.value.copy(), parameter.momentum.copy());
                if !used.contains(&index) {
                    return (value, momentum);
                }
                let momentum = momentum * rates.momentum + gradient(parameter) * scale + &value * rates.weight_decay;
                (&value - &momentum * rates.learning_rate, momentum)
            };
            parameters.iter().enumerate().map(moved).collect()
        })
    }

    #[test]
    fn a_step_is_what_the_formula_says() {
        let rates = Rates { learning_rate: 0.1, momentum: 0.9, weight_decay: 1e-2, clip: 5.0 };
        let cases = [
            ("gradients that are clipped", rates, 3.0),
            ("gradients that are not", rates, 1e-3),
            ("no limit", Rates { clip: 0.0, ..rates }, 3.0),
            ("no momentum", Rates { momentum: 0.0, ..rates }, 3.0),
            ("no decay", Rates { weight_decay: 0.0, ..rates }, 3.0),
            ("no rate", Rates { learning_rate: 0.0, ..rates }, 3.0),
        ];
        for (name, rates, gradient) in cases {
            let parameters = parameters(0.5, gradient);
            let used = [0, 1, 2, 4, 5];
            let expected = expected(&parameters, &used, rates);
            let gradients = used.map(|index| (index, parameters[index].value.grad()));
            step(&parameters, Gradients(gradients.into()), rates).expect("the step is made");
            for (index, (parameter, (value, momentum))) in parameters.iter().zip(&expected).enumerate() {
                for (found, expected) in [(&parameter.value, value), (&parameter.momentum, momentum)] {
                    let difference = (found - expected).abs().max().double_value(&[]);
                    assert!(difference < 2e-6, "{name}, parameter {index}: {difference}");
                }
            }
        }
    }

    #[test]
    fn gradients_of_several_losses_are_those_of_their_sum() {
        random::seed(4);
        let parameters: Vec<Parameter> = (0..3)
            .map(|_| Parameter::for_test(random::normal(&[4]).set_requires_grad(true), random::normal(&[4])))
            .collect();
        let value = |index: usize| &parameters[index].value;
        let losses = || [value(0).square().sum(Kind::Float), (value(0) * value(1)).sum(Kind::Float)];
        let [one, other] = losses();
        let mut sum = Gradients::of(&one, &parameters, &[0, 2]).expect("there are gradients");
        sum.add(Gradients::of(&other, &parameters, &[0, 1, 2]).expect("there are gradients")).expect("they add up");
        let [one, other] = losses();
        (one + other).backward();
        assert_eq!(sum.0.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        for index in [0, 1] {
            assert_eq!(sum.0[&index], value(index).grad());
            assert!(parameters[index].value.grad().defined());
        }
        assert!(!sum.0[&2].defined());
    }

    #[test]
    fn a_step_over_nothing_does_nothing() {
        let parameters = parameters(0.5, 1.0);
        let before: Vec<Tensor> = parameters.iter().map(|parameter| parameter.value.copy()).collect();
        let rates = Rates { learning_rate: 0.1, momentum: 0.9, weight_decay: 1e-2, clip: 5.0 };
        step(&parameters, Gradients::default(), rates).expect("there is nothing to do");
        assert!(parameters.iter().zip(&before).all(|(parameter, before)| parameter.value == *before));
    }
}
