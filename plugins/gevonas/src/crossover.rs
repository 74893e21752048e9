//! Crossover: children of two parents.

use std::sync::Arc;

use pleach_sdk::{BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, rand::Rng};

use crate::NoConfig;

/// Takes each gene from either parent with equal chance (Syswerda 1989).
pub struct UniformCrossover;

impl Component for UniformCrossover {
    type Config = NoConfig;
    const NAME: &'static str = "uniform-crossover";
    const SUMMARY: &'static str = "each gene from either parent";

    fn example() -> NoConfig {
        NoConfig {}
    }
}

impl BuildOperator for UniformCrossover {
    fn build(_: NoConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(UniformCrossover)
    }
}

impl Operator for UniformCrossover {
    fn arity(&self) -> usize {
        2
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        let genes = parents[0].iter().zip(parents[1].iter());
        let child = Genome(genes.map(|(one, other)| if generator.random() { *one } else { *other }).collect());
        Ok(inside(child, region, &mut generator))
    }
}

/// Takes each whole Block from either parent with equal chance, so that layers that were good
/// together stay together; slots outside of Blocks are taken one by one.
pub struct BlockCrossover {
    /// The Block of each slot.
    block_of: Vec<Option<usize>>,
    blocks: usize,
}

impl Component for BlockCrossover {
    type Config = NoConfig;
    const NAME: &'static str = "block-crossover";
    const SUMMARY: &'static str = "each Block from either parent";

    fn example() -> NoConfig {
        NoConfig {}
    }
}

impl BuildOperator for BlockCrossover {
    fn build(_: NoConfig, space: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        let network = space.network();
        let mut block_of = vec![None; network.slots().len()];
        for (index, block) in network.blocks().iter().enumerate() {
            for slot in &block.slots {
                block_of[*slot] = Some(index);
            }
        }
        Ok(BlockCrossover { block_of, blocks: network.blocks().len() })
    }
}

impl Operator for BlockCrossover {
    fn arity(&self) -> usize {
        2
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        let from_first: Vec<bool> = (0..self.blocks).map(|_| generator.random()).collect();
        let genes = parents[0].iter().zip(parents[1].iter()).zip(&self.block_of);
        let child = genes.map(|((one, other), block)| {
            let is_first = block.map_or_else(|| generator.random(), |block| from_first[block]);
            if is_first { *one } else { *other }
        });
        let child = Genome(child.collect());
        Ok(inside(child, region, &mut generator))
    }
}

/// Draws every gene anew that lies outside of the region.
pub(crate) fn inside(mut genome: Genome, region: &Region, generator: &mut impl Rng) -> Genome {
    for slot in 0..genome.len() {
        if !region.allows(slot, genome[slot]) {
            genome.0[slot] = region.sample_slot(slot, generator);
        }
    }
    genome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::nas_bench_macro;

    #[test]
    fn a_block_comes_whole_from_one_parent() {
        let space: Arc<dyn SearchSpace> = Arc::new(nas_bench_macro());
        let region = Region::complete(space.network());
        let operator = BlockCrossover::build(NoConfig {}, space, &Context::default()).expect("nothing can fail");
        let parents = [Genome(vec![1; 8]), Genome(vec![2; 8])];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let child = operator.vary(&parents, &region, Seed(seed)).expect("nothing can fail");
            for block in [&child[..2], &child[2..5], &child[5..]] {
                assert!(block.iter().all(|gene| *gene == block[0]), "{child}");
            }
            seen.insert(child);
        }
        assert_eq!(seen.len(), 8, "every combination of three Blocks");
    }

    #[test]
    fn uniform_crossover_takes_genes_of_both_parents_and_no_other() {
        let region = Region::new(vec![vec![0, 1, 2]; 8]).expect("no slot is empty");
        let parents = [Genome(vec![1; 8]), Genome(vec![2; 8])];
        let mut ones = 0;
        for seed in 0..500 {
            let child = UniformCrossover.vary(&parents, &region, Seed(seed)).expect("nothing can fail");
            assert!(child.iter().all(|gene| [1, 2].contains(gene)));
            ones += child.iter().filter(|gene| **gene == 1).count();
        }
        // Four standard deviations of a binomial with 4000 draws and 1 in 2.
        assert!((ones as i32 - 2000).abs() < 127, "{ones}");
    }

    #[test]
    fn a_child_of_parents_outside_of_the_region_lies_inside() {
        let region = Region::new(vec![vec![0]; 8]).expect("no slot is empty");
        let parents = [Genome(vec![1; 8]), Genome(vec![2; 8])];
        let child = UniformCrossover.vary(&parents, &region, Seed(1)).expect("nothing can fail");
        assert_eq!(child, Genome(vec![0; 8]));
    }
}
