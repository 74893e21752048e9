//! What holds for every space, region, genome and seed, tried on many drawn at random.

use std::{collections::BTreeSet, sync::Arc};

use pleach_sdk::{
    BuildOperator, BuildSpace, Component, Context, Genome, Network, Operator, Region, Result, SearchSpace, Seed,
    rand::seq::IndexedRandom,
};
use proptest::{prelude::*, strategy::ValueTree};

use crate::{
    BlockConfig, BlockCrossover, GrowingBlocks, GrowingBlocksConfig, Growth, Keep, NoConfig, OperationMutation,
    OperationMutationConfig, PruneConfig, UniformCrossover,
    growth::{depths, grow, is_born, region_at},
    prune::{prune, removed},
};

const OPERATIONS: [&str; 5] = ["identity", "mb3_k3", "mb3_k5", "mb6_k3", "mb6_k5"];

prop_compose! {
    /// A space of one to four Blocks, each of one to five layers.
    fn spaces()(
        blocks in prop::collection::vec((1..6_u32, 1..5_u32, 1..3_u32), 1..5),
        operations in prop::sample::subsequence(OPERATIONS.to_vec(), 2..=5),
        projection: bool,
    ) -> GrowingBlocksConfig {
        let block = |(layers, eights, stride)| BlockConfig { layers, channels: 8 * eights, stride };
        GrowingBlocksConfig {
            blocks: blocks.into_iter().map(block).collect(),
            operations: operations.into_iter().map(str::to_owned).collect(),
            projection,
            head: 16,
            ..GrowingBlocks::example()
        }
    }
}

fn built(config: GrowingBlocksConfig) -> Arc<dyn SearchSpace> {
    Arc::new(GrowingBlocks::build(config, &Context::default()).expect("the configuration is sound"))
}

/// A region of a space: some of the choices of each slot.
fn region_of(network: &Network, seed: u64) -> Region {
    let mut generator = Seed(seed).generator();
    let some = |choices: &Vec<u16>| {
        let count = 1 + (seed as usize + choices.len()) % choices.len();
        choices.choose_multiple(&mut generator, count).copied().collect()
    };
    Region::new(Region::full(network).slots().iter().map(some).collect()).expect("no slot is empty")
}

fn genomes_of(region: &Region, count: usize, seed: u64) -> Vec<Genome> {
    let mut generator = Seed(seed).derive("genomes", 0).generator();
    (0..count).map(|_| region.sample(&mut generator)).collect()
}

