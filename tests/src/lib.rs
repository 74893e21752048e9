//! What end-to-end tests share: the program, the plugins beside it, and run files.

pub mod tables;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The folder of the profile under which this test was built.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test program has a path");
    let deps = test.parent().expect("a test program lies in a folder");
    deps.parent().expect("deps lies in the profile's folder").to_owned()
}

/// The folder in which cargo puts the plugins that these tests depend on.
pub fn plugin_folder() -> PathBuf {
    profile_folder().join("deps")
}

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the checkout").to_owned()
}

/// The program, looking for plugins beside this test and nowhere else: those beside the program itself may be
/// of an older build.
pub fn pleach() -> Command {
    pleach_alone(&[&plugin_folder()])
}

/// Whatever the user who runs the tests has set or installed.
fn without_surroundings(command: &mut Command) {
    command.env_remove("PLEACH_LOG").env_remove("PLEACH_PLUGIN_PATH");
    command.env("XDG_DATA_HOME", profile_folder().join("no-such-folder"));
}

/// The program with no plugin beside it and none of the user's: it finds those in `folders` alone.
pub fn pleach_alone(folders: &[&Path]) -> Command {
    let program = profile_folder().join(format!("pleach{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run `cargo build -p pleach` first", program.display());
    let alone = profile_folder().join("alone").join(program.file_name().expect("it has a name"));
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    if stamp(&alone) != stamp(&program) {
        // Beside its place and renamed, for tests run side by side.
        let folder = alone.parent().expect("it lies in a folder");
        let partial = folder.join(format!("partial-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::hard_link(&program, &partial).expect("the program can be linked");
        std::fs::rename(&partial, &alone).expect("the link can be renamed");
        // Renaming a link to the file that is there already does nothing.
        drop(std::fs::remove_file(&partial));
    }
    let mut command = Command::new(alone);
    for folder in folders {
        command.arg("--plugin-dir").arg(folder);
    }
    without_surroundings(&mut command);
    command
}

/// The library of a plugin that these tests depend on.
pub fn library(name: &str) -> PathBuf {
    plugin_folder().join(library_file(name))
}

/// What a plugin's library is called.
pub fn library_file(name: &str) -> String {
    let (before, after) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("{before}pleach_{}{after}", name.replace('-', "_"))
}

/// Where plugins from outside of the workspace are built, all into one folder so that what they
/// depend on is built once.
pub fn outside_folder() -> PathBuf {
    profile_folder().join("outside")
}

/// Runs cargo on a project outside of the workspace, without the network, and answers with the
/// folder of its library.
pub fn cargo_outside(project: &Path, arguments: &[&str]) -> PathBuf {
    let lock = project.join("Cargo.lock");
    if !lock.is_file() {
        std::fs::copy(checkout().join("Cargo.lock"), lock).expect("the versions can be copied");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--quiet", "--offline", "--manifest-path"]).arg(project.join("Cargo.toml"));
    command.arg("--target-dir").arg(outside_folder());
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}:\n{}{}", stdout(&output), stderr(&output));
    outside_folder().join("debug")
}

/// The events in the journal of a run directory, which need not be there yet.
pub fn journal_length(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("events.jsonl")).map_or(0, |text| text.lines().count())
}

/// A document of a run directory.
pub fn document(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("it is JSON")
}

/// What a run found, without what depends on the machine's speed.
pub fn result(directory: &Path) -> Value {
    let mut result = document(&directory.join("result.json"));
    assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
    result
}

/// The journal of a run.
pub fn events(directory: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("events.jsonl")).expect("there is a journal");
    text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

/// The candidates of each step, as the journal has them.
pub fn candidates(directory: &Path) -> Vec<Value> {
    let evaluated = events(directory).into_iter().filter(|event| event["event"] == "evaluated");
    evaluated.map(|event| event["candidates"].clone()).collect()
}

/// The workers that were lost, as the journal has them.
pub fn losses(directory: &Path) -> Vec<Value> {
    events(directory).iter().filter_map(|event| event["lost"].as_array().cloned()).flatten().collect()
}

/// Runs the program and kills it as soon as the journal has more events than so many. Whether it
/// was at work then, and did not end by itself before.
pub fn killed_at(command: &mut Command, directory: &Path, events: usize) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    while journal_length(directory) <= events {
        if child.try_wait().expect("it can be asked").is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    !child.wait().expect("it has ended").success()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The SuperNet's library, or `None`, said loudly, where it was not built.
pub fn supernet() -> Option<PathBuf> {
    let library = profile_folder().join("libpleach_supernet.so");
    if library.is_file() {
        return Some(library);
    }
    assert!(std::env::var_os("PLEACH_TEST_SUPERNET").is_none(), "{} is missing", library.display());
    eprintln!("SKIPPED: {} is not there; `cargo build -p pleach-supernet` makes it", library.display());
    None
}
