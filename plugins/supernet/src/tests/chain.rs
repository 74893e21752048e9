//! Convolutions computed with what is between them, against libtorch's layers one by one.

use super::{
    kernels::{difference, skipped},
    pytorch::{networks, unsettle},
    *,
};
use crate::{
    kernels::{Between, Chain, Link, LinkNorm, allow_tf32},
    network::Pass,
};

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Room for one image or row, for some, and for all that there are.
const ROOMS: [u64; 3] = [1, 60_000, 1 << 20];

#[test]
fn networks_are_those_computed_layer_by_layer() {
    const IMAGES: i64 = 5;
    random::seed(21);
    for (name, network) in networks() {
        let shape = batch_of(IMAGES, &network);
        let (batches, images) =
            ([random::channels_last(shape), random::channels_last(shape)], random::channels_last(shape));
        let mut generator = Seed(3).derive(&name, 0).generator();
        for number in 0..2 {
            let genome = Region::full(&network).sample(&mut generator);
            let mut weights = Weights::new(&network, number % 2 == 0, Device::Cpu, Seed(number)).expect("it is sound");
            unsettle(&mut weights);
            let logits = |images: &Tensor, mode: Mode<'_>, bytes: Option<u64>| {
                let pass = Pass::from(mode);
                let pass = match bytes {
                    Some(bytes) => pass.in_pieces_of(bytes),
                    None => pass.with_own_kernels(false),
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
            let expected = all(None);
            for bytes in ROOMS {
                let found = all(Some(bytes));
                assert_eq!(found.len(), expected.len());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let difference = difference(found, expected);
                    assert!(difference < 2e-5, "{name} {genome} in {bytes} bytes, result {index}: {difference}");
                }
            }
        }
    }
}

/// A convolution with what follows it: its channels (0: depthwise), kernel and stride.
type Step = (i64, i64, i64, Option<Activation>);

/// Chains as networks have them, and ends of what kernels are made for.
fn cases() -> Vec<([i64; 4], Vec<Step>)> {
    const RELU: Option<Activation> = Some(Activation::Relu);
    const RELU6: Option<Activation> = Some(Activation::Relu6);
    let mut cases = Vec::new();
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)] {
        for shape in [[3, 6, 9, 8], [5, 3, 4, 4], [2, 16, 17, 20]] {
            cases.push((shape, vec![(shape[1] * 6, 1, 1, RELU), (0, kernel, stride, RELU6), (20, 1, 1, None)]));
        }
    }
    cases.push(([3, 12, 6, 7], vec![(72, 1, 1, RELU), (0, 5, 1, RELU), (12, 1, 1, None)]));
    cases.push(([3, 9, 6, 7], vec![(18, 1, 1, RELU6), (0, 3, 1, RELU6), (9, 1, 1, RELU)]));
    cases.push(([2, 37, 5, 9], vec![(0, 5, 1, RELU), (11, 1, 1, RELU)]));
    cases.push(([4, 130, 3, 3], vec![(50, 1, 1, RELU), (33, 1, 1, RELU6), (7, 1, 1, None)]));
    cases.push(([3, 8, 6, 6], vec![(0, 3, 1, RELU), (0, 3, 1, RELU)]));
    cases.push(([3, 8, 4, 4], vec![(24, 1, 1, None), (0, 3, 1, RELU), (10, 1, 1, RELU6)]));
    // A row is wider than what gradients of weights are made for.
    cases.push(([1, 4, 6, 300], vec![(0, 5, 1, RELU), (6, 1, 1, None)]));
    // Not a single place: what one tap alone scales, the next batch norm takes away, so it has no gradient.
    cases.push(([20, 12, 2, 1], vec![(48, 1, 1, RELU), (0, 3, 1, RELU), (12, 1, 1, None)]));
    cases
}

fn chain(input: &Tensor, links: Vec<Link>, between: Between, is_residual: bool, room: u64) -> Option<Tensor> {
    Chain { links, between, is_residual, epsilon: 1e-5, room }.apply(input).expect("it computes")
}

fn activate(input: Tensor, function: Option<Activation>) -> Tensor {
    match function {
        Some(Activation::Relu6) => input.clamp(0.0, 6.0),
        Some(_) => input.relu(),
        None => input,
    }
}

fn convolve(input: &Tensor, link: &Link) -> Tensor {
    let groups = if link.weight.size()[3] == 1 { 1 } else { input.size()[1] };
    let (stride, padding) = ([i64::from(link.stride); 2], [i64::from(link.padding); 2]);
    input.conv2d(&link.weight, link.bias.as_ref(), stride, padding, [1, 1], groups)
}

