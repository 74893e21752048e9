//! Shapes, costs and canonical forms against those made by hand.

use super::*;
use crate::description::{Apply, DESCRIPTION_FORMAT, Groups, Node, Operation, Primitive, Stride, Width};

fn operation(name: &str, meaning: Meaning, primitives: Vec<Primitive>) -> Operation {
    Operation { name: name.to_owned(), meaning, primitives, residual: true }
}

fn convolution(kernel: u32, groups: Groups, channels: Width, stride: Stride) -> Primitive {
    Primitive::Convolution { kernel, stride, groups, channels, dilation: 1, bias: false }
}

fn squeeze_excite(ratio: f64) -> Primitive {
    Primitive::SqueezeExcite { ratio, gate: Activation::Sigmoid }
}

fn node(name: &str, input: &str, apply: Apply, channels: Option<u32>, stride: u32) -> Node {
    Node { name: name.to_owned(), inputs: vec![input.to_owned()], combine: Combine::Sum, apply, channels, stride }
}

/// A stem of 4 channels, one Block of three layers of which the first halves the image, a head.
fn description() -> Description {
    let stem = vec![convolution(3, Groups::Dense, Width::Output, Stride::Node), Primitive::BatchNorm];
    let expanding = vec![
        convolution(1, Groups::Dense, Width::Input(2.0), Stride::One),
        convolution(3, Groups::Depthwise, Width::Same, Stride::Node),
        squeeze_excite(0.5),
        convolution(1, Groups::Dense, Width::Output, Stride::One),
    ];
    let head = vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let slot = |name: &str, choices: &[&str]| Slot { name: name.to_owned(), choices: words(choices) };
    Description {
        format: DESCRIPTION_FORMAT,
        name: "test".to_owned(),
        input: Shape { channels: 3, height: 8, width: 8 },
        classes: 10,
        operations: vec![
            operation("stem", Meaning::Sequence, stem),
            operation("a", Meaning::Sequence, expanding),
            operation("b", Meaning::Sequence, vec![convolution(1, Groups::Dense, Width::Output, Stride::Node)]),
            operation("identity", Meaning::Identity, Vec::new()),
            operation("absent", Meaning::Absent, Vec::new()),
            operation("zero", Meaning::Zero, Vec::new()),
            operation("head", Meaning::Sequence, head),
        ],
        slots: vec![
            slot("first", &["a", "b"]),
            slot("second", &["a", "b", "identity", "absent"]),
            slot("third", &["a", "b", "identity", "absent"]),
        ],
        blocks: vec![Block { name: "Block 1".to_owned(), slots: vec![0, 1, 2] }],
        network: vec![
            node("stem", "input", Apply::Operation("stem".to_owned()), Some(4), 1),
            node("first", "stem", Apply::Slot(0), Some(6), 2),
            node("second", "first", Apply::Slot(1), None, 1),
            node("third", "second", Apply::Slot(2), None, 1),
            node("head", "third", Apply::Operation("head".to_owned()), Some(10), 1),
        ],
    }
}

#[test]
fn shapes_and_costs_are_those_counted_by_hand() {
    let network = Network::new(description()).expect("the description is sound");
    assert_eq!(network.nodes()[1].output, Shape { channels: 6, height: 4, width: 4 });
    assert!(!network.nodes()[1].candidates[0].residual, "a stride leaves no shortcut");
    assert!(network.nodes()[2].candidates[0].residual);
    // Stem 3 x 4 x 9 weights over 64 pixels and 4 scales and shifts; `b` 4 x 6 over 16 pixels;
    // head 6 x 10 and 10 biases.
    let least = Cost::new(108 + 8 + 24 + 70, 108 * 64 + 24 * 16 + 60);
    assert_eq!(network.cost(&Genome(vec![1, 2, 3])), least);
    // `a` in the second layer: 6 x 12 over 16 pixels, 12 x 9 over 16, gate of 3 between 12,
    // 12 x 6 over 16.
    let layer = Cost::new(72 + 108 + (36 + 3 + 36 + 12) + 72, (72 + 108 + 72) * 16 + 72);
    assert_eq!(network.cost(&Genome(vec![1, 0, 3])), least + layer);
    let (low, high) = network.cost_range(&Region::full(&network));
    assert_eq!(low, least);
    assert_eq!(high.params, network.cost(&Genome(vec![0, 0, 0])).params.max(high.params));
}

