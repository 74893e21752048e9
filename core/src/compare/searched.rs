//! One search of a comparison, and what it came to.

use std::{path::Path, sync::Arc};

use pleach_sdk::{Genome, Goal, Objectives, Seed, TrainPlan, TrainReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::{Contender, Reporter};
use crate::{
    assemble::Assembly,
    config::{Config, TargetOf},
    error::{Error, Result},
    host::Process,
    result::Ending,
    run::{self, RunDirectory},
    search::{Evaluated, Observer, Search},
};

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// Its variant.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Why it ended.
    pub ended: Ending,
    /// Networks that were evaluated.
    pub evaluations: u64,
    /// Of these, networks that could not be measured.
    pub failed: u64,
    /// Where a simulated clock stood at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_seconds: Option<f64>,
    /// The network that it named.
    pub winner: Improvement,
    /// Evaluations until a network came to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_after: Option<u64>,
    /// The networks that it took for the best, one after the other.
    pub improvements: Vec<Improvement>,
}

/// A network that a search took for the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Improvement {
    /// Evaluations until then, its own among them.
    pub evaluations: u64,
    /// Where a simulated clock stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_seconds: Option<f64>,
    /// The network.
    pub genome: Genome,
    /// The objective that the search follows.
    pub value: f64,
    /// What the network is worth, where somebody says; none if it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<f64>,
}

impl Contender<'_> {
    /// Searches with a seed, in a run directory below `runs` if there is one.
    ///
    /// # Errors
    ///
    /// Everything that ends a search; the message names variant and seed.
    pub(super) fn search(&self, seed: u64, runs: Option<&Path>, process: &Arc<Process>) -> Result<Searched> {
        self.try_search(seed, runs, process).map_err(|error| match error {
            Error::Component { mut error, folder } => {
                error.message = format!("{} (variant `{}`, seed {seed})", error.message, self.variant.name);
                Error::Component { error, folder }
            }
            other => other,
        })
    }

    fn try_search(&self, seed: u64, runs: Option<&Path>, process: &Arc<Process>) -> Result<Searched> {
        let config = Config { seed, ..self.variant.config.clone() };
        let assembly = self.blueprint.build(Seed(seed))?;
        let mut reporter = self.reporter(&assembly)?;
        let goal = assembly.objectives.goals().next().expect("a configuration has a direction");
        let is_any = self.question.target.is_some_and(|target| target.of == TargetOf::Any);
        let mut watcher = Watcher { objectives: assembly.objectives.clone(), goal, is_any, seen: Seen::default() };
        let search = match runs {
            None => Search::unrecorded(&config, assembly, Arc::clone(process)).observed_by(&mut watcher).run(),
            Some(runs) => {
                let name = self.variant.name.replace(|letter: char| !letter.is_alphanumeric(), "-");
                let folder = runs.join(format!("{name}-seed-{seed}"));
                recorded(&folder, self, &config, assembly, &mut watcher, process)
            }
        };
        let result = search?;
        let Seen { improvements, everything, .. } = watcher.seen;
        let Some(found) = &result.winner else {
            return Err(pleach_sdk::Error::failed("the search evaluated no network").into());
        };
        let winner = Improvement {
            evaluations: result.evaluations,
            simulated_seconds: result.simulated_seconds,
            genome: found.genome.clone(),
            value: found.objectives.get(&self.question.objective).copied().unwrap_or(f64::NAN),
            reported: None,
        };
        let mut searched = Searched {
            variant: self.variant.name.clone(),
            seed,
            ended: result.ended,
            evaluations: result.evaluations,
            failed: result.failed,
            simulated_seconds: result.simulated_seconds,
            winner,
            target_after: None,
            improvements,
        };
        if let Some(reporter) = &mut reporter {
            searched.report(reporter, Seed(seed))?;
        }
        searched.target_after = self.target_after(&searched, &everything, reporter.as_mut())?;
        Ok(searched)
    }

    /// Evaluations until the target.
    fn target_after(
        &self,
        searched: &Searched,
        everything: &[(u64, Genome, f64)],
        reporter: Option<&mut Reporter>,
    ) -> Result<Option<u64>> {
        let Some(target) = self.question.target else { return Ok(None) };
        let reaches = |value: f64| match self.question.goal {
            Goal::Maximise => value >= target.value,
            Goal::Minimise => value <= target.value,
        };
        if target.of == TargetOf::Best {
            let reached = searched.improvements.iter().find(|one| self.question.value(one).is_some_and(reaches));
            return Ok(reached.map(|one| one.evaluations));
        }
        let genomes: Vec<Genome> = everything.iter().map(|(_, genome, _)| genome.clone()).collect();
        let values = match reporter {
            Some(reporter) => reporter.ask(&genomes, Seed(searched.seed))?,
            None => everything.iter().map(|(_, _, value)| Some(*value)).collect(),
        };
        let reached = everything.iter().zip(values).find(|(_, value)| value.is_some_and(reaches));
        Ok(reached.map(|((number, ..), _)| *number))
    }
}

