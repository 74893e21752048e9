//! Operations at the shapes at which they occur: what they are told apart by, and each as a network
//! of its own, which any estimator can measure.

use indexmap::IndexMap;
use pleach_sdk::{
    Description, Network, Shape,
    description::{
        Activation, Apply, Combine, DESCRIPTION_FORMAT, Meaning, Node, Operation as Described, Pool, Primitive,
    },
    network::{Layer, ResolvedNode, ResolvedOperation},
};

/// The name of the operation that ends a network of one; no space has a name with a space in it first.
const END: &str = " mean over rows and columns";

/// Where an operation occurs first in a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    node: usize,
    candidate: usize,
}

/// The operations of a space that take time, by what tells them apart.
pub(crate) fn of(network: &Network) -> IndexMap<String, Place> {
    let mut found = IndexMap::new();
    for (index, node) in network.nodes().iter().enumerate() {
        for (candidate, operation) in node.candidates.iter().enumerate() {
            if let Some(signature) = signature(node, operation) {
                found.entry(signature).or_insert(Place { node: index, candidate });
            }
        }
    }
    found
}

/// What tells an operation from others: its layers and shapes, and how its inputs become one. None
/// for what passes its one input through, which takes no time.
pub(crate) fn signature(node: &ResolvedNode, operation: &ResolvedOperation) -> Option<String> {
    let inputs = match (node.inputs.len(), node.combine) {
        (1, _) => String::new(),
        (count, Combine::Sum) => format!("sum of {count}, "),
        (count, Combine::Concat) => format!("concat of {count}, "),
    };
    let layers = match operation.meaning {
        Meaning::Identity | Meaning::Absent if inputs.is_empty() => return None,
        Meaning::Identity | Meaning::Absent => "identity".to_owned(),
        Meaning::Zero => "zero".to_owned(),
        Meaning::Sequence => operation.layers.iter().map(layer).collect::<Vec<_>>().join(", "),
    };
    let residual = if operation.residual { ", residual" } else { "" };
    Some(format!("{} -> {}: {inputs}{layers}{residual}", node.input, node.output))
}

fn layer(layer: &Layer) -> String {
    match layer {
        Layer::Convolution { input, output, kernel, stride, padding, dilation, groups, bias } => {
            let bias = if *bias { " bias" } else { "" };
            format!("conv {input}-{output} k{kernel} s{stride} p{padding} d{dilation} g{groups}{bias}")
        }
        Layer::BatchNorm { .. } => "bn".to_owned(),
        Layer::Activation(function) => activation(*function).to_owned(),
        Layer::Pool { kind: Pool::Max, kernel, stride, padding } => format!("max k{kernel} s{stride} p{padding}"),
        Layer::Pool { kind: Pool::Average, kernel, stride, padding } => format!("mean k{kernel} s{stride} p{padding}"),
        Layer::SqueezeExcite { channels, hidden, gate } => {
            format!("se {channels}-{hidden}-{channels} {}", activation(*gate))
        }
        Layer::GlobalAverage => "global mean".to_owned(),
        Layer::Linear { input, output } => format!("linear {input}-{output}"),
    }
}

fn activation(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::Silu => "silu",
        Activation::HardSwish => "hard-swish",
        Activation::HardSigmoid => "hard-sigmoid",
        Activation::Sigmoid => "sigmoid",
        Activation::Gelu => "gelu",
    }
}

impl Place {
    /// What the operation is called.
    pub(crate) fn name(self, network: &Network) -> &str {
        &network.nodes()[self.node].candidates[self.candidate].name
    }

    /// The shape that it gives.
    pub(crate) fn output(self, network: &Network) -> Shape {
        network.nodes()[self.node].output
    }

