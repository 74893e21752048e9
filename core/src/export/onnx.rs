//! A plan as an ONNX model, one node for each layer; nothing is folded.

use pleach_sdk::{
    Shape,
    description::{Activation, Pool},
    network::Layer,
};
use prost::Message;

use super::{
    names::{BATCH_NORM_EPSILON, DEVIATION, MEAN, exported},
    onnx_proto::{
        AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        StringStringEntryProto, Tensor, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    },
    plan::{Plan, Step, Value},
    trained::{Trained, parts},
};

/// The operators that models are written in: those of ONNX 1.12, of the year 2022.
pub(crate) const OPSET: i64 = 17;

/// The format of files that goes with them.
const IR_VERSION: i64 = 8;

/// Protocol buffers end at two gibibytes.
const MOST_BYTES: usize = i32::MAX as usize;

/// The model as the bytes of a file.
///
/// # Errors
///
/// A network that is too large for a file.
pub(crate) fn model(trained: &Trained, plan: &Plan<'_>) -> Result<Vec<u8>, String> {
    let mut graph = Graph { trained, plan, nodes: Vec::new(), initializers: Vec::new() };
    graph.tensor(MEAN, "input/mean");
    graph.tensor(DEVIATION, "input/deviation");
    graph.node("Sub", &["images", MEAN], "centred", Vec::new());
    graph.node("Div", &["centred", DEVIATION], "image", Vec::new());
    for step in &plan.steps {
        graph.step(step);
    }
    let output = graph.value(plan.output, "output");
    graph.node("Flatten", &[&output], "logits", vec![integer("axis", 1)]);
    let description = trained.network.description();
    let proto = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "pleach".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        metadata_props: metadata(trained),
        graph: Some(GraphProto {
            node: graph.nodes,
            name: description.name.clone(),
            initializer: graph.initializers,
            input: vec![information("images", &image(description.input))],
            output: vec![information("logits", &[i64::from(description.classes)])],
        }),
    };
    if proto.encoded_len() > MOST_BYTES {
        return Err(format!("an ONNX file holds {MOST_BYTES} bytes, this network takes {}", proto.encoded_len()));
    }
    Ok(proto.encode_to_vec())
}

fn metadata(trained: &Trained) -> Vec<StringStringEntryProto> {
    let mut entries = vec![("genome", trained.genome.to_string())];
    if let Some(dataset) = &trained.record.dataset {
        entries.push(("classes", serde_json::json!(dataset.classes).to_string()));
    }
    let entry = |(key, value): (&str, String)| StringStringEntryProto { key: key.to_owned(), value };
    entries.into_iter().map(entry).collect()
}

