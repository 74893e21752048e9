//! `pleach rank`: how well an estimator ranks networks, held against a reference that knows better.
//!
//! It runs the search of a run file with several seeds and in several variants. After each
//! training it draws networks, asks estimator and reference, and compares the two orders
//! (`statistics.rs`). What comes out is `rank.json` and a plot (`plot.rs`).

mod done;
mod plot;
mod statistics;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use pleach_sdk::{Estimator, Genome, Goal, Network, Region, TrainPlan, TrainReport, host::Progress};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    assemble::{self, Assembly, assemble},
    config::{self, Config},
    error::{Error, Result},
    host::Process,
    plugins::SearchPath,
    run::{self, Lock},
    search::{Observer, Search},
    statistics::Spread,
};

pub use statistics::Agreement;

use self::done::Done;

/// What the directory of a ranking has.
const RANKING: &str = "rank.json";

/// What `pleach rank` found: the document `rank.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The format of this document.
    pub format: u32,
    /// The name in the run file.
    pub name: String,
    /// The estimator that was held against the reference.
    pub estimator: String,
    /// What it was held against.
    pub reference: String,
    /// The objective whose order is compared.
    pub objective: String,
    /// Networks asked for in each sample.
    pub networks: u32,
    /// What was compared.
    pub variants: Vec<Variant>,
}

/// The run file with some values replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What was replaced, as in `--set`.
    pub set: Vec<String>,
    /// One search for each seed.
    pub searches: Vec<RankedSearch>,
    /// By stage and sample, over the seeds.
    pub summary: Vec<Summary>,
    /// What the reference says of the networks that the searches found.
    pub found: Option<Spread>,
}

/// One search of a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedSearch {
    /// Its seed.
    pub seed: u64,
    /// Images that went through a network and back in all trainings: the cost of training.
    pub images: u64,
    /// Networks that the search evaluated; those that were ranked do not count.
    pub evaluations: u64,
    /// Seconds of training and of evaluation by the search.
    pub seconds: f64,
    /// The network it found.
    pub winner: Option<Genome>,
    /// What the reference says of it.
    pub winner_reference: Option<f64>,
    /// Samples, in the order in which they were measured.
    pub samples: Vec<RankedSample>,
}

/// Networks that were ranked after one training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedSample {
    /// The stage, from 0.
    pub stage: u32,
    /// Where the networks were drawn from.
    pub drawn_from: Sample,
    /// How well the two orders agree.
    pub agreement: Agreement,
    /// How well the order by another number that the estimator measures agrees with the reference's.
    #[serde(default)]
    pub others: BTreeMap<String, Agreement>,
    /// The networks.
    pub networks: Vec<Ranked>,
    /// Networks that the estimator or the reference could not measure.
    pub failed: usize,
}

/// Where a sample is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sample {
    /// The whole space at the stage's depth: all operations of the layers that are born.
    Space,
    /// The stage's region: what pruning has left.
    Region,
    /// The networks that the first variant drew from its region with the same seed, so that both
    /// rank the same networks; for a variant that grows in other steps those of the deepest stage
    /// that lies in its own.
    OfFirst,
}

/// A network with two opinions of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The network.
    pub genome: Genome,
    /// What the estimator says; negated where it says less of better networks and the reference
    /// more, or the other way about.
    pub fitness: f64,
    /// What the reference says.
    pub reference: f64,
}

/// A stage and sample of a variant, over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The stage, from 0.
    pub stage: u32,
    /// Where the networks were drawn from.
    pub drawn_from: Sample,
    /// Kendall's tau-b over all networks of the sample.
    pub tau: Option<Spread>,
    /// Over the fifth of the sample that the reference likes best.
    pub tau_of_best: Option<Spread>,
    /// Kendall's tau-b over all networks, by each other number that the estimator measures.
    #[serde(default)]
    pub others: BTreeMap<String, Spread>,
}

/// The directory of a ranking: one that goes on, one that is given and free, or the first free
/// `runs/<name>-rank-<number>`.
///
/// # Errors
///
/// A directory with other things in it.
pub fn directory(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    match given {
        Some(given) if given.join(RANKING).is_file() => Ok(given.to_owned()),
        _ => run::make_directory(given, &format!("{name}-rank")),
    }
}

