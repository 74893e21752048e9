//! Executors: an estimator that works elsewhere and looks like any other.
//!
//! `pool.rs` makes a job (`job.rs`) of what the search asks, and `foreman.rs` shares it out among
//! workers and knows nothing of how they are reached; a `Carrier` does: `children.rs` starts them as
//! processes, `cluster.rs` on a Ray cluster. What they say to each other is in `protocol.rs`, and
//! `worker.rs` is the other end. The search loop cannot tell a pool from the estimator itself.

mod children;
mod cluster;
mod foreman;
mod job;
mod pool;
pub mod protocol;
mod states;
pub mod worker;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pleach_sdk::{Error, Genome, Result};
use serde::{Deserialize, Serialize};

use crate::{
    config::{ExecutorName, Workers},
    host::Process,
};

use self::{
    children::Children,
    cluster::Cluster,
    foreman::Foreman,
    pool::Pool,
    protocol::{Order, Reply, Request},
};

/// How workers are started and reached.
pub(crate) trait Carrier: Send {
    /// Asks for a worker more; [`Event::Opened`] follows when it is there, or [`Event::Died`].
    fn open(&mut self, worker: u64);

    /// Sends a request; if it cannot be sent, the worker dies.
    fn send(&mut self, worker: u64, request: &Request);

    /// Ends a worker; [`Event::Died`] follows, with this reason.
    fn kill(&mut self, worker: u64, why: &str);

    /// What happens next, if it does within some time.
    fn next(&mut self, patience: Duration) -> Option<(u64, Event)>;
}

/// What happens to a worker.
pub(crate) enum Event {
    /// It is there and can be asked.
    Opened,
    /// It says something.
    Said(Reply),
    /// It is no more.
    Died(Death),
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// In a few words that go on "the worker".
    pub(crate) reason: String,
    /// Whether somebody else ended it, so that what it did is not to blame.
    pub(crate) is_foreign: bool,
    /// What it printed last.
    pub(crate) printed: Option<String>,
}

/// A worker that was lost, and what it was doing: for the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// `start`, `load`, `evaluate`, `train` or `save`.
    pub during: String,
    /// The network that it measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genome: Option<Genome>,
    /// How it ended.
    pub reason: String,
    /// What it printed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printed: Option<String>,
    /// The work that was lost with it.
    pub seconds: f64,
}

/// What a search and the pools of its estimators share.
#[derive(Debug, Default)]
pub struct Workshop {
    folder: Mutex<Option<PathBuf>>,
    losses: Mutex<Vec<Loss>>,
}

impl Workshop {
    /// Says where weights may lie that workers take up; without a word a temporary folder is made.
    /// What another process left there goes.
    pub fn work_in(&self, folder: &Path) {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("failed to remove {}: {error}", folder.display());
            }
            _ => {}
        }
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
    }

    /// What was lost since this was asked the last time.
    pub fn take_losses(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.losses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lose(&self, loss: Loss) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).push(loss);
    }

    fn folder(&self) -> PathBuf {
        let given = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        given.unwrap_or_else(|| std::env::temp_dir().join(format!("pleach-{}", std::process::id())))
    }
}

/// Starts a first worker and waits until it has built the estimator; others follow when there is
/// work for them.
///
/// # Errors
///
/// What the estimator's constructor says, or a worker that cannot be started.
pub(crate) fn start(
    executor: ExecutorName,
    settings: &Workers,
    order: Order,
    workshop: &Arc<Workshop>,
    process: &Arc<Process>,
) -> Result<Pool> {
    let program = std::env::current_exe()
        .map_err(|error| Error::failed(format!("this program's file, which workers run, is not known: {error}")))?;
    let carrier: Box<dyn Carrier> = match executor {
        ExecutorName::Local | ExecutorName::Processes => {
            Box::new(Children::new(program, settings.memory(), Arc::clone(process)))
        }
        ExecutorName::Ray => Box::new(Cluster::new(program, settings, Arc::clone(process))),
    };
    Foreman::start(carrier, settings, order, workshop, process).map(Pool::of)
}
