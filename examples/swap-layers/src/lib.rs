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
        let mut child = parents[0].clone();
        let network = self.0.network();
        let blocks = network.blocks().iter().map(|block| block.slots.as_slice());
        let pairs =
            blocks.flat_map(|slots| slots.iter().flat_map(move |one| slots.iter().map(move |other| (*one, *other))));
        let can_swap = |(one, other): &(usize, usize)| {
            child[*one] != child[*other]
                && network.slots()[*one].choices == network.slots()[*other].choices
                && region.allows(*one, child[*other])
                && region.allows(*other, child[*one])
        };
        let swaps: Vec<(usize, usize)> = pairs.filter(can_swap).collect();
        if let Some((one, other)) = swaps.choose(&mut seed.generator()) {
            child.0.swap(*one, *other);
        }
        Ok(child)
    }
}

export_plugin! {
    name: "swap-layers",
    summary: "a mutation that swaps two layers of a Block",
    operators: [SwapLayers],
}
