//! The search loop: asks the strategy, does what it says, keeps the books.
//!
//! It knows nothing of evolution or tensors. A region, a genome or a number that comes from a
//! component is checked here before anybody else sees it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pleach_sdk::{Batch, Candidate, Cost, ErrorKind, Evaluation, Genome, Goal, Region, Step, TrainPlan};
use serde_json::{Value, json};

use crate::{
    assemble::Assembly,
    books::{Books, Measured, Outcome},
    config::Config,
    error::{Error, Result},
    host::Process,
    progress::spoken,
    result::{DrawnFrom, Ending, Found, RandomNetworks, SearchResult, Stage},
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
    /// Called after each training with the plan, the images that went through a network and back,
    /// and everything that the search works with.
    ///
    /// # Errors
    ///
    /// End the search.
    fn trained(&mut self, plan: &TrainPlan, images: u64, assembly: &mut Assembly) -> Result<()>;

    /// What it has seen, to be kept in checkpoints.
    fn seen(&self) -> Value;

    /// Takes up what [`Observer::seen`] gave.
    ///
    /// # Errors
    ///
    /// Something that it does not know.
    fn has_seen(&mut self, seen: Value) -> serde_json::Result<()>;
}

/// A search under way.
pub struct Search<'a> {
    config: &'a Config,
    assembly: Assembly,
    run: &'a mut RunDirectory,
    process: Arc<Process>,
    observer: Option<&'a mut dyn Observer>,
    /// The objective that names the winner.
    goal: (usize, Goal),
    books: Books,
    /// When the next checkpoint is due.
    next_checkpoint: Instant,
}

enum Turn {
    Continue,
    End(Ending),
}

