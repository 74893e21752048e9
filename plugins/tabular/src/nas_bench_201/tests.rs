use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use pleach_sdk::{
    BuildEstimator, BuildSpace, Context, Error, Estimator, Genome, Region, Result, SearchSpace, Seed, TrainPlan,
    serde_json::Value,
};

use super::{
    cell::{CELLS, OPERATIONS, first_equal, number_of, operations_of, parse},
    table::{COLUMNS, Rows},
    *,
};

fn space() -> Arc<dyn SearchSpace> {
    let config = NasBench201SpaceConfig::default();
    Arc::new(NasBench201Space::build(config, &Context::default()).expect("the configuration is sound"))
}

fn build(config: NasBench201Config) -> Result<NasBench201> {
    NasBench201::build(config, space(), None, &Context::default())
}

/// A file of the shared data; `None`, said loudly, where it is not there.
fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PLEACH_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", path.display());
        return None;
    }
    Some(path)
}

const TABLE: &str = "nas-bench-201/nas-bench-201.csv.gz";

fn name_of(operations: &[u16]) -> String {
    let name = |edge: usize, from: usize| format!("{}~{from}", OPERATIONS[usize::from(operations[edge])]);
    format!("|{}|+|{}|{}|+|{}|{}|{}|", name(0, 0), name(1, 0), name(2, 1), name(3, 0), name(4, 1), name(5, 2))
}

