//! What a component may ask of the program that runs it.
//!
//! Diagnostics go through `tracing` as everywhere. Progress and cancellation go through the two
//! functions here; without a host (in a unit test) they do nothing.

use std::sync::OnceLock;

/// The program that runs components.
pub trait Host: Send + Sync {
    /// Takes a diagnostic.
    fn log(&self, level: tracing::Level, target: &str, message: &str);

    /// The most verbose level that anybody reads.
    fn log_level(&self) -> Option<tracing::Level>;

    /// Takes note of how far an operation has come.
    fn progress(&self, progress: &Progress<'_>);

    /// Whether the user asked to stop.
    fn is_cancelled(&self) -> bool;
}

/// How far a long operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, such as `train`.
    pub task: &'a str,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 if unknown.
    pub total: u64,
    /// A few words or numbers to show beside the bar, such as the loss.
    pub note: &'a str,
}

static HOST: OnceLock<Box<dyn Host>> = OnceLock::new();

/// Sets the host of this library or program; the first call counts.
pub fn set(host: Box<dyn Host>) {
    // A second start of the same library keeps the host it has.
    let _ = HOST.set(host);
}

pub(crate) fn get() -> Option<&'static dyn Host> {
    HOST.get().map(Box::as_ref)
}

/// Says how far a long operation has come. Cheap enough for every batch.
pub fn progress(progress: Progress<'_>) {
    if let Some(host) = get() {
        host.progress(&progress);
    }
}

/// Whether the user asked to stop. Ask between batches and return
/// [`crate::Error::cancelled`] with the state as it was before the call.
pub fn is_cancelled() -> bool {
    get().is_some_and(Host::is_cancelled)
}
