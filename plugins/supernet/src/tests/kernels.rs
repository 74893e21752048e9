//! Our own kernels against libtorch's, and trainings with and without them.

use super::*;
use crate::{kernels, weights::channels_last};

/// The largest difference, in proportion to the largest value.
pub(super) fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    let scale = expected.abs().max().double_value(&[]).max(1e-3);
    (found - expected).abs().max().double_value(&[]) / scale
}

pub(super) fn skipped() -> bool {
    if kernels::instruction_set().is_none() {
        eprintln!("SKIPPED: this processor has neither AVX2 nor AVX-512, so there are no kernels to test");
    }
    kernels::instruction_set().is_none()
}

#[test]
fn batch_norm_is_that_of_libtorch_forward_and_back() {
    if skipped() {
        return;
    }
    random::seed(11);
    let shapes = [[2, 3, 5, 4], [4, 16, 8, 8], [3, 20, 7, 7], [64, 33, 1, 1], [8, 96, 16, 16]];
    let activations = [None, Some(Activation::Relu), Some(Activation::Relu6)];
    for (shape, then) in shapes.into_iter().flat_map(|shape| activations.map(|then| (shape, then))) {
        for (has_scale, has_shift) in [(false, false), (true, false), (true, true)] {
            let vector = |used: bool| used.then(|| random::uniform(&[shape[1]]) + 0.5);
            let (scale, shift) = (vector(has_scale), vector(has_shift));
            // Far from zero: the variance must not drown in the mean.
            let input = random::channels_last(shape) * 2.0 + 30.0;
            let none = None::<&Tensor>;
            let normal = input.batch_norm(scale.as_ref(), shift.as_ref(), none, none, true, 0.0, 1e-5, true);
            // At the bends of activations rounding decides what passes.
            let is_clear =
                (normal.abs() - 1e-3).sign().clamp_min(0.0) * ((&normal - 6.0).abs() - 1e-3).sign().clamp_min(0.0);
            let against = random::channels_last(shape) * is_clear;
            // In double precision: libtorch's own single one is five times as far from it as the kernel.
            let pass = |own: bool| {
                let kind = if own { Kind::Float } else { Kind::Double };
                let leaf = |tensor: &Tensor| tensor.to_kind(kind).copy().set_requires_grad(true);
                let input = leaf(&input);
                let (scale, shift) = (scale.as_ref().map(leaf), shift.as_ref().map(leaf));
                let channels = ([shape[1]], (kind, Device::Cpu));
                let running = (Tensor::zeros(channels.0, channels.1), Tensor::ones(channels.0, channels.1));
                let output = if own {
                    let norm = kernels::BatchNorm {
                        scale: scale.as_ref(),
                        shift: shift.as_ref(),
                        running: Some((&running, 0.1)),
                        epsilon: 1e-5,
                        then,
                    };
                    norm.apply(&input).expect("it computes").expect("it is made for this")
                } else {
                    let (mean, variance) = (Some(&running.0), Some(&running.1));
                    let output =
                        input.batch_norm(scale.as_ref(), shift.as_ref(), mean, variance, true, 0.1, 1e-5, true);
                    match then {
                        Some(Activation::Relu6) => output.clamp(0.0, 6.0),
                        Some(_) => output.relu(),
                        None => output,
                    }
                };
                (&output * &against.to_kind(kind)).sum(kind).backward();
                let mut results = vec![output.detach(), input.grad(), running.0, running.1];
                results.extend([scale, shift].into_iter().flatten().map(|parameter| parameter.grad()));
                results
            };
            for (index, (found, expected)) in pass(true).iter().zip(&pass(false)).enumerate() {
                let difference = difference(found, expected);
                assert!(difference < 1e-5, "{shape:?} {then:?} {has_scale} {has_shift}, result {index}: {difference}");
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    if skipped() {
        return;
    }
    let input = random::channels_last([2, 8, 4, 4]);
    let _ = input.select(0, 0).select(0, 3).select(0, 0).select(0, 0).fill_(f64::NAN);
    let then = Some(Activation::Relu);
    let norm = kernels::BatchNorm { scale: None, shift: None, running: None, epsilon: 1e-5, then };
    let output = norm.apply(&input).expect("it computes").expect("it is made for this");
    let lost = output.isnan().any_dim(0, false).any_dim(1, false).any_dim(1, false);
    assert_eq!(Vec::<bool>::try_from(lost).expect("it is a vector"), (0..8).map(|it| it == 3).collect::<Vec<_>>());
}

#[test]
fn a_depthwise_convolution_is_that_of_libtorch_forward_and_back() {
    if skipped() {
        return;
    }
    random::seed(12);
    for (kernel, stride) in [(5, 1), (5, 2), (7, 1), (7, 2)] {
        for [images, channels, height, width] in
            [[3, 16, 8, 8], [2, 6, 5, 9], [1, 37, 4, 4], [5, 32, 1, 1], [2, 40, 33, 30], [1, 16, 6, 300]]
        {
            let input = random::channels_last([images, channels, height, width]);
            let weight = random::channels_last([channels, 1, kernel, kernel]);
            let out = |length: i64| (length - 1) / stride + 1;
            let against = random::channels_last([images, channels, out(height), out(width)]);
            let pass = |own: bool| {
                let leaf = |tensor: &Tensor| tensor.copy().set_requires_grad(true);
                let (input, weight) = (leaf(&input), leaf(&weight));
                let padding = kernel / 2;
                let output = if own {
                    let own = kernels::depthwise(&input, &weight, stride as u32, padding as u32);
                    own.expect("it computes").expect("it is made for this")
                } else {
                    let none = None::<&Tensor>;
                    input.conv2d(&weight, none, [stride, stride], [padding, padding], [1, 1], channels)
                };
                (&output * &against).sum(Kind::Float).backward();
                [output.detach(), input.grad(), weight.grad()]
            };
            for (index, (found, expected)) in pass(true).iter().zip(&pass(false)).enumerate() {
                let difference = difference(found, expected);
                assert!(
                    difference < 1e-5,
                    "{kernel} {stride} {channels} {height} {width}, result {index}: {difference}"
                );
            }
        }
    }
}

#[test]
fn kernels_leave_to_libtorch_what_they_are_not_made_for() {
    let options = (Kind::Float, Device::Cpu);
    let plain =
        |kind: Kind| channels_last(&Tensor::ones([2, 8, 6, 6], options).to_kind(kind)).expect("four dimensions");
    let norm = |then| kernels::BatchNorm { scale: None, shift: None, running: None, epsilon: 1e-5, then };
    let is_left = |input: &Tensor, then| norm(then).apply(input).expect("it says so").is_none();
    assert!(is_left(&Tensor::ones([2, 8, 6, 6], options), None), "channels are not last");
    assert!(is_left(&plain(Kind::Double), None), "not single precision");
    assert!(is_left(&plain(Kind::Float), Some(Activation::Silu)), "another activation");
    assert!(is_left(&Tensor::ones([1, 8, 1, 1], options), None), "one value a channel has no variance");
    let weight = |kernel| Tensor::ones([8, 1, kernel, kernel], options);
    let is_left =
        |input: &Tensor, kernel| kernels::depthwise(input, &weight(kernel), 1, 1).expect("it says so").is_none();
    assert!(is_left(&plain(Kind::Float), 3), "a small kernel");
    assert!(is_left(&Tensor::ones([2, 8, 6, 6], options), 5), "channels are not last");
    assert!(tch::no_grad(|| is_left(&plain(Kind::Float), 5)), "nothing to learn");
}

/// A trained SuperNet and what it measures.
pub(super) fn trained(change: impl FnOnce(&mut Config)) -> (f64, Vec<Vec<f64>>) {
    let mut config = config();
    change(&mut config);
    let mut estimator = build_with(config, Edges::new(), 1).expect("the configuration is sound");
    let report = estimator.train(&plan([&[0, 1, 2], &[0, 1, 2]], 1.0), Seed(2)).expect("training works");
    (report.metrics["loss"], values(&mut estimator, &genomes()))
}

#[test]
fn training_with_our_own_kernels_comes_to_the_same() {
    let (own, without) = (trained(|_| {}), trained(|config| config.own_kernels = false));
    assert!((own.0 - without.0).abs() < 1e-3, "{} and {}", own.0, without.0);
    for (own, without) in own.1.iter().zip(&without.1) {
        assert!((own[1] - without[1]).abs() < 1e-3, "{own:?} and {without:?}");
    }
}
