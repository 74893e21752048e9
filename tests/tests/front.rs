//! Several objectives: the front of a search, its hypervolume in journal, result and summary, and
//! how much of the exact front of NAS-Bench-201 NSGA-II finds.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Output,
};

use pleach_sdk::pareto::{Point, fronts, hypervolume};
use pleach_tests::{checkout, pleach, stderr, stdout};
use serde_json::{Value, json};

const RUN: &str = "\
name: front
seed: 5
plugins: [gevonas, datasets, baselines, misbehaving]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 3, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic }
estimator: { use: misbehaving/formula }
operators:
  - { use: gevonas/uniform-crossover }
  - { use: gevonas/operation-mutation }
strategy: { use: baselines/nsga-2, with: { population: 10 } }
objectives: { accuracy: maximise, flops: minimise, params: { goal: minimise, at_most: 20000 } }
budget: { evaluations: 80 }
checkpoint_every: 0s
";

fn run(folder: &Path, file: &Path, name: &str, sets: &[&str]) -> (PathBuf, Output) {
    let directory = folder.join(name);
    let mut command = pleach();
    command.arg("run").arg(file).arg("--dir").arg(&directory);
    for set in sets {
        command.args(["--set", set]);
    }
    (directory, command.output().expect("the program starts"))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    fs::write(&file, RUN).expect("the file can be written");
    (folder, file)
}

fn result(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("result.json")).expect("the run has a result");
    serde_json::from_str(&text).expect("a result is JSON")
}

fn volumes(directory: &Path) -> Vec<f64> {
    let text = fs::read_to_string(directory.join("events.jsonl")).expect("the run has a journal");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event is JSON"));
    events
        .filter(|event| event["event"] == "evaluated")
        .filter_map(|event| event["front"]["hypervolume"].as_f64())
        .collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("it is a number")
}

#[test]
fn the_front_and_its_volume_are_told() {
    let (folder, file) = place();
    let (directory, output) = run(folder.path(), &file, "run", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let found = result(&directory);
    let front = &found["front"];
    let reference = |index: usize| (&front["reference"][index]["from"], number(&front["reference"][index]["value"]));
    assert_eq!(reference(0).0, "first-step");
    assert_eq!(reference(1).0, "space");
    assert_eq!(reference(2), (&json!("limit"), 20000.0));
    let networks = front["networks"].as_array().expect("networks");
    let point = |network: &Value| Point {
        violation: 0.0,
        costs: vec![
            -number(&network["objectives"]["accuracy"]),
            number(&network["objectives"]["flops"]),
            number(&network["objectives"]["params"]),
        ],
    };
    let points: Vec<Point> = networks.iter().map(point).collect();
    assert!(points.len() > 3);
    assert_eq!(fronts(&points).len(), 1, "no network of the front beats another");
    assert!(points.is_sorted_by(|one, other| one.costs[0] <= other.costs[0]));
    assert!(networks.iter().all(|network| network["within_limits"] == true));
    assert!(networks.iter().any(|network| network["crowding"].is_null()), "the ends are infinitely far");
    assert!(networks.iter().any(|network| network["crowding"].as_f64().is_some_and(|crowding| crowding > 0.0)));
    let corner = [-reference(0).1, reference(1).1, reference(2).1];
    let volume = number(&front["hypervolume"]);
    assert!((hypervolume(&points, &corner) - volume).abs() < 1e-9 * volume);
    assert_eq!(found["winner"]["genome"], networks[0]["genome"], "the winner is the best by the first objective");
    let volumes = volumes(&directory);
    assert!(volumes.len() > 3 && volumes.is_sorted(), "{volumes:?}");
    assert_eq!(volumes.last(), Some(&volume));
    let text = stdout(&output);
    for part in ["The front: ", "hypervolume", "the worst of the first step", "params 20000.0000 (the limit)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_search_that_goes_on_has_the_front_of_one_that_never_stopped() {
    let (folder, file) = place();
    let (whole, _) = run(folder.path(), &file, "whole", &[]);
    let (directory, output) = run(folder.path(), &file, "cut", &["budget.evaluations=25"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let resumed = pleach().arg("resume").arg(&directory).args(["--set", "budget.evaluations=80"]).output();
    let resumed = resumed.expect("the program starts");
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(result(&directory)["front"], result(&whole)["front"]);
    assert_eq!(volumes(&directory), volumes(&whole));
}

#[test]
fn with_one_objective_there_is_no_front_and_a_reference_bounds_nothing() {
    let (folder, file) = place();
    let strategy = "strategy={use: baselines/random-search}";
    let sets = ["objectives={accuracy: maximise}", strategy];
    let (directory, output) = run(folder.path(), &file, "one", &sets);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(result(&directory).get("front").is_none());
    assert!(volumes(&directory).is_empty());
    let sets = ["objectives={accuracy: {goal: maximise, reference: 0.1}}", strategy];
    let (_, output) = run(folder.path(), &file, "two", &sets);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no volume that it could bound"), "{}", stderr(&output));
}

/// Accuracy and FLOPs of all cells of NAS-Bench-201, as costs.
fn table(path: &Path) -> Vec<Point> {
    let mut text = String::new();
    let file = fs::File::open(path).expect("the table is there");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("the table can be read");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().expect("it has a first line");
    let column = |name| names.iter().position(|known| *known == name).expect("the column is there");
    let (accuracy, flops) = (column("cifar10_valid_200"), column("flops"));
    let number = |text: &str| text.parse::<f64>().expect("it is a number");
    lines
        .map(|cells| Point { violation: 0.0, costs: vec![-number(cells[accuracy]) / 100.0, number(cells[flops])] })
        .collect()
}

#[test]
fn nsga_2_finds_the_front_of_nas_bench_201() {
    let data = std::env::var_os("PLEACH_TEST_DATA").map_or_else(|| checkout().join("../shared/data"), PathBuf::from);
    let table_path = data.join("nas-bench-201/nas-bench-201.csv.gz");
    if !table_path.exists() {
        eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", table_path.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = checkout().join("examples/nsga-2-nas-bench-201.yaml");
    let of_table = format!("estimator.with.table={}", table_path.display());
    let cells = table(&table_path);
    for seed in 0..3 {
        let seed = format!("seed={seed}");
        let (directory, output) = run(folder.path(), &file, &seed, &[&of_table, &seed]);
        assert!(output.status.success(), "{}", stderr(&output));
        let found = result(&directory);
        assert_eq!(found["evaluations"], 1000);
        let reference: Vec<f64> = found["front"]["reference"]
            .as_array()
            .expect("a reference")
            .iter()
            .map(|one| number(&one["value"]))
            .collect();
        let exact = hypervolume(&cells, &[-reference[0], reference[1]]);
        let share = number(&found["front"]["hypervolume"]) / exact;
        println!("{seed}: {share:.4} of the exact front's hypervolume");
        assert!((0.95..=1.0 + 1e-9).contains(&share), "{seed}: {share}");
    }
}
