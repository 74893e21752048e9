//! From a search to a trained network: `winner:` and `pleach train`. They need libtorch, and say
//! loudly that they skip without it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pleach_tests::{pleach, stderr, stdout, supernet};
use serde_json::Value;

/// A search of seconds, and a training of the network it finds at another depth and width.
const RUN: &str = "\
name: tiny
seed: 3
plugins: [gevonas, datasets, baselines, SUPERNET]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 2, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb3_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 8, train: 400, test: 100, classes: 4 } }
estimator:
  use: supernet/weight-sharing
  with: { device: cpu, threads: 2, batch: 32, held_out: 100, batch_norm: { recalibration_images: 64 } }
operators: [{ use: gevonas/operation-mutation }]
strategy: { use: gevonas/grow-and-prune, with: { population: 6, generations: 1, epochs: { first: 1, later: 1 } } }
objectives: { accuracy: maximise }
random_networks: 0
winner:
  among: 3
  by:
    use: supernet/stand-alone
    with: { device: cpu, threads: 2, epochs: 2, batch: 32, held_out: 100, auxiliary: 0, drop_path: 0 }
train:
  estimator:
    use: supernet/stand-alone
    with: { device: cpu, threads: 2, epochs: 4, batch: 32, held_out: 0, measure: test, moving_average: 0.9 }
  space:
    use: gevonas/growing-blocks
    with:
      stem: { channels: 8, stride: 1 }
      blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 3, channels: 16, stride: 2 }]
      operations: [identity, mb3_k3, mb3_k5]
      head: 32
  width: { params: 20000 }
  seeds: [1, 2]
";

/// A folder with a search that is over; `None`, said loudly, without libtorch.
fn searched() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN.replace("SUPERNET", &supernet()?.display().to_string())).expect("it can be written");
    let output = pleach().arg("run").arg(&file).arg("--dir").arg(run_of(&folder)).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    Some(folder)
}

fn run_of(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("run")
}

fn train(run: &Path, more: &[&str]) -> Command {
    let mut command = pleach();
    command.arg("train").arg(run).args(more);
    command
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn document(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("the file is there")).expect("it is JSON")
}

/// What was measured, without times.
fn measured(folder: &Path) -> Value {
    document(&folder.join("training.json"))["measured"].take()
}

#[test]
fn the_winner_is_named_by_training_and_trained_in_another_space() {
    let Some(folder) = searched() else { return };
    let run = run_of(&folder);
    let result = document(&run.join("result.json"));
    let elites = result["elites"].as_array().expect("a list");
    let judged: Vec<f64> =
        elites.iter().map(|elite| elite["judged"]["accuracy"].as_f64().expect("it was judged")).collect();
    assert_eq!(judged.len(), 3);
    assert!(judged.is_sorted_by(|one, other| one >= other), "{judged:?}");
    assert_eq!(result["winner"], elites[0]);

    let output = done(train(&run, &[]));
    assert!(stdout(&output).contains("The network that was trained"), "{}", stdout(&output));
    let training = document(&run.join("training/training.json"));
    assert_eq!(training["found"], result["winner"]["genome"]);
    assert_eq!(training["genome"].as_array().map(Vec::len), Some(5));
    let operations = |document: &Value| document["blocks"].clone();
    assert_eq!(operations(&training), operations(&result["winner"]), "the operations are the same");
    let params = training["params"].as_u64().expect("a count");
    assert!((10_000..=20_000).contains(&params), "{params}");
    let seeds: Vec<u64> = training["trainings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            assert_eq!(one["epochs"], 4);
            one["seed"].as_u64().expect("a seed")
        })
        .collect();
    assert_eq!(seeds, [1, 2]);
    assert!(run.join("training/seed-2/model/weights.safetensors").is_file());

    // Once more: nothing is trained again.
    let again = done(train(&run, &[]));
    assert!(stderr(&again).contains("has its result") && !stderr(&again).contains("epoch"), "{}", stderr(&again));
    // Another recipe does not pass for this one.
    let other = train(&run, &["--set", "train.estimator.with.epochs=5"]).output().expect("it starts");
    assert_eq!(other.status.code(), Some(4));
    assert!(stderr(&other).contains("a training with another `config` is there"), "{}", stderr(&other));
    // A random network stands beside it.
    done(train(&run, &["--random", "1", "--set", "train.seeds=[1]"]));
    assert_ne!(document(&run.join("training-random-1/training.json"))["found"], training["found"]);
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_numbers() {
    let Some(folder) = searched() else { return };
    let run = run_of(&folder);
    let elsewhere = folder.path().join("whole");
    let elsewhere = elsewhere.to_str().expect("the path is text");
    done(train(&run, &["--dir", elsewhere, "--set", "train.seeds=[1]"]));

    let mut child = train(&run, &["--set", "train.seeds=[1]"]).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    for line in lines.map_while(Result::ok) {
        // The checkpoint of the first epoch is there when the second one is told.
        if line.contains("epoch 2/4") {
            break;
        }
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let output = done(train(&run, &["--set", "train.seeds=[1]"]));
    assert!(stderr(&output).contains("goes on after epoch"), "{}", stderr(&output));
    assert_eq!(measured(&run.join("training")), measured(Path::new(elsewhere)));
}

#[test]
fn what_cannot_be_trained_is_said() {
    let Some(folder) = searched() else { return };
    let run = run_of(&folder);
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let output = train(&run, arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    };
    check(&["--genome", "1-2"], 2, "has 2 genes, the space has 4 slots");
    check(&["--genome", "1-x"], 2, "`x` is no choice");
    check(&["--set", "train.width.params=100"], 2, "no widths come to");
    check(&["--set", "train.width.flops=1e6"], 2, "widths are scaled to one limit");
    check(&["--set", "train.space.with.operations=[identity, mb3_k3]", "--genome", "1-1-1-2"], 2, "unknown operation");
    check(
        &["--set", "train.estimator={use: supernet/weight-sharing, with: {held_out: 100, batch: 32, device: cpu}}"],
        2,
        "does not train a single network to an end",
    );
    check(&["--set", "train={estimator: {use: supernet/stand-alon}}"], 2, "did you mean `supernet/stand-alone`");
    let output = pleach().arg("train").arg(folder.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("this is no run directory"), "{}", stderr(&output));
}
