//! Searches whose estimator works in child processes: whatever becomes of these, the search goes
//! on, and the result is that of a search in one process.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use pleach_tests::{candidates, document, journal_length, killed_at, losses, pleach, result, stderr, stdout};
use serde_json::Value;

const RUN: &str = "\
name: elsewhere
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
strategy: { use: gevonas/grow-and-prune, with: { population: 8, generations: 3 } }
objectives: { accuracy: maximise }
random_networks: 5
";

/// A folder with a run file, in which everything happens.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("run.yaml"), RUN).expect("it can be written");
        Place(folder)
    }

    fn run(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, name: &str, sets: &[&str]) -> Command {
        let mut command = pleach();
        command.current_dir(self.0.path()).args(["run", "run.yaml", "--dir"]).arg(self.run(name));
        for set in sets {
            command.args(["--set", set]);
        }
        command
    }

    fn output(&self, name: &str, sets: &[&str]) -> Output {
        self.start(name, sets).output().expect("the program starts")
    }

    /// Searches to the end, and answers with the result and what was printed.
    fn search(&self, name: &str, sets: &[&str]) -> (Value, String) {
        let output = self.output(name, sets);
        assert!(output.status.success(), "{sets:?}: {}{}", stdout(&output), stderr(&output));
        assert!(!self.run(name).join("workers").exists(), "what workers shared is left behind");
        (result(&self.run(name)), stderr(&output) + &stdout(&output))
    }
}

const PROCESSES: [&str; 3] = [
    "executor=processes",
    "executor={use: processes, with: {workers: 2, batch: 3}}",
    "executor={use: processes, with: {workers: 5, timeout: 1m, memory: 2GiB}}",
];

#[test]
fn the_result_does_not_depend_on_the_number_of_workers() {
    let place = Place::new();
    let badly = "estimator.with.badly=some-fail";
    let (expected, _) = place.search("here", &[badly]);
    for (index, executor) in PROCESSES.into_iter().enumerate() {
        let name = format!("elsewhere-{index}");
        assert_eq!(place.search(&name, &[executor, badly]).0, expected, "{executor}");
        assert_eq!(candidates(&place.run(&name)), candidates(&place.run("here")), "{executor}");
        assert_eq!(losses(&place.run(&name)), Vec::<Value>::new());
    }
}

#[test]
fn a_plugin_that_takes_its_process_with_it_costs_the_candidate_alone() {
    let place = Place::new();
    let (healthy, _) = place.search("healthy", &["random_networks=0"]);
    assert_eq!(healthy["failed"], 0);
    let cases = [
        ("segfault", "was ended by signal 11 (SIGSEGV)"),
        ("abort", "was ended by signal 6 (SIGABRT)"),
        ("exit", "exited with code 0"),
        ("hang", "took longer than 200ms"),
        ("memory", "held more than 190.7 MiB of memory"),
        ("panic", "misbehaving/formula evaluate: panicked: asked to panic in odd (at "),
    ];
    for (word, reason) in cases {
        let mut known: Option<Value> = None;
        for workers in [1, 2] {
            let name = format!("{word}-{workers}");
            let timeout = if word == "hang" { "200ms" } else { "1m" };
            let executor = format!(
                "executor={{use: processes, with: {{workers: {workers}, batch: 1, retries: 1, timeout: {timeout}, memory: 200MB}}}}"
            );
            let badly = format!("estimator.with.badly={word}:odd");
            let sets = [
                executor.as_str(),
                &badly,
                "random_networks=0",
                "strategy.with.population=4",
                "strategy.with.generations=1",
            ];
            let (result, text) = place.search(&name, &sets);
            assert!(result["failed"].as_u64() > Some(0), "{word}: {text}");
            assert!(result["evaluations"].as_u64() > result["failed"].as_u64(), "{word}: {text}");
            let reasons: Vec<String> = candidates(&place.run(&name))
                .iter()
                .filter_map(Value::as_array)
                .flatten()
                .filter_map(|candidate| candidate["failed"].as_str().map(str::to_owned))
                .collect();
            let expected = format!("the worker {reason}");
            assert!(!reasons.is_empty());
            for found in reasons {
                assert!(found.starts_with(&expected) && found.ends_with("; tried twice"), "{word}: {found}");
            }
            let losses = losses(&place.run(&name));
            assert_eq!(losses.len() as u64, 2 * result["failed"].as_u64().expect("a number"), "{word}");
            assert!(losses.iter().all(|loss| loss["during"] == "evaluate" && loss["genome"].is_array()), "{losses:?}");
            if word == "segfault" {
                assert!(losses.iter().all(|loss| loss["printed"] == "now comes a segmentation fault"), "{losses:?}");
                assert!(text.contains(": now comes a segmentation fault"), "{text}");
            }
            assert!(text.contains("workers lost"), "{text}");
            assert!(known.is_none_or(|known| known == result), "{word}");
            known = Some(result);
        }
    }
}

