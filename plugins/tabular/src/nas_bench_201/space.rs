//! The space `tabular/nas-bench-201`: one cell, repeated, with an operation on each of six edges.

use pleach_sdk::{
    BuildSpace, Component, Context, Description, Genome, Network, Result, SearchSpace, Shape, config,
    description::{
        Activation, Apply, Block, Combine, DESCRIPTION_FORMAT, Groups, Meaning, Node, Operation, Pool, Primitive, Slot,
        Stride, Width,
    },
};

use super::cell::{EDGES, OPERATIONS, first_equal, number_of, operations_of};

config! {
    /// The networks of NAS-Bench-201 (Dong and Yang 2020): a stem, three stages of equal cells
    /// with a residual block between them that halves the image and doubles the channels.
    ///
    /// The defaults are the published networks on CIFAR-10.
    pub struct NasBench201SpaceConfig {
        /// Channels of the stem and of the first stage.
        #[schemars(range(min = 1, max = 4096))]
        pub channels: u32 = 16,
        /// Cells in each stage.
        #[schemars(range(min = 1, max = 64))]
        pub cells: u32 = 5,
        /// The shape of an image; without it that of the run's data set, or of CIFAR-10's where
        /// the run has none.
        pub input: Option<Shape> = None,
        /// How many classes; without it those of the run's data set, or 10 where the run has none.
        pub classes: Option<u32> = None,
    }
}

const CIFAR_10: (Shape, u32) = (Shape { channels: 3, height: 32, width: 32 }, 10);

/// Cells of NAS-Bench-201.
pub struct NasBench201Space(Network);

impl Component for NasBench201Space {
    type Config = NasBench201SpaceConfig;
    const NAME: &'static str = "nas-bench-201";
    const SUMMARY: &'static str = "the 15,625 cells of NAS-Bench-201";

    fn example() -> NasBench201SpaceConfig {
        NasBench201SpaceConfig::default()
    }
}

impl BuildSpace for NasBench201Space {
    fn build(config: NasBench201SpaceConfig, context: &Context) -> Result<Self> {
        let of_data =
            context.dataset.as_ref().map_or(CIFAR_10, |dataset| (dataset.shape, dataset.classes.len() as u32));
        let (input, classes) = (config.input.unwrap_or(of_data.0), config.classes.unwrap_or(of_data.1));
        Ok(NasBench201Space(Network::new(describe(&config, input, classes))?))
    }
}

impl SearchSpace for NasBench201Space {
    fn network(&self) -> &Network {
        &self.0
    }

    /// Of all cells that are the same network the first, as `cell.rs` numbers them.
    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        self.0.validate(genome)?;
        Ok(Genome(operations_of(first_equal(number_of(genome))).to_vec()))
    }
}

fn describe(config: &NasBench201SpaceConfig, input: Shape, classes: u32) -> Description {
    let mut nodes = vec![fixed("stem", &["input".to_owned()], "stem", Some(config.channels), 1)];
    let mut source = "stem".to_owned();
    for stage in 0..3 {
        if stage > 0 {
            source = reduction(&mut nodes, stage, &source, config.channels << stage);
        }
        for cell in 0..config.cells {
            source = add_cell(&mut nodes, &format!("stage{}.cell{}", stage + 1, cell + 1), &source);
        }
    }
    nodes.push(fixed("head", &[source], "head", Some(classes), 1));
    let edge = |(from, to): &(usize, usize)| Slot {
        name: format!("edge{from}{to}"),
        choices: OPERATIONS.map(str::to_owned).to_vec(),
    };
    Description {
        format: DESCRIPTION_FORMAT,
        name: "NAS-Bench-201".to_owned(),
        input,
        classes,
        operations: operations(),
        slots: EDGES.iter().map(edge).collect(),
        blocks: vec![Block { name: "cell".to_owned(), slots: (0..EDGES.len()).collect() }],
        network: nodes,
    }
}

/// A cell; answers with the name of the node that it ends in.
fn add_cell(nodes: &mut Vec<Node>, cell: &str, source: &str) -> String {
    let name = |(from, to): &(usize, usize)| format!("{cell}.edge{from}{to}");
    let into = |node: usize| -> Vec<String> { EDGES.iter().filter(|(_, to)| *to == node).map(name).collect() };
    for (slot, edge) in EDGES.iter().enumerate() {
        let inputs = if edge.0 == 0 { vec![source.to_owned()] } else { into(edge.0) };
        nodes.push(Node {
            name: name(edge),
            inputs,
            combine: Combine::Sum,
            apply: Apply::Slot(slot),
            channels: None,
            stride: 1,
        });
    }
    let end = cell.to_owned();
    nodes.push(fixed(&end, &into(3), "sum", None, 1));
    end
}

/// The residual block before a stage; answers with the name of the node that it ends in.
fn reduction(nodes: &mut Vec<Node>, stage: u32, source: &str, channels: u32) -> String {
    let (long, short) = (format!("reduction{stage}.long"), format!("reduction{stage}.short"));
    nodes.push(fixed(&long, &[source.to_owned()], "residual_block", Some(channels), 2));
    nodes.push(fixed(&short, &[source.to_owned()], "downsample", Some(channels), 2));
    let end = format!("reduction{stage}");
    nodes.push(fixed(&end, &[long, short], "sum", None, 1));
    end
}

fn fixed(name: &str, inputs: &[String], operation: &str, channels: Option<u32>, stride: u32) -> Node {
    Node {
        name: name.to_owned(),
        inputs: inputs.to_vec(),
        combine: Combine::Sum,
        apply: Apply::Operation(operation.to_owned()),
        channels,
        stride,
    }
}

fn operations() -> Vec<Operation> {
    let operation = |name: &str, meaning, primitives: Vec<Primitive>| Operation {
        name: name.to_owned(),
        meaning,
        primitives,
        residual: false,
    };
    let convolution = |kernel, stride| Primitive::Convolution {
        kernel,
        stride,
        groups: Groups::Dense,
        channels: Width::Output,
        dilation: 1,
        bias: false,
    };
    let relu = Primitive::Activation(Activation::Relu);
    let activated = |kernel, stride| vec![relu.clone(), convolution(kernel, stride), Primitive::BatchNorm];
    let sequence = |name, primitives| operation(name, Meaning::Sequence, primitives);
    let average = |kernel, stride| Primitive::Pool { kind: Pool::Average, kernel, stride };
    vec![
        operation("none", Meaning::Zero, Vec::new()),
        operation("skip_connect", Meaning::Identity, Vec::new()),
        sequence("nor_conv_1x1", activated(1, Stride::One)),
        sequence("nor_conv_3x3", activated(3, Stride::One)),
        sequence("avg_pool_3x3", vec![average(3, Stride::One)]),
        sequence("stem", vec![convolution(3, Stride::One), Primitive::BatchNorm]),
        sequence("residual_block", [activated(3, Stride::Node), activated(3, Stride::One)].concat()),
        sequence("downsample", vec![average(2, Stride::Fixed(2)), convolution(1, Stride::One)]),
        operation("sum", Meaning::Identity, Vec::new()),
        sequence(
            "head",
            vec![Primitive::BatchNorm, relu, Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }],
        ),
    ]
}