/// A table in which each number tells its cell and column, as a text.
fn made_up(change: impl Fn(&mut Vec<String>)) -> String {
    let mut lines = vec![format!("index,arch,{}", COLUMNS.join(","))];
    lines.extend((0..CELLS).map(|number| {
        let values: Vec<String> = (0..COLUMNS.len()).map(|column| format!("{}.{number}", 10 + column)).collect();
        format!("{},{},{}", CELLS - 1 - number, name_of(&operations_of(number)), values.join(","))
    }));
    change(&mut lines);
    lines.join("\n") + "\n"
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the file can be written");
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

#[test]
fn names_and_numbers_of_cells_are_each_others() {
    for number in [0, 1, 624, 7_812, CELLS - 1] {
        let operations = operations_of(number);
        assert_eq!(number_of(&operations), number);
        assert_eq!(parse(&name_of(&operations)), Some(operations));
    }
    for wrong in [
        "",
        "|none~0|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~1|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|",
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn equal_cells_share_one_key() {
    let space = space();
    let check = |one: [u16; 6], other: [u16; 6], is_equal: bool| {
        let key = |operations: [u16; 6]| space.canonical(&Genome(operations.to_vec())).expect("it is of the space");
        assert_eq!(key(one) == key(other), is_equal, "{one:?} {other:?}");
    };
    // A convolution straight to the output, or by way of a node that passes it on.
    check([0, 0, 0, 3, 0, 0], [3, 0, 0, 0, 1, 0], true);
    // Here too, but the published code writes the nothing that is added on the way.
    check([0, 0, 0, 3, 0, 0], [0, 3, 0, 0, 0, 1], false);
    check([0, 0, 0, 3, 0, 0], [0, 0, 0, 2, 0, 0], false);
    // What follows nothing is nothing.
    check([0, 0, 0, 3, 2, 0], [0, 0, 0, 3, 4, 0], true);
    check([2, 0, 0, 3, 2, 0], [2, 0, 0, 3, 4, 0], false);
    let distinct = (0..CELLS).filter(|number| first_equal(*number) == *number).count();
    assert_eq!(distinct, 6466, "the published count");
}

#[test]
fn the_published_table_has_our_costs_and_our_equal_cells() {
    let Some(path) = data(TABLE) else { return };
    let space = space();
    let mut representatives: BTreeMap<u64, usize> = BTreeMap::new();
    for row in Rows::open(&path, "arch", &["params", "flops", "unique_id"]).expect("the table opens") {
        let row = row.expect("the table is whole");
        let cell = parse(&row.key).expect("the table is of NAS-Bench-201");
        let cost = space.network().cost(&Genome(cell.to_vec()));
        // The published count of multiply-adds has the bias of the 10 classes.
        assert_eq!([cost.params as f64, (cost.flops + 10) as f64], row.values[..2], "{}", row.key);
        let first = first_equal(number_of(&cell));
        assert_eq!(*representatives.entry(row.values[2] as u64).or_insert(first), first, "{}", row.key);
    }
    assert_eq!(representatives.len(), 6466);
}

#[test]
fn the_published_bests_are_found() {
    let Some(table) = data(TABLE) else { return };
    let genomes: Vec<Genome> = (0..CELLS).map(|number| Genome(operations_of(number).to_vec())).collect();
    let best = |data_set, accuracy| {
        let config = NasBench201Config { table: table.clone(), data_set, accuracy, ..Default::default() };
        let outcomes = build(config).expect("the table is whole").evaluate(&genomes, Seed(0)).expect("nothing fails");
        100.0 * outcomes.iter().map(|outcome| outcome.as_ref().expect("each is there")[0]).fold(0.0, f64::max)
    };
    for (data_set, validation, test) in
        [(DataSet::Cifar10, 91.607, 94.373), (DataSet::Cifar100, 73.493, 73.513), (DataSet::Imagenet16, 46.733, 47.311)]
    {
        assert!((best(data_set, Accuracy::Validation200) - validation).abs() < 1e-3, "{data_set:?}");
        assert!((best(data_set, Accuracy::Test200) - test).abs() < 1e-3, "{data_set:?}");
    }
}

#[test]
fn latencies_are_those_of_the_cell_and_device() {
    let (Some(table), Some(latencies)) = (data(TABLE), data("latency/nb201_latency_ms.csv.gz")) else { return };
    let with = |device: &str| {
        let latency = LatencyConfig { table: latencies.clone(), device: device.to_owned() };
        build(NasBench201Config { table: table.clone(), latency: Some(latency), ..Default::default() })
    };
    // The cell with index 0 of the published table.
    let cell = parse("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|");
    let genome = Genome(cell.expect("it is a cell").to_vec());
    for (device, expected) in [("pixel3", 3.60585), ("raspi4", 10.482), ("eyeriss", 3.64562)] {
        let mut estimator = with(device).expect("the device is there");
        assert_eq!(estimator.objectives()[2].name, "latency");
        let outcome = estimator.evaluate(std::slice::from_ref(&genome), Seed(0)).expect("nothing fails");
        assert_eq!(outcome[0].as_ref().expect("it is there")[2], expected, "{device}");
    }
    let error = with("pixel4").err().expect("there is none");
    assert!(error.message.contains("unknown device `pixel4`, did you mean `pixel"), "{error}");
    assert_eq!(error.place.as_deref(), Some("/latency/device"));
}

#[test]
fn columns_and_seconds_are_those_of_the_schedule() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = folder.path().join("table.csv");
    write(&table, &made_up(|_| {}));
    let genome = Genome(operations_of(77).to_vec());
    let config =
        |data_set, accuracy| NasBench201Config { table: table.clone(), data_set, accuracy, ..Default::default() };
    let check = |estimator: &mut NasBench201, column: &str, epochs: f64| {
        let position = COLUMNS.iter().position(|known| *known == column).expect("the column is known");
        let values = estimator.evaluate(std::slice::from_ref(&genome), Seed(0)).expect("nothing fails");
        let values = values[0].as_ref().expect("the cell is there").clone();
        assert!((values[0] - (10.0 + position as f64 + 0.77) / 100.0).abs() < 1e-12, "{column}: {values:?}");
        // One epoch takes 10.77 seconds, validation 11.77.
        assert!(values.get(1).is_none_or(|seconds| (seconds - (epochs * 10.77 + 11.77)).abs() < 1e-9), "{values:?}");
    };
    let mut short = build(config(DataSet::Cifar100, Accuracy::Validation12)).expect("the table is whole");
    check(&mut short, "cifar100_valid_12", 12.0);
    let each_epoch =
        NasBench201Config { validated: Validated::EachEpoch, ..config(DataSet::Cifar10, Accuracy::Validation12) };
    let outcome = build(each_epoch).expect("the table is whole").evaluate(std::slice::from_ref(&genome), Seed(0));
    let seconds = outcome.expect("nothing fails")[0].as_ref().expect("the cell is there")[1];
    assert!((seconds - 12.0 * (10.77 + 11.77)).abs() < 1e-9, "{seconds}");
    let mut test = build(config(DataSet::Imagenet16, Accuracy::Test200)).expect("the table is whole");
    check(&mut test, "imagenet16_test_200", 200.0);
    assert_eq!(test.objectives().len(), 1, "the table has no times of ImageNet16-120");

    let plan = |epochs| TrainPlan { region: Region::complete(space().network()), epochs, stage: 0, notes: Value::Null };
    let mut trained = build(config(DataSet::Cifar10, Accuracy::Trained)).expect("the table is whole");
    let error = trained.evaluate(std::slice::from_ref(&genome), Seed(0)).expect_err("nothing was trained");
    assert!(error.message.contains("after 12 and after 200 epochs, the strategy has trained for 0"), "{error}");
    assert!(trained.train(&plan(12.0), Seed(0)).expect("12 epochs are there").weights_changed);
    check(&mut trained, "cifar10_valid_12", 12.0);
    trained.save(folder.path()).expect("the state can be written");
    let mut later = build(config(DataSet::Cifar10, Accuracy::Trained)).expect("the table is whole");
    later.load(folder.path()).expect("the state can be read");
    assert!(later.train(&plan(188.0), Seed(0)).expect("200 epochs are there").weights_changed);
    check(&mut later, "cifar10_valid_200", 200.0);
    assert!(later.train(&plan(1.0), Seed(0)).is_err());
}

#[test]
fn damaged_truncated_and_foreign_files_are_named_with_the_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut count = 0;
    let mut check = |name: &str, bytes: &[u8], expected: &str| {
        count += 1;
        let table = folder.path().join(format!("{count}-{name}"));
        std::fs::write(&table, bytes).expect("the file can be written");
        let error: Error = build(NasBench201Config { table, ..Default::default() }).err().expect(expected);
        assert!(error.message.contains(expected), "expected {expected}\nfound {error}");
        assert_eq!(error.place.as_deref(), Some("/table"));
    };
    let whole = made_up(|_| {});
    let zipped = packed(&whole);
    check("packed.csv.gz", &zipped[..zipped.len() / 2], "failed to read on after line");
    check("not-packed.csv.gz", whole.as_bytes(), "failed to read the table");
    check("packed.csv", &zipped, "failed to read the table: CSV parse error: record 0 (line 1");
    check("empty.csv", b"", "the file is empty");
    check("foreign.csv", b"name,value\na,1\n", "the file begins with `name, value`");
    check("short.csv", &whole.as_bytes()[..whole.len() / 2], "line ");
    check("lines.csv", made_up(|lines| lines.truncate(101)).as_bytes(), "the file ends after 100 cells of 15625");
    let set = |line: usize, from: &'static str, to: &'static str| {
        made_up(move |lines| lines[line] = lines[line].replacen(from, to, 1)).into_bytes()
    };
    check("cell.csv", &set(7, "none~0", "nine~0"), "line 8: `|nine~0|");
    check("number.csv", &set(9, ",10.8", ",ten"), "line 10: `cifar10_train_seconds_per_epoch` is `ten`");
    check("nan.csv", &set(9, ",10.8", ",nan"), "which is no number");
    check("twice.csv", made_up(|lines| lines[3] = lines[2].clone()).as_bytes(), "line 4: the cell |none~0|");
    let missing = NasBench201Config { table: folder.path().join("missing.csv"), ..Default::default() };
    let error = build(missing).err().expect("it is missing");
    assert!(error.message.contains("failed to read the table"), "{error}");
    assert_eq!(error.place.as_deref(), Some("/table"));
}
