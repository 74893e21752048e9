//! Components that panic, fail, or break their promises: the run ends as designed and says who.

use pleach_tests::{pleach, stderr, stdout};

const RUN: &str = "\
name: tiny
seed: 7
plugins: [misbehaving]
space: { use: misbehaving/chain, with: { size: 5 } }
dataset: { use: misbehaving/grey }
estimator: { use: misbehaving/formula }
operators:
  - { use: misbehaving/redraw }
strategy: { use: misbehaving/guess, with: { size: 12 } }
objectives: { accuracy: maximise }
";

/// Runs with settings, and answers with exit code, standard output and standard error.
fn run(sets: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let mut command = pleach();
    command.current_dir(folder.path()).arg("run").arg(&file);
    for set in sets {
        command.arg("--set").arg(set);
    }
    let output = command.output().expect("the program starts");
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn a_panic_in_any_method_ends_with_3_and_names_all() {
    let methods = [
        ("space", "misbehaving/chain", &["build", "spec", "canonical"][..]),
        ("dataset", "misbehaving/grey", &["build", "info", "fetch"]),
        ("operators.0", "misbehaving/redraw", &["build", "arity", "vary"]),
        ("estimator", "misbehaving/formula", &["build", "objectives", "evaluate", "train", "save"]),
        ("strategy", "misbehaving/guess", &["build", "next", "tell", "save"]),
    ];
    for (key, component, operations) in methods {
        for operation in operations {
            let (code, _, text) = run(&[&format!("{key}.with.badly=panic:{operation}")]);
            assert_eq!(code, Some(3), "{component} {operation}: {text}");
            let expected = format!("{component} {operation}: panicked: asked to panic in {operation} (at ");
            assert!(text.contains(&expected), "expected {expected:?} in:\n{text}");
            assert!(text.contains("plugins/misbehaving/src/lib.rs:"), "the place is missing in:\n{text}");
        }
    }
}

#[test]
fn a_failure_in_any_method_ends_with_3_and_names_component_and_operation() {
    let methods = [
        ("space", "misbehaving/chain", &["build", "canonical"][..]),
        ("dataset", "misbehaving/grey", &["build", "fetch"]),
        ("operators.0", "misbehaving/redraw", &["build", "vary"]),
        ("estimator", "misbehaving/formula", &["build", "evaluate", "train", "save"]),
        ("strategy", "misbehaving/guess", &["build", "next", "tell", "save"]),
    ];
    for (key, component, operations) in methods {
        for operation in operations {
            let (code, _, text) = run(&[&format!("{key}.with.badly=fail:{operation}")]);
            assert_eq!(code, Some(3), "{component} {operation}: {text}");
            let expected = format!("{component} {operation}: asked to fail in {operation}");
            assert!(text.contains(&expected), "expected {expected:?} in:\n{text}");
        }
    }
}

#[test]
fn broken_promises_are_found_where_they_cross() {
    let check = |set: &str, expected: &str| {
        let (code, _, text) = run(&[set]);
        assert_eq!(code, Some(3), "{set}: {text}");
        assert!(text.contains(expected), "expected {expected:?} in:\n{text}");
    };
    check("strategy.with.badly=outside", "misbehaving/guess next: the genome 99-");
    check("operators.0.with.badly=short", "has 4 genes, the space has 5 slots");
    check("space.with.badly=short", "misbehaving/chain canonical: the genome  has 0 genes");
    check("estimator.with.badly=one-less", "misbehaving/formula evaluate: it gave 0 answers for 1 genomes");
    check("estimator.with.badly=two-numbers", "misbehaving/formula evaluate: it gave 2 numbers for 1 objectives");
    check("estimator.with.badly=nan", "no candidate could be evaluated; the first: the estimator gave accuracy = NaN");
}

#[test]
fn a_failed_candidate_is_data() {
    let (code, text, errors) = run(&["estimator.with.badly=some-fail"]);
    assert_eq!(code, Some(0), "{errors}");
    let failed: Vec<_> = text.lines().filter(|line| line.contains("evaluations") && line.contains("failed")).collect();
    assert!(!failed.is_empty() && failed.iter().all(|line| !line.contains(" 0 failed")), "{text}");
}

#[test]
fn too_many_failed_candidates_end_a_run_that_goes_on_when_more_may_fail() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let directory = folder.path().join("kept");
    let whole = folder.path().join("whole");
    let search = |directory: &std::path::Path, failures: &str| {
        let sets = ["--set", "estimator.with.badly=some-fail", "--set", failures];
        pleach().arg("run").arg(&file).arg("--dir").arg(directory).args(sets).output().expect("the program starts")
    };
    let ended = search(&directory, "budget.failures=1");
    assert_eq!(ended.status.code(), Some(3), "{}", stderr(&ended));
    let message =
        "misbehaving/formula evaluate: 2 networks could not be evaluated, budget.failures allows 1; the first: an odd";
    assert!(stderr(&ended).contains(message), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("the state before it is saved in"), "{}", stderr(&ended));
    let more = pleach().arg("resume").arg(&directory).args(["--set", "budget.failures=100"]).output();
    let more = more.expect("the program starts");
    assert!(more.status.success(), "{}", stderr(&more));
    assert!(search(&whole, "budget.failures=100").status.success());
    let result = |directory: &std::path::Path| {
        let text = std::fs::read_to_string(directory.join("result.json")).expect("there is a result");
        let mut result: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
        result
    };
    assert_eq!(result(&directory), result(&whole));
}

