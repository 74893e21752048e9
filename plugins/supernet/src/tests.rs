//! The SuperNet against graphs put together by hand, and its promises one by one.

use std::sync::{Arc, Mutex};

use pleach_sdk::{
    BuildEstimator, Context, Dataset, DatasetInfo, Description, Estimator, Genome, Network, Region, Result,
    SearchSpace, Seed, Shape, Split, TrainPlan,
    description::{
        Activation, Apply, Block, Combine, DESCRIPTION_FORMAT, Groups, Meaning, Node, Operation, Pool, Primitive, Slot,
        Stride, Width,
    },
    rand::Rng,
    serde_json::Value,
};
use tch::{Device, Kind, Tensor};

use crate::{
    BatchNormConfig, Config, Normalisation, Sampling, WeightSharing,
    batch_norm::{Mode, Statistics},
    data::Images,
    network::forward,
    weights::{LayerWeights, Weights},
};

mod chain;
mod cuda;
mod emulation;
mod finished;
mod generation;
mod kernels;
mod latency;
mod pytorch;
pub(crate) mod random;
mod side_by_side;
mod stand_alone;
mod zero_cost;

struct Space(Network);

impl SearchSpace for Space {
    fn network(&self) -> &Network {
        &self.0
    }
}

/// The shape of so many of a network's images.
fn batch_of(images: i64, network: &Network) -> [i64; 4] {
    let shape = network.description().input;
    [images, shape.channels.into(), shape.height.into(), shape.width.into()]
}

fn operation(name: &str, meaning: Meaning, residual: bool, primitives: Vec<Primitive>) -> Operation {
    Operation { name: name.to_owned(), meaning, primitives, residual }
}

fn convolution(kernel: u32, groups: Groups, channels: Width) -> Primitive {
    Primitive::Convolution { kernel, stride: Stride::Node, groups, channels, dilation: 1, bias: false }
}

fn node(name: &str, inputs: &[&str], combine: Combine, apply: Apply, channels: Option<u32>, stride: u32) -> Node {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    Node { name: name.to_owned(), inputs, combine, apply, channels, stride }
}

fn fixed(name: &str) -> Apply {
    Apply::Operation(name.to_owned())
}

/// A stem of 6 channels, two layers that can be absent, a head; 8 x 8 images, 4 classes.
fn growing() -> Arc<Space> {
    let mbconv = |name: &str, kernel| {
        let primitives = vec![
            Primitive::Convolution {
                kernel: 1,
                stride: Stride::One,
                groups: Groups::Dense,
                channels: Width::Input(2.0),
                dilation: 1,
                bias: false,
            },
            Primitive::BatchNorm,
            Primitive::Activation(Activation::Relu),
            convolution(kernel, Groups::Depthwise, Width::Same),
            Primitive::BatchNorm,
            Primitive::Activation(Activation::Relu),
            convolution(1, Groups::Dense, Width::Output),
            Primitive::BatchNorm,
        ];
        operation(name, Meaning::Sequence, true, primitives)
    };
    let stem = vec![
        convolution(3, Groups::Dense, Width::Output),
        Primitive::BatchNorm,
        Primitive::Activation(Activation::Relu),
    ];
    let head = vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }];
    let choices: Vec<String> = ["small", "large", "identity", "absent"].map(str::to_owned).to_vec();
    let slot = |name: &str| Slot { name: name.to_owned(), choices: choices.clone() };
    let description = Description {
        format: DESCRIPTION_FORMAT,
        name: "growing".to_owned(),
        input: Shape { channels: 3, height: 8, width: 8 },
        classes: 4,
        operations: vec![
            operation("stem", Meaning::Sequence, false, stem),
            mbconv("small", 3),
            mbconv("large", 5),
            operation("identity", Meaning::Identity, false, Vec::new()),
            operation("absent", Meaning::Absent, false, Vec::new()),
            operation("head", Meaning::Sequence, false, head),
        ],
        slots: vec![slot("one"), slot("two")],
        blocks: vec![Block { name: "Block 1".to_owned(), slots: vec![0, 1] }],
        network: vec![
            node("stem", &["input"], Combine::Sum, fixed("stem"), Some(6), 1),
            node("one", &["stem"], Combine::Sum, Apply::Slot(0), None, 1),
            node("two", &["one"], Combine::Sum, Apply::Slot(1), None, 1),
            node("head", &["two"], Combine::Sum, fixed("head"), Some(4), 1),
        ],
    };
    Arc::new(Space(Network::new(description).expect("the description is sound")))
}

