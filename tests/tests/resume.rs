//! Runs that are killed, interrupted, robbed of their disk or damaged: each one ends with the
//! result of a run that nothing happened to, bit for bit. `tests/kill.sh` does it at random
//! moments, hundreds of times.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pleach_tests::{journal_length, killed_at, pleach, stderr, stdout};
use serde_json::Value;

const RUN: &str = "\
name: trusted
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
estimator: { use: misbehaving/formula }
operators:
  - { use: gevonas/uniform-crossover, weight: 0.3 }
  - { use: gevonas/block-crossover, weight: 0.2 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: STRATEGY }
objectives: { accuracy: maximise, params: { at_most: 20000 } }
budget: { evaluations: 120 }
checkpoint_every: 0s
";

const STRATEGIES: [&str; 4] = [
    "gevonas/grow-and-prune, with: { population: 8, generations: 4 }",
    "baselines/random-search, with: { batch: 10 }",
    "baselines/regularized-evolution, with: { population: 20, sample: 5 }",
    "baselines/spos-evolution, with: { population: 20 }",
];

/// A folder with a run file.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(strategy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("run.yaml"), RUN.replace("STRATEGY", strategy)).expect("it can be written");
        Place { folder }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `pleach run` into a directory of this name.
    fn start(&self, name: &str, sets: &[&str]) -> Command {
        let mut command = pleach();
        command.arg("run").arg(self.run("run.yaml")).arg("--dir").arg(self.run(name));
        for set in sets {
            command.args(["--set", set]);
        }
        command
    }

    fn resume(&self, name: &str, more: &[&str]) -> Command {
        let mut command = pleach();
        command.arg("resume").arg(self.run(name)).args(more);
        command
    }

    /// The result of a run that nothing happens to.
    fn undisturbed(&self, sets: &[&str]) -> Value {
        done(&mut self.start("undisturbed", sets));
        result(&self.run("undisturbed"))
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

/// What a run found, without what depends on the machine's speed.
fn result(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("result.json")).expect("there is a result");
    let mut result: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
    result
}

/// The journal without what depends on how often the run was gone on with.
fn candidates(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("events.jsonl")).expect("there is a journal");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["number"].as_u64(), Some(number as u64), "{event}");
    }
    events.iter().filter(|event| event["event"] == "evaluated").map(|event| event["candidates"].clone()).collect()
}

fn checkpoints(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("checkpoints")).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")));
    paths.sort();
    paths
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_result_and_journal() {
    for strategy in STRATEGIES {
        let place = Place::new(strategy);
        let expected = place.undisturbed(&[]);
        let directory = place.run("killed");
        let mut is_alive = killed_at(&mut place.start("killed", &[]), &directory, 2);
        let mut kills = 0;
        while is_alive {
            kills += 1;
            let more = 1 + kills % 3;
            let events = journal_length(&directory) + more;
            is_alive = killed_at(&mut place.resume("killed", &[]), &directory, events);
        }
        assert!(kills > 2, "{strategy}: {kills}");
        assert!(stdout(&done(&mut place.resume("killed", &[]))).contains("this run is over"));
        assert_eq!(result(&directory), expected, "{strategy}");
        assert_eq!(candidates(&directory), candidates(&place.run("undisturbed")), "{strategy}");
    }
}

#[test]
fn a_run_that_ended_before_it_began_is_begun_anew() {
    let place = Place::new(STRATEGIES[0]);
    let expected = place.undisturbed(&[]);
    // What is there when the process ends before the record is written.
    let directory = place.run("early");
    fs::create_dir_all(directory.join("checkpoints")).expect("it can be made");
    for name in ["lock", "events.jsonl", "config.yaml", "run.partial"] {
        fs::write(directory.join(name), "half").expect("it can be written");
    }
    let early = output(&mut place.resume("early", &[]));
    assert_eq!(early.status.code(), Some(4));
    assert!(stderr(&early).contains("there is no run to go on with: run.json is missing"), "{}", stderr(&early));
    done(&mut place.start("early", &[]));
    assert_eq!(result(&directory), expected);
    // And when it ends before the first checkpoint.
    fs::remove_dir_all(directory.join("checkpoints")).expect("it can be removed");
    fs::create_dir(directory.join("checkpoints")).expect("it can be made");
    fs::remove_file(directory.join("result.json")).expect("it can be removed");
    let resumed = done(&mut place.resume("early", &[]));
    assert!(stderr(&resumed).contains("goes on from its beginning"), "{}", stderr(&resumed));
    assert_eq!(result(&directory), expected);
    assert_eq!(candidates(&directory), candidates(&place.run("undisturbed")));
}

