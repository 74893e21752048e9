//! Growth: which layers are born in which stage.

use pleach_sdk::{
    Network, Region, Result,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// What a stage adds. The paper's abstract, "gradually deepening the different Blocks", allows
/// both readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Growth {
    /// Layers in every Block.
    AllBlocks,
    /// Layers in one Block, the Blocks taking turns.
    OneBlock,
}

/// The depth of each Block in each stage; the last stage has all layers.
pub(crate) fn depths(network: &Network, growth: Growth, at_start: usize, step: usize) -> Vec<Vec<usize>> {
    let full: Vec<usize> = network.blocks().iter().map(|block| block.slots.len()).collect();
    // Layers that cannot be absent are there from the start.
    let can_grow = |block: usize, depth: usize| {
        network.blocks()[block].slots[depth..].iter().any(|slot| network.absent(*slot).is_some())
    };
    let start =
        |block: usize| if can_grow(block, full[block].min(at_start)) { full[block].min(at_start) } else { full[block] };
    let mut stages: Vec<Vec<usize>> = vec![(0..full.len()).map(start).collect()];
    let mut turn = 0;
    loop {
        let depths = stages.last().expect("there is a first stage").clone();
        if depths == full {
            return stages;
        }
        let mut next = depths.clone();
        match growth {
            Growth::AllBlocks => {
                for (depth, full) in next.iter_mut().zip(&full) {
                    *depth = (*depth + step).min(*full);
                }
            }
            Growth::OneBlock => {
                while depths[turn % full.len()] == full[turn % full.len()] {
                    turn += 1;
                }
                let block = turn % full.len();
                next[block] = (next[block] + step).min(full[block]);
                turn += 1;
            }
        }
        stages.push(next);
    }
}

/// Whether a slot's layer is born at these depths.
pub(crate) fn is_born(network: &Network, depths: &[usize], slot: usize) -> bool {
    let of_block = network.blocks().iter().zip(depths).find_map(|(block, depth)| {
        let layer = block.slots.iter().position(|own| *own == slot)?;
        Some(layer < *depth)
    });
    of_block.unwrap_or(true) || network.absent(slot).is_none()
}

/// The region at some depths, with nothing pruned: every choice but `absent` where a layer is
/// born, `absent` alone where it is not.
pub(crate) fn region_at(network: &Network, depths: &[usize]) -> Result<Region> {
    let complete = Region::complete(network);
    let allowed = |slot: usize| match network.absent(slot) {
        Some(absent) if !is_born(network, depths, slot) => vec![absent],
        _ => complete.allowed(slot).to_vec(),
    };
    Region::new((0..network.slots().len()).map(allowed).collect())
}

/// A pruned region, widened where layers are born between two stages; and those slots.
pub(crate) fn grow(
    network: &Network,
    pruned: &Region,
    before: &[usize],
    after: &[usize],
) -> Result<(Region, Vec<usize>)> {
    let wide = region_at(network, after)?;
    let grown: Vec<usize> = (0..network.slots().len())
        .filter(|slot| !is_born(network, before, *slot) && is_born(network, after, *slot))
        .collect();
    let allowed = |slot: usize| if grown.contains(&slot) { wide.allowed(slot) } else { pruned.allowed(slot) }.to_vec();
    Ok((Region::new((0..network.slots().len()).map(allowed).collect())?, grown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::nas_bench_macro;
    use pleach_sdk::SearchSpace;

    #[test]
    fn blocks_grow_to_their_full_depth() {
        let space = nas_bench_macro();
        let check = |growth, at_start, step, expected: &[[usize; 3]]| {
            assert_eq!(depths(space.network(), growth, at_start, step), expected);
        };
        check(Growth::AllBlocks, 1, 1, &[[1, 1, 1], [2, 2, 2], [2, 3, 3]]);
        check(Growth::AllBlocks, 1, 2, &[[1, 1, 1], [2, 3, 3]]);
        check(Growth::AllBlocks, 9, 1, &[[2, 3, 3]]);
        check(Growth::OneBlock, 1, 1, &[[1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2], [2, 3, 2], [2, 3, 3]]);
        check(Growth::OneBlock, 2, 1, &[[2, 2, 2], [2, 3, 2], [2, 3, 3]]);
    }

    #[test]
    fn what_is_not_born_is_absent_and_what_is_born_is_open() {
        let space = nas_bench_macro();
        let region = region_at(space.network(), &[1, 2, 1]).expect("no slot is empty");
        let open = vec![0, 1, 2];
        let absent = vec![3];
        assert_eq!(region.slots(), [&open, &absent, &open, &open, &absent, &open, &absent, &absent].map(Vec::clone));
    }

    #[test]
    fn growing_keeps_what_was_pruned_and_opens_what_is_born() {
        let space = nas_bench_macro();
        let pruned = Region::new([&[1][..], &[3], &[0, 2], &[3], &[3], &[2], &[3], &[3]].map(<[u16]>::to_vec).to_vec());
        let pruned = pruned.expect("no slot is empty");
        let (region, grown) = grow(space.network(), &pruned, &[1, 1, 1], &[2, 1, 1]).expect("no slot is empty");
        assert_eq!(grown, [1]);
        assert_eq!(region, pruned.with_slot(1, vec![0, 1, 2]).expect("slot 1 is there"));
    }
}
