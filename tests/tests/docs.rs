//! What the pages tell to type is something that the program does, or understands where doing it takes a
//! SuperNet, data or hours; what they point at is there.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use pleach::config;
use pleach_tests::{checkout, pleach, stderr, stdout, supernet, tables};

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

/// A line that a reader types, and the error that a page shows after it, if it does.
struct Typed {
    line: String,
    error: Option<String>,
}

/// The lines of blocks for a shell, and those after a `$` in other blocks.
fn typed(page: &str) -> Vec<Typed> {
    let mut typed = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        let joined = text.replace("\\\n", " ");
        let lines: Vec<&str> = joined.lines().collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1).map(Some).chain([None])) {
            let line = if language == "sh" { Some(*line) } else { line.strip_prefix("$ ") };
            let error = next.filter(|next| next.starts_with("error: ")).map(|error| (*error).to_owned());
            typed.extend(line.map(|line| Typed { line: line.to_owned(), error }));
        }
    }
    typed
}

/// The commands in the comments of a run file.
fn in_comments(text: &str) -> Vec<Typed> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| line.contains("pleach "))
        .map(|line| Typed { line: line.to_owned(), error: None })
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

/// Every call of the program on the pages, where it is and what error it is said to end with.
fn all_calls() -> Vec<(PathBuf, Vec<String>, Option<String>)> {
    let pages = pages().into_iter().map(|page| (page, typed as fn(&str) -> Vec<Typed>));
    let examples = files("examples", "yaml").into_iter().map(|file| (file, in_comments as fn(&str) -> Vec<Typed>));
    let mut found = Vec::new();
    for (page, lines) in pages.chain(examples) {
        let text = fs::read_to_string(&page).expect("the page can be read");
        for Typed { line, error } in lines(&text) {
            found.extend(calls(&line).into_iter().map(|call| (page.clone(), call, error.clone())));
            if let Some(script) = line.strip_prefix("bash ").and_then(|rest| rest.split_whitespace().next()) {
                assert!(checkout().join(script).is_file(), "{}: {line}", page.display());
            }
        }
    }
    found
}

#[test]
fn every_command_of_the_pages_is_one_that_the_program_understands() {
    let calls = all_calls();
    for (page, call, _) in &calls {
        if let Err(error) = pleach::cli::command().try_get_matches_from(call) {
            panic!("{}: {}\n{error}", page.display(), call.join(" "));
        }
        if let Some((file, sets)) = run_file(call)
            && let Err(error) = config::load(&checkout().join(file), &sets)
        {
            panic!("{}: {}\n{error}", page.display(), call.join(" "));
        }
    }
    assert!(calls.len() > 30, "{}", calls.len());
}

/// The run file of the examples that a call is about, and what it sets.
fn run_file(call: &[String]) -> Option<(&str, Vec<String>)> {
    let file = call.iter().find(|word| word.starts_with("examples/") && word.ends_with(".yaml"))?;
    let sets = call.windows(2).filter(|pair| pair[0] == "--set").map(|pair| pair[1].clone());
    Some((file, sets.collect()))
}

fn needs_supernet(file: &str) -> bool {
    let text = fs::read_to_string(checkout().join(file)).expect("the run file is there");
    text.lines().any(|line| line.starts_with("plugins:") && line.contains("supernet"))
}

/// Why a call is understood and its run file checked, but not done here.
fn why_not(call: &[String]) -> Option<&'static str> {
    let has = |word: &str| call.iter().any(|it| it == word);
    if call.iter().any(|word| word.contains("target/debug")) {
        return Some("works on a plugin that is written on the page: tests/guide.rs and tests/outside.rs");
    }
    if call.iter().any(|word| word.starts_with("examples/") && word.contains("/target/release")) {
        return Some("works on a plugin of the examples: tests/outside.rs");
    }
    if has("serve") {
        return Some("goes on until it is stopped: tests/report.rs");
    }
    if has("train") {
        return Some("trains a network: tests/training.rs");
    }
    if has("export") {
        return Some("takes a network that was trained: tests/export.rs");
    }
    if has("profile") && run_file(call).is_none() {
        return Some("measures what a search with a profile found: tests/latency.rs");
    }
    run_file(call).filter(|(file, _)| needs_supernet(file)).map(|_| "needs a SuperNet and its data")
}