/// Runs every variant (or only those named) with every seed, in folders of `directory`, and writes `rank.json` and
/// `rank.svg` there. Searches that ended before, in a ranking that was interrupted, are not done again.
///
/// # Errors
///
/// A run file without `rank:`, a variant that it does not have, and everything that ends a search.
pub fn rank(
    path: &Path,
    sets: &[String],
    only: &[String],
    directory: &Path,
    search_path: &SearchPath,
    process: &Arc<Process>,
) -> Result<Ranking> {
    let (config, file) = config::load(path, sets)?;
    let Some(settings) = &config.rank else {
        return Err(Error::Unusable(vec![
            file.diagnostic("", "the run file does not say what to hold its estimator against")
                .help("add `rank: { reference: { use: ... } }`, an estimator that knows better"),
        ]));
    };
    let as_it_stands = [("as configured".to_owned(), Vec::new())];
    let mut variants: Vec<(String, Vec<String>)> = if settings.variants.is_empty() {
        as_it_stands.to_vec()
    } else {
        settings.variants.clone().into_iter().collect()
    };
    for name in only {
        if !variants.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = variants.iter().map(|(known, _)| known.as_str()).collect();
            let message = pleach_sdk::unknown_name("variant", name, &known);
            return Err(Error::Unusable(vec![file.diagnostic("/rank/variants", &message)]));
        }
    }
    variants.retain(|(name, _)| only.is_empty() || only.contains(name));
    // Every variant is built once before the first is searched with: a mistake in the last one
    // is told now and not hours later.
    for (_, own) in &variants {
        prepare(path, &[sets, own].concat(), search_path, process)?;
    }
    let _lock = Lock::take(directory)?;
    let mut ranking = Ranking {
        format: run::RUN_FORMAT,
        name: config.name.clone(),
        estimator: config.estimator.name.clone(),
        reference: settings.reference.name.clone(),
        objective: String::new(),
        networks: settings.networks,
        variants: Vec::new(),
    };
    if !directory.join(RANKING).is_file() {
        run::write_document(&directory.join(RANKING), &ranking)?;
    }
    let all = (variants.len() * settings.seeds.len()) as u64;
    for (number, (name, own)) in variants.into_iter().enumerate() {
        let mut searches = Vec::new();
        for (seed, done) in settings.seeds.iter().zip((number * settings.seeds.len()) as u64..) {
            process.view().overall(&Progress {
                task: "rankings",
                done,
                total: all,
                note: &format!("{name}, seed {seed}"),
            });
            let sets = [sets, &own, &[format!("seed={seed}")]].concat();
            process.view().line(&format!("\n{name}, seed {seed}"));
            let folder =
                directory.join(format!("{}-seed-{seed}", name.replace(|letter: char| !letter.is_alphanumeric(), "-")));
            let first = ranking
                .variants
                .first()
                .and_then(|first| Some((first.name.as_str(), first.searches.iter().find(|one| one.seed == *seed)?)));
            let (objective, search) = one_search(path, &sets, &folder, first, search_path, process)?;
            ranking.objective = objective;
            searches.push(search);
        }
        ranking.variants.push(Variant::new(name, own, searches));
        // What is known so far survives whatever ends the next variant.
        write(directory, &ranking)?;
    }
    Ok(ranking)
}

fn write(directory: &Path, ranking: &Ranking) -> Result<()> {
    run::write_document(&directory.join(RANKING), ranking)?;
    let path = directory.join("rank.svg");
    let unwritten = |message: String| Error::RunDirectory {
        path: path.clone(),
        message: format!("failed to write the plot: {message}"),
    };
    let drawing = plot::draw(ranking).map_err(unwritten)?;
    std::fs::write(&path, drawing).map_err(|error| unwritten(error.to_string()))
}

/// What one search needs.
struct Prepared {
    config: Config,
    text: String,
    assembly: Assembly,
    ranker: Ranker,
}

fn prepare(path: &Path, sets: &[String], search_path: &SearchPath, process: &Arc<Process>) -> Result<Prepared> {
    let (config, file) = config::load(path, sets)?;
    let assembly = assemble(&config, &file, search_path, process)?;
    let Some(settings) = &config.rank else {
        return Err(Error::unusable("a variant replaced `rank:`", "leave `rank` out of its list"));
    };
    let (index, goal) = assembly.objectives.only_goal("pleach rank")?;
    let objective = assembly.objectives.0[index].name.clone();
    let reference = assemble::reference(&settings.reference, "/rank/reference", &file, &assembly)?;
    let place = ("/rank/reference", settings.reference.name.as_str());
    let (in_reference, known) =
        assemble::compared(reference.as_ref(), settings.against.as_ref(), &objective, place, &file)?;
    let in_estimator = assembly.measured.iter().position(|one| one.name == objective).ok_or_else(|| {
        let message =
            format!("{} does not measure `{objective}`, so it has no order of networks", config.estimator.name);
        Error::Unusable(vec![file.diagnostic("/objectives", &message).help("rank by a number that it measures")])
    })?;
    let ranker = Ranker {
        in_reference,
        in_estimator,
        is_opposite: known.goal != goal,
        goal: known.goal,
        others: assembly
            .measured
            .iter()
            .enumerate()
            .filter(|(_, one)| one.name != objective)
            .map(|(index, one)| (index, one.name.clone(), one.goal != known.goal))
            .collect(),
        reference,
        objective,
        networks: settings.networks,
        of_first: Vec::new(),
        images: 0,
        samples: Vec::new(),
    };
    Ok(Prepared { config, text: file.text, assembly, ranker })
}

