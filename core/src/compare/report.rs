//! What all searches together say: the document `compare.json`. It follows from the results
//! alone, so the same seeds give the same report, whatever the order in which they were done.

use std::{ops::Range, path::Path};

use pleach_sdk::Goal;
use serde::{Deserialize, Serialize};

use super::{
    plan::{Contender, Question},
    plot,
    searched::Searched,
    store::Store,
    tables,
};
use crate::{
    config::Target,
    error::{Error, Result},
    run,
    statistics::{RankSum, Summary, holm},
};

/// Points of a curve at most.
const POINTS: usize = 100;

/// Strategies side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The format of this document.
    pub format: u32,
    /// The name in the first run file.
    pub name: String,
    /// The objective that the searches follow.
    pub objective: String,
    /// What is compared.
    pub compared: String,
    /// Who measures it, where it is not the searches' own objective.
    pub reported_by: Option<String>,
    /// The direction of what is compared.
    pub goal: Goal,
    /// What the searches are to come to.
    pub target: Option<Target>,
    /// The first seed.
    pub first_seed: u64,
    /// Seeds for each variant.
    pub seeds: u64,
    /// What was compared.
    pub variants: Vec<VariantReport>,
    /// Each two variants.
    pub pairs: Vec<Pair>,
}

/// What the searches of a variant came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantReport {
    /// Its name.
    pub name: String,
    /// Its strategy.
    pub strategy: String,
    /// Its run file.
    pub file: String,
    /// What it replaces there, as in `--set`.
    pub set: Vec<String>,
    /// Evaluations of a search.
    pub evaluations: Option<Summary>,
    /// Where the simulated clock stood at the end.
    pub simulated_seconds: Option<Summary>,
    /// The objective of the networks that were found.
    pub objective: Option<Summary>,
    /// What is compared of them.
    pub compared: Option<Summary>,
    /// How far it is to the target.
    pub target: Option<Reached>,
    /// What is compared of the best network so far, against evaluations.
    pub by_evaluations: Vec<Point>,
    /// The same against simulated seconds.
    pub by_simulated_seconds: Vec<Point>,
}

/// How many searches came to the target, and after how many evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// Searches that came to it.
    pub searches: usize,
    /// Their share.
    pub share: f64,
    /// Half of all searches were there after so many evaluations; none if half did not come to it.
    pub median: Option<f64>,
    /// The expected running time: evaluations of all searches until they were there or ended,
    /// divided by the searches that came to it (Hansen et al. 2021).
    pub expected: Option<f64>,
}

/// A point of a curve: the mean over the searches and its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Evaluations or simulated seconds.
    pub at: f64,
    /// The mean.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// Two variants held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The one that is better in the mean.
    pub better: String,
    /// The other one.
    pub other: String,
    /// How far the means are apart.
    pub difference: f64,
    /// Whether their searches differ; `larger` is the share in which the first is larger.
    pub test: RankSum,
    /// Its p-value, corrected for all pairs (Holm 1979).
    pub corrected: f64,
}

impl Pair {
    /// How probable it is that a search of the better variant comes to more than one of the other.
    pub fn superiority(&self, goal: Goal) -> f64 {
        match goal {
            Goal::Maximise => self.test.larger,
            Goal::Minimise => 1.0 - self.test.larger,
        }
    }
}

impl Comparison {
    /// Sums up the searches of these contenders and seeds.
    pub(super) fn new(
        contenders: &[Contender<'_>],
        question: &Question,
        seeds: Range<u64>,
        store: &Store,
    ) -> Comparison {
        let of = |contender: &Contender<'_>| -> Vec<&Searched> {
            let name = &contender.variant.name;
            let is_own = |searched: &&Searched| searched.variant == *name && seeds.contains(&searched.seed);
            let mut own: Vec<&Searched> = store.searches().iter().filter(is_own).collect();
            own.sort_by_key(|searched| searched.seed);
            own
        };
        let searches: Vec<Vec<&Searched>> = contenders.iter().map(of).collect();
        let grid = Grid::new(&searches.concat(), question);
        let with = |(contender, searches): (&Contender<'_>, &Vec<&Searched>)| {
            VariantReport::new(contender, question, searches, &grid)
        };
        let variants: Vec<VariantReport> = contenders.iter().zip(&searches).map(with).collect();
        let values: Vec<(String, Vec<f64>)> = contenders
            .iter()
            .zip(&searches)
            .map(|(contender, searches)| {
                let values = searches.iter().filter_map(|searched| question.value(&searched.winner)).collect();
                (contender.variant.name.clone(), values)
            })
            .collect();
        Comparison {
            format: run::RUN_FORMAT,
            name: contenders[0].variant.config.name.clone(),
            objective: question.objective.clone(),
            compared: question.compared().to_owned(),
            reported_by: question.reported.as_ref().map(|(_, by)| by.clone()),
            goal: question.goal,
            target: question.target,
            first_seed: seeds.start,
            seeds: seeds.end - seeds.start,
            variants,
            pairs: pairs(&values, question.goal),
        }
    }

