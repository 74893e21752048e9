//! Plugins that were built with other versions of the SDK and of the ABI's types: the former work, the
//! latter are refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pleach_tests::{cargo_outside, checkout, library_file, outside_folder, pleach, stderr, stdout};

/// A file below `sdk`, what stands in it, and what shall stand there.
type Replaced = (&'static str, &'static str, &'static str);

/// Puts a copy of the SDK with some texts replaced, and a plugin that uses it, into a folder that is
/// kept, so that it is built anew only where something has changed; answers with the library.
fn build(name: &str, replaced: &[Replaced]) -> PathBuf {
    let root = outside_folder().join("copies").join(name);
    let workspace = fs::read_to_string(checkout().join("Cargo.toml")).expect("the workspace has one");
    let (_, shared) = workspace.split_once("[workspace.package]").expect("it has what packages share");
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"sdk\", \"sdk/abi\"]\nexclude = [\"plugin\"]\n";
    write(&root.join("Cargo.toml"), format!("{members}\n[workspace.package]{shared}").as_bytes());
    let mut left: Vec<&Replaced> = replaced.iter().collect();
    copy_folder(&checkout().join("sdk"), &root.join("sdk"), &mut |file, mut text| {
        left.retain(|(of, from, to)| {
            let stands = file.ends_with(Path::new("sdk").join(of)) && text.contains(from);
            if stands {
                text = text.replace(from, to);
            }
            !stands
        });
        text
    });
    assert!(left.is_empty(), "{left:?} stand nowhere");
    let plugin = root.join("plugin");
    if !plugin.is_dir() {
        let mut command = pleach();
        command.current_dir(&root).args(["plugins", "new", name, "--dir", "plugin", "--kind", "operator"]);
        let made = command.args(["--sdk-path", "sdk"]).output().expect("the program starts");
        assert!(made.status.success(), "{}", stderr(&made));
    }
    cargo_outside(&plugin, &["build"]).join(library_file(name))
}

fn copy_folder(from: &Path, to: &Path, change: &mut dyn FnMut(&Path, String) -> String) {
    for entry in fs::read_dir(from).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy_folder(&path, &target, change);
        } else {
            let text = fs::read_to_string(&path).expect("the SDK is text");
            write(&target, change(&target, text).as_bytes());
        }
    }
}

/// Writes a file unless it is as it shall be: cargo builds anew what was written.
fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(bytes) {
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("it can be made");
        fs::write(path, bytes).expect("it can be written");
    }
}

fn check(library: &Path) -> (Option<i32>, String) {
    let output = pleach().args(["plugins", "check"]).arg(library).output().expect("the program starts");
    let text = (stdout(&output) + &stderr(&output)).replace(&library.display().to_string(), "LIBRARY");
    (output.status.code(), text)
}

const VERSION: &str = "\nversion.workspace = true";

#[test]
fn a_plugin_of_an_older_sdk_works() {
    let replaced = [
        ("Cargo.toml", VERSION, "\nversion = \"0.0.1\""),
        // A key that it did not have yet.
        (
            "src/component.rs",
            "    /// One line.\n    #[serde(default)]\n    pub summary: String,\n    /// Its comp",
            "    /// One line.\n    #[serde(skip)]\n    pub summary: String,\n    /// Its comp",
        ),
    ];
    let (code, text) = check(&build("older-sdk", &replaced));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("older-sdk 0.1.0 (SDK 0.0.1)  LIBRARY"), "{text}");
}

#[test]
fn a_plugin_of_a_newer_sdk_works() {
    let replaced = [
        ("Cargo.toml", VERSION, "\nversion = \"7.0.0\""),
        // A key that this pleach does not know.
        ("src/component.rs", "pub needs: String,\n}", "pub needs: String,\n    /// New.\n    pub colour: u8,\n}"),
        ("src/component.rs", "needs: C::NEEDS.to_owned(),", "needs: C::NEEDS.to_owned(),\n            colour: 7,"),
    ];
    let (code, text) = check(&build("newer-sdk", &replaced));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("newer-sdk 0.1.0 (SDK 7.0.0)  LIBRARY"), "{text}");
}

#[test]
fn a_plugin_whose_types_were_changed_is_refused() {
    // Two fields of one type trade places: nothing but the layout check can tell.
    let replaced = [
        ("abi/src/lib.rs", "    pub message: RString,", "    pub traded: RString,"),
        ("abi/src/lib.rs", "    pub place: RString,", "    pub message: RString,"),
        ("abi/src/lib.rs", "    pub traded: RString,", "    pub place: RString,"),
    ];
    let (code, text) = check(&build("other-types", &replaced));
    assert_eq!(code, Some(2), "{text}");
    insta::assert_snapshot!(text);
}