/// Links with random weights and, for those of which the output is normalised, parameters as `number` says.
fn links(channels: i64, steps: &[Step], between: Between, normalised: usize, number: usize) -> Vec<Link> {
    let mut inputs = channels;
    let link = |(place, &(outputs, kernel, stride, then)): (usize, &Step)| {
        let groups = if outputs == 0 { inputs } else { 1 };
        let outputs = if outputs == 0 { inputs } else { outputs };
        let weight = random::normal(&[outputs, inputs / groups, kernel, kernel]) / 2.0;
        inputs = outputs;
        let vector = |used: bool| used.then(|| random::uniform(&[outputs]) + 0.5);
        let by_batch = between == Between::BatchNorms;
        let norm = (by_batch && place < normalised).then(|| LinkNorm {
            // A scale alone makes no difference to the next batch norm: its gradient would be nothing.
            scale: vector(number % 3 > 1),
            shift: vector(!number.is_multiple_of(3)),
            running: Some(((Tensor::zeros([outputs], OPTIONS), Tensor::ones([outputs], OPTIONS)), 0.3)),
        });
        let bias = vector(!by_batch && number.is_multiple_of(2));
        let (stride, padding) = (stride as u32, kernel as u32 / 2);
        Link { weight, bias, stride, padding, norm, then }
    };
    steps.iter().enumerate().map(link).collect()
}

/// Whether no value is so near to the bend of an activation that rounding decides its gradient.
fn is_clear(normal: &Tensor, then: Option<Activation>) -> bool {
    let near = |bend: f64| (normal - bend).abs().min().double_value(&[]) < 1e-5;
    then.is_none() || !(near(0.0) || then == Some(Activation::Relu6) && near(6.0))
}

/// Output, statistics and gradients by libtorch's layers; `None` if a value is too near to a bend.
fn layer_by_layer(input: &Tensor, links: &[Link], is_residual: bool, against: &Tensor) -> Option<Vec<Tensor>> {
    let mut here = input.shallow_clone();
    for link in links {
        here = convolve(&here, link);
        if let Some(LinkNorm { scale, shift, running: Some(((mean, variance), momentum)) }) = &link.norm {
            let running = (Some(mean), Some(variance));
            here = here.batch_norm(scale.as_ref(), shift.as_ref(), running.0, running.1, true, *momentum, 1e-5, true);
            if !is_clear(&here, link.then) {
                return None;
            }
            here = activate(here, link.then);
        }
    }
    if is_residual {
        here = &here + input;
    }
    (&here * against).sum(Kind::Float).backward();
    Some(results(input, links, &here))
}

fn results(input: &Tensor, links: &[Link], output: &Tensor) -> Vec<Tensor> {
    let mut results = vec![output.detach()];
    if input.requires_grad() {
        results.push(input.grad());
    }
    for link in links {
        results.push(link.weight.grad());
        if let Some(LinkNorm { scale, shift, running }) = &link.norm {
            results.extend([scale, shift].into_iter().flatten().map(Tensor::grad));
            results.extend(running.iter().flat_map(|((mean, variance), _)| [mean.copy(), variance.copy()]));
        }
    }
    results
}

/// The same links with tensors that `each` makes.
fn with(links: &[Link], each: impl Fn(&Tensor) -> Tensor, statistics: impl Fn(&Tensor) -> Tensor) -> Vec<Link> {
    let pair = |(mean, variance): &(Tensor, Tensor)| (statistics(mean), statistics(variance));
    let norm = |norm: &LinkNorm| LinkNorm {
        scale: norm.scale.as_ref().map(&each),
        shift: norm.shift.as_ref().map(&each),
        running: norm.running.as_ref().map(|(running, momentum)| (pair(running), *momentum)),
    };
    let link = |link: &Link| Link {
        weight: each(&link.weight),
        bias: link.bias.as_ref().map(&each),
        norm: link.norm.as_ref().map(norm),
        ..*link
    };
    links.iter().map(link).collect()
}

/// The same tensors.
fn shared(links: &[Link]) -> Vec<Link> {
    with(links, Tensor::shallow_clone, Tensor::shallow_clone)
}

/// Copies, of which weights and parameters are leaves.
fn leaves(links: &[Link]) -> Vec<Link> {
    with(links, |tensor| tensor.copy().set_requires_grad(true), Tensor::copy)
}

