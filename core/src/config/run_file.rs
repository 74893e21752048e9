//! From the YAML of a run file to [`Config`]. The only module that knows YAML.
//!
//! It checks shape, by JSON Schema, and what a schema cannot say of keys that belong together; others
//! ask [`RunFile::diagnostic`] for places in the text.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};
use serde_json::Value;

use super::{Clock, Config, Limits, Repeats, Wish, schema};
use crate::{
    error::{Diagnostic, Error, Place, Result},
    schema::Schema,
};

/// The text of a run file, and where in it each key stands.
pub struct RunFile {
    /// The file.
    pub path: PathBuf,
    /// Its text, as given.
    pub text: String,
    /// JSON pointers of `--set` and what was given.
    overrides: Vec<(String, String)>,
    /// Line and column of each value's key (or of the value, in lists), by JSON pointer.
    positions: BTreeMap<String, (usize, usize)>,
}

/// Reads and checks a run file.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn load(path: &Path, sets: &[String]) -> Result<(Config, RunFile)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::unusable(
            format!("failed to read the run file {}: {error}", path.display()),
            "give the path of a YAML file",
        )
    })?;
    parse(path, &text, sets)
}

/// Checks the text of a run file.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn parse(path: &Path, text: &str, sets: &[String]) -> Result<(Config, RunFile)> {
    let (path, text, positions) = (path.to_owned(), text.to_owned(), positions(text));
    let file = RunFile { path, text, overrides: Vec::new(), positions };
    let document = serde_yaml::from_str(&file.text).map_err(|error| file.syntax_error(&error))?;
    complete(file, document, sets)
}

/// Reads and checks a configuration that a run directory's `run.json` recorded.
///
/// # Errors
///
/// Everything that is wrong with it, as [`Error::Unusable`].
pub fn recorded(path: &Path, document: &Value, sets: &[String]) -> Result<(Config, RunFile)> {
    let (positions, overrides) = (BTreeMap::new(), Vec::new());
    let file = RunFile { path: path.to_owned(), positions, text: String::new(), overrides };
    let document = serde_yaml::to_value(document).map_err(|error| file.syntax_error(&error))?;
    complete(file, document, sets)
}

/// Reads a value that was given on the command line.
///
/// # Errors
///
/// What is no YAML, or has no place in a run file.
pub fn value(text: &str) -> std::result::Result<Value, String> {
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| format!("this is no YAML: {error}"))?;
    serde_json::to_value(value).map_err(|error| format!("a key or value has no place in a run file: {error}"))
}

fn complete(mut file: RunFile, mut document: serde_yaml::Value, sets: &[String]) -> Result<(Config, RunFile)> {
    for set in sets {
        file.overrides.push((apply_set(&mut document, set)?, format!("--set {set}")));
    }
    let document = serde_json::to_value(document).map_err(|error| {
        Error::Unusable(vec![file.diagnostic("", &format!("a key or value has no place in a run file: {error}"))])
    })?;
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let known = match SCHEMA.get() {
        Some(known) => known,
        None => {
            let made = Schema::new(schema())?;
            SCHEMA.get_or_init(|| made)
        }
    };
    file.check(&document, known, "")?;
    let config: Config = serde_json::from_value(document).map_err(|error| {
        Error::Unusable(vec![file.diagnostic("", &format!("the run file cannot be read: {error}"))])
    })?;
    file.check_meaning(&config)?;
    Ok((config, file))
}

impl RunFile {
    /// Checks part of the document (at `pointer` of the whole) against a schema.
    ///
    /// # Errors
    ///
    /// Every mismatch, with its place.
    pub fn check(&self, document: &Value, schema: &Schema, pointer: &str) -> Result<()> {
        let complaints = schema.check(document);
        if complaints.is_empty() {
            return Ok(());
        }
        let diagnostics = complaints.into_iter().map(|complaint| {
            let diagnostic = self.diagnostic(&format!("{pointer}{}", complaint.pointer), &complaint.message);
            Diagnostic { help: complaint.help, ..diagnostic }
        });
        Err(Error::Unusable(diagnostics.collect()))
    }

    /// A message about the value at a JSON pointer, or about the nearest value around it.
    pub fn diagnostic(&self, pointer: &str, message: &str) -> Diagnostic {
        let key = pointer.trim_start_matches('/').replace('/', ".");
        // A value of `--set`, or a key that is there for `--set` alone.
        let is_given =
            |set: &str| is_within(pointer, set) || (is_within(set, pointer) && !self.positions.contains_key(pointer));
        if let Some((_, given)) = self.overrides.iter().find(|(set, _)| is_given(set)) {
            return Diagnostic::new(message).at(Place { file: given.clone(), position: None, key, excerpt: None });
        }
        let mut around = pointer;
        let position = loop {
            if let Some(position) = self.positions.get(around) {
                break Some(*position);
            }
            match around.rfind('/') {
                Some(end) => around = &around[..end],
                None => break None,
            }
        };
        Diagnostic::new(message).at(self.place(position, &key))
    }

