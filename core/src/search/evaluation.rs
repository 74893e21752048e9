//! A step of evaluations: what is known, what is asked, what is written down and told.

use std::collections::HashSet;

use pleach_sdk::{Batch, Candidate, Evaluation, Genome, Origin, SIMULATED_SECONDS};
use serde::Serialize;
use serde_json::Value;

use super::{Evaluated, Search, Turn, timed};
use crate::{
    books::{Measured, Outcome},
    config::Repeats,
    error::Result,
    executor::Loss,
    pareto::reference,
    progress::{Doing, Step},
    result::Ending,
};

/// No training takes longer than 30,000 years.
const MOST_SECONDS: f64 = 1e12;

/// So many known networks in a row are worth a warning.
const MANY_KNOWN: usize = 10_000;

/// The event of a step.
#[derive(Serialize)]
struct EvaluatedEvent<'a> {
    step: u64,
    notes: &'a Value,
    objectives: Vec<&'a str>,
    candidates: Vec<Entry<'a>>,
    seconds: f64,
    /// Workers that were lost meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Loss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    front: Option<FrontSoFar>,
}

/// How far the trade-offs have come.
#[derive(Debug, Clone, Copy, Serialize)]
struct FrontSoFar {
    networks: usize,
    hypervolume: f64,
}

/// A candidate in the event of its step.
#[derive(Serialize)]
struct Entry<'a> {
    genome: &'a Genome,
    origin: &'a Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_simulated_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    known: bool,
}