/// Nodes and tensors so far.
struct Graph<'a> {
    trained: &'a Trained,
    plan: &'a Plan<'a>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph<'_> {
    fn step(&mut self, step: &Step<'_>) {
        let inputs: Vec<String> = (0..)
            .zip(&step.inputs)
            .map(|(index, value)| self.value(*value, &format!("{}.input{index}", step.name)))
            .collect();
        let input = match inputs.as_slice() {
            [only] => only.clone(),
            several if step.concatenates() => {
                let several: Vec<&str> = several.iter().map(String::as_str).collect();
                let combined = format!("{}.combined", step.name);
                self.node("Concat", &several, &combined, vec![integer("axis", 1)])
            }
            several => {
                let mut sum = several[0].clone();
                for (index, next) in several.iter().enumerate().skip(1) {
                    sum = self.node("Add", &[&sum, next], &format!("{}.sum{index}", step.name), Vec::new());
                }
                sum
            }
        };
        let before = self.nodes.len();
        let mut here = input.clone();
        if let Some(operation) = step.operation {
            for (index, layer) in operation.layers.iter().enumerate() {
                for (own, _, _) in parts(layer) {
                    let stored = step.stored(index, own);
                    self.tensor(&exported(step, index, own), &stored);
                }
                here = self.layer(step, index, layer, &here);
            }
            if operation.residual {
                here = self.node("Add", &[&here, &input], &format!("{}.residual", step.name), Vec::new());
            }
        }
        // The last node gives what the step gives.
        match self.nodes[before..].last_mut() {
            Some(last) => {
                last.name.clone_from(&step.name);
                last.output = vec![step.name.clone()];
            }
            None => drop(self.node("Identity", &[&here], &step.name, Vec::new())),
        }
    }

    fn layer(&mut self, step: &Step<'_>, index: usize, layer: &Layer, input: &str) -> String {
        let name = format!("{}.{index}", step.name);
        let part = |own: &str| exported(step, index, own);
        match layer {
            Layer::Convolution { kernel, stride, padding, dilation, groups, bias, .. } => {
                let (weight, bias) = (part("weight"), bias.then(|| part("bias")));
                let inputs: Vec<&str> = [input, &weight].into_iter().chain(bias.as_deref()).collect();
                let mut attributes = window(*kernel, *stride, *padding);
                attributes.push(integers("dilations", vec![i64::from(*dilation); 2]));
                attributes.push(integer("group", i64::from(*groups)));
                self.node("Conv", &inputs, &name, attributes)
            }
            Layer::BatchNorm { .. } => {
                let [scale, shift, mean, variance] = ["scale", "shift", "mean", "variance"].map(part);
                let inputs = [input, &scale, &shift, &mean, &variance];
                self.node("BatchNormalization", &inputs, &name, vec![float("epsilon", BATCH_NORM_EPSILON)])
            }
            Layer::Activation(function) => self.activation(*function, input, &name),
            Layer::Pool { kind, kernel, stride, padding } => {
                let mut attributes = window(*kernel, *stride, *padding);
                match kind {
                    Pool::Max => self.node("MaxPool", &[input], &name, attributes),
                    Pool::Average => {
                        attributes.push(integer("count_include_pad", 0));
                        self.node("AveragePool", &[input], &name, attributes)
                    }
                }
            }
            Layer::SqueezeExcite { gate, .. } => {
                let [reduce, reduce_bias, expand, expand_bias] =
                    ["reduce/weight", "reduce/bias", "expand/weight", "expand/bias"].map(part);
                let inner = |part: &str| format!("{name}.{part}");
                let mean = self.node("GlobalAveragePool", &[input], &inner("mean"), Vec::new());
                let hidden = self.node("Conv", &[&mean, &reduce, &reduce_bias], &inner("reduced"), window(1, 1, 0));
                let hidden = self.node("Relu", &[&hidden], &inner("hidden"), Vec::new());
                let gates = self.node("Conv", &[&hidden, &expand, &expand_bias], &inner("expanded"), window(1, 1, 0));
                let gates = self.activation(*gate, &gates, &inner("gate"));
                self.node("Mul", &[input, &gates], &name, Vec::new())
            }
            Layer::GlobalAverage => self.node("GlobalAveragePool", &[input], &name, Vec::new()),
            Layer::Linear { .. } => {
                let (weight, bias) = (part("weight"), part("bias"));
                let flat = self.node("Flatten", &[input], &format!("{name}.flat"), vec![integer("axis", 1)]);
                let transposed = vec![integer("transB", 1)];
                let product = self.node("Gemm", &[&flat, &weight, &bias], &format!("{name}.features"), transposed);
                let axes = self.numbers(&format!("{name}.axes"), &[2, 3]);
                self.node("Unsqueeze", &[&product, &axes], &name, Vec::new())
            }
        }
    }

    fn activation(&mut self, function: Activation, input: &str, name: &str) -> String {
        let inner = |part: &str| format!("{name}.{part}");
        match function {
            Activation::Relu => self.node("Relu", &[input], name, Vec::new()),
            Activation::Relu6 => {
                let (least, most) = (self.scalar(&inner("least"), 0.0), self.scalar(&inner("most"), 6.0));
                self.node("Clip", &[input, &least, &most], name, Vec::new())
            }
            Activation::Silu => {
                let gate = self.node("Sigmoid", &[input], &inner("sigmoid"), Vec::new());
                self.node("Mul", &[input, &gate], name, Vec::new())
            }
            Activation::HardSwish => self.node("HardSwish", &[input], name, Vec::new()),
            Activation::HardSigmoid => {
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.node("HardSigmoid", &[input], name, attributes)
            }
            Activation::Sigmoid => self.node("Sigmoid", &[input], name, Vec::new()),
            // x / 2 * (1 + erf(x / sqrt 2)).
            Activation::Gelu => {
                let root = self.scalar(&inner("root"), std::f32::consts::FRAC_1_SQRT_2);
                let (one, half) = (self.scalar(&inner("one"), 1.0), self.scalar(&inner("half"), 0.5));
                let scaled = self.node("Mul", &[input, &root], &inner("scaled"), Vec::new());
                let error = self.node("Erf", &[&scaled], &inner("erf"), Vec::new());
                let gate = self.node("Add", &[&error, &one], &inner("gate"), Vec::new());
                let gated = self.node("Mul", &[input, &gate], &inner("gated"), Vec::new());
                self.node("Mul", &[&gated, &half], name, Vec::new())
            }
        }
    }

    /// The name of what a step reads; zeros are made where they are read.
    fn value(&mut self, value: Value, name: &str) -> String {
        match value {
            Value::Image => "image".to_owned(),
            Value::Step(index) => self.plan.steps[index].name.clone(),
            Value::Zero(shape) => {
                let inner = |part: &str| format!("{name}.{part}");
                let of_images = self.node("Shape", &["images"], &inner("shape"), vec![integer("end", 1)]);
                let rest = self.numbers(&inner("size"), &image(shape));
                let whole = self.node("Concat", &[&of_images, &rest], &inner("whole"), vec![integer("axis", 0)]);
                self.node("ConstantOfShape", &[&whole], name, Vec::new())
            }
        }
    }

    fn node(&mut self, kind: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            // Tensors and nodes have names of their own; the same ones do.
            name: output.to_owned(),
            op_type: kind.to_owned(),
            attribute,
        });
        output.to_owned()
    }

    /// A tensor of the training.
    fn tensor(&mut self, name: &str, stored: &str) {
        let tensor = &self.trained.tensors[stored];
        let raw_data = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = tensor.shape.iter().map(|size| *size as i64).collect();
        self.initializer(name, DataType::Float, dims, raw_data);
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.initializer(name, DataType::Float, Vec::new(), value.to_le_bytes().to_vec())
    }

    fn numbers(&mut self, name: &str, numbers: &[i64]) -> String {
        let raw_data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.initializer(name, DataType::Int64, vec![numbers.len() as i64], raw_data)
    }

    fn initializer(&mut self, name: &str, kind: DataType, dims: Vec<i64>, raw_data: Vec<u8>) -> String {
        let data_type = kind as i32;
        self.initializers.push(TensorProto { dims, data_type, name: name.to_owned(), raw_data });
        name.to_owned()
    }
}

fn image(shape: Shape) -> [i64; 3] {
    [shape.channels, shape.height, shape.width].map(i64::from)
}

/// A tensor with as many images as one likes.
fn information(name: &str, of_image: &[i64]) -> ValueInfoProto {
    let batch = Dimension { dim_param: Some("batch".to_owned()), dim_value: None };
    let sizes = of_image.iter().map(|size| Dimension { dim_value: Some(*size), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(sizes).collect() };
    let tensor = Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// The kernel of a convolution or a pooling; some readers want to be told what every side has without it.
fn window(kernel: u32, stride: u32, padding: u32) -> Vec<AttributeProto> {
    let twice = |number: u32| vec![i64::from(number); 2];
    vec![
        integers("kernel_shape", twice(kernel)),
        integers("strides", twice(stride)),
        integers("pads", vec![i64::from(padding); 4]),
    ]
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn integers(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { ints: values, ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}