    /// A network that is this operation: it reads images of the shape that it reads in its space, as
    /// often as it has inputs. What has rows and columns is followed by their mean, for a network gives
    /// one number for each class; [`end`] is that alone.
    ///
    /// Inputs that differ in channels are not laid side by side here: they come as one.
    pub(crate) fn alone(self, network: &Network) -> pleach_sdk::Result<Network> {
        let node = &network.nodes()[self.node];
        let description = network.description();
        let named = |operation: &&Described| operation.name == node.candidates[self.candidate].name;
        let operation = description.operations.iter().find(named).expect("the network was resolved from it").clone();
        let count = node.inputs.len() as u32;
        let (inputs, image) = match node.combine {
            Combine::Sum => (count, node.input),
            Combine::Concat if self.has_equal_inputs(network) => {
                (count, Shape { channels: node.input.channels / count, ..node.input })
            }
            Combine::Concat => (1, node.input),
        };
        let own = Node {
            name: "operation".to_owned(),
            inputs: vec!["input".to_owned(); inputs as usize],
            combine: node.combine,
            apply: Apply::Operation(operation.name.clone()),
            channels: Some(node.output.channels),
            stride: description.network[self.node].stride,
        };
        single(operation, own, image, node.output)
    }

    fn has_equal_inputs(self, network: &Network) -> bool {
        use pleach_sdk::network::Source;
        let node = &network.nodes()[self.node];
        let channels = |source: &Source| match source {
            Source::Image => network.description().input.channels,
            Source::Node(index) => network.nodes()[*index].output.channels,
        };
        node.inputs.iter().all(|source| channels(source) * node.inputs.len() as u32 == node.input.channels)
    }
}

/// What follows an operation that gives `shape` in the network that [`Place::alone`] makes.
pub(crate) fn end(shape: Shape) -> pleach_sdk::Result<Network> {
    let nothing =
        Described { name: "nothing".to_owned(), meaning: Meaning::Identity, primitives: Vec::new(), residual: false };
    let own = Node {
        name: "operation".to_owned(),
        inputs: vec!["input".to_owned()],
        combine: Combine::Sum,
        apply: Apply::Operation(nothing.name.clone()),
        channels: None,
        stride: 1,
    };
    single(nothing, own, shape, shape)
}

fn single(operation: Described, own: Node, input: Shape, output: Shape) -> pleach_sdk::Result<Network> {
    let mut operations = vec![operation];
    let mut nodes = vec![own];
    if (output.height, output.width) != (1, 1) {
        operations.push(Described {
            name: END.to_owned(),
            meaning: Meaning::Sequence,
            primitives: vec![Primitive::GlobalAverage],
            residual: false,
        });
        nodes.push(Node {
            name: "end".to_owned(),
            inputs: vec!["operation".to_owned()],
            combine: Combine::Sum,
            apply: Apply::Operation(END.to_owned()),
            channels: None,
            stride: 1,
        });
    }
    Network::new(Description {
        format: DESCRIPTION_FORMAT,
        name: "one operation".to_owned(),
        input,
        classes: output.channels,
        operations,
        slots: Vec::new(),
        blocks: Vec::new(),
        network: nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::testing::network;

    #[test]
    fn every_operation_is_found_once_for_each_shape_and_stands_alone() {
        let network = network();
        let found = of(&network);
        // Two layers of one shape share theirs; `identity` takes no time, adding two inputs does.
        let expected = [
            "3 x 8 x 8 -> 4 x 8 x 8: conv 3-4 k3 s1 p1 d1 g1, bn",
            "4 x 8 x 8 -> 4 x 8 x 8: conv 4-4 k3 s1 p1 d1 g1, bn, relu6, residual",
            "4 x 8 x 8 -> 4 x 8 x 8: conv 4-4 k5 s1 p2 d1 g1, bn, relu6, residual",
            "4 x 8 x 8 -> 4 x 8 x 8: sum of 2, identity",
            "8 x 8 x 8 -> 8 x 8 x 8: concat of 2, zero",
            "8 x 8 x 8 -> 8 x 8 x 8: concat of 2, max k3 s1 p1",
            "8 x 8 x 8 -> 2 x 1 x 1: global mean, linear 8-2",
        ];
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), expected);
        for (signature, place) in &found {
            let alone = place.alone(&network).unwrap_or_else(|error| panic!("{signature}: {error}"));
            let node = &alone.nodes()[0];
            assert_eq!(super::signature(node, &node.candidates[0]).as_ref(), Some(signature));
            assert_eq!(alone.description().classes, place.output(&network).channels);
            let end = end(place.output(&network)).expect("every shape has one");
            assert_eq!(super::signature(&end.nodes()[0], &end.nodes()[0].candidates[0]), None);
        }
    }
}
