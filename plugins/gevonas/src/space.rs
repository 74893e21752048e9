//! The space `gevonas/growing-blocks`: Blocks of layers that can be unborn.

use pleach_sdk::{
    BuildSpace, Component, Context, Description, Error, Network, Result, SearchSpace, Shape, config,
    description::{Activation, Apply, Block, Combine, DESCRIPTION_FORMAT, Node, Operation, Slot},
};

use crate::layers::{self, LayerKind};

config! {
    /// A network of Blocks, one a resolution, between a stem and a head.
    ///
    /// The defaults are a space for CIFAR of 3 Blocks with up to 6 layers each.
    pub struct GrowingBlocksConfig {
        /// The 3 x 3 convolution before the first Block.
        pub stem: StemConfig = StemConfig::default(),
        /// The Blocks, from input to output.
        #[schemars(length(min = 1, max = 64))]
        pub blocks: Vec<BlockConfig> = default_blocks(),
        /// What each layer chooses from: `identity`, `mbE_kK`, `mbE_kK_se` with expansion E and
        /// kernel K. The first layer of a Block, which sets its shape, leaves `identity` out.
        #[schemars(length(min = 1, max = 256))]
        pub operations: Vec<String> = words(&["identity", "mb3_k3", "mb3_k5", "mb3_k7", "mb6_k3", "mb6_k5", "mb6_k7"]),
        /// Whether the first layer of a Block has a 1 x 1 convolution in the place of `identity`,
        /// as in NAS-Bench-Macro.
        pub projection: bool = false,
        /// Channels of the 1 x 1 convolution before the mean over pixels.
        #[schemars(range(min = 1, max = 65536))]
        pub head: u32 = 1280,
        /// The function after convolutions.
        pub activation: Activation = Activation::Relu,
        /// The shape of an image; without it that of the run's data set.
        pub input: Option<Shape> = None,
        /// How many classes; without it those of the run's data set.
        pub classes: Option<u32> = None,
    }
}

config! {
    /// The convolution before the first Block.
    pub struct StemConfig {
        /// Channels that come out.
        #[schemars(range(min = 1, max = 65536))]
        pub channels: u32 = 32,
        /// Stride, in pixels.
        #[schemars(range(min = 1, max = 8))]
        pub stride: u32 = 1,
    }
}

config! {
    /// A Block: layers of one resolution.
    pub struct BlockConfig {
        /// Layers when it is fully grown.
        #[schemars(range(min = 1, max = 64))]
        pub layers: u32,
        /// Channels of each layer.
        #[schemars(range(min = 1, max = 65536))]
        pub channels: u32,
        /// Stride of the first layer, in pixels.
        #[schemars(range(min = 1, max = 8))]
        pub stride: u32,
    }
}

fn default_blocks() -> Vec<BlockConfig> {
    [(32, 1), (64, 2), (128, 2)].map(|(channels, stride)| BlockConfig { layers: 6, channels, stride }).to_vec()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A network of Blocks.
pub struct GrowingBlocks(Network);

impl Component for GrowingBlocks {
    type Config = GrowingBlocksConfig;
    const NAME: &'static str = "growing-blocks";
    const SUMMARY: &'static str = "Blocks of MBConv layers that can grow";

    fn example() -> GrowingBlocksConfig {
        let input = Shape { channels: 3, height: 32, width: 32 };
        GrowingBlocksConfig { input: Some(input), classes: Some(10), ..GrowingBlocksConfig::default() }
    }
}

impl BuildSpace for GrowingBlocks {
    fn build(config: GrowingBlocksConfig, context: &Context) -> Result<Self> {
        let dataset = context.dataset.as_ref();
        let input = agreed("input", config.input, dataset.map(|dataset| dataset.shape))?;
        let classes = agreed("classes", config.classes, dataset.map(|dataset| dataset.classes.len() as u32))?;
        let description = Builder::new(&config)?.describe(input, classes);
        Network::new(description).map(GrowingBlocks).map_err(|error| Error::config(error.message))
    }
}

impl SearchSpace for GrowingBlocks {
    fn network(&self) -> &Network {
        &self.0
    }
}

/// What the configuration says, or the data set, if they do not disagree.
fn agreed<T: PartialEq + std::fmt::Display>(key: &str, configured: Option<T>, of_dataset: Option<T>) -> Result<T> {
    let wrong = |message: String| Err(Error::config(message).at(format!("/{key}")));
    match (configured, of_dataset) {
        (Some(configured), Some(of_dataset)) if configured != of_dataset => {
            wrong(format!("`{key}` is {configured}, the data set has {of_dataset}: leave it out or correct it"))
        }
        (Some(agreed), _) | (None, Some(agreed)) => Ok(agreed),
        (None, None) => wrong(format!("`{key}` is not given and the run has no data set to take it from")),
    }
}

/// Collects slots and nodes while it walks from stem to head.
struct Builder<'a> {
    config: &'a GrowingBlocksConfig,
    kinds: Vec<(String, LayerKind)>,
    slots: Vec<Slot>,
    blocks: Vec<Block>,
    network: Vec<Node>,
}

