//! What can go wrong in the host, and the exit code of each kind.

use std::{fmt, path::PathBuf};

use pleach_sdk::ErrorKind;

/// The host's answer.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// The run file, a plugin, or something else that was given cannot be used.
    Unusable(Vec<Diagnostic>),
    /// A component failed; where the run was under way its state is in the folder.
    Component {
        /// What the component said.
        error: pleach_sdk::Error,
        /// The run directory.
        folder: Option<PathBuf>,
    },
    /// What was exported does not compute what was trained, and was taken away again.
    Export {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The run directory cannot be written or read.
    RunDirectory {
        /// The file or folder.
        path: PathBuf,
        /// What was tried and what came of it.
        message: String,
    },
    /// What was repeated did not come out the same.
    Different {
        /// How much of it.
        count: usize,
    },
    /// The user asked to stop; the state is in the folder.
    Interrupted {
        /// The run directory.
        folder: PathBuf,
    },
    /// The user asked to stop what leaves nothing behind.
    Stopped,
}

impl Error {
    /// Something given that cannot be used, without a place in a file.
    pub fn unusable(message: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Unusable(vec![Diagnostic::new(message).help(help)])
    }

    /// The program's exit code; 1 is left to panics that escape.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Unusable(_) => 2,
            Error::Component { error, .. } => match error.kind {
                ErrorKind::Config => 2,
                _ => 3,
            },
            Error::Export { .. } => 3,
            Error::RunDirectory { .. } => 4,
            Error::Different { .. } => 5,
            Error::Interrupted { .. } | Error::Stopped => 130,
        }
    }

    /// The error as one message per line of attention, for a program to read.
    pub fn to_json(&self) -> serde_json::Value {
        let errors = match self {
            Error::Unusable(diagnostics) => serde_json::json!(diagnostics),
            other => serde_json::json!([Diagnostic::new(other.to_string())]),
        };
        serde_json::json!({ "exit_code": self.exit_code(), "errors": errors })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unusable(diagnostics) => {
                for (index, diagnostic) in diagnostics.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str("\nerror: ")?;
                    }
                    write!(formatter, "{diagnostic}")?;
                }
                Ok(())
            }
            Error::Component { error, folder } => {
                write!(formatter, "{error}")?;
                match folder {
                    Some(folder) => write!(formatter, "\n  = the state before it is saved in {}", folder.display()),
                    None => Ok(()),
                }
            }
            Error::Export { file, message } => {
                write!(formatter, "{file} does not compute what was trained, so nothing was exported: {message}")
            }
            Error::RunDirectory { path, message } => {
                write!(formatter, "{message}\n  = in the run directory: {}", path.display())
            }
            Error::Different { count: 1 } => write!(formatter, "one thing is not as it was"),
            Error::Different { count } => write!(formatter, "{count} things are not as they were"),
            Error::Interrupted { folder } => {
                write!(formatter, "interrupted; the state is saved in {}", folder.display())
            }
            Error::Stopped => formatter.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// One thing that is wrong with what was given.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Diagnostic {
    /// What was wanted and what was found.
    pub message: String,
    /// The place, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A place in what was given.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The file, or `--set key=value`.
    pub file: String,
    /// Line and column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<(usize, usize)>,
    /// The key with dots, such as `space.with.blocks`.
    pub key: String,
    /// The line itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl Diagnostic {
    /// A message without place and help.
    pub fn new(message: impl Into<String>) -> Self {
        Diagnostic { message: message.into(), place: None, help: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message)?;
        if let Some(place) = &self.place {
            write!(formatter, "\n  --> {}", place.file)?;
            if let Some((line, column)) = place.position {
                write!(formatter, ":{line}:{column}")?;
            }
            if !place.key.is_empty() {
                write!(formatter, " at `{}`", place.key)?;
            }
            if let (Some(excerpt), Some((line, _))) = (&place.excerpt, place.position) {
                write!(formatter, "\n{line:>5} | {excerpt}")?;
            }
        }
        match &self.help {
            Some(help) => write!(formatter, "\n  = help: {help}"),
            None => Ok(()),
        }
    }
}
