//! Every way in which a plugin can be unusable, and what `pleach` says of it: one message that
//! says what to do, from a run file, from `plugins check` and from `plugins list` alike. The messages
//! are kept in `snapshots/`: read them as a user would.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pleach_tests::{checkout, library, library_file, pleach_alone, profile_folder, stderr, stdout};

/// A run file with one plugin more than it needs.
const RUN: &str = "\
name: refused
seed: 1
plugins: [misbehaving, PLUGIN]
space: { use: misbehaving/chain }
estimator: { use: misbehaving/formula }
operators: [{ use: OPERATOR }]
strategy: { use: misbehaving/guess }
objectives: { accuracy: maximise }
";

/// A folder with a copy of the plugin `misbehaving` and what a test puts beside it.
struct Place {
    folder: tempfile::TempDir,
    /// What the environment tells the plugins `liar` and `fatal`.
    environment: Vec<(&'static str, &'static str)>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::copy(library("misbehaving"), folder.path().join(library_file("misbehaving"))).expect("it can be copied");
        Place { folder, environment: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pleach(&self, arguments: &[&str]) -> Output {
        let mut command = pleach_alone(&[self.folder.path()]);
        command.current_dir(self.folder.path()).args(arguments).envs(self.environment.iter().copied());
        command.output().expect("the program starts")
    }

    /// What a run file that names a plugin and an operator is told.
    fn check_run(&self, plugin: &str, operator: &str) -> (Option<i32>, String) {
        let text = RUN.replace("PLUGIN", plugin).replace("OPERATOR", operator);
        fs::write(self.path("run.yaml"), text).expect("it can be written");
        let output = self.pleach(&["check", "run.yaml"]);
        (output.status.code(), self.shown(&output))
    }

    /// What was printed, without what differs from build to build.
    fn shown(&self, output: &Output) -> String {
        let text = (stdout(output) + &stderr(output)).replace(&self.folder.path().display().to_string(), "FOLDER");
        let text = text.replace(&profile_folder().join("alone").display().to_string(), "PROGRAM");
        let text = text.replace(&profile_folder().display().to_string(), "PROFILE");
        let hash = |word: &str| word.trim_matches([',', ')', '(']).len() == 64;
        let word = |word: &str| if hash(word) { "HASH".to_owned() } else { word.to_owned() };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

fn bytes() -> Vec<u8> {
    fs::read(library("misbehaving")).expect("the plugin was built")
}

/// The same with a text replaced by one of the same length, wherever it stands.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes();
    let mut found = 0;
    for start in 0..bytes.len() - from.len() {
        if bytes[start..].starts_with(from.as_bytes()) {
            bytes[start..start + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} is not there");
    bytes
}

/// Makes a file with something wrong about it.
type Make = fn(&Path);

/// What is wrong with a file, and how it comes about.
const FILES: &[(&str, Make)] = &[
    ("not a library", |path| fs::write(path, "not a library\n").expect("it can be written")),
    ("empty", |path| fs::write(path, "").expect("it can be written")),
    ("truncated in its headers", |path| fs::write(path, &bytes()[..200]).expect("it can be written")),
    ("truncated in the middle", |path| fs::write(path, &bytes()[..bytes().len() / 2]).expect("it can be written")),
    ("truncated by one byte", |path| fs::write(path, &bytes()[..bytes().len() - 1]).expect("it can be written")),
    ("an executable", |path| {
        fs::copy(profile_folder().join("pleach"), path).expect("it can be copied");
    }),
    ("wrong architecture", |path| {
        let mut bytes = bytes();
        // The machine of the ELF header: EM_AARCH64, or EM_X86_64 where this is that.
        let other = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        bytes[18] = other;
        fs::write(path, bytes).expect("it can be written");
    }),
    ("a folder", |path| fs::create_dir(path).expect("it can be made")),
    ("a dangling link", |path| {
        std::os::unix::fs::symlink("nowhere.so", path).expect("it can be linked");
    }),
    ("unreadable", |path| {
        // What no user can read, an administrator included.
        std::os::unix::fs::symlink("/proc/self/mem", path).expect("it can be linked");
    }),
    ("no regular file", |path| std::os::unix::fs::symlink("/dev/zero", path).expect("it can be linked")),
    ("missing symbol of the ABI number", |path| {
        fs::write(path, replaced("PLEACH_ABI_MAJOR", "PLEACH_ABI_MINOR")).expect("it can be written");
    }),
    ("missing root module", |path| {
        let header = "_1as_0lib_1header_0root_bmodule_bloader";
        fs::write(path, replaced(header, &header.replace("loader", "header"))).expect("it can be written");
    }),
    ("other ABI major", |path| {
        fs::copy(library("other-abi"), path).expect("it can be copied");
    }),
    ("other layout", |path| {
        fs::copy(library("other-layout"), path).expect("it can be copied");
    }),
];

#[test]
fn files_that_are_no_plugins() {
    let mut messages = String::new();
    for (what, make) in FILES {
        let place = Place::new();
        let file = place.path(&library_file("victim"));
        make(&file);
        let (code, of_run) = place.check_run("victim", "misbehaving/redraw");
        assert_eq!(code, Some(2), "{what}: {of_run}");
        let message = of_run.lines().next().and_then(|line| line.strip_prefix("error: ")).expect("an error");
        let help = of_run.lines().find(|line| line.contains("= help: ")).unwrap_or_else(|| panic!("{what}: no help"));
        let checked = place.pleach(&["plugins", "check", &file.display().to_string()]);
        assert_eq!(checked.status.code(), Some(2), "{what}: {}", place.shown(&checked));
        let listed = place.pleach(&["plugins", "list"]);
        assert_eq!(listed.status.code(), Some(0), "{what}: {}", place.shown(&listed));
        for output in [&checked, &listed] {
            let shown = place.shown(output);
            assert!(shown.contains(message) && shown.contains(help), "{what}: {message} is not in:\n{shown}");
        }
        assert!(stdout(&listed).contains("misbehaving/chain"), "{what}: the others are listed");
        let _ = writeln!(messages, "## {what}\n\n{message}\n{help}\n");
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn names_that_clash_or_are_missing() {
    let mut messages = String::new();
    let mut note = |what: &str, (code, message): (Option<i32>, String)| {
        assert_eq!(code, Some(2), "{what}: {message}");
        let _ = writeln!(messages, "## {what}\n\n{message}");
    };
    let place = Place::new();
    let copy = place.path("copy.so");
    fs::copy(library("misbehaving"), &copy).expect("it can be copied");
    note("two plugins of one name", place.check_run("./copy.so", "misbehaving/redraw"));
    note("the same library twice", place.check_run("misbehaving", "misbehaving/redraw"));
    fs::rename(copy, place.path(&library_file("other"))).expect("it can be renamed");
    note("a plugin of another name than its file", place.check_run("other", "misbehaving/redraw"));
    fs::copy(library("fatal"), place.path(&library_file("fatal"))).expect("it can be copied");
    note("a misspelt plugin", place.check_run("fatale", "misbehaving/redraw"));
    note("a path to nothing", place.check_run("./fatale.so", "misbehaving/redraw"));
    note("an unknown component", place.check_run("fatal", "fatal/drew"));
    note("a component of another kind", place.check_run("fatal", "misbehaving/guess"));
    note("a plugin that is not listed", place.check_run("fatal", "gevonas/operation-mutation"));
    let pin = "{ use: fatal, sha256: 0000000000000000000000000000000000000000000000000000000000000000 }";
    note("a pin that is not met", place.check_run(pin, "fatal/draw"));
    let output = place.pleach(&["plugins", "check", "fatal", "drew"]);
    note("an unknown component to check", (output.status.code(), place.shown(&output)));
    let output = place.pleach(&["--plugin-dir", "no-such-folder", "plugins", "list"]);
    note("a folder of plugins that is not there", (output.status.code(), place.shown(&output)));
    insta::assert_snapshot!(messages);
}

#[test]
fn descriptions_that_lie() {
    let lies = [
        "no-json",
        "no-document",
        "component",
        "kind",
        "no-kind",
        "twice",
        "plugin-name",
        "path-in-name",
        "line-in-name",
        "schema",
        "no-schema",
        "example",
    ];
    let mut messages = String::new();
    for lie in lies {
        let mut place = Place::new();
        fs::copy(library("liar"), place.path(&library_file("liar"))).expect("it can be copied");
        place.environment.push(("PLEACH_LIE", lie));
        let operator = if lie == "component" { "liar/ghost" } else { "liar/draw" };
        let (code, message) = place.check_run("liar", operator);
        // An example is not looked at by a run.
        assert_eq!(code, Some(if lie == "example" { 0 } else { 2 }), "{lie}: {message}");
        let checked = place.pleach(&["plugins", "check", "liar"]);
        let lied = checked.status.code();
        assert!(lied == Some(2) || lied == Some(3) || lie == "plugin-name", "{lie}: {}", place.shown(&checked));
        let listed = place.pleach(&["plugins", "list"]);
        assert_eq!(listed.status.code(), Some(0), "{lie}: {}", place.shown(&listed));
        assert!(stdout(&listed).contains("misbehaving/chain"), "{lie}: the others are listed");
        if code == Some(2) {
            let _ = writeln!(messages, "## {lie}\n\n{message}");
        }
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn constructors_that_fail() {
    let mut messages = String::new();
    for how in ["panic", "fail", "abort", "exit", "segfault", "loop"] {
        let mut place = Place::new();
        fs::copy(library("fatal"), place.path(&library_file("fatal"))).expect("it can be copied");
        place.environment.push(("PLEACH_FATAL_EXAMPLE", format!("build:{how}").leak()));
        let checked = place.pleach(&["plugins", "check", "fatal", "--timeout", "1s"]);
        assert_eq!(checked.status.code(), Some(3), "{how}: {}", place.shown(&checked));
        let _ =
            writeln!(messages, "## {how}\n\n{}", place.shown(&checked).replace(checkout_text().as_str(), "CHECKOUT"));
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn a_constructor_that_loops_is_told_by_a_run_and_can_be_ended() {
    let place = Place::new();
    fs::copy(library("fatal"), place.path(&library_file("fatal"))).expect("it can be copied");
    fs::write(place.path("run.yaml"), RUN.replace("PLUGIN", "fatal").replace("OPERATOR", "fatal/draw"))
        .expect("it can be written");
    let mut command = pleach_alone(&[place.folder.path()]);
    command.current_dir(place.folder.path()).args(["check", "run.yaml", "--set", "operators.0.with.fatal=build:loop"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut message = String::new();
    let mut stream = BufReader::new(child.stderr.take().expect("it is piped"));
    stream.read_line(&mut message).expect("it says something");
    let expected = "fatal/draw build: it has not come back for 10 s; to end it press Ctrl-C twice";
    assert!(message.contains(expected), "{message}");
    for _ in 0..2 {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.expect("`kill` is there").success());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

fn checkout_text() -> String {
    checkout().display().to_string()
}

#[test]
fn libraries_that_fail_when_they_are_opened() {
    let mut messages = String::new();
    for how in ["abort", "exit", "segfault"] {
        let mut place = Place::new();
        fs::copy(library("fatal"), place.path(&library_file("fatal"))).expect("it can be copied");
        place.environment.push(("PLEACH_FATAL_WHEN_OPENED", how));
        let checked = place.pleach(&["plugins", "check", "fatal"]);
        assert_eq!(checked.status.code(), Some(2), "{how}: {}", place.shown(&checked));
        let listed = place.pleach(&["plugins", "list"]);
        assert_eq!(listed.status.code(), Some(0), "{how}: {}", place.shown(&listed));
        assert!(stdout(&listed).contains("misbehaving/chain"), "{how}: the others are listed");
        let shown = place.shown(&checked);
        let message = shown.strip_prefix("error: ").expect("an error");
        assert!(place.shown(&listed).contains(message), "{how}: {}", place.shown(&listed));
        let _ = writeln!(messages, "## {how}\n\n{message}");
    }
    insta::assert_snapshot!(messages);
}
