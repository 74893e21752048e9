//! `pleach export`, and what cannot be exported. It needs libtorch for a training, and says loudly
//! that it skips without it; `tests/export.sh` runs what is exported elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use pleach_tests::{pleach, stderr, stdout, supernet};
use serde_json::{Value, json};

/// A search of a moment, and a training of seconds.
const RUN: &str = "\
name: tiny
seed: 0
plugins: [gevonas, tabular, datasets, baselines, SUPERNET]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 2 }]
    operations: [identity, mb3_k3, mb3_k5_se]
    head: 16
dataset: { use: datasets/synthetic, with: { size: 8, train: 64, test: 20, classes: 4 } }
estimator: { use: tabular/nk-landscape, with: { neighbours: 1 } }
strategy: { use: baselines/random-search, with: { evaluations: 2 } }
objectives: { accuracy: maximise }
random_networks: 0
train:
  estimator:
    use: supernet/stand-alone
    with: { device: cpu, threads: 1, epochs: 1, batch: 32, held_out: 0, measure: test, auxiliary: 0 }
";

/// A finished search.
fn searched(folder: &Path) -> Option<PathBuf> {
    let (file, run) = (folder.join("run.yaml"), folder.join("run"));
    fs::write(&file, RUN.replace("SUPERNET", &supernet()?.display().to_string())).expect("it can be written");
    done(pleach().arg("run").arg(&file).arg("--dir").arg(&run).output().expect("it starts"));
    Some(run)
}

fn done(output: Output) -> Output {
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn train(run: &Path, more: &[&str]) -> Output {
    done(pleach().arg("train").arg(run).args(more).output().expect("it starts"))
}

fn export(directory: &Path, more: &[&str]) -> Output {
    pleach().arg("export").arg(directory).args(more).output().expect("it starts")
}

fn refused(output: &Output, code: i32, expected: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(expected), "{expected}: {}", stderr(output));
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file is there")).expect("it is JSON")
}

/// Changes a document in its place.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = document(path);
    change(&mut value);
    fs::write(path, value.to_string()).expect("it can be written");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_training_is_exported_once_and_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(run) = searched(folder.path()) else { return };
    refused(&export(&run, &[]), 4, "nothing was trained in it yet: `pleach train");
    let output = train(&run, &["--no-export"]);
    assert!(!stdout(&output).contains("export"), "{}", stdout(&output));
    let there = run.join("training/export");
    assert!(!there.exists());

    let output = train(&run, &[]);
    assert!(stdout(&output).contains("logits differ by"), "{}", stdout(&output));
    let files = ["README.md", "check.safetensors", "export.json", "model.onnx", "model.pt", "model.py"];
    assert_eq!(names(&there), [&files[..], &["predict_onnx.py", "weights.safetensors"]].concat());
    let record = document(&there.join("export.json"));
    assert_eq!((&record["opset"], &record["images"]), (&json!(17), &json!(16)));
    let difference = record["checked"]["model.onnx"]["difference"].as_f64().expect("a number");
    assert!((0.0..=1e-4).contains(&difference), "{difference}");
    let card = fs::read_to_string(there.join("README.md")).expect("it is text");
    let training = document(&run.join("training/training.json"));
    for expected in ["grating 0, grating 1", "for 1 epochs with seed 0", "on the test images", "opset 17"] {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    for number in ["params", "flops"] {
        assert!(card.contains(&format!("| {} ", training[number])), "{number}: {card}");
    }

    // What is there stays, and can be asked for elsewhere and in part.
    let written = |name: &str| fs::metadata(there.join(name)).and_then(|file| file.modified()).expect("it is there");
    let before = written("model.onnx");
    train(&run, &[]);
    assert_eq!(written("model.onnx"), before);
    refused(&export(&run, &[]), 4, "something is there already: give another place with --to");
    let part = folder.path().join("part");
    let to = part.to_str().expect("the path is text");
    let output = done(export(&run.join("training/seed-0"), &["--to", to, "--format", "onnx,torchscript", "--json"]));
    let told: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(told["directory"], json!(to));
    assert_eq!(
        names(&part),
        ["README.md", "check.safetensors", "export.json", "model.onnx", "model.pt", "predict_onnx.py"]
    );

    train(&run, &["--random", "1", "--no-export"]);
    refused(
        &export(&run, &[]),
        4,
        "it has several trainings: give the directory of one of training, training-random-1",
    );
}

#[test]
fn what_cannot_be_exported_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(run) = searched(folder.path()) else { return };
    train(&run, &["--no-export"]);
    let training = run.join("training");
    let seed = training.join("seed-0");
    let to = folder.path().join("to");
    let to_export = |more: &[&str]| {
        let output = export(&training, &[&["--to", to.to_str().expect("the path is text")], more].concat());
        let beside = fs::read_dir(to.parent().expect("it lies in a folder")).expect("it can be read");
        let mut names = beside.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
        assert!(!to.exists() && names.all(|name| !name.ends_with(".partial")), "something is left");
        output
    };
    refused(&export(folder.path(), &[]), 4, "this is no training: give a directory of `pleach train`");
    refused(&to_export(&["--seed", "7"]), 4, "there is no training with this seed; there are 0");
    refused(&to_export(&["--format", "tensorflow"]), 2, "[possible values: safetensors, onnx, torchscript, pytorch]");
    refused(&to_export(&["--python", "/no/such/python"]), 3, "cannot be run");

    // Each change is taken back.
    let changed = |file: &str, bytes: Option<&[u8]>, code: i32, expected: &str| {
        let path = seed.join(file);
        let before = fs::read(&path).expect("it is there");
        match bytes {
            Some(bytes) => fs::write(&path, bytes).expect("it can be written"),
            None => fs::remove_file(&path).expect("it can be removed"),
        }
        refused(&to_export(&[]), code, expected);
        fs::write(&path, before).expect("it can be written");
    };
    changed("model/weights.safetensors", Some(b"damage"), 4, "it is not what the training wrote");
    changed("model/weights.safetensors", None, 4, "it is missing");
    changed("model/model.pt", Some(b"damage"), 4, "it is not what the training wrote");
    changed("result.json", None, 4, "the training is not over");
    changed("network.json", Some(b"{"), 4, "network.json is damaged");
    let network = fs::read_to_string(seed.join("network.json")).expect("it is text");
    let unknown = network.replace("\"batch-norm\"", "\"layer-norm\"");
    changed("network.json", Some(unknown.as_bytes()), 4, "unknown variant `layer-norm`");
    let wider = network.replace("\"channels\": 8,", "\"channels\": 9,");
    changed("network.json", Some(wider.as_bytes()), 4, "the network needs");

    // Without hashes damage shows in numbers.
    edit(&seed.join("result.json"), |result| result["files"] = json!({}));
    changed("model/weights.safetensors", Some(b"damage"), 4, "this file of the training cannot be used");
    let mut check = fs::read(seed.join("model/check.safetensors")).expect("it is there");
    let last = check.len() - 4;
    check[last..].copy_from_slice(&100.0_f32.to_le_bytes());
    changed("model/check.safetensors", Some(&check), 3, "does not compute what was trained");
    done(export(&training, &["--to", to.to_str().expect("the path is text")]));
}
