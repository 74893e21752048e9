//! `docs/plugin-guide.md` does what it says: its files make a plugin that builds, keeps its promises and
//! searches.

use std::{fs, path::Path};

use pleach_tests::{cargo_outside, checkout, library_file, outside_folder, pleach, stderr, stdout};

/// The blocks of a page that are files, by name.
fn files(page: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (info, text) = block.split_once('\n').expect("a block has lines");
        match info.split_once(" title=") {
            Some((_, name)) => files.push((name.to_owned(), format!("{text}\n"))),
            None => assert!(!info.starts_with("rust"), "code that nobody compiles:\n{text}"),
        }
    }
    files
}

#[test]
fn the_guide_goes_from_an_empty_folder_to_a_search() {
    let page = fs::read_to_string(checkout().join("docs/plugin-guide.md")).expect("the page is there");
    let files = files(&page);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Cargo.toml", "src/lib.rs", "run.yaml"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("copy-layer");
    for (name, text) in &files {
        let path = project.join(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("it can be made");
        let sdk = format!("path = \"{}\"", checkout().join("sdk").display());
        fs::write(path, text.replace("path = \"../pleach/sdk\"", &sdk)).expect("it can be written");
    }
    cargo_outside(&project, &["test"]);
    let library = cargo_outside(&project, &["build"]).join(library_file("copy-layer"));
    let run = |folder: &Path, arguments: &[&str]| {
        let mut command = pleach();
        command.current_dir(folder).arg("--plugin-dir").arg(outside_folder().join("debug")).args(arguments);
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    };
    run(&project, &["plugins", "check", &library.display().to_string()]);
    let described = run(&project, &["plugins", "describe", "copy-layer"]);
    assert!(described.contains("layers (default 1)"), "{described}");
    run(&project, &["run", "run.yaml", "--dir", "run"]);
    let events = fs::read_to_string(project.join("run/events.jsonl")).expect("there is a journal");
    assert!(events.contains("\"by\":\"copy-layer/copy-layer\""), "the operator made children");
}
