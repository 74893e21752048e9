//! What `pleach check` says of run files that cannot be used: one clear message each, exit code
//! 2, nothing spent. The messages are kept in `snapshots/`: read them as a user would.

use std::{fmt::Write as _, path::Path};

use pleach_tests::{pleach, plugin_folder, profile_folder, stderr, stdout};

/// A whole run file, which the first test runs as it is.
const RUN: &str = "\
name: tiny
seed: 7
plugins: [gevonas, datasets, baselines, misbehaving]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks:
      - { layers: 2, channels: 8, stride: 1 }
      - { layers: 2, channels: 16, stride: 2 }
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 16 } }
estimator: { use: misbehaving/formula }
operators:
  - { use: gevonas/block-crossover, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5, with: { rate: 0.2 } }
strategy:
  use: gevonas/grow-and-prune
  with: { population: 8, generations: 3, epochs: { first: 1, later: 1 } }
objectives: { accuracy: maximise, params: { at_most: 50000 } }
budget: { evaluations: 200, wall_clock: 5m }
";

/// What is wrong, the text that is replaced, and what stands there instead.
const BROKEN: &[(&str, &str, &str)] = &[
    ("no YAML", "seed: 7", "seed: [7"),
    ("a tab where YAML wants spaces", "    head: 32", "\thead: 32"),
    ("a key twice", "seed: 7", "seed: 7\nseed: 8"),
    ("a key too few", "seed: 7\n", ""),
    ("an unknown key at the top", "budget:", "budgets:"),
    ("an unknown key of a component", "population: 8", "populaton: 8"),
    ("an unknown key deep inside", "{ layers: 2, channels: 8, stride: 1 }", "{ layers: 2, chanels: 8, stride: 1 }"),
    ("a text where a number belongs", "seed: 7", "seed: seven"),
    ("a number where a list belongs", "operations: [identity, mb3_k3, mb6_k5]", "operations: 3"),
    ("a negative seed", "seed: 7", "seed: -7"),
    ("a number out of range", "rate: 0.2", "rate: 1.2"),
    ("a population of one", "population: 8", "population: 1"),
    ("a name that is no file name", "name: tiny", "name: ../tiny"),
    ("a duration without a unit", "wall_clock: 5m", "wall_clock: 5"),
    ("a duration with an unknown unit", "wall_clock: 5m", "wall_clock: 5 parsecs"),
    ("an unknown executor", "budget:", "executor: { use: slurm }\nbudget:"),
    ("a plugin that is not there", "plugins: [gevonas,", "plugins: [gevonass,"),
    ("a plugin that is not listed", "baselines, misbehaving]", "baselines]"),
    ("a plugin of another ABI", "misbehaving]", "misbehaving, other-abi]"),
    ("a plugin with another layout", "misbehaving]", "misbehaving, other-layout]"),
    ("a file that is no library", "misbehaving]", "misbehaving, FOLDER/run.yaml]"),
    ("a library that is no plugin", "misbehaving]", "misbehaving, LIBC]"),
    ("a path to nothing", "misbehaving]", "misbehaving, ./nothing.so]"),
    (
        "a pin that is not met",
        "misbehaving]",
        "{ use: misbehaving, sha256: 0000000000000000000000000000000000000000000000000000000000000000 }]",
    ),
    ("a misspelt component", "use: gevonas/growing-blocks", "use: gevonas/growing-block"),
    ("a component of another kind", "use: gevonas/grow-and-prune", "use: gevonas/block-crossover"),
    ("a component without its plugin", "use: gevonas/grow-and-prune", "use: grow-and-prune"),
    ("an unknown operation", "mb6_k5]", "mb6k5]"),
    ("an even kernel", "mb6_k5]", "mb6_k4]"),
    ("only identity", "[identity, mb3_k3, mb6_k5]", "[identity]"),
    (
        "a missing data folder",
        "{ use: datasets/synthetic, with: { size: 16 } }",
        "{ use: datasets/cifar10, with: { root: no/such/folder } }",
    ),
    (
        "a folder without data",
        "{ use: datasets/synthetic, with: { size: 16 } }",
        "{ use: datasets/cifar10, with: { root: FOLDER } }",
    ),
    ("a required key of a component", "{ use: datasets/synthetic, with: { size: 16 } }", "{ use: datasets/cifar10 }"),
    (
        "another input than the data set's",
        "    head: 32",
        "    head: 32\n    input: { channels: 1, height: 28, width: 28 }",
    ),
    ("an objective that nobody measures", "accuracy: maximise", "acuracy: maximise"),
    ("a misspelt direction", "accuracy: maximise", "accuracy: maximize"),
    ("no direction at all", "accuracy: maximise, ", ""),
    ("two directions for a strategy of one", "params: { at_most: 50000 }", "params: minimise"),
    ("limits that exclude each other", "{ at_most: 50000 }", "{ at_most: 50000, at_least: 60000 }"),
    ("a limit that no network keeps", "at_most: 50000", "at_most: 500"),
    ("more elites than the population", "population: 8", "population: 8, elites: 8"),
    (
        "no operators",
        "operators:\n  - { use: gevonas/block-crossover, weight: 0.5 }\n  - { use: gevonas/operation-mutation, weight: 0.5, with: { rate: 0.2 } }\n",
        "",
    ),
    (
        "no mutation for a strategy of mutations",
        "  - { use: gevonas/operation-mutation, weight: 0.5, with: { rate: 0.2 } }\nstrategy:\n  use: gevonas/grow-and-prune\n  with: { population: 8, generations: 3, epochs: { first: 1, later: 1 } }",
        "strategy: { use: baselines/regularized-evolution }",
    ),
];

