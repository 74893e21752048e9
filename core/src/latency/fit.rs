//! From the times of operations and of whole networks to a predictor of networks.
//!
//! A network takes a constant, not below zero, and, for each of its operations, the time that the
//! operation took alone times a factor. All factors are equal at first (operations alone are measured
//! with warmer caches than in a network), and then each may leave the common one as far as the
//! networks speak for it: ridge regression (Hoerl and Kennard 1970) of the relative error. How strongly
//! they are held together is what predicts networks best that were left out.

use nalgebra::{DMatrix, DVector};

/// How much squared relative error a squared relative deviation of one factor may cost; none holds
/// all factors equal.
const STRENGTHS: [Option<f64>; 8] =
    [None, Some(1.0), Some(0.3), Some(0.1), Some(0.03), Some(0.01), Some(0.003), Some(0.001)];

/// In how many parts networks are left out in turn.
const FOLDS: usize = 5;

/// A network that was measured: how often it has each operation, and what it took.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) counts: Vec<u32>,
    pub(crate) time: f64,
}

/// What was fitted, in the unit of the times.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) constant: f64,
    /// What each operation takes in a network.
    pub(crate) times: Vec<f64>,
    /// How strongly factors were held together.
    pub(crate) strength: Option<f64>,
}

impl Fitted {
    /// What a network takes.
    pub(crate) fn predict(&self, counts: &[u32]) -> f64 {
        let sum: f64 = self.times.iter().zip(counts).map(|(time, count)| time * f64::from(*count)).sum();
        self.constant + sum
    }
}

/// Fits a predictor to networks, given what each operation took alone.
pub(crate) fn fit(alone: &[f64], samples: &[Sample]) -> Fitted {
    let error = |strength: &Option<f64>| {
        let left_out = |fold: usize| {
            let (tried, known): (Vec<_>, Vec<_>) = samples.iter().enumerate().partition(|(it, _)| it % FOLDS == fold);
            let known: Vec<&Sample> = known.into_iter().map(|(_, sample)| sample).collect();
            let fitted = fit_with(alone, &known, *strength);
            tried.into_iter().map(move |(_, it)| (fitted.predict(&it.counts) / it.time - 1.0).abs()).sum::<f64>()
        };
        (0..FOLDS).map(left_out).sum::<f64>()
    };
    let errors: Vec<(f64, Option<f64>)> = STRENGTHS.iter().map(|strength| (error(strength), *strength)).collect();
    // Of equals the one that holds factors together more.
    let best = errors.iter().min_by(|(one, _), (other, _)| one.total_cmp(other)).and_then(|(_, strength)| *strength);
    fit_with(alone, &samples.iter().collect::<Vec<_>>(), best)
}

fn fit_with(alone: &[f64], samples: &[&Sample], strength: Option<f64>) -> Fitted {
    let fitted = fit_around(alone, samples, strength, true);
    // Less than nothing is what no network has beside its operations.
    if fitted.constant < 0.0 { fit_around(alone, samples, strength, false) } else { fitted }
}

