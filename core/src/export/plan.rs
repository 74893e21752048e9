//! What one network computes, step by step: what its genome chose, without the nodes that pass
//! their input through, give zeros, or are read by nobody. Each step has a name that is an
//! identifier of Python.

use std::collections::{BTreeMap, BTreeSet};

use pleach_sdk::{
    Genome, Network, Shape,
    description::{Combine, Meaning},
    network::{ResolvedNode, ResolvedOperation, Source},
};

/// A network of one genome.
pub(crate) struct Plan<'a> {
    /// In an order in which they can be computed.
    pub(crate) steps: Vec<Step<'a>>,
    /// The logits, of 1 x 1 pixels or what the last node gives.
    pub(crate) output: Value,
}

/// A node that computes something.
pub(crate) struct Step<'a> {
    /// An identifier that no other step has.
    pub(crate) name: String,
    pub(crate) node: &'a ResolvedNode,
    pub(crate) inputs: Vec<Value>,
    /// What is computed once inputs are combined; none where that is all.
    pub(crate) operation: Option<&'a ResolvedOperation>,
}

/// What a step reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// The normalised image.
    Image,
    /// What a step gives, by index.
    Step(usize),
    /// Zeros.
    Zero(Shape),
}

impl Step<'_> {
    /// What a tensor of one of the operation's layers is called in the file of a training.
    pub(crate) fn stored(&self, layer: usize, own: &str) -> String {
        let operation = self.operation.map_or("", |operation| operation.name.as_str());
        format!("{}/{operation}/{layer}/{own}", self.node.name)
    }

    /// Whether several inputs are laid side by side.
    pub(crate) fn concatenates(&self) -> bool {
        self.node.combine == Combine::Concat && self.inputs.len() > 1
    }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(network: &'a Network, genome: &Genome) -> Self {
        let mut values: Vec<Value> = Vec::new();
        let mut steps: Vec<Step<'a>> = Vec::new();
        let mut names = BTreeSet::new();
        for node in network.nodes() {
            let of_source = |source: &Source| match source {
                Source::Image => Value::Image,
                Source::Node(index) => values[*index],
            };
            let mut inputs: Vec<Value> = node.inputs.iter().map(of_source).collect();
            let is_zero = |value: &Value| matches!(value, Value::Zero(_));
            if inputs.iter().all(is_zero) {
                inputs = vec![Value::Zero(node.input)];
            } else if node.combine == Combine::Sum {
                inputs.retain(|value| !is_zero(value));
            }
            let operation = &node.candidates[node.chosen(genome)];
            let value = match (operation.meaning, inputs.as_slice()) {
                (Meaning::Zero, _) => Value::Zero(node.output),
                (Meaning::Identity | Meaning::Absent, [only]) => *only,
                (meaning, _) => {
                    let operation = (meaning == Meaning::Sequence).then_some(operation);
                    steps.push(Step { name: identifier(&node.name, &mut names), node, inputs, operation });
                    Value::Step(steps.len() - 1)
                }
            };
            values.push(value);
        }
        let output = values.last().copied().unwrap_or(Value::Image);
        Plan { steps, output }.without_unread()
    }

    /// Without steps that the output does not depend on.
    fn without_unread(self) -> Self {
        let mut is_read = vec![false; self.steps.len()];
        let mut waiting = vec![self.output];
        while let Some(value) = waiting.pop() {
            if let Value::Step(index) = value
                && !std::mem::replace(&mut is_read[index], true)
            {
                waiting.extend(&self.steps[index].inputs);
            }
        }
        let mut places = BTreeMap::new();
        for index in (0..self.steps.len()).filter(|index| is_read[*index]) {
            places.insert(index, places.len());
        }
        let moved = |value: Value| match value {
            Value::Step(index) => Value::Step(places[&index]),
            other => other,
        };
        let output = moved(self.output);
        let kept = self.steps.into_iter().zip(is_read).filter(|(_, is_read)| *is_read);
        let steps = kept.map(|(step, _)| Step { inputs: step.inputs.into_iter().map(moved).collect(), ..step });
        Plan { steps: steps.collect(), output }
    }
}