/// Images whose class shows in the direction of a step from dark to light, with noise.
struct Edges {
    info: DatasetInfo,
    asked: Mutex<Vec<(Split, u64)>>,
}

impl Edges {
    fn new() -> Arc<Self> {
        let info = DatasetInfo {
            name: "edges".to_owned(),
            shape: Shape { channels: 3, height: 8, width: 8 },
            classes: ["right", "left", "down", "up"].map(str::to_owned).to_vec(),
            train: 600,
            test: 50,
            views: false,
        };
        Arc::new(Edges { info, asked: Mutex::new(Vec::new()) })
    }
}

impl Dataset for Edges {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        let mut asked = self.asked.lock().expect("no test panics while it holds this");
        for ((index, image), label) in indices.iter().zip(images.chunks_mut(192)).zip(labels) {
            asked.push((split, *index));
            let mut generator = Seed(*index).generator();
            *label = (index % 4) as u32;
            for (pixel, byte) in image.iter_mut().enumerate() {
                let (row, column) = (pixel % 64 / 8, pixel % 8);
                let is_light = [column > 3, column < 4, row > 3, row < 4][*label as usize];
                *byte = if is_light { 150 } else { 100 } + generator.random_range(0..60);
            }
        }
        Ok(())
    }
}

fn config() -> Config {
    Config {
        device: "cpu".to_owned(),
        threads: 1,
        batch: 32,
        held_out: 120,
        evaluation_batch: 60,
        augment: crate::Augmentation { crop: 1, flip: false, cutout: 2 },
        batch_norm: BatchNormConfig { recalibration_images: 100, ..BatchNormConfig::default() },
        ..Config::default()
    }
}

fn build_with(config: Config, dataset: Arc<Edges>, seed: u64) -> Result<WeightSharing> {
    let context = Context { seed: Seed(seed), ..Context::default() };
    WeightSharing::build(config, growing(), Some(dataset), &context)
}

fn build(seed: u64) -> WeightSharing {
    build_with(config(), Edges::new(), seed).expect("the configuration is sound")
}

fn region(allowed: [&[u16]; 2]) -> Region {
    Region::new(allowed.map(<[u16]>::to_vec).to_vec()).expect("no slot is empty")
}

fn plan(allowed: [&[u16]; 2], epochs: f64) -> TrainPlan {
    TrainPlan { region: region(allowed), epochs, stage: 0, notes: Value::Null }
}

fn genomes() -> Vec<Genome> {
    [[0, 0], [1, 0], [0, 1], [2, 1], [1, 3]].map(|genes| Genome(genes.to_vec())).to_vec()
}

fn values(estimator: &mut WeightSharing, genomes: &[Genome]) -> Vec<Vec<f64>> {
    let outcomes = estimator.evaluate(genomes, Seed(0)).expect("evaluation works");
    outcomes.into_iter().map(|outcome| outcome.expect("the candidate can be measured")).collect()
}

#[test]
fn training_learns_what_can_be_learned() {
    let mut estimator = build(1);
    let before = values(&mut estimator, &genomes());
    let report = estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 12.0), Seed(2)).expect("training works");
    assert!(report.weights_changed);
    // 480 images make 15 batches; each step takes the three allowed choices of each layer.
    assert_eq!(report.images, 12 * 15 * 32 * 3);
    let after = values(&mut estimator, &genomes()[..4]);
    for (before, after) in before.iter().zip(&after) {
        assert!(after[0] > 0.9, "accuracy {} after training", after[0]);
        assert!(after[1] < before[1], "loss {} after {}", after[1], before[1]);
    }
}