#[test]
fn candidates_are_asked_for_together_and_one_that_costs_a_worker_alone() {
    let place = Place::new();
    let more = "strategy.with.population=30";
    let requests = |name: &str, batch: &str| {
        let executor = format!("executor={{use: processes, with: {{{batch}}}}}");
        let (result, text) = place.search(name, &[&executor, "estimator.with.badly=chatty", more]);
        (result, text.matches("here is chatty").count())
    };
    let (one_by_one, single) = requests("single", "batch: 1");
    let (together, several) = requests("several", "");
    assert_eq!(together, one_by_one);
    assert!(several * 2 < single, "{several} and {single} requests");

    let (healthy, _) = place.search("healthy", &[more]);
    let badly = ["estimator.with.badly=segfault:odd", more, "random_networks=0"];
    let (result, _) = place
        .search("lost", &["executor={use: processes, with: {workers: 2, retries: 0}}", badly[0], badly[1], badly[2]]);
    assert!(result["failed"].as_u64() > Some(0) && healthy["failed"] == 0, "{result}");
    let losses = losses(&place.run("lost"));
    let alone = losses.iter().filter(|loss| loss["genome"].is_array()).count();
    // Each that failed was asked for by itself in the end, and nothing failed that was with it.
    assert_eq!(alone as u64, result["failed"].as_u64().expect("a number"));
    assert!(alone < losses.len(), "none was lost beside others: {losses:?}");
    let (expected, _) = place
        .search("expected", &["executor={use: processes, with: {batch: 1, retries: 0}}", badly[0], badly[1], badly[2]]);
    assert_eq!(result, expected);
}

#[test]
fn what_goes_wrong_once_is_tried_again_and_nothing_is_lost() {
    let place = Place::new();
    let (expected, _) = place.search("here", &[]);
    for method in ["odd", "train", "build", "load"] {
        let name = format!("once-{method}");
        let badly = format!("estimator.with.badly=once:{method}");
        let executor = "executor={use: processes, with: {workers: 2}}";
        assert_eq!(place.search(&name, &[executor, &badly]).0, expected, "{method}");
        let losses = losses(&place.run(&name));
        let during = match method {
            "odd" => "evaluate",
            "build" => "start",
            other => other,
        };
        assert_eq!(losses.iter().map(|loss| loss["during"].clone()).collect::<Vec<_>>(), [during], "{losses:?}");
        assert_eq!(document(&place.run(&name).join("result.json"))["times"]["workers_lost"], 1);
        fs::remove_file(place.run("was-here")).expect("the plugin left it");
    }
}

#[test]
fn what_no_worker_can_do_ends_the_run_and_says_why() {
    let place = Place::new();
    let check = |word: &str, method: &str, code: i32, expected: &str| {
        let name = format!("{word}-{method}");
        let executor = "executor={use: processes, with: {start_timeout: START, retries: 1}}";
        let output = place.output(
            &name,
            &[
                &executor.replace("START", if word == "hang" { "2s" } else { "5m" }),
                &format!("estimator.with.badly={word}:{method}"),
            ],
        );
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "expected {expected:?} in:\n{}", stderr(&output));
    };
    check(
        "segfault",
        "build",
        3,
        "misbehaving/formula start: the worker was ended by signal 11 (SIGSEGV); tried twice",
    );
    check("hang", "build", 3, "misbehaving/formula start: the worker took longer than 2s; tried twice");
    check("fail", "build", 3, "misbehaving/formula build: asked to fail in build");
    check("panic", "build", 3, "misbehaving/formula build: panicked: asked to panic in build (at ");
    check("abort", "train", 3, "misbehaving/formula train: the worker was ended by signal 6 (SIGABRT); tried twice");
    check("fail", "train", 3, "misbehaving/formula train: asked to fail in train");
    check("fail", "save", 3, "misbehaving/formula save: asked to fail in save");
    check("fail", "evaluate", 3, "misbehaving/formula evaluate: asked to fail in evaluate");
    check(
        "exit",
        "evaluate",
        3,
        "no candidate could be evaluated; the first: the worker exited with code 0; tried twice",
    );
}

