//! What is compared: run files and their variants, read, checked and ready to search.

use std::{ops::Range, path::PathBuf, sync::Arc};

use pleach_sdk::{Goal, Seed, host::Host, unknown_name};
use serde_json::json;

use super::{Improvement, Request, store::VariantRecord};
use crate::{
    assemble::{self, Assembly, Blueprint},
    config::{self, Compare, Config, RunFile, Target},
    error::{Error, Result},
    host::Process,
    plugins::{Registry, SearchPath},
    run,
};

/// A run file with some values replaced.
pub(super) struct Variant {
    pub(super) name: String,
    /// The run file.
    pub(super) path: PathBuf,
    /// What the variant replaces, as in `--set`.
    pub(super) set: Vec<String>,
    pub(super) config: Config,
    pub(super) file: RunFile,
}

/// Reads every variant of every run file.
///
/// # Errors
///
/// A file or variant that cannot be read, two with one name, or one that is asked for and not there.
pub(super) fn variants(request: &Request) -> Result<Vec<Variant>> {
    let mut variants: Vec<Variant> = Vec::new();
    for path in &request.files {
        let (config, _) = config::load(path, &request.sets)?;
        let own = config.compare.map(|compare| compare.variants).filter(|variants| !variants.is_empty());
        let several = request.files.len() > 1;
        let named: Vec<(String, Vec<String>)> = match own {
            None => vec![(config.name, Vec::new())],
            Some(own) if several => {
                own.into_iter().map(|(name, set)| (format!("{}: {name}", config.name), set)).collect()
            }
            Some(own) => own.into_iter().collect(),
        };
        for (name, set) in named {
            if variants.iter().any(|variant| variant.name == name) {
                return Err(Error::unusable(
                    format!("two variants are called `{name}`, the second one is of {}", path.display()),
                    "give each run file a `name` of its own",
                ));
            }
            let (config, file) = config::load(path, &[request.sets.as_slice(), &set].concat())?;
            variants.push(Variant { name, path: path.clone(), set, config, file });
        }
    }
    for name in &request.only {
        if !variants.iter().any(|variant| variant.name == *name) {
            let known: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
            return Err(Error::unusable(unknown_name("variant", name, &known), "correct --variant"));
        }
    }
    variants.retain(|variant| request.only.is_empty() || request.only.contains(&variant.name));
    // Networks beside the winner are no part of a comparison.
    variants.iter_mut().for_each(|variant| variant.config.random_networks = 0);
    Ok(variants)
}

/// The seeds to search with: from the first run file's on.
pub(super) fn seeds(request: &Request, first: &Variant) -> Range<u64> {
    let count = request.seeds.unwrap_or_else(|| first.compare().seeds);
    first.config.seed..first.config.seed.saturating_add(u64::from(count))
}

impl Variant {
    /// The plugins that it names.
    pub(super) fn plugins(&self, path: &SearchPath, host: &Arc<dyn Host>) -> Result<Arc<Registry>> {
        assemble::load_plugins(&self.config, &self.file, path, host).map(Arc::new)
    }

    /// What the run file says of comparing.
    pub(super) fn compare(&self) -> Compare {
        self.config.compare.clone().unwrap_or_default()
    }
}

/// What searches are compared by; of all variants the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// The objective that the searches follow.
    pub(super) objective: String,
    /// What says better than the objective what networks are worth, and by whom it is measured.
    pub(super) reported: Option<(String, String)>,
    /// The direction of what is compared.
    pub(super) goal: Goal,
    pub(super) target: Option<Target>,
    /// Whether there is a simulated clock.
    pub(super) is_simulated: bool,
}

impl Question {
    /// The name of the number that is compared.
    pub(super) fn compared(&self) -> &str {
        self.reported.as_ref().map_or(&self.objective, |(name, _)| name)
    }

    /// What is compared of a network.
    pub(super) fn value(&self, network: &Improvement) -> Option<f64> {
        if self.reported.is_some() { network.reported } else { Some(network.value) }
    }
}

