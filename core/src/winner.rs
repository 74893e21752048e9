//! Naming the winner: the best networks measured once more, by an estimator that knows better.

use pleach_sdk::{Genome, Goal, Seed};

use crate::{assemble::Judge, error::Result, result::Found};

/// Measures `best` with the judge and puts first what it likes best; networks that it cannot
/// measure come last. The order of equals stays.
///
/// # Errors
///
/// A judge that fails altogether.
pub(crate) fn judged(mut best: Vec<Found>, judge: &mut Judge, goal: Goal, seed: Seed) -> Result<Vec<Found>> {
    let genomes: Vec<Genome> = best.iter().map(|found| found.genome.clone()).collect();
    let outcomes = judge.estimator.evaluate(&genomes, seed)?;
    for (found, outcome) in best.iter_mut().zip(outcomes) {
        match outcome {
            Ok(values) => {
                found.judged = judge.measured.iter().map(|measured| measured.name.clone()).zip(values).collect();
            }
            Err(reason) => tracing::warn!("{} could not be judged: {reason}", found.genome),
        }
    }
    let name = &judge.measured[judge.decides].name;
    let opinion = |found: &Found| found.judged.get(name).copied();
    best.sort_by(|one, other| {
        let by_opinion = match (opinion(one), opinion(other)) {
            (Some(one), Some(other)) if goal == Goal::Maximise => other.total_cmp(&one),
            (Some(one), Some(other)) => one.total_cmp(&other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        // A network that breaks a limit does not win by being good.
        other.within_limits.cmp(&one.within_limits).then(by_opinion)
    });
    Ok(best)
}