#[test]
fn a_larger_budget_goes_on_to_what_it_would_have_found_from_the_start() {
    for strategy in STRATEGIES {
        let place = Place::new(strategy);
        let expected = place.undisturbed(&["budget.evaluations=90"]);
        done(&mut place.start("short", &["budget.evaluations=47"]));
        let over = done(&mut place.resume("short", &[]));
        assert!(stdout(&over).contains("budget of evaluations was used up"), "{}", stdout(&over));
        assert!(stdout(&over).contains("--set budget.evaluations=... goes on"), "{}", stdout(&over));
        done(&mut place.resume("short", &["--set", "budget.evaluations=90"]));
        assert_eq!(result(&place.run("short")), expected, "{strategy}");
        assert_eq!(candidates(&place.run("short")), candidates(&place.run("undisturbed")), "{strategy}");
        let other = output(&mut place.resume("short", &["--set", "seed=8"]));
        assert_eq!(other.status.code(), Some(2));
        assert!(stderr(&other).contains("only `budget` and `executor` can change"), "{}", stderr(&other));
    }
}

/// A run that was killed with two checkpoints.
fn killed(place: &Place) -> PathBuf {
    let directory = place.run("killed");
    assert!(killed_at(&mut place.start("killed", &[]), &directory, 9));
    assert_eq!(checkpoints(&directory).len(), 2);
    directory
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).expect("it is there");
    let place = place % bytes.len();
    bytes[place] ^= 1;
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let files = ["host.json", "manifest.json", "manifest.sha256", "strategy/state.json", "estimator/trainings"];
    let place = Place::new(STRATEGIES[0]);
    let expected = place.undisturbed(&[]);
    for (index, file) in files.into_iter().enumerate() {
        let directory = killed(&place);
        flip(&checkpoints(&directory)[1].join(file), 1000 * index + 7);
        let resumed = done(&mut place.resume("killed", &[]));
        let message = stderr(&resumed);
        assert!(message.contains("is damaged: ") && message.contains("going back to the one before it"), "{message}");
        assert_eq!(result(&directory), expected, "{file}");
        assert_eq!(candidates(&directory), candidates(&place.run("undisturbed")), "{file}");
        fs::remove_dir_all(&directory).expect("it can be removed");
    }
    // With both damaged there is the beginning.
    let directory = killed(&place);
    for checkpoint in checkpoints(&directory) {
        fs::remove_file(checkpoint.join("host.json")).expect("it can be removed");
    }
    let refused = output(&mut place.resume("killed", &[]));
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("no checkpoint is whole"), "{}", stderr(&refused));
    done(&mut place.resume("killed", &["--from-the-start"]));
    assert_eq!(result(&directory), expected);
}

#[test]
fn half_a_line_and_half_a_checkpoint_are_no_hindrance() {
    let place = Place::new(STRATEGIES[0]);
    let expected = place.undisturbed(&[]);
    let directory = killed(&place);
    let mut journal = fs::read(directory.join("events.jsonl")).expect("there is a journal");
    journal.extend(b"{\"event\":\"evalu");
    fs::write(directory.join("events.jsonl"), journal).expect("it can be written");
    fs::create_dir_all(directory.join("checkpoints/partial/strategy")).expect("it can be made");
    fs::write(directory.join("checkpoints/partial/host.json"), "{").expect("it can be written");
    done(&mut place.resume("killed", &[]));
    assert_eq!(result(&directory), expected);
    assert_eq!(candidates(&directory), candidates(&place.run("undisturbed")));
}

