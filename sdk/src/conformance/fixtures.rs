//! Small spaces, images and operators to build components over: what the conformance kit uses
//! where nothing else is given, and what a plugin's own tests may use.

use std::sync::Arc;

use rand::Rng;
use serde_json::json;

use crate::{
    dataset::{Dataset, DatasetInfo, Split},
    description::{Description, Shape},
    error::{Error, Result},
    network::Network,
    objective::{Goal, Objective, Objectives},
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::{Genome, Region, SearchSpace},
};

/// A space that is a description and nothing else.
struct Described(Network);

impl SearchSpace for Described {
    fn network(&self) -> &Network {
        &self.0
    }
}

fn described(document: serde_json::Value) -> Arc<dyn SearchSpace> {
    let description: Description = serde_json::from_value(document).expect("the kit's documents are descriptions");
    Arc::new(Described(Network::new(description).expect("the kit's descriptions resolve")))
}

/// Two Blocks of three layers for images of 3 x 8 x 8 and 2 classes. The first layer of a Block
/// is a small or a large convolution; the others can also be `identity`, or `absent`.
pub fn chain() -> Arc<dyn SearchSpace> {
    let first = ["small", "large"];
    let other = ["absent", "identity", "small", "large"];
    let (mut slots, mut network) = (Vec::new(), Vec::new());
    let mut before = "input".to_owned();
    for block in 0..2 {
        for layer in 0..3 {
            let name = format!("block{block}-layer{layer}");
            let (choices, stride) = if layer == 0 { (&first[..], 1 + block) } else { (&other[..], 1) };
            network.push(json!({
                "name": name, "inputs": [before], "apply": { "slot": slots.len() }, "channels": 4 + 4 * block,
                "stride": stride,
            }));
            slots.push(json!({ "name": name, "choices": choices }));
            before = name;
        }
    }
    network.push(json!({ "name": "head", "inputs": [before], "apply": { "operation": "head" }, "channels": 2 }));
    described(json!({
        "format": 1, "name": "chain", "input": { "channels": 3, "height": 8, "width": 8 }, "classes": 2,
        "operations": operations(),
        "slots": slots,
        "blocks": [{ "name": "Block 1", "slots": [0, 1, 2] }, { "name": "Block 2", "slots": [3, 4, 5] }],
        "network": network,
    }))
}

/// A graph of three vertices in the manner of NAS-Bench-201 for images of 3 x 8 x 8 and 2
/// classes, twice one after the other with the same genes: edges can be cut.
pub fn cell() -> Arc<dyn SearchSpace> {
    let choices = json!(["zero", "identity", "small", "pool"]);
    let mut network = Vec::new();
    let mut before = "input".to_owned();
    for cell in 0..2 {
        let edge = |slot: usize, from: &str| {
            json!({
                "name": format!("cell{cell}-edge{slot}"), "inputs": [from], "apply": { "slot": slot },
                "channels": 3,
            })
        };
        let [first, second, third] = [0, 1, 2].map(|slot| format!("cell{cell}-edge{slot}"));
        network.extend([edge(0, &before), edge(1, &before), edge(2, &first)]);
        let sum = format!("cell{cell}-sum");
        network.push(json!({ "name": sum, "inputs": [second, third], "apply": { "operation": "identity" } }));
        before = sum;
    }
    network.push(json!({ "name": "head", "inputs": [before], "apply": { "operation": "head" }, "channels": 2 }));
    let slot = |name: &str| json!({ "name": name, "choices": choices });
    described(json!({
        "format": 1, "name": "cell", "input": { "channels": 3, "height": 8, "width": 8 }, "classes": 2,
        "operations": operations(),
        "slots": [slot("0 to 1"), slot("0 to 2"), slot("1 to 2")],
        "blocks": [{ "name": "Cell", "slots": [0, 1, 2] }],
        "network": network,
    }))
}

/// A space of one network: two layers with one choice each.
pub fn single() -> Arc<dyn SearchSpace> {
    described(json!({
        "format": 1, "name": "single", "input": { "channels": 3, "height": 8, "width": 8 }, "classes": 2,
        "operations": operations(),
        "slots": [{ "name": "first", "choices": ["small"] }, { "name": "second", "choices": ["large"] }],
        "blocks": [{ "name": "Block 1", "slots": [0, 1] }],
        "network": [
            { "name": "first", "inputs": ["input"], "apply": { "slot": 0 }, "channels": 4 },
            { "name": "second", "inputs": ["first"], "apply": { "slot": 1 }, "channels": 4 },
            { "name": "head", "inputs": ["second"], "apply": { "operation": "head" }, "channels": 2 },
        ],
    }))
}