#[test]
fn equal_networks_have_one_canonical_form() {
    let network = Network::new(description()).expect("the description is sound");
    let check = |genome: [u16; 3], expected: [u16; 3]| {
        assert_eq!(network.canonical(&Genome(genome.to_vec())), Genome(expected.to_vec()), "{genome:?}");
    };
    check([0, 2, 1], [0, 1, 3]);
    check([0, 3, 1], [0, 1, 3]);
    check([0, 1, 2], [0, 1, 3]);
    check([0, 1, 3], [0, 1, 3]);
    check([0, 2, 3], [0, 3, 3]);
    check([0, 1, 0], [0, 1, 0]);
}

#[test]
fn an_aligned_genome_stays_in_its_region_or_as_it_was() {
    let network = Network::new(description()).expect("the description is sound");
    let check = |genome: [u16; 3], region: [&[u16]; 3], expected: [u16; 3]| {
        let region = Region::new(region.iter().map(|choices| choices.to_vec()).collect()).expect("no slot is empty");
        assert_eq!(network.aligned(&Genome(genome.to_vec()), &region), Genome(expected.to_vec()));
    };
    check([0, 2, 1], [&[0], &[1, 2], &[1, 2]], [0, 1, 2]);
    // Choice 1 is pruned from the second slot, so the layer cannot move there.
    check([0, 2, 1], [&[0], &[0, 2], &[1, 2]], [0, 2, 1]);
    // The third layer is not born, so it stays absent.
    check([0, 2, 3], [&[0], &[1, 2], &[3]], [0, 2, 3]);
}

#[test]
fn a_description_that_does_not_fit_is_refused_with_the_node() {
    let check = |change: fn(&mut Description), expected: &str| {
        let mut description = description();
        change(&mut description);
        let error = Network::new(description).expect_err(expected);
        assert!(error.message.contains(expected), "{error}");
    };
    check(|it| it.format = 2, "format 2, this SDK reads format 1");
    check(|it| it.slots[1].choices[0] = "aa".to_owned(), "unknown operation `aa`, did you mean `a`?");
    check(|it| it.network[2].inputs[0] = "third".to_owned(), "node `second`: unknown earlier node `third`");
    check(|it| it.network[2].stride = 2, "operation `identity`: it passes its input through");
    check(|it| it.network[1].name = "stem".to_owned(), "the name is taken");
    check(|it| it.classes = 11, "the last node gives 10 x 1 x 1, the description has 11 classes");
    check(|it| it.blocks[0].slots.push(3), "Block `Block 1` names slot 3");
    check(|it| it.blocks[0].slots.push(0), "slot 0 is in Block");
    check(|it| it.operations[3].name = "a".to_owned(), "two operations are called `a`");
    check(|it| drop(it.network.remove(3)), "unknown earlier node `third`");
    check(|it| it.slots.push(it.slots[0].clone()), "no node uses slot 3");
    check(|it| it.network[4].apply = Apply::Slot(9), "there is no slot 9");
    check(
        |it| it.operations[2].primitives = vec![convolution(2, Groups::Dense, Width::Output, Stride::Node)],
        "a kernel is odd",
    );
    check(
        |it| it.operations[2].primitives = vec![convolution(1, Groups::Fixed(5), Width::Output, Stride::Node)],
        "5 groups do not divide",
    );
    check(
        |it| it.operations[2].primitives = vec![convolution(1, Groups::Dense, Width::Fixed(0), Stride::Node)],
        "a width of 0 channels",
    );
    check(|it| it.operations[6].primitives.truncate(1), "the last node gives 6 x 1 x 1");
    check(|it| it.input.height = 0, "an image has 0 rows, it needs 1 to 65535");
    check(|it| it.network[4].stride = 0, "it has 0 pixels as its stride");
    check(|it| it.network[0].channels = Some(1_000_001), "it has 1000001 channels, it needs 1 to 1000000");
    check(
        |it| it.operations[2].primitives = vec![convolution(65_537, Groups::Dense, Width::Output, Stride::One)],
        "a window has 65537 pixels as its kernel",
    );
    let squeezed = "squeeze-and-excitation of 4 channels";
    check(|it| it.operations[2].primitives = vec![squeeze_excite(0.0)], squeezed);
    check(|it| it.operations[2].primitives = vec![squeeze_excite(f64::NAN)], squeezed);
    check(|it| it.operations[2].primitives = vec![squeeze_excite(1e30)], squeezed);
    check(
        |it| it.operations[6].primitives = it.operations[6].primitives.split_off(1),
        "a linear layer needs 1 x 1 pixels",
    );
}

