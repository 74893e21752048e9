//! `pleach reproduce`: a run and its evaluations come out the same again, and what does not is
//! said.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use pleach_tests::{candidates, pleach, pleach_alone, plugin_folder, result, stderr, stdout};
use serde_json::Value;

const RUN: &str = "\
name: repeatable
seed: 5
plugins: [gevonas, datasets, misbehaving]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 2, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic }
estimator: { use: misbehaving/formula }
operators:
  - { use: gevonas/uniform-crossover, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: gevonas/grow-and-prune, with: { population: 6, generations: 3 } }
objectives: { accuracy: maximise }
";

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with a run in `run`.
    fn searched(sets: &[&str]) -> Self {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        fs::write(place.path("run.yaml"), RUN).expect("it can be written");
        let mut command = pleach();
        command.current_dir(place.0.path()).args(["run", "run.yaml", "--dir", "run"]);
        for set in sets {
            command.args(["--set", set]);
        }
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Called from another folder than the run was.
    fn reproduce(&self, more: &[&str]) -> Output {
        let elsewhere = self.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("it can be made");
        let mut command: Command = pleach();
        command.current_dir(elsewhere).args(["reproduce", "../run"]).args(more);
        command.output().expect("the program starts")
    }

    /// Networks that were measured, with their number, first to last.
    fn measured(&self) -> Vec<(String, f64)> {
        let journal = fs::read_to_string(self.path("run/events.jsonl")).expect("there is a journal");
        let events = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
        let candidates = events.filter_map(|event| event["candidates"].as_array().cloned()).flatten();
        let measured = candidates.filter(|candidate| candidate["known"] != true);
        let genome = |candidate: &Value| {
            let genes = candidate["genome"].as_array().expect("a genome").iter();
            genes.map(Value::to_string).collect::<Vec<_>>().join("-")
        };
        measured.map(|it| (genome(&it), it["values"][0].as_f64().expect("a number"))).collect()
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).expect("it is there");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.path(file), text.replace(from, to)).expect("it can be written");
    }
}