/// Operations that compute something, Block by Block: what a network is.
fn computing(network: &Network, genome: &Genome) -> Vec<Vec<String>> {
    let of_block = |slots: &Vec<usize>| {
        let computes = slots.iter().filter(|slot| !network.meaning(**slot, genome[**slot]).passes_through());
        computes.map(|slot| network.operation(*slot, genome[*slot]).to_owned()).collect()
    };
    network.blocks().iter().map(|block| of_block(&block.slots)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_region_holds_what_is_sampled_from_it_and_reads_back(config in spaces(), seed: u64) {
        let space = built(config);
        let network = space.network();
        let region = region_of(network, seed);
        prop_assert!(region.validate(network).is_ok());
        let genomes = genomes_of(&region, 8, seed);
        let union = Region::union_of(&genomes).expect("there are genomes");
        for genome in &genomes {
            prop_assert!(region.contains(genome) && union.contains(genome));
            prop_assert!(network.validate(genome).is_ok());
        }
        // The union is the least: every choice in it is somebody's.
        for (slot, choices) in union.slots().iter().enumerate() {
            for choice in choices {
                prop_assert!(region.allows(slot, *choice));
                prop_assert!(genomes.iter().any(|genome| genome[slot] == *choice));
            }
        }
        let text = pleach_sdk::serde_json::to_string(&region).expect("a region is JSON");
        prop_assert_eq!(pleach_sdk::serde_json::from_str::<Region>(&text).expect("it was just written"), region.clone());
        let product: f64 = region.slots().iter().map(|choices| choices.len() as f64).product();
        prop_assert_eq!(region.size(), product);
        let (least, most) = network.cost_range(&region);
        for genome in &genomes {
            let cost = network.cost(genome);
            prop_assert!(least.params <= cost.params && cost.params <= most.params);
            prop_assert!(least.flops <= cost.flops && cost.flops <= most.flops);
        }
    }

    #[test]
    fn the_canonical_form_is_a_key(config in spaces(), seed: u64) {
        let space = built(config);
        let network = space.network();
        for genome in genomes_of(&Region::full(network), 8, seed) {
            let key = space.canonical(&genome).expect("the genome is of the space");
            prop_assert!(network.validate(&key).is_ok());
            prop_assert_eq!(&space.canonical(&key).expect("so is its key"), &key, "the key of a key is itself");
            prop_assert_eq!(network.cost(&key), network.cost(&genome));
            prop_assert_eq!(computing(network, &key), computing(network, &genome));
            // Writing a layer that passes through in another way does not make another network.
            for slot in 0..genome.len() {
                for choice in 0..network.slots()[slot].choices.len() as u16 {
                    let mut other = genome.clone();
                    other.0[slot] = choice;
                    let passes = |genome: &Genome| network.meaning(slot, genome[slot]).passes_through();
                    if passes(&genome) && passes(&other) {
                        prop_assert_eq!(&space.canonical(&other).expect("it is of the space"), &key);
                    }
                }
            }
        }
    }

    #[test]
    fn the_aligned_form_is_the_same_network_inside_the_region(config in spaces(), seed: u64) {
        let space = built(config);
        let network = space.network();
        let region = region_of(network, seed);
        for genome in genomes_of(&region, 8, seed) {
            let aligned = network.aligned(&genome, &region);
            prop_assert!(region.contains(&aligned));
            prop_assert_eq!(network.canonical(&aligned), network.canonical(&genome));
            prop_assert_eq!(network.aligned(&aligned, &region), aligned);
        }
    }

    #[test]
    fn children_lie_inside_the_region_and_have_their_genes_from_somewhere(config in spaces(), seed: u64, rate in 0.0..=1.0) {
        let space = built(config);
        let network = space.network();
        let region = region_of(network, seed);
        // Parents may come from before the region was narrowed.
        for parents in [genomes_of(&region, 2, seed), genomes_of(&Region::full(network), 2, seed)] {
            let are_inside = parents.iter().all(|parent| region.contains(parent));
            let crossovers: [Arc<dyn Operator>; 2] = [
                Arc::new(UniformCrossover),
                Arc::new(BlockCrossover::build(NoConfig {}, Arc::clone(&space), &Context::default()).expect("it builds")),
            ];
            for crossover in crossovers {
                let child = crossover.vary(&parents, &region, Seed(seed)).expect("nothing can fail");
                prop_assert!(region.contains(&child));
                prop_assert_eq!(&crossover.vary(&parents, &region, Seed(seed)).expect("nothing can fail"), &child);
                if are_inside {
                    prop_assert!((0..child.len()).all(|slot| parents.iter().any(|parent| parent[slot] == child[slot])));
                }
            }
            let mutation = OperationMutation::build(OperationMutationConfig { rate }, Arc::clone(&space), &Context::default());
            let mutation = mutation.expect("it builds");
            let child = mutation.vary(&parents[..1], &region, Seed(seed)).expect("nothing can fail");
            prop_assert!(region.contains(&child));
            prop_assert_eq!(&mutation.vary(&parents[..1], &region, Seed(seed)).expect("nothing can fail"), &child);
            if are_inside && region.size() > 1.0 {
                prop_assert_ne!(&child, &parents[0]);
            }
        }
    }

    #[test]
    fn pruning_narrows_and_keeps_the_best(config in spaces(), seed: u64, count in 1..8_usize, votes in 1..9_usize) {
        let region = region_of(built(config).network(), seed);
        let elites = genomes_of(&region, count, seed);
        for keep in [Keep::All, Keep::Best, Keep::Union, Keep::Vote] {
            let pruned = prune(&region, &elites, &PruneConfig { keep, votes, top: count }).expect("nothing can fail");
            for (slot, choices) in pruned.slots().iter().enumerate() {
                prop_assert!(choices.iter().all(|choice| region.allows(slot, *choice)), "{keep:?}");
            }
            let kept = elites.iter().filter(|elite| pruned.contains(elite)).count();
            match keep {
                Keep::All | Keep::Union => prop_assert_eq!(kept, count),
                Keep::Best => prop_assert!(pruned.contains(&elites[0]) && pruned.size() == 1.0),
                Keep::Vote => {}
            }
            let gone: usize = removed(&region, &pruned).iter().map(Vec::len).sum();
            let choices = |region: &Region| region.slots().iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(choices(&region) - choices(&pruned), gone);
        }
    }

    #[test]
    fn growing_ends_with_every_layer_and_never_brings_back_what_was_pruned(
        config in spaces(), seed: u64, at_start in 1..4_usize, step in 1..3_usize, one: bool,
    ) {
        let space = built(config);
        let network = space.network();
        let growth = if one { Growth::OneBlock } else { Growth::AllBlocks };
        let stages = depths(network, growth, at_start, step);
        let full: Vec<usize> = network.blocks().iter().map(|block| block.slots.len()).collect();
        prop_assert_eq!(stages.last(), Some(&full));
        let mut region = region_at(network, &stages[0]).expect("no slot is empty");
        for (index, pair) in stages.windows(2).enumerate() {
            let elites = genomes_of(&region, 3, seed.wrapping_add(index as u64));
            let pruned = prune(&region, &elites, &PruneConfig::default()).expect("nothing can fail");
            let (wider, grown) = grow(network, &pruned, &pair[0], &pair[1]).expect("no slot is empty");
            prop_assert!(!grown.is_empty() && pair[0] != pair[1]);
            for slot in 0..network.slots().len() {
                if grown.contains(&slot) {
                    prop_assert!(is_born(network, &pair[1], slot) && !is_born(network, &pair[0], slot));
                    prop_assert!(wider.allowed(slot).iter().all(|choice| Some(*choice) != network.absent(slot)));
                } else {
                    prop_assert_eq!(wider.allowed(slot), pruned.allowed(slot));
                }
            }
            region = wider;
        }
        prop_assert!((0..network.slots().len()).all(|slot| is_born(network, &full, slot)));
    }

    #[test]
    fn a_network_taken_to_a_deeper_space_and_back_is_the_same(
        blocks in prop::collection::vec((1..4_u32, 0..3_u32), 1..4), projection: bool, seed: u64,
    ) {
        let space = |deeper: bool| {
            let layers = |(layers, more): (u32, u32)| layers + if deeper { more } else { 0 };
            let block = |it| BlockConfig { layers: layers(it), channels: if deeper { 16 } else { 8 }, stride: 2 };
            built(GrowingBlocksConfig {
                blocks: blocks.iter().copied().map(block).collect(),
                operations: OPERATIONS.map(str::to_owned).to_vec(),
                projection,
                head: 16,
                ..GrowingBlocks::example()
            })
        };
        let (here, there) = (space(false), space(true));
        let (here, there) = (here.network(), there.network());
        for genome in genomes_of(&Region::complete(here), 8, seed) {
            let taken: Result<Genome> = here.transferred(&genome, there);
            // A layer that changes shapes passes nothing through, so it can always be filled.
            let Ok(taken) = taken else { continue };
            prop_assert!(there.validate(&taken).is_ok());
            prop_assert_eq!(computing(there, &taken), computing(here, &genome));
            let back = there.transferred(&taken, here).expect("there was room before");
            prop_assert_eq!(here.canonical(&back), here.canonical(&genome));
        }
    }
}

#[test]
fn drawn_spaces_differ() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let config = spaces().new_tree(&mut runner).expect("a space can be drawn").current();
        seen.insert(built(config).network().slots().len());
    }
    assert!(seen.len() > 5, "{seen:?}");
}