impl Searched {
    /// Asks what the networks are worth.
    fn report(&mut self, reporter: &mut Reporter, seed: Seed) -> Result<()> {
        let all = self.improvements.iter().chain([&self.winner]);
        let genomes: Vec<Genome> = all.map(|one| one.genome.clone()).collect();
        let values = reporter.ask(&genomes, seed)?;
        for (one, value) in self.improvements.iter_mut().chain([&mut self.winner]).zip(values) {
            one.reported = value;
        }
        Ok(())
    }
}

impl Reporter {
    /// What networks are worth; none for one that cannot be measured.
    fn ask(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Option<f64>>> {
        let outcomes = self.estimator.evaluate(genomes, seed.derive("reference", 0))?;
        let value = |outcome: pleach_sdk::Outcome| outcome.ok().and_then(|values| values.get(self.index).copied());
        Ok(outcomes.into_iter().map(value).map(|value| value.filter(|value| value.is_finite())).collect())
    }
}

/// Searches in a run directory, from its last checkpoint if there is one.
fn recorded(
    folder: &Path,
    contender: &Contender<'_>,
    config: &Config,
    assembly: Assembly,
    watcher: &mut Watcher,
    process: &Arc<Process>,
) -> Result<crate::result::SearchResult> {
    let mut checkpoint = None;
    let mut directory = if folder.join(run::RECORD).is_file() {
        let mut directory = RunDirectory::open(folder)?;
        let found = directory.last_checkpoint()?;
        for damaged in &found.damaged {
            tracing::warn!("the checkpoint {} is damaged: {}", damaged.path.display(), damaged.why);
        }
        directory.go_back_to(&found)?;
        checkpoint = found.checkpoint;
        directory
    } else {
        let variant = contender.variant;
        run::begin("compare", config, (&variant.file.text, &variant.set), &assembly, Some(folder))?
    };
    let search = Search::new(config, assembly, &mut directory, Arc::clone(process)).untold().observed_by(watcher);
    match checkpoint {
        Some(checkpoint) => search.from_checkpoint(&checkpoint.path)?.run(),
        None => search.run(),
    }
}

/// Looks on and notes which networks the search takes for the best.
struct Watcher {
    objectives: Objectives,
    goal: (usize, Goal),
    /// Whether every network is noted.
    is_any: bool,
    seen: Seen,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// All values of the best network with the weights as they are.
    best: Option<Vec<f64>>,
    improvements: Vec<Improvement>,
    /// Every network with its number and its objective.
    everything: Vec<(u64, Genome, f64)>,
}

impl Observer for Watcher {
    fn trained(&mut self, _: &TrainPlan, report: &TrainReport, _: &mut Assembly) -> Result<()> {
        if report.weights_changed {
            self.seen.best = None;
        }
        Ok(())
    }

    fn evaluated(&mut self, network: &Evaluated<'_>) {
        let Ok(values) = network.outcome else { return };
        let value = values[self.goal.0];
        if self.is_any {
            self.seen.everything.push((network.number, network.genome.clone(), value));
        }
        if self.seen.best.as_ref().is_none_or(|best| self.objectives.better(self.goal, values, best)) {
            self.seen.best = Some(values.to_vec());
            self.seen.improvements.push(Improvement {
                evaluations: network.number,
                simulated_seconds: network.at_simulated_seconds,
                genome: network.genome.clone(),
                value,
                reported: None,
            });
        }
    }

    fn seen(&self) -> Value {
        json!(self.seen)
    }

    fn has_seen(&mut self, seen: Value) -> serde_json::Result<()> {
        self.seen = serde_json::from_value(seen)?;
        Ok(())
    }
}
