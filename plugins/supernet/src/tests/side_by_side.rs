//! Paths of a training step that are computed at the same time.

use super::{kernels::difference, pytorch::networks, *};
use crate::{
    data::LabelledBatch,
    kernels::Graph,
    threads::{called_back, side_by_side},
    training::passes,
};

#[test]
fn paths_side_by_side_are_those_one_by_one() {
    const IMAGES: i64 = 128;
    random::seed(31);
    for (name, network) in networks() {
        let shape = batch_of(IMAGES, &network);
        let classes = network.description().classes.into();
        let batch = LabelledBatch {
            images: random::channels_last(shape),
            labels: random::below(classes, &[IMAGES], Kind::Int64),
        };
        let weights = Weights::new(&network, false, Device::Cpu, Seed(1)).expect("weights can be made");
        let mut generator = Seed(2).derive(&name, 0).generator();
        let paths: Vec<Genome> = (0..5).map(|_| Region::full(&network).sample(&mut generator)).collect();
        let compute = |side_by_side| {
            let config = Config { side_by_side, ..Config::default() };
            passes(&config, &network, &weights, &batch, &paths).expect("it computes")
        };
        // The first time, threads are new to libtorch.
        let (beside, again, alone) = (compute(true), compute(true), compute(false));
        assert_eq!(beside.len(), paths.len());
        for (index, ((beside, again), alone)) in beside.iter().zip(&again).zip(&alone).enumerate() {
            assert_eq!(beside.loss, again.loss, "{name} path {index}");
            let losses = difference(&beside.loss, &alone.loss);
            assert!(losses < 1e-5, "{name} path {index}: {losses}");
            assert_eq!(beside.gradients.0.len(), alone.gradients.0.len());
            let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
            let whole = alone.gradients.0.values().map(|it| norm(it).powi(2)).sum::<f64>().sqrt();
            for (parameter, gradient) in &beside.gradients.0 {
                let case = format!("{name} path {index}, {}", weights.parameters[*parameter].name());
                assert_eq!(*gradient, again.gradients.0[parameter], "{case}");
                // Threads add up in another order, and at the bend of an activation rounding decides what passes.
                let expected = &alone.gradients.0[parameter];
                let off = norm(&(gradient - expected)) / norm(expected).max(1e-4 * whole);
                assert!(off < 0.02, "{case}: {off}");
            }
        }
    }
}

#[test]
fn convolutions_of_threads_that_are_new_are_right() {
    random::seed(32);
    // As an estimator does: threads take it up when they first compute.
    tch::set_num_threads(2);
    let given = (random::channels_last([64, 3, 32, 32]), random::channels_last([16, 3, 3, 3]));
    let gradient = |(images, weight): &(Tensor, Tensor), of: Kind| {
        let weight = weight.to_kind(of).copy().set_requires_grad(true);
        let none = None::<&Tensor>;
        images.to_kind(of).conv2d(&weight, none, [2, 2], [1, 1], [1, 1], 1).square().sum(of).backward();
        weight.grad()
    };
    let copies = Mutex::new((0..4).map(|_| (given.0.copy(), given.1.copy())).collect::<Vec<_>>());
    let take = || copies.lock().expect("nobody panics").pop().expect("there is one for each");
    let found = side_by_side(Device::Cpu, 4, 2, |_| gradient(&take(), Kind::Float)).expect("it computes");
    let expected = gradient(&given, Kind::Double);
    for found in found {
        let difference = difference(&found, &expected);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn results_are_in_their_order_and_a_panic_is_handed_on() {
    const CPU: Device = Device::Cpu;
    assert_eq!(side_by_side(CPU, 7, 2, |number| number * number).expect("it computes"), [0, 1, 4, 9, 16, 25, 36]);
    assert!(side_by_side(CPU, 0, 2, |number| number).expect("it computes").is_empty());
    let panic = std::panic::catch_unwind(|| side_by_side(CPU, 3, 2, |number| assert_ne!(number, 1)));
    assert!(panic.is_err());
}

#[test]
fn what_cpp_calls_back_gives_its_result_and_its_panic() {
    let once = |work: fn() -> i32| {
        called_back(work, |call, context| {
            call(context);
            std::ptr::null_mut()
        })
    };
    assert_eq!(once(|| 5).expect("it was called"), 5);
    assert!(std::panic::catch_unwind(|| once(|| panic!("on purpose"))).is_err());
    assert!(called_back(|| 5, |_, _| std::ptr::null_mut()).is_err(), "nobody called it");
}

#[test]
fn without_a_device_there_is_no_graph_and_it_says_so() {
    if let Device::Cuda(_) = crate::device::prepare("auto", 1, false, false).expect("auto is always possible") {
        return;
    }
    let error = Graph::of(|| Ok(())).err().expect("there is no CUDA");
    assert!(error.to_string().to_lowercase().contains("cuda"), "{error}");
}
