//! `pleach compare`: variants side by side, resumed, and the same report for the same seeds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pleach_tests::{pleach, stderr, stdout};
use serde_json::Value;

const RUN: &str = "\
name: side-by-side
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
strategy: { use: baselines/random-search, with: { epochs: 0 } }
objectives: { accuracy: maximise }
budget: { wall_clock: 150s, clock: simulated }
compare:
  seeds: 6
  report: { use: misbehaving/formula, with: { seconds: 1.0 } }
  target: { value: 0.8 }
  variants:
    random: []
    evolution: ['strategy={use: baselines/regularized-evolution, with: {epochs: 0, population: 6, sample: 6, batch: 1}}']
    grown: ['strategy={use: gevonas/grow-and-prune, with: {population: 8, epochs: {first: 0, later: 0}}}']
";

const FILES: [&str; 5] = ["compare.json", "compare.md", "compare.csv", "curves.csv", "compare.svg"];

struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("run.yaml"), text).expect("it can be written");
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn compare(&self, name: &str, more: &[&str]) -> Command {
        let mut command = pleach();
        command.arg("compare").arg(self.path("run.yaml")).arg("--dir").arg(self.path(name)).args(more);
        command
    }
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn done(command: &mut Command) -> Output {
    let output = output(command);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    output
}

fn refused(command: &mut Command, code: i32, expected: &str) {
    let output = output(command);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert!(stderr(&output).contains(expected), "expected {expected}\nfound {}", stderr(&output));
}

fn report(folder: &Path) -> Vec<String> {
    FILES.iter().map(|name| fs::read_to_string(folder.join(name)).expect("it was written")).collect()
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("searches.jsonl")).expect("there are results");
    text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

#[test]
fn the_report_does_not_depend_on_threads_interruptions_and_run_directories() {
    let place = Place::new(RUN);
    done(&mut place.compare("one", &["--jobs", "1"]));
    let expected = report(&place.path("one"));
    done(&mut place.compare("four", &["--jobs", "4"]));
    assert_eq!(report(&place.path("four")), expected);
    // Fewer seeds first, half a line at the end, and then the others.
    done(&mut place.compare("resumed", &["--seeds", "2"]));
    assert_eq!(lines(&place.path("resumed")).len(), 3 + 6);
    let file = place.path("resumed").join("searches.jsonl");
    let mut text = fs::read_to_string(&file).expect("there are results");
    text.push_str("{\"search\":{\"vari");
    fs::write(&file, text).expect("it can be written");
    let output = done(&mut place.compare("resumed", &[]));
    assert!(stderr(&output).contains("12 searches, "), "{}", stderr(&output));
    assert_eq!(report(&place.path("resumed")), expected);
    done(&mut place.compare("kept", &["--keep-runs"]));
    assert_eq!(report(&place.path("kept")), expected);
    let runs = fs::read_dir(place.path("kept/runs")).expect("there are run directories");
    assert_eq!(runs.filter(|run| run.as_ref().is_ok_and(|run| run.path().join("result.json").is_file())).count(), 18);
    // And once more without a search.
    done(&mut place.compare("one", &[]));
    assert_eq!(report(&place.path("one")), expected);
}

