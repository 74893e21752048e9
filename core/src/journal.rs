//! Reads the journal of a run, `events.jsonl`. It knows what events say and nothing of what they
//! are read for.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use pleach_sdk::{Genome, Origin, Region};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Error, Result},
    executor::Loss,
    result::Ending,
    run::JOURNAL,
};

/// An event. Keys that its kind does not have are empty.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) event: String,
    /// Worked on the run until then.
    #[serde(default)]
    pub(crate) at_seconds: f64,
    #[serde(default)]
    pub(crate) step: u64,
    /// What the step took.
    #[serde(default)]
    pub(crate) seconds: f64,
    #[serde(default)]
    pub(crate) objectives: Vec<String>,
    #[serde(default)]
    pub(crate) candidates: Vec<Candidate>,
    #[serde(default)]
    pub(crate) front: Option<Value>,
    #[serde(default)]
    pub(crate) region: Option<Region>,
    #[serde(default)]
    pub(crate) epochs: f64,
    #[serde(default)]
    pub(crate) stage: u32,
    /// The strategy's.
    #[serde(default)]
    pub(crate) notes: Value,
    #[serde(default)]
    pub(crate) report: Option<pleach_sdk::TrainReport>,
    #[serde(default)]
    pub(crate) lost: Vec<Loss>,
    #[serde(default)]
    pub(crate) ended: Option<Ending>,
    #[serde(default)]
    pub(crate) exit_code: Option<u8>,
    #[serde(default)]
    pub(crate) errors: Vec<Value>,
    #[serde(default)]
    pub(crate) set: Vec<String>,
    #[serde(default)]
    pub(crate) changed: Vec<String>,
    #[serde(default)]
    pub(crate) damaged: Vec<String>,
}

/// A candidate in the journal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) genome: Genome,
    #[serde(default)]
    pub(crate) origin: Origin,
    #[serde(default)]
    pub(crate) values: Vec<f64>,
    #[serde(default)]
    pub(crate) failed: Option<String>,
    #[serde(default)]
    pub(crate) known: bool,
    #[serde(default)]
    pub(crate) at_simulated_seconds: Option<f64>,
}

impl Candidate {
    pub(crate) fn outcome(&self) -> std::result::Result<Vec<f64>, String> {
        self.failed.clone().map_or_else(|| Ok(self.values.clone()), Err)
    }
}

/// Reads a whole journal.
pub(crate) fn read(directory: &Path) -> Result<Vec<Event>> {
    let mut journal = Journal::of(directory);
    let News { lines, .. } = journal.news()?;
    let wrong = |message: String| Error::RunDirectory { path: directory.join(JOURNAL), message };
    lines.into_iter().collect::<std::result::Result<_, _>>().map_err(wrong)
}

/// The events of a journal's text, of which the last line may be half written. Each line that is no
/// event is an error of its own.
pub(crate) fn parse(text: &[u8], first_line: usize) -> Vec<std::result::Result<Event, String>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let event = |(number, line): (usize, &[u8])| {
        let event = serde_json::from_slice(line);
        event.map_err(|error| format!("line {} of the journal is no event: {error}", first_line + number))
    };
    lines.enumerate().map(event).collect()
}

/// A journal that may still grow. One who goes on with a run cuts it to its last checkpoint.
pub(crate) struct Journal {
    path: PathBuf,
    /// How much was read.
    bytes: u64,
    lines: usize,
    /// The last line that was read: where another one stands the journal was cut meanwhile.
    last: Vec<u8>,
}

/// What a journal has that was not read before.
pub(crate) struct News {
    /// Whether what was read before does not count any more; the lines are all that there are.
    pub(crate) is_cut: bool,
    pub(crate) lines: Vec<std::result::Result<Event, String>>,
}

impl Journal {
    pub(crate) fn of(directory: &Path) -> Self {
        Journal { path: directory.join(JOURNAL), bytes: 0, lines: 0, last: Vec::new() }
    }

    /// Reads on.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn news(&mut self) -> Result<News> {
        let unreadable = |error: io::Error| Error::RunDirectory {
            path: self.path.clone(),
            message: format!("the journal cannot be read: {error}"),
        };
        let (text, is_cut) = self.rest().map_err(unreadable)?;
        if is_cut {
            (self.bytes, self.lines) = (0, 0);
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = parse(&text[..whole], self.lines + 1);
        if whole > 0 {
            let begin = text[..whole - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.last = text[begin..whole].to_vec();
        }
        self.bytes += whole as u64;
        self.lines += lines.len();
        Ok(News { is_cut, lines })
    }

    /// The bytes behind what was read, or all of them where the journal was cut.
    fn rest(&self) -> io::Result<(Vec<u8>, bool)> {
        let mut file = File::open(&self.path)?;
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(self.bytes - self.last.len() as u64))?;
        file.read_to_end(&mut text)?;
        if text.starts_with(&self.last) {
            return Ok((text.split_off(self.last.len()), false));
        }
        text.clear();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        Ok((text, true))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn journal(text: &str) -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(JOURNAL), text).expect("it can be written");
        let journal = Journal::of(folder.path());
        (folder, journal)
    }

    fn names(news: &News) -> Vec<&str> {
        let name = |line: &'_ std::result::Result<Event, String>| line.as_ref().map_or("?", |_| "");
        news.lines.iter().map(|line| line.as_ref().map_or_else(|_| name(line), |event| event.event.as_str())).collect()
    }

    #[test]
    fn a_journal_is_read_on_where_it_grew_and_anew_where_it_was_cut() {
        let (folder, mut journal) = journal("{\"event\":\"a\"}\n{\"event\":\"b\"}\n{\"event\":\"ha");
        assert_eq!(names(&journal.news().expect("it can be read")), ["a", "b"]);
        let append = |text: &str| {
            let mut file = File::options().append(true).open(folder.path().join(JOURNAL)).expect("it is there");
            file.write_all(text.as_bytes()).expect("it can be written");
        };
        append("lf\"}\n");
        let news = journal.news().expect("it can be read");
        assert_eq!((names(&news), news.is_cut), (vec!["half"], false));
        assert!(journal.news().expect("it can be read").lines.is_empty());
        // As long as before, with other events.
        fs::write(folder.path().join(JOURNAL), "{\"event\":\"a\"}\n{\"event\":\"c\"}\n{\"event\":\"hall\"}\n")
            .expect("it can be written");
        let news = journal.news().expect("it can be read");
        assert_eq!((names(&news), news.is_cut), (vec!["a", "c", "hall"], true));
        fs::write(folder.path().join(JOURNAL), "{\"event\":\"a\"}\n").expect("it can be written");
        let news = journal.news().expect("it can be read");
        assert_eq!((names(&news), news.is_cut), (vec!["a"], true));
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let (folder, mut journal) = journal("{\"event\":\"a\"}\nnonsense\n{\"event\":\"b\"}\n");
        let news = journal.news().expect("it can be read");
        assert_eq!(names(&news), ["a", "?", "b"]);
        let error = read(folder.path()).expect_err("a line is damaged").to_string();
        assert!(error.starts_with("line 2 of the journal is no event"), "{error}");
    }
}
