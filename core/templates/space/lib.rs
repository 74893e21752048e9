//! A space: Blocks of layers, each one of two convolutions or left out.

use pleach_sdk::{
    BuildSpace, Component, Context, Description, Error, Network, Result, SearchSpace, Shape,
    config, export_plugin,
    serde_json::{self, Value, json},
};

config! {
    /// Blocks of layers for the images of the run's data set.
    pub struct BlocksConfig {
        /// Channels of each Block; every Block but the first halves rows and columns.
        #[schemars(length(min = 1, max = 16))]
        pub channels: Vec<u32> = vec![16, 32],
        /// Layers of each Block when it is fully grown.
        #[schemars(range(min = 1, max = 32))]
        pub layers: usize = 3,
    }
}

/// Blocks of layers.
pub struct Blocks(Network);

impl Component for Blocks {
    type Config = BlocksConfig;
    const NAME: &'static str = "blocks";
    const SUMMARY: &'static str = "Blocks of layers, each of two convolutions or left out";

    fn example() -> BlocksConfig {
        BlocksConfig::default()
    }
}

impl BuildSpace for Blocks {
    fn build(config: BlocksConfig, context: &Context) -> Result<Self> {
        let dataset = context.dataset.as_ref();
        let cifar = Shape {
            channels: 3,
            height: 32,
            width: 32,
        };
        let input = dataset.map_or(cifar, |dataset| dataset.shape);
        let classes = dataset.map_or(10, |dataset| dataset.classes.len());
        let description: Description = serde_json::from_value(describe(&config, input, classes))
            .map_err(|error| Error::failed(format!("the description cannot be read: {error}")))?;
        Network::new(description)
            .map(Blocks)
            .map_err(|error| Error::config(error.message))
    }
}

/// The document that says what the networks are made of.
fn describe(config: &BlocksConfig, input: Shape, classes: usize) -> Value {
    let (mut slots, mut blocks, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = "input".to_owned();
    for (block, channels) in config.channels.iter().enumerate() {
        let first = slots.len();
        for layer in 0..config.layers {
            let name = format!("block{block}-layer{layer}");
            // The first layer sets the shape of its Block, so that it cannot be left out.
            let choices = match layer {
                0 => json!(["plain", "separable"]),
                _ => json!(["plain", "separable", "identity", "absent"]),
            };
            let stride = if layer == 0 && block > 0 { 2 } else { 1 };
            nodes.push(json!({
                "name": name, "inputs": [before], "apply": { "slot": slots.len() },
                "channels": channels, "stride": stride,
            }));
            slots.push(json!({ "name": name, "choices": choices }));
            before = name;
        }
        let own: Vec<usize> = (first..slots.len()).collect();
        blocks.push(json!({ "name": format!("Block {}", block + 1), "slots": own }));
    }
    nodes.push(json!({
        "name": "head", "inputs": [before], "apply": { "operation": "head" }, "channels": classes,
    }));
    json!({
        "format": 1, "name": "blocks", "input": input, "classes": classes,
        "operations": operations(), "slots": slots, "blocks": blocks, "network": nodes,
    })
}

/// What a layer can be: a sequence of primitives, which every estimator knows.
fn operations() -> Value {
    json!([
        { "name": "plain", "meaning": "sequence", "residual": true, "primitives": [
            { "convolution": { "kernel": 3, "stride": "node", "channels": "output" } },
            "batch-norm", { "activation": "relu" },
        ] },
        { "name": "separable", "meaning": "sequence", "residual": true, "primitives": [
            { "convolution":
                { "kernel": 5, "stride": "node", "groups": "depthwise", "channels": "same" } },
            "batch-norm",
            { "convolution": { "kernel": 1, "channels": "output" } },
            "batch-norm", { "activation": "relu" },
        ] },
        { "name": "identity", "meaning": "identity" },
        { "name": "absent", "meaning": "absent" },
        { "name": "head", "meaning": "sequence", "primitives": [
            "global-average", { "linear": { "features": "output" } },
        ] },
    ])
}

impl SearchSpace for Blocks {
    fn network(&self) -> &Network {
        &self.0
    }
}

export_plugin! {
    name: "{{name}}",
    summary: "a space of Blocks of layers",
    spaces: [Blocks],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::{Genome, conformance};

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_space() {
        conformance::space::<Blocks>(&Default::default()).assert();
    }

    #[test]
    fn costs_are_those_of_a_count_by_hand() {
        let config = BlocksConfig {
            channels: vec![4],
            layers: 1,
        };
        let space = Blocks::build(config, &Context::default()).expect("it is built");
        // 3 x 3 x 3 x 4 weights, 2 x 4 of the batch norm, and 4 x 10 + 10 of the head.
        let cost = space.network().cost(&Genome(vec![0]));
        assert_eq!(cost.params, 108 + 8 + 50);
        assert_eq!(cost.flops, 108 * 32 * 32 + 40);
    }
}
