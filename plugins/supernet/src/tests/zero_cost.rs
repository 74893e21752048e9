//! Numbers of networks that were not trained, against formulas by hand.

use super::*;
use crate::{
    Proxy, ZeroCost, ZeroCostConfig,
    zero_cost::{
        codes::Codes,
        proxies::{saliency, synflow},
    },
};
use pleach_sdk::{
    Outcome,
    conformance::{self, Surroundings},
    serde_json::json,
};

const ALL: [Proxy; 6] =
    [Proxy::Synflow, Proxy::Naswot, Proxy::GradNorm, Proxy::Snip, Proxy::Parameters, Proxy::MultiplyAdds];

fn zero_cost() -> ZeroCostConfig {
    ZeroCostConfig {
        device: "cpu".to_owned(),
        threads: 1,
        proxies: ALL.to_vec(),
        batch: 16,
        ..ZeroCostConfig::default()
    }
}

fn build_in(
    config: ZeroCostConfig,
    space: Arc<dyn SearchSpace>,
    dataset: Option<Arc<dyn Dataset>>,
) -> Result<ZeroCost> {
    let context = Context { seed: Seed(1), ..Context::default() };
    ZeroCost::build(config, space, dataset, &context)
}

fn measure_in(config: ZeroCostConfig, space: Arc<dyn SearchSpace>, genomes: &[Genome]) -> Vec<Outcome> {
    let mut estimator = build_in(config, space, Some(Edges::new())).expect("the configuration is sound");
    estimator.evaluate(genomes, Seed(9)).expect("the batch is measured")
}

/// A chain of operations without choices for the images of [`Edges`].
fn chain(operations: Vec<Operation>) -> Arc<Space> {
    let mut before = "input".to_owned();
    let mut network = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let name = format!("node {index}");
        let channels = (index + 1 == operations.len()).then_some(4);
        network.push(node(&name, &[&before], Combine::Sum, fixed(&operation.name), channels, 1));
        before = name;
    }
    let description = Description {
        format: DESCRIPTION_FORMAT,
        name: "chain".to_owned(),
        input: Shape { channels: 3, height: 8, width: 8 },
        classes: 4,
        operations,
        slots: Vec::new(),
        blocks: Vec::new(),
        network,
    };
    Arc::new(Space(Network::new(description).expect("the description is sound")))
}

fn sequence(name: &str, primitives: Vec<Primitive>) -> Operation {
    operation(name, Meaning::Sequence, false, primitives)
}

fn head() -> Operation {
    sequence("head", vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }])
}

#[test]
fn synflow_is_what_flows_through_all_paths_once_for_each_layer() {
    let layers = vec![
        convolution(1, Groups::Dense, Width::Fixed(5)),
        Primitive::BatchNorm,
        Primitive::Activation(Activation::Relu),
        convolution(1, Groups::Dense, Width::Fixed(2)),
        Primitive::BatchNorm,
    ];
    let space = chain(vec![sequence("layers", layers), head()]);
    let genome = Genome(Vec::new());
    let mut weights = Weights::of_genome(&space.0, &genome, Device::Cpu, Seed(1)).expect("weights can be made");
    // What batch norms scale and shift by does not count.
    tch::no_grad(|| {
        for parameter in weights.parameters.iter_mut().filter(|parameter| parameter.name().ends_with("scale")) {
            drop(parameter.value.fill_(7.0));
        }
    });
    let matrix = |name: &str| {
        let parameter = weights.parameters.iter().find(|parameter| parameter.name().starts_with(name));
        parameter.expect("the layer has weights").value.detach().flatten(1, -1).to_kind(Kind::Double).abs()
    };
    let [first, second, last] = ["node 0/layers/0", "node 0/layers/3", "node 1/head/1/weight"].map(matrix);
    // Each pixel is 1, and so is the mean; every layer's sum is what reaches the outputs.
    let flow = last.matmul(&second).matmul(&first).sum(Kind::Double).double_value(&[]);
    let found = synflow(&space.0, &weights, &genome).expect("it computes");
    assert!((found - 3.0 * flow).abs() < 1e-12 * found, "{found} {flow}");
    // A shortcut adds a path: the last of three layers has the flow of both.
    let point = || vec![convolution(1, Groups::Dense, Width::Same), Primitive::BatchNorm];
    let space = chain(vec![operation("point", Meaning::Sequence, true, point()), head()]);
    let weights = Weights::of_genome(&space.0, &genome, Device::Cpu, Seed(1)).expect("weights can be made");
    let matrix = |index: usize| weights.parameters[index].value.detach().flatten(1, -1).to_kind(Kind::Double).abs();
    let (inner, outer) = (matrix(0), matrix(3));
    let branch = outer.matmul(&inner).sum(Kind::Double).double_value(&[]);
    let shortcut = outer.sum(Kind::Double).double_value(&[]);
    let found = synflow(&space.0, &weights, &genome).expect("it computes");
    assert!((found - (2.0 * branch + shortcut)).abs() < 1e-12 * found, "{found} {branch} {shortcut}");
}

