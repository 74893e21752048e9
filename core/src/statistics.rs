//! What several measurements of one thing say: mean, spread, and whether two groups differ.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use statrs::{
    distribution::{ContinuousCDF, StudentsT},
    stats_tests::{
        Alternative,
        mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu},
    },
};

/// A mean over seeds and how sure it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// One for each seed.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; none for one value.
    pub standard_deviation: Option<f64>,
    /// The 95 % confidence interval of the mean by Student's t; none for one value.
    pub interval: Option<(f64, f64)>,
}

impl Spread {
    /// Sums up values; none without any.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        match values.len() {
            0 => None,
            1 => Some(Spread { values, mean, standard_deviation: None, interval: None }),
            _ => {
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                let deviation = (squares / (count - 1.0)).sqrt();
                let interval = Some(interval(mean, deviation, values.len())?);
                Some(Spread { values, mean, standard_deviation: Some(deviation), interval })
            }
        }
    }
}

/// The 95 % confidence interval of a mean by Student's t.
fn interval(mean: f64, deviation: f64, count: usize) -> Option<(f64, f64)> {
    let quantile = StudentsT::new(0.0, 1.0, count as f64 - 1.0).ok()?.inverse_cdf(0.975);
    let half = quantile * deviation / (count as f64).sqrt();
    Some((mean - half, mean + half))
}

/// Values in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; none for one value.
    pub standard_deviation: Option<f64>,
    /// The 95 % confidence interval of the mean by Student's t; none for one value.
    pub interval: Option<(f64, f64)>,
    /// The smallest.
    pub lowest: f64,
    /// Half of the values are no larger, half no smaller.
    pub median: f64,
    /// The largest.
    pub highest: f64,
}

impl Summary {
    /// Sums up values; none without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let Spread { mut values, mean, standard_deviation, interval } = Spread::of(values.into_iter())?;
        values.sort_by(f64::total_cmp);
        let (lowest, median, highest) = (values[0], median(&values), values[values.len() - 1]);
        Some(Summary { count: values.len(), mean, standard_deviation, interval, lowest, median, highest })
    }
}

/// The median of sorted values, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The value that a share of all values does not exceed, between the nearest two (definition 7 of
/// Hyndman and Fan 1996); none without any.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

/// Kendall's tau-b (Kendall 1945) between two lists of values of the same things; none where one
/// has nothing but ties.
pub fn kendall_tau(values: &[f64], others: &[f64]) -> Option<f64> {
    let order = |one: &f64, other: &f64| one.partial_cmp(other).unwrap_or(Ordering::Equal);
    let (tau, _) = kendalls::tau_b_with_comparator(values, others, order).ok()?;
    tau.is_finite().then_some(tau)
}

/// Whether values of one group tend to be larger than those of another: the two-sided test of
/// Mann and Whitney (1947), by the normal approximation with corrections for ties and continuity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankSum {
    /// The statistic U of the first group.
    pub u: f64,
    /// How probable so large a difference is between groups that do not differ.
    pub p: f64,
    /// How probable it is that a value of the first group is larger than one of the second, ties
    /// counted as half (Vargha and Delaney 2000).
    pub larger: f64,
}

impl RankSum {
    /// Compares two groups; none where one has fewer than two values.
    pub fn of(values: &[f64], others: &[f64]) -> Option<Self> {
        if values.len() < 2 || others.len() < 2 {
            return None;
        }
        let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
        let (u, p) = mannwhitneyu(values, others, method, Alternative::TwoSided).ok()?;
        Some(RankSum { u, p, larger: u / (values.len() * others.len()) as f64 })
    }
}

/// The p-values of several tests, corrected for being several (Holm 1979); in their order.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|one, other| p_values[*one].total_cmp(&p_values[*other]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (place, index) in order.into_iter().enumerate() {
        least = least.max(p_values[index] * (p_values.len() - place) as f64).min(1.0);
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_students() {
        let spread = Spread::of([1.0, 2.0, 3.0].into_iter()).expect("there are values");
        let (low, high) = spread.interval.expect("there are three values");
        // t with two degrees of freedom is 4.302653 at 97.5 %.
        assert!((high - (2.0 + 4.302653 / 3.0_f64.sqrt())).abs() < 1e-5 && (low + high - 4.0).abs() < 1e-9);
        assert_eq!(Spread::of(std::iter::once(1.0)).and_then(|spread| spread.interval), None);
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn a_summary_has_the_middle_and_the_ends() {
        let summary = |values: &[f64]| Summary::of(values.iter().copied()).expect("there are values");
        let odd = summary(&[3.0, 1.0, 8.0]);
        assert_eq!((odd.lowest, odd.median, odd.highest, odd.mean), (1.0, 3.0, 8.0, 4.0));
        assert_eq!(summary(&[4.0, 1.0, 2.0, 8.0]).median, 3.0);
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn a_quantile_lies_between_the_nearest_values() {
        for (share, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (0.95, 8.95), (1.0, 10.0)] {
            let found = quantile(&[3.0, 1.0, 2.0, 10.0], share).expect("there are values");
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_test_of_mann_and_whitney_is_scipys() {
        // scipy.stats.mannwhitneyu(x, y, method="asymptotic"), version 1.17.
        let check = |values: &[f64], others: &[f64], u: f64, p: f64| {
            let test = RankSum::of(values, others).expect("both groups are large enough");
            assert!(test.u == u && (test.p - p).abs() < 1e-9, "{test:?}, expected {u} {p}");
            let back = RankSum::of(others, values).expect("both groups are large enough");
            assert!((back.p - p).abs() < 1e-9 && (back.larger + test.larger - 1.0).abs() < 1e-12, "{back:?}");
        };
        check(&[19.0, 22.0, 16.0, 29.0, 24.0], &[20.0, 11.0, 17.0, 12.0], 17.0, 0.11134688653314041);
        check(&[1.0, 2.0, 2.0, 3.0, 5.0, 5.0], &[2.0, 5.0, 5.0, 6.0, 7.0, 8.0, 9.0], 6.0, 0.03464778959569326);
        check(&[1.0, 1.0], &[1.0, 1.0, 1.0], 3.0, 1.0);
        assert_eq!(RankSum::of(&[1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn several_tests_are_corrected_by_holm() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.5, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }
}
