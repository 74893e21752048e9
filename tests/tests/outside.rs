//! A plugin from outside of the workspace, built as a stranger would, joins a search.

use std::process::Command;

use pleach_tests::{checkout, pleach, profile_folder, stderr};

const RUN: &str = "\
name: outside
seed: 3
plugins: [gevonas, datasets, misbehaving, swap-layers]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 4, channels: 8, stride: 1 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic }
estimator: { use: misbehaving/formula }
operators:
  - { use: swap-layers/swap-layers, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: gevonas/grow-and-prune, with: { population: 8, generations: 4, prune: { keep: all } } }
objectives: { accuracy: maximise }
random_networks: 0
";

#[test]
fn a_plugin_from_outside_of_the_workspace_joins_a_search() {
    let target = profile_folder().join("outside");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(checkout().join("examples/swap-layers/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", stderr(&built));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let directory = folder.path().join("run");
    let output = pleach()
        .arg("--plugin-dir")
        .arg(target.join("debug"))
        .args(["run", "--dir"])
        .arg(&directory)
        .arg(&file)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let events = std::fs::read_to_string(directory.join("events.jsonl")).expect("there is a journal");
    assert!(events.contains("\"by\":\"swap-layers/swap-layers\""), "the operator made children");
}
