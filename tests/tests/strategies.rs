//! Swapping the strategy in a run file: each one searches without another change.

use pleach_tests::{pleach, stderr};
use serde_json::Value;

const RUN: &str = "\
name: swap
seed: 3
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
  - { use: gevonas/uniform-crossover, weight: 0.3 }
  - { use: gevonas/block-crossover, weight: 0.2 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: STRATEGY }
objectives: { accuracy: maximise }
budget: { evaluations: 120 }
";

fn search(strategy: &str) -> (Value, Vec<Value>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN.replace("STRATEGY", strategy)).expect("the file can be written");
    let directory = folder.path().join("run");
    let output = pleach().args(["run", "--dir"]).arg(&directory).arg(&file).output().expect("the program starts");
    assert!(output.status.success(), "{strategy}: {}", stderr(&output));
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("the run left it");
    let result = serde_json::from_str(&read("result.json")).expect("a result is JSON");
    let events = read("events.jsonl");
    (result, events.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect())
}

#[test]
fn every_strategy_runs_with_the_same_file() {
    for strategy in [
        "gevonas/grow-and-prune",
        "baselines/bananas",
        "baselines/hyperband",
        "baselines/local-search",
        "baselines/nsga-2",
        "baselines/random-search",
        "baselines/regularized-evolution",
        "baselines/spos-evolution",
    ] {
        let (result, _) = search(strategy);
        let evaluations = result["evaluations"].as_u64().expect("a count");
        assert!((30..=120).contains(&evaluations), "{strategy}: {evaluations}");
        assert!(
            result["winner"]["objectives"]["accuracy"].as_f64().is_some_and(|best| best > 0.5),
            "{strategy}: {result}"
        );
        assert_eq!(result["random_networks"].as_array().map(Vec::len), Some(2), "{strategy}");
    }
}

#[test]
fn a_grown_search_tells_its_stages_and_its_ancestry() {
    let (result, events) = search("gevonas/grow-and-prune, with: { population: 6 }");
    let stages = result["stages"].as_array().expect("stages");
    assert_eq!(stages.len(), 3);
    let sizes: Vec<f64> = stages.iter().map(|stage| stage["networks"].as_f64().expect("a size")).collect();
    assert_eq!(sizes[0], 4.0, "two kinds of layer in two Blocks");
    let depths: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "trained").map(|event| &event["notes"]["depths"]).collect();
    assert_eq!(depths, [&serde_json::json!([1, 1]), &serde_json::json!([2, 2]), &serde_json::json!([2, 3])]);
    let origins: std::collections::BTreeSet<String> = events
        .iter()
        .filter(|event| event["event"] == "evaluated")
        .flat_map(|event| event["candidates"].as_array().expect("candidates").clone())
        .map(|candidate| candidate["origin"]["by"].as_str().expect("an origin").to_owned())
        .collect();
    for origin in ["random", "grown", "immigrant", "gevonas/operation-mutation"] {
        assert!(origins.contains(origin), "{origins:?}");
    }
}