    fn syntax_error(&self, error: &serde_yaml::Error) -> Error {
        let mut position = error.location().map(|location| (location.line(), location.column()));
        // For a key that is there twice serde_yaml names the place of the whole mapping only.
        if error.to_string().contains("duplicate")
            && let Err(precise) = MarkedYaml::load_from_str(&self.text)
        {
            position = Some((precise.marker().line(), precise.marker().col() + 1));
        }
        Error::Unusable(vec![
            Diagnostic::new(format!("this cannot be read as YAML: {error}"))
                .at(self.place(position, ""))
                .help("a run file is a mapping of keys; see examples/ for whole ones"),
        ])
    }

    fn place(&self, position: Option<(usize, usize)>, key: &str) -> Place {
        let file = self.path.display().to_string();
        Place { file, position, key: key.to_owned(), excerpt: self.excerpt(position) }
    }

    fn excerpt(&self, position: Option<(usize, usize)>) -> Option<String> {
        let (line, _) = position?;
        self.text.lines().nth(line.checked_sub(1)?).map(|line| line.trim_end().to_owned())
    }

    /// What a schema cannot say.
    fn check_meaning(&self, config: &Config) -> Result<()> {
        let durations =
            [("/budget/wall_clock", &config.budget.wall_clock), ("/checkpoint_every", &config.checkpoint_every)];
        for (pointer, text) in durations {
            if let Some(text) = text
                && let Err(error) = humantime::parse_duration(text)
            {
                return Err(Error::Unusable(vec![
                    self.diagnostic(pointer, &format!("`{text}` is no duration: {error}"))
                        .help("write a number with a unit, such as 90s, 30m or 1h 30m"),
                ]));
            }
        }
        if config.budget.repeats == Repeats::Paid && config.budget.clock == Clock::Real {
            return Err(Error::Unusable(vec![
                self.diagnostic("/budget/repeats", "real time is not paid for a network that is known")
                    .help("leave `repeats` out, or write clock: simulated"),
            ]));
        }
        if let Some((pointer, message, help)) = config.executor.mistake() {
            let pointer = format!("/executor{pointer}");
            return Err(Error::Unusable(vec![self.diagnostic(&pointer, &message).help(help)]));
        }
        for (name, wish) in &config.objectives {
            let Wish::Limits(limits) = wish else { continue };
            let pointer = format!("/objectives/{name}");
            if limits == &Limits::default() {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&pointer, &format!("nothing is wanted of `{name}`"))
                        .help("write maximise, minimise, or a limit: { at_most: ... } or { at_least: ... }"),
                ]));
            }
            if limits.reference.is_some() && (limits.goal.is_none() || config.objectives().goals().count() < 2) {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&format!("{pointer}/reference"), "there is no volume that it could bound")
                        .help("a reference belongs to one of several objectives that have a direction (goal)"),
                ]));
            }
            if let (Some(most), Some(least)) = (limits.at_most, limits.at_least)
                && most < least
            {
                return Err(Error::Unusable(vec![
                    self.diagnostic(&pointer, &format!("`{name}` cannot be at most {most} and at least {least}"))
                        .help("swap the two limits or leave one out"),
                ]));
            }
        }
        if let Some(width) = config.train.as_ref().and_then(|train| train.width.as_ref())
            && width.params.is_some() == width.flops.is_some()
        {
            return Err(Error::Unusable(vec![
                self.diagnostic("/train/width", "widths are scaled to one limit, of `params` or of `flops`")
                    .help("write one of the two, such as width: { params: 3.5e6 }"),
            ]));
        }
        if config.latency.as_ref().is_some_and(|latency| latency.by.is_none() && latency.profile.is_none()) {
            return Err(Error::Unusable(vec![
                self.diagnostic("/latency", "it says neither what measures latency nor where a profile of it is")
                    .help("write latency: { by: { use: supernet/latency } }, or latency: { profile: ... }"),
            ]));
        }
        if config.objectives().goals().next().is_none() {
            return Err(Error::Unusable(vec![
                self.diagnostic(
                    "/objectives",
                    "no objective has a direction, so no network would be better than another",
                )
                .help("add one, such as accuracy: maximise"),
            ]));
        }
        Ok(())
    }
}