    /// Writes the report in every form.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        run::write_document(&folder.join("compare.json"), self)?;
        let write = |name: &str, text: &str| run::write_synced(&folder.join(name), text.as_bytes());
        write("compare.md", &tables::markdown(self))?;
        write("compare.csv", &tables::csv(self))?;
        write("curves.csv", &tables::curves(self))?;
        let unwritten = |message: String| Error::RunDirectory {
            path: folder.join("compare.svg"),
            message: format!("failed to write the plot: {message}"),
        };
        write("compare.svg", &plot::draw(self).map_err(unwritten)?)
    }
}

/// Each two variants, the better one first.
fn pairs(values: &[(String, Vec<f64>)], goal: Goal) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (index, (name, own)) in values.iter().enumerate() {
        for (other_name, other) in &values[index + 1..] {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let is_better = !goal.better(mean(other), mean(own));
            let ((better, own), (other_name, other)) =
                if is_better { ((name, own), (other_name, other)) } else { ((other_name, other), (name, own)) };
            let Some(test) = RankSum::of(own, other) else { continue };
            let difference = (mean(own) - mean(other)).abs();
            let (better, other) = (better.clone(), other_name.clone());
            pairs.push(Pair { better, other, difference, test, corrected: test.p });
        }
    }
    let p_values: Vec<f64> = pairs.iter().map(|pair| pair.test.p).collect();
    for (pair, corrected) in pairs.iter_mut().zip(holm(&p_values)) {
        pair.corrected = corrected;
    }
    pairs
}

/// Where curves have their points: the same for all variants.
struct Grid {
    evaluations: Vec<f64>,
    simulated_seconds: Vec<f64>,
}

impl Grid {
    fn new(searches: &[&Searched], question: &Question) -> Self {
        let most = searches.iter().map(|searched| searched.evaluations).max().unwrap_or(0) as f64;
        // As many points between 1 and 10 as between 10 and 100: searches gain most at first.
        let mut evaluations: Vec<f64> = (0..POINTS)
            .map(|point| most.powf(point as f64 / (POINTS - 1) as f64).round())
            .filter(|at| *at >= 1.0)
            .collect();
        evaluations.dedup();
        let times = |time: fn(&Searched) -> Option<f64>| searches.iter().filter_map(move |searched| time(searched));
        let first = times(|one| one.improvements.first()?.simulated_seconds).fold(0.0, f64::max);
        let last = times(|one| one.simulated_seconds).fold(0.0, f64::max);
        let simulated_seconds = if question.is_simulated {
            (0..POINTS).map(|point| first + (last - first) * point as f64 / (POINTS - 1) as f64).collect()
        } else {
            Vec::new()
        };
        Grid { evaluations, simulated_seconds }
    }
}

impl VariantReport {
    fn new(contender: &Contender<'_>, question: &Question, searches: &[&Searched], grid: &Grid) -> Self {
        let variant = contender.variant;
        let summary = |value: &dyn Fn(&Searched) -> Option<f64>| {
            Summary::of(searches.iter().filter_map(|searched| value(searched)))
        };
        let most = searches.iter().map(|searched| searched.evaluations).max().unwrap_or(0) as f64;
        let until = grid.evaluations.iter().copied().filter(|at| *at <= most);
        VariantReport {
            name: variant.name.clone(),
            strategy: variant.config.strategy.name.clone(),
            file: variant.path.display().to_string(),
            set: variant.set.clone(),
            evaluations: summary(&|searched| Some(searched.evaluations as f64)),
            simulated_seconds: summary(&|searched| searched.simulated_seconds),
            objective: summary(&|searched| Some(searched.winner.value)),
            compared: summary(&|searched| question.value(&searched.winner)),
            target: question.target.map(|_| Reached::new(searches)),
            by_evaluations: curve(searches, question, until, &|at, one| one.evaluations as f64 <= at),
            by_simulated_seconds: curve(searches, question, grid.simulated_seconds.iter().copied(), &|at, one| {
                one.simulated_seconds.is_some_and(|seconds| seconds <= at)
            }),
        }
    }
}

/// The mean of what is compared, of the network that each search took for the best at a point. A
/// search that has ended keeps what it found.
fn curve(
    searches: &[&Searched],
    question: &Question,
    grid: impl Iterator<Item = f64>,
    is_there: &dyn Fn(f64, &super::Improvement) -> bool,
) -> Vec<Point> {
    let point = |at: f64| {
        let best = |searched: &&Searched| {
            let last = searched.improvements.iter().rev().find(|one| is_there(at, one))?;
            question.value(last)
        };
        let summary = Summary::of(searches.iter().filter_map(best))?;
        let (low, high) = summary.interval.unwrap_or((summary.mean, summary.mean));
        Some(Point { at, mean: summary.mean, low, high })
    };
    grid.filter_map(point).collect()
}