/// Words that a step may not be called: Python's own, and what `torch.nn.Module` and the generated
/// code use.
const TAKEN: &str = "False None True and as assert async await break class continue def del elif else except finally \
for from global if import in is lambda nonlocal not or pass raise return try while with yield match case type self \
torch nn x images image centred output mean deviation logits super zip len print open float int str list dict forward training dump_patches \
T_destination call_super_init add_module apply bfloat16 buffers children compile cpu cuda double eval extra_repr \
get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia named_buffers \
named_children named_modules named_parameters parameters register_backward_hook register_buffer \
register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook \
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter \
register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory \
state_dict to to_empty train xpu zero_grad";

/// A node's name as an identifier.
fn identifier(name: &str, given: &mut BTreeSet<String>) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let mut identifier: String = name.chars().map(plain).collect();
    // A leading underscore would be private, and two of them mangled.
    identifier = identifier.trim_start_matches('_').to_owned();
    if !identifier.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        identifier.insert_str(0, "node_");
    }
    while TAKEN.split_whitespace().any(|taken| taken == identifier) || !given.insert(identifier.clone()) {
        identifier.push('_');
    }
    identifier
}

#[cfg(test)]
mod tests {
    use pleach_sdk::Description;
    use serde_json::json;

    use super::*;

    /// A stem, a chain of two edges and one beside it that meet, in a network of 4 classes.
    fn network() -> Network {
        let operation = |name: &str, meaning: &str, primitives: serde_json::Value| json!({ "name": name, "meaning": meaning, "primitives": primitives });
        let convolution = json!({ "convolution": { "kernel": 3, "channels": "output" } });
        let slot = |name: &str| json!({ "name": name, "choices": ["cut", "skip", "conv"] });
        let edge =
            |name: &str, from: &str, slot: usize| json!({ "name": name, "inputs": [from], "apply": { "slot": slot } });
        let description = json!({
            "format": 1, "name": "edges", "input": { "channels": 3, "height": 4, "width": 4 }, "classes": 4,
            "operations": [
                operation("cut", "zero", json!([])), operation("skip", "identity", json!([])),
                operation("conv", "sequence", json!([convolution])),
                operation("head", "sequence", json!(["global-average", { "linear": { "features": "output" } }])),
            ],
            "slots": [slot("a"), slot("b"), slot("c")],
            "blocks": [],
            "network": [
                { "name": "train", "inputs": ["input"], "apply": { "operation": "conv" }, "channels": 6 },
                edge("1.a", "train", 0), edge("1-a", "1.a", 1), edge("c", "train", 2),
                { "name": "sum", "inputs": ["1-a", "c"], "apply": { "operation": "skip" } },
                { "name": "head", "inputs": ["sum"], "apply": { "operation": "head" }, "channels": 4 },
            ],
        });
        let description: Description = serde_json::from_value(description).expect("it is a description");
        Network::new(description).expect("it is sound")
    }

    #[test]
    fn only_what_the_output_depends_on_is_computed() {
        let network = network();
        let check = |genome: [u16; 3], expected: &[(&str, &[Value])]| {
            let plan = Plan::new(&network, &Genome(genome.to_vec()));
            let steps: Vec<_> = plan.steps.iter().map(|step| (step.name.as_str(), step.inputs.as_slice())).collect();
            assert_eq!(steps, expected, "{genome:?}");
            assert_eq!(plan.output, Value::Step(expected.len() - 1));
        };
        let (image, step) = (Value::Image, Value::Step);
        let zero = Value::Zero(Shape { channels: 6, height: 4, width: 4 });
        // `train` is a method of PyTorch's modules, and two names of nodes differ in a dot alone.
        let all: [(&str, &[Value]); 6] = [
            ("train_", &[image]),
            ("node_1_a", &[step(0)]),
            ("node_1_a_", &[step(1)]),
            ("c", &[step(0)]),
            ("sum", &[step(2), step(3)]),
            ("head", &[step(4)]),
        ];
        check([2, 2, 2], &all);
        check([1, 1, 1], &[("train_", &[image]), ("sum", &[step(0), step(0)]), ("head", &[step(1)])]);
        check([2, 0, 2], &[("train_", &[image]), ("c", &[step(0)]), ("head", &[step(1)])]);
        check([0, 1, 2], &[("train_", &[image]), ("c", &[step(0)]), ("head", &[step(1)])]);
        // A convolution of zeros is computed: a bias would make something of it.
        check([0, 2, 0], &[("node_1_a", &[zero]), ("head", &[step(0)])]);
        check([0, 0, 0], &[("head", &[zero])]);
    }
}