impl<'a> Builder<'a> {
    fn new(config: &'a GrowingBlocksConfig) -> Result<Self> {
        let mut kinds: Vec<(String, LayerKind)> = Vec::new();
        for (index, name) in config.operations.iter().enumerate() {
            let place = format!("/operations/{index}");
            let kind = LayerKind::parse(name).map_err(|error| error.at(place.clone()))?;
            if kinds.iter().any(|(known, _)| known == name) {
                return Err(Error::config(format!("`{name}` is given twice")).at(place));
            }
            kinds.push((name.clone(), kind));
        }
        if kinds.iter().all(|(_, kind)| *kind == LayerKind::Identity) {
            return Err(
                Error::config("a layer needs an operation other than identity, such as mb3_k3").at("/operations")
            );
        }
        Ok(Builder { config, kinds, slots: Vec::new(), blocks: Vec::new(), network: Vec::new() })
    }

    fn describe(mut self, input: Shape, classes: u32) -> Description {
        let config = self.config;
        self.node("stem", Apply::Operation("stem".to_owned()), Some(config.stem.channels), config.stem.stride);
        for (index, block) in config.blocks.iter().enumerate() {
            self.block(index + 1, block);
        }
        self.node("head", Apply::Operation("head".to_owned()), Some(classes), 1);
        Description {
            format: DESCRIPTION_FORMAT,
            name: "growing-blocks".to_owned(),
            input,
            classes,
            operations: self.operations(),
            slots: self.slots,
            blocks: self.blocks,
            network: self.network,
        }
    }

    fn block(&mut self, number: usize, block: &BlockConfig) {
        let first: Vec<String> = self
            .kinds
            .iter()
            .filter_map(|(name, kind)| match kind {
                LayerKind::Identity => self.config.projection.then(|| "projection".to_owned()),
                LayerKind::MbConv { .. } => Some(name.clone()),
            })
            .collect();
        // Absent comes last, so that genomes keep the digits of the configured operations.
        let later: Vec<String> = self.config.operations.iter().cloned().chain(["absent".to_owned()]).collect();
        let mut slots = Vec::new();
        for layer in 1..=block.layers {
            let name = format!("block{number}.layer{layer}");
            slots.push(self.slots.len());
            let (choices, stride) = if layer == 1 { (first.clone(), block.stride) } else { (later.clone(), 1) };
            self.node(&name, Apply::Slot(self.slots.len()), Some(block.channels), stride);
            self.slots.push(Slot { name, choices });
        }
        self.blocks.push(Block { name: format!("Block {number}"), slots });
    }

    fn node(&mut self, name: &str, apply: Apply, channels: Option<u32>, stride: u32) {
        let input = self.network.last().map_or("input".to_owned(), |before| before.name.clone());
        let node = Node { name: name.to_owned(), inputs: vec![input], combine: Combine::Sum, apply, channels, stride };
        self.network.push(node);
    }

