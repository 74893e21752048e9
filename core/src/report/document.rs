//! The one document that the page draws.

use std::collections::BTreeMap;

use pleach_sdk::Goal;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Marks, Report, goal_of,
    networks::SpaceView,
    story::{Evaluations, Happening, Steps, TrainingView, spoken_ending},
};
use crate::{
    executor::Loss,
    result::{Found, SearchResult},
    run,
};

/// The number of the document's format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    format: u32,
    /// The version that wrote the report.
    pleach: &'static str,
    directory: String,
    name: &'a Value,
    seed: &'a Value,
    state: State,
    objectives: Vec<ObjectiveView<'a>>,
    /// The objective that names the winner.
    goal: usize,
    space: &'a SpaceView,
    evaluations: EvaluationsView<'a>,
    steps: StepsView<'a>,
    origins: &'a [String],
    trainings: &'a [TrainingView],
    final_region: Option<Vec<Vec<u16>>>,
    /// The best networks, the winner first.
    elites: Vec<Elite>,
    known: u64,
    times: Value,
    /// Whether the times are the result's, with all parts.
    times_are_whole: bool,
    random_networks: Value,
    front: Value,
    simulated_seconds: Option<f64>,
    training: Option<Value>,
    happenings: &'a [Happening],
    lost: &'a [Loss],
    record: &'a Value,
    config: &'a str,
    problems: Vec<String>,
    /// What the next document may leave out.
    edition: u32,
    from: [usize; 2],
}

/// How far a run has come.
#[derive(Serialize)]
struct State {
    /// `ended`, `running`, `interrupted`, `failed` or `unfinished`.
    kind: &'static str,
    text: String,
}

#[derive(Serialize)]
struct ObjectiveView<'a> {
    name: &'a str,
    goal: Option<Goal>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

#[derive(Serialize)]
struct Elite {
    #[serde(flatten)]
    found: Found,
    /// Its last evaluation.
    evaluation: Option<usize>,
}

#[derive(Serialize)]
struct EvaluationsView<'a> {
    genomes: &'a [String],
    values: Vec<&'a [Option<f64>]>,
    by: &'a [usize],
    parents: &'a [Vec<Option<usize>>],
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated_seconds: Option<&'a [Option<f64>]>,
    failed: BTreeMap<&'a usize, &'a String>,
}

#[derive(Serialize)]
struct StepsView<'a> {
    step: &'a [u64],
    first: &'a [usize],
    at_seconds: &'a [f64],
    seconds: &'a [f64],
    labels: BTreeMap<&'a usize, &'a String>,
    fronts: BTreeMap<&'a usize, &'a Value>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        report: &'a Report,
        result: Option<&SearchResult>,
        training: Option<Value>,
        problems: Vec<String>,
        from: Marks,
    ) -> Self {
        let story = &report.story;
        let found = result.map_or_else(|| story.best(), |result| result.elites.clone());
        let elite = |found: Found| {
            // Of another space it cannot be drawn.
            story.network.validate(&found.genome).ok()?;
            let evaluation = story.index_of(&found.genome);
            Some(Elite { found, evaluation })
        };
        let slots = |region: &pleach_sdk::Region| region.slots().to_vec();
        let of_result = result.and_then(|result| result.final_region.as_ref());
        let final_region = of_result.filter(|region| region.validate(&story.network).is_ok());
        let config = &report.record["config"];
        Document {
            format: FORMAT,
            pleach: env!("CARGO_PKG_VERSION"),
            directory: run::absolute(&report.directory).display().to_string(),
            name: &config["name"],
            seed: &config["seed"],
            state: state(report),
            objectives: story.objectives.0.iter().map(objective).collect(),
            goal: goal_of(&story.objectives).0,
            space: &report.space,
            evaluations: EvaluationsView::new(story.evaluations(), from.evaluation),
            steps: StepsView::new(story.steps(), from.step),
            origins: story.origins(),
            trainings: story.trainings(),
            final_region: final_region.or(story.final_region()).map(slots),
            elites: found.into_iter().filter_map(elite).collect(),
            known: story.known(),
            times: result.map_or_else(|| story.times(), |result| json!(result.times)),
            times_are_whole: result.is_some(),
            random_networks: result.map_or(Value::Null, |result| json!(result.random_networks)),
            front: result.and_then(|result| result.front.as_ref()).map_or(Value::Null, |front| json!(front)),
            simulated_seconds: result.and_then(|result| result.simulated_seconds),
            training,
            happenings: story.happenings(),
            lost: story.lost(),
            record: &report.record,
            config: &report.config,
            problems,
            edition: report.edition,
            from: [from.evaluation, from.step],
        }
    }
}

impl<'a> EvaluationsView<'a> {
    fn new(evaluations: &'a Evaluations, from: usize) -> Self {
        let has_clock = evaluations.simulated_seconds.iter().any(Option::is_some);
        EvaluationsView {
            genomes: evaluations.genomes.get(from..).unwrap_or_default(),
            values: evaluations.values.iter().map(|column| column.get(from..).unwrap_or_default()).collect(),
            by: evaluations.by.get(from..).unwrap_or_default(),
            parents: evaluations.parents.get(from..).unwrap_or_default(),
            simulated_seconds: has_clock.then(|| evaluations.simulated_seconds.get(from..).unwrap_or_default()),
            failed: evaluations.failed.range(from..).collect(),
        }
    }
}

impl<'a> StepsView<'a> {
    fn new(steps: &'a Steps, from: usize) -> Self {
        StepsView {
            step: steps.step.get(from..).unwrap_or_default(),
            first: steps.first.get(from..).unwrap_or_default(),
            at_seconds: steps.at_seconds.get(from..).unwrap_or_default(),
            seconds: steps.seconds.get(from..).unwrap_or_default(),
            labels: steps.labels.range(from..).collect(),
            fronts: steps.fronts.range(from..).collect(),
        }
    }
}

fn objective(objective: &pleach_sdk::Objective) -> ObjectiveView<'_> {
    ObjectiveView {
        name: &objective.name,
        goal: objective.goal,
        at_most: objective.at_most,
        at_least: objective.at_least,
    }
}

fn state(report: &Report) -> State {
    let state = |kind, text: &str| State { kind, text: text.to_owned() };
    let last = report.story.last_event();
    match last.map(|event| (event.event.as_str(), event)) {
        Some(("finished", event)) => state("ended", event.ended.map_or("finished", spoken_ending)),
        _ if run::is_worked_on(&report.directory) => state("running", "a process works on it now"),
        Some(("stopped", event)) if event.exit_code == Some(130) => {
            state("interrupted", "interrupted and saved; pleach resume goes on with it")
        }
        Some(("stopped", event)) => {
            let messages = event.errors.iter().filter_map(|error| error["message"].as_str());
            State { kind: "failed", text: messages.collect::<Vec<_>>().join("; ") }
        }
        _ => state("unfinished", "its process ended without a word; pleach resume goes on with it"),
    }
}