impl<'a> Search<'a> {
    /// A search that has not begun.
    pub fn new(config: &'a Config, assembly: Assembly, run: &'a mut RunDirectory, process: Arc<Process>) -> Self {
        let goal = assembly.objectives.goals().next().expect("a configuration has an objective with a direction");
        let books = Books::default();
        Search { config, assembly, run, process, observer: None, goal, books, next_checkpoint: Instant::now() }
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
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        self.books = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
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
        let wall_clock = self.config.budget.wall_clock();
        let left = wall_clock.map(|limit| limit.saturating_sub(self.run.elapsed()));
        self.process.set_deadline(left.map(|left| Instant::now() + left));
        let ended = match self.books.ended {
            Some(ended) => ended,
            None => self.steps()?,
        };
        // Measuring random networks belongs to the report, not to the budget.
        self.process.set_deadline(None);
        let elites = self.elites().map_err(|error| self.with_folder(error))?;
        let random_networks = self.random_networks().map_err(|error| self.with_folder(error))?;
        let result = self.result(ended, elites, random_networks);
        self.run.event("finished", json!({ "ended": ended, "evaluations": result.evaluations }))?;
        self.run.write_json("result.json", &result)?;
        match (&result.winner, self.books.first_failure()) {
            (None, Some(reason)) => {
                let error = pleach_sdk::Error::failed(format!("no candidate could be evaluated; the first: {reason}"));
                Err(self.with_folder(error.from_origin(|| format!("{} evaluate", self.config.estimator.name)).into()))
            }
            _ => Ok(result),
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
                    // What ended the search is worth more than that it cannot be written down.
                    if let Err(unwritten) = self.run.event("stopped", error.to_json()) {
                        tracing::warn!("{unwritten}");
                    }
                    return Err(error);
                }
            }
        }
    }

    fn with_folder(&self, error: Error) -> Error {
        let folder = self.run.path().to_owned();
        match error {
            Error::Component { error, .. } if error.kind == ErrorKind::Cancelled => Error::Interrupted { folder },
            Error::Component { error, .. } => Error::Component { error, folder: Some(folder) },
            other => other,
        }
    }

    /// One step.
    fn turn(&mut self) -> Result<Turn> {
        if self.process.is_interrupted() {
            self.checkpoint()?;
            return Err(Error::Interrupted { folder: self.run.path().to_owned() });
        }
        if self.process.is_past_deadline() {
            self.checkpoint()?;
            return Ok(Turn::End(Ending::WallClock));
        }
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
                self.run.event("strategy-finished", json!({ "notes": notes }))?;
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
        let seed = self.assembly.seed.derive("train", self.books.step);
        let before = self.books.times.training;
        let estimator = &mut self.assembly.estimator;
        let report = timed(&mut self.books.times.training, || estimator.train(plan, seed))?;
        let seconds = self.books.times.training - before;
        if report.weights_changed {
            self.books.weights_changed();
        }
        self.run.event(
            "trained",
            json!({
                "step": self.books.step, "stage": plan.stage, "epochs": plan.epochs, "region": plan.region,
                "notes": plan.notes, "report": report, "seconds": seconds,
            }),
        )?;
        let loss = report.metrics.get("loss").map_or(String::new(), |loss| format!(", loss {loss:.3}"));
        self.process.view().line(&format!(
            "stage {:<2} trained   {} epochs over {} networks{loss} in {}",
            plan.stage + 1,
            plan.epochs,
            round_count(plan.region.size()),
            spoken(Duration::from_secs_f64(seconds)),
        ));
        self.books.stages.push(Stage {
            stage: plan.stage,
            region: plan.region.clone(),
            networks: plan.region.size(),
            epochs: plan.epochs,
            metrics: report.metrics,
            evaluations: 0,
            best: None,
        });
        if let Some(observer) = &mut self.observer {
            let assembly = &mut self.assembly;
            timed(&mut self.books.times.ranking, || observer.trained(plan, report.images, assembly))?;
        }
        Ok(Turn::Continue)
    }

    fn evaluate(&mut self, batch: Batch) -> Result<Turn> {
        let keys = self.keys(&batch.candidates)?;
        let is_known: Vec<bool> = keys.iter().map(|key| self.books.current.get(key).is_some()).collect();
        let mut asked: Vec<(Genome, Genome)> = Vec::new();
        let mut seen = BTreeSet::new();
        for ((candidate, key), is_known) in batch.candidates.iter().zip(&keys).zip(&is_known) {
            if !is_known && seen.insert(key) {
                asked.push((key.clone(), candidate.genome.clone()));
            }
        }
        let left =
            self.config.budget.evaluations.map_or(u64::MAX, |limit| limit.saturating_sub(self.books.evaluations));
        let is_cut = asked.len() as u64 > left;
        asked.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let before = self.books.times.evaluation;
        for measured in self.measure(&asked)? {
            self.books.evaluations += 1;
            self.books.failed += u64::from(matches!(measured.outcome, Outcome::Failed(_)));
            self.books.current.add(measured);
        }
        let seconds = self.books.times.evaluation - before;
        let mut journal = Vec::new();
        let mut evaluations = Vec::new();
        for ((Candidate { genome, origin }, key), is_known) in batch.candidates.into_iter().zip(keys).zip(is_known) {
            // A candidate behind the end of the budget has no outcome.
            let Some(outcome) = self.books.current.get(&key) else { continue };
            self.books.known += u64::from(is_known);
            let mut entry = json!({ "genome": genome, "origin": origin });
            let outcome = match outcome {
                Outcome::Values(values) => {
                    entry["values"] = json!(values);
                    Ok(values.clone())
                }
                Outcome::Failed(reason) => {
                    entry["failed"] = json!(reason);
                    Err(reason.clone())
                }
            };
            if is_known {
                entry["known"] = json!(true);
            }
            journal.push(entry);
            evaluations.push(Evaluation { genome, outcome });
        }
        self.run.event(
            "evaluated",
            json!({
                "step": self.books.step, "notes": batch.notes, "objectives": self.objective_names(),
                "candidates": journal, "seconds": seconds,
            }),
        )?;
        self.report_batch(&batch.notes, asked.len(), seconds);
        self.check_failures()?;
        if is_cut {
            return Ok(Turn::End(Ending::Evaluations));
        }
        let strategy = &mut self.assembly.strategy;
        timed(&mut self.books.times.strategy, || strategy.tell(&evaluations))?;
        Ok(Turn::Continue)
    }

    /// Failed candidates are data, but not any number of them.
    fn check_failures(&self) -> Result<()> {
        let failed = self.books.failed;
        match self.config.budget.failures {
            Some(limit) if failed > limit => {
                let reason = self.books.first_failure().unwrap_or("no reason given");
                let error = pleach_sdk::Error::failed(format!(
                    "{failed} networks could not be evaluated, budget.failures allows {limit}; the first: {reason}"
                ));
                Err(error.from_origin(|| format!("{} evaluate", self.config.estimator.name)).into())
            }
            _ => Ok(()),
        }
    }

    /// The key of each candidate; a genome that is not of the space is the strategy's fault.
    fn keys(&self, candidates: &[Candidate]) -> Result<Vec<Genome>> {
        let space = &self.assembly.space;
        let key = |candidate: &Candidate| {
            space
                .network()
                .validate(&candidate.genome)
                .map_err(|error| error.from_origin(|| format!("{} next", self.config.strategy.name)))?;
            space.canonical(&candidate.genome)
        };
        Ok(candidates.iter().map(key).collect::<pleach_sdk::Result<_>>()?)
    }

    /// Evaluates distinct networks and completes their numbers to the run's objectives.
    fn measure(&mut self, asked: &[(Genome, Genome)]) -> Result<Vec<Measured>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let seed = self.assembly.seed.derive("evaluate", self.books.step);
        let genomes: Vec<Genome> = asked.iter().map(|(_, genome)| genome.clone()).collect();
        let estimator = &mut self.assembly.estimator;
        let outcomes = timed(&mut self.books.times.evaluation, || estimator.evaluate(&genomes, seed))?;
        let complete = |((key, genome), outcome): (&(Genome, Genome), pleach_sdk::Outcome)| Measured {
            key: key.clone(),
            genome: genome.clone(),
            outcome: match outcome.and_then(|numbers| self.values(genome, &numbers)) {
                Ok(values) => Outcome::Values(values),
                Err(reason) => Outcome::Failed(reason),
            },
        };
        Ok(asked.iter().zip(outcomes).map(complete).collect())
    }

    /// One number per objective of the run, from the estimator's and from the description.
    fn values(&self, genome: &Genome, numbers: &[f64]) -> std::result::Result<Vec<f64>, String> {
        let cost: Cost = self.assembly.space.network().cost(genome);
        let value = |objective: &pleach_sdk::Objective| {
            let measured = || {
                let index = self.assembly.measured.iter().position(|one| one.name == objective.name)?;
                numbers.get(index).copied()
            };
            match measured().or_else(|| objective.computed(cost)) {
                Some(value) if value.is_finite() => Ok(value),
                Some(value) => Err(format!("the estimator gave {} = {value}", objective.name)),
                None => Err(format!("nobody measured {}", objective.name)),
            }
        };
        self.assembly.objectives.0.iter().map(value).collect()
    }

    fn objective_names(&self) -> Vec<&str> {
        self.assembly.objectives.0.iter().map(|objective| objective.name.as_str()).collect()
    }

    fn report_batch(&mut self, notes: &Value, asked: usize, seconds: f64) {
        let best = self.books.current.best(&self.assembly.objectives, self.goal).map(|values| values[self.goal.0]);
        let name = self.assembly.objectives.0[self.goal.0].name.clone();
        let best_text = best.map_or("no network yet".to_owned(), |best| format!("best {name} {best:.4}"));
        if let Some(stage) = self.books.stages.last_mut() {
            stage.evaluations += asked as u64;
            stage.best = best;
        }
        let number = |key: &str| notes.get(key).and_then(Value::as_u64);
        let label = match (number("stage"), number("generation")) {
            (Some(stage), Some(generation)) => format!("stage {:<2} generation {generation:<3}", stage + 1),
            _ => format!("step {:<5}", self.books.step + 1),
        };
        self.process
            .view()
            .line(&format!("{label} {asked} networks, {best_text}, in {}", spoken(Duration::from_secs_f64(seconds))));
        self.process.view().search(self.books.evaluations, self.config.budget.evaluations, &best_text);
    }

    fn checkpoint(&mut self) -> Result<()> {
        let started = Instant::now();
        if let Some(observer) = &self.observer {
            self.books.observed = observer.seen();
        }
        let Assembly { strategy, estimator, .. } = &self.assembly;
        let books = &self.books;
        self.run.checkpoint(books.step, |folder| {
            strategy.save(&run::folder_in(folder, "strategy")?)?;
            estimator.save(&run::folder_in(folder, "estimator")?)?;
            run::write_document(&folder.join(HOST_STATE), books)
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
                .filter_map(|(genome, outcome)| Some(self.values(genome, &outcome.ok()?).ok()?[index]))
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
        let network = self.assembly.space.network();
        let objectives = &self.assembly.objectives;
        let ranked = self.books.last_measurements().ranked(objectives, self.goal);
        let found = |(genome, values): (&Genome, &[f64])| Found::new(genome, values, network, objectives);
        let (Some(winner), Some(judge)) = (&self.config.winner, &mut self.assembly.judge) else {
            return Ok(ranked.into_iter().take(ELITES).map(found).collect());
        };
        let best: Vec<Found> = ranked.into_iter().take(winner.among as usize).map(found).collect();
        self.process.view().line(&format!("the winner among {} is named by {}", best.len(), winner.by.name));
        let seed = self.assembly.seed.derive("name the winner", 0);
        timed(&mut self.books.times.naming, || winner::judged(best, judge, self.goal.1, seed))
    }

    fn result(&self, ended: Ending, elites: Vec<Found>, random_networks: Vec<RandomNetworks>) -> SearchResult {
        let mut times = self.books.times;
        times.close(self.run.elapsed());
        SearchResult {
            format: run::RUN_FORMAT,
            name: self.config.name.clone(),
            seed: self.config.seed,
            ended,
            winner: elites.first().cloned(),
            elites,
            random_networks,
            evaluations: self.books.evaluations,
            known: self.books.known,
            failed: self.books.failed,
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

/// Adds the time of a call into a component to an account.
fn timed<T>(account: &mut f64, call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let answer = call();
    *account += started.elapsed().as_secs_f64();
    answer
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
