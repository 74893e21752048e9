//! `pleach rank` on a table in the form of NAS-Bench-Macro.

use std::{path::Path, process::Output};

use pleach_tests::{pleach, stderr, tables};
use serde_json::Value;
use tempfile::TempDir;

const RUN: &str = "\
name: ranked
seed: 3
plugins: [gevonas, datasets, tabular]
space:
  use: gevonas/growing-blocks
  with:
    blocks:
      - { layers: 2, channels: 16, stride: 2 }
      - { layers: 3, channels: 32, stride: 2 }
      - { layers: 3, channels: 64, stride: 2 }
    operations: [identity, mb3_k3, mb6_k5]
    projection: true
dataset: { use: datasets/synthetic, with: { size: 32 } }
estimator: { use: tabular/nas-bench-macro, with: { table: table.json, noise: NOISE } }
operators:
  - { use: gevonas/uniform-crossover, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: gevonas/grow-and-prune, with: { population: 12, generations: 2, prune: { keep: union, top: 3 } } }
objectives: { accuracy: maximise }
random_networks: 0
rank:
  reference: { use: tabular/nas-bench-macro, with: { table: table.json } }
  networks: 60
  seeds: [0, 1]
  variants:
    pruned: []
    not pruned: [\"strategy.with.prune.keep=all\"]
    at once: [\"strategy.with.prune.keep=all\", \"strategy.with.layers_at_start=3\"]
";

fn folder(noise: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tables::write_nas_bench_macro(&folder.path().join("table.json"));
    std::fs::write(folder.path().join("run.yaml"), RUN.replace("NOISE", noise)).expect("the file can be written");
    folder
}

fn rank_in(folder: &Path, more: &[&str]) -> Output {
    let mut command = pleach();
    command.args(["rank", "--dir", "ranked", "run.yaml"]).args(more).current_dir(folder);
    command.output().expect("the program starts")
}

fn ranking(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("ranked/rank.json")).expect("the ranking was left");
    serde_json::from_str(&text).expect("a ranking is JSON")
}

fn rank(noise: &str, more: &[&str]) -> Value {
    let folder = folder(noise);
    let output = rank_in(folder.path(), more);
    assert!(output.status.success(), "{}", stderr(&output));
    ranking(folder.path())
}

fn samples<'a>(ranking: &'a Value, variant: &str, seed: usize, drawn_from: &'a str) -> Vec<&'a Value> {
    let variants = ranking["variants"].as_array().expect("a list");
    let variant = variants.iter().find(|one| one["name"] == variant).expect("the variant ran");
    let all = variant["searches"][seed]["samples"].as_array().expect("a list");
    all.iter().filter(|sample| sample["drawn_from"] == drawn_from).collect()
}

fn genomes(sample: &Value) -> Vec<&Value> {
    sample["networks"].as_array().expect("a list").iter().map(|network| &network["genome"]).collect()
}

#[test]
fn an_estimator_that_is_the_reference_ranks_without_fault_and_noise_costs() {
    let exact = rank("0", &["--variant", "pruned"]);
    let noisy = rank("1.0", &["--variant", "pruned"]);
    for seed in 0..2 {
        let (exact, noisy) = (samples(&exact, "pruned", seed, "space"), samples(&noisy, "pruned", seed, "space"));
        assert_eq!((exact.len(), noisy.len()), (3, 3));
        for (exact, noisy) in exact.iter().zip(&noisy) {
            assert_eq!(exact["agreement"]["tau"], 1.0);
            let tau = noisy["agreement"]["tau"].as_f64().expect("a number");
            assert!((0.1..0.9).contains(&tau), "{tau}");
        }
    }
}

#[test]
fn every_variant_ranks_the_networks_of_the_first() {
    let ranking = rank("0.5", &[]);
    for seed in 0..2 {
        assert!(samples(&ranking, "pruned", seed, "of-first").is_empty());
        let first = samples(&ranking, "pruned", seed, "region");
        let other = samples(&ranking, "not pruned", seed, "of-first");
        assert_eq!((first.len(), other.len()), (3, 3));
        for (first, other) in first.iter().zip(&other) {
            assert_eq!(genomes(first), genomes(other));
        }
        // All layers at once is one stage, as deep as the last one of the first variant.
        let at_once = samples(&ranking, "at once", seed, "of-first");
        assert_eq!(at_once.len(), 1);
        assert_eq!(genomes(at_once[0]), genomes(first[2]));
        // Without pruning the region is the whole space.
        let unpruned = |drawn_from| samples(&ranking, "not pruned", seed, drawn_from)[2];
        assert_eq!(genomes(unpruned("space")), genomes(unpruned("region")));
    }
}

#[test]
fn a_ranking_that_was_interrupted_goes_on_and_one_of_something_else_is_refused() {
    let without_times = |mut ranking: Value| {
        let variants = ranking["variants"].as_array_mut().expect("a list");
        let searches = variants.iter_mut().flat_map(|one| one["searches"].as_array_mut().expect("a list"));
        let times: Vec<Value> = searches.map(|search| search["seconds"].take()).collect();
        (ranking, times)
    };
    let (whole, _) = without_times(rank("1.0", &[]));
    let folder = folder("1.0");
    assert!(rank_in(folder.path(), &["--variant", "pruned"]).status.success());
    let (_, before) = without_times(ranking(folder.path()));
    // As a search is left that was killed.
    std::fs::remove_file(folder.path().join("ranked/pruned-seed-1/ranked.json")).expect("it is there");
    let output = rank_in(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("was ranked before").count(), 1, "{}", stderr(&output));
    let (again, times) = without_times(ranking(folder.path()));
    assert_eq!(again, whole);
    assert_eq!(times[0], before[0], "the first search was not done again");

    let other = rank_in(folder.path(), &["--set", "rank.networks=50"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("`config.rank.networks` was 60 and is 50"), "{}", stderr(&other));
    assert_eq!(without_times(ranking(folder.path())).0, whole, "nothing was lost");
}
