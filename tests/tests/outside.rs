//! Plugins from outside of the workspace, built as a stranger would: the examples, and what
//! `pleach plugins new` makes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use pleach_tests::{cargo_outside, checkout, library_file, outside_folder, pleach, stderr, stdout, supernet};

const RUN: &str = "\
name: outside
seed: 3
plugins: [gevonas, datasets, tabular, baselines, swap-layers, simulated-annealing, large-kernels]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 4, channels: 8, stride: 1 }, { layers: 4, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 16 } }
estimator: { use: tabular/nk-landscape }
operators:
  - { use: swap-layers/swap-layers, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy:
  use: gevonas/grow-and-prune
  with: { population: 8, generations: 4, epochs: { first: 1, later: 1 }, prune: { keep: all } }
objectives: { accuracy: maximise }
random_networks: 0
";

const ANNEALING: &str = "strategy={use: simulated-annealing/simulated-annealing, with: {evaluations: 200, epochs: 1}}";
const LARGE_KERNELS: &str = "space={use: large-kernels/large-kernels, with: {channels: [8, 16], layers: 3}}";

/// Builds an example and answers with its library.
fn example(name: &str) -> PathBuf {
    let project = checkout().join("examples").join(name);
    cargo_outside(&project, &["test", "--locked"]);
    cargo_outside(&project, &["build", "--locked"]).join(library_file(name))
}

/// Runs with settings, and answers with the journal.
fn run(sets: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("run.yaml"), RUN).expect("the file can be written");
    let mut command = pleach();
    command.current_dir(folder.path()).arg("--plugin-dir").arg(outside_folder().join("debug"));
    command.args(["run", "run.yaml", "--dir", "run"]);
    for set in sets {
        command.args(["--set", set]);
    }
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    fs::read_to_string(folder.path().join("run/events.jsonl")).expect("there is a journal")
}

fn check(library: &Path) -> Output {
    let output = pleach().args(["plugins", "check"]).arg(library).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    output
}

#[test]
fn examples_keep_their_promises_and_join_searches() {
    for name in ["swap-layers", "simulated-annealing", "large-kernels"] {
        check(&example(name));
    }
    assert!(run(&[]).contains("\"by\":\"swap-layers/swap-layers\""), "the operator made children");
    let searched = run(&[ANNEALING]);
    assert!(
        searched.contains("\"by\":\"neighbour\"") && searched.contains("\"temperature\":"),
        "the strategy searched"
    );
    // The space that G-EvoNAS has never heard of is grown and pruned.
    let grown = run(&[LARGE_KERNELS]);
    assert!(grown.contains("\"stage\":1"), "the space was grown");
    assert!(run(&[LARGE_KERNELS, ANNEALING]).contains("\"by\":\"neighbour\""));
}

#[test]
fn the_supernet_trains_layers_that_it_has_never_heard_of() {
    let Some(supernet) = supernet() else { return };
    example("large-kernels");
    let plugins = format!("plugins=[gevonas, datasets, large-kernels, {}]", supernet.display());
    let journal = run(&[
        &plugins,
        LARGE_KERNELS,
        "operators=[{use: gevonas/operation-mutation}]",
        "dataset.with.train=200",
        "estimator={use: supernet/weight-sharing, with: {device: cpu, threads: 1, batch: 20, held_out: 40, \
         batch_norm: {recalibration_images: 20}}}",
        "strategy.with.generations=1",
    ]);
    assert!(journal.contains("\"stage\":1") && journal.contains("\"loss\":"), "every stage was trained");
}

/// The logic of an operator that a stranger writes is short.
#[test]
fn the_mutation_has_at_most_15_lines_of_its_own() {
    let source = checkout().join("examples/swap-layers/src/lib.rs");
    let text = fs::read_to_string(source).expect("the example is there");
    let (_, body) = text.split_once("fn vary").expect("it varies");
    let (body, _) = body.split_once("\n    }\n").expect("the method ends");
    let lines: Vec<_> = body.lines().skip(1).filter(|line| !line.trim_start().starts_with("//")).collect();
    assert!(lines.len() <= 15, "{} lines:\n{}", lines.len(), lines.join("\n"));
}

const KINDS: [(&str, &str); 5] = [
    ("operator", "redraw"),
    ("strategy", "climb"),
    ("space", "blocks"),
    ("estimator", "nearness"),
    ("dataset", "stripes"),
];

#[test]
fn what_new_makes_builds_passes_and_searches_unchanged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (kind, component) in KINDS {
        let name = format!("new-{kind}");
        let mut command = pleach();
        command.current_dir(folder.path()).args(["plugins", "new", &name, "--kind", kind, "--sdk-path"]);
        let made = command.arg(checkout().join("sdk")).output().expect("the program starts");
        assert!(made.status.success(), "{}", stderr(&made));
        let project = folder.path().join(&name);
        cargo_outside(&project, &["test"]);
        let library = cargo_outside(&project, &["build"]).join(library_file(&name));
        let checked = check(&library);
        assert!(stdout(&checked).contains(&format!("{name}/{component} ({kind})")), "{}", stdout(&checked));
        let mut command = pleach();
        command.current_dir(&project).arg("--plugin-dir").arg(outside_folder().join("debug"));
        let output = command.args(["run", "run.yaml", "--dir", "run"]).output().expect("the program starts");
        assert!(output.status.success(), "{kind}: {}", stderr(&output));
        let result = fs::read_to_string(project.join("run/result.json")).expect("there is a result");
        let result: serde_json::Value = serde_json::from_str(&result).expect("it is JSON");
        assert_eq!(result["ended"], "finished", "{kind}");
        assert!(result["evaluations"].as_u64().is_some_and(|count| count > 100), "{kind}: {result}");
        let readme = fs::read_to_string(project.join("README.md")).expect("there is a README");
        assert!(readme.lines().count() <= 50, "a README of one page");
    }
}

#[test]
fn a_name_that_no_plugin_can_have_and_a_missing_sdk_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let new = |arguments: &[&str]| {
        let mut command = pleach();
        command.current_dir(folder.path()).args(["plugins", "new"]).args(arguments);
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0, "{arguments:?}: nothing is made");
        stderr(&output)
    };
    assert!(new(&["My_Plugin", "--kind", "space", "--sdk-version", "0.1"]).contains("no name for a plugin"));
    assert!(new(&["mine", "--kind", "painting", "--sdk-version", "0.1"]).contains("a component is a space, dataset"));
    assert!(new(&["mine", "--kind", "space"]).contains("--sdk-path"));
    assert!(new(&["mine", "--kind", "space", "--sdk-path", "."]).contains("is not the folder of pleach-sdk"));
}