#[test]
fn a_chain_is_its_layers_forward_and_back() {
    if skipped() {
        return;
    }
    random::seed(22);
    let mut residuals = 0;
    for (number, (shape, steps)) in cases().into_iter().enumerate() {
        for is_normalised in [false, true] {
            let norms = steps.len() - usize::from(!is_normalised);
            let given = links(shape[1], &steps, Between::BatchNorms, norms, number);
            let size =
                tch::no_grad(|| given.iter().fold(random::channels_last(shape), |here, link| convolve(&here, link)))
                    .size();
            let is_residual = is_normalised && size == shape;
            residuals += usize::from(is_residual);
            let against = random::channels_last([size[0], size[1], size[2], size[3]]);
            // The first operation of a network reads images, which need no gradient.
            let needed = !number.is_multiple_of(4);
            let leaf = |images: &Tensor| images.copy().set_requires_grad(needed);
            let (images, expected) = (0..200)
                .find_map(|_| {
                    let images = random::channels_last(shape) * 2.0 + 3.0;
                    let expected = layer_by_layer(&leaf(&images), &leaves(&given), is_residual, &against)?;
                    Some((images, expected))
                })
                .expect("some images are clear of bends");
            for bytes in ROOMS {
                let (input, own) = (leaf(&images), leaves(&given));
                let apply = |links: Vec<Link>| {
                    let output = chain(&input, links, Between::BatchNorms, is_residual, bytes);
                    output.expect("it is made for this")
                };
                let output = apply(shared(&own));
                (&output * &against).sum(Kind::Float).backward();
                let found = results(&input, &own, &output);
                assert_eq!(found.len(), expected.len());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found.size(), expected.size());
                    let difference = difference(found, expected);
                    let case = format!("{shape:?} {steps:?} {is_normalised} in {bytes} bytes, result {index}");
                    assert!(difference < 3e-5, "{case}: {difference}");
                }
                let plain = tch::no_grad(|| apply(leaves(&given)));
                assert_eq!(plain, output.detach(), "with and without gradients");
            }
        }
    }
    assert!(residuals > 2, "{residuals} chains have a shortcut");
}

#[test]
fn a_chain_without_batch_norms_is_its_layers() {
    if skipped() {
        return;
    }
    random::seed(23);
    for (number, (shape, steps)) in cases().into_iter().enumerate() {
        for count in 1..=steps.len() {
            let links = links(shape[1], &steps[..count], Between::Activations, 0, number);
            let images = random::channels_last(shape);
            let layer = |here: Tensor, link: &Link| activate(convolve(&here, link), link.then);
            let expected = links.iter().fold(images.shallow_clone(), layer);
            let is_residual = expected.size() == shape;
            let expected = if is_residual { expected + &images } else { expected };
            for bytes in ROOMS {
                let found = tch::no_grad(|| chain(&images, shared(&links), Between::Activations, is_residual, bytes));
                let difference = difference(&found.expect("it is made for this"), &expected);
                assert!(difference < 2e-5, "{shape:?} {:?} in {bytes} bytes: {difference}", &steps[..count]);
            }
        }
    }
}

/// Chains that there are kernels for on CUDA.
fn cuda_cases() -> Vec<([i64; 4], Vec<Step>)> {
    const RELU: Option<Activation> = Some(Activation::Relu);
    const RELU6: Option<Activation> = Some(Activation::Relu6);
    let mut cases = Vec::new();
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)] {
        for shape in [[40, 8, 4, 4], [9, 40, 17, 32]] {
            cases.push((shape, vec![(shape[1] * 6, 1, 1, RELU), (0, kernel, stride, RELU6), (24, 1, 1, None)]));
        }
    }
    cases.push(([5, 16, 6, 7], vec![(96, 1, 1, RELU), (0, 5, 1, RELU), (16, 1, 1, None)]));
    cases.push(([3, 8, 6, 7], vec![(24, 1, 1, RELU6), (0, 3, 1, RELU6), (8, 1, 1, RELU)]));
    cases.push(([2, 40, 5, 9], vec![(0, 5, 1, RELU), (1536, 1, 1, RELU), (8, 1, 1, None)]));
    cases.push(([3, 8, 16, 16], vec![(0, 3, 1, RELU), (0, 7, 1, RELU)]));
    cases.push(([3, 8, 14, 14], vec![(24, 1, 1, None), (0, 3, 2, RELU), (16, 1, 1, RELU6)]));
    cases.push(([64, 16, 1, 1], vec![(48, 1, 1, RELU), (24, 1, 1, None)]));
    cases
}

