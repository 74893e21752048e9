//! The population of a genetic algorithm: ranking and tournaments.

use pleach_sdk::{
    Genome, Goal, Objectives,
    rand::{Rng, seq::IndexedRandom},
    serde::{Deserialize, Serialize},
};

/// A network that was evaluated with the weights as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
pub(crate) struct Individual {
    pub(crate) genome: Genome,
    /// The form that equal networks share.
    pub(crate) key: Genome,
    /// One number per objective of the run.
    pub(crate) values: Vec<f64>,
}

/// How individuals compare.
pub(crate) struct Comparison<'a> {
    pub(crate) objectives: &'a Objectives,
    pub(crate) goal: (usize, Goal),
}

impl Comparison<'_> {
    pub(crate) fn better(&self, one: &Individual, other: &Individual) -> bool {
        self.objectives.better(self.goal, &one.values, &other.values)
    }

    /// Individuals, the best first; of equal ones the earlier.
    pub(crate) fn ranked<'a>(&self, individuals: &'a [Individual]) -> Vec<&'a Individual> {
        let mut ranked: Vec<&Individual> = individuals.iter().collect();
        ranked.sort_by(|one, other| self.objectives.compare(self.goal, &one.values, &other.values));
        ranked
    }

    /// The best of `size` individuals drawn with replacement.
    fn tournament<'a>(
        &self,
        individuals: &'a [Individual],
        size: usize,
        generator: &mut impl Rng,
    ) -> Option<&'a Individual> {
        let mut winner = individuals.choose(generator)?;
        for _ in 1..size {
            let challenger = individuals.choose(generator)?;
            if self.better(challenger, winner) {
                winner = challenger;
            }
        }
        Some(winner)
    }

    /// The winners of `arity` tournaments; different networks where a few more tournaments find
    /// any. `None` without individuals.
    pub(crate) fn parents(
        &self,
        individuals: &[Individual],
        arity: usize,
        size: usize,
        generator: &mut impl Rng,
    ) -> Option<Vec<Genome>> {
        const TRIES: usize = 8;
        let mut parents: Vec<&Individual> = Vec::new();
        for _ in 0..arity {
            let mut parent = self.tournament(individuals, size, generator)?;
            for _ in 0..TRIES {
                if !parents.iter().any(|chosen| chosen.key == parent.key) {
                    break;
                }
                parent = self.tournament(individuals, size, generator)?;
            }
            parents.push(parent);
        }
        Some(parents.into_iter().map(|parent| parent.genome.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_sdk::{Objective, Seed};

    fn individuals(fitness: &[f64]) -> Vec<Individual> {
        let individual = |(index, fitness): (usize, &f64)| {
            let genome = Genome(vec![index as u16]);
            Individual { key: genome.clone(), genome, values: vec![*fitness] }
        };
        fitness.iter().enumerate().map(individual).collect()
    }

    fn with_comparison(test: impl Fn(&Comparison)) {
        let accuracy =
            Objective { name: "accuracy".to_owned(), goal: Some(Goal::Maximise), at_most: None, at_least: None };
        let objectives = Objectives(vec![accuracy]);
        test(&Comparison { objectives: &objectives, goal: (0, Goal::Maximise) });
    }

    #[test]
    fn ranking_is_by_fitness_and_keeps_the_order_of_equals() {
        with_comparison(|comparison| {
            let all = individuals(&[0.2, 0.9, 0.5, 0.9]);
            let order: Vec<u16> = comparison.ranked(&all).iter().map(|individual| individual.genome[0]).collect();
            assert_eq!(order, [1, 3, 2, 0]);
        });
    }

    #[test]
    fn large_tournaments_choose_the_best_and_small_ones_anyone() {
        with_comparison(|comparison| {
            let all = individuals(&[0.2, 0.9, 0.5, 0.1]);
            let wins = |size| {
                let mut generator = Seed(1).generator();
                let mut wins = [0; 4];
                for _ in 0..1000 {
                    let parents = comparison.parents(&all, 1, size, &mut generator).expect("there are individuals");
                    wins[usize::from(parents[0][0])] += 1;
                }
                wins
            };
            // The best loses a tournament of 5 with probability (3/4)^5, a quarter.
            assert!((700..820).contains(&wins(5)[1]), "{:?}", wins(5));
            assert!(wins(1).iter().all(|wins| (190..310).contains(wins)), "{:?}", wins(1));
            assert!(comparison.parents(&[], 1, 5, &mut Seed(1).generator()).is_none());
        });
    }

    #[test]
    fn parents_are_different_networks_where_there_are_any() {
        with_comparison(|comparison| {
            let all = individuals(&[0.2, 0.9]);
            let mut generator = Seed(2).generator();
            let pairs =
                (0..200).map(|_| comparison.parents(&all, 2, 2, &mut generator).expect("there are individuals"));
            assert!(pairs.filter(|pair| pair[0] != pair[1]).count() > 180);
        });
    }
}