#[test]
fn both_ways_of_sampling_learn() {
    let mut estimator =
        build_with(Config { sampling: Sampling::Uniform, ..config() }, Edges::new(), 1).expect("it is sound");
    let report = estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 20.0), Seed(2)).expect("training works");
    assert_eq!(report.images, 20 * 15 * 32);
    assert!(values(&mut estimator, &genomes()[..1])[0][0] > 0.8);
}

#[test]
fn the_same_seeds_give_the_same_numbers_to_the_last_bit() {
    let numbers = |build_seed, train_seed| {
        let mut estimator = build(build_seed);
        let report = estimator.train(&plan([&[0, 1, 2], &[3]], 1.0), Seed(train_seed)).expect("training works");
        (report, values(&mut estimator, &[Genome(vec![0, 3]), Genome(vec![1, 3])]))
    };
    assert_eq!(numbers(1, 2), numbers(1, 2));
    assert_ne!(numbers(1, 2), numbers(1, 3));
    assert_ne!(numbers(1, 2), numbers(2, 2));
}

#[test]
fn a_candidate_is_measured_the_same_whatever_else_is_asked() {
    for evaluation in [Normalisation::Recalibrated, Normalisation::BatchStatistics] {
        let config = Config { batch_norm: BatchNormConfig { evaluation, ..config().batch_norm }, ..config() };
        let mut estimator = build_with(config, Edges::new(), 1).expect("it is sound");
        estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 1.0), Seed(2)).expect("training works");
        let together = values(&mut estimator, &genomes());
        let mut backwards: Vec<Vec<f64>> = genomes()
            .iter()
            .rev()
            .map(|genome| values(&mut estimator, std::slice::from_ref(genome)).remove(0))
            .collect();
        backwards.reverse();
        assert_eq!(together, backwards);
    }
}

#[test]
fn images_that_stay_on_the_device_make_the_same_batches() {
    let dataset = Edges::new();
    let training: Vec<u64> = (0..600).collect();
    let images = |resident| {
        Images::new(Arc::clone(&dataset) as Arc<dyn Dataset>, &training, Device::Cpu, resident, None).expect("it works")
    };
    let (fetched, resident) = (images(0), images(600 * 192));
    let asked = dataset.asked.lock().expect("no test panics while it holds this").len();
    let lists: Vec<Vec<u64>> = vec![vec![5, 599, 0, 5], vec![17, 300]];
    let batches = |images: &Images| {
        let mut batches = Vec::new();
        let augmentation = crate::Augmentation { crop: 2, flip: true, cutout: 3 };
        images
            .ahead(Split::Train, lists.clone().into_iter(), |raw| {
                for batch in [images.plain(&raw)?, images.augmented(&raw, &augmentation, Seed(4))?] {
                    batches.extend([batch.images, batch.labels]);
                }
                Ok(())
            })
            .expect("the images are there");
        batches
    };
    assert_eq!(batches(&fetched), batches(&resident));
    let again = dataset.asked.lock().expect("no test panics while it holds this").len() - asked;
    assert_eq!(again, 6, "what is resident is not fetched again");
    // The room is a limit.
    let too_many = images(600 * 192 - 1);
    assert!(matches!(too_many.fetch(&[0]), Ok(crate::data::Raw::Fetched { .. })));
}

fn snapshot(estimator: &WeightSharing) -> std::collections::HashMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    estimator.save(folder.path()).expect("weights can be written");
    let tensors = Tensor::read_safetensors(folder.path().join("supernet.safetensors")).expect("they can be read");
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let mut bytes = vec![0; tensor.numel() * 4];
            tensor.copy_data_u8(&mut bytes, tensor.numel());
            (name, bytes)
        })
        .collect()
}

