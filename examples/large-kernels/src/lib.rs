//! A space of layers with large kernels, which no shipped plugin has heard of: they are described
//! as sequences of primitives, and every estimator that builds descriptions can build them.

use pleach_sdk::{
    BuildSpace, Component, Context, Description, Error, Network, Result, SearchSpace, Shape, config, export_plugin,
    serde_json::{self, Value, json},
};

config! {
    /// Blocks of layers that look far: depthwise convolutions of 7 or 13 pixels (as of ConvNeXt and
    /// RepLKNet), or a decomposed one of 21 (as of the Visual Attention Network), each followed by a
    /// pointwise convolution.
    pub struct LargeKernelsConfig {
        /// Channels of each Block; every Block halves rows and columns but the first.
        #[schemars(length(min = 1, max = 16))]
        pub channels: Vec<u32> = vec![16, 32, 64],
        /// Layers of each Block when it is fully grown.
        #[schemars(range(min = 1, max = 32))]
        pub layers: usize = 3,
    }
}

/// Blocks of layers with large kernels.
pub struct LargeKernels(Network);

impl Component for LargeKernels {
    type Config = LargeKernelsConfig;
    const NAME: &'static str = "large-kernels";
    const SUMMARY: &'static str = "Blocks of layers with kernels of 7, 13 and 21 pixels that can grow";

    fn example() -> LargeKernelsConfig {
        LargeKernelsConfig::default()
    }
}

impl BuildSpace for LargeKernels {
    fn build(config: LargeKernelsConfig, context: &Context) -> Result<Self> {
        let dataset = context.dataset.as_ref();
        let input = dataset.map_or(Shape { channels: 3, height: 32, width: 32 }, |dataset| dataset.shape);
        let classes = dataset.map_or(10, |dataset| dataset.classes.len());
        let description: Description = serde_json::from_value(describe(&config, input, classes))
            .map_err(|error| Error::failed(format!("the description cannot be read: {error}")))?;
        Network::new(description).map(LargeKernels).map_err(|error| Error::config(error.message))
    }
}

fn describe(config: &LargeKernelsConfig, input: Shape, classes: usize) -> Value {
    let stem = json!({
        "name": "stem", "inputs": ["input"], "apply": { "operation": "stem" }, "channels": config.channels[0],
    });
    let (mut slots, mut blocks, mut nodes) = (Vec::new(), Vec::new(), vec![stem]);
    let mut before = "stem".to_owned();
    for (block, channels) in config.channels.iter().enumerate() {
        let first = slots.len();
        for layer in 0..config.layers {
            let name = format!("block{block}.layer{layer}");
            // The first layer sets the shape of its Block; the others can be unborn or left out.
            let choices = match layer {
                0 => json!(["far7", "far13", "far21"]),
                _ => json!(["identity", "far7", "far13", "far21", "absent"]),
            };
            nodes.push(json!({
                "name": name, "inputs": [before], "apply": { "slot": slots.len() }, "channels": channels,
                "stride": if layer == 0 && block > 0 { 2 } else { 1 },
            }));
            slots.push(json!({ "name": name, "choices": choices }));
            before = name;
        }
        blocks.push(json!({
            "name": format!("Block {}", block + 1), "slots": (first..slots.len()).collect::<Vec<_>>(),
        }));
    }
    nodes.push(
        json!({ "name": "head", "inputs": [before], "apply": { "operation": "head" }, "channels": classes }),
    );
    json!({
        "format": 1, "name": "large-kernels", "input": input, "classes": classes,
        "operations": operations(), "slots": slots, "blocks": blocks, "network": nodes,
    })
}

/// A depthwise convolution.
fn far(kernel: u32, dilation: u32, stride: &str) -> Value {
    json!({ "convolution": {
        "kernel": kernel, "dilation": dilation, "stride": stride, "groups": "depthwise", "channels": "same",
    } })
}

fn operations() -> Value {
    let layer = |name: &str, looks: Vec<Value>| {
        let pointwise = [
            json!("batch-norm"),
            json!({ "convolution": { "kernel": 1, "channels": "output" } }),
            json!("batch-norm"),
            json!({ "activation": "gelu" }),
        ];
        let primitives: Vec<Value> = looks.into_iter().chain(pointwise).collect();
        json!({ "name": name, "meaning": "sequence", "residual": true, "primitives": primitives })
    };
    json!([
        { "name": "stem", "meaning": "sequence", "primitives": [
            { "convolution": { "kernel": 3, "stride": "node", "channels": "output" } }, "batch-norm",
            { "activation": "gelu" },
        ] },
        layer("far7", vec![far(7, 1, "node")]),
        layer("far13", vec![far(13, 1, "node")]),
        // 5 x 5, then 7 x 7 with holes: together they see 5 + (7 - 1) * 3 = 23 pixels.
        layer("far21", vec![far(5, 1, "node"), far(7, 3, "one")]),
        { "name": "identity", "meaning": "identity" },
        { "name": "absent", "meaning": "absent" },
        { "name": "head", "meaning": "sequence", "primitives": [
            "global-average", { "linear": { "features": "output" } },
        ] },
    ])
}

impl SearchSpace for LargeKernels {
    fn network(&self) -> &Network {
        &self.0
    }
}

export_plugin! {
    name: "large-kernels",
    summary: "a space of layers with large kernels",
    spaces: [LargeKernels],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::{Genome, conformance};

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_space() {
        conformance::space::<LargeKernels>(&Default::default()).assert();
    }

    #[test]
    fn costs_are_those_of_a_count_by_hand() {
        let config = LargeKernelsConfig { channels: vec![8], layers: 1 };
        let space = LargeKernels::build(config, &Context::default()).expect("it is built");
        let params = |choice| space.network().cost(&Genome(vec![choice])).params;
        // Stem 3 x 3 x 3 x 8 and its batch norm, head 8 x 10 + 10; of each layer two batch norms
        // and the pointwise convolution 8 x 8.
        let around = 216 + 16 + 90 + 16 + 64 + 16;
        assert_eq!([0, 1, 2].map(params), [49, 169, 25 + 49].map(|taps| around + 8 * taps));
    }
}