impl Reached {
    fn new(searches: &[&Searched]) -> Self {
        let mut until: Vec<f64> =
            searches.iter().map(|one| one.target_after.map_or(f64::INFINITY, |after| after as f64)).collect();
        until.sort_by(f64::total_cmp);
        let reached = until.iter().filter(|after| after.is_finite()).count();
        let spent: u64 = searches.iter().map(|one| one.target_after.unwrap_or(one.evaluations)).sum();
        let middle = until.get(until.len().saturating_sub(1) / 2).copied();
        Reached {
            searches: reached,
            share: reached as f64 / searches.len().max(1) as f64,
            median: middle.filter(|median| median.is_finite()),
            expected: (reached > 0).then(|| spent as f64 / reached as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::Improvement, result::Ending};
    use pleach_sdk::Genome;

    /// A search that found these values after so many evaluations, and a second for each.
    fn searched(seed: u64, found: &[(u64, f64)], evaluations: u64, target_after: Option<u64>) -> Searched {
        let improvement = |&(evaluations, value): &(u64, f64)| Improvement {
            evaluations,
            simulated_seconds: Some(evaluations as f64),
            genome: Genome(Vec::new()),
            value,
            reported: None,
        };
        let improvements: Vec<Improvement> = found.iter().map(improvement).collect();
        Searched {
            variant: "one".to_owned(),
            seed,
            ended: Ending::Evaluations,
            evaluations,
            failed: 0,
            simulated_seconds: Some(evaluations as f64),
            winner: improvements[improvements.len() - 1].clone(),
            target_after,
            improvements,
        }
    }

    fn question() -> Question {
        let goal = Goal::Maximise;
        Question { objective: "accuracy".to_owned(), reported: None, goal, target: None, is_simulated: true }
    }

    #[test]
    fn a_curve_is_the_mean_of_what_each_search_holds_for_the_best() {
        let (one, other) = (searched(0, &[(1, 0.1), (4, 0.7)], 10, None), searched(1, &[(1, 0.3), (2, 0.5)], 4, None));
        let searches = [&one, &other];
        let grid = Grid::new(&searches, &question());
        assert_eq!((grid.evaluations[0], grid.evaluations[grid.evaluations.len() - 1]), (1.0, 10.0));
        assert_eq!((grid.simulated_seconds[0], grid.simulated_seconds[POINTS - 1]), (1.0, 10.0));
        let is_there = |at: f64, one: &Improvement| one.evaluations as f64 <= at;
        let points = curve(&searches, &question(), [1.0, 2.0, 3.0, 4.0, 10.0].into_iter(), &is_there);
        let means: Vec<f64> = points.iter().map(|point| (point.mean * 1e9).round() / 1e9).collect();
        assert_eq!(means, [0.2, 0.3, 0.3, 0.6, 0.6], "a search that has ended keeps what it found");
        assert!(points.iter().all(|point| point.low < point.mean && point.mean < point.high));
    }

    #[test]
    fn searches_that_do_not_come_to_the_target_count_with_all_their_evaluations() {
        let all = [
            searched(0, &[(1, 0.9)], 100, Some(10)),
            searched(1, &[(1, 0.9)], 100, Some(30)),
            searched(2, &[(1, 0.1)], 100, None),
        ];
        let reached = |count: usize| Reached::new(&all[all.len() - count..].iter().collect::<Vec<_>>());
        assert_eq!(reached(3), Reached { searches: 2, share: 2.0 / 3.0, median: Some(30.0), expected: Some(70.0) });
        assert_eq!(reached(2), Reached { searches: 1, share: 0.5, median: Some(30.0), expected: Some(130.0) });
        assert_eq!(reached(1), Reached { searches: 0, share: 0.0, median: None, expected: None });
    }

    #[test]
    fn the_better_of_two_comes_first() {
        let values = [("low".to_owned(), vec![1.0, 2.0, 3.0, 4.0]), ("high".to_owned(), vec![5.0, 6.0, 7.0, 8.0])];
        let check = |goal, better: &str| {
            let pairs = pairs(&values, goal);
            assert_eq!((pairs.len(), pairs[0].better.as_str(), pairs[0].difference), (1, better, 4.0));
            assert_eq!(pairs[0].superiority(goal), 1.0);
            assert!(pairs[0].corrected < 0.05);
        };
        check(Goal::Maximise, "high");
        check(Goal::Minimise, "low");
    }
}