#[test]
fn weights_outside_of_the_region_are_not_touched() {
    let mut estimator = build(1);
    estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 1.0), Seed(2)).expect("training works");
    let before = snapshot(&estimator);
    estimator.train(&plan([&[1], &[0, 2]], 1.0), Seed(3)).expect("training works");
    let after = snapshot(&estimator);
    for (name, bytes) in &before {
        let is_pruned = name.starts_with("one/small") || name.starts_with("two/large");
        assert_eq!(after[name] == *bytes, is_pruned, "{name}");
    }
}

#[test]
fn weights_that_are_not_inherited_are_first_weights() {
    let open = plan([&[0, 1, 2], &[0, 1, 2]], 1.0);
    let trained = |inherit, before: bool| {
        let mut estimator = build(1);
        estimator.config_for_test(|config| config.inherit = inherit);
        if before {
            estimator.train(&plan([&[0, 1], &[3]], 2.0), Seed(2)).expect("training works");
        }
        estimator.train(&open, Seed(3)).expect("training works");
        values(&mut estimator, &genomes())
    };
    assert_eq!(trained(false, true), trained(false, false));
    assert_ne!(trained(true, true), trained(true, false));
}

#[test]
fn a_grown_network_is_at_birth_the_network_that_it_grew_from() {
    let mut estimator = build(1);
    estimator.train(&plan([&[0, 1], &[3]], 2.0), Seed(2)).expect("training works");
    let before = values(&mut estimator, &[Genome(vec![0, 3]), Genome(vec![1, 3])]);
    // A rate of zero: the layers are born and nothing else happens.
    estimator.config_for_test(|config| config.learning_rate = 0.0);
    estimator.train(&plan([&[0, 1], &[0, 1, 2]], 0.1), Seed(3)).expect("training works");
    for second in [0, 1, 2] {
        let after = values(&mut estimator, &[Genome(vec![0, second]), Genome(vec![1, second])]);
        assert_eq!(after, before, "with choice {second} in the layer that was born");
    }
    estimator.config_for_test(|config| config.learning_rate = 0.05);
    estimator.train(&plan([&[0, 1], &[0, 1]], 2.0), Seed(4)).expect("training works");
    let trained = values(&mut estimator, &[Genome(vec![0, 0]), Genome(vec![0, 3])]);
    assert_ne!(trained[0], trained[1], "the layer that was born has learned something");
}

#[test]
fn held_out_images_are_not_trained_on_and_test_images_not_looked_at() {
    let dataset = Edges::new();
    let mut estimator = build_with(config(), Arc::clone(&dataset), 1).expect("it is sound");
    let taken = || std::mem::take(&mut *dataset.asked.lock().expect("no test panics while it holds this"));
    estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 2.0), Seed(2)).expect("training works");
    let trained: std::collections::BTreeSet<u64> = taken().into_iter().map(|(_, index)| index).collect();
    assert_eq!(trained.len(), 480);
    values(&mut estimator, &genomes());
    let measured = taken();
    let held_out: Vec<u64> =
        measured.iter().map(|(_, index)| *index).filter(|index| !trained.contains(index)).collect();
    assert_eq!(held_out.len(), 120, "held-out images are measured with");
    assert_eq!(measured.len() - held_out.len(), 100, "statistics come from training images");
    assert!(measured.iter().all(|(split, _)| *split == Split::Train));
}

#[test]
fn saved_weights_go_on_as_if_nothing_had_happened() {
    let first = plan([&[0, 1], &[3]], 1.0);
    let second = plan([&[0, 1], &[0, 1, 2]], 1.0);
    let mut whole = build(1);
    whole.train(&first, Seed(2)).expect("training works");
    let folder = tempfile::tempdir().expect("a temporary folder");
    whole.save(folder.path()).expect("weights can be written");
    let mut resumed = build(1);
    resumed.load(folder.path()).expect("weights can be read");
    for estimator in [&mut whole, &mut resumed] {
        estimator.train(&second, Seed(3)).expect("training works");
    }
    assert_eq!(snapshot(&whole), snapshot(&resumed));
    assert_eq!(values(&mut whole, &genomes()), values(&mut resumed, &genomes()));
    // Before the first training there is nothing to save, and that can be loaded too.
    let empty = tempfile::tempdir().expect("a temporary folder");
    build(1).save(empty.path()).expect("nothing is written");
    let mut fresh = build(1);
    fresh.load(empty.path()).expect("nothing is read");
    assert_eq!(values(&mut fresh, &genomes()), values(&mut build(1), &genomes()));
}

