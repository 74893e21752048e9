//! What is known of a search under way, as rows of a live view. It knows no terminal but its width.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pleach_sdk::{COMPUTED, Genome, Goal, Network, Objectives, Region, SearchSpace, host::Progress};

use super::{
    Beginning, Doing, Step, number,
    sheet::{Sheet, clock, rate},
};
use crate::{
    search::{round_count, short},
    show,
};

/// How many candidates stand for the population of a strategy that counts no generations.
const RECENT: usize = 50;

/// What takes less is not worth a word.
const WORTH_A_WORD: Duration = Duration::from_millis(300);

/// How many marks of the time that passed there are at most.
const MARKS: u32 = 64;

/// Rates that rest on less are not told.
const WORTH_A_RATE: Duration = Duration::from_millis(500);

/// Everything that may be shown.
#[derive(Default)]
pub(super) struct Picture {
    search: Option<Search>,
    overall: Option<Task>,
    task: Option<Task>,
    stop: Option<Arc<AtomicBool>>,
}

/// Something of which so much is done.
struct Task {
    name: String,
    done: u64,
    total: u64,
    note: String,
    began: (Instant, u64),
}

struct Search {
    space: Arc<dyn SearchSpace>,
    objectives: Objectives,
    goal: (usize, Goal),
    limits: Limits,
    began: Instant,
    /// How long it was worked on before.
    before: Duration,
    /// How far it was, from when on rates are counted: at times in the later half of what passed.
    marks: VecDeque<Mark>,
    evaluations: u64,
    failed: u64,
    simulated_seconds: f64,
    steps: u64,
    stage: Option<u64>,
    /// How many stages there are, where the strategy says so.
    stages: Option<u64>,
    generation: Option<u64>,
    region: Region,
    /// When the stage began, and what those took that this process saw from begin to end.
    stage_began: Option<Instant>,
    stages_took: Vec<Duration>,
    best: Option<(Genome, Vec<f64>)>,
    front: Option<(usize, f64)>,
    /// Values of the last step's candidates, or of the last few where a step has fewer.
    population: VecDeque<f64>,
    doing: Option<(String, Instant)>,
    is_closing: bool,
}

/// How far a search was, and when.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    evaluations: u64,
    simulated_seconds: f64,
}

/// What ends a search, whatever its strategy does.
#[derive(Clone, Copy)]
struct Limits {
    evaluations: Option<u64>,
    real: Option<Duration>,
    simulated: Option<f64>,
}

impl Picture {
    pub(super) fn stops_at(&mut self, flag: &Arc<AtomicBool>) {
        self.stop = Some(Arc::clone(flag));
    }

    pub(super) fn task(&mut self, progress: &Progress<'_>) {
        Task::update(&mut self.task, progress);
    }

    pub(super) fn overall(&mut self, progress: &Progress<'_>) {
        Task::update(&mut self.overall, progress);
        self.task = None;
    }

    pub(super) fn begin(&mut self, beginning: &Beginning<'_>) {
        let Beginning { space, objectives, goal, budget, elapsed, steps, evaluations, simulated_seconds, stage } =
            *beginning;
        let now = Instant::now();
        self.task = None;
        self.search = Some(Search {
            space: Arc::clone(space),
            objectives: objectives.clone(),
            goal,
            limits: Limits {
                evaluations: budget.evaluations,
                real: budget.real_time(),
                simulated: budget.simulated_seconds(),
            },
            began: now,
            before: elapsed,
            marks: [Mark { at: now, evaluations, simulated_seconds }].into(),
            evaluations,
            failed: 0,
            simulated_seconds,
            steps,
            stage: stage.map(|stage| stage.stage.into()),
            stages: None,
            generation: None,
            region: stage.map_or_else(|| Region::complete(space.network()), |stage| stage.region.clone()),
            stage_began: None,
            stages_took: Vec::new(),
            best: None,
            front: None,
            population: VecDeque::new(),
            doing: None,
            is_closing: false,
        });
    }