#[test]
fn the_kernel_counts_agreements_of_rectifiers() {
    let tensor = |values: &[f32], images: i64| Tensor::from_slice(values).view([images, -1]);
    let mut codes = Codes::default();
    assert!(codes.log_determinant().expect("it computes").expect_err("it is empty").contains("has no rectifier"));
    // Codes 101 and 001: two of three agree.
    codes.add(Activation::Relu, &tensor(&[1.0, 0.0, 2.0, 0.0, 0.0, 3.0], 2)).expect("it is added");
    let determinant = |codes: &Codes| codes.log_determinant().expect("it computes");
    assert!((determinant(&codes).expect("it has one") - 5f64.ln()).abs() < 1e-12);
    // Gates are no rectifiers; another layer with codes 10 and 01 has no agreement.
    codes.add(Activation::Sigmoid, &tensor(&[0.1, 0.2], 2)).expect("it is left out");
    codes.add(Activation::HardSigmoid, &tensor(&[0.0, 0.2], 2)).expect("it is left out");
    codes.add(Activation::Silu, &tensor(&[0.5, -0.1, -0.2, 0.1], 2)).expect("it is added");
    assert!((determinant(&codes).expect("it has one") - 21f64.ln()).abs() < 1e-12);
    let why = |values: &[f32], images| {
        let mut codes = Codes::default();
        codes.add(Activation::Gelu, &tensor(values, images)).expect("it is added");
        determinant(&codes).expect_err("it is singular")
    };
    let alike = why(&[1.0, 0.0, 0.0, 1.0, 2.0, 0.0], 3);
    assert_eq!(alike, "images 0 and 2 of the batch agree in all 2 activations, so the kernel is singular");
    let square = why(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 4);
    assert_eq!(square, "the kernel of 4 images and 2 activations is singular: try a smaller batch");
}

