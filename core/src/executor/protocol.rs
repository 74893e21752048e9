//! What a host and a worker say to each other: `docs/worker-protocol.md`, as types.
//!
//! A message is a JSON document behind its length. Nothing here knows processes or plugins.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use pleach_sdk::{ErrorKind, Genome, Measured, Objectives, Outcome, Seed, TrainPlan, TrainReport};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The number of the protocol.
pub const PROTOCOL: u32 = 1;

/// The longest message: a plan with a region of any space is far shorter.
pub const LONGEST: u32 = 1 << 26;

/// What a host asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Counts the requests of one host; the answer names it.
    pub task: u64,
    /// What is asked.
    pub call: Call,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Load plugins and build the estimator: the first request, and only the first.
    Start(Box<Order>),
    /// Measure networks.
    Evaluate {
        /// The networks.
        genomes: Vec<Genome>,
        /// The seed of the whole step, whatever part of it this is.
        seed: Seed,
    },
    /// Train, and where weights have changed save them.
    Train {
        /// What to train.
        plan: TrainPlan,
        /// The seed.
        seed: Seed,
        /// An empty folder for the weights.
        folder: PathBuf,
    },
    /// Save the state into an empty folder.
    Save {
        /// The folder.
        folder: PathBuf,
    },
    /// Take up a state.
    Load {
        /// The folder.
        folder: PathBuf,
    },
    /// Stop the request under way; it is not answered itself.
    Cancel,
}

/// An estimator, and everything it is built over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The folder from which relative paths in configurations are resolved.
    pub directory: PathBuf,
    /// The plugins to load.
    pub plugins: Vec<PluginFile>,
    /// The data set.
    pub dataset: Option<Part>,
    /// The space.
    pub space: Part,
    /// The estimator.
    pub estimator: Part,
    /// What the run wants.
    pub objectives: Objectives,
    /// The most verbose level of diagnostics that anybody reads.
    pub log: Option<Level>,
}

/// A plugin by its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it must be.
    pub sha256: String,
}

/// A component to build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// `plugin/component`.
    #[serde(rename = "use")]
    pub name: String,
    /// Its configuration.
    pub with: Value,
    /// The seed of its constructor.
    pub seed: Seed,
}

/// A level of diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// A request is done.
    Answer {
        /// Which one.
        task: u64,
        /// What came of it.
        answer: Answer,
    },
    /// A diagnostic of a plugin.
    Log {
        /// How important it is.
        level: Level,
        /// The module it comes from.
        target: String,
        /// The text.
        message: String,
    },
    /// How far the request under way has come, at most ten times a second.
    Progress {
        /// As in `pleach_sdk::host::Progress`.
        task: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 if unknown.
        total: u64,
        /// A few words.
        note: String,
    },
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The estimator is built and measures this.
    Ready(Vec<Measured>),
    /// One outcome for each network, in order.
    Evaluated(Vec<Measurement>),
    /// What training did.
    Trained(TrainReport),
    /// Saved, or loaded.
    Done,
    /// It could not be done.
    Failed(Failure),
}

/// The outcome of one network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measurement {
    /// One number per objective of the estimator.
    Values(Vec<Number>),
    /// Why there are none.
    Failed(String),
}

/// A number; those that JSON does not know are the texts `NaN`, `inf` and `-inf`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// A number of JSON.
    Finite(f64),
    /// Another one.
    Other(String),
}

/// An error of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// [`ErrorKind::number`].
    pub kind: u32,
    /// One sentence.
    pub message: String,
    /// As in `pleach_sdk::Error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The component and operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Writes a message: its length in four bytes, the least significant first, then the document.
///
/// # Errors
///
/// What the other side or the system says.
pub fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    out.write_all(&bytes)
}

/// Reads a message; `None` where the other side has closed between two.
///
/// # Errors
///
/// Something that is no message, or what the system says.
pub fn read<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let first = loop {
        match input.read(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[first..])?;
    let length = u32::from_le_bytes(length);
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if length > LONGEST {
        return Err(wrong(format!("a message of {length} bytes is longer than any")));
    }
    // Grows with what arrives: the length alone is no reason to take memory.
    let mut bytes = Vec::new();
    input.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(format!("this is no message: {error}")))
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.is_finite() { Number::Finite(value) } else { Number::Other(value.to_string()) }
    }
}

