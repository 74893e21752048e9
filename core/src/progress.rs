//! Progress: bars on a terminal, one line per step elsewhere.

use std::{
    io::{IsTerminal, Write},
    sync::Mutex,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pleach_sdk::host::Progress;

/// Where progress is shown.
pub struct View {
    kind: Kind,
}

enum Kind {
    Silent,
    Lines,
    Bars(Box<Bars>),
}

struct Bars {
    all: MultiProgress,
    /// The whole search, against its budget.
    search: ProgressBar,
    /// What the component at work says of itself, and the task it spoke of last.
    task: ProgressBar,
    current: Mutex<String>,
}

impl View {
    /// Shows nothing.
    pub fn silent() -> Self {
        View { kind: Kind::Silent }
    }

    /// Bars if standard error is a terminal, lines otherwise.
    pub fn standard() -> Self {
        if !std::io::stderr().is_terminal() {
            return View { kind: Kind::Lines };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        let search = all.add(ProgressBar::no_length());
        search.set_style(style("{prefix:>12.bold} [{bar:28}] {pos}/{len} evaluations  {elapsed_precise}  {msg}"));
        search.set_prefix("search");
        let task = all.add(ProgressBar::no_length());
        task.set_style(style("{prefix:>12} [{bar:28}] {pos}/{len}  {per_sec}  {eta} left  {msg}"));
        View { kind: Kind::Bars(Box::new(Bars { all, search, task, current: Mutex::new(String::new()) })) }
    }

    /// Whether nothing is shown.
    pub fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Silent)
    }

    /// A component says how far it is.
    pub fn task(&self, progress: &Progress<'_>) {
        let Kind::Bars(bars) = &self.kind else { return };
        let Ok(mut current) = bars.current.lock() else { return };
        if *current != progress.task || bars.task.position() > progress.done {
            progress.task.clone_into(&mut current);
            bars.task.reset();
            bars.task.set_prefix(progress.task.to_owned());
        }
        bars.task.set_length(progress.total);
        bars.task.set_position(progress.done);
        bars.task.set_message(progress.note.to_owned());
        // Its clock goes on while a component works.
        bars.search.tick();
    }

    /// The search is so far.
    pub fn search(&self, evaluations: u64, budget: Option<u64>, note: &str) {
        let Kind::Bars(bars) = &self.kind else { return };
        if let Some(budget) = budget {
            bars.search.set_length(budget);
        }
        bars.search.set_position(evaluations);
        bars.search.set_message(note.to_owned());
        bars.search.tick();
    }

    /// A step is done: a line that stays.
    pub fn line(&self, text: &str) {
        match &self.kind {
            Kind::Silent => {}
            // Progress that nobody can read is no reason to stop the search.
            Kind::Lines => drop(writeln!(std::io::stderr(), "{text}")),
            Kind::Bars(bars) => drop(bars.all.println(text)),
        }
    }

    /// Something that a plugin printed in another process: on standard error, whatever is shown.
    pub fn printed(&self, text: &str) {
        self.suspend(|| drop(writeln!(std::io::stderr(), "{text}")));
    }

    /// The search is over: bars go away.
    pub fn finish(&self) {
        if let Kind::Bars(bars) = &self.kind {
            bars.task.finish_and_clear();
            bars.search.finish_and_clear();
        }
    }

    /// Runs `write` while no bar is drawn.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Bars(bars) => bars.all.suspend(write),
            _ => write(),
        }
    }
}

/// Seconds as people say them, however many.
pub fn spoken_seconds(seconds: f64) -> String {
    spoken(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A duration as people say it: `1 h 4 min`, `3 min 12 s`, `4.2 s`, `3 ms`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        3600.. => format!("{} h {} min", duration.as_secs() / 3600, duration.as_secs() % 3600 / 60),
        60..3600 => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
        1..60 => format!("{seconds:.1} s"),
        0 => format!("{:.0} ms", seconds * 1e3),
    }
}