    fn operations(&self) -> Vec<Operation> {
        let activation = self.config.activation;
        let mut operations = vec![layers::stem(activation)];
        operations.extend(self.kinds.iter().map(|(name, kind)| kind.operation(name, activation)));
        operations.extend([layers::projection(), layers::absent(), layers::head(self.config.head, activation)]);
        operations
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeSet, path::PathBuf};

    use super::*;
    use pleach_sdk::{Cost, Genome, serde_json};

    /// The space of NAS-Bench-Macro (Su et al. 2021).
    pub(crate) fn nas_bench_macro() -> GrowingBlocks {
        let block = |layers, channels| BlockConfig { layers, channels, stride: 2 };
        let config = GrowingBlocksConfig {
            blocks: vec![block(2, 64), block(3, 128), block(3, 256)],
            operations: words(&["identity", "mb3_k3", "mb6_k5"]),
            projection: true,
            ..GrowingBlocks::example()
        };
        GrowingBlocks::build(config, &Context::default()).expect("the configuration is sound")
    }

    /// A network of the published table.
    pub(crate) struct Entry {
        pub(crate) genome: Genome,
        /// In percent, over three trainings.
        pub(crate) mean_accuracy: f64,
        pub(crate) cost: Cost,
    }

    /// The published table; `None`, said loudly, where the data is not there.
    pub(crate) fn table() -> Option<Vec<Entry>> {
        let folder = std::env::var_os("PLEACH_TEST_DATA")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
        let path = folder.join("nas-bench-macro/nas-bench-macro_cifar10.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", path.display());
            return None;
        };
        let table: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("the table is JSON");
        let number = |value: &serde_json::Value| value.as_f64().expect("the table has numbers");
        let entry = |(key, entry): (&String, &serde_json::Value)| {
            let genome = Genome(key.bytes().map(|digit| u16::from(digit - b'0')).collect());
            let cost = Cost::new(number(&entry["params"]) as u64, number(&entry["flops"]) as u64);
            Entry { genome, mean_accuracy: number(&entry["mean_acc"]), cost }
        };
        Some(table.iter().map(entry).collect())
    }

    #[test]
    fn every_network_of_nas_bench_macro_costs_what_its_table_says() {
        let Some(table) = table() else { return };
        let space = nas_bench_macro();
        let mut canonical = BTreeSet::new();
        for Entry { genome, cost, .. } in &table {
            assert_eq!(space.network().cost(genome), *cost, "{genome}");
            canonical.insert(space.canonical(genome).expect("the genome is of the space"));
        }
        assert_eq!(table.len(), 6561);
        assert_eq!(canonical.len(), 3969);
    }

    #[test]
    fn costs_of_one_network_are_those_of_the_published_table() {
        // The entry `22212220` of NAS-Bench-Macro, its best network.
        let cost = nas_bench_macro().network().cost(&Genome(vec![2, 2, 2, 1, 2, 2, 2, 0]));
        assert_eq!(cost, Cost::new(BEST.0, BEST.1));
    }

    const BEST: (u64, u64) = (1_985_514, 85_164_544);

    #[test]
    fn what_cannot_be_built_is_refused_with_its_place() {
        let check = |change: fn(&mut GrowingBlocksConfig), place: &str, expected: &str| {
            let mut config = GrowingBlocks::example();
            change(&mut config);
            let error = GrowingBlocks::build(config, &Context::default()).err().expect("it is not sound");
            assert_eq!(error.place.as_deref(), Some(place), "{error}");
            assert!(error.message.contains(expected), "{error}");
        };
        check(|config| config.operations[2] = "mb3k5".to_owned(), "/operations/2", "unknown operation `mb3k5`");
        check(|config| config.operations[2] = "mb3_k3".to_owned(), "/operations/2", "given twice");
        check(|config| config.operations.truncate(1), "/operations", "other than identity");
        check(|config| config.input = None, "/input", "no data set to take it from");
        check(|config| config.classes = None, "/classes", "no data set to take it from");
    }
}
