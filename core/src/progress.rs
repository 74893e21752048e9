//! Progress: a live view on a terminal, one line per step elsewhere.
//!
//! It is told what the host knows of any search: nothing here asks what a strategy is.

mod live;
mod picture;
mod sheet;

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use pleach_sdk::{Genome, Goal, Objectives, SearchSpace, TrainPlan, TrainReport, host::Progress};
use serde_json::Value;

use crate::{config::Budget, result::Stage, search::short};
use live::Live;

/// Where progress is shown.
pub struct View {
    kind: Kind,
}

enum Kind {
    Silent,
    Lines,
    Live(Box<Live>),
}

/// A search that begins or goes on.
pub struct Beginning<'a> {
    /// What networks there are.
    pub space: &'a Arc<dyn SearchSpace>,
    /// What is wanted of them.
    pub objectives: &'a Objectives,
    /// The objective that names the winner.
    pub goal: (usize, Goal),
    /// What ends it.
    pub budget: &'a Budget,
    /// How long it was worked on before.
    pub elapsed: Duration,
    /// Steps that were done before.
    pub steps: u64,
    /// Networks that were measured before.
    pub evaluations: u64,
    /// Where a simulated clock stands.
    pub simulated_seconds: f64,
    /// The last training before.
    pub stage: Option<&'a Stage>,
}

/// What a search does now.
#[derive(Debug, Clone, Copy)]
pub enum Doing<'a> {
    /// The strategy chooses what comes next.
    Choosing,
    /// The estimator trains.
    Training(&'a TrainPlan),
    /// The estimator measures so many networks.
    Evaluating(usize),
    /// What comes after the last step, in words.
    Closing(&'static str),
}

/// A step of evaluations that is done.
pub struct Step<'a> {
    /// Counts from 0.
    pub number: u64,
    /// What the strategy said of it.
    pub notes: &'a Value,
    /// Networks that were not known before.
    pub measured: u64,
    /// What the estimator took.
    pub seconds: f64,
    /// For each candidate that has one its value of the objective that names the winner.
    pub values: &'a [f64],
    /// The best network of those measured with the weights as they are.
    pub best: Option<(&'a Genome, &'a [f64])>,
    /// Networks of the front and its hypervolume, where several objectives have a direction.
    pub front: Option<(usize, f64)>,
    /// Networks that were measured until now.
    pub evaluations: u64,
    /// How many of them could not be.
    pub failed: u64,
    /// Where the simulated clock stands, where there is one.
    pub simulated_seconds: Option<f64>,
    /// The name of the objective that names the winner, and its place.
    pub objective: (&'a str, usize),
}

impl View {
    /// Shows nothing.
    pub fn silent() -> Self {
        View { kind: Kind::Silent }
    }

    /// A live view if standard error is a terminal that can move its cursor, lines otherwise.
    pub fn standard() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let kind = if std::io::stderr().is_terminal() && !is_dumb { Kind::Live(Live::start()) } else { Kind::Lines };
        View { kind }
    }

    /// Whether nothing is shown.
    pub fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Silent)
    }

    /// Whoever sets `flag` asked to stop.
    pub(crate) fn stops_at(&self, flag: &Arc<AtomicBool>) {
        if let Kind::Live(live) = &self.kind {
            live.update(|picture| picture.stops_at(flag));
        }
    }

    /// A component says how far it is.
    pub fn task(&self, progress: &Progress<'_>) {
        if let Kind::Live(live) = &self.kind {
            live.update(|picture| picture.task(progress));
        }
    }

    /// The command says how far it is with the searches or trainings that it is made of.
    pub fn overall(&self, progress: &Progress<'_>) {
        if let Kind::Live(live) = &self.kind {
            live.update(|picture| picture.overall(progress));
        }
    }

    /// A search begins.
    pub fn begin(&self, beginning: &Beginning<'_>) {
        if let Kind::Live(live) = &self.kind {
            live.update(|picture| picture.begin(beginning));
        }
    }

    /// The search does something else.
    pub fn doing(&self, doing: Doing<'_>) {
        if let Kind::Live(live) = &self.kind {
            live.update(|picture| picture.doing(doing));
        }
    }

    /// A training is done.
    pub fn trained(&self, plan: &TrainPlan, report: &TrainReport, seconds: f64) {
        let loss = report.metrics.get("loss").map_or(String::new(), |loss| format!(", loss {loss:.3}"));
        self.line(&format!(
            "stage {:<2} trained   {} epochs over {} networks{loss} in {}",
            plan.stage + 1,
            plan.epochs,
            crate::search::round_count(plan.region.size()),
            spoken_seconds(seconds),
        ));
    }

    /// A step of evaluations is done: a line, or what the live view shows.
    pub fn step(&self, step: &Step<'_>) {
        match &self.kind {
            Kind::Silent => {}
            Kind::Lines => self.line(&step.line()),
            Kind::Live(live) => live.update(|picture| picture.step(step)),
        }
    }

    /// Something that was done: a line that stays.
    pub fn line(&self, text: &str) {
        match &self.kind {
            Kind::Silent => {}
            // Progress that nobody can read is no reason to stop the search.
            Kind::Lines => drop(writeln!(std::io::stderr(), "{text}")),
            Kind::Live(live) => live.suspend(|| drop(writeln!(std::io::stderr(), "{text}"))),
        }
    }

    /// Something that a plugin printed in another process: on standard error, whatever is shown.
    pub fn printed(&self, text: &str) {
        self.suspend(|| drop(writeln!(std::io::stderr(), "{text}")));
    }

    /// What was shown is over: it goes away.
    pub fn finish(&self) {
        if let Kind::Live(live) = &self.kind {
            live.finish();
        }
    }

    /// Runs `write` while nothing is drawn.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Live(live) => live.suspend(write),
            _ => write(),
        }
    }
}

impl Step<'_> {
    fn line(&self) -> String {
        let (objective, index) = self.objective;
        let mut best = self
            .best
            .map_or("no network yet".to_owned(), |(_, values)| format!("best {objective} {:.4}", values[index]));
        if let Some((networks, hypervolume)) = self.front {
            best += &format!(", front of {networks}, hypervolume {}", short(hypervolume));
        }
        let label = match (number(self.notes, "stage"), number(self.notes, "generation")) {
            (Some(stage), Some(generation)) => {
                format!("stage {:<2} generation {generation:<3}", stage.saturating_add(1))
            }
            _ => format!("step {:<5}", self.number + 1),
        };
        let simulated =
            self.simulated_seconds.map_or(String::new(), |seconds| format!(", {} simulated", spoken_seconds(seconds)));
        format!("{label} {} networks, {best}, in {}{simulated}", self.measured, spoken_seconds(self.seconds))
    }
}

/// A count in what a strategy says.
fn number(notes: &Value, key: &str) -> Option<u64> {
    notes.get(key).and_then(Value::as_u64)
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
