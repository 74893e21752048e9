//! Mutation: a child of one parent.

use std::sync::Arc;

use pleach_sdk::{
    BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config,
    rand::{Rng, seq::IndexedRandom},
};

use crate::crossover::inside;

config! {
    /// Changes operations at random.
    pub struct OperationMutationConfig {
        /// Probability with which each gene changes (SPOS, Guo et al. 2020).
        #[schemars(range(min = 0.0, max = 1.0))]
        pub rate: f64 = 0.1,
    }
}

/// Changes each gene with a probability to another allowed choice; at least one gene changes
/// where any can.
pub struct OperationMutation(OperationMutationConfig);

impl Component for OperationMutation {
    type Config = OperationMutationConfig;
    const NAME: &'static str = "operation-mutation";
    const SUMMARY: &'static str = "other operations for some layers";

    fn example() -> OperationMutationConfig {
        OperationMutationConfig::default()
    }
}

impl BuildOperator for OperationMutation {
    fn build(config: OperationMutationConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(OperationMutation(config))
    }
}

impl Operator for OperationMutation {
    fn arity(&self) -> usize {
        1
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        let mut child = inside(parents[0].clone(), region, &mut generator);
        let open: Vec<usize> = (0..child.len()).filter(|slot| region.allowed(*slot).len() > 1).collect();
        let mut changing: Vec<usize> = open.iter().copied().filter(|_| generator.random_bool(self.0.rate)).collect();
        if changing.is_empty() {
            changing.extend(open.choose(&mut generator));
        }
        for slot in changing {
            let others: Vec<u16> =
                region.allowed(slot).iter().copied().filter(|choice| *choice != child[slot]).collect();
            child.0[slot] = *others.choose(&mut generator).expect("an open slot has another choice");
        }
        Ok(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rate: f64, region: &Region, seed: u64) -> usize {
        let parent = Genome(vec![1; region.slots().len()]);
        let operator = OperationMutation(OperationMutationConfig { rate });
        let child = operator.vary(std::slice::from_ref(&parent), region, Seed(seed)).expect("nothing can fail");
        assert!(region.contains(&child));
        child.iter().zip(parent.iter()).filter(|(child, parent)| child != parent).count()
    }

    #[test]
    fn at_least_one_gene_changes_where_any_can() {
        let open = Region::new(vec![vec![1], vec![0, 1], vec![1]]).expect("no slot is empty");
        let closed = Region::new(vec![vec![1]; 3]).expect("no slot is empty");
        for seed in 0..50 {
            assert_eq!(changes(0.0, &open, seed), 1);
            assert_eq!(changes(1.0, &open, seed), 1);
            assert_eq!(changes(1.0, &closed, seed), 0);
        }
    }

    #[test]
    fn genes_change_at_the_rate() {
        let region = Region::new(vec![vec![0, 1, 2]; 20]).expect("no slot is empty");
        let total: usize = (0..500).map(|seed| changes(0.3, &region, seed)).sum();
        // Four standard deviations of a binomial with 10000 draws and 3 in 10.
        assert!((total as i32 - 3000).abs() < 184, "{total}");
    }
}
