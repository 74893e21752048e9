//! The estimator `tabular/nk-landscape`: Kauffman's NK model, a table that is drawn at random.

use std::sync::Arc;

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SearchSpace, Seed, config, rand::Rng,
};

config! {
    /// The NK model (Kauffman and Levin 1987) over the slots of any space: the mean over slots of a
    /// number from 0 to 1 that is drawn for each setting of the slot and its neighbours. The larger
    /// K, the more local optima. No network is built or trained: it tries strategies and operators.
    pub struct NkLandscapeConfig {
        /// K: how many other slots, drawn once, each slot's number depends on.
        #[schemars(range(min = 0, max = 64))]
        pub neighbours: usize = 2,
        /// Which landscape. Its numbers are the same in every run.
        pub landscape: u64 = 1,
    }
}

/// A fitness landscape that is drawn at random.
pub struct NkLandscape {
    space: Arc<dyn SearchSpace>,
    root: Seed,
    /// Each slot and those that it depends on.
    groups: Vec<Vec<usize>>,
}

impl Component for NkLandscape {
    type Config = NkLandscapeConfig;
    const NAME: &'static str = "nk-landscape";
    const SUMMARY: &'static str = "a random landscape (NK model) over any space, to try searches without training";

    fn example() -> NkLandscapeConfig {
        NkLandscapeConfig::default()
    }
}

impl BuildEstimator for NkLandscape {
    fn build(
        config: NkLandscapeConfig,
        space: Arc<dyn SearchSpace>,
        _: Option<Arc<dyn Dataset>>,
        _: &Context,
    ) -> Result<Self> {
        let slots = space.network().slots().len();
        if config.neighbours >= slots {
            let message = format!("{} neighbours for each of {slots} slots: the most is one less", config.neighbours);
            return Err(Error::config(message).at("/neighbours"));
        }
        let root = Seed(config.landscape);
        let group = |slot: usize| {
            let mut others: Vec<usize> = (0..slots).filter(|other| *other != slot).collect();
            let mut generator = root.derive("neighbours", slot as u64).generator();
            let drawn = (0..config.neighbours).map(|_| others.swap_remove(generator.random_range(0..others.len())));
            std::iter::once(slot).chain(drawn).collect()
        };
        let groups = (0..slots).map(group).collect();
        Ok(NkLandscape { space, root, groups })
    }
}

impl NkLandscape {
    fn fitness(&self, genome: &Genome) -> Outcome {
        // Equal networks are equally good.
        let canonical = self.space.canonical(genome).map_err(|error| error.to_string())?;
        let number = |(slot, group): (usize, &Vec<usize>)| -> f64 {
            let setting: String = group.iter().map(|slot| format!("{}.", canonical[*slot])).collect();
            self.root.derive(&setting, slot as u64).generator().random()
        };
        let sum: f64 = self.groups.iter().enumerate().map(number).sum();
        Ok(vec![sum / self.groups.len() as f64])
    }
}

impl Estimator for NkLandscape {
    fn objectives(&self) -> Vec<Measured> {
        vec![Measured { name: "accuracy".to_owned(), goal: Goal::Maximise, unit: String::new() }]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        Ok(genomes.iter().map(|genome| self.fitness(genome)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pleach_sdk::{
        Region,
        conformance::{Surroundings, estimator, fixtures},
    };

    use super::*;

    fn landscape(neighbours: usize) -> NkLandscape {
        let config = NkLandscapeConfig { neighbours, landscape: 1 };
        NkLandscape::build(config, fixtures::chain(), None, &Context::default()).expect("the chain has six slots")
    }

    /// Networks no single other choice of which is better.
    fn local_optima(neighbours: usize) -> usize {
        let landscape = landscape(neighbours);
        let network = landscape.space.network();
        let fitness = |genome: &Genome| landscape.fitness(genome).expect("it is of the space")[0];
        let full = Region::full(network);
        let mut genomes = vec![Vec::new()];
        for choices in full.slots() {
            let longer =
                |genome: &Vec<u16>| choices.iter().map(|choice| [&genome[..], &[*choice]].concat()).collect::<Vec<_>>();
            genomes = genomes.iter().flat_map(longer).collect();
        }
        let is_optimum = |genome: &Genome| {
            let own = fitness(genome);
            full.slots().iter().enumerate().all(|(slot, choices)| {
                choices.iter().all(|choice| {
                    let mut other = genome.clone();
                    other.0[slot] = *choice;
                    fitness(&other) <= own
                })
            })
        };
        let optima = genomes.into_iter().map(Genome).filter(is_optimum);
        optima.map(|genome| network.canonical(&genome)).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn keeps_the_promises_of_an_estimator() {
        estimator::<NkLandscape>(&Surroundings::default()).assert();
    }

    #[test]
    fn more_neighbours_make_more_local_optima() {
        let counts = [0, 2, 5].map(local_optima);
        assert!(counts[0] < counts[2] && counts[1] <= counts[2], "{counts:?}");
    }

    #[test]
    fn equal_networks_are_equally_good_and_others_are_not() {
        let landscape = landscape(2);
        let fitness = |genes: [u16; 6]| landscape.fitness(&Genome(genes.to_vec())).expect("it is of the space");
        // `identity` and `absent` (1 and 0) compute the same wherever they stand in their chain.
        assert_eq!(fitness([0, 1, 2, 0, 2, 3]), fitness([0, 2, 0, 0, 2, 3]));
        assert_ne!(fitness([0, 2, 0, 0, 2, 3]), fitness([0, 3, 0, 0, 2, 3]));
    }

    #[test]
    fn as_many_neighbours_as_slots_are_refused() {
        let config = NkLandscapeConfig { neighbours: 6, landscape: 1 };
        let error = NkLandscape::build(config, fixtures::chain(), None, &Context::default()).err().expect("too many");
        assert_eq!(error.place.as_deref(), Some("/neighbours"));
        assert!(error.message.contains("the most is one less"), "{error}");
    }
}