#[test]
fn mistakes_in_the_executor_are_found_before_anything_starts() {
    let place = Place::new();
    let check = |executor: &str, expected: &str| {
        let output = place.output("never", &[&format!("executor={executor}")]);
        assert_eq!(output.status.code(), Some(2), "{executor}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "expected {expected:?} in:\n{}", stderr(&output));
        assert!(!place.run("never").exists());
    };
    check("processs", "did you mean `processes`?");
    check("{use: processes, with: {worker: 2}}", "did you mean `workers`?");
    check("{use: processes, with: {workers: 0}}", "expected a value of at least 1, found 0");
    check("{use: processes, with: {timeout: soon}}", "`soon` is no duration");
    check("{use: processes, with: {memory: plenty}}", "`plenty` is no amount of memory");
    check("{use: processes, with: {memory: 1MB}}", "no worker gets by with 1MB");
    check("{use: local, with: {workers: 2}}", "`local` works in this process and has no settings");
}

#[test]
fn what_plugins_print_and_log_in_workers_reaches_the_user() {
    let place = Place::new();
    let output = place.output("prints", &["executor=processes", "estimator.with.badly=chatty"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("worker 1: here is chatty"), "{}", stderr(&output));
    assert!(stderr(&output).contains("chatty warns"), "{}", stderr(&output));
    assert!(!stdout(&output).contains("chatty"), "{}", stdout(&output));
}

/// The children of a process that still run.
fn children(process: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn is_running(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn end(signal: &str, process: u32) {
    // It may have ended by itself.
    drop(Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status());
}

#[test]
fn workers_that_are_killed_again_and_again_change_nothing() {
    let place = Place::new();
    let more = ["strategy.with.population=16", "strategy.with.generations=5"];
    let (expected, _) = place.search("here", &more);
    let executor = "executor={use: processes, with: {workers: 3, retries: 0}}";
    let sets = ["estimator.with.badly=slow", executor, more[0], more[1]];
    let mut search = place.start("killed", &sets);
    let mut search = search.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let (mut kills, mut seen, mut last) = (0, 0, Instant::now());
    while search.try_wait().expect("it can be asked").is_none() {
        // A machine may be so busy that a worker needs seconds to start.
        let events = journal_length(&place.run("killed"));
        if (events > seen || last.elapsed() > Duration::from_secs(5))
            && let Some(victim) = children(search.id()).get(kills % 3)
        {
            end("-KILL", *victim);
            kills += 1;
            (seen, last) = (events, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(search.wait().expect("it has ended").success());
    assert!(kills > 2, "it was over after {kills} kills");
    assert_eq!(result(&place.run("killed")), expected);
    assert_eq!(candidates(&place.run("killed")), candidates(&place.run("here")));
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for loss in losses(&place.run("killed")) {
        *reasons.entry(loss["reason"].as_str().expect("a reason").to_owned()).or_default() += 1;
    }
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["was ended by signal 9 (SIGKILL)"]);
    let times = &document(&place.run("killed").join("result.json"))["times"];
    assert!(times["lost"].as_f64() > Some(0.0) && times["workers_lost"].as_u64() > Some(0), "{times}");
}

#[test]
fn a_search_that_is_killed_leaves_no_worker_and_goes_on_wherever_it_is_wanted() {
    let place = Place::new();
    let (expected, _) = place.search("here", &[]);
    let sets = ["estimator.with.badly=hang:odd", "executor={use: processes, with: {workers: 2}}"];
    let mut search = place.start("hanging", &sets);
    let mut search = search.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    while children(search.id()).len() < 2 || journal_length(&place.run("hanging")) < 2 {
        assert!(search.try_wait().expect("it can be asked").is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let workers = children(search.id());
    search.kill().expect("it can be killed");
    search.wait().expect("it has ended");
    let patience = Instant::now() + Duration::from_secs(10);
    while workers.iter().any(|worker| is_running(*worker)) {
        assert!(Instant::now() < patience, "workers are left behind");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Another executor comes to the same result; so does one that comes back.
    let directory = place.run("moved");
    assert!(killed_at(&mut place.start("moved", &[PROCESSES[1]]), &directory, 3));
    let resume = |executor: &str, events: Option<usize>| {
        let mut command = pleach();
        command.current_dir(place.0.path()).arg("resume").arg(&directory).args(["--set", executor]);
        match events {
            Some(events) => assert!(killed_at(&mut command, &directory, events)),
            None => assert!(command.output().expect("the program starts").status.success()),
        }
    };
    resume("executor=local", Some(journal_length(&directory) + 1));
    resume(PROCESSES[2], None);
    assert_eq!(result(&directory), expected);
    assert_eq!(candidates(&directory), candidates(&place.run("here")));
}

#[test]
fn ctrl_c_and_the_end_of_the_time_stop_workers_in_the_middle_of_a_candidate() {
    let place = Place::new();
    let executor = "executor={use: processes, with: {workers: 2}}";
    let (result, _) =
        place.search("timed", &["estimator.with.badly=wait", executor, "budget.wall_clock=1s", "random_networks=0"]);
    assert_eq!(result["ended"], "wall-clock");
    let mut search = place.start("interrupted", &["estimator.with.badly=wait", executor]);
    let search = search.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    while journal_length(&place.run("interrupted")) < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    end("-INT", search.id());
    let output = search.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
}
