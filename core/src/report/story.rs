//! What a journal tells, replayed: the measurements as the search kept them, and for each network
//! where it came from.

use std::collections::{BTreeMap, HashMap};

use pleach_sdk::{Genome, Goal, Network, Objectives, Region};
use serde::Serialize;
use serde_json::{Value, json};

use super::goal_of;
use crate::{
    books::{Books, Measured, Outcome},
    executor::Loss,
    journal::Event,
    result::{Ending, Found},
};

/// How many of the best networks are told while there is no result.
const ELITES: usize = 5;

/// Of more problems only the number is told.
const MOST_PROBLEMS: usize = 20;

/// Distinct networks with one set of weights each, one column for each thing that is known.
#[derive(Debug, Default)]
pub(super) struct Evaluations {
    /// A digit of base 36 for each slot; where a choice has a larger number, numbers with `-` between.
    pub(super) genomes: Vec<String>,
    /// For each objective; none for those that failed.
    pub(super) values: Vec<Vec<Option<f64>>>,
    /// An index into the names of origins.
    pub(super) by: Vec<usize>,
    /// The last evaluation of each parent before this one; none for one that was not evaluated.
    pub(super) parents: Vec<Vec<Option<usize>>>,
    pub(super) simulated_seconds: Vec<Option<f64>>,
    pub(super) failed: BTreeMap<usize, String>,
}

/// Steps of evaluations, one column for each thing that is known.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) step: Vec<u64>,
    /// The first evaluation of each.
    pub(super) first: Vec<usize>,
    /// When each was done, in seconds to the millisecond.
    pub(super) at_seconds: Vec<f64>,
    pub(super) seconds: Vec<f64>,
    /// What the strategy says of a step, where it does.
    pub(super) labels: BTreeMap<usize, String>,
    /// How far a front has come, where there is one.
    pub(super) fronts: BTreeMap<usize, Value>,
}

/// A training and the region that it was in.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TrainingView {
    step: u64,
    pub(super) stage: u32,
    epochs: f64,
    region: Vec<Vec<u16>>,
    /// How many networks that is; `null` where it is more than a number can say.
    networks: f64,
    images: u64,
    weights_changed: bool,
    metrics: BTreeMap<String, f64>,
    at_seconds: f64,
    seconds: f64,
    /// The first evaluation after it.
    first: usize,
    /// The networks that decided about the region after it.
    elites: Vec<Genome>,
}

/// Something that happened to the run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Happening {
    at_seconds: f64,
    what: String,
    details: Vec<String>,
}

/// What a journal told.
pub(super) struct Story {
    pub(super) network: Network,
    pub(super) objectives: Objectives,
    told: Told,
}

#[derive(Default)]
struct Told {
    books: Books,
    evaluations: Evaluations,
    steps: Steps,
    trainings: Vec<TrainingView>,
    origins: Vec<String>,
    /// The last evaluation of each network.
    last: HashMap<Genome, usize>,
    final_region: Option<Region>,
    happenings: Vec<Happening>,
    lost: Vec<Loss>,
    last_event: Option<Event>,
    at_seconds: f64,
    known: u64,
    problems: Vec<String>,
    more_problems: usize,
}

impl Story {
    pub(super) fn new(network: Network, objectives: Objectives) -> Self {
        let mut story = Story { network, objectives, told: Told::default() };
        story.forget();
        story
    }

    /// Begins again.
    pub(super) fn forget(&mut self) {
        self.told = Told::default();
        self.told.evaluations.values = vec![Vec::new(); self.objectives.0.len()];
    }

    /// Takes up a line of the journal.
    pub(super) fn hear(&mut self, line: Result<Event, String>) {
        let mut event = match line {
            Ok(event) => event,
            Err(problem) => return self.told.problem(problem),
        };
        self.told.at_seconds = self.told.at_seconds.max(event.at_seconds);
        self.told.lost.append(&mut event.lost);
        match event.event.as_str() {
            "started" => self.told.happening(&event, "started", Vec::new()),
            "trained" => self.trained(&event),
            "evaluated" => self.evaluated(&mut event),
            "strategy-finished" => {
                self.elites_of_last(&event.notes);
                self.told.final_region = region(&event.notes["region"], &self.network);
                self.told.happening(&event, "the strategy was done", Vec::new());
            }
            "finished" => {
                let how = event.ended.map_or("finished", spoken_ending);
                self.told.happening(&event, &format!("ended: {how}"), Vec::new());
            }
            "stopped" => {
                let messages = event.errors.iter().map(|error| text_of(&error["message"])).collect();
                let what = if event.exit_code == Some(130) { "interrupted" } else { "stopped by an error" };
                self.told.happening(&event, what, messages);
            }
            "resumed" => {
                let set = event.set.iter().map(|set| format!("--set {set}"));
                let damaged = event.damaged.iter().map(|damaged| format!("damaged checkpoint {damaged}"));
                let details = set.chain(damaged).chain(event.changed.iter().cloned()).collect();
                self.told.happening(&event, &format!("went on after step {}", event.step), details);
            }
            other => {
                let what = format!("{other}, which this pleach does not know");
                self.told.happening(&event, &what, Vec::new());
            }
        }
        event.candidates.clear();
        self.told.last_event = Some(event);
    }