    pub(super) fn doing(&mut self, doing: Doing<'_>) {
        self.task = None;
        if let Some(search) = &mut self.search {
            search.doing(doing);
        }
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        if let Some(search) = &mut self.search {
            search.step(step);
        }
    }

    /// The rows, none wider than the terminal.
    pub(super) fn rows(&self, width: usize, now: Instant) -> Vec<String> {
        let sheet = Sheet::of(width);
        let mut rows = Vec::new();
        if let Some(overall) = &self.overall {
            rows.push(sheet.row(&overall.name, &overall.parts(&sheet, now)));
        }
        if let Some(search) = &self.search {
            search.rows(&sheet, now, &mut rows);
        }
        if let Some(task) = self.task.as_ref().filter(|task| task.done < task.total) {
            rows.push(sheet.row(&task.name, &task.parts(&sheet, now)));
        }
        if !rows.is_empty() && self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            rows.push(sheet.row("stopping", &["Ctrl-C once more does not wait".to_owned()]));
        }
        rows
    }
}

impl Task {
    fn update(task: &mut Option<Task>, progress: &Progress<'_>) {
        let Progress { task: name, done, total, note } = *progress;
        let goes_on = task.take().filter(|task| task.name == name && task.done <= done);
        let began = goes_on.as_ref().map_or_else(|| (Instant::now(), done), |task| task.began);
        *task = Some(Task { name: name.to_owned(), done, total, note: note.to_owned(), began });
    }

    fn parts(&self, sheet: &Sheet, now: Instant) -> Vec<String> {
        let Task { done, total, .. } = *self;
        let bar = sheet.bar(done as f64 / total.max(1) as f64);
        let mut parts = vec![format!("{bar}{done} of {total}")];
        let (began, from) = self.began;
        let passed = now.saturating_duration_since(began);
        if done > from && passed >= WORTH_A_RATE {
            let left = passed.as_secs_f64() * total.saturating_sub(done) as f64 / (done - from) as f64;
            parts.push(format!("{} left", clock(left)));
        }
        parts.extend((!self.note.is_empty()).then(|| self.note.clone()));
        parts
    }
}

impl Search {
    fn doing(&mut self, doing: Doing<'_>) {
        let now = Instant::now();
        self.doing = match doing {
            Doing::Choosing => Some(("choosing".to_owned(), now)),
            Doing::Evaluating(networks) => {
                let plural = if networks == 1 { "" } else { "s" };
                Some((format!("evaluating {networks} network{plural}"), now))
            }
            Doing::Closing(what) => {
                self.is_closing = true;
                Some((what.to_owned(), now))
            }
            Doing::Training(plan) => {
                if self.stage != Some(plan.stage.into()) {
                    self.stages_took.extend(self.stage_began.map(|began| now - began));
                    self.stage_began = Some(now);
                }
                self.stage = Some(plan.stage.into());
                self.stages = number(&plan.notes, "stages");
                self.generation = None;
                self.region.clone_from(&plan.region);
                let plural = if plan.epochs == 1.0 { "" } else { "s" };
                Some((format!("training {} epoch{plural}", plan.epochs), now))
            }
        };
    }

    fn step(&mut self, step: &Step<'_>) {
        self.evaluations = step.evaluations;
        self.failed = step.failed;
        self.simulated_seconds = step.simulated_seconds.unwrap_or(0.0);
        self.steps = step.number + 1;
        self.generation = number(step.notes, "generation");
        self.stage = number(step.notes, "stage").or(self.stage);
        self.front = step.front;
        match step.best {
            Some((genome, values)) if self.best.as_ref().is_none_or(|(best, was)| best != genome || was != values) => {
                self.best = Some((genome.clone(), values.to_vec()));
            }
            Some(_) => {}
            None => self.best = None,
        }
        self.population.extend(step.values);
        let kept = if self.generation.is_some() { step.values.len() } else { step.values.len().max(RECENT) };
        self.population.drain(..self.population.len().saturating_sub(kept));
        self.mark(Instant::now());
    }