#[test]
fn costs_that_cannot_be_counted_stay_at_the_largest_number() {
    let mut description = description();
    description.input = Shape { channels: 3, height: 65_535, width: 65_535 };
    let wide = |width| convolution(65_535, Groups::Dense, width, Stride::One);
    description.operations[0].primitives = vec![wide(Width::Fixed(1_000_000)), wide(Width::Output)];
    let cost = Network::new(description).expect("its shapes fit").cost(&Genome(vec![0, 0, 0]));
    assert_eq!(cost.flops, u64::MAX);
    assert_eq!(cost.params / (65_535 * 65_535), 3_000_000 + 4_000_000);
}

#[test]
fn an_even_pooling_window_must_divide_the_image() {
    let check = |kernel, expected: Option<(u32, u32)>| {
        let mut description = description();
        description.input = Shape { channels: 3, height: 12, width: 12 };
        let pool = Primitive::Pool { kind: Pool::Average, kernel, stride: Stride::Fixed(kernel) };
        description.operations.push(operation("shrink", Meaning::Sequence, vec![pool]));
        description.network.insert(0, node("shrink", "input", Apply::Operation("shrink".to_owned()), None, 1));
        description.network[1].inputs = vec!["shrink".to_owned()];
        let found = Network::new(description).map(|network| {
            let output = network.nodes()[0].output;
            (output.height, output.width)
        });
        match (found, expected) {
            (found, Some(expected)) => assert_eq!(found.expect("the window divides the image"), expected),
            (Err(error), None) => assert!(error.message.contains("a kernel is odd"), "{error}"),
            (Ok(found), None) => panic!("a window of {kernel} gave {found:?}"),
        }
    };
    check(2, Some((6, 6)));
    check(4, Some((3, 3)));
    check(3, Some((4, 4)));
    check(8, None);
}

#[test]
fn a_document_survives_json() {
    let description = description();
    let text = serde_json::to_string(&description).expect("a description is JSON");
    assert_eq!(serde_json::from_str::<Description>(&text).expect("it was written by us"), description);
    let later = text.replacen("\"format\"", "\"a key of a later version\":1,\"format\"", 1);
    assert!(serde_json::from_str::<Description>(&later).is_ok(), "unknown keys are for later versions");
}

/// Of the space above: each choice takes ten times its number and one, in microseconds.
fn latencies() -> Latencies {
    let network = Network::new(description()).expect("the description is sound");
    let of_slot = |slot: &Slot| (0..slot.choices.len() as u64).map(|choice| (10 * choice + 1) * 1000).collect();
    Latencies { fixed: 500_000, slots: network.slots().iter().map(of_slot).collect() }
}

#[test]
fn latencies_are_a_part_of_costs_and_cross_with_the_description() {
    let network = Network::new(description()).expect("the description is sound");
    assert_eq!(network.cost(&Genome(vec![0, 0, 0])).nanoseconds, None);
    let network = network.with_latencies(latencies()).expect("they are of this space");
    let genome = Genome(vec![1, 2, 3]);
    assert_eq!(network.cost(&genome).nanoseconds, Some(500_000 + 11_000 + 21_000 + 31_000));
    let region = Region::new(vec![vec![0, 1], vec![2], vec![1, 3]]).expect("every slot has a choice");
    let (least, most) = network.cost_range(&region);
    assert_eq!(least.nanoseconds, Some(500_000 + 1_000 + 21_000 + 11_000));
    assert_eq!(most.nanoseconds, network.cost(&genome).nanoseconds);

    let text = serde_json::to_string(&network.document()).expect("it is JSON");
    let read = Network::of(serde_json::from_str(&text).expect("it was just written")).expect("it is sound");
    assert_eq!((read.cost(&genome), read.latencies()), (network.cost(&genome), network.latencies()));
    // Whoever knows nothing of latencies reads the same description.
    let older: Description = serde_json::from_str(&text).expect("it is a description too");
    assert_eq!(&older, network.description());
    let objectives: crate::Objectives =
        serde_json::from_str(r#"[{"name":"latency","at_most":0.562}]"#).expect("the document is whole");
    assert!(!objectives.allows(network.cost(&genome)));
    assert!(objectives.allows(network.cost(&Genome(vec![0, 2, 3]))));
}

#[test]
fn latencies_of_another_space_are_refused() {
    let check = |change: fn(&mut Latencies), expected: &str| {
        let mut latencies = latencies();
        change(&mut latencies);
        let network = Network::new(description()).expect("the description is sound");
        let error = network.with_latencies(latencies).expect_err(expected);
        assert!(error.message.contains(expected), "{error}");
    };
    check(|latencies| drop(latencies.slots.pop()), "the space has slots with");
    check(|latencies| latencies.slots[0].push(1), "the space has slots with");
    check(|latencies| latencies.slots[0][0] = u64::MAX, "more than an hour");
    check(|latencies| latencies.fixed = u64::MAX, "more than an hour");
}
