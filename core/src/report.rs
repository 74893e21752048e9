//! `pleach report` and `pleach serve`: what a run directory tells, as a page for a person.
//!
//! A [`Report`] follows a run's files and is turned into one document of plain data (`document.rs`).
//! The page (`page.rs`, `page/`) draws that document and nothing else: it knows no file. `serve.rs`
//! answers with page and document on loopback. Nothing here writes into what a run left but
//! `report.html`, and no plugin is loaded.

mod document;
mod networks;
mod page;
mod serve;
mod story;

use std::{
    fs,
    path::{Path, PathBuf},
};

use pleach_sdk::{Description, Network, Objectives};
use serde_json::Value;

pub use self::serve::{Server, serve};
use self::{document::Document, networks::SpaceView, story::Story};
use crate::{
    config,
    error::{Error, Result},
    journal::{Journal, News},
    result::SearchResult,
    resume::{Record, result_of},
    run,
};

/// Where the report stands unless `--out` says otherwise.
pub const FILE: &str = "report.html";

/// Documents of other commands, and what to look at in place of a report.
const NOT_RUNS: [(&str, &str); 3] = [
    ("searches.jsonl", "it holds a comparison: compare.md and compare.svg show it"),
    ("rank.json", "it holds a ranking: rank.svg shows it"),
    ("training.json", "it holds the training of one network: the report of its run shows it"),
];

/// A run, as far as its files tell.
pub struct Report {
    directory: PathBuf,
    /// `run.json`.
    record: Value,
    /// The run file, as given.
    config: String,
    space: SpaceView,
    journal: Journal,
    /// What the journal told so far.
    story: Story,
    /// Counts how often the journal was cut, so that what was read of it does not count any more.
    edition: u32,
}

impl Report {
    /// Reads a run directory.
    ///
    /// # Errors
    ///
    /// A folder that holds no run, one of another format, and files that cannot be read. A line of
    /// the journal that cannot be read is told in the report.
    pub fn read(directory: &Path) -> Result<Self> {
        let wrong = |name: &str, message: String| Error::RunDirectory { path: directory.join(name), message };
        if !directory.join(run::RECORD).is_file() {
            let known = NOT_RUNS.iter().find(|(file, _)| directory.join(file).is_file());
            let why = known.map_or_else(|| format!("{} is missing", run::RECORD), |(_, what)| (*what).to_owned());
            return Err(Error::RunDirectory {
                path: directory.to_owned(),
                message: format!("there is no search to report: {why}"),
            });
        }
        let (known, record) = Record::read(directory)?;
        let objectives = config::recorded_objectives(&known.config)
            .map_err(|why| wrong(run::RECORD, format!("the objectives of the run cannot be read: {why}")))?;
        let network = network_of(directory).map_err(|why| wrong(run::NETWORK, why))?;
        let config = fs::read_to_string(directory.join("config.yaml"))
            .unwrap_or_else(|error| format!("# config.yaml cannot be read: {error}\n"));
        let space = SpaceView::of(&network);
        let mut report = Report {
            directory: directory.to_owned(),
            record,
            config,
            space,
            journal: Journal::of(directory),
            story: Story::new(network, objectives),
            edition: 0,
        };
        report.read_on()?;
        Ok(report)
    }

    /// Takes up what the journal tells since it was last read. Whether that is anything.
    ///
    /// # Errors
    ///
    /// A journal that cannot be read.
    pub fn read_on(&mut self) -> Result<bool> {
        let News { is_cut, lines } = self.journal.news()?;
        if is_cut {
            self.story.forget();
            self.edition += 1;
        }
        let is_news = is_cut || !lines.is_empty();
        for line in lines {
            self.story.hear(line);
        }
        Ok(is_news)
    }

    /// What the page draws, with evaluations and steps from these on.
    ///
    /// # Errors
    ///
    /// Something that cannot be written as JSON.
    pub fn document(&self, from: Marks) -> Result<Value> {
        let (result, mut problems) = self.result();
        problems.extend(self.story.problems().iter().cloned());
        let (training, unreadable) = self.training();
        problems.extend(unreadable);
        let document = Document::new(self, result.as_ref(), training, problems, from);
        serde_json::to_value(document).map_err(|error| Error::RunDirectory {
            path: self.directory.clone(),
            message: format!("the report cannot be written as JSON: {error}"),
        })
    }

    /// What could not be used.
    pub fn problems(&self) -> Vec<String> {
        let (_, mut problems) = self.result();
        problems.extend(self.story.problems().iter().cloned());
        problems.extend(self.training().1);
        problems
    }

    /// The result, where it is the run's last word: one that is going on with a larger budget has
    /// an older one.
    fn result(&self) -> (Option<SearchResult>, Vec<String>) {
        if !self.story.is_finished() {
            return (None, Vec::new());
        }
        match result_of(&self.directory) {
            Ok(result) => (result, Vec::new()),
            Err(error) => (None, vec![format!("result.json cannot be used: {error}")]),
        }
    }

    /// What training the winner came to, where it was.
    fn training(&self) -> (Option<Value>, Option<String>) {
        let path = self.directory.join("training").join("training.json");
        let Ok(text) = fs::read_to_string(path) else { return (None, None) };
        match serde_json::from_str(&text) {
            Ok(training) => (Some(training), None),
            Err(error) => (None, Some(format!("training/training.json cannot be used: {error}"))),
        }
    }
}

/// From which evaluation and which step on a document tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Evaluations before this one are left out.
    pub evaluation: usize,
    /// Steps before this one are left out.
    pub step: usize,
}

/// Writes the report of a run into one file. Where it is, and what could not be used.
///
/// # Errors
///
/// What [`Report::read`] says, and a file that cannot be written.
pub fn write(directory: &Path, out: Option<&Path>) -> Result<(PathBuf, Vec<String>)> {
    let report = Report::read(directory)?;
    let text = page::page(Some(&report.document(Marks::default())?));
    let out = out.map_or_else(|| directory.join(FILE), Path::to_owned);
    let partial = out.with_extension("partial");
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, &out)).map_err(|error| {
        Error::unusable(format!("{} cannot be written: {error}", out.display()), "give another --out")
    })?;
    Ok((out, report.problems()))
}

fn network_of(directory: &Path) -> std::result::Result<Network, String> {
    let text = fs::read_to_string(directory.join(run::NETWORK))
        .map_err(|error| format!("the description of the networks cannot be read: {error}"))?;
    let description: Description =
        serde_json::from_str(&text).map_err(|error| format!("this is no description of networks: {error}"))?;
    Network::new(description).map_err(|error| format!("this describes no networks: {error}"))
}

/// The objectives of a story, for the document.
fn goal_of(objectives: &Objectives) -> (usize, pleach_sdk::Goal) {
    objectives.goals().next().expect("recorded objectives have a direction")
}