/// A variant that can search.
pub(super) struct Contender<'a> {
    pub(super) variant: &'a Variant,
    pub(super) settings: Compare,
    pub(super) blueprint: Blueprint<'a>,
    pub(super) question: Question,
    registry: &'a Registry,
}

impl<'a> Contender<'a> {
    /// Builds everything once: a mistake is told before the first search.
    pub(super) fn new(variant: &'a Variant, registry: &'a Arc<Registry>, process: &'a Arc<Process>) -> Result<Self> {
        let blueprint = Blueprint::new(&variant.config, &variant.file, registry, process)?;
        let settings = variant.compare();
        let assembly = blueprint.build(Seed(variant.config.seed))?;
        let (index, goal) = assembly.objectives.goals().next().expect("a configuration has a direction");
        let objective = assembly.objectives.0[index].name.clone();
        let mut question = Question {
            objective,
            reported: None,
            goal,
            target: settings.target,
            is_simulated: assembly.seconds.is_some(),
        };
        let contender = Contender { variant, settings, blueprint, question: question.clone(), registry };
        if let Some(reporter) = contender.reporter(&assembly)? {
            question.reported = Some((reporter.name, contender.reported_by()));
            question.goal = reporter.goal;
        }
        Ok(Contender { question, ..contender })
    }

    fn reported_by(&self) -> String {
        self.settings.report.as_ref().map_or(String::new(), |report| report.name.clone())
    }

    /// What says what networks are worth, where the run file has it.
    pub(super) fn reporter(&self, assembly: &Assembly) -> Result<Option<Reporter>> {
        let Some(report) = &self.settings.report else { return Ok(None) };
        let pointer = "/compare/report";
        let file = &self.variant.file;
        let estimator = assemble::reference(report, pointer, file, assembly)?;
        let (objective, against) = (&self.question.objective, self.settings.against.as_ref());
        let (index, measured) =
            assemble::compared(estimator.as_ref(), against, objective, (pointer, &report.name), file)?;
        Ok(Some(Reporter { estimator, index, name: measured.name, goal: measured.goal }))
    }

    /// What must be the same where a comparison goes on.
    pub(super) fn record(&self) -> VariantRecord {
        let mut config = json!(self.variant.config);
        // Which seeds, and how many, may change: each search has its own.
        config["seed"] = json!(null);
        if let Some(compare) = config.get_mut("compare") {
            compare["seeds"] = json!(null);
            compare["variants"] = json!(null);
        }
        VariantRecord { name: self.variant.name.clone(), config, plugins: run::plugins_record(self.registry) }
    }
}

/// An estimator that says what networks are worth.
pub(super) struct Reporter {
    pub(super) estimator: Box<dyn pleach_sdk::Estimator>,
    pub(super) index: usize,
    name: String,
    goal: Goal,
}

/// What all variants are compared by.
///
/// # Errors
///
/// Two that answer different questions.
pub(super) fn common_question(contenders: &[Contender<'_>]) -> Result<Question> {
    let first = &contenders[0];
    match contenders.iter().find(|contender| contender.question != first.question) {
        None => Ok(first.question.clone()),
        Some(other) => {
            let describe = |contender: &Contender<'_>| {
                let Question { objective, reported, goal, target, is_simulated } = &contender.question;
                let reported =
                    reported.as_ref().map_or(String::new(), |(name, by)| format!(", reports {name} of {by}"));
                let target = target.map_or(String::new(), |target| format!(", to {}", target.value));
                let clock = if *is_simulated { ", simulated time" } else { "" };
                format!("`{}` ({objective}{reported}, {goal:?}{target}{clock})", contender.variant.name)
            };
            Err(Error::unusable(
                format!("{} and {} cannot be compared", describe(first), describe(other)),
                "give them the same objective, `compare:` and `budget.clock`",
            ))
        }
    }
}
