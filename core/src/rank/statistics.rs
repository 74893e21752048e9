//! How far two orders agree.

use pleach_sdk::Goal;
use serde::{Deserialize, Serialize};

use super::Ranked;
use crate::statistics::kendall_tau;

/// The part of a sample that counts as its best.
const BEST_SHARE: f64 = 0.2;

/// How far the estimator's order of networks agrees with the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Networks compared.
    pub networks: usize,
    /// Kendall's tau-b (Kendall 1945), from -1 to 1; none where an order has nothing but ties.
    pub tau: Option<f64>,
    /// The same among the fifth that the reference likes best.
    pub tau_of_best: Option<f64>,
}

impl Agreement {
    /// Compares the two orders.
    pub fn of(networks: &[Ranked], goal: Goal) -> Self {
        let mut ranked: Vec<&Ranked> = networks.iter().collect();
        ranked.sort_by(|one, other| match goal {
            Goal::Maximise => other.reference.total_cmp(&one.reference),
            Goal::Minimise => one.reference.total_cmp(&other.reference),
        });
        let best = (ranked.len() as f64 * BEST_SHARE).round() as usize;
        Agreement { networks: ranked.len(), tau: tau(&ranked), tau_of_best: tau(&ranked[..best]) }
    }
}

fn tau(networks: &[&Ranked]) -> Option<f64> {
    let fitness: Vec<f64> = networks.iter().map(|one| one.fitness).collect();
    let reference: Vec<f64> = networks.iter().map(|one| one.reference).collect();
    kendall_tau(&fitness, &reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_sdk::Genome;

    fn networks(pairs: &[(f64, f64)]) -> Vec<Ranked> {
        pairs
            .iter()
            .map(|(fitness, reference)| Ranked { genome: Genome(Vec::new()), fitness: *fitness, reference: *reference })
            .collect()
    }

    #[test]
    fn tau_is_that_of_the_definition() {
        let check = |pairs: &[(f64, f64)], expected: Option<f64>| {
            let tau = Agreement::of(&networks(pairs), Goal::Maximise).tau;
            match (tau, expected) {
                (Some(tau), Some(expected)) => assert!((tau - expected).abs() < 1e-12, "{tau} {expected}"),
                other => assert_eq!(other.0, other.1),
            }
        };
        check(&[(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)], Some(1.0));
        check(&[(1.0, 30.0), (2.0, 20.0), (3.0, 10.0)], Some(-1.0));
        // Of six pairs four agree and two do not.
        check(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 4.0)], Some(4.0 / 6.0));
        // One tie in the fitness: five pairs count there, six in the reference.
        check(&[(1.0, 1.0), (1.0, 2.0), (3.0, 3.0), (4.0, 4.0)], Some(5.0 / 30.0_f64.sqrt()));
        check(&[(1.0, 1.0), (1.0, 2.0)], None);
        check(&[], None);
    }

    #[test]
    fn the_best_fifth_is_the_references() {
        // The reference's best two are ordered the wrong way; all else is right.
        let mut pairs: Vec<(f64, f64)> = (0..10).map(|number| (f64::from(number), f64::from(number))).collect();
        pairs.swap(0, 5);
        pairs[9].0 = 7.5;
        let check = |goal, expected| {
            assert_eq!(Agreement::of(&networks(&pairs), goal).tau_of_best, Some(expected));
        };
        check(Goal::Maximise, -1.0);
        check(Goal::Minimise, 1.0);
    }
}