#[test]
fn what_was_done_before_a_failure_is_saved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let directory = folder.path().join("kept");
    let output = pleach()
        .args(["run", "--set", "estimator.with.badly=panic:evaluate", "--dir"])
        .arg(&directory)
        .arg(&file)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(3));
    let trained = directory.join("checkpoints/step-00000001/estimator/trainings");
    assert_eq!(std::fs::read_to_string(&trained).expect("the training was saved"), "1");
    let events = std::fs::read_to_string(directory.join("events.jsonl")).expect("there is a journal");
    let kinds: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON"))
        .map(|event| event["event"].as_str().expect("each event has a kind").to_owned())
        .collect();
    assert_eq!(kinds, ["started", "trained", "stopped"]);
}

#[test]
fn an_interrupt_ends_with_130_and_is_no_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let directory = folder.path().join("kept");
    let mut child = pleach()
        .args(["run", "--set", "estimator.with.badly=wait", "--dir"])
        .arg(&directory)
        .arg(&file)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The training is in the journal as soon as the waiting evaluation may begin.
    let journal = directory.join("events.jsonl");
    while !std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"trained\"")) {
        assert!(child.try_wait().expect("the program can be asked").is_none(), "the program ended early");
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("`kill` is there").success());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted; the state is saved in"), "{}", stderr(&output));
}

#[test]
fn a_budget_of_time_ends_a_search_that_would_go_on() {
    let (code, text, errors) = run(&["estimator.with.badly=wait", "budget.wall_clock=300ms", "random_networks=0"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("the budget of time was used up"), "{text}");
}

#[test]
fn a_budget_of_evaluations_is_kept() {
    let (code, text, errors) = run(&["strategy.with.size=1000", "budget.evaluations=30"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("evaluations        30 ("), "{text}");
    assert!(text.contains("the budget of evaluations was used up"), "{text}");
}

#[test]
fn the_same_seed_gives_the_same_result_but_for_times() {
    let result = |seed: u64| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("run.yaml");
        std::fs::write(&file, RUN).expect("the file can be written");
        let directory = folder.path().join("run");
        let status = pleach()
            .args(["run", "--set", &format!("seed={seed}"), "--dir"])
            .arg(&directory)
            .arg(&file)
            .output()
            .expect("the program starts");
        assert!(status.status.success(), "{}", stderr(&status));
        let text = std::fs::read_to_string(directory.join("result.json")).expect("there is a result");
        let mut result: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
        assert!(result.as_object_mut().and_then(|keys| keys.remove("seed")).is_some());
        result
    };
    assert_eq!(result(7), result(7));
    assert_ne!(result(7)["elites"], result(8)["elites"]);
}

#[test]
fn a_run_directory_in_use_ends_with_4() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, RUN).expect("the file can be written");
    let output = pleach().args(["run", "--dir"]).arg(folder.path()).arg(&file).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("the run directory is in use"), "{}", stderr(&output));
}
