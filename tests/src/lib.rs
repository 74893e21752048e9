//! What end-to-end tests share: the program, the plugins beside it, and run files.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
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