#[test]
fn weights_that_are_damaged_are_refused() {
    let mut estimator = build(1);
    estimator.train(&plan([&[0], &[3]], 0.1), Seed(2)).expect("training works");
    let check = |damage: fn(&std::path::Path), expected: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        estimator.save(folder.path()).expect("weights can be written");
        damage(folder.path());
        let error = build(1).load(folder.path()).expect_err(expected);
        assert!(error.message.contains(expected), "{error}");
    };
    check(
        |folder| std::fs::write(folder.join("supernet.safetensors"), "no tensors").expect("it can be written"),
        "libtorch failed while reading weights",
    );
    check(|folder| std::fs::write(folder.join("state.json"), "{").expect("it can be written"), "state.json");
    check(
        |folder| {
            let text = r#"{"growth":{"born":[true],"trained":true},"pixels":{"mean":[1,1,1],"deviation":[1,1,1]}}"#;
            std::fs::write(folder.join("state.json"), text).expect("it can be written");
        },
        "it is of a space with 1 slots, this one has 2",
    );
}

#[test]
fn weights_that_became_useless_fail_the_candidate_and_not_the_batch() {
    let mut estimator = build(1);
    estimator.train(&plan([&[0, 1], &[0, 1]], 0.1), Seed(2)).expect("training works");
    estimator.weights_for_test(|weights, network| {
        for index in weights.used_by(network, &Genome(vec![1, 3])) {
            if !weights.used_by(network, &Genome(vec![0, 3])).contains(&index) {
                tch::no_grad(|| drop(weights.parameters[index].value.fill_(f64::NAN)));
            }
        }
    });
    let outcomes =
        estimator.evaluate(&[Genome(vec![0, 0]), Genome(vec![1, 0])], Seed(0)).expect("the batch is measured");
    assert!(outcomes[0].is_ok());
    assert!(outcomes[1].as_ref().is_err_and(|reason| reason.contains("the loss is NaN")), "{outcomes:?}");
}

#[test]
fn training_that_diverges_says_so_and_leaves_the_weights_as_they_were() {
    let config = Config { learning_rate: 10.0, clip: 0.0, momentum: 1.0, weight_decay: 1.0, restarts: 0, ..config() };
    let mut estimator = build_with(config, Edges::new(), 1).expect("it is sound");
    estimator.train(&plan([&[0], &[3]], 0.0), Seed(2)).expect("no epoch, no training");
    let before = snapshot(&estimator);
    let error = estimator.train(&plan([&[0, 1], &[0, 1]], 50.0), Seed(2)).expect_err("the loss explodes");
    assert!(error.message.contains("lower learning_rate"), "{error}");
    assert_eq!(snapshot(&estimator), before);
    // With a lower rate it does not diverge.
    estimator.config_for_test(|config| config.restarts = 10);
    let report = estimator.train(&plan([&[0, 1], &[0, 1]], 50.0), Seed(2)).expect("a lower rate is found");
    assert!(report.metrics["restarts"] >= 1.0 && report.metrics["learning_rate"] < 10.0, "{report:?}");
    assert!(report.metrics["loss"].is_finite());
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let check = |change: fn(&mut Config), place: &str, expected: &str| {
        let mut config = config();
        change(&mut config);
        let error = build_with(config, Edges::new(), 1).err().expect(expected);
        assert_eq!(error.kind, pleach_sdk::ErrorKind::Config);
        assert_eq!(error.place.as_deref(), Some(place), "{error}");
        assert!(error.message.contains(expected), "{error}");
    };
    check(|config| config.held_out = 600, "/held_out", "asks for 600 images, there are 600");
    check(|config| config.train_images = 481, "/train_images", "asks for 481 images, there are 480");
    check(|config| config.evaluate_images = 121, "/evaluate_images", "asks for 121 images, there are 120");
    check(|config| config.batch = 481, "/batch", "a batch of 481 is more than the 480 training images");
    check(|config| config.device = "gpu".to_owned(), "/device", "unknown device `gpu`");
    check(|config| config.device = "cuda:x".to_owned(), "/device", "unknown device `cuda:x`");
    check(|config| config.device = "cuda:99".to_owned(), "/device", "`cuda:99` was asked for, but there");
    let error = WeightSharing::build(config(), growing(), None, &Context::default()).err().expect("it has no images");
    assert!(error.message.contains("add `dataset:`"), "{error}");
}

