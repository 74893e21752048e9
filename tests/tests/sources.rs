//! What holds for the sources themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pleach_tests::checkout;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') && name != "data" && name != "runs" {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The files that a table in the documentation allows `unsafe` in.
fn allowed() -> BTreeSet<String> {
    let text = fs::read_to_string(checkout().join("docs/architecture.md")).expect("the page is there");
    let section = text.split("## Where `unsafe` is").nth(1).expect("the page has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let file = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    section.lines().filter_map(file).collect()
}

#[test]
fn unsafe_is_where_the_architecture_says_and_nowhere_else() {
    let mut files = Vec::new();
    rust_files(&checkout(), &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        let mut words = code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        words.any(|word| word == "unsafe")
    };
    let this = Path::new(file!()).file_name();
    let found: BTreeSet<String> = files
        .iter()
        .filter(|path| path.file_name() != this)
        .filter(|path| fs::read_to_string(path).expect("it can be read").lines().any(is_unsafe))
        .map(|path| path.strip_prefix(checkout()).expect("it lies there").display().to_string())
        .collect();
    assert_eq!(found, allowed());
}