#[test]
fn every_rectifier_is_seen_and_gradients_are_those_of_the_loss() {
    let network = zoo();
    let genome = Genome(vec![2]);
    let weights = Weights::of_genome(&network, &genome, Device::Cpu, Seed(1)).expect("weights can be made");
    random::seed(4);
    let images = random::normal(&[5, 4, 6, 6]);
    let mut seen = Vec::new();
    let mut watch = |function, output: &Tensor| {
        seen.push((function, output.size()[1..].iter().product::<i64>()));
        Ok(())
    };
    let pass = crate::network::Pass::from(Mode::Batch).with_watch(&mut watch);
    drop(forward(&network, &weights, &genome, &images, pass).expect("it computes"));
    // A fused one, one inside a gate, the choice's, and that of the head.
    let expected =
        [(Activation::HardSwish, 4 * 36), (Activation::Relu, 2), (Activation::Silu, 4 * 36), (Activation::Gelu, 8 * 9)];
    assert_eq!(seen, expected);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 0, 1]);
    let batch = crate::data::LabelledBatch { images, labels };
    let found = saliency(&network, &weights, &genome, &batch).expect("it computes");
    // By differences, weight by weight.
    let double = weights.map(|value| value.f_to_kind(Kind::Double)?.f_contiguous()).expect("it computes");
    let inputs = batch.images.to_kind(Kind::Double);
    let loss = || {
        let pass = crate::network::Pass::from(Mode::Batch).with_own_kernels(false);
        let logits = tch::no_grad(|| forward(&network, &double, &genome, &inputs, pass)).expect("it computes");
        logits.cross_entropy_loss(&batch.labels, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0).double_value(&[])
    };
    let (mut grad_norm, mut snip, step) = (0.0, 0.0, 1e-5);
    for index in double.factors_of(&network, &genome) {
        let values = double.parameters[index].value.detach().view(-1);
        let mut squares = 0.0;
        for place in 0..values.size()[0] {
            let mut one = values.get(place);
            let value = one.double_value(&[]);
            let mut at = |value: f64| {
                let _ = one.fill_(value);
                loss()
            };
            let gradient = (at(value + step) - at(value - step)) / (2.0 * step);
            at(value);
            squares += gradient * gradient;
            snip += (value * gradient).abs();
        }
        grad_norm += f64::sqrt(squares);
    }
    assert!((found.snip / snip - 1.0).abs() < 1e-6, "{} {snip}", found.snip);
    assert!((found.grad_norm / grad_norm - 1.0).abs() < 1e-6, "{} {grad_norm}", found.grad_norm);
}

#[test]
fn costs_are_the_networks_and_every_proxy_has_its_place() {
    let outcomes = measure_in(zero_cost(), growing(), &genomes());
    for (genome, outcome) in genomes().iter().zip(outcomes) {
        let values = outcome.expect("the candidate can be measured");
        let cost = growing().network().cost(genome);
        assert_eq!(values[4..], [cost.params as f64, cost.flops as f64]);
        for (place, proxy) in ALL.into_iter().enumerate() {
            let alone = ZeroCostConfig { proxies: vec![proxy], ..zero_cost() };
            let outcome = measure_in(alone, growing(), std::slice::from_ref(genome)).remove(0);
            assert_eq!(outcome.expect("it can be measured"), values[place..=place], "{proxy:?}");
        }
    }
}

#[test]
fn the_same_network_has_the_same_numbers_by_the_seed_of_the_run() {
    let one = Genome(vec![0, 3]);
    let values = |seed: u64, initialisations: u32, genome: &Genome| {
        let context = Context { seed: Seed(seed), ..Context::default() };
        let config = ZeroCostConfig { initialisations, ..zero_cost() };
        let mut estimator = ZeroCost::build(config, growing(), Some(Edges::new()), &context).expect("it is sound");
        let outcomes = estimator.evaluate(std::slice::from_ref(genome), Seed(seed)).expect("it is measured");
        outcomes[0].clone().expect("the candidate can be measured")
    };
    let first = values(1, 1, &one);
    assert_eq!(values(1, 1, &one), first);
    // A layer that passes its input through may stand anywhere.
    assert_eq!(values(1, 1, &Genome(vec![2, 0])), first);
    let (other, mean) = (values(2, 1, &one), values(1, 2, &one));
    for number in 0..4 {
        assert!(other[number] != first[number] && mean[number] != first[number], "{number}");
    }
    assert_eq!((&other[4..], &mean[4..]), (&first[4..], &first[4..]));
}

