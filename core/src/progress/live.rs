//! Draws what is known of a search at the foot of a terminal, a few times a second and in a thread
//! of its own: what is told in between costs a lock.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::picture::Picture;

/// How often it is drawn.
const BETWEEN_DRAWS: Duration = Duration::from_millis(125);

/// A view that is drawn until it is finished.
pub(super) struct Live {
    picture: Arc<Mutex<Picture>>,
    /// Draws rows as its message, and knows how to take them away.
    bar: ProgressBar,
    drawer: Mutex<Option<Drawer>>,
}

/// Who draws; it ends when there is nobody to hear from.
struct Drawer {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Live {
    pub(super) fn start() -> Box<Self> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let picture = Arc::new(Mutex::new(Picture::default()));
        let (stop, stopped) = mpsc::channel();
        let shown = (Arc::clone(&picture), bar.clone());
        let thread = thread::Builder::new().name("live view".to_owned()).spawn(move || {
            let (picture, bar) = shown;
            let mut last = String::new();
            while stopped.recv_timeout(BETWEEN_DRAWS) == Err(RecvTimeoutError::Timeout) {
                let (height, width) = Term::stderr().size();
                let rows = picture.lock().unwrap_or_else(PoisonError::into_inner).rows(width.into(), Instant::now());
                // Whatever scrolls away at the head of a small terminal cannot be taken away again.
                let rows = &rows[..rows.len().min(usize::from(height).saturating_sub(1))];
                let text = rows.join("\n");
                if text != last {
                    bar.set_message(text.clone());
                    last = text;
                }
            }
        });
        // Without a thread nothing is drawn, and the search goes on.
        let drawer = thread.ok().map(|thread| Drawer { stop, thread });
        Box::new(Live { picture, bar, drawer: Mutex::new(drawer) })
    }

    /// Changes what is known.
    pub(super) fn update(&self, change: impl FnOnce(&mut Picture)) {
        change(&mut self.picture.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs `write` while nothing is drawn.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        // What was never drawn would be drawn afterwards, as an empty row.
        if self.bar.message().is_empty() || self.bar.is_finished() { write() } else { self.bar.suspend(write) }
    }

    /// Takes away what is drawn; nothing is drawn after it.
    pub(super) fn finish(&self) {
        let Some(drawer) = self.drawer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(drawer.stop);
        // A thread that panicked draws no more, which is what is wanted.
        drop(drawer.thread.join());
        self.bar.finish_and_clear();
    }
}
