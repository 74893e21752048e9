use pleach_sdk::{
    Description, Shape,
    conformance::{self, Surroundings},
    description::{
        Apply, Block, Combine, DESCRIPTION_FORMAT, Meaning, Node, Operation, Primitive, Slot, Stride, Width,
    },
};

use super::*;

struct Chain(Network);

impl SearchSpace for Chain {
    fn network(&self) -> &Network {
        &self.0
    }
}

/// Blocks of layers with the table's operations, and of one channel.
fn space(layers: &[usize], large: &str) -> Arc<dyn SearchSpace> {
    let operation =
        |name: &str, meaning, primitives| Operation { name: name.to_owned(), meaning, primitives, residual: false };
    let convolution = |kernel| Primitive::Convolution {
        kernel,
        stride: Stride::One,
        groups: Default::default(),
        channels: Width::Same,
        dilation: 1,
        bias: false,
    };
    let sequence = |name: &str, kernel| operation(name, Meaning::Sequence, vec![convolution(kernel)]);
    let mut slots: Vec<Slot> = Vec::new();
    let mut blocks = Vec::new();
    for (number, layers) in layers.iter().enumerate() {
        let first = slots.len();
        for layer in 0..*layers {
            let choices: &[&str] =
                if layer == 0 { &["projection", "mb3_k3", large] } else { &["identity", "mb3_k3", large, "absent"] };
            let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
            slots.push(Slot { name: format!("layer{}", slots.len()), choices });
        }
        blocks.push(Block { name: format!("Block {}", number + 1), slots: (first..slots.len()).collect() });
    }
    let node = |name: &str, input: &str, apply| Node {
        name: name.to_owned(),
        inputs: vec![input.to_owned()],
        combine: Combine::Sum,
        apply,
        channels: None,
        stride: 1,
    };
    let mut network: Vec<Node> = Vec::new();
    for (index, slot) in slots.iter().enumerate() {
        let input = if index == 0 { "input" } else { &slots[index - 1].name };
        network.push(node(&slot.name, input, Apply::Slot(index)));
    }
    let mut head = node("head", &slots[slots.len() - 1].name, Apply::Operation("head".to_owned()));
    head.channels = Some(2);
    network.push(head);
    let description = Description {
        format: DESCRIPTION_FORMAT,
        name: "chain".to_owned(),
        input: Shape { channels: 1, height: 4, width: 4 },
        classes: 2,
        operations: vec![
            operation("identity", Meaning::Identity, Vec::new()),
            operation("absent", Meaning::Absent, Vec::new()),
            sequence("projection", 1),
            sequence("mb3_k3", 3),
            sequence(large, 5),
            operation(
                "head",
                Meaning::Sequence,
                vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }],
            ),
        ],
        slots,
        blocks,
        network,
    };
    Arc::new(Chain(Network::new(description).expect("the description is sound")))
}

/// A table in the published form: an accuracy of 80 plus the key read as a number to base 3,
/// divided by a thousand, and one more in the third training.
fn write_table(folder: &Path, networks: usize) -> PathBuf {
    let entry = |number: usize| {
        let digits: String =
            (0..8).rev().map(|place| char::from(b'0' + (number / 3_usize.pow(place) % 3) as u8)).collect();
        let accuracy = 80.0 + number as f64 / 1000.0;
        let entry = serde_json::json!({
            "test_acc": [accuracy, accuracy, accuracy + 1.0], "mean_acc": accuracy, "std": 0.5, "params": 1, "flops": 1,
        });
        (digits, entry)
    };
    let table: serde_json::Map<String, serde_json::Value> = (0..networks).map(entry).collect();
    let path = folder.join("table.json");
    std::fs::write(&path, serde_json::to_vec(&table).expect("a table is JSON")).expect("the file can be written");
    path
}

fn build(config: NasBenchMacroConfig, layers: &[usize], large: &str) -> Result<NasBenchMacro> {
    NasBenchMacro::build(config, space(layers, large), None, &Context::default())
}

#[test]
fn equal_networks_have_the_entry_of_their_canonical_form() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = |column| NasBenchMacroConfig { table: write_table(folder.path(), 6561), column, ..Default::default() };
    let check = |column, genome: [u16; 8], expected: f64| {
        let mut estimator = build(config(column), &LAYERS, "mb6_k5").expect("it is sound");
        let outcome = estimator.evaluate(&[Genome(genome.to_vec())], Seed(0)).expect("a table has no failures");
        let accuracy = outcome[0].as_ref().expect("the network is in the table")[0];
        assert!((accuracy - expected).abs() < 1e-12, "{genome:?}: {accuracy}, expected {expected}");
    };
    check(Column::Mean, [2, 2, 2, 2, 2, 2, 2, 2], 0.8656);
    check(Column::Third, [0, 0, 0, 0, 0, 0, 0, 1], 0.81003);
    // 00 000 010 by any spelling: the last Block holds one layer after its first.
    for genome in [[0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1], [0, 3, 0, 3, 3, 0, 1, 3]] {
        check(Column::Mean, genome, 0.80003);
    }
}