#[test]
fn what_a_network_has_not_fails_the_candidate() {
    let convolutions = |count| {
        let one = || sequence("wide", vec![convolution(3, Groups::Dense, Width::Fixed(16)), Primitive::BatchNorm]);
        let mut layers: Vec<Primitive> = Vec::new();
        for _ in 0..count {
            layers.extend(one().primitives);
        }
        chain(vec![sequence("deep", layers), head()])
    };
    let with = |proxy| ZeroCostConfig { proxies: vec![proxy], ..zero_cost() };
    let of = |proxy, count| measure_in(with(proxy), convolutions(count), &[Genome(Vec::new())]).remove(0);
    // Far more than single precision holds, ln 3.4e38 = 88.7.
    let deep = of(Proxy::Synflow, 60).expect("a double holds it")[0];
    assert!(deep > 100.0, "{deep}");
    let error = of(Proxy::Synflow, 400).expect_err("a double does not hold it");
    assert_eq!(error, "synflow: it is more than a double holds: the network is too deep for it");
    let error = of(Proxy::Naswot, 2).expect_err("there is no activation");
    assert_eq!(error, "naswot: the network has no rectifier that could be on or off");
    // More images than activations can tell apart.
    let layers = vec![
        convolution(1, Groups::Dense, Width::Fixed(1)),
        Primitive::Pool { kind: Pool::Average, kernel: 8, stride: Stride::Fixed(8) },
        Primitive::BatchNorm,
        Primitive::Activation(Activation::Relu),
    ];
    let narrow = chain(vec![sequence("narrow", layers), head()]);
    let error = measure_in(with(Proxy::Naswot), narrow, &[Genome(Vec::new())]).remove(0).expect_err("one bit each");
    assert!(error.contains("agree in all 1 activations, so the kernel is singular"), "{error}");
}

#[test]
fn a_network_whose_output_depends_on_no_weight_has_no_flow() {
    let layers = vec![convolution(1, Groups::Dense, Width::Same)];
    let cut = operation("cut", Meaning::Zero, false, Vec::new());
    let space = chain(vec![sequence("layers", layers), cut, head()]);
    let config = ZeroCostConfig { proxies: vec![Proxy::Synflow], ..zero_cost() };
    assert_eq!(measure_in(config, space, &[Genome(Vec::new())]), [Ok(vec![0.0])]);
}

#[test]
fn the_promises_of_an_estimator_are_kept() {
    let proxies = ["synflow", "naswot", "grad-norm", "snip", "parameters", "multiply-adds"];
    let config = json!({ "device": "cpu", "threads": 1, "proxies": proxies, "batch": 8 });
    let surroundings = Surroundings { config: Some(config), ..Surroundings::default() };
    conformance::estimator::<ZeroCost>(&surroundings).assert();
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let check = |change: fn(&mut ZeroCostConfig), place: Option<&str>, expected: &str| {
        let mut config = zero_cost();
        change(&mut config);
        let dataset = place.is_some().then(|| Edges::new() as Arc<dyn Dataset>);
        let error = build_in(config, growing(), dataset).err().expect(expected);
        assert_eq!(error.kind, pleach_sdk::ErrorKind::Config);
        assert_eq!(error.place.as_deref(), place, "{error}");
        assert!(error.message.contains(expected), "{error}");
    };
    check(|config| config.proxies.clear(), Some("/proxies"), "there is nothing to measure");
    check(|config| config.proxies.push(Proxy::Snip), Some("/proxies/6"), "snip is asked for twice");
    check(|config| config.batch = 601, Some("/batch"), "a batch of 601 is more than the 600 training images");
    check(|config| config.device = "gpu".to_owned(), Some("/device"), "unknown device `gpu`");
    check(|_| {}, None, "naswot looks at images: add `dataset:`");
    let error = build_in(zero_cost(), Arc::new(Space(zoo())), Some(Edges::new())).err().expect("other images");
    assert!(error.message.contains("the space takes images of 4 x 6 x 6"), "{error}");
    // What needs no images needs no data set.
    let without = ZeroCostConfig { proxies: vec![Proxy::Synflow, Proxy::Parameters], ..zero_cost() };
    let mut estimator = build_in(without, Arc::new(Space(zoo())), None).expect("it is sound");
    let outcomes = estimator.evaluate(&[Genome(vec![0])], Seed(0)).expect("it is measured");
    assert!(outcomes[0].as_ref().is_ok_and(|values| values[0] > 0.0), "{outcomes:?}");
}
