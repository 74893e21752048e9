//! `pleach reproduce`: does a run, or one evaluation of it, come out the same again?
//!
//! What the run was comes from its `run.json`, what it measured from its journal and its result. An
//! evaluation is repeated with the weights that it was made with: trainings before it are done
//! again, or taken from a checkpoint that has just those.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pleach_sdk::{Genome, TrainPlan};
use serde::Serialize;

use crate::{
    assemble::{Assembly, assemble},
    checkpoint,
    config::Budget,
    error::{Error, Result},
    host::Process,
    journal::{self, Candidate},
    plugins::SearchPath,
    result::{Ending, SearchResult},
    resume::{Changes, Record, result_of},
    run::{self, JOURNAL, RunDirectory, absolute},
    search::Search,
};

/// What came of repeating: printed as it is with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeated {
    /// What was repeated: `run`, or a network and its step.
    pub what: String,
    /// Versions and hashes that are not as they were, one sentence each.
    pub changes: Vec<String>,
    /// What was compared, and came out the same.
    pub equal: Vec<String>,
    /// What came out different, one sentence each.
    pub different: Vec<String>,
}

/// Repeats a whole run in a directory of its own and compares every candidate and the result.
///
/// # Errors
///
/// A directory that holds no finished run, and everything that ends a search.
pub fn run(path: &Path, folder: Option<&Path>, search_path: &SearchPath, process: &Arc<Process>) -> Result<Repeated> {
    let Repeat { path, record, search_path } = Repeat::of(path, search_path)?;
    let Some(result) = result_of(&path)? else {
        return Err(Error::RunDirectory {
            path,
            message: "the search has no result yet: `pleach resume` ends it".to_owned(),
        });
    };
    let folder = absolute(&run::make_directory(folder, &format!("{}-again", result.name))?);
    let mut directory = RunDirectory::create(Some(&folder), &result.name)?;
    record.enter()?;
    let (mut config, file, search_path) = record.configuration(&path, &[], &search_path)?;
    let is_cut_by_a_clock = result.ended == Ending::WallClock && config.budget.simulated_seconds().is_none();
    if is_cut_by_a_clock {
        // Where the clock cut it off depended on the machine's speed.
        config.budget = Budget { evaluations: Some(result.evaluations), wall_clock: None, ..config.budget };
    }
    let changed = record.changed_plugins(&config, &search_path);
    let assembly = assemble(&config, &file, &search_path, process)?;
    let changes = sentences(&record.changes(&assembly, changed)?);
    directory.write_space(&assembly)?;
    let mut document = run::record(&config, &[], &assembly)?;
    document["repeats"] = serde_json::json!(path);
    directory.write_json(run::RECORD, &document)?;
    directory.event("started", document)?;
    process.view().line(&format!("repeated in {}", directory.path().display()));
    let again = Search::new(&config, assembly, &mut directory, Arc::clone(process)).run()?;
    let mut repeated = Repeated { what: "run".to_owned(), changes, equal: Vec::new(), different: Vec::new() };
    let (then, mut now) = (candidates(&path)?, candidates(directory.path())?);
    if is_cut_by_a_clock {
        now.truncate(then.len());
    }
    repeated.compare_candidates(&then, &now);
    repeated.compare_results(&result, &again);
    Ok(repeated)
}

/// Repeats the evaluation of one network, the last one of it in the journal.
///
/// # Errors
///
/// A network that was not evaluated, and everything that a component says.
pub fn evaluation(path: &Path, genome: &Genome, search_path: &SearchPath, process: &Arc<Process>) -> Result<Repeated> {
    let Repeat { path, record, search_path } = Repeat::of(path, search_path)?;
    record.enter()?;
    let (config, file, search_path) = record.configuration(&path, &[], &search_path)?;
    let changed = record.changed_plugins(&config, &search_path);
    let mut assembly = assemble(&config, &file, &search_path, process)?;
    assembly.workshop.work_in(&std::env::temp_dir().join(format!("pleach-{}", std::process::id())));
    let changes = sentences(&record.changes(&assembly, changed)?);
    let key = assembly.space.canonical(genome)?;
    let (step, was) = last_evaluation(&path, &key, &assembly)?;
    let (trainings, described) = load_weights(&path, step, &mut assembly, process)?;
    for (number, (at, plan)) in trainings.iter().enumerate() {
        process.view().line(&format!("training {} of {} is done again", number + 1, trainings.len()));
        assembly.estimator.train(plan, assembly.seed.derive("train", *at))?;
    }
    let seed = assembly.seed.derive("evaluate", step);
    let outcome = assembly.estimator.evaluate(std::slice::from_ref(&was.genome), seed)?.pop();
    let is = outcome
        .unwrap_or_else(|| Err("no answer".to_owned()))
        .and_then(|numbers| assembly.values(&was.genome, &numbers));
    let what = format!("{} of step {step}, {described}", was.genome);
    let mut repeated = Repeated { what, changes, equal: Vec::new(), different: Vec::new() };
    match (&was.outcome(), &is) {
        (Ok(then), Ok(now)) => {
            for ((objective, then), now) in assembly.objectives.0.iter().zip(then).zip(now) {
                repeated.compare(&objective.name, then, now);
            }
        }
        (then, now) => repeated.compare("the outcome", then, now),
    }
    Ok(repeated)
}

/// A run that is to be repeated.
struct Repeat {
    path: PathBuf,
    record: Record,
    search_path: SearchPath,
}