/// A folder in which the commands of the pages work, beside a checkout that is called `pleach`: the examples,
/// tables with made-up numbers, and finished runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(tempfile::tempdir().expect("a temporary folder"));
        symlink(checkout(), desk.0.path().join("pleach")).expect("it can be linked");
        fs::create_dir_all(desk.path().join("data")).expect("it can be made");
        for name in ["examples", "sdk"] {
            symlink(checkout().join(name), desk.path().join(name)).expect("it can be linked");
        }
        let data = desk.path().join("data");
        tables::write_nas_bench_macro(&data.join("nas-bench-macro_cifar10.json"));
        tables::write_nas_bench_201(&data.join("table.csv"));
        let zipped = fs::File::create(data.join("nas-bench-201.csv.gz")).expect("it can be made");
        let mut zipper = flate2::write::GzEncoder::new(zipped, flate2::Compression::fast());
        zipper.write_all(&fs::read(data.join("table.csv")).expect("it was written")).expect("it can be written");
        zipper.finish().expect("it can be written");
        if checkout().join("data/cifar10").exists() {
            symlink(checkout().join("data/cifar10"), data.join("cifar10")).expect("it can be linked");
        }
        let search = ["run", "examples/nsga-2-nas-bench-201.yaml", "--set", "strategy.with.evaluations=50"];
        for run in ["runs/gevonas-cifar10-cpu-001", "runs/gevonas-cifar10-001", "runs/my-images"] {
            desk.does(&[&search[..], &["--dir", run]].concat(), None, "the runs of the pages");
        }
        desk
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("desk")
    }

    /// Whether all that a run file names is there, but for a SuperNet.
    fn can_check(&self, call: &[String], file: &str, sets: &[String]) -> bool {
        let is_whole = !call.iter().any(|word| word == "--plugin-dir" || word.contains('$'));
        let named = || {
            let (config, _) = config::load(&checkout().join(file), sets).expect("it was read before");
            let root = config.dataset.and_then(|dataset| Some(dataset.with.get("root")?.as_str()?.into()));
            let profile = config.latency.and_then(|latency| latency.profile);
            [root, profile].into_iter().flatten().collect::<Vec<PathBuf>>()
        };
        is_whole && named().iter().all(|path| self.path().join(path).exists())
    }

    /// A folder with this library and no other: those that lie beside it may be of an older build.
    fn alone(&self, library: &Path) -> String {
        let folder = self.0.path().join("alone");
        fs::create_dir_all(&folder).expect("it can be made");
        symlink(library, folder.join(library.file_name().expect("it has a name"))).expect("it can be linked");
        folder.display().to_string()
    }

    /// Does it, to the end that is wanted.
    fn does(&self, arguments: &[&str], error: Option<&str>, from: &str) {
        let output = pleach().current_dir(self.path()).args(arguments).output().expect("the program starts");
        let told = format!("{from}: pleach {}\n{}{}", arguments.join(" "), stdout(&output), stderr(&output));
        assert_eq!(output.status.success(), error.is_none(), "{told}");
        if let Some(error) = error {
            assert_eq!(stderr(&output).lines().next(), Some(error), "{told}");
        }
    }
}

#[test]
fn the_commands_of_the_pages_do_what_they_say() {
    let desk = Desk::new();
    let supernet = std::env::var_os("PLEACH_TEST_SUPERNET").and_then(|_| supernet());
    let supernet = supernet.map(|library| desk.alone(&library));
    let mut done = BTreeMap::new();
    let mut not_done: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (page, call, error) in all_calls() {
        let text = call.join(" ");
        let arguments: Vec<&str> = call[1..].iter().map(String::as_str).collect();
        let page = page.display().to_string();
        if done.insert(text.clone(), ()).is_some() {
            continue;
        }
        let Some(why) = why_not(&call) else {
            // As many seeds as pages ask for take hours.
            let fewer: &[&str] = if arguments.contains(&"compare") { &["--seeds", "1"] } else { &[] };
            desk.does(&[&arguments[..], fewer].concat(), error.as_deref(), &page);
            continue;
        };
        not_done.entry(why).or_default().push(text);
        let Some((file, sets)) = run_file(&call).filter(|(file, sets)| desk.can_check(&call, file, sets)) else {
            continue;
        };
        if let Some(folder) = &supernet {
            let sets = sets.iter().flat_map(|set| ["--set", set.as_str()]);
            let check: Vec<&str> = ["--plugin-dir", folder, "check", file].into_iter().chain(sets).collect();
            desk.does(&check, error.as_deref(), &page);
        }
    }
    for (why, calls) in &not_done {
        println!("not done, but understood: {why}");
        calls.iter().for_each(|call| println!("  {call}"));
    }
    let not_done: usize = not_done.values().map(Vec::len).sum();
    assert!(done.len() - not_done >= 12, "{} of {} were done", done.len() - not_done, done.len());
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

#[test]
fn every_page_is_in_the_contents_of_the_site() {
    let contents = fs::read_to_string(checkout().join("docs/SUMMARY.md")).expect("there are contents");
    for (folder, prefix) in [("docs", ""), ("docs/decisions", "decisions/")] {
        for page in files(folder, "md") {
            let name = page.file_name().expect("a page has a name").to_string_lossy().into_owned();
            let is_there = name == "SUMMARY.md" || contents.contains(&format!("]({prefix}{name})"));
            assert!(is_there, "{prefix}{name} is not in docs/SUMMARY.md");
        }
    }
}
