//! CUDA against the CPU. Without a CUDA device nothing of it is tested, and it says so.

use super::{pytorch::networks, *};
use crate::{
    data::LabelledBatch,
    network::{Pass, Precision},
    training::{Passed, passes},
};

/// The device's word, or `None`, said loudly, where there is no device.
pub(super) fn cuda() -> Option<Device> {
    let device = crate::device::prepare("auto", 1, false, false).expect("auto is always possible");
    if let Device::Cuda(_) = device {
        return Some(device);
    }
    assert!(std::env::var_os("PLEACH_TEST_CUDA").is_none(), "no CUDA device is there");
    eprintln!("SKIPPED: there is no CUDA device");
    None
}

fn furthest(one: &Tensor, other: &Tensor) -> f64 {
    (one - other.to_device(Device::Cpu)).abs().max().double_value(&[]) / one.abs().max().double_value(&[])
}

#[test]
fn every_kind_of_layer_computes_the_same_on_cuda() {
    let Some(device) = cuda() else { return };
    for network in [zoo(), growing().0.clone()] {
        let [here, there] = [Device::Cpu, device]
            .map(|device| Weights::new(&network, true, device, Seed(1)).expect("weights can be made"));
        random::seed(1);
        let size = batch_of(16, &network);
        let images = random::normal(&size);
        for genome in [Genome(vec![0; network.slots().len()]), Genome(vec![1; network.slots().len()])] {
            let logits = |weights: &Weights, images: &Tensor, precision| {
                let pass = Pass::from(Mode::Batch).with_precision(precision);
                forward(&network, weights, &genome, images, pass).expect("it computes")
            };
            let on_cpu = logits(&here, &images, Precision::Single);
            let on_cuda = |precision| logits(&there, &images.to_device(device), precision);
            // Convolutions may multiply with TF32, which has ten bits of fraction.
            let (single, mixed) = (on_cuda(Precision::Single), on_cuda(Precision::Mixed));
            assert!(furthest(&on_cpu, &single) < 5e-3, "{genome}: {}", furthest(&on_cpu, &single));
            assert!(furthest(&on_cpu, &mixed) < 1e-1, "{genome}: {}", furthest(&on_cpu, &mixed));
        }
    }
}

#[test]
fn training_on_cuda_learns_what_it_learns_on_the_cpu() {
    if cuda().is_none() {
        return;
    }
    let accuracy = |device: &str, resident, precision| {
        let config = Config { device: device.to_owned(), resident, precision, ..config() };
        let mut estimator = build_with(config, Edges::new(), 1).expect("it is sound");
        let report = estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 12.0), Seed(2)).expect("training works");
        assert!(report.metrics["loss"] < 0.3, "{device}, {resident} MiB, {precision:?}: {:?}", report.metrics);
        values(&mut estimator, &genomes()[..4]).iter().map(|values| values[0]).sum::<f64>() / 4.0
    };
    let on_cpu = accuracy("cpu", 0, Precision::Single);
    for (resident, precision) in [(0, Precision::Single), (64, Precision::Single), (64, Precision::Mixed)] {
        let on_cuda = accuracy("cuda", resident, precision);
        assert!((on_cuda - on_cpu).abs() < 0.05, "{resident} MiB, {precision:?}: {on_cuda} beside {on_cpu}");
    }
}

#[test]
fn paths_on_streams_of_cuda_are_those_one_by_one() {
    const IMAGES: i64 = 64;
    let Some(device) = cuda() else { return };
    random::seed(2);
    for (name, network) in networks() {
        let classes = network.description().classes.into();
        let batch = LabelledBatch {
            images: random::channels_last(batch_of(IMAGES, &network)).to_device(device),
            labels: random::below(classes, &[IMAGES], Kind::Int64).to_device(device),
        };
        let weights = Weights::new(&network, true, device, Seed(1)).expect("weights can be made");
        let mut generator = Seed(2).derive(&name, 0).generator();
        let paths: Vec<Genome> = (0..9).map(|_| Region::full(&network).sample(&mut generator)).collect();
        for (precision, allowed) in [(Precision::Single, 1e-2), (Precision::Mixed, 5e-2)] {
            let compute = |side_by_side| {
                let config = Config { side_by_side, streams: 4, precision, ..Config::default() };
                passes(&config, &network, &weights, &batch, &paths).expect("it computes")
            };
            let alone = compute(false);
            // What one round gave back the next one takes.
            for round in 0..4 {
                for (index, (beside, alone)) in compute(true).iter().zip(&alone).enumerate() {
                    let off = furthest_gradients(beside, alone);
                    assert!(off < allowed, "{name}, {precision:?}, round {round}, path {index}: {off}");
                }
            }
        }
    }
}

/// How far the gradients of one pass are from those of another, all together.
fn furthest_gradients(one: &Passed, other: &Passed) -> f64 {
    assert!(one.gradients.0.keys().eq(other.gradients.0.keys()));
    let squares = |of: &dyn Fn(usize) -> Tensor| {
        one.gradients.0.keys().map(|index| of(*index).norm().double_value(&[]).powi(2)).sum::<f64>()
    };
    let difference = squares(&|index| &one.gradients.0[&index] - &other.gradients.0[&index]);
    (difference / squares(&|index| other.gradients.0[&index].shallow_clone())).sqrt()
}
