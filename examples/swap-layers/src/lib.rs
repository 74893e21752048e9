//! A mutation that swaps two layers of a Block: what a stranger's plugin looks like.

use std::sync::Arc;

use pleach_sdk::{
    BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config, export_plugin,
    rand::seq::IndexedRandom,
};

config! {
    /// Nothing to configure.
    pub struct SwapLayersConfig {}
}

/// Swaps two layers of a Block.
pub struct SwapLayers(Arc<dyn SearchSpace>);

impl Component for SwapLayers {
    type Config = SwapLayersConfig;
    const NAME: &'static str = "swap-layers";
    const SUMMARY: &'static str = "a mutation that swaps two layers of a Block";

    fn example() -> SwapLayersConfig {
        SwapLayersConfig {}
    }
}

impl BuildOperator for SwapLayers {
    fn build(_: SwapLayersConfig, space: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(SwapLayers(space))
    }
}

impl Operator for SwapLayers {
    fn arity(&self) -> usize {
        1
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let (mut generator, network) = (seed.generator(), self.0.network());
        // A parent need not lie in the region; the child must.
        let mut child = region.sample(&mut generator);
        for slot in (0..child.len()).filter(|slot| region.allows(*slot, parents[0][*slot])) {
            child.0[slot] = parents[0][slot];
        }
        let slots = network.blocks().choose(&mut generator).map_or(&[][..], |block| &block.slots);
        let pair: Vec<usize> = slots.choose_multiple(&mut generator, 2).copied().collect();
        if let [one, other] = pair[..]
            && network.slots()[one].choices == network.slots()[other].choices
            && region.allows(one, child[other])
            && region.allows(other, child[one])
        {
            child.0.swap(one, other);
        }
        Ok(child)
    }
}

export_plugin! {
    name: "swap-layers",
    summary: "a mutation that swaps two layers of a Block",
    operators: [SwapLayers],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, fixtures};

    use super::*;

    #[test]
    fn keeps_the_promises_of_an_operator() {
        conformance::operator::<SwapLayers>(&Default::default()).assert();
    }

    #[test]
    fn layers_trade_places_and_none_is_lost() {
        let space = fixtures::chain();
        let region = Region::full(space.network());
        let operator = SwapLayers(space);
        let parent = Genome(vec![0, 2, 3, 1, 1, 3]);
        let sorted = |genome: &Genome, slots: [usize; 3]| {
            let mut genes = slots.map(|slot| genome[slot]);
            genes.sort_unstable();
            genes
        };
        let mut swapped = 0;
        for number in 0..100 {
            let child = operator.vary(std::slice::from_ref(&parent), &region, Seed(number)).expect("two can swap");
            for block in [[0, 1, 2], [3, 4, 5]] {
                assert_eq!(sorted(&child, block), sorted(&parent, block), "{parent} became {child}");
            }
            swapped += usize::from(child != parent);
        }
        assert!((20..80).contains(&swapped), "{swapped} of 100 children differ");
    }
}
