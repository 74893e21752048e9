//! The one error type of components, and what kinds of failure there are.

use std::fmt;

/// What kind of failure an [`Error`] is. The host turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration cannot be used: the user can mend it. Exit code 2.
    Config,
    /// The component could not do its work. Exit code 3.
    Failed,
    /// The component panicked: a bug in its plugin. Exit code 3.
    Panicked,
    /// The component stopped because the user asked for it. Exit code 130.
    Cancelled,
}

impl ErrorKind {
    /// The number that stands for this kind in the ABI.
    pub fn number(self) -> u32 {
        match self {
            ErrorKind::Config => 1,
            ErrorKind::Failed => 2,
            ErrorKind::Panicked => 3,
            ErrorKind::Cancelled => 4,
        }
    }

    /// The kind of a number; one that this SDK does not know counts as [`ErrorKind::Failed`].
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => ErrorKind::Config,
            3 => ErrorKind::Panicked,
            4 => ErrorKind::Cancelled,
            _ => ErrorKind::Failed,
        }
    }
}

/// Why a component could not do what it was asked.
///
/// The text is a lower-case sentence without a full stop that says what was wanted,
/// what was found, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// One sentence.
    pub message: String,
    /// For [`ErrorKind::Config`] a JSON pointer into the component's configuration
    /// (`/blocks/1/channels`), for [`ErrorKind::Panicked`] the file and line.
    pub place: Option<String>,
    /// The component and operation that failed, filled in where the error crosses the ABI.
    pub origin: Option<String>,
}

/// What calls to components answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A configuration that cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Work that could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// The user asked to stop; see [`crate::host::is_cancelled`].
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "stopped on request")
    }

    /// An error of any kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), place: None, origin: None }
    }

    /// Adds the place; see [`Error::place`].
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Names the component and operation that failed, unless something deeper did already.
    #[must_use]
    pub fn from_origin(mut self, origin: impl FnOnce() -> String) -> Self {
        self.origin.get_or_insert_with(origin);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(formatter, "{origin}: ")?;
        }
        if self.kind == ErrorKind::Panicked {
            write!(formatter, "panicked: ")?;
        }
        write!(formatter, "{}", self.message)?;
        match &self.place {
            Some(place) => write!(formatter, " (at {place})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The known name nearest to `name`, if any is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().max(name.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The text for an unknown name: what it was, the nearest known one, and all that are known.
pub fn unknown_name(what: &str, name: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{name}`, did you mean `{near}`? known: {list}"),
        None if known.is_empty() => format!("unknown {what} `{name}`; none is known"),
        None => format!("unknown {what} `{name}`; known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_kinds_go_there_and_back() {
        for kind in [ErrorKind::Config, ErrorKind::Failed, ErrorKind::Panicked, ErrorKind::Cancelled] {
            assert_eq!(ErrorKind::from_number(kind.number()), kind);
        }
        assert_eq!(ErrorKind::from_number(99), ErrorKind::Failed);
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest() {
        assert_eq!(
            unknown_name("operation", "mb3k3", &["mb3_k3", "mb6_k5"]),
            "unknown operation `mb3k3`, did you mean `mb3_k3`? known: mb3_k3, mb6_k5"
        );
        assert_eq!(nearest("zebra", ["mb3_k3", "identity"]), None);
    }
}