#[test]
fn a_plugin_that_has_changed_is_refused_unless_it_is_allowed() {
    let place = Place::new(STRATEGIES[0]);
    let expected = place.undisturbed(&[]);
    let directory = killed(&place);
    let path = directory.join("run.json");
    let mut record: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("there is a record")).expect("it is JSON");
    record["plugins"][0]["sha256"] = "0".repeat(64).into();
    fs::write(&path, record.to_string()).expect("it can be written");
    let refused = output(&mut place.resume("killed", &[]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("the plugin `gevonas` was version "), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--allow-changed-plugins"), "{}", stderr(&refused));
    done(&mut place.resume("killed", &["--allow-changed-plugins"]));
    assert_eq!(result(&directory), expected);
}

#[test]
fn two_processes_do_not_share_a_run_directory_and_a_dead_one_holds_none() {
    let place = Place::new(STRATEGIES[0]);
    let directory = place.run("shared");
    let mut first = place
        .start("shared", &["estimator.with.badly=wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while !fs::read_to_string(directory.join("events.jsonl")).is_ok_and(|text| text.contains("\"trained\"")) {
        assert!(first.try_wait().expect("it can be asked").is_none(), "it ended early");
        std::thread::yield_now();
    }
    assert_eq!(output(&mut place.start("shared", &[])).status.code(), Some(4));
    let refused = output(&mut place.resume("shared", &[]));
    assert_eq!(refused.status.code(), Some(4));
    let refused = stderr(&refused);
    assert!(refused.contains(&format!("another process works on this run: process {}", first.id())), "{refused}");
    first.kill().expect("it can be killed");
    first.wait().expect("it has ended");
    // Its lock is there and counts no more: the search waits as the first one did.
    let mut second = place
        .resume("shared", &["--set", "budget.wall_clock=1s"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    while !fs::read_to_string(directory.join("events.jsonl")).is_ok_and(|text| text.contains("\"resumed\"")) {
        assert!(second.try_wait().expect("it can be asked").is_none(), "it ended early");
        std::thread::yield_now();
    }
    second.kill().expect("it can be killed");
    second.wait().expect("it has ended");
}

/// Runs where no file may be longer than so many blocks of 512 bytes, as on a disk that is full.
#[cfg(unix)]
fn with_small_files(command: &Command, blocks: u64) -> Command {
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"")).arg("sh");
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_with_4_and_the_run_goes_on_when_there_is_room() {
    let place = Place::new(STRATEGIES[0]);
    let expected = place.undisturbed(&[]);
    let size = |name: &str| fs::metadata(place.run("undisturbed").join(name)).expect("it is there").len();
    // From no room for the run file to room for most of the journal, the largest file.
    let (before, whole) = (size("network.json").max(size("run.json")), size("events.jsonl"));
    let within = |share: u64| 1 + (before + (whole - before) * share / 4) / 512;
    let mut ends = Vec::new();
    for blocks in [1, within(0), within(1), within(2), within(3)] {
        let name = format!("full-{blocks}");
        let full = output(&mut with_small_files(&place.start(&name, &[]), blocks));
        let message = stderr(&full);
        assert_eq!(full.status.code(), Some(4), "{blocks}: {message}");
        assert!(message.contains("File too large"), "{blocks}: {message}");
        let has_begun = place.run(&name).join("run.json").is_file();
        ends.push((has_begun, checkpoints(&place.run(&name)).len()));
        let mut more = if has_begun { place.resume(&name, &[]) } else { place.start(&name, &[]) };
        done(&mut more);
        assert_eq!(result(&place.run(&name)), expected, "{blocks}");
        assert_eq!(candidates(&place.run(&name)), candidates(&place.run("undisturbed")), "{blocks}");
    }
    assert!(ends.contains(&(false, 0)) && ends.contains(&(true, 2)), "{ends:?}");
}
