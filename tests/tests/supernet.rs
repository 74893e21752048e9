//! Searches on the SuperNet: they need libtorch, and say loudly that they skip without it.

use pleach_tests::{checkout, journal_length, killed_at, pleach, stderr, stdout, supernet, tables};
use serde_json::Value;

/// A search of seconds on images made from a seed.
const RUN: &str = "\
name: supernet
seed: 3
plugins: [gevonas, datasets, baselines, SUPERNET]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 2, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb3_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 8, train: 400, test: 10, classes: 4 } }
estimator:
  use: supernet/weight-sharing
  with: { device: cpu, threads: 2, batch: 32, held_out: 100, batch_norm: { recalibration_images: 64 } }
operators:
  - { use: gevonas/uniform-crossover }
  - { use: gevonas/operation-mutation }
strategy: { use: gevonas/grow-and-prune, with: { population: 6, generations: 2, epochs: { first: 2, later: 1 } } }
objectives: { accuracy: maximise }
budget: { evaluations: 60 }
random_networks: 5
";

fn search(sets: &[&str]) -> Option<Value> {
    let text = RUN.replace("SUPERNET", &supernet()?.display().to_string());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, text).expect("the file can be written");
    let mut command = pleach();
    command.args(["--json", "run", "--dir"]).arg(folder.path().join("run")).arg(&file);
    for set in sets {
        command.args(["--set", set]);
    }
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{sets:?}: {}{}", stdout(&output), stderr(&output));
    let mut answer: Value = serde_json::from_str(&stdout(&output)).expect("the answer is JSON");
    let result = answer["result"].as_object_mut().expect("there is a result");
    assert!(result.remove("times").is_some());
    assert!(result.remove("seed").is_some());
    Some(answer["result"].take())
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_seed_another() {
    let (Some(one), Some(again), Some(other)) = (search(&[]), search(&[]), search(&["seed=4"])) else { return };
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert_eq!(one["stages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_search_that_is_killed_in_training_and_between_steps_ends_with_the_same_result() {
    let Some(expected) = search(&[]) else { return };
    let Some(library) = supernet() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, directory) = (folder.path().join("run.yaml"), folder.path().join("run"));
    let text = RUN.replace("SUPERNET", &library.display().to_string());
    std::fs::write(&file, text).expect("the file can be written");
    let mut first = pleach();
    first.arg("run").arg(&file).arg("--dir").arg(&directory).args(["--set", "checkpoint_every=0s"]);
    let mut events = 1;
    let mut kills = 0;
    let mut is_alive = killed_at(&mut first, &directory, events);
    while is_alive {
        kills += 1;
        events = journal_length(&directory) + kills % 3;
        is_alive = killed_at(pleach().arg("resume").arg(&directory), &directory, events);
    }
    assert!(kills > 2, "{kills}");
    let text = std::fs::read_to_string(directory.join("result.json")).expect("there is a result");
    let mut result: Value = serde_json::from_str(&text).expect("it is JSON");
    for key in ["times", "seed"] {
        assert!(result.as_object_mut().and_then(|keys| keys.remove(key)).is_some());
    }
    assert_eq!(result, expected);
}

#[test]
fn workers_with_their_own_supernets_give_the_same_result() {
    let loss = "objectives={loss: minimise}";
    let Some(local) = search(&[loss]) else { return };
    for workers in ["1", "2"] {
        let executor = format!("executor={{use: processes, with: {{workers: {workers}}}}}");
        assert_eq!(search(&[loss, &executor]).as_ref(), Some(&local), "{workers}");
    }
}

#[test]
fn every_strategy_searches_on_the_supernet() {
    for strategy in ["baselines/random-search", "baselines/regularized-evolution"] {
        let set = format!("strategy={{use: {strategy}, with: {{epochs: 1}}}}");
        let Some(result) = search(&[&set]) else { return };
        // The space has 36 networks that differ.
        let evaluations = result["evaluations"].as_u64().expect("a count");
        assert!((30..=36).contains(&evaluations), "{strategy}: {evaluations}");
    }
}

#[test]
fn the_shipped_run_files_are_whole() {
    let Some(library) = supernet() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cells, chains) = (folder.path().join("cells.csv"), folder.path().join("chains.json"));
    tables::write_nas_bench_201(&cells);
    tables::write_nas_bench_macro(&chains);
    for entry in std::fs::read_dir(checkout().join("examples")).expect("there are examples") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        // Images are made from a seed and tables are made up: the data need not be there.
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let images = match () {
            () if text.contains("use: datasets/image-folder") => "size: 112, train: 200000, classes: 1000",
            () if text.contains("use: datasets/cifar100") => "size: 32, train: 60000, classes: 100",
            () => "size: 32, train: 60000",
        };
        let mut sets = Vec::new();
        if text.contains("\ndataset:") {
            sets.push(format!("dataset={{use: datasets/synthetic, with: {{{images}}}}}"));
        }
        sets.push(match () {
            () if text.contains("  use: supernet/") => "estimator.with.device=cpu".to_owned(),
            () if text.contains("use: tabular/nas-bench-201") => format!("estimator.with.table={}", cells.display()),
            () => format!("estimator.with.table={}", chains.display()),
        });
        let mut command = pleach();
        command.arg("--plugin-dir").arg(library.parent().expect("the library lies in a folder"));
        command.arg("check").arg(&path);
        for set in &sets {
            command.args(["--set", set]);
        }
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}: {}", path.display(), stderr(&output));
    }
}

#[test]
fn cuda_where_there_is_none_is_refused() {
    let Some(library) = supernet() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    let text = RUN.replace("SUPERNET", &library.display().to_string()).replace("device: cpu", "device: cuda:77");
    std::fs::write(&file, text).expect("the file can be written");
    let output = pleach().arg("check").arg(&file).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("`cuda:77` was asked for, but there"), "{message}");
    assert!(message.contains("run.yaml:14:11 at `estimator.with.device`"), "{message}");
}

#[test]
fn a_front_is_found_by_what_needs_no_training() {
    let wanted = [
        "estimator={use: supernet/zero-cost, with: {device: cpu, threads: 2, proxies: [naswot, synflow], batch: 16}}",
        "strategy={use: baselines/nsga-2, with: {population: 8, evaluations: 24, epochs: 0}}",
        "objectives={naswot: maximise, flops: minimise}",
        "random_networks=0",
    ];
    let (Some(one), Some(again)) = (search(&wanted), search(&wanted)) else { return };
    assert_eq!(one, again);
    let count = |key: &str| one[key].as_u64().expect("a count");
    assert_eq!((count("evaluations"), count("failed")), (24, 0));
    let front = one["front"]["networks"].as_array().expect("several objectives have a front");
    assert!(front.len() > 1, "{front:?}");
}