#[test]
fn noise_has_the_deviation_that_was_asked_for_and_repeats() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = NasBenchMacroConfig { table: write_table(folder.path(), 6561), noise: 2.0, ..Default::default() };
    let genomes: Vec<Genome> = (0..6561_usize)
        .map(|number| Genome((0..8).map(|place| (number / 3_usize.pow(place) % 3) as u16).collect()))
        .collect();
    let mut noisy = build(config.clone(), &LAYERS, "mb6_k5").expect("it is sound");
    let mut plain = build(NasBenchMacroConfig { noise: 0.0, ..config }, &LAYERS, "mb6_k5").expect("it is sound");
    let first = noisy.evaluate(&genomes, Seed(1)).expect("a table has no failures");
    assert_eq!(first, noisy.evaluate(&genomes, Seed(2)).expect("a table has no failures"));
    let truth = plain.evaluate(&genomes, Seed(1)).expect("a table has no failures");
    let value = |outcome: &Outcome| outcome.as_ref().expect("the network is in the table")[0];
    let noise: Vec<f64> =
        first.iter().zip(&truth).map(|(noisy, truth)| 100.0 * (value(noisy) - value(truth))).collect();
    let mean = noise.iter().sum::<f64>() / noise.len() as f64;
    let deviation = (noise.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / noise.len() as f64).sqrt();
    assert!(mean.abs() < 0.15 && (deviation - 2.0).abs() < 0.15, "{mean} {deviation}");
}

#[test]
fn the_promises_of_an_estimator_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = serde_json::json!({ "table": write_table(folder.path(), 6561), "noise": 2.0 });
    let surroundings =
        Surroundings { config: Some(config), space: Some(space(&LAYERS, "mb6_k5")), ..Surroundings::default() };
    conformance::estimator::<NasBenchMacro>(&surroundings).assert();
}

#[test]
fn what_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |table: PathBuf, layers: &[usize], large: &str, expected: &str| {
        let config = NasBenchMacroConfig { table, ..Default::default() };
        let error = build(config, layers, large).err().expect(expected);
        assert!(error.message.contains(expected), "expected {expected}\nfound {error}");
        let place = if expected.contains("table") || expected.contains("entry") { Some("/table") } else { None };
        assert_eq!(error.place.as_deref(), place, "{error}");
    };
    let whole = write_table(folder.path(), 6561);
    check(whole.clone(), &[2, 3], "mb6_k5", "have Blocks of [2, 3, 3] layers, those of the space [2, 3]");
    check(whole, &LAYERS, "mb6_k7", "has no operation `mb6_k7`");
    check(write_table(folder.path(), 100), &LAYERS, "mb6_k5", "the table has 100 networks, the published one 6561");
    check(folder.path().join("missing.json"), &LAYERS, "mb6_k5", "failed to read the table");
    let text = std::fs::read_to_string(write_table(folder.path(), 6561)).expect("it was just written");
    let mut count = 0;
    let mut damaged = |bytes: &[u8], expected: &str| {
        count += 1;
        let path = folder.path().join(format!("{count}.json"));
        std::fs::write(&path, bytes).expect("the file can be written");
        check(path, &LAYERS, "mb6_k5", expected);
    };
    damaged(br#"{"22212220": {"accuracy": 93.1}}"#, "the entry `22212220`: missing field `test_acc`");
    damaged(b"[1, 2]", "this is not the published table of NAS-Bench-Macro: invalid type: sequence");
    damaged(b"", "this is not the published table of NAS-Bench-Macro: EOF while parsing a value at line 1");
    damaged(&text.as_bytes()[..text.len() / 2], "this is not the published table of NAS-Bench-Macro: EOF while");
    damaged(&[&[0x1f, 0x8b, 8][..], text.as_bytes()].concat(), "published table of NAS-Bench-Macro: expected value");
    let replaced = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    damaged(&replaced("\"00000012\"", "\"00000013\""), "the entry `00000013`: a network has 8 digits of 0 to 2");
    damaged(&replaced("\"00000012\"", "\"0000012\""), "the entry `0000012`: a network has 8 digits");
    damaged(&replaced("\"00000012\"", "\"00000011\""), "the table has 6560 networks");
    damaged(&replaced("80.005", "180.005"), "the entry `00000012`: 180.005 is no accuracy in percent");
    damaged(&replaced("80.005", "\"80\""), "the entry `00000012`: invalid type: string");
}

#[test]
fn the_published_best_network_is_the_best() {
    let folder = std::env::var_os("PLEACH_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let table = folder.join("nas-bench-macro/nas-bench-macro_cifar10.json");
    if !table.exists() {
        eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", table.display());
        return;
    }
    let config = NasBenchMacroConfig { table, ..Default::default() };
    let mut estimator = build(config, &LAYERS, "mb6_k5").expect("the table is the published one");
    let outcome = estimator.evaluate(&[Genome(vec![2, 2, 2, 1, 2, 2, 2, 0])], Seed(0)).expect("there are no failures");
    assert!((outcome[0].as_ref().expect("it is there")[0] - 0.9313).abs() < 5e-5);
}