    fn trained(&mut self, event: &Event) {
        self.elites_of_last(&event.notes);
        let Some(region) = event.region.clone().filter(|region| region.validate(&self.network).is_ok()) else {
            return self.told.problem(format!("the training of step {} has no region of this space", event.step));
        };
        let report = event.report.clone().unwrap_or_default();
        if report.weights_changed {
            self.told.books.weights_changed();
        }
        self.told.books.times.training += event.seconds;
        self.told.trainings.push(TrainingView {
            step: event.step,
            stage: event.stage,
            epochs: event.epochs,
            networks: region.size(),
            region: region.slots().to_vec(),
            images: report.images,
            weights_changed: report.weights_changed,
            metrics: report.metrics,
            at_seconds: event.at_seconds,
            seconds: event.seconds,
            first: self.told.evaluations.genomes.len(),
            elites: Vec::new(),
        });
    }

    /// What a strategy says at the next training, or at its end, of the elites that pruned.
    fn elites_of_last(&mut self, notes: &Value) {
        let Some(training) = self.told.trainings.last_mut() else { return };
        let elites: Option<Vec<Genome>> = serde_json::from_value(notes["elites"].clone()).ok();
        let network = &self.network;
        training.elites = elites.into_iter().flatten().filter(|elite| network.validate(elite).is_ok()).collect();
    }

    fn evaluated(&mut self, event: &mut Event) {
        let names = self.objectives.0.iter().map(|objective| &objective.name);
        if !names.eq(event.objectives.iter()) {
            let found = event.objectives.join(", ");
            return self.told.problem(format!("step {} has other objectives than the run: {found}", event.step));
        }
        let told = &mut self.told;
        told.books.times.evaluation += event.seconds;
        let steps = &mut told.steps;
        let index = steps.step.len();
        steps.step.push(event.step);
        steps.first.push(told.evaluations.genomes.len());
        steps.at_seconds.push(event.at_seconds);
        steps.seconds.push((event.seconds * 1e3).round() / 1e3);
        let label = label(&event.notes);
        if !label.is_empty() {
            steps.labels.insert(index, label);
        }
        steps.fronts.extend(event.front.take().map(|front| (index, front)));
        let candidates = std::mem::take(&mut event.candidates);
        // Before any of them counts as evaluated: no network is its own parent.
        let parents: Vec<Vec<Option<usize>>> =
            candidates.iter().map(|candidate| self.parents(&candidate.origin.parents)).collect();
        let told = &mut self.told;
        for (candidate, parents) in candidates.into_iter().zip(parents) {
            let values = candidate.outcome();
            let is_whole = values.as_ref().map_or(true, |values| values.len() == self.objectives.0.len());
            if let Err(error) = self.network.validate(&candidate.genome) {
                told.problem(format!("step {}: {error}", event.step));
                continue;
            }
            if !is_whole {
                told.problem(format!("step {}: {} has not one value for each objective", event.step, candidate.genome));
                continue;
            }
            let key = self.network.canonical(&candidate.genome);
            // The journal has every candidate; what was known, or came twice in a step, was not measured.
            if candidate.known || told.books.current.get(&key).is_some() {
                told.known += u64::from(candidate.known);
                continue;
            }
            let index = told.evaluations.genomes.len();
            told.last.insert(key.clone(), index);
            let by = told.origin(&candidate.origin.by);
            let evaluations = &mut told.evaluations;
            evaluations.genomes.push(compact(&candidate.genome));
            evaluations.by.push(by);
            evaluations.parents.push(parents);
            evaluations.simulated_seconds.push(candidate.at_simulated_seconds);
            for (objective, column) in evaluations.values.iter_mut().enumerate() {
                column.push(values.as_ref().ok().map(|values| values[objective]));
            }
            let outcome = match values {
                Ok(values) => Outcome::Values(values),
                Err(reason) => {
                    evaluations.failed.insert(index, reason.clone());
                    Outcome::Failed(reason)
                }
            };
            told.books.current.add(Measured { key, genome: candidate.genome, outcome, seconds: None });
        }
    }

