//! The search loop: asks the strategy, does what it says, keeps the books.
//!
//! It knows nothing of evolution or tensors. A region, a genome or a number that comes from a
//! component is checked here (`search/evaluation.rs`) before anybody else sees it.

mod evaluation;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use pleach_sdk::{ErrorKind, Genome, Goal, Region, Step, TrainPlan, TrainReport};
use serde_json::{Value, json};

use crate::{
    assemble::Assembly,
    books::Books,
    config::Config,
    error::{Error, Result},
    executor::Loss,
    host::Process,
    pareto::Front,
    progress::{Beginning, Doing},
    result::{DrawnFrom, Ending, Found, ParetoFront, RandomNetworks, SearchResult, Stage},
    run::{self, RunDirectory},
    winner,
};

/// How often a checkpoint is written while only evaluations happen, if the run file does not say.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Between two checkpoints passes so many times the time that one takes: of a large SuperNet or
/// of a million measurements they would be most of the work.
const WORK_PER_CHECKPOINT: u32 = 20;

/// The file of a checkpoint with what the host remembers.
const HOST_STATE: &str = "host.json";

/// How many of the best networks a result names.
const ELITES: usize = 5;

/// Somebody who looks on while a search runs.
pub trait Observer {
    /// Called after each training with the plan, the estimator's report, and everything that the
    /// search works with.
    ///
    /// # Errors
    ///
    /// End the search.
    fn trained(&mut self, plan: &TrainPlan, report: &TrainReport, assembly: &mut Assembly) -> Result<()>;

    /// Called for each network that was measured, in the order in which they were.
    fn evaluated(&mut self, network: &Evaluated<'_>) {
        let _ = network;
    }

    /// What it has seen, to be kept in checkpoints.
    fn seen(&self) -> Value;

    /// Takes up what [`Observer::seen`] gave.
    ///
    /// # Errors
    ///
    /// Something that it does not know.
    fn has_seen(&mut self, seen: Value) -> serde_json::Result<()>;
}

/// A network that was measured in a search.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated<'a> {
    /// Counts distinct networks from 1.
    pub number: u64,
    /// Where a simulated clock stands.
    pub at_simulated_seconds: Option<f64>,
    /// The network.
    pub genome: &'a Genome,
    /// One number per objective of the run, or the reason why there are none.
    pub outcome: std::result::Result<&'a [f64], &'a str>,
}

/// A search under way.
pub struct Search<'a> {
    config: &'a Config,
    assembly: Assembly,
    /// Where it is written down.
    run: Option<&'a mut RunDirectory>,
    /// When it began, where it is not written down.
    since: Instant,
    /// Whether each step is told to who looks on at the terminal.
    is_told: bool,
    process: Arc<Process>,
    observer: Option<&'a mut dyn Observer>,
    /// The objective that names the winner.
    goal: (usize, Goal),
    books: Books,
    /// The trade-offs so far, where several objectives have a direction.
    front: Option<Front>,
    /// When the next checkpoint is due.
    next_checkpoint: Instant,
    /// Candidates since the last that was new.
    known_in_a_row: usize,
}

enum Turn {
    Continue,
    End(Ending),
}

impl<'a> Search<'a> {
    /// A search that has not begun.
    pub fn new(config: &'a Config, assembly: Assembly, run: &'a mut RunDirectory, process: Arc<Process>) -> Self {
        let is_told = !process.view().is_silent();
        assembly.workshop.work_in(&run.path().join("workers"));
        Search { run: Some(run), is_told, ..Search::unrecorded(config, assembly, process) }
    }

    /// A search that has not begun and leaves nothing behind but its result: it has no journal and
    /// no checkpoints, and tells of no step.
    pub fn unrecorded(config: &'a Config, assembly: Assembly, process: Arc<Process>) -> Self {
        let goal = assembly.objectives.goals().next().expect("a configuration has an objective with a direction");
        let front = (assembly.objectives.goals().count() > 1).then(Front::default);
        let now = Instant::now();
        Search {
            config,
            assembly,
            run: None,
            since: now,
            is_told: false,
            process,
            observer: None,
            goal,
            books: Books::default(),
            front,
            next_checkpoint: now,
            known_in_a_row: 0,
        }
    }

    /// The same without a word on the terminal.
    pub fn untold(self) -> Self {
        Search { is_told: false, ..self }
    }

