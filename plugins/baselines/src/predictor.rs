//! A model of what networks are worth: an ensemble of random forests (Breiman 2001).
//!
//! `smartcore` has the forests: it is kept up, needs no other language, gives the same trees for the
//! same seed, and learns from a hundred networks in a millisecond.

use pleach_sdk::{Error, Genome, Network, Region, Result, rand::Rng};
use smartcore::{
    ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters},
    error::Failed,
    linalg::basic::matrix::DenseMatrix,
};

/// What networks are read from.
pub(crate) struct Predictor<'a> {
    pub(crate) network: &'a Network,
    pub(crate) region: &'a Region,
}

/// What the members of the ensemble say of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    mean: f64,
    standard_deviation: f64,
}

impl Prediction {
    /// A draw from the normal distribution that the members make (Box and Muller 1958).
    pub(crate) fn draw(&self, generator: &mut impl Rng) -> f64 {
        let (first, second): (f64, f64) = (generator.random(), generator.random());
        let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos();
        self.mean + self.standard_deviation * normal
    }
}

impl Predictor<'_> {
    /// Learns what `learned` networks score, and predicts others; a member for each seed.
    pub(crate) fn predict(
        &self,
        learned: &[&Genome],
        scores: &Vec<f64>,
        asked: &[&Genome],
        trees: usize,
        seeds: &[u64],
    ) -> Result<Vec<Prediction>> {
        let failed = |error: Failed| Error::failed(format!("the model failed: {error}"));
        let matrix = |genomes: &[&Genome]| {
            let rows: Vec<Vec<f64>> = genomes.iter().map(|genome| self.features(genome)).collect();
            DenseMatrix::from_2d_vec(&rows).map_err(failed)
        };
        let (learned, asked) = (matrix(learned)?, matrix(asked)?);
        let features = self.features(&Genome(vec![0; self.region.slots().len()])).len();
        let mut members = Vec::with_capacity(seeds.len());
        for seed in seeds {
            // A third of the features at each split is Breiman's choice for regression.
            let parameters = RandomForestRegressorParameters::default()
                .with_n_trees(trees)
                .with_m(features.div_ceil(3))
                .with_seed(*seed);
            let forest = RandomForestRegressor::fit(&learned, scores, parameters).map_err(failed)?;
            members.push(forest.predict(&asked).map_err(failed)?);
        }
        let count = seeds.len() as f64;
        let prediction = |index: usize| {
            let said = || members.iter().map(|member: &Vec<f64>| member[index]);
            let mean = said().sum::<f64>() / count;
            let squares: f64 = said().map(|one| (one - mean).powi(2)).sum();
            Prediction { mean, standard_deviation: (squares / (count - 1.0)).sqrt() }
        };
        Ok((0..members[0].len()).map(prediction).collect())
    }

    /// Each choice of each slot that has several as 0 or 1, and the logarithms of the costs.
    fn features(&self, genome: &Genome) -> Vec<f64> {
        let open = self.region.slots().iter().enumerate().filter(|(_, allowed)| allowed.len() > 1);
        let choices = open.flat_map(|(slot, allowed)| allowed.iter().map(move |choice| (slot, *choice)));
        let mut features: Vec<f64> = choices.map(|(slot, choice)| f64::from(genome[slot] == choice)).collect();
        let cost = self.network.cost(genome);
        features.extend([cost.params, cost.flops].map(|cost| (cost as f64).ln_1p()));
        features
    }
}

/// Scores of measurements that stand in order, the best first: the logit of their rank. Models
/// learn nothing from how bad the worst are, and much from which is better.
pub(crate) fn scores<T>(ordered: &[T], is_equal: impl Fn(&T, &T) -> bool) -> Vec<f64> {
    let count = ordered.len() as f64;
    let mut scores = Vec::with_capacity(ordered.len());
    for group in ordered.chunk_by(|one, other| is_equal(one, other)) {
        let worse = count - (scores.len() + group.len()) as f64;
        let share = (worse + 0.5 * group.len() as f64) / count;
        // Equal ones have the rank in their middle; all of them equal is the middle too.
        scores.extend(std::iter::repeat_n((share / (1.0 - share)).ln(), group.len()));
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain};

    #[test]
    fn scores_follow_ranks_and_equal_ones_are_equal() {
        let found = scores(&[9, 5, 5, 1], |one, other| one == other);
        assert!((found[0] - 7.0_f64.ln()).abs() < 1e-12 && (found[0] + found[3]).abs() < 1e-12, "{found:?}");
        assert_eq!(found[1..3], [0.0; 2]);
        assert_eq!(scores(&[3, 3], |one, other| one == other), [0.0; 2]);
        assert_eq!(scores(&[3], |_, _| true), [0.0]);
    }

    #[test]
    fn what_was_learned_is_predicted_and_members_agree_on_it_most() {
        let space = chain();
        let region = Region::complete(space.network());
        let genomes = testing::all(&region);
        let (learned, asked): (Vec<_>, Vec<_>) = genomes.iter().enumerate().partition(|(index, _)| index % 3 > 0);
        let genomes =
            |part: &[(usize, &'_ Genome)]| -> Vec<Genome> { part.iter().map(|(_, one)| (*one).clone()).collect() };
        let (learned, asked) = (genomes(&learned), genomes(&asked));
        let predictor = Predictor { network: space.network(), region: &region };
        let truth = |genomes: &[Genome]| genomes.iter().map(testing::fitness).collect::<Vec<f64>>();
        let predict = |asked: &[Genome], seeds: &[u64]| {
            let asked: Vec<&Genome> = asked.iter().collect();
            predictor
                .predict(&learned.iter().collect::<Vec<_>>(), &truth(&learned), &asked, 20, seeds)
                .expect("it learns")
        };
        let predictions = predict(&asked, &[1, 2, 3, 4, 5]);
        let error: f64 =
            predictions.iter().zip(truth(&asked)).map(|(one, truth)| (one.mean - truth).abs()).sum::<f64>();
        let mean = truth(&learned).iter().sum::<f64>() / learned.len() as f64;
        let of_mean: f64 = truth(&asked).iter().map(|truth| (mean - truth).abs()).sum();
        assert!(error < 0.6 * of_mean, "{error} of {of_mean}");
        assert_eq!(predict(&asked, &[1, 2]), predict(&asked, &[1, 2]));
        assert_ne!(predict(&asked, &[1, 2]), predict(&asked, &[3, 4]));
        let spread = |asked: &[Genome]| {
            let predictions = predict(asked, &[1, 2, 3, 4, 5]);
            predictions.iter().map(|one| one.standard_deviation).sum::<f64>() / asked.len() as f64
        };
        assert!(spread(&learned) < spread(&asked));
    }
}