fn one_search(
    path: &Path,
    sets: &[String],
    folder: &Path,
    first: Option<(&str, &RankedSearch)>,
    search_path: &SearchPath,
    process: &Arc<Process>,
) -> Result<(String, RankedSearch)> {
    let Prepared { config, text, assembly, mut ranker } = prepare(path, sets, search_path, process)?;
    let made_of = done::made_of(&config, &assembly, first.map(|(name, _)| name));
    if let Some(Done { objective, search, .. }) = done::find(folder, &made_of)? {
        process.view().line("was ranked before");
        return Ok((objective, search));
    }
    let of_first = first.iter().flat_map(|(_, first)| &first.samples).filter(|one| one.drawn_from == Sample::Region);
    ranker.of_first = of_first.map(|sample| sample.networks.iter().map(|one| one.genome.clone()).collect()).collect();
    let mut directory = run::begin("rank", &config, (&text, sets), &assembly, Some(folder))?;
    let result = Search::new(&config, assembly, &mut directory, Arc::clone(process)).observed_by(&mut ranker).run()?;
    let winner = result.winner.map(|winner| winner.genome);
    let winner_reference = match &winner {
        Some(genome) => ranker.of_reference(std::slice::from_ref(genome), config.seed)?.pop().flatten(),
        None => None,
    };
    let search = RankedSearch {
        seed: config.seed,
        images: ranker.images,
        evaluations: result.evaluations,
        seconds: result.times.training + result.times.evaluation,
        winner,
        winner_reference,
        samples: ranker.samples,
    };
    directory.event("ranked", json!({ "winner_reference": winner_reference }))?;
    done::keep(&mut directory, made_of, &ranker.objective, &search)?;
    Ok((ranker.objective, search))
}

/// Draws, asks and compares after each training.
struct Ranker {
    reference: Box<dyn Estimator>,
    objective: String,
    /// Which number of each is the objective.
    in_reference: usize,
    in_estimator: usize,
    /// Whether the estimator says less where the reference says more.
    is_opposite: bool,
    /// The reference's direction.
    goal: Goal,
    /// Other numbers of the estimator: which, their name, and whether less of them is more.
    others: Vec<(usize, String, bool)>,
    networks: u32,
    /// By stage, what the first variant drew from its region.
    of_first: Vec<Vec<Genome>>,
    images: u64,
    samples: Vec<RankedSample>,
}

impl Ranker {
    fn of_reference(&mut self, genomes: &[Genome], seed: u64) -> Result<Vec<Option<f64>>> {
        let outcomes = self.reference.evaluate(genomes, pleach_sdk::Seed(seed).derive("reference", 0))?;
        let value =
            |outcome: pleach_sdk::Outcome| outcome.ok().and_then(|values| values.get(self.in_reference).copied());
        Ok(outcomes.into_iter().map(value).collect())
    }

    fn draw(&mut self, plan: &TrainPlan, drawn_from: Sample, region: &Region, assembly: &mut Assembly) -> Result<()> {
        let role = match drawn_from {
            Sample::Space => "rank space",
            Sample::Region | Sample::OfFirst => "rank region",
        };
        let seed = assembly.seed.derive(role, u64::from(plan.stage));
        let genomes = assembly.draw(region, self.networks, seed)?;
        self.sample(plan, drawn_from, genomes, assembly)
    }