fn is_within(pointer: &str, set: &str) -> bool {
    pointer.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts `a.b=value` into the document and answers with the JSON pointer of what was set.
fn apply_set(document: &mut serde_yaml::Value, set: &str) -> Result<String> {
    let bad = |why: String| Error::unusable(format!("`--set {set}`: {why}"), "write --set key.of.the.run.file=value");
    let (key, value) = set.split_once('=').ok_or_else(|| bad("there is no `=`".to_owned()))?;
    let value: serde_yaml::Value =
        serde_yaml::from_str(value).map_err(|error| bad(format!("the value is no YAML: {error}")))?;
    let mut here = document;
    let mut pointer = String::new();
    for part in key.split('.') {
        pointer.push('/');
        pointer.push_str(part);
        here = match here {
            serde_yaml::Value::Sequence(items) => {
                let known = items.len();
                let index = part.parse::<usize>().ok();
                index
                    .and_then(|index| items.get_mut(index))
                    .ok_or_else(|| bad(format!("`{part}` is no index into a list of {known}")))?
            }
            other => {
                if other.is_null() {
                    *other = serde_yaml::Value::Mapping(serde_yaml::Mapping::new());
                }
                let mapping =
                    other.as_mapping_mut().ok_or_else(|| bad(format!("what stands before `{part}` has no keys")))?;
                mapping.entry(part.into()).or_insert(serde_yaml::Value::Null)
            }
        };
    }
    *here = value;
    Ok(pointer)
}

/// Where each key of a YAML text stands; empty where the text cannot be read, for then the
/// message about that carries its own place.
fn positions(text: &str) -> BTreeMap<String, (usize, usize)> {
    let mut positions = BTreeMap::new();
    if let Ok(documents) = MarkedYaml::load_from_str(text)
        && let Some(document) = documents.first()
    {
        collect_positions(document, String::new(), &mut positions);
    }
    positions
}

fn collect_positions(node: &MarkedYaml<'_>, pointer: String, positions: &mut BTreeMap<String, (usize, usize)>) {
    let start = |node: &MarkedYaml<'_>| (node.span.start.line(), node.span.start.col() + 1);
    match &node.data {
        YamlData::Mapping(mapping) => {
            for (key, value) in mapping.iter() {
                if let Some(name) = key.data.as_str() {
                    let inner = format!("{pointer}/{name}");
                    positions.insert(inner.clone(), start(key));
                    collect_positions(value, inner, positions);
                }
            }
        }
        YamlData::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = format!("{pointer}/{index}");
                positions.insert(inner.clone(), start(item));
                collect_positions(item, inner, positions);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
name: tiny
seed: 7
plugins: [one]
space: { use: one/space, with: { layers: 3 } }
estimator:
  use: one/estimator
strategy: { use: one/strategy }
objectives: { accuracy: maximise }
";

    fn check(text: &str, sets: &[&str], expected: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.yaml");
        std::fs::write(&path, text).expect("the file can be written");
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let found = match load(&path, &sets) {
            Ok((config, _)) => serde_json::to_string(&config).expect("a configuration is JSON"),
            Err(error) => error.to_string().replace(&path.display().to_string(), "run.yaml"),
        };
        assert!(found.contains(expected), "expected:\n{expected}\nfound:\n{found}");
    }

    #[test]
    fn a_whole_file_is_read() {
        check(RUN, &[], r#""seed":7"#);
        check(RUN, &[], r#""with":{"layers":3}"#);
    }

    #[test]
    fn set_replaces_and_adds() {
        check(RUN, &["seed=8", "space.with.layers=4", "budget.evaluations=10"], r#""seed":8"#);
        check(RUN, &["space.with.layers=4"], r#""layers":4"#);
        check(RUN, &["plugins.0=two"], r#""plugins":["two"]"#);
        check(RUN, &["plugins.5=two"], "`5` is no index into a list of 1");
        check(RUN, &["seed"], "there is no `=`");
        check(RUN, &["sed=8"], "--> --set sed=8 at `sed`");
    }

    #[test]
    fn mistakes_are_named_with_place_and_nearest_name() {
        check(&RUN.replace("seed", "sead"), &[], "unknown key `sead`");
        check(&RUN.replace("seed", "sead"), &[], "did you mean `seed`?");
        check(&RUN.replace("seed", "sead"), &[], "--> run.yaml:2:1 at `sead`\n    2 | sead: 7");
        check(&RUN.replace("seed: 7", "seed: x"), &[], "expected an integer, found the text `x`");
        check(&RUN.replace("  use: one/estimator", "  use: estimator"), &[], "run.yaml:6:3 at `estimator.use`");
        check(&RUN.replace("maximise", "maximize"), &[], "did you mean `maximise`?");
        check(&RUN.replace("accuracy: maximise", "accuracy: {at_most: 1}"), &[], "no objective has a direction");
        check(&RUN.replace("seed: 7", "seed: 7\nbudget: { wall_clock: 30 parsecs }"), &[], "is no duration");
        check(&RUN.replace("name: tiny", "name: [tiny"), &[], "this cannot be read as YAML");
        check(&RUN.replace("name: tiny\n", ""), &[], "the key `name` is missing");
    }
}
