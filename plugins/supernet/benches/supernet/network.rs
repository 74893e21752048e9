//! The networks that are timed, and images for them.

use pleach_sdk::{
    Dataset, DatasetInfo, Description, Network, Result, SearchSpace, Seed, Shape, Split,
    description::{
        Activation, Apply, Block, Combine, DESCRIPTION_FORMAT, Groups, Meaning, Node, Operation, Primitive, Slot,
        Stride, Width,
    },
    rand::RngCore,
};

/// Channels of the stages; each but the first begins with half of the rows and columns.
const CHANNELS: [u32; 4] = [16, 24, 40, 80];

/// A space of one network description.
pub struct Space(pub Network);

impl SearchSpace for Space {
    fn network(&self) -> &Network {
        &self.0
    }
}

fn convolution(kernel: u32, stride: Stride, groups: Groups, channels: Width) -> Primitive {
    Primitive::Convolution { kernel, stride, groups, channels, dilation: 1, bias: false }
}

fn operation(name: &str, primitives: Vec<Primitive>, residual: bool) -> Operation {
    let meaning = if primitives.is_empty() { Meaning::Identity } else { Meaning::Sequence };
    Operation { name: name.to_owned(), meaning, primitives, residual }
}

/// MBConv layers with kernel 3, 5 or 7 and expansion 3 or 6, or nothing, in four stages on images
/// of 32 x 32, as in SPOS (Guo et al. 2020) at the size of CIFAR.
pub fn network(layers: u32, scale: f64) -> Result<Network> {
    let relu = Primitive::Activation(Activation::Relu);
    let mut operations = vec![
        operation(
            "stem",
            vec![convolution(3, Stride::Node, Groups::Dense, Width::Output), Primitive::BatchNorm, relu.clone()],
            false,
        ),
        operation("head", vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }], false),
        operation("identity", Vec::new(), false),
    ];
    let mut choices = Vec::new();
    for (expansion, kernel) in [(3, 3), (3, 5), (3, 7), (6, 3), (6, 5), (6, 7)] {
        let name = format!("mb{expansion}_k{kernel}");
        let primitives = vec![
            convolution(1, Stride::One, Groups::Dense, Width::Input(f64::from(expansion))),
            Primitive::BatchNorm,
            relu.clone(),
            convolution(kernel, Stride::Node, Groups::Depthwise, Width::Same),
            Primitive::BatchNorm,
            relu.clone(),
            convolution(1, Stride::One, Groups::Dense, Width::Output),
            Primitive::BatchNorm,
        ];
        operations.push(operation(&name, primitives, true));
        choices.push(name);
    }
    let width = |stage: usize| (f64::from(CHANNELS[stage]) * scale).round() as u32;
    let mut nodes = vec![node("stem", "input", Apply::Operation("stem".to_owned()), Some(width(0)), 1)];
    let (mut slots, mut blocks) = (Vec::new(), Vec::new());
    let each = (layers / CHANNELS.len() as u32).max(1);
    for stage in 0..CHANNELS.len() {
        let first = slots.len();
        for layer in 0..each {
            let name = format!("{stage}.{layer}");
            let before = nodes.last().map_or_else(String::new, |node| node.name.clone());
            let (channels, stride) = match (stage, layer) {
                (0, 0) => (Some(width(0)), 1),
                (_, 0) => (Some(width(stage)), 2),
                _ => (None, 1),
            };
            let mut choices = choices.clone();
            if layer > 0 {
                choices.push("identity".to_owned());
            }
            nodes.push(node(&name, &before, Apply::Slot(slots.len()), channels, stride));
            slots.push(Slot { name, choices });
        }
        blocks.push(Block { name: format!("Block {}", stage + 1), slots: (first..slots.len()).collect() });
    }
    let last = nodes.last().map_or_else(String::new, |node| node.name.clone());
    nodes.push(node("head", &last, Apply::Operation("head".to_owned()), Some(10), 1));
    Network::new(Description {
        format: DESCRIPTION_FORMAT,
        name: format!("bench-{layers}"),
        input: Shape { channels: 3, height: 32, width: 32 },
        classes: 10,
        operations,
        slots,
        blocks,
        network: nodes,
    })
}

fn node(name: &str, input: &str, apply: Apply, channels: Option<u32>, stride: u32) -> Node {
    Node { name: name.to_owned(), inputs: vec![input.to_owned()], combine: Combine::Sum, apply, channels, stride }
}

/// Images of noise.
pub struct Made(DatasetInfo);

impl Made {
    pub fn new(images: u64) -> Self {
        Made(DatasetInfo {
            name: "noise".to_owned(),
            shape: Shape { channels: 3, height: 32, width: 32 },
            classes: (0..10).map(|class| class.to_string()).collect(),
            train: images,
            test: 10,
            views: false,
        })
    }
}

impl Dataset for Made {
    fn info(&self) -> &DatasetInfo {
        &self.0
    }

    fn fetch(&self, _: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        for ((index, image), label) in indices.iter().zip(images.chunks_mut(self.0.image_bytes())).zip(labels) {
            Seed(*index).generator().fill_bytes(image);
            *label = (index % 10) as u32;
        }
        Ok(())
    }
}