    fn parents(&self, parents: &[Genome]) -> Vec<Option<usize>> {
        parents.iter().map(|parent| self.index_of(parent)).collect()
    }

    /// The last evaluation of a network.
    pub(super) fn index_of(&self, genome: &Genome) -> Option<usize> {
        self.network.validate(genome).ok()?;
        self.told.last.get(&self.network.canonical(genome)).copied()
    }

    pub(super) fn evaluations(&self) -> &Evaluations {
        &self.told.evaluations
    }

    pub(super) fn steps(&self) -> &Steps {
        &self.told.steps
    }

    pub(super) fn trainings(&self) -> &[TrainingView] {
        &self.told.trainings
    }

    pub(super) fn origins(&self) -> &[String] {
        &self.told.origins
    }

    pub(super) fn happenings(&self) -> &[Happening] {
        &self.told.happenings
    }

    pub(super) fn lost(&self) -> &[Loss] {
        &self.told.lost
    }

    pub(super) fn last_event(&self) -> Option<&Event> {
        self.told.last_event.as_ref()
    }

    pub(super) fn final_region(&self) -> Option<&Region> {
        self.told.final_region.as_ref()
    }

    /// Whether the journal says that the search ended by itself or by its budget.
    pub(super) fn is_finished(&self) -> bool {
        self.told.last_event.as_ref().is_some_and(|event| event.event == "finished")
    }

    pub(super) fn known(&self) -> u64 {
        self.told.known
    }

    /// What could not be used, the first ones.
    pub(super) fn problems(&self) -> Vec<String> {
        let more = self.told.more_problems;
        let more = (more > 0).then(|| format!("{more} more lines or candidates of the journal could not be used"));
        self.told.problems.iter().cloned().chain(more).collect()
    }

    /// The best networks so far, as the search would name them if it ended now.
    pub(super) fn best(&self) -> Vec<Found> {
        let goal: (usize, Goal) = goal_of(&self.objectives);
        let ranked = self.told.books.last_measurements().ranked(&self.objectives, goal, ELITES);
        ranked.into_iter().map(|(genome, values)| Found::new(genome, values, &self.network, &self.objectives)).collect()
    }

    /// Where the time went, as far as events say: the parts in which components worked.
    pub(super) fn times(&self) -> Value {
        let times = &self.told.books.times;
        json!({ "total": self.told.at_seconds, "training": times.training, "evaluation": times.evaluation })
    }
}

impl Told {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn happening(&mut self, event: &Event, what: &str, details: Vec<String>) {
        self.happenings.push(Happening { at_seconds: event.at_seconds, what: what.to_owned(), details });
    }

    fn origin(&mut self, by: &str) -> usize {
        let by = if by.is_empty() { "unknown" } else { by };
        self.origins.iter().position(|known| known == by).unwrap_or_else(|| {
            self.origins.push(by.to_owned());
            self.origins.len() - 1
        })
    }
}

/// Why a search ended, in words.
pub(super) fn spoken_ending(ended: Ending) -> &'static str {
    match ended {
        Ending::Finished => "the strategy was done",
        Ending::Evaluations => "the budget of evaluations was used up",
        Ending::WallClock => "the budget of time was used up",
    }
}

/// A strategy's notes in a few words: `stage 2, generation 3`.
fn label(notes: &Value) -> String {
    let number = |name: &str, value: &Value| {
        let number = value.as_i64()?;
        // Stages are counted from 0 in documents, and from 1 for people.
        Some(format!("{name} {}", if name == "stage" { number + 1 } else { number }))
    };
    let notes = notes.as_object().into_iter().flatten();
    notes.filter_map(|(name, value)| number(name, value)).collect::<Vec<_>>().join(", ")
}

fn compact(genome: &Genome) -> String {
    let digit = |choice: &u16| char::from_digit(u32::from(*choice), 36);
    genome.iter().map(digit).collect::<Option<String>>().unwrap_or_else(|| genome.to_string())
}

fn region(value: &Value, network: &Network) -> Option<Region> {
    let region: Region = serde_json::from_value(value.clone()).ok()?;
    region.validate(network).ok()?;
    Some(region)
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
