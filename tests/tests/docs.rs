//! What the pages tell to type is something that the program understands, and what they point at is
//! there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pleach_tests::checkout;

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(checkout().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![checkout().join("README.md"), checkout().join("python/README.md")];
    pages.extend(["docs", "docs/decisions"].iter().flat_map(|folder| files(folder, "md")));
    let examples = fs::read_dir(checkout().join("examples")).expect("the folder is there");
    pages.extend(
        examples.map(|entry| entry.expect("it can be read").path().join("README.md")).filter(|it| it.is_file()),
    );
    pages
}

/// The lines that a reader types: those of blocks for a shell, and those after a `$` in other blocks.
fn typed(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        let joined = text.replace("\\\n", " ");
        match language {
            "sh" => lines.extend(joined.lines().map(str::to_owned)),
            _ => lines.extend(joined.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned)),
        }
    }
    lines
}

/// The commands in the comments of a run file.
fn in_comments(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| line.contains("pleach "))
        .map(str::to_owned)
        .collect()
}

/// The arguments of each call of `pleach` in a line.
fn calls(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line.trim_start_matches('(')).unwrap_or_else(|| panic!("no line of a shell: {line}"));
    let is_end = |word: &String| ["&&", "||", "|", ">", "2>"].contains(&word.as_str());
    let parts = words.split(is_end).filter(|part| {
        part.first().is_some_and(|word| Path::new(word).file_name().is_some_and(|name| name == "pleach"))
    });
    // What the shell puts in is not known here.
    parts.map(|part| part.iter().filter(|word| !word.starts_with("${")).cloned().collect()).collect()
}

#[test]
fn every_command_of_the_pages_is_one_that_the_program_understands() {
    let mut found = 0;
    let pages = pages().into_iter().map(|page| (page, typed as fn(&str) -> Vec<String>));
    let examples = files("examples", "yaml").into_iter().map(|file| (file, in_comments as fn(&str) -> Vec<String>));
    for (page, lines) in pages.chain(examples) {
        let text = fs::read_to_string(&page).expect("the page can be read");
        for line in lines(&text) {
            for call in calls(&line) {
                found += 1;
                if let Err(error) = pleach::cli::command().try_get_matches_from(&call) {
                    panic!("{}: {line}\n{error}", page.display());
                }
                let run_files = call.iter().filter(|word| word.starts_with("examples/") && word.ends_with(".yaml"));
                run_files.for_each(|file| assert!(checkout().join(file).is_file(), "{}: {file}", page.display()));
            }
            if let Some(script) = line.strip_prefix("bash ").and_then(|rest| rest.split_whitespace().next()) {
                assert!(checkout().join(script).is_file(), "{}: {line}", page.display());
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page can be read");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            found += 1;
            let target = page.parent().expect("a page lies in a folder").join(file);
            assert!(target.exists(), "{}: {link}", page.display());
        }
    }
    assert!(found > 30, "{found}");
}
