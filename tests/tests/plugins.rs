//! `pleach plugins`, where plugins are found, and what a run remembers of them.

use std::{fs, path::Path, process::Output};

use pleach_tests::{library, library_file, pleach, pleach_alone, stderr, stdout};
use serde_json::Value;

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

#[test]
fn shipped_components_keep_their_promises_through_the_boundary() {
    for plugin in ["gevonas", "baselines", "fatal", "liar"] {
        let output = pleach().args(["plugins", "check", plugin]).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(
            stdout(&output).contains(" components: 0 promises broken, 0 components not tried"),
            "{}",
            stdout(&output)
        );
    }
}

#[test]
fn what_a_component_needs_is_said_and_not_taken_for_kept() {
    let output = pleach().args(["plugins", "check", "datasets", "cifar10"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stdout(&output).contains("not tried  example-builds: it needs "), "{}", stdout(&output));
}

#[test]
fn a_component_that_ends_its_process_breaks_that_promise_and_others_are_tried() {
    for (how, found) in [
        ("segfault", "it ended the process with signal 11 (SIGSEGV)"),
        ("abort", "it ended the process with signal 6 (SIGABRT)"),
        ("exit", "it ended the process with exit code 0"),
        ("loop", "it did not come back within 1s"),
    ] {
        let with = format!("{{fatal: \"vary:{how}\"}}");
        let arguments = ["--json", "plugins", "check", "fatal", "draw", "--timeout", "1s", "--with", &with];
        let output = pleach().args(arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
        let document = json(&output);
        assert_eq!(document["exit_code"], 3);
        let findings = document["checked"]["reports"][0]["findings"].as_array().expect("a list");
        let finding = |check: &str| {
            findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {document}"))
        };
        assert_eq!(finding("example-builds")["verdict"], "kept");
        assert_eq!(finding("child-inside-the-region")["verdict"], "broken");
        assert_eq!(finding("child-inside-the-region")["found"], found);
        assert!(!finding("child-inside-the-region")["tried"].as_str().expect("a text").is_empty());
        assert_eq!(finding("many-threads")["verdict"], "not-tried");
    }
}

#[test]
fn a_promise_that_is_broken_is_told_as_tried_expected_and_found() {
    let arguments = ["plugins", "check", "misbehaving", "misbehaving/redraw", "--with", "{badly: short}"];
    let output = pleach().args(arguments).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    for expected in
        ["  BROKEN     child-inside-the-region", "tried     children in whole", "expected  every child", "found  "]
    {
        assert!(stdout(&output).contains(expected), "{expected} is not in:\n{}", stdout(&output));
    }
}

/// The path under which a plugin is listed.
fn listed(output: &Output, name: &str) -> Option<Value> {
    let document = json(output);
    let plugins = document["plugins"].as_array().expect("a list").clone();
    plugins.into_iter().find(|plugin| plugin["plugin"]["name"] == name)
}

#[test]
fn folders_are_searched_in_order_and_what_comes_later_is_told() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = |name: &str| root.path().join(name);
    let user = folder("user/pleach/plugins");
    for place in [folder("given"), folder("variable"), user.clone()] {
        fs::create_dir_all(&place).expect("it can be made");
        fs::copy(library("fatal"), place.join(library_file("fatal"))).expect("it can be copied");
    }
    let list = |given: &[&Path], is_json: bool| {
        let mut command = pleach_alone(given);
        command.env("PLEACH_PLUGIN_PATH", folder("variable")).env("XDG_DATA_HOME", folder("user"));
        command.args(if is_json { &["--json", "plugins", "list"][..] } else { &["plugins", "list"] });
        command.output().expect("the program starts")
    };
    let path =
        |output: &Output| listed(output, "fatal").map(|plugin| plugin["path"].as_str().expect("a path").to_owned());
    let library = |place: &Path| place.join(library_file("fatal")).display().to_string();
    let given = folder("given");
    assert_eq!(path(&list(&[&given], true)), Some(library(&given)));
    assert_eq!(path(&list(&[], true)), Some(library(&folder("variable"))));
    // The same bytes twice are no clash.
    assert!(!stderr(&list(&[&given], false)).contains("shadowed"));
    // Another build is.
    let mut other = fs::read(library(&given)).expect("it was copied");
    other.extend_from_slice(b"another build");
    fs::write(user.join(library_file("fatal")), other).expect("it can be written");
    let output = list(&[&given], false);
    let expected = format!("shadowed: {} is another build of `fatal`; {} comes first", library(&user), library(&given));
    assert!(stderr(&output).contains(&expected), "{expected} is not in:\n{}", stderr(&output));
    fs::remove_file(library(&folder("variable"))).expect("it is there");
    assert_eq!(path(&list(&[], true)), Some(library(&user)));
    fs::remove_file(library(&user)).expect("it is there");
    assert_eq!(path(&list(&[], true)), None);
}

#[test]
fn a_list_says_versions_compiler_hash_and_components() {
    let output = pleach().args(["plugins", "list"]).output().expect("the program starts");
    let text = stdout(&output);
    let json = pleach().args(["--json", "plugins", "list"]).output().expect("the program starts");
    let fatal = listed(&json, "fatal").expect("it is found");
    let sha256 = fatal["sha256"].as_str().expect("a hash");
    let of_file = std::process::Command::new("sha256sum").arg(library("fatal")).output().expect("sha256sum is there");
    assert!(stdout(&of_file).starts_with(sha256), "{sha256}");
    assert_eq!(fatal["abi"], 1);
    assert_eq!(fatal["plugin"]["components"][0]["name"], "draw");
    for key in ["version", "sdk", "compiler"] {
        let value = fatal["plugin"][key].as_str().expect("a text");
        assert!(!value.is_empty() && text.contains(value), "{key}: {value} is not in:\n{text}");
    }
    assert!(text.contains(sha256) && text.contains("operator   fatal/draw"), "{text}");
}

const RUN: &str = "\
name: kept
seed: 7
plugins: [misbehaving, fatal]
space: { use: misbehaving/chain }
estimator: { use: misbehaving/formula }
operators: [{ use: fatal/draw }]
strategy: { use: misbehaving/guess, with: { size: 12 } }
objectives: { accuracy: maximise }
";

#[test]
fn a_run_is_done_once_more_from_its_record_by_the_same_plugins() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = |name: &str| root.path().join(name);
    fs::write(folder("run.yaml"), RUN).expect("it can be written");
    fs::create_dir(folder("plugins")).expect("it can be made");
    for name in ["misbehaving", "fatal"] {
        fs::copy(library(name), folder("plugins").join(library_file(name))).expect("it can be copied");
    }
    let run = |arguments: &[&str]| {
        let mut command = pleach_alone(&[&folder("plugins")]);
        command.current_dir(root.path()).arg("run").args(arguments).output().expect("the program starts")
    };
    let done = run(&["run.yaml", "--dir", "first", "--set", "seed=8"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let record: Value = serde_json::from_slice(&fs::read(folder("first/run.json")).expect("a record")).expect("JSON");
    let fatal = &record["plugins"][1];
    assert_eq!(fatal["name"], "fatal");
    assert_eq!(fatal["abi"], 1);
    assert_eq!(fatal["components"][0], serde_json::json!({ "kind": "operator", "name": "draw" }));
    assert!(["version", "sdk", "compiler", "path", "sha256"].iter().all(|key| fatal[key].is_string()), "{fatal}");

    let result = |name: &str| {
        let text = fs::read_to_string(folder(name).join("result.json")).expect("there is a result");
        let mut result: Value = serde_json::from_str(&text).expect("it is JSON");
        assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
        result
    };
    for (number, record) in ["first", "first/run.json"].into_iter().enumerate() {
        let again = format!("again{number}");
        let done = run(&[record, "--dir", &again]);
        assert!(done.status.success(), "{}", stderr(&done));
        assert_eq!(result(&again), result("first"));
        let config = |name: &str| fs::read_to_string(folder(name).join("config.yaml")).expect("it was kept");
        assert_eq!(config(&again), config("first"));
    }
    let other = run(&["first", "--dir", "other", "--set", "seed=9"]);
    assert!(other.status.success(), "{}", stderr(&other));
    assert_ne!(result("other"), result("first"));

    let library = folder("plugins").join(library_file("fatal"));
    let mut bytes = fs::read(&library).expect("it was copied");
    bytes.extend_from_slice(b"another build");
    fs::write(&library, bytes).expect("it can be written");
    // It is refused before it is opened.
    let mut command = pleach_alone(&[&folder("plugins")]);
    command
        .current_dir(root.path())
        .env("PLEACH_FATAL_WHEN_OPENED", "abort")
        .args(["run", "first", "--dir", "refused"]);
    let refused = command.output().expect("the program starts");
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("the plugin `fatal` was version"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("is another build"), "{}", stderr(&refused));
    assert!(!folder("refused").exists());
    let allowed = run(&["first", "--dir", "allowed", "--allow-changed-plugins"]);
    assert!(allowed.status.success(), "{}", stderr(&allowed));
    assert_eq!(result("allowed"), result("first"));
}

#[test]
fn a_folder_without_a_run_cannot_be_done_once_more() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let output = pleach().arg("run").arg(root.path()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("run.json cannot be read"), "{}", stderr(&output));
}