    /// Remembers how far it is now, and forgets what no rate is counted from any more.
    fn mark(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if self.marks.back().is_none_or(|last| now.saturating_duration_since(last.at) * MARKS > passed) {
            let (evaluations, simulated_seconds) = (self.evaluations, self.simulated_seconds);
            self.marks.push_back(Mark { at: now, evaluations, simulated_seconds });
        }
        while self.marks.get(1).is_some_and(|next| now.saturating_duration_since(next.at) * 2 > passed) {
            self.marks.pop_front();
        }
    }

    /// What passed since rates are counted, and what was done.
    fn lately(&self, now: Instant) -> Option<(f64, f64, f64)> {
        let mark = self.marks.front()?;
        let passed = now.saturating_duration_since(mark.at);
        let evaluations = self.evaluations.saturating_sub(mark.evaluations) as f64;
        let simulated = self.simulated_seconds - mark.simulated_seconds;
        (passed >= WORTH_A_RATE).then_some((passed.as_secs_f64(), evaluations, simulated))
    }

    fn rows(&self, sheet: &Sheet, now: Instant, rows: &mut Vec<String>) {
        let network = self.space.network();
        rows.push(sheet.row("search", &self.extent(sheet, now)));
        rows.push(sheet.row("time", &self.time(now)));
        rows.push(sheet.row("stage", &self.place(now)));
        rows.push(sheet.row("region", &self.region(network)));
        let best = self.best.as_ref();
        rows.push(sheet.row("best", &best.map_or(vec!["no network yet".to_owned()], |best| self.best(best))));
        if let Some((genome, _)) = best {
            rows.push(sheet.row("", &[show::in_short(genome, network)]));
        }
        if !self.population.is_empty() {
            rows.push(sheet.row("population", &self.population()));
        }
    }

    /// How much of what ends it is used up, and how fast.
    fn extent(&self, sheet: &Sheet, now: Instant) -> Vec<String> {
        let Limits { evaluations, real, simulated } = self.limits;
        let share = [
            evaluations.map(|limit| self.evaluations as f64 / limit.max(1) as f64),
            real.map(|limit| self.elapsed(now).as_secs_f64() / limit.as_secs_f64()),
            simulated.map(|limit| self.simulated_seconds / limit),
        ];
        let bar = share.into_iter().flatten().reduce(f64::max).map_or(String::new(), |share| sheet.bar(share));
        let of = evaluations.map_or(String::new(), |limit| format!(" of {limit}"));
        let mut parts = vec![format!("{bar}{}{of} evaluations", self.evaluations)];
        if let Some((passed, done, _)) = self.lately(now).filter(|(_, done, _)| *done > 0.0) {
            parts.push(rate(done / passed));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        parts
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.began)
    }

    fn time(&self, now: Instant) -> Vec<String> {
        let mut parts = vec![clock(self.elapsed(now).as_secs_f64())];
        parts.extend(self.left(now));
        if self.limits.simulated.is_some() || self.simulated_seconds > 0.0 {
            parts.push(format!("{} simulated", clock(self.simulated_seconds)));
        }
        parts
    }

    /// What is left, by the budget that is used up first or by the stages that are to come.
    fn left(&self, now: Instant) -> Option<String> {
        if self.is_closing {
            return None;
        }
        let at_rate = |left: f64, passed: f64, done: f64| (done > 0.0).then(|| left.max(0.0) * passed / done);
        let lately = self.lately(now);
        let budgets = [
            self.limits.real.map(|limit| limit.saturating_sub(self.elapsed(now)).as_secs_f64()),
            lately
                .zip(self.limits.evaluations)
                .and_then(|((passed, done, _), limit)| at_rate(limit as f64 - self.evaluations as f64, passed, done)),
            lately
                .zip(self.limits.simulated)
                .and_then(|((passed, _, done), limit)| at_rate(limit - self.simulated_seconds, passed, done)),
        ];
        let at_most = budgets.into_iter().flatten().reduce(f64::min);
        match (at_most, self.stages_left(now)) {
            (Some(at_most), about) if about.is_none_or(|about| at_most <= about) => {
                Some(format!("at most {} left", clock(at_most)))
            }
            (_, about) => about.map(|about| format!("about {} left", clock(about))),
        }
    }