#[test]
fn a_run_and_its_evaluations_come_out_the_same() {
    let place = Place::searched(&[]);
    let output = place.reproduce(&[]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(text.contains("the same program, plugins, data set and number of threads"), "{text}");
    assert!(text.contains("equal      the winner") && text.contains("equal      the elites"), "{text}");
    let count: usize = candidates(&place.path("run")).iter().map(|step| step.as_array().map_or(0, Vec::len)).sum();
    assert!(text.contains(&format!("equal      {count} candidates")), "{text}");
    assert!(place.path("elsewhere/runs/repeatable-again-001/result.json").is_file());
    let measured = place.measured();
    let repeated = |genome: &str| {
        let output = place.reproduce(&[genome]);
        let text = stdout(&output);
        assert!(output.status.success(), "{text}{}", stderr(&output));
        assert!(text.contains("equal      accuracy"), "{text}");
        text
    };
    // The last was measured with weights that a checkpoint has, one of the first (but for those that
    // were measured again) with those of the training before.
    let (last, _) = measured.last().expect("networks were measured");
    assert!(repeated(last).contains("with the weights of checkpoint step-"));
    let mut first = measured.iter().map(|(genome, _)| repeated(genome));
    assert!(first.any(|text| text.contains("with 1 trainings done again")));
}

#[test]
fn a_run_is_done_once_more_from_another_folder_with_what_is_given_there() {
    let place = Place::searched(&[]);
    let elsewhere = place.path("elsewhere");
    fs::create_dir_all(&elsewhere).expect("it can be made");
    std::os::unix::fs::symlink(plugin_folder(), elsewhere.join("plugins")).expect("it can be linked");
    let mut command = pleach_alone(&[]);
    command.current_dir(&elsewhere).args(["--plugin-dir", "plugins", "run", "../run", "--dir", "again"]);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(result(&elsewhere.join("again")), result(&place.path("run")));
}

#[test]
fn what_differs_is_said_and_ends_with_5() {
    let place = Place::searched(&["random_networks=0"]);
    let (genome, value) = place.measured().pop().expect("networks were measured");
    place.edit("run/events.jsonl", &format!("\"values\":[{value}]"), "\"values\":[0.123]");
    let output = place.reproduce(&[&genome]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("different  accuracy was 0.123, it is {value}")), "{}", stdout(&output));
    assert!(stderr(&output).contains("one thing is not as it was"), "{}", stderr(&output));
    let output = place.reproduce(&["--json", "--dir", "again"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).expect("one document is printed");
    let different = document["different"].as_array().expect("a list");
    assert_eq!(different.len(), 1, "{document}");
    assert!(different[0].as_str().is_some_and(|text| text.contains("with Ok([0.123]), it is")), "{document}");
    // A plugin of another build is told, and its numbers are compared all the same.
    let record: Value =
        serde_json::from_str(&fs::read_to_string(place.path("run/run.json")).expect("it is there")).expect("JSON");
    let hash = record["plugins"][2]["sha256"].as_str().expect("a hash").to_owned();
    place.edit("run/run.json", &hash, &"0".repeat(64));
    let first = place.measured()[0].0.clone();
    let output = place.reproduce(&[&first]);
    assert!(stdout(&output).contains("changed    the plugin `misbehaving` was version"), "{}", stdout(&output));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_a_search_ends_with_searches_again_with_what_was_set() {
    let place = Place(tempfile::tempdir().expect("a temporary folder"));
    fs::write(place.path("run.yaml"), RUN).expect("it can be written");
    // The run file names no plugin that has another strategy.
    let mut command = pleach();
    command.current_dir(place.0.path()).args(["run", "run.yaml", "--dir", "first", "--set", "seed=9"]);
    let mut output = command.output().expect("the program starts");
    for (next, strategy) in [("second", "random-search"), ("third", "regularized-evolution")] {
        let text = stdout(&output);
        assert!(!text.contains(" train "), "nothing says how: {text}");
        let (_, line) = text.trim_end().rsplit_once('\n').expect("it ends with a command");
        // As typed into a shell, with the program that is tested as it was called.
        let program = pleach();
        let called = program.get_program().to_str().expect("it is text");
        let line = line.trim().strip_prefix(called).expect("it is called as it was");
        assert!(line.starts_with(" run "), "{text}");
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
        let mut shell = Command::new("sh");
        shell.current_dir(place.0.path()).envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.arg("-c").arg(format!("{}{line} --dir {next}", words.join(" ")));
        output = shell.output().expect("a shell starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let record = fs::read_to_string(place.path(next).join("run.json")).expect("there is a record");
        let config = &serde_json::from_str::<Value>(&record).expect("it is JSON")["config"];
        assert_eq!(config["seed"], 9);
        assert_eq!(config["strategy"]["use"], format!("baselines/{strategy}"));
    }
}

#[test]
fn what_cannot_be_repeated_is_refused() {
    let place = Place::searched(&["budget.wall_clock=1h"]);
    let check = |more: &[&str], code: i32, expected: &str| {
        let output = place.reproduce(more);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "expected {expected:?} in:\n{}", stderr(&output));
    };
    check(&["9-9-9-9"], 3, "picks choice 9");
    check(&["1-x"], 2, "`x` is no choice");
    let record = fs::read_to_string(place.path("run/run.json")).expect("it is there");
    let directory = place.0.path().display().to_string();
    fs::write(
        place.path("run/run.json"),
        record.replace(&format!("\"directory\": \"{directory}\""), "\"directory\": \"/nowhere\""),
    )
    .expect("it can be written");
    check(&[], 2, "the folder /nowhere in which the run began cannot be entered");
    fs::write(place.path("run/run.json"), record).expect("it can be written");
    fs::remove_file(place.path("run/result.json")).expect("it is there");
    check(&[], 4, "the search has no result yet");
}

#[test]
fn a_run_that_the_clock_ended_is_repeated_up_to_there() {
    let place =
        Place::searched(&["budget.wall_clock=2s", "estimator.with.badly=slow", "strategy.with.generations=500"]);
    let output = place.reproduce(&[]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}