impl Repeat {
    fn of(path: &Path, search_path: &SearchPath) -> Result<Self> {
        let path = absolute(path);
        let (record, _) = Record::read(&path)?;
        if record.command != "run" {
            let message = format!("{} was written by `pleach {}`", path.display(), record.command);
            return Err(Error::unusable(message, "give the directory of a `pleach run`"));
        }
        Ok(Repeat { path, record, search_path: search_path.clone().absolute() })
    }
}

fn sentences(changes: &Changes) -> Vec<String> {
    let plugins = changes.plugins.iter().map(|change| format!("the plugin {change}"));
    plugins.chain(changes.dataset.clone()).chain(changes.host.clone()).chain(changes.machine.clone()).collect()
}

fn candidates(directory: &Path) -> Result<Vec<(u64, Candidate)>> {
    let evaluated = journal::read(directory)?.into_iter().filter(|event| event.event == "evaluated");
    Ok(evaluated.flat_map(|event| event.candidates.into_iter().map(move |it| (event.step, it))).collect())
}

/// The step in which a network was measured last, and what for.
fn last_evaluation(path: &Path, key: &Genome, assembly: &Assembly) -> Result<(u64, Candidate)> {
    let mut found = None;
    for (step, candidate) in candidates(path)? {
        // Of a batch the first with this key was measured, and none that was known.
        let is_first = found.as_ref().is_none_or(|(other, _)| *other != step);
        if !candidate.known && is_first && assembly.space.canonical(&candidate.genome)? == *key {
            found = Some((step, candidate));
        }
    }
    found.ok_or_else(|| {
        Error::unusable(
            format!("the run did not evaluate the network {key}"),
            "events.jsonl lists those that it did, each as `genome`",
        )
    })
}

/// Trainings that are left to be done again for the weights of a step, and in words where the
/// others are from.
type Trainings = (Vec<(u64, TrainPlan)>, String);

/// Takes up weights from a checkpoint that has those of a step, if there is one.
fn load_weights(path: &Path, step: u64, assembly: &mut Assembly, process: &Process) -> Result<Trainings> {
    let mut trainings = Vec::new();
    let mut later = Vec::new();
    for event in journal::read(path)?.into_iter().filter(|event| event.event == "trained") {
        if event.report.is_some_and(|report| !report.weights_changed) {
            continue;
        }
        let region = event.region.ok_or_else(|| Error::RunDirectory {
            path: path.join(JOURNAL),
            message: format!("the training of step {} has no region", event.step),
        })?;
        let plan = TrainPlan { region, epochs: event.epochs, stage: event.stage, notes: event.notes };
        if event.step < step { trainings.push((event.step, plan)) } else { later.push(event.step) }
    }
    let Some((last, _)) = trainings.last() else { return Ok((trainings, "with first weights".to_owned())) };
    let length = std::fs::metadata(path.join(JOURNAL)).map_or(0, |file| file.len());
    let has_those = |at: u64| at > *last && later.iter().all(|later| at <= *later);
    for folder in checkpoint::list(&path.join("checkpoints"))?.into_iter().rev() {
        match checkpoint::check(&folder, length) {
            Ok(found) if has_those(found.step) => {
                assembly.estimator.load(&found.path.join("estimator"))?;
                let described = format!("with the weights of checkpoint step-{:08}", found.step);
                return Ok((Vec::new(), described));
            }
            Ok(_) => {}
            Err(why) => process.view().line(&format!("{} is damaged: {why}", folder.display())),
        }
    }
    let described = format!("with {} trainings done again", trainings.len());
    Ok((trainings, described))
}

impl Repeated {
    /// Whether everything came out the same.
    pub fn is_equal(&self) -> bool {
        self.different.is_empty()
    }

    fn compare<T: std::fmt::Debug + Serialize>(&mut self, what: &str, then: &T, now: &T) {
        // JSON tells numbers apart to the last bit.
        match (serde_json::to_string(then), serde_json::to_string(now)) {
            (Ok(then), Ok(now)) if then == now => self.equal.push(what.to_owned()),
            (Ok(then), Ok(now)) => self.different.push(format!("{what} was {then}, it is {now}")),
            _ => self.different.push(format!("{what} was {then:?}, it is {now:?}")),
        }
    }

    fn compare_candidates(&mut self, then: &[(u64, Candidate)], now: &[(u64, Candidate)]) {
        let first = then.iter().zip(now).position(|(then, now)| then != now);
        match first {
            Some(index) => {
                let ((step, was), (_, is)) = (&then[index], &now[index]);
                self.different.push(format!(
                    "candidate {} (step {step}) was {} with {:?}, it is {} with {:?}; {} candidates before it are equal",
                    index + 1,
                    was.genome,
                    was.outcome(),
                    is.genome,
                    is.outcome(),
                    index
                ));
            }
            None if then.len() != now.len() => {
                self.different.push(format!("there were {} candidates, there are {}", then.len(), now.len()));
            }
            None => self.equal.push(format!("{} candidates", then.len())),
        }
    }

    fn compare_results(&mut self, then: &SearchResult, now: &SearchResult) {
        let genome = |result: &SearchResult| result.winner.as_ref().map(|winner| winner.genome.to_string());
        self.compare("the winner", &genome(then), &genome(now));
        self.compare("the elites", &then.elites, &now.elites);
        self.compare("the random networks", &then.random_networks, &now.random_networks);
        self.compare("the evaluations", &then.evaluations, &now.evaluations);
        self.compare("the failed evaluations", &then.failed, &now.failed);
        self.compare("the final region", &then.final_region, &now.final_region);
    }
}
