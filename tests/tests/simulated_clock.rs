//! `budget.clock: simulated`: the seconds that an estimator gives count against the budget, and
//! stand where they stood after a run was killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pleach_tests::{killed_at, pleach, stderr};
use serde_json::Value;

/// A network costs 1 to 6 seconds.
const RUN: &str = "\
name: clock
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
estimator: { use: misbehaving/formula, with: { seconds: 1.0 } }
operators:
  - { use: gevonas/uniform-crossover }
  - { use: gevonas/operation-mutation }
strategy: { use: STRATEGY }
objectives: { accuracy: maximise }
budget: { wall_clock: 200s, clock: simulated }
checkpoint_every: 0s
";

const STRATEGIES: [&str; 2] = [
    "gevonas/grow-and-prune, with: { population: 8, generations: 4 }",
    "baselines/regularized-evolution, with: { population: 20, sample: 5 }",
];

fn place(strategy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("run.yaml"), RUN.replace("STRATEGY", strategy)).expect("it can be written");
    folder
}

fn start(folder: &Path, name: &str, sets: &[&str]) -> Command {
    let mut command = pleach();
    command.arg("run").arg(folder.join("run.yaml")).arg("--dir").arg(folder.join(name));
    for set in sets {
        command.args(["--set", set]);
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn done(command: &mut Command) {
    let output = output(command);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn result(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("result.json")).expect("there is a result");
    let mut result: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
    result
}

/// Candidates that were measured, in their order.
fn measured(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("events.jsonl")).expect("there is a journal");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    let evaluated = events.filter(|event| event["event"] == "evaluated");
    let candidates = evaluated.flat_map(|event| event["candidates"].as_array().expect("candidates").clone());
    candidates.filter(|candidate| candidate["known"].is_null()).collect()
}

#[test]
fn the_seconds_of_all_networks_add_up_to_the_limit_and_not_beyond() {
    for strategy in STRATEGIES {
        let folder = place(strategy);
        done(&mut start(folder.path(), "run", &[]));
        let result = result(&folder.path().join("run"));
        assert_eq!(result["ended"], "wall-clock", "{strategy}");
        assert_eq!(result["simulated_seconds"], 200.0, "{strategy}");
        let measured = measured(&folder.path().join("run"));
        assert_eq!(result["evaluations"], measured.len(), "{strategy}");
        let mut clock = 0.0;
        for candidate in &measured {
            let genes = candidate["genome"].as_array().expect("a genome");
            clock += 1.0 + genes.iter().filter(|gene| **gene == 1).count() as f64;
            assert_eq!(candidate["at_simulated_seconds"], clock, "{strategy}");
        }
        assert!((195.0..=200.0).contains(&clock), "{strategy}: no network costs more than 6: {clock}");
    }
}

#[test]
fn a_killed_run_and_one_with_a_larger_limit_come_to_the_same_end() {
    for strategy in STRATEGIES {
        let folder = place(strategy);
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        done(&mut start(folder.path(), "undisturbed", &[]));
        assert!(killed_at(&mut start(folder.path(), "killed", &[]), &path("killed"), 6), "{strategy}");
        done(pleach().arg("resume").arg(path("killed")));
        done(&mut start(folder.path(), "short", &["budget.wall_clock=90s"]));
        assert_eq!(result(&path("short"))["simulated_seconds"], 90.0);
        done(pleach().arg("resume").arg(path("short")).args(["--set", "budget.wall_clock=200s"]));
        for name in ["killed", "short"] {
            assert_eq!(result(&path(name)), result(&path("undisturbed")), "{strategy}, {name}");
            assert_eq!(measured(&path(name)), measured(&path("undisturbed")), "{strategy}, {name}");
        }
        let again = output(pleach().arg("resume").arg(path("short")));
        assert!(pleach_tests::stdout(&again).contains("its budget of time was used up"));
    }
}

#[test]
fn repeats_are_paid_for_where_the_run_file_says_so() {
    let folder =
        place("baselines/regularized-evolution, with: { population: 4, sample: 4, batch: 3, distinct: false }");
    for (repeats, costs) in [("free", false), ("paid", true)] {
        done(&mut start(folder.path(), repeats, &[&format!("budget.repeats={repeats}")]));
        let text = fs::read_to_string(folder.path().join(repeats).join("events.jsonl")).expect("there is a journal");
        let (mut clock, mut known) = (0.0, 0);
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("it is JSON");
            for candidate in event["candidates"].as_array().into_iter().flatten() {
                known += u64::from(candidate["known"] == true);
                if let Some(at) = candidate["at_simulated_seconds"].as_f64() {
                    assert!(costs || candidate["known"] != true, "{candidate}");
                    let genes = candidate["genome"].as_array().expect("a genome");
                    clock += 1.0 + genes.iter().filter(|gene| **gene == 1).count() as f64;
                    assert_eq!(at, clock);
                }
            }
        }
        assert!(known > 3 && (195.0..=200.0).contains(&clock), "{known} {clock}");
    }
    let real = output(&mut start(folder.path(), "real", &["budget={wall_clock: 1s, repeats: paid}"]));
    assert_eq!(real.status.code(), Some(2));
    assert!(stderr(&real).contains("real time is not paid for a network that is known"), "{}", stderr(&real));
}

#[test]
fn a_search_that_finds_nothing_new_is_told() {
    let proposals = "evaluations: 12000, population: 4, sample: 4, batch: 100, distinct: false";
    let folder = place(&format!("baselines/regularized-evolution, with: {{ {proposals} }}"));
    // A handful of networks, all of them known after the first steps.
    let few = "space.with.blocks=[{layers: 1, channels: 8, stride: 1}, {layers: 1, channels: 16, stride: 2}]";
    let endless =
        output(&mut start(folder.path(), "endless", &[few, "budget={evaluations: 1000}", "checkpoint_every=1h"]));
    assert!(endless.status.success(), "{}", stderr(&endless));
    let told = "the last 10000 candidates were networks that are known: budget.evaluations counts each network once";
    assert_eq!(stderr(&endless).matches(told).count(), 1, "{}", stderr(&endless));
    // Random search ends by itself, and says why.
    let random = "strategy={use: baselines/random-search, with: {evaluations: 1000}}";
    let ended = output(&mut start(folder.path(), "random", &[few, random, "budget={evaluations: 1000}"]));
    assert!(ended.status.success(), "{}", stderr(&ended));
    let told = "of 1000 networks: 50 random networks in a row were known";
    assert_eq!(stderr(&ended).matches(told).count(), 1, "{}", stderr(&ended));
}

#[test]
fn an_estimator_without_seconds_and_one_with_wrong_ones_are_named() {
    let folder = place(STRATEGIES[0]);
    let none = output(&mut start(folder.path(), "none", &["estimator.with.seconds=0"]));
    assert_eq!(none.status.code(), Some(2));
    let message = stderr(&none);
    assert!(message.contains("counts `seconds`, which misbehaving/formula does not measure"), "{message}");
    assert!(message.contains("run.yaml:18:29 at `budget.clock`"), "{message}");
    let wrong = output(&mut start(folder.path(), "wrong", &["estimator.with.seconds=-1"]));
    assert_eq!(wrong.status.code(), Some(3));
    assert!(stderr(&wrong).contains("which a simulated clock cannot count"), "{}", stderr(&wrong));
}
