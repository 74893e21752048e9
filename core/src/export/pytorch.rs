//! A plan as the source of a PyTorch module that can be read, and its tensors as its state.

use std::{collections::HashMap, fmt::Write as _};

use pleach_sdk::{
    description::{Activation, Pool},
    network::Layer,
};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};

use super::{
    names::{DEVIATION, MEAN, exported},
    plan::{Plan, Step, Value},
    trained::{Tensor, Trained, parts},
};

const TEMPLATE: &str = include_str!("../../templates/export/model.py.in");

const SQUEEZE_EXCITE: &str = "
class SqueezeExcite(nn.Module):
    \"\"\"Channels scaled by a gate that sees them all (Hu et al. 2018).\"\"\"

    def __init__(self, channels, hidden, gate):
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = gate

    def forward(self, x):
        hidden = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * self.gate(self.expand(hidden))


";

/// The source of `model.py`.
pub(crate) fn source(trained: &Trained, plan: &Plan<'_>, title: &str) -> String {
    let description = trained.network.description();
    let shape = description.input;
    let classes = trained.classes().iter().map(|class| serde_json::json!(class).to_string()).collect::<Vec<_>>();
    let input = format!("(images, {}, {}, {})", shape.channels, shape.height, shape.width);
    TEMPLATE
        .replace("{{input}}", &input)
        .replace("{{class_count}}", &description.classes.to_string())
        .replace("{{shape}}", &format!("{}, {}, {}", shape.channels, shape.height, shape.width))
        .replace("{{modules}}", &modules(trained, plan))
        // What others have named comes last, so that nothing is replaced in it.
        .replace("{{title}}", &plain(title))
        .replace("{{classes}}", &list(&classes))
}

/// Text that cannot end a comment or a docstring.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() && !['"', '\\'].contains(letter)).collect()
}

/// A list of Python, several entries a line.
fn list(entries: &[String]) -> String {
    const WIDTH: usize = 96;
    let mut text = "[\n".to_owned();
    let mut line = String::new();
    for entry in entries {
        if !line.is_empty() && line.len() + entry.len() > WIDTH {
            let _ = writeln!(text, "    {}", line.trim_end());
            line.clear();
        }
        let _ = write!(line, "{entry}, ");
    }
    let _ = write!(text, "    {}\n]", line.trim_end());
    text
}

fn modules(trained: &Trained, plan: &Plan<'_>) -> String {
    let all_layers = || plan.steps.iter().filter_map(|step| step.operation).flat_map(|operation| &operation.layers);
    let has_gates = all_layers().any(|layer| matches!(layer, Layer::SqueezeExcite { .. }));
    let mut text = if has_gates { SQUEEZE_EXCITE.to_owned() } else { "\n".to_owned() };
    let channels = trained.network.description().input.channels;
    text.push_str("class Network(nn.Module):\n    def __init__(self):\n        super().__init__()\n");
    for (name, meaning) in [(MEAN, "mean"), (DEVIATION, "deviation")] {
        let _ = writeln!(text, "        # The {meaning} of each channel's pixels over the training images.");
        let _ = writeln!(text, "        self.register_buffer(\"{name}\", torch.ones(1, {channels}, 1, 1))");
    }
    for step in &plan.steps {
        let Some(operation) = step.operation else { continue };
        let _ =
            writeln!(text, "        # {}, from {} to {}", plain(&operation.name), step.node.input, step.node.output);
        let _ = writeln!(text, "        self.{} = nn.Sequential(", step.name);
        for module in operation.layers.iter().flat_map(modules_of) {
            let _ = writeln!(text, "            {module},");
        }
        text.push_str("        )\n");
    }
    text.push_str("\n    def forward(self, images):\n");
    text.push_str("        image = (images.to(self.mean.dtype) - self.mean) / self.deviation\n");
    for step in &plan.steps {
        forward(&mut text, step, plan);
    }
    let _ = writeln!(text, "        return torch.flatten({}, 1)\n", value(plan.output, plan));
    text
}