/// The C library that this test uses itself.
fn libc() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a process can see its maps");
    let line = maps.lines().find(|line| line.contains("libc.so")).expect("every process uses the C library");
    line[line.find('/').expect("a mapped file has a path")..].to_owned()
}

fn check(folder: &Path, text: &str) -> (Option<i32>, String) {
    let text = text.replace("FOLDER", &folder.display().to_string()).replace("LIBC", &libc());
    std::fs::write(folder.join("run.yaml"), text).expect("the file can be written");
    let output = pleach().current_dir(folder).args(["check", "run.yaml"]).output().expect("the program starts");
    let message = stdout(&output) + &stderr(&output);
    let message = message
        .replace(&libc(), "LIBC")
        .replace(&folder.display().to_string(), "FOLDER")
        .replace(&plugin_folder().display().to_string(), "PLUGINS")
        .replace(&profile_folder().join("alone").display().to_string(), "PROGRAM")
        .replace(&profile_folder().display().to_string(), "PROGRAM");
    (output.status.code(), message)
}

#[test]
fn every_message_is_clear() {
    let mut messages = String::new();
    for (what, from, to) in BROKEN {
        assert_eq!(RUN.matches(from).count(), 1, "`{from}` stands once in the run file");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (code, message) = check(folder.path(), &RUN.replace(from, to));
        assert_eq!(code, Some(2), "{what}: {message}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder is there").collect();
        assert_eq!(left.len(), 1, "{what}: a check leaves nothing behind");
        // Hashes differ from build to build.
        let shown = message.split(' ').map(|word| if word.trim_end_matches(',').len() == 64 { "HASH," } else { word });
        let _ = writeln!(messages, "## {what}\n\n{}", shown.collect::<Vec<_>>().join(" "));
    }
    assert!(BROKEN.len() >= 20);
    insta::assert_snapshot!(messages);
}

#[test]
fn the_run_file_without_a_mistake_can_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (code, message) = check(folder.path(), RUN);
    assert_eq!(code, Some(0), "{message}");
    assert!(message.contains("run.yaml can run: nothing was trained or evaluated"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = pleach().args(["check", "no-such-file.yaml"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("failed to read the run file no-such-file.yaml"), "{}", stderr(&output));
}

#[test]
fn errors_can_be_read_by_a_program() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("run.yaml"), RUN.replace("seed: 7", "sead: 7")).expect("it can be written");
    let output =
        pleach().current_dir(folder.path()).args(["--json", "check", "run.yaml"]).output().expect("the program starts");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
    assert_eq!(document["exit_code"], 2);
    let messages: Vec<_> =
        document["errors"].as_array().expect("a list").iter().map(|error| &error["message"]).collect();
    assert!(messages.contains(&&serde_json::json!("unknown key `sead`")), "{document}");
}