fn fit_around(alone: &[f64], samples: &[&Sample], strength: Option<f64>, has_constant: bool) -> Fitted {
    let free = if strength.is_some() { alone.len() } else { 0 };
    let unknowns = 1 + free + usize::from(has_constant);
    // The common factor, how far each factor leaves it, and the constant; divided by what the network
    // took, so that errors are relative.
    let part = |sample: &Sample, index: usize| alone[index] * f64::from(sample.counts[index]) / sample.time;
    let rows = DMatrix::from_fn(samples.len(), unknowns, |row, column| match column {
        0 => (0..alone.len()).map(|index| part(samples[row], index)).sum(),
        column if column <= free => part(samples[row], column - 1),
        _ => 1.0 / samples[row].time,
    });
    let mut normal = rows.tr_mul(&rows);
    for index in 0..unknowns {
        // As far as networks do not tell the constant from the factor, it is next to nothing.
        normal[(index, index)] = normal[(index, index)] * (1.0 + 1e-9) + f64::MIN_POSITIVE;
        if (1..=free).contains(&index) {
            normal[(index, index)] += strength.unwrap_or_default();
        }
    }
    let wanted = rows.tr_mul(&DVector::from_element(samples.len(), 1.0));
    // Operations alone are an answer too.
    let as_they_are = || DVector::from_fn(unknowns, |index, _| f64::from(u8::from(index == 0)));
    let solution = normal.cholesky().map_or_else(as_they_are, |factors| factors.solve(&wanted));
    let factor = |index: usize| solution[0] + if free > 0 { solution[1 + index] } else { 0.0 };
    let times = alone.iter().enumerate().map(|(index, time)| (time * factor(index)).max(0.0)).collect();
    let constant = if has_constant { solution[1 + free] } else { 0.0 };
    Fitted { constant, times, strength }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_sdk::{Seed, rand::Rng};

    /// Networks of up to four of each operation that take what `times` says, and noise.
    fn samples(count: usize, constant: f64, times: &[f64], noise: f64) -> Vec<Sample> {
        let mut generator = Seed(3).generator();
        let sample = |_| {
            let counts: Vec<u32> = times.iter().map(|_| generator.random_range(0..5)).collect();
            let sum: f64 = counts.iter().zip(times).map(|(count, time)| f64::from(*count) * time).sum();
            Sample { counts, time: (constant + sum) * (1.0 + noise * generator.random_range(-1.0..1.0)) }
        };
        (0..count).map(sample).collect()
    }

    fn worst(fitted: &Fitted, samples: &[Sample]) -> f64 {
        samples.iter().map(|it| (fitted.predict(&it.counts) / it.time - 1.0).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn times_that_add_up_are_found_again() {
        let alone = [0.1, 0.4, 0.02, 0.9];
        let times = alone.map(|time| 1.3 * time);
        let all = samples(60, 0.25, &times, 0.0);
        let fitted = fit(&alone, &all[..30]);
        assert!(worst(&fitted, &all[30..]) < 1e-4, "{fitted:?}");
        assert!((fitted.constant - 0.25).abs() < 1e-3, "{fitted:?}");
        for (found, time) in fitted.times.iter().zip(times) {
            assert!((found / time - 1.0).abs() < 1e-2, "{fitted:?}");
        }
    }

    #[test]
    fn networks_that_take_less_than_a_proportion_have_no_constant_below_zero() {
        let times = [0.1, 0.4, 0.02, 0.9];
        let mut all = samples(60, 0.0, &times, 0.0);
        all.retain(|sample| sample.time > 1.0);
        all.iter_mut().for_each(|sample| sample.time -= 0.3);
        let fitted = fit(&times, &all);
        assert_eq!(fitted.constant, 0.0);
        let bias = all.iter().map(|it| fitted.predict(&it.counts) / it.time - 1.0).sum::<f64>() / all.len() as f64;
        assert!(bias.abs() < 0.03, "{bias} {fitted:?}");
    }

    #[test]
    fn an_operation_that_takes_other_time_in_networks_leaves_the_common_factor() {
        let (alone, times) = ([0.1, 0.4, 0.02, 0.9], [0.1, 0.8, 0.02, 0.9]);
        let all = samples(120, 0.0, &times, 0.01);
        let fitted = fit(&alone, &all[..60]);
        assert!(fitted.strength.is_some() && worst(&fitted, &all[60..]) < 0.05, "{fitted:?}");
        let equal = fit_with(&alone, &all[..60].iter().collect::<Vec<_>>(), None);
        assert!(worst(&equal, &all[60..]) > 0.1, "{equal:?}");
    }

    #[test]
    fn few_networks_and_an_operation_that_none_has_do_no_harm() {
        let alone = [0.1, 0.4, 0.3];
        let mut few = samples(6, 0.1, &[0.1, 0.4, 0.0], 0.02);
        few.iter_mut().for_each(|sample| sample.counts[2] = 0);
        let fitted = fit(&alone, &few);
        let factor = fitted.times[2] / alone[2];
        assert!(fitted.times.iter().all(|time| time.is_finite()) && (0.7..1.3).contains(&factor), "{fitted:?}");
    }
}