/// The lines of one step.
fn forward(text: &mut String, step: &Step<'_>, plan: &Plan<'_>) {
    let inputs: Vec<String> = step.inputs.iter().map(|input| value(*input, plan)).collect();
    let combined =
        if step.concatenates() { format!("torch.cat([{}], 1)", inputs.join(", ")) } else { inputs.join(" + ") };
    let name = &step.name;
    let Some(operation) = step.operation else {
        let _ = writeln!(text, "        {name} = {combined}");
        return;
    };
    let input = if operation.residual && inputs.len() > 1 {
        let _ = writeln!(text, "        x = {combined}");
        "x".to_owned()
    } else {
        combined
    };
    let shortcut = if operation.residual { format!(" + {input}") } else { String::new() };
    let _ = writeln!(text, "        {name} = self.{name}({input}){shortcut}");
}

fn value(value: Value, plan: &Plan<'_>) -> String {
    match value {
        Value::Image => "image".to_owned(),
        Value::Step(index) => plan.steps[index].name.clone(),
        Value::Zero(shape) => {
            format!("image.new_zeros(len(image), {}, {}, {})", shape.channels, shape.height, shape.width)
        }
    }
}

/// The modules that a layer is; `names.rs` knows how many.
fn modules_of(layer: &Layer) -> Vec<String> {
    match layer {
        Layer::Convolution { input, output, kernel, stride, padding, dilation, groups, bias } => {
            let mut text = format!("nn.Conv2d({input}, {output}, {kernel}");
            for (name, value, usual) in
                [("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1), ("groups", groups, 1)]
            {
                if *value != usual {
                    let _ = write!(text, ", {name}={value}");
                }
            }
            text.push_str(if *bias { ")" } else { ", bias=False)" });
            vec![text]
        }
        Layer::BatchNorm { channels } => vec![format!("nn.BatchNorm2d({channels})")],
        Layer::Activation(function) => vec![activation(*function).to_owned()],
        Layer::Pool { kind, kernel, stride, padding } => {
            let window = format!("{kernel}, stride={stride}, padding={padding}");
            vec![match kind {
                Pool::Max => format!("nn.MaxPool2d({window})"),
                Pool::Average => format!("nn.AvgPool2d({window}, count_include_pad=False)"),
            }]
        }
        Layer::SqueezeExcite { channels, hidden, gate } => {
            vec![format!("SqueezeExcite({channels}, {hidden}, {})", activation(*gate))]
        }
        Layer::GlobalAverage => vec!["nn.AdaptiveAvgPool2d(1)".to_owned()],
        Layer::Linear { input, output } => vec![
            "nn.Flatten()".to_owned(),
            format!("nn.Linear({input}, {output})"),
            format!("nn.Unflatten(1, ({output}, 1, 1))"),
        ],
    }
}

fn activation(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "nn.ReLU()",
        Activation::Relu6 => "nn.ReLU6()",
        Activation::Silu => "nn.SiLU()",
        Activation::HardSwish => "nn.Hardswish()",
        Activation::HardSigmoid => "nn.Hardsigmoid()",
        Activation::Sigmoid => "nn.Sigmoid()",
        Activation::Gelu => "nn.GELU()",
    }
}

/// The tensors of the plan as a file that `load_state_dict` takes.
pub(crate) fn state(trained: &Trained, plan: &Plan<'_>) -> Result<Vec<u8>, SafeTensorError> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, tensor: &Tensor| {
        let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name, Dtype::F32, tensor.shape.clone(), bytes));
    };
    add(MEAN.to_owned(), &trained.tensors["input/mean"]);
    add(DEVIATION.to_owned(), &trained.tensors["input/deviation"]);
    let mut norms = Vec::new();
    for step in &plan.steps {
        for (index, layer) in step.operation.iter().flat_map(|operation| operation.layers.iter().enumerate()) {
            for (own, ..) in parts(layer) {
                add(exported(step, index, own), &trained.tensors[&step.stored(index, own)]);
            }
            if matches!(layer, Layer::BatchNorm { .. }) {
                norms.push(exported(step, index, "num_batches_tracked"));
            }
        }
    }
    // PyTorch's batch norms count their batches, and use the number for nothing here.
    tensors.extend(norms.into_iter().map(|name| (name, Dtype::I64, Vec::new(), vec![0; 8])));
    let views = tensors
        .iter()
        .map(|(name, kind, shape, bytes)| Ok((name, TensorView::new(*kind, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata))
}
