//! What plugins may ask of this program: logging, progress, and whether to stop.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use pleach_sdk::host::{Host, Progress};
use tracing::Level;

use crate::progress::View;

/// The host of one process: shared by everything that runs in it.
#[derive(Default)]
pub struct Process {
    interrupted: Arc<AtomicBool>,
    deadline: Mutex<Option<Instant>>,
    view: OnceLock<View>,
}

impl Process {
    /// A host that shows progress on `view`, and asks components to stop at Ctrl-C.
    ///
    /// The first signal asks for a clean end; a second one ends the process at once.
    ///
    /// # Errors
    ///
    /// What the system says about signal handlers.
    pub fn start(view: View) -> std::io::Result<Arc<Self>> {
        let process = Arc::new(Process::default());
        view.stops_at(&process.interrupted);
        // The only call that sets the view of this fresh value.
        let _ = process.view.set(view);
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let flag = &process.interrupted;
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))?;
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        Ok(process)
    }

    /// Whether the user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Asks everything that is under way to stop, as the user may.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// From when on components are asked to stop, whatever they do.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// Whether the deadline has passed.
    pub fn is_past_deadline(&self) -> bool {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// What shows progress.
    pub fn view(&self) -> &View {
        self.view.get_or_init(View::silent)
    }
}

impl Host for Process {
    fn log(&self, level: Level, target: &str, message: &str) {
        // A tracing call site has a fixed level; the target travels as a field.
        match level {
            Level::ERROR => tracing::error!(target: "plugin", from = target, "{message}"),
            Level::WARN => tracing::warn!(target: "plugin", from = target, "{message}"),
            Level::INFO => tracing::info!(target: "plugin", from = target, "{message}"),
            Level::DEBUG => tracing::debug!(target: "plugin", from = target, "{message}"),
            Level::TRACE => tracing::trace!(target: "plugin", from = target, "{message}"),
        }
    }

    fn log_level(&self) -> Option<Level> {
        tracing::level_filters::LevelFilter::current().into_level()
    }

    fn progress(&self, progress: &Progress<'_>) {
        self.view().task(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.is_interrupted() || self.is_past_deadline()
    }
}