    fn sample(
        &mut self,
        plan: &TrainPlan,
        drawn_from: Sample,
        genomes: Vec<Genome>,
        assembly: &mut Assembly,
    ) -> Result<()> {
        let seed = assembly.seed.derive("rank evaluate", u64::from(plan.stage));
        let fitness = assembly.estimator.evaluate(&genomes, seed)?;
        let reference = self.of_reference(&genomes, assembly.seed.0)?;
        let count = genomes.len();
        let measured: Vec<(Genome, Vec<f64>, f64)> = genomes
            .into_iter()
            .zip(fitness)
            .zip(reference)
            .filter_map(|((genome, outcome), reference)| {
                let (values, reference) = (outcome.ok()?, reference?);
                let are_numbers = values.get(self.in_estimator)?.is_finite() && reference.is_finite();
                are_numbers.then_some((genome, values, reference))
            })
            .collect();
        let failed = count - measured.len();
        let ranked = |index: usize, is_opposite: bool| -> Vec<Ranked> {
            let sign = if is_opposite { -1.0 } else { 1.0 };
            measured
                .iter()
                .map(|(genome, values, reference)| Ranked {
                    genome: genome.clone(),
                    fitness: sign * values[index],
                    reference: *reference,
                })
                .collect()
        };
        let networks = ranked(self.in_estimator, self.is_opposite);
        let agreement = Agreement::of(&networks, self.goal);
        let others = self
            .others
            .iter()
            .map(|(index, name, is_opposite)| (name.clone(), Agreement::of(&ranked(*index, *is_opposite), self.goal)))
            .collect();
        self.samples.push(RankedSample { stage: plan.stage, drawn_from, agreement, others, networks, failed });
        Ok(())
    }
}

impl Observer for Ranker {
    fn seen(&self) -> Value {
        json!({ "images": self.images, "samples": self.samples })
    }

    fn has_seen(&mut self, mut seen: Value) -> serde_json::Result<()> {
        self.images = serde_json::from_value(seen["images"].take())?;
        self.samples = serde_json::from_value(seen["samples"].take())?;
        Ok(())
    }

    fn trained(&mut self, plan: &TrainPlan, report: &TrainReport, assembly: &mut Assembly) -> Result<()> {
        self.images += report.images;
        let space = at_depth_of(&plan.region, assembly.space.network());
        self.draw(plan, Sample::Space, &space, assembly)?;
        if plan.region == space {
            // The two are one, and so are their orders.
            if let Some(same) = self.samples.last().cloned() {
                self.samples.push(RankedSample { drawn_from: Sample::Region, ..same });
            }
        } else {
            self.draw(plan, Sample::Region, &plan.region, assembly)?;
        }
        let is_inside = |genomes: &&Vec<Genome>| genomes.iter().all(|genome| space.contains(genome));
        match self.of_first.iter().rev().find(is_inside).cloned() {
            Some(genomes) => self.sample(plan, Sample::OfFirst, genomes, assembly),
            None => Ok(()),
        }
    }
}

/// All operations in the slots that a region lets be more than absent, as in the region elsewhere.
fn at_depth_of(region: &Region, network: &Network) -> Region {
    let complete = Region::complete(network);
    let slot = |slot: usize| {
        let is_unborn = region.allowed(slot).iter().all(|choice| Some(*choice) == network.absent(slot));
        if is_unborn { region.allowed(slot).to_vec() } else { complete.allowed(slot).to_vec() }
    };
    Region::new((0..region.slots().len()).map(slot).collect()).unwrap_or(complete)
}

impl Variant {
    fn new(name: String, set: Vec<String>, searches: Vec<RankedSearch>) -> Self {
        let mut summary: Vec<Summary> = Vec::new();
        for sample in searches.iter().flat_map(|search| &search.samples) {
            let (stage, drawn_from) = (sample.stage, sample.drawn_from);
            if summary.iter().any(|one| (one.stage, one.drawn_from) == (stage, drawn_from)) {
                continue;
            }
            let same: Vec<&RankedSample> = searches
                .iter()
                .flat_map(|search| &search.samples)
                .filter(|other| (other.stage, other.drawn_from) == (stage, drawn_from))
                .collect();
            let by = |name: &String| {
                let tau = same.iter().filter_map(|sample| sample.others.get(name)?.tau);
                Some((name.clone(), Spread::of(tau)?))
            };
            summary.push(Summary {
                stage,
                drawn_from,
                tau: Spread::of(same.iter().filter_map(|sample| sample.agreement.tau)),
                tau_of_best: Spread::of(same.iter().filter_map(|sample| sample.agreement.tau_of_best)),
                others: sample.others.keys().filter_map(by).collect(),
            });
        }
        let found = Spread::of(searches.iter().filter_map(|search| search.winner_reference));
        Variant { name, set, searches, summary, found }
    }
}