/// How far values are off, as a share of their size: roots of mean squares.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    let found = found.to_device(Device::Cpu).to_kind(Kind::Float);
    ((found - expected).square().mean(Kind::Double) / expected.square().mean(Kind::Double).clamp_min(1e-12))
        .sqrt()
        .double_value(&[])
}

/// Results of a chain on a device, computed with numbers of some kind as `compute` does.
fn on_device(
    (images, given, against): (&Tensor, &[Link], &Tensor),
    (device, kind): (Device, Kind),
    compute: impl Fn(&Tensor, &[Link]) -> Tensor,
) -> Vec<Tensor> {
    let there = |tensor: &Tensor| tensor.to_device(device).copy();
    let own = with(given, |tensor| there(tensor).set_requires_grad(true), there);
    let input = there(images).to_kind(kind).set_requires_grad(true);
    let output = compute(&input, &own);
    (output.to_kind(Kind::Float) * there(against)).sum(Kind::Float).backward();
    results(&input, &own, &output)
}

/// With libtorch's layers, in the precision of the input.
fn layers_of(input: &Tensor, links: &[Link], is_residual: bool) -> Tensor {
    let mut here = input.shallow_clone();
    for link in links {
        let weight = link.weight.to_kind(input.kind());
        here = convolve(&here, &Link { weight, bias: None, norm: None, ..*link });
        if let Some(LinkNorm { scale, shift, running: Some(((mean, variance), momentum)) }) = &link.norm {
            // Libtorch's backward pass in bfloat16 wants both parameters or none.
            let ones = shift.as_ref().map(Tensor::ones_like);
            let (scale, running) = (scale.as_ref().or(ones.as_ref()), (Some(mean), Some(variance)));
            here = here.batch_norm(scale, shift.as_ref(), running.0, running.1, true, *momentum, 1e-5, true);
            here = activate(here, link.then);
        }
    }
    if is_residual {
        here = &here + input;
    }
    here
}

#[test]
fn a_chain_on_cuda_is_its_layers_forward_and_back() {
    let Some(device) = super::cuda::cuda() else { return };
    // So that products are those of single precision.
    allow_tf32(false).expect("it can be said at any time");
    random::seed(24);
    for (number, (shape, steps)) in cuda_cases().into_iter().enumerate() {
        for is_normalised in [false, true] {
            let norms = steps.len() - usize::from(!is_normalised);
            let given = links(shape[1], &steps, Between::BatchNorms, norms, number);
            let size =
                tch::no_grad(|| given.iter().fold(random::channels_last(shape), |here, link| convolve(&here, link)))
                    .size();
            let is_residual = is_normalised && size == shape;
            let against = random::channels_last([size[0], size[1], size[2], size[3]]);
            let images = random::channels_last(shape) * 2.0 + 3.0;
            let case = format!("{shape:?} {steps:?} {is_normalised}");
            let data = (&images, given.as_slice(), &against);
            let layers = |input: &Tensor, links: &[Link]| layers_of(input, links, is_residual);
            let own = |input: &Tensor, links: &[Link]| {
                let output = chain(input, shared(links), Between::BatchNorms, is_residual, 0);
                output.expect("it is made for this")
            };
            let expected = on_device(data, (Device::Cpu, Kind::Float), layers);
            for kind in [Kind::Float, Kind::BFloat16] {
                let found = on_device(data, (device, kind), own);
                // What rounds to the other side of an activation's bend is further off than rounding alone, with
                // libtorch's layers too. It takes seconds to choose how to compute each shape, so few are asked.
                let is_asked = kind == Kind::BFloat16 && is_normalised && number % 4 == 1;
                let libtorchs = is_asked.then(|| on_device(data, (device, kind), layers));
                assert_eq!(found.len(), expected.len());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found.size(), expected.size());
                    let own = distance(found, expected);
                    let allowed = match &libtorchs {
                        Some(theirs) => 1.5 * distance(&theirs[index], expected) + 1e-2,
                        None if kind == Kind::Float => 1e-3,
                        None => 0.25,
                    };
                    assert!(own < allowed, "{case}, {kind:?}, result {index}: {own}, allowed {allowed}");
                }
                let plain = tch::no_grad(|| {
                    let links = with(&given, |tensor| tensor.to_device(device), |tensor| tensor.to_device(device));
                    own(&images.to_device(device).to_kind(kind), &links)
                });
                assert!(plain == found[0], "{case}, {kind:?}: with and without gradients");
            }
        }
    }
    allow_tf32(true).expect("it can be said at any time");
}

