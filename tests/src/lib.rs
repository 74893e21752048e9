//! What end-to-end tests share: the program, the plugins beside it, and run files.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

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

/// The program, looking for plugins beside this test and nowhere else first.
pub fn pleach() -> Command {
    let program = profile_folder().join(format!("pleach{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run `cargo build -p pleach` first", program.display());
    let mut command = Command::new(program);
    command.arg("--plugin-dir").arg(plugin_folder()).env_remove("PLEACH_LOG").env_remove("PLEACH_PLUGIN_PATH");
    command
}

/// The events in the journal of a run directory, which need not be there yet.
pub fn journal_length(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("events.jsonl")).map_or(0, |text| text.lines().count())
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