impl Search<'_> {
    pub(super) fn evaluate(&mut self, batch: Batch) -> Result<Turn> {
        let Batch { candidates, notes } = batch;
        let keys = self.keys(&candidates)?;
        let known: Vec<bool> = keys.iter().map(|key| self.books.current.get(key).is_some()).collect();
        let mut seen = HashSet::new();
        let is_new = |index: &usize| !known[*index] && seen.insert(&keys[*index]);
        let mut asked: Vec<usize> = (0..keys.len()).filter(is_new).collect();
        let left =
            self.config.budget.evaluations.map_or(u64::MAX, |limit| limit.saturating_sub(self.books.evaluations));
        let mut cut = (asked.len() as u64 > left).then_some(Ending::Evaluations);
        asked.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let genomes: Vec<Genome> = asked.iter().map(|index| candidates[*index].genome.clone()).collect();
        let before = (self.books.times.evaluation, self.books.evaluations);
        let outcomes = self.measure(&genomes)?;
        let mut measured = asked.into_iter().zip(genomes.into_iter().zip(outcomes)).peekable();
        let mut done_at = Vec::with_capacity(candidates.len());
        for (index, key) in keys.iter().enumerate() {
            let new = measured.next_if(|(asked, _)| *asked == index);
            let seconds = match &new {
                Some((_, (_, (_, seconds)))) => *seconds,
                None => self.books.current.get(key).and_then(|known| known.seconds).filter(|_| self.repeats_are_paid()),
            };
            // A network that would not be done in time was not measured, nor was any after it.
            if !self.spend(seconds) {
                cut = Some(Ending::WallClock);
                break;
            }
            done_at.push(seconds.map(|_| self.books.simulated_seconds));
            if let Some((_, (genome, (outcome, seconds)))) = new {
                self.add(Measured { key: key.clone(), genome, outcome, seconds });
            }
        }
        let seconds = self.books.times.evaluation - before.0;
        let front = self.front_so_far();
        self.write_down(&candidates, &keys, &known, &done_at, (&notes, seconds, front))?;
        self.report_batch(&keys, &notes, self.books.evaluations - before.1, seconds, front);
        self.check_failures()?;
        self.count_known(&known);
        let mut evaluations = Vec::with_capacity(candidates.len());
        for ((Candidate { genome, .. }, key), is_known) in candidates.into_iter().zip(&keys).zip(known) {
            // A candidate behind the end of the budget has no outcome.
            let Some(measured) = self.books.current.get(key) else { continue };
            self.books.known += u64::from(is_known);
            let outcome = match &measured.outcome {
                Outcome::Values(values) => Ok(values.clone()),
                Outcome::Failed(reason) => Err(reason.clone()),
            };
            evaluations.push(Evaluation { genome, outcome });
        }
        if let Some(ending) = cut {
            return Ok(Turn::End(ending));
        }
        let strategy = &mut self.assembly.strategy;
        timed(&mut self.books.times.strategy, || strategy.tell(&evaluations))?;
        Ok(Turn::Continue)
    }

    /// Says so where a search goes on and finds nothing new: a budget of evaluations never ends it.
    fn count_known(&mut self, known: &[bool]) {
        let before = self.known_in_a_row;
        self.known_in_a_row = match known.iter().rposition(|is_known| !is_known) {
            Some(last_new) => known.len() - 1 - last_new,
            None => before + known.len(),
        };
        if before < MANY_KNOWN && self.known_in_a_row >= MANY_KNOWN {
            tracing::warn!(
                "the last {MANY_KNOWN} candidates were networks that are known: budget.evaluations counts each network \
                 once, so only the strategy or budget.wall_clock may end this search"
            );
        }
    }

    fn repeats_are_paid(&self) -> bool {
        self.config.budget.repeats == Repeats::Paid
    }

    /// Moves the simulated clock on, unless its limit lies before.
    fn spend(&mut self, seconds: Option<f64>) -> bool {
        let Some(seconds) = seconds else { return true };
        let at = self.books.simulated_seconds + seconds;
        let is_in_time = self.config.budget.simulated_seconds().is_none_or(|limit| at <= limit);
        if is_in_time {
            self.books.simulated_seconds = at;
        }
        is_in_time
    }

    /// Remembers a network.
    fn add(&mut self, network: Measured) {
        self.books.evaluations += 1;
        self.books.failed += u64::from(matches!(network.outcome, Outcome::Failed(_)));
        if let Some(observer) = &mut self.observer {
            observer.evaluated(&Evaluated {
                number: self.books.evaluations,
                at_simulated_seconds: network.seconds.map(|_| self.books.simulated_seconds),
                genome: &network.genome,
                outcome: network.outcome.as_ref(),
            });
        }
        if let (Some(front), Ok(values)) = (&mut self.front, network.outcome.as_ref()) {
            front.add(&network.genome, values, &self.assembly.objectives);
        }
        self.books.current.add(network);
    }

    /// The front after this step; none with one objective, or before the first values.
    fn front_so_far(&mut self) -> Option<FrontSoFar> {
        let front = self.front.as_ref()?;
        let objectives = &self.assembly.objectives;
        if self.books.reference.is_none() {
            let first: Vec<&[f64]> = self.books.current.with_values().map(|(_, values)| values).collect();
            self.books.reference = reference(self.config, self.assembly.space.network(), objectives, &first);
        }
        let hypervolume = front.hypervolume(self.books.reference.as_ref()?, objectives);
        Some(FrontSoFar { networks: front.len(), hypervolume })
    }

    /// Writes the step's event into the journal, where there is one.
    fn write_down(
        &mut self,
        candidates: &[Candidate],
        keys: &[Genome],
        known: &[bool],
        done_at: &[Option<f64>],
        (notes, seconds, front): (&Value, f64, Option<FrontSoFar>),
    ) -> Result<()> {
        let lost = self.take_losses();
        let Some(run) = &mut self.run else { return Ok(()) };
        let mut entries = Vec::with_capacity(candidates.len());
        for (index, (candidate, key)) in candidates.iter().zip(keys).enumerate() {
            let Some(measured) = self.books.current.get(key) else { continue };
            let outcome = measured.outcome.as_ref();
            entries.push(Entry {
                genome: &candidate.genome,
                origin: &candidate.origin,
                at_simulated_seconds: done_at.get(index).copied().flatten(),
                values: outcome.ok(),
                failed: outcome.err(),
                known: known[index],
            });
        }
        let event = EvaluatedEvent {
            step: self.books.step,
            notes,
            objectives: self.assembly.objectives.0.iter().map(|objective| objective.name.as_str()).collect(),
            candidates: entries,
            seconds,
            front,
            lost,
        };
        run.event("evaluated", event)
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

    /// Evaluates distinct networks and completes their numbers to the run's objectives. With a
    /// simulated clock each comes with its seconds; one that failed costs none.
    fn measure(&mut self, genomes: &[Genome]) -> Result<Vec<(Outcome, Option<f64>)>> {
        if genomes.is_empty() {
            return Ok(Vec::new());
        }
        self.tell(Doing::Evaluating(genomes.len()));
        let seed = self.assembly.seed.derive("evaluate", self.books.step);
        let estimator = &mut self.assembly.estimator;
        let outcomes = timed(&mut self.books.times.evaluation, || estimator.evaluate(genomes, seed))?;
        let complete = |(genome, outcome): (&Genome, pleach_sdk::Outcome)| {
            let seconds = self.seconds(genome, &outcome)?;
            let outcome = match outcome.and_then(|numbers| self.assembly.values(genome, &numbers)) {
                Ok(values) => Outcome::Values(values),
                Err(reason) => Outcome::Failed(reason),
            };
            Ok((outcome, seconds))
        };
        genomes.iter().zip(outcomes).map(complete).collect()
    }

    /// What a network adds to the simulated clock; `None` without one.
    fn seconds(&self, genome: &Genome, outcome: &pleach_sdk::Outcome) -> Result<Option<f64>> {
        let Some(index) = self.assembly.seconds else { return Ok(None) };
        let seconds = outcome.as_ref().map_or(0.0, |numbers| numbers.get(index).copied().unwrap_or(f64::NAN));
        if (0.0..=MOST_SECONDS).contains(&seconds) {
            return Ok(Some(seconds));
        }
        let message = format!("{SIMULATED_SECONDS} of {genome} are {seconds}, which a simulated clock cannot count");
        let error = pleach_sdk::Error::failed(message);
        Err(error.from_origin(|| format!("{} evaluate", self.config.estimator.name)).into())
    }

    fn report_batch(&mut self, keys: &[Genome], notes: &Value, measured: u64, seconds: f64, front: Option<FrontSoFar>) {
        let (index, _) = self.goal;
        let best = self.books.current.best(&self.assembly.objectives, self.goal).map(|(_, values)| values[index]);
        if let Some(stage) = self.books.stages.last_mut() {
            stage.evaluations += measured;
            stage.best = best;
        }
        if !self.is_told {
            return;
        }
        let current = &self.books.current;
        let value = |key| Some(current.get(key)?.outcome.as_ref().ok()?[index]);
        let values: Vec<f64> = keys.iter().filter_map(value).collect();
        let (evaluations, failed, clock) = (self.books.evaluations, self.books.failed, self.books.simulated_seconds);
        self.process.view().step(&Step {
            number: self.books.step,
            notes,
            measured,
            seconds,
            values: &values,
            best: self.books.current.best(&self.assembly.objectives, self.goal),
            front: front.map(|front| (front.networks, front.hypervolume)),
            evaluations,
            failed,
            simulated_seconds: self.assembly.seconds.map(|_| clock),
            objective: (&self.assembly.objectives.0[index].name, index),
        });
    }
}