impl Number {
    /// The number, or why it is none.
    ///
    /// # Errors
    ///
    /// A text that is no number.
    pub fn value(&self) -> Result<f64, String> {
        match self {
            Number::Finite(value) => Ok(*value),
            Number::Other(text) => text.parse().map_err(|_| format!("`{text}` is no number")),
        }
    }
}

impl From<Outcome> for Measurement {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(values) => Measurement::Values(values.into_iter().map(Number::from).collect()),
            Err(reason) => Measurement::Failed(reason),
        }
    }
}

impl From<Measurement> for Outcome {
    fn from(measurement: Measurement) -> Self {
        match measurement {
            Measurement::Values(values) => values.iter().map(Number::value).collect(),
            Measurement::Failed(reason) => Err(reason),
        }
    }
}

impl From<pleach_sdk::Error> for Failure {
    fn from(error: pleach_sdk::Error) -> Self {
        let pleach_sdk::Error { kind, message, place, origin } = error;
        Failure { kind: kind.number(), message, place, origin }
    }
}

impl From<Failure> for pleach_sdk::Error {
    fn from(failure: Failure) -> Self {
        let Failure { kind, message, place, origin } = failure;
        pleach_sdk::Error { kind: ErrorKind::from_number(kind), message, place, origin }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        }
    }
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => tracing::Level::ERROR,
            Level::Warn => tracing::Level::WARN,
            Level::Info => tracing::Level::INFO,
            Level::Debug => tracing::Level::DEBUG,
            Level::Trace => tracing::Level::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(reply: &Reply) -> Reply {
        let mut bytes = Vec::new();
        write(&mut bytes, reply).expect("memory can be written");
        read(&mut bytes.as_slice()).expect("it was just written").expect("there is one")
    }

    #[test]
    fn every_number_comes_across_to_the_last_bit() {
        let values = vec![0.1, -0.0, f64::MIN_POSITIVE / 3.0, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let outcome = Ok(values.clone());
        let answer = Answer::Evaluated(vec![Measurement::from(outcome), Measurement::Failed("too large".to_owned())]);
        let Reply::Answer { task: u64::MAX, answer: Answer::Evaluated(back) } =
            there_and_back(&Reply::Answer { task: u64::MAX, answer })
        else {
            panic!("another message came back")
        };
        let back: Vec<Outcome> = back.into_iter().map(Outcome::from).collect();
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(back[0].as_ref().expect("there are numbers")), bits(&values));
        assert_eq!(back[1], Err("too large".to_owned()));
    }

    #[test]
    fn a_request_reads_as_the_documentation_shows_it() {
        let request =
            Request { task: 3, call: Call::Evaluate { genomes: vec![Genome(vec![1, 0])], seed: Seed(u64::MAX) } };
        let text = serde_json::to_string(&request).expect("requests are JSON");
        assert_eq!(text, r#"{"task":3,"call":{"evaluate":{"genomes":[[1,0]],"seed":18446744073709551615}}}"#);
        let cancel = serde_json::to_string(&Request { task: 4, call: Call::Cancel }).expect("requests are JSON");
        assert_eq!(cancel, r#"{"task":4,"call":"cancel"}"#);
    }

    #[test]
    fn what_is_no_message_is_said_and_takes_no_memory() {
        let check = |bytes: &[u8], expected: &str| {
            let error = read::<Reply>(&mut &bytes[..]).expect_err("it is no message");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&[255; 8], "longer than any");
        check(&[2, 0, 0, 0, b'{', b'}'], "this is no message");
        check(&[9, 0, 0, 0, b'{'], "unexpected end of file");
        check(&[9, 0], "failed to fill whole buffer");
        assert!(read::<Reply>(&mut [].as_slice()).expect("the end is no error").is_none());
    }
}