#[test]
fn a_chain_on_cuda_without_batch_norms_is_its_layers() {
    let Some(device) = super::cuda::cuda() else { return };
    allow_tf32(false).expect("it can be said at any time");
    random::seed(25);
    for (number, (shape, steps)) in cuda_cases().into_iter().enumerate() {
        for count in 1..=steps.len() {
            let given = links(shape[1], &steps[..count], Between::Activations, 0, number);
            let images = random::channels_last(shape);
            let expected =
                given.iter().fold(images.shallow_clone(), |here, link| activate(convolve(&here, link), link.then));
            let is_residual = expected.size() == shape;
            let expected = if is_residual { expected + &images } else { expected };
            for (kind, allowed) in [(Kind::Float, 1e-5), (Kind::BFloat16, 2e-2)] {
                let there = with(&given, |tensor| tensor.to_device(device), |tensor| tensor.to_device(device));
                let images = images.to_device(device).to_kind(kind);
                let found = tch::no_grad(|| chain(&images, there, Between::Activations, is_residual, 0));
                let distance = distance(&found.expect("it is made for this"), &expected);
                assert!(distance < allowed, "{shape:?} {:?} {kind:?}: {distance}", &steps[..count]);
            }
        }
    }
    allow_tf32(true).expect("it can be said at any time");
}

/// A convolution that adds up what its kernel covers.
fn adding(channels: i64, kernel: i64) -> Link {
    let weight = Tensor::ones([channels, if kernel == 1 { channels } else { 1 }, kernel, kernel], OPTIONS);
    let padding = kernel as u32 / 2;
    Link { weight, bias: None, stride: 1, padding, norm: None, then: Some(Activation::Relu) }
}

#[test]
fn what_is_no_number_reaches_its_neighbours_only() {
    if skipped() {
        return;
    }
    let input = random::channels_last([1, 8, 9, 9]);
    let _ = input.select(0, 0).select(0, 2).select(0, 0).select(0, 0).fill_(f64::NAN);
    let lost = |kernel| {
        let output = tch::no_grad(|| chain(&input, vec![adding(8, kernel)], Between::Activations, false, 1));
        output.expect("it is made for this").isnan().sum(Kind::Int64).int64_value(&[])
    };
    assert_eq!(lost(3), 4, "of its own channel");
    assert_eq!(lost(1), 8, "of its own place");
}

#[test]
fn chains_leave_to_other_layers_what_they_are_not_made_for() {
    let plain = random::channels_last([2, 8, 6, 6]);
    let is_left = |input: &Tensor, change: &dyn Fn(&mut Link), between| {
        let mut links = vec![adding(8, 1), adding(8, 3)];
        change(&mut links[1]);
        tch::no_grad(|| chain(input, links, between, false, 1)).is_none()
    };
    let folded = Between::Activations;
    if !skipped() {
        assert!(!is_left(&plain, &|_| {}, folded), "it is made for this");
    }
    assert!(is_left(&Tensor::ones([2, 8, 6, 6], OPTIONS), &|_| {}, folded), "channels are not last");
    assert!(is_left(&plain.to_kind(Kind::Double), &|_| {}, folded), "not single precision");
    assert!(is_left(&plain, &|link| link.then = Some(Activation::Silu), folded), "another activation");
    assert!(is_left(&plain, &|link| link.stride = 3, folded), "another stride");
    assert!(is_left(&plain, &|link| link.weight = Tensor::ones([8, 8, 3, 3], OPTIONS), folded), "not depthwise");
    assert!(is_left(&plain, &|link| link.weight = Tensor::ones([8, 1, 3, 5], OPTIONS), folded), "not square");
    assert!(is_left(&plain, &|link| *link = Link { stride: 2, ..adding(8, 1) }, folded), "points left out");
    let one = random::channels_last([1, 8, 1, 1]);
    assert!(is_left(&one, &|_| {}, Between::BatchNorms), "one value a channel has no variance");
    let shortcut = |links| tch::no_grad(|| chain(&plain, links, folded, true, 1));
    assert!(shortcut(vec![Link { stride: 2, ..adding(8, 3) }]).is_none(), "a shortcut between other sizes");
    let with_gradients = chain(&plain, vec![adding(8, 1)], folded, false, 1);
    assert!(with_gradients.is_none(), "recorded statistics have no gradients here");
}