fn operations() -> serde_json::Value {
    let convolution = |name: &str, kernel: u32| {
        json!({
            "name": name, "meaning": "sequence", "residual": true,
            "primitives": [
                { "convolution": { "kernel": kernel, "stride": "node", "channels": "output" } },
                "batch-norm", { "activation": "relu" },
            ],
        })
    };
    json!([
        { "name": "absent", "meaning": "absent" },
        { "name": "identity", "meaning": "identity" },
        { "name": "zero", "meaning": "zero" },
        convolution("small", 1),
        convolution("large", 3),
        { "name": "pool", "meaning": "sequence", "primitives": [{ "pool": { "kind": "average", "kernel": 3 } }] },
        { "name": "head", "meaning": "sequence", "primitives": ["global-average", { "linear": { "features": "output" } }] },
    ])
}

/// The spaces that a component is built over: [`chain`] first, then [`cell`].
pub fn spaces() -> Vec<Arc<dyn SearchSpace>> {
    vec![chain(), cell()]
}

/// Genomes that are not of a space, and why not.
pub(super) fn foreign_genomes(space: &dyn SearchSpace) -> Vec<(&'static str, Genome)> {
    let genome = Region::full(space.network()).sample(&mut Seed(1).generator());
    let (mut short, mut long, mut beyond) = (genome.clone(), genome.clone(), genome);
    short.0.pop();
    long.0.push(0);
    beyond.0[0] = u16::MAX;
    vec![
        ("a genome with one gene too few", short),
        ("a genome with one gene too many", long),
        ("a genome with a choice that does not exist", beyond),
    ]
}

/// 96 training and 16 test images of 3 x 8 x 8, dark or light, with noise.
pub fn dataset() -> Arc<dyn Dataset> {
    let shape = Shape { channels: 3, height: 8, width: 8 };
    let classes = vec!["dark".to_owned(), "light".to_owned()];
    Arc::new(Patches(DatasetInfo { name: "patches".to_owned(), shape, classes, train: 96, test: 16, views: false }))
}

struct Patches(DatasetInfo);

impl Dataset for Patches {
    fn info(&self) -> &DatasetInfo {
        &self.0
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        let bytes = self.0.image_bytes();
        if images.len() != indices.len() * bytes || labels.len() != indices.len() {
            return Err(Error::failed("the buffers do not fit the indices"));
        }
        for ((index, image), label) in indices.iter().zip(images.chunks_mut(bytes)).zip(labels) {
            if *index >= self.0.len(split) {
                return Err(Error::failed(format!("there is no image {index}")));
            }
            let mut generator = Seed(u64::from(split.number())).derive("image", *index).generator();
            *label = generator.random_range(0..2);
            image.fill_with(|| generator.random_range(0..128) + if *label == 0 { 0 } else { 128 });
        }
        Ok(())
    }
}

/// A mutation and a crossover, with the names `conformance/mutation` and `conformance/crossover`.
pub fn operators() -> Vec<WeightedOperator> {
    let operator = |name: &str, arity| WeightedOperator {
        name: format!("conformance/{name}"),
        weight: 0.5,
        operator: Arc::new(Redraw(arity)),
    };
    vec![operator("mutation", 1), operator("crossover", 2)]
}

/// Takes genes from its parents where the region allows them, and draws one anew.
struct Redraw(usize);

impl Operator for Redraw {
    fn arity(&self) -> usize {
        self.0
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        let mut child = region.sample(&mut generator);
        let anew = generator.random_range(0..child.len());
        for slot in (0..child.len()).filter(|slot| *slot != anew) {
            let gene = parents[generator.random_range(0..parents.len())][slot];
            if region.allows(slot, gene) {
                child.0[slot] = gene;
            }
        }
        Ok(child)
    }
}

fn objective(name: &str, goal: Goal) -> Objective {
    Objective { name: name.to_owned(), goal: Some(goal), at_most: None, at_least: None }
}

/// Accuracy, to maximise.
pub fn accuracy() -> Objectives {
    Objectives(vec![objective("accuracy", Goal::Maximise)])
}

/// Accuracy to maximise and parameters to minimise.
pub fn accuracy_and_params() -> Objectives {
    Objectives(vec![objective("accuracy", Goal::Maximise), objective("params", Goal::Minimise)])
}