    /// As if each stage took as long as those that are over, or as the one under way if it is longer;
    /// `None` where that is over any moment.
    fn stages_left(&self, now: Instant) -> Option<f64> {
        let to_come = self.stages?.checked_sub(self.stage?)?;
        let took: Duration = self.stages_took.iter().sum();
        let mean = took.as_secs_f64() / Some(self.stages_took.len()).filter(|count| *count > 0)? as f64;
        let in_stage = now.saturating_duration_since(self.stage_began?).as_secs_f64();
        let left = (mean - in_stage).max(0.0) + mean.max(in_stage) * to_come.saturating_sub(1) as f64;
        Some(left).filter(|left| *left >= 1.0)
    }

    fn place(&self, now: Instant) -> Vec<String> {
        let mut parts = Vec::new();
        if let Some(stage) = self.stage {
            let of = self.stages.map_or(String::new(), |stages| format!(" of {stages}"));
            parts.push(format!("{}{of}", stage.saturating_add(1)));
        }
        match self.generation {
            Some(generation) => parts.push(format!("generation {generation}")),
            None => parts.push(format!("step {}", self.steps + 1)),
        }
        let doing = self.doing.as_ref().filter(|(_, since)| now.saturating_duration_since(*since) >= WORTH_A_WORD);
        parts.extend(doing.map(|(doing, _)| doing.clone()));
        parts
    }

    /// How many networks are left, and how many operations in each layer.
    fn region(&self, network: &Network) -> Vec<String> {
        let whole = Region::complete(network).size();
        let size = self.region.size();
        let count = if size < whole {
            format!("{} of {} networks", round_count(size), round_count(whole))
        } else {
            format!("all {} networks", round_count(whole))
        };
        let mut layers = "operations".to_owned();
        for (number, (_, slots)) in show::groups(network).into_iter().enumerate() {
            layers += if number > 0 { " |" } else { "" };
            for slot in slots {
                let allowed = self.region.allowed(slot);
                let is_unborn = allowed.iter().all(|choice| Some(*choice) == network.absent(slot));
                // Writing to a string cannot fail.
                let _ = if is_unborn { write!(layers, " ·") } else { write!(layers, " {}", allowed.len()) };
            }
        }
        vec![count, layers]
    }

    fn best(&self, (_, values): &(Genome, Vec<f64>)) -> Vec<String> {
        let told = |index: usize| {
            let (name, value) = (&self.objectives.0[index].name, values[index]);
            if COMPUTED.contains(&name.as_str()) {
                format!("{name} {:.3} million", value / 1e6)
            } else {
                format!("{name} {}", short(value))
            }
        };
        let others = (0..values.len()).filter(|index| *index != self.goal.0);
        let mut parts: Vec<String> = [self.goal.0].into_iter().chain(others).map(told).collect();
        if let Some((networks, hypervolume)) = self.front {
            parts.push(format!("front of {networks}, hypervolume {}", short(hypervolume)));
        }
        if self.objectives.violation(values) > 0.0 {
            parts.insert(1, "outside the limits".to_owned());
        }
        parts
    }

    fn population(&self) -> Vec<String> {
        let values = self.population.iter().copied();
        let (count, (index, goal)) = (self.population.len(), self.goal);
        let mean = values.clone().sum::<f64>() / count as f64;
        let best = values.reduce(|best, value| if goal.better(value, best) { value } else { best }).unwrap_or(mean);
        let name = &self.objectives.0[index].name;
        vec![format!("latest {count}"), format!("mean {name} {}", short(mean)), format!("best {}", short(best))]
    }
}