#[test]
fn the_report_says_what_the_searches_came_to() {
    let place = Place::new(RUN);
    done(&mut place.compare("run", &[]));
    let comparison: Value = serde_json::from_str(&report(&place.path("run"))[0]).expect("it is JSON");
    let searches: Vec<Value> = lines(&place.path("run"))
        .iter()
        .filter(|line| !line["search"].is_null())
        .map(|line| line["search"].clone())
        .collect();
    assert_eq!(searches.len(), 18);
    let variants = comparison["variants"].as_array().expect("variants");
    assert_eq!(variants.len(), 3);
    for variant in variants {
        let own: Vec<&Value> = searches.iter().filter(|search| search["variant"] == variant["name"]).collect();
        let values: Vec<f64> =
            own.iter().map(|search| search["winner"]["reported"].as_f64().expect("a value")).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((variant["compared"]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
        assert_eq!(variant["compared"]["count"], 6);
        assert_eq!(variant["simulated_seconds"]["highest"], 150.0);
        for search in &own {
            let improvements = search["improvements"].as_array().expect("improvements");
            let numbers = |key: &str| -> Vec<f64> {
                improvements.iter().map(|one| one[key].as_f64().expect("a number")).collect()
            };
            for key in ["evaluations", "simulated_seconds", "value"] {
                assert!(numbers(key).is_sorted_by(|one, next| one < next), "{key}: {search}");
            }
            let reached = improvements.iter().find(|one| one["reported"].as_f64().is_some_and(|value| value >= 0.8));
            assert_eq!(search["target_after"], reached.map_or(Value::Null, |one| one["evaluations"].clone()));
        }
        let last = variant["by_simulated_seconds"].as_array().and_then(|points| points.last()).expect("a curve");
        assert!((last["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12, "the curve ends in what was found");
    }
    assert_eq!(comparison["pairs"].as_array().map(Vec::len), Some(3));
    let markdown = &report(&place.path("run"))[1];
    assert!(markdown.contains("# side-by-side: 3 variants, 6 seeds"), "{markdown}");
    assert!(markdown.contains("corrected for 3 pairs (Holm 1979)"), "{markdown}");
}

#[test]
fn a_killed_comparison_keeps_what_is_done() {
    let place = Place::new(RUN);
    done(&mut place.compare("whole", &["--seeds", "15"]));
    let mut child = place
        .compare("killed", &["--seeds", "15", "--jobs", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let file = place.path("killed").join("searches.jsonl");
    while fs::read_to_string(&file).map_or(0, |text| text.lines().count()) < 10 {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended early");
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    done(&mut place.compare("killed", &["--seeds", "15"]));
    assert_eq!(report(&place.path("killed")), report(&place.path("whole")));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let place = Place::new(RUN);
    let compare = |more: &[&str]| place.compare("refused", more);
    refused(&mut compare(&["--variant", "grow"]), 2, "unknown variant `grow`, did you mean `grown`?");
    refused(&mut compare(&["--set", "compare.against=acuracy"]), 2, "does not measure `acuracy`, it measures accuracy");
    refused(&mut compare(&["--set", "compare.report.use=misbehaving/formul"]), 2, "compare.report.use");
    let real = ["--set", "budget={wall_clock: 1s}", "--jobs", "2"];
    refused(&mut compare(&real), 2, "has a budget of real time, which 2 searches at the same time would share");
    refused(&mut compare(&["--set", "estimator.with.badly=fail:evaluate"]), 3, "variant `");
    // Another objective in one variant of two files.
    let other = RUN.replace("accuracy: maximise }", "accuracy: maximise, seconds: { at_most: 5 } }");
    fs::write(place.path("other.yaml"), other.replace("side-by-side", "other")).expect("it can be written");
    let file = place.path("other.yaml").display().to_string();
    done(&mut place.compare("two", &[&file, "--seeds", "1"]));
    fs::write(place.path("other.yaml"), RUN.replace("value: 0.8", "value: 0.9").replace("side-by-side", "other"))
        .expect("it can be written");
    refused(&mut compare(&[&file]), 2, "cannot be compared");
    // Results of something else.
    done(&mut place.compare("done", &["--seeds", "1"]));
    refused(&mut place.compare("done", &["--set", "budget.wall_clock=100s"]), 2, "`budget.wall_clock` was \"150s\"");
    fs::create_dir(place.path("full")).expect("it can be made");
    fs::write(place.path("full/letter.txt"), "dear").expect("it can be written");
    refused(&mut place.compare("full", &[]), 4, "holds no comparison");
    let results = place.path("done").join("searches.jsonl");
    let text = fs::read_to_string(&results).expect("there are results").replacen("\"seed\":5", "\"seed\":x", 1);
    fs::write(&results, text).expect("it can be written");
    refused(&mut place.compare("done", &[]), 4, "is damaged: ");
}