    /// The same with somebody who looks on.
    pub fn observed_by(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same, as it was when a checkpoint was written; who looks on must be there already.
    ///
    /// # Errors
    ///
    /// A component that cannot take up its state, or a state of another version.
    pub fn from_checkpoint(mut self, folder: &Path) -> Result<Self> {
        let path = folder.join(HOST_STATE);
        let unreadable = |error: &dyn std::fmt::Display| Error::RunDirectory {
            path: path.clone(),
            message: format!("failed to read what the search remembers: {error}"),
        };
        let text = std::fs::read(&path).map_err(|error| unreadable(&error))?;
        self.books = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
        let objectives = &self.assembly.objectives;
        self.front = self.front.map(|_| Front::of(self.books.current.with_values(), objectives));
        if let Some(observer) = &mut self.observer {
            observer.has_seen(self.books.observed.take()).map_err(|error| unreadable(&error))?;
        }
        self.assembly.strategy.load(&folder.join("strategy")).map_err(|error| self.with_folder(error.into()))?;
        self.assembly.estimator.load(&folder.join("estimator")).map_err(|error| self.with_folder(error.into()))?;
        Ok(self)
    }

    /// Searches to the end.
    ///
    /// # Errors
    ///
    /// A component that failed, a run directory that cannot be written, or a request to stop;
    /// the last checkpoint holds the state before the step that was under way.
    pub fn run(mut self) -> Result<SearchResult> {
        let left = self.config.budget.real_time().map(|limit| limit.saturating_sub(self.elapsed()));
        self.process.set_deadline(left.map(|left| Instant::now() + left));
        self.tell_beginning();
        let ended = match self.books.ended {
            Some(ended) => ended,
            None => self.steps()?,
        };
        // Measuring random networks belongs to the report, not to the budget.
        self.process.set_deadline(None);
        let elites = self.elites().map_err(|error| self.with_folder(error))?;
        let random_networks = self.random_networks().map_err(|error| self.with_folder(error))?;
        let lost = self.take_losses();
        let result = self.result(ended, elites, random_networks);
        if let Some(run) = &mut self.run {
            let event = json!({ "ended": ended, "evaluations": result.evaluations });
            run.event("finished", with_losses(event, &lost))?;
            run.write_json("result.json", &result)?;
        }
        match (&result.winner, self.books.first_failure()) {
            (None, Some(reason)) => {
                let error = pleach_sdk::Error::failed(format!("no candidate could be evaluated; the first: {reason}"));
                Err(self.with_folder(error.from_origin(|| format!("{} evaluate", self.config.estimator.name)).into()))
            }
            _ => Ok(result),
        }
    }

    fn tell_beginning(&self) {
        if self.is_told {
            self.process.view().begin(&Beginning {
                space: &self.assembly.space,
                objectives: &self.assembly.objectives,
                goal: self.goal,
                budget: &self.config.budget,
                elapsed: self.elapsed(),
                steps: self.books.step,
                evaluations: self.books.evaluations,
                simulated_seconds: self.books.simulated_seconds,
                stage: self.books.stages.last(),
            });
        }
    }

    fn tell(&self, doing: Doing<'_>) {
        if self.is_told {
            self.process.view().doing(doing);
        }
    }

    /// Step after step until one ends the search.
    fn steps(&mut self) -> Result<Ending> {
        if self.books.step == 0 {
            self.checkpoint()?;
        }
        loop {
            match self.turn() {
                Ok(Turn::Continue) => {}
                // No checkpoint: the step that a budget ends is taken back, so that a larger
                // budget finds what it would have found from the start.
                Ok(Turn::End(ended @ (Ending::Evaluations | Ending::WallClock))) => return Ok(ended),
                Ok(Turn::End(ended)) => {
                    self.books.ended = Some(ended);
                    self.checkpoint()?;
                    return Ok(ended);
                }
                Err(error) => {
                    let error = self.with_folder(error);
                    let lost = self.take_losses();
                    // What ended the search is worth more than that it cannot be written down.
                    if let Some(run) = &mut self.run
                        && let Err(unwritten) = run.event("stopped", with_losses(error.to_json(), &lost))
                    {
                        tracing::warn!("{unwritten}");
                    }
                    return Err(error);
                }
            }
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.run.as_ref().map(|run| run.path().to_owned())
    }

    fn with_folder(&self, error: Error) -> Error {
        match error {
            Error::Component { error, .. } if error.kind == ErrorKind::Cancelled => {
                Error::Interrupted { folder: self.folder().unwrap_or_default() }
            }
            Error::Component { error, .. } => Error::Component { error, folder: self.folder() },
            other => other,
        }
    }

    /// How long it was worked on.
    fn elapsed(&self) -> Duration {
        self.run.as_ref().map_or_else(|| self.since.elapsed(), |run| run.elapsed())
    }

    /// One step.
    fn turn(&mut self) -> Result<Turn> {
        if self.process.is_interrupted() {
            self.checkpoint()?;
            return Err(Error::Interrupted { folder: self.folder().unwrap_or_default() });
        }
        if self.process.is_past_deadline() {
            self.checkpoint()?;
            return Ok(Turn::End(Ending::WallClock));
        }
        self.tell(Doing::Choosing);
        let seed = self.assembly.seed.derive("strategy", self.books.step);
        let strategy = &mut self.assembly.strategy;
        let step = timed(&mut self.books.times.strategy, || strategy.next(seed))?;
        let is_training = matches!(step, Step::Train(_));
        let turn = match step {
            Step::Train(plan) => self.train(&plan),
            Step::Evaluate(batch) => self.evaluate(batch),
            Step::Finished(notes) => {
                self.books.final_region =
                    notes.get("region").cloned().and_then(|region| serde_json::from_value(region).ok());
                if let Some(run) = &mut self.run {
                    run.event("strategy-finished", json!({ "notes": notes }))?;
                }
                return Ok(Turn::End(Ending::Finished));
            }
        };
        let turn = match turn {
            // The clock ran out inside a component, which stopped as asked.
            Err(Error::Component { error, .. })
                if error.kind == ErrorKind::Cancelled && !self.process.is_interrupted() =>
            {
                return Ok(Turn::End(Ending::WallClock));
            }
            other => other?,
        };
        if matches!(turn, Turn::End(_)) {
            return Ok(turn);
        }
        self.books.step += 1;
        if is_training || Instant::now() >= self.next_checkpoint {
            self.checkpoint()?;
        }
        Ok(turn)
    }

    fn train(&mut self, plan: &TrainPlan) -> Result<Turn> {
        let network = self.assembly.space.network();
        plan.region
            .validate(network)
            .map_err(|error| error.from_origin(|| format!("{} next", self.config.strategy.name)))?;
        self.tell(Doing::Training(plan));
        let seed = self.assembly.seed.derive("train", self.books.step);
        let before = self.books.times.training;
        let estimator = &mut self.assembly.estimator;
        let report = timed(&mut self.books.times.training, || estimator.train(plan, seed))?;
        let seconds = self.books.times.training - before;
        if report.weights_changed {
            self.books.weights_changed();
            self.front = self.front.take().map(|_| Front::default());
        }
        let lost = self.take_losses();
        if let Some(run) = &mut self.run {
            let event = json!({
                "step": self.books.step, "stage": plan.stage, "epochs": plan.epochs, "region": plan.region,
                "notes": plan.notes, "report": report, "seconds": seconds,
            });
            run.event("trained", with_losses(event, &lost))?;
        }
        if self.is_told {
            self.process.view().trained(plan, &report, seconds);
        }
        if let Some(observer) = &mut self.observer {
            let assembly = &mut self.assembly;
            timed(&mut self.books.times.ranking, || observer.trained(plan, &report, assembly))?;
        }
        self.books.stages.push(Stage {
            stage: plan.stage,
            region: plan.region.clone(),
            networks: plan.region.size(),
            epochs: plan.epochs,
            metrics: report.metrics,
            evaluations: 0,
            best: None,
        });
        Ok(Turn::Continue)
    }

    /// The workers that were lost since this was asked last, and what they cost.
    fn take_losses(&mut self) -> Vec<Loss> {
        let losses = self.assembly.workshop.take_losses();
        self.books.times.workers_lost += losses.len() as u64;
        self.books.times.lost += losses.iter().map(|loss| loss.seconds).sum::<f64>();
        losses
    }

    fn checkpoint(&mut self) -> Result<()> {
        let started = Instant::now();
        let Some(run) = &mut self.run else { return Ok(()) };
        if let Some(observer) = &self.observer {
            self.books.observed = observer.seen();
        }
        let Assembly { strategy, estimator, .. } = &self.assembly;
        let books = &self.books;
        run.checkpoint(books.step, |folder| {
            strategy.save(&run::folder_in(folder, "strategy")?)?;
            estimator.save(&run::folder_in(folder, "estimator")?)?;
            run::write_state(&folder.join(HOST_STATE), books)
        })?;
        let cost = started.elapsed();
        self.books.times.checkpoints += cost.as_secs_f64();
        let every = self.config.checkpoint_every().unwrap_or_else(|| CHECKPOINT_EVERY.max(cost * WORK_PER_CHECKPOINT));
        self.next_checkpoint = Instant::now() + every;
        Ok(())
    }

    /// Random networks measured with the weights as they are: what the search is worth.
    fn random_networks(&mut self) -> Result<Vec<RandomNetworks>> {
        let started = Instant::now();
        let network = self.assembly.space.network();
        let whole = (DrawnFrom::WholeSpace, Region::complete(network));
        let last = self.books.stages.last().map(|stage| (DrawnFrom::LastRegion, stage.region.clone()));
        let mut comparisons = Vec::new();
        for (drawn_from, region) in last.into_iter().chain([whole]) {
            if self.config.random_networks == 0 {
                break;
            }
            self.tell(Doing::Closing("measuring random networks"));
            let role = match drawn_from {
                DrawnFrom::LastRegion => "random networks of the last region",
                DrawnFrom::WholeSpace => "random networks of the whole space",
            };
            let genomes =
                self.assembly.draw(&region, self.config.random_networks, self.assembly.seed.derive(role, 0))?;
            let seed = self.assembly.seed.derive(role, 1);
            let outcomes = self.assembly.estimator.evaluate(&genomes, seed)?;
            let (index, goal) = self.goal;
            let values: Vec<f64> = genomes
                .iter()
                .zip(outcomes)
                .filter_map(|(genome, outcome)| Some(self.assembly.values(genome, &outcome.ok()?).ok()?[index]))
                .collect();
            let best = values.iter().copied().reduce(|best, value| if goal.better(value, best) { value } else { best });
            let objective = &self.assembly.objectives.0[index].name;
            comparisons.extend(RandomNetworks::new(drawn_from, objective, &values, best.unwrap_or(f64::NAN)));
        }
        self.books.times.random_networks = started.elapsed().as_secs_f64();
        Ok(comparisons)
    }

    /// The best networks, the winner first.
    fn elites(&mut self) -> Result<Vec<Found>> {
        self.tell(Doing::Closing("naming the winner"));
        let network = self.assembly.space.network();
        let objectives = &self.assembly.objectives;
        let among = self.config.winner.as_ref().map_or(ELITES, |winner| winner.among as usize);
        let ranked = self.books.last_measurements().ranked(objectives, self.goal, among);
        let found = |(genome, values): (&Genome, &[f64])| Found::new(genome, values, network, objectives);
        let best: Vec<Found> = ranked.into_iter().map(found).collect();
        let (Some(winner), Some(judge)) = (&self.config.winner, &mut self.assembly.judge) else { return Ok(best) };
        if self.is_told {
            self.process.view().line(&format!("the winner among {} is named by {}", best.len(), winner.by.name));
        }
        let seed = self.assembly.seed.derive("name the winner", 0);
        timed(&mut self.books.times.naming, || winner::judged(best, judge, self.goal.1, seed))
    }

    /// The trade-offs among the networks that may win.
    fn described_front(&self) -> Option<ParetoFront> {
        self.front.as_ref()?;
        let reference = self.books.reference.as_ref()?;
        let objectives = &self.assembly.objectives;
        let front = Front::of(self.books.last_measurements().with_values(), objectives);
        Some(front.described(reference, self.assembly.space.network(), objectives))
    }

    /// Where the simulated clock stands; a training that its limit cut off went on until then.
    fn simulated_seconds(&self, ended: Ending) -> Option<f64> {
        self.assembly.seconds?;
        let limit = self.config.budget.simulated_seconds().filter(|_| ended == Ending::WallClock);
        Some(limit.unwrap_or(self.books.simulated_seconds))
    }

    fn result(&self, ended: Ending, elites: Vec<Found>, random_networks: Vec<RandomNetworks>) -> SearchResult {
        let mut times = self.books.times;
        times.close(self.elapsed());
        SearchResult {
            format: run::RUN_FORMAT,
            name: self.config.name.clone(),
            seed: self.config.seed,
            ended,
            winner: elites.first().cloned(),
            elites,
            front: self.described_front(),
            random_networks,
            evaluations: self.books.evaluations,
            known: self.books.known,
            failed: self.books.failed,
            simulated_seconds: self.simulated_seconds(ended),
            final_region: self
                .books
                .final_region
                .clone()
                .or_else(|| self.books.stages.last().map(|stage| stage.region.clone())),
            stages: self.books.stages.clone(),
            times,
        }
    }
}

/// An event with the workers that were lost since the one before, if any were.
fn with_losses(mut event: Value, losses: &[Loss]) -> Value {
    if !losses.is_empty() {
        event["lost"] = json!(losses);
    }
    event
}

/// Adds the time of a call into a component to an account.
fn timed<T>(account: &mut f64, call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let answer = call();
    *account += started.elapsed().as_secs_f64();
    answer
}

/// A number that can be read: `0.8125`, `2.2012e8`.
pub fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) { format!("{value:.4}") } else { format!("{value:.4e}") }
}

/// A count of networks that can be read: `6561`, `3.2e9`.
pub fn round_count(count: f64) -> String {
    if count < 1e6 { format!("{count}") } else { format!("{count:.1e}") }
}

impl From<pleach_sdk::Error> for Error {
    fn from(error: pleach_sdk::Error) -> Self {
        Error::Component { error, folder: None }
    }
}
