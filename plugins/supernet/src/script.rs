//! A trained network as TorchScript: the source of its `forward`, beside its tensors.
//!
//! The module takes pixels from 0 to 255 and normalises them itself. It moves between devices and
//! can be trained further.

use std::{collections::BTreeSet, path::Path};

use pleach_sdk::{
    Genome, Network,
    description::{Activation, Combine, Meaning, Pool},
    network::{Layer, ResolvedNode, ResolvedOperation, Source},
};
use tch::{TchError, Tensor};

use crate::{
    batch_norm::EPSILON,
    kernels::{self, ScriptTensor},
};

/// Writes the network into a file, which `torch::jit::load` of C++ and `torch.jit.load` of Python
/// read. `tensors` are named as in the file of weights.
pub(crate) fn write(
    network: &Network,
    genome: &Genome,
    tensors: &[(String, Tensor)],
    path: &Path,
) -> Result<(), TchError> {
    let mut names = Names::default();
    let tensors: Vec<ScriptTensor<'_>> = tensors
        .iter()
        .map(|(name, tensor)| {
            let is_buffer = is_statistic(name);
            ScriptTensor { name: names.give(name), tensor, is_buffer }
        })
        .collect();
    kernels::write_script(&tensors, &source(network, genome, &names), path)
}

/// Whether a tensor is no parameter: statistics of pixels (no node is called `input`) and of batch
/// norms.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.starts_with("input/") || name.ends_with("/mean") || name.ends_with("/variance")
}

/// Names of tensors as attributes of a module.
#[derive(Default)]
struct Names {
    given: Vec<(String, String)>,
    taken: BTreeSet<String>,
}

impl Names {
    fn give(&mut self, name: &str) -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        // The first letter is one whatever the node is called.
        let mut own: String = "t_".chars().chain(name.chars().map(plain)).collect();
        while !self.taken.insert(own.clone()) {
            own.push('_');
        }
        self.given.push((name.to_owned(), own.clone()));
        own
    }

    /// How the source reads a tensor; `None` where there is none.
    fn of(&self, name: &str) -> String {
        let own = self.given.iter().find(|(given, _)| given == name);
        own.map_or("None".to_owned(), |(_, own)| format!("self.{own}"))
    }
}

fn source(network: &Network, genome: &Genome, names: &Names) -> String {
    let (mean, deviation) = (names.of("input/mean"), names.of("input/deviation"));
    let mut lines = vec![
        "def forward(self, images):".to_owned(),
        format!("images = (images.to({mean}.dtype) - {mean}) / {deviation}"),
    ];
    for (index, node) in network.nodes().iter().enumerate() {
        let operation = &node.candidates[node.chosen(genome)];
        lines.push(format!("x = {}", combined(node)));
        match operation.meaning {
            Meaning::Identity | Meaning::Absent => {}
            Meaning::Zero => {
                let shape = node.output;
                lines.push(format!(
                    "x = torch.zeros([images.size(0), {}, {}, {}], dtype=images.dtype, device=images.device)",
                    shape.channels, shape.height, shape.width
                ));
            }
            Meaning::Sequence => sequence(&mut lines, node, operation, names),
        }
        lines.push(format!("n{index} = x"));
    }
    lines.push("return torch.flatten(x, 1)".to_owned());
    lines.join("\n    ") + "\n"
}

/// What a node's operation reads.
fn combined(node: &ResolvedNode) -> String {
    let of_source = |source: &Source| match source {
        Source::Image => "images".to_owned(),
        Source::Node(index) => format!("n{index}"),
    };
    let inputs: Vec<String> = node.inputs.iter().map(of_source).collect();
    match node.combine {
        Combine::Concat if inputs.len() > 1 => format!("torch.cat([{}], 1)", inputs.join(", ")),
        _ => inputs.join(" + "),
    }
}

fn sequence(lines: &mut Vec<String>, node: &ResolvedNode, operation: &ResolvedOperation, names: &Names) {
    lines.push("y = x".to_owned());
    for (index, layer) in operation.layers.iter().enumerate() {
        let own = |name: &str| names.of(&format!("{}/{}/{index}/{name}", node.name, operation.name));
        match layer {
            Layer::Convolution { stride, padding, dilation, groups, .. } => lines.push(format!(
                "y = torch.conv2d(y, {}, {}, {}, {}, {}, {groups})",
                own("weight"),
                own("bias"),
                pair(*stride),
                pair(*padding),
                pair(*dilation)
            )),
            Layer::BatchNorm { .. } => lines.push(format!(
                "y = torch.batch_norm(y, {}, {}, {}, {}, False, 0.0, {EPSILON:?}, True)",
                own("scale"),
                own("shift"),
                own("mean"),
                own("variance")
            )),
            Layer::Activation(function) => lines.push(format!("y = {}", activation(*function, "y"))),
            Layer::Pool { kind, kernel, stride, padding } => {
                let (window, stride, margin) = (pair(*kernel), pair(*stride), pair(*padding));
                lines.push(match kind {
                    Pool::Max => format!("y = torch.max_pool2d(y, {window}, {stride}, {margin}, [1, 1], False)"),
                    Pool::Average => {
                        format!("y = torch.avg_pool2d(y, {window}, {stride}, {margin}, False, False, None)")
                    }
                });
            }
            Layer::SqueezeExcite { gate, .. } => {
                let point = |name: &str| {
                    format!("g = torch.conv2d(g, {}, {})", own(&format!("{name}/weight")), own(&format!("{name}/bias")))
                };
                lines.push("g = torch.mean(y, [2, 3], True)".to_owned());
                lines.push(point("reduce"));
                lines.push("g = torch.relu(g)".to_owned());
                lines.push(point("expand"));
                lines.push(format!("y = y * {}", activation(*gate, "g")));
            }
            Layer::GlobalAverage => lines.push("y = torch.mean(y, [2, 3], True)".to_owned()),
            Layer::Linear { .. } => {
                lines.push(format!("y = torch.linear(torch.flatten(y, 1), {}, {})", own("weight"), own("bias")));
                lines.push("y = torch.unsqueeze(torch.unsqueeze(y, -1), -1)".to_owned());
            }
        }
    }
    lines.push(if operation.residual { "x = y + x" } else { "x = y" }.to_owned());
}

fn pair(number: u32) -> String {
    format!("[{number}, {number}]")
}

fn activation(function: Activation, of: &str) -> String {
    match function {
        Activation::Relu => format!("torch.relu({of})"),
        Activation::Relu6 => format!("torch.clamp({of}, 0.0, 6.0)"),
        Activation::Silu => format!("torch.silu({of})"),
        Activation::HardSwish => format!("torch.hardswish({of})"),
        Activation::HardSigmoid => format!("torch.hardsigmoid({of})"),
        Activation::Sigmoid => format!("torch.sigmoid({of})"),
        Activation::Gelu => format!("torch.gelu({of})"),
    }
}