/// Every kind of layer in one network, with inputs that are added and laid side by side.
fn zoo() -> Network {
    let pool = |kind| Primitive::Pool { kind, kernel: 3, stride: Stride::Node };
    let description = Description {
        format: DESCRIPTION_FORMAT,
        name: "zoo".to_owned(),
        input: Shape { channels: 4, height: 6, width: 6 },
        classes: 3,
        operations: vec![
            operation(
                "gated",
                Meaning::Sequence,
                true,
                vec![
                    Primitive::Convolution {
                        kernel: 3,
                        stride: Stride::One,
                        groups: Groups::Fixed(2),
                        channels: Width::Same,
                        dilation: 2,
                        bias: true,
                    },
                    Primitive::BatchNorm,
                    Primitive::Activation(Activation::HardSwish),
                    Primitive::SqueezeExcite { ratio: 0.5, gate: Activation::HardSigmoid },
                ],
            ),
            operation("max", Meaning::Sequence, false, vec![pool(Pool::Max)]),
            operation("mean", Meaning::Sequence, false, vec![pool(Pool::Average)]),
            operation("cut", Meaning::Zero, false, Vec::new()),
            operation("soft", Meaning::Sequence, false, vec![Primitive::Activation(Activation::Silu), pool(Pool::Max)]),
            operation(
                "head",
                Meaning::Sequence,
                false,
                vec![
                    Primitive::Activation(Activation::Gelu),
                    Primitive::GlobalAverage,
                    Primitive::Linear { features: Width::Output },
                ],
            ),
        ],
        slots: vec![Slot { name: "edge".to_owned(), choices: ["max", "cut", "soft"].map(str::to_owned).to_vec() }],
        blocks: Vec::new(),
        network: vec![
            node("gated", &["input"], Combine::Sum, fixed("gated"), None, 1),
            node("edge", &["gated"], Combine::Sum, Apply::Slot(0), None, 2),
            node("mean", &["gated"], Combine::Sum, fixed("mean"), None, 2),
            node("added", &["edge", "mean"], Combine::Sum, fixed("max"), None, 1),
            node("head", &["added", "mean"], Combine::Concat, fixed("head"), Some(3), 1),
        ],
    };
    Network::new(description).expect("the description is sound")
}

