//! A small space, an operator and a host loop for the tests of this crate.

use std::sync::Arc;

use pleach_sdk::{
    Context, Description, Evaluation, Genome, Goal, Network, Objective, Objectives, Operator, Region, Result,
    SearchSpace, Seed, Shape, Step, Strategy, WeightedOperator,
    description::{
        Apply, Block, Combine, DESCRIPTION_FORMAT, Meaning, Node, Operation, Primitive, Slot, Stride, Width,
    },
    rand::Rng,
    state,
};

struct Chain(Network);

impl SearchSpace for Chain {
    fn network(&self) -> &Network {
        &self.0
    }
}

/// Four layers, each a small or a large convolution or left out.
pub(crate) fn chain() -> Arc<dyn SearchSpace> {
    let sequence = |name: &str, primitives| Operation {
        name: name.to_owned(),
        meaning: Meaning::Sequence,
        primitives,
        residual: false,
    };
    let convolution = |kernel| Primitive::Convolution {
        kernel,
        stride: Stride::One,
        groups: Default::default(),
        channels: Width::Same,
        dilation: 1,
        bias: false,
    };
    let head = vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }];
    let identity =
        Operation { name: "identity".to_owned(), meaning: Meaning::Identity, primitives: Vec::new(), residual: false };
    let node = |name: String, input: String, apply, channels| Node {
        name,
        inputs: vec![input],
        combine: Combine::Sum,
        apply,
        channels,
        stride: 1,
    };
    let name = |layer: usize| format!("layer{layer}");
    let before = |layer: usize| if layer == 0 { "input".to_owned() } else { name(layer - 1) };
    let mut network: Vec<Node> =
        (0..4).map(|layer| node(name(layer), before(layer), Apply::Slot(layer), None)).collect();
    network.push(node("head".to_owned(), name(3), Apply::Operation("head".to_owned()), Some(2)));
    let choices = ["identity", "small", "large"].map(str::to_owned).to_vec();
    let description = Description {
        format: DESCRIPTION_FORMAT,
        name: "chain".to_owned(),
        input: Shape { channels: 3, height: 4, width: 4 },
        classes: 2,
        operations: vec![
            identity,
            sequence("small", vec![convolution(1)]),
            sequence("large", vec![convolution(3)]),
            sequence("head", head),
        ],
        slots: (0..4).map(|layer| Slot { name: name(layer), choices: choices.clone() }).collect(),
        blocks: vec![Block { name: "Block 1".to_owned(), slots: vec![0, 1, 2, 3] }],
        network,
    };
    Arc::new(Chain(Network::new(description).expect("the description is sound")))
}

struct Redraw(usize);

impl Operator for Redraw {
    fn arity(&self) -> usize {
        self.0
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        let mut child = parents[0].clone();
        let slot = generator.random_range(0..child.len());
        child.0[slot] = region.sample_slot(slot, &mut generator);
        Ok(child)
    }
}

pub(crate) fn mutation(name: &str, arity: usize) -> WeightedOperator {
    WeightedOperator { name: name.to_owned(), weight: 1.0, operator: Arc::new(Redraw(arity)) }
}

fn objective(name: &str, goal: Option<Goal>, at_most: Option<f64>) -> Objective {
    Objective { name: name.to_owned(), goal, at_most, at_least: None }
}

/// Accuracy to maximise, and parameters to minimise.
pub(crate) fn accuracy_and_params() -> Context {
    let objectives =
        vec![objective("accuracy", Some(Goal::Maximise), None), objective("params", Some(Goal::Minimise), None)];
    Context { objectives: Objectives(objectives), ..Context::default() }
}

/// Accuracy to maximise, and a limit on parameters.
pub(crate) fn context(params_at_most: Option<f64>) -> Context {
    let mut objectives = vec![objective("accuracy", Some(Goal::Maximise), None)];
    if params_at_most.is_some() {
        objectives.push(objective("params", None, params_at_most));
    }
    Context { objectives: Objectives(objectives), ..Context::default() }
}

pub(crate) fn fitness(genome: &Genome) -> f64 {
    genome.iter().map(|gene| f64::from(*gene)).sum()
}

/// What a network is measured at: its fitness and its parameters.
pub(crate) fn values(genome: &Genome) -> Vec<f64> {
    vec![fitness(genome), chain().network().cost(genome).params as f64]
}

/// Every genome of a region.
pub(crate) fn all(region: &Region) -> Vec<Genome> {
    let longer = |genomes: Vec<Vec<u16>>, allowed: &Vec<u16>| -> Vec<Vec<u16>> {
        genomes.iter().flat_map(|genes| allowed.iter().map(|choice| [genes, &[*choice][..]].concat())).collect()
    };
    region.slots().iter().fold(vec![Vec::new()], longer).into_iter().map(Genome).collect()
}

/// One step of a host: what was asked for, answered.
fn turn(strategy: &mut dyn Strategy, root: Seed, number: u64) -> Step {
    let step = strategy.next(root.derive("strategy", number)).expect("the search goes on");
    if let Step::Evaluate(batch) = &step {
        let tell = |genome: &Genome| Evaluation { genome: genome.clone(), outcome: Ok(values(genome)) };
        let evaluations: Vec<_> = batch.candidates.iter().map(|candidate| tell(&candidate.genome)).collect();
        strategy.tell(&evaluations).expect("the search goes on");
    }
    step
}

/// Runs a search to its end.
pub(crate) fn drive(strategy: &mut dyn Strategy, root: Seed) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..10_000 {
        steps.push(turn(strategy, root, number));
        if matches!(steps.last(), Some(Step::Finished(_))) {
            return steps;
        }
    }
    panic!("the search does not end");
}

pub(crate) fn genomes(steps: &[Step]) -> Vec<Genome> {
    let of_step = |step: &Step| match step {
        Step::Evaluate(batch) => batch.candidates.iter().map(|candidate| candidate.genome.clone()).collect(),
        _ => Vec::new(),
    };
    steps.iter().flat_map(of_step).collect()
}

/// The same seed gives the same steps, also when the state goes through a file after each.
pub(crate) fn check_state<S: Strategy>(build: impl Fn() -> S) {
    let whole = drive(&mut build(), Seed(5));
    assert_eq!(whole, drive(&mut build(), Seed(5)));
    assert_ne!(whole, drive(&mut build(), Seed(6)));
    let mut strategy = build();
    for (number, expected) in whole.iter().enumerate() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        strategy.save(folder.path()).expect("the state can be written");
        strategy = build();
        strategy.load(folder.path()).expect("the state can be read");
        assert_eq!(turn(&mut strategy, Seed(5), number as u64), *expected, "step {number}");
    }
    let damaged = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(damaged.path().join(state::FILE), "{").expect("the file can be written");
    assert!(build().load(damaged.path()).is_err());
}
