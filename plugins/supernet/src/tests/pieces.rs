//! Operations computed on a few images at a time, and the depthwise convolutions that are made for it.

use super::{
    kernels::{difference, random, skipped},
    pytorch::{networks, unsettle},
    *,
};
use crate::{
    kernels::{BatchNorm, DepthwiseForward, Moments},
    network::Pass,
};

#[test]
fn networks_computed_in_pieces_are_those_computed_whole() {
    const IMAGES: i64 = 5;
    tch::manual_seed(21);
    for (name, network) in networks() {
        let shape = network.description().input;
        let shape = [IMAGES, shape.channels.into(), shape.height.into(), shape.width.into()];
        let (batches, images) = ([random(shape), random(shape)], random(shape));
        let mut generator = Seed(3).derive(&name, 0).generator();
        for number in 0..2 {
            let genome = Region::full(&network).sample(&mut generator);
            let mut weights = Weights::new(&network, number % 2 == 0, Device::Cpu, Seed(number)).expect("it is sound");
            unsettle(&mut weights);
            let logits = |images: &Tensor, mode: Mode<'_>, bytes: Option<u64>| {
                let pass = Pass::from(mode);
                let pass = match bytes {
                    Some(bytes) => pass.in_pieces_of(bytes),
                    None => pass,
                };
                tch::no_grad(|| forward(&network, &weights, &genome, images, pass)).expect("it computes")
            };
            let all = |bytes: Option<u64>| {
                let mut statistics = Statistics::default();
                let mut results = Vec::new();
                for batch in &batches {
                    statistics.begin_batch();
                    results.push(logits(batch, Mode::Record(&mut statistics), bytes));
                }
                results.push(logits(&images, Mode::Recorded(&statistics), bytes));
                results.push(logits(&images, Mode::Batch, bytes));
                // Means count in deviations: many are nearly nothing.
                let layers = statistics.layers().iter();
                results.extend(
                    layers.map(|(mean, variance)| Tensor::cat(&[mean / (variance + 1e-5).sqrt(), variance.log1p()], 0)),
                );
                results
            };
            let whole = all(None);
            // One image at a time; and some at a time, the last fewer.
            for bytes in [1, 60_000] {
                let pieces = all(Some(bytes));
                assert_eq!(pieces.len(), whole.len());
                for (index, (found, expected)) in pieces.iter().zip(&whole).enumerate() {
                    let difference = difference(found, expected);
                    assert!(difference < 2e-5, "{name} {genome} in {bytes} bytes, result {index}: {difference}");
                }
            }
        }
    }
}

#[test]
fn a_depthwise_convolution_with_what_is_around_it_is_that_of_libtorch() {
    if skipped() {
        return;
    }
    tch::manual_seed(22);
    let options = (Kind::Float, Device::Cpu);
    let activations = [None, Some(Activation::Relu), Some(Activation::Relu6)];
    let activate = |input: Tensor, function: Option<Activation>| match function {
        Some(Activation::Relu6) => input.clamp(0.0, 6.0),
        Some(_) => input.relu(),
        None => input,
    };
    let mut seen = 0;
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)] {
        for [images, channels, height, width] in
            [[3, 16, 8, 8], [2, 6, 5, 9], [1, 37, 4, 4], [5, 32, 1, 1], [2, 40, 33, 30], [1, 16, 6, 300], [2, 3, 50, 8]]
        {
            let input = random([images, channels, height, width]) * 2.0 + 1.0;
            let weight = Tensor::randn([channels, 1, kernel, kernel], options);
            let bias = Tensor::randn([channels], options);
            let padding = kernel / 2;
            for (before, then) in activations.into_iter().zip(activations.into_iter().cycle().skip(1)) {
                // Another batch has the statistics, as where a batch comes in pieces.
                let (scale, shift) = (Tensor::rand([channels], options) + 0.5, Tensor::randn([channels], options));
                let batch = random([4, channels, height, width]) + 3.0;
                let mut moments = Moments::new(&batch).expect("it has channels");
                for piece in batch.split(3, 0) {
                    moments.add(&piece).expect("it computes");
                }
                let norm =
                    BatchNorm { scale: Some(&scale), shift: Some(&shift), running: None, epsilon: 1e-5, then: None };
                let normal = moments.normal(&norm).expect("it computes");
                let mean = batch.mean_dim([0i64, 2, 3].as_slice(), false, Kind::Float);
                let variance = batch.var_dim([0i64, 2, 3].as_slice(), false, false);
                let expected = |has_before: bool, has_bias: bool| {
                    let input = if has_before {
                        let (mean, variance) = (Some(&mean), Some(&variance));
                        let norm =
                            input.batch_norm(Some(&scale), Some(&shift), mean, variance, false, 0.0, 1e-5, false);
                        activate(norm, before)
                    } else {
                        input.shallow_clone()
                    };
                    let bias = has_bias.then_some(&bias);
                    let (stride, padding) = ([stride; 2], [padding; 2]);
                    activate(input.conv2d(&weight, bias, stride, padding, [1, 1], channels), then)
                };
                for (has_before, has_bias) in [(false, false), (true, true), (true, false)] {
                    let own = DepthwiseForward {
                        weight: &weight,
                        bias: has_bias.then_some(&bias),
                        stride: stride as u32,
                        padding: padding as u32,
                        before: has_before.then_some((&normal, before)),
                        then,
                    };
                    let Some(found) = own.apply(&input).expect("it computes") else {
                        let is_left = kernel == 3 && (width - 1) / stride + 1 < 8;
                        assert!(is_left, "kernel {kernel}, stride {stride}, width {width}: it is made for this");
                        continue;
                    };
                    let difference = difference(&found, &expected(has_before, has_bias));
                    let case = [kernel, stride, images, channels, height, width];
                    assert!(difference < 2e-5, "{case:?} {before:?} {then:?} {has_before}: {difference}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 300, "{seen} cases were compared");
    // What is no number stays none, and reaches its neighbours only.
    let input = random([1, 8, 9, 9]);
    let _ = input.select(0, 0).select(0, 2).select(0, 0).select(0, 0).fill_(f64::NAN);
    let weight = Tensor::ones([8, 1, 3, 3], options);
    let own = DepthwiseForward {
        weight: &weight,
        bias: None,
        stride: 1,
        padding: 1,
        before: None,
        then: Some(Activation::Relu),
    };
    let output = own.apply(&input).expect("it computes").expect("it is made for this");
    assert_eq!(output.isnan().sum(Kind::Int64).int64_value(&[]), 4);
}