#[test]
fn every_kind_of_layer_computes_what_its_formula_says() {
    let network = zoo();
    let weights = Weights::new(&network, true, Device::Cpu, Seed(1)).expect("weights can be made");
    random::seed(1);
    let images = random::normal(&[5, 4, 6, 6]);
    let of = |node: usize, layer: usize| &weights.of(node, 0)[layer];
    let value = |index: usize| &weights.parameters[index].value;

    let LayerWeights::Convolution { weight, bias: Some(bias) } = of(0, 0) else { panic!("a convolution with bias") };
    let convolved = images.conv2d(value(*weight), Some(value(*bias)), [1, 1], [2, 2], [2, 2], 2);
    // Batch norm by hand: mean and biased variance over images, rows and columns.
    let over = [0i64, 2, 3];
    let mean = convolved.mean_dim(over.as_slice(), true, Kind::Float);
    let variance = (&convolved - &mean).square().mean_dim(over.as_slice(), true, Kind::Float);
    let normal = (&convolved - &mean) / (variance + 1e-5).sqrt();
    let swished = &normal * ((&normal + 3.0).clamp(0.0, 6.0) / 6.0);
    let LayerWeights::SqueezeExcite { reduce, expand } = of(0, 3) else { panic!("a gate") };
    let squeezed = swished.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
    let dense = |input: &Tensor, (weight, bias): (usize, usize)| {
        input.matmul(&value(weight).flatten(1, -1).transpose(0, 1)) + value(bias)
    };
    let hidden = dense(&squeezed, *reduce).clamp_min(0.0);
    let gate = ((dense(&hidden, *expand) + 3.0) / 6.0).clamp(0.0, 1.0);
    let gated = &swished * gate.unsqueeze(-1).unsqueeze(-1) + &images;

    let max = |input: &Tensor, stride: i64| input.max_pool2d([3, 3], [stride, stride], [1, 1], [1, 1], false);
    let mean_pooled = gated.avg_pool2d([3, 3], [2, 2], [1, 1], false, false, None);
    let edges =
        [max(&gated, 2), gated.zeros_like().slice(2, 0, 3, 1).slice(3, 0, 3, 1), max(&(&gated * gated.sigmoid()), 2)];
    for (choice, edge) in edges.iter().enumerate() {
        let added = max(&(edge + &mean_pooled), 1);
        let joined = Tensor::cat(&[added, mean_pooled.shallow_clone()], 1);
        let bent = &joined * (((&joined / 2f64.sqrt()).erf() + 1.0) / 2.0);
        let LayerWeights::Linear { weight, bias } = of(4, 2) else { panic!("a linear layer") };
        let features = bent.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
        let expected = features.matmul(&value(*weight).transpose(0, 1)) + value(*bias);
        let found =
            forward(&network, &weights, &Genome(vec![choice as u16]), &images, Mode::Batch).expect("it computes");
        let difference = (found - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "choice {choice}: {difference}");
    }
}

#[test]
fn recorded_statistics_are_the_mean_of_those_of_the_batches() {
    let network = zoo();
    let weights = Weights::new(&network, true, Device::Cpu, Seed(1)).expect("weights can be made");
    random::seed(2);
    let batches: Vec<Tensor> = (0..3).map(|_| random::normal(&[5, 4, 6, 6])).collect();
    let genome = Genome(vec![0]);
    let mut recorded = Statistics::default();
    let mut one_by_one = Vec::new();
    for batch in &batches {
        recorded.begin_batch();
        let _ = forward(&network, &weights, &genome, batch, Mode::Record(&mut recorded)).expect("it computes");
        let mut alone = Statistics::default();
        alone.begin_batch();
        let _ = forward(&network, &weights, &genome, batch, Mode::Record(&mut alone)).expect("it computes");
        one_by_one.push(alone.means_for_test());
    }
    let mean = (&one_by_one[0] + &one_by_one[1] + &one_by_one[2]) / 3.0;
    let difference = (recorded.means_for_test() - mean).abs().max().double_value(&[]);
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn the_network_counts_the_parameters_that_the_description_promises() {
    for network in [zoo(), growing().0.clone()] {
        let weights = Weights::new(&network, true, Device::Cpu, Seed(1)).expect("weights can be made");
        let mut generator = Seed(3).generator();
        for _ in 0..20 {
            let genome = Region::full(&network).sample(&mut generator);
            let used = weights.used_by(&network, &genome);
            let numbers: usize = used.iter().map(|index| weights.parameters[*index].value.numel()).sum();
            assert_eq!(numbers as u64, network.cost(&genome).params, "{genome}");
        }
    }
}
