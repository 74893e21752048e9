//! `pleach profile`: how long the operations of a space take on this device, and whole networks of it;
//! and whether the networks that a search found take what was predicted.
//!
//! Everything that is measured is measured in turn, round by round, and of the rounds the least
//! counts: what other programs do in between makes times longer and never shorter.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use pleach_sdk::{
    Context, Estimator, Genome, LATENCY, Network, Region, SearchSpace, Seed,
    host::{Host, Progress},
    rand::Rng,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    assemble::{self, Blueprint, Ground, Part},
    config::{self, Config, RunFile},
    described::DescribedSpace,
    error::{Error, Result},
    host::Process,
    latency::{
        Fit, MeasuredNetwork, Operation, PROFILE, PROFILE_FORMAT, PredictionError, Profile,
        fit::{Sample, fit},
        latencies, operations,
    },
    plugins::{Registry, SearchPath},
    progress::spoken,
    result::{Found, SearchResult},
    resume::{Record, result_of},
    run::{self, MachineRecord, absolute},
    statistics::quantile,
};

/// How many draws a network that was not drawn yet may take.
const DRAWS_PER_NETWORK: u32 = 50;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Networks to make the predictor of, and as many others to try it on.
    pub networks: u32,
    /// How often everything is measured.
    pub rounds: u32,
}

/// What the networks that a search found take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The limit of the run file, in milliseconds.
    pub limit: Option<f64>,
    /// How far predictions are off for these networks.
    pub error: PredictionError,
    /// By how much the median of the rounds was above the least; see [`Profile::disturbance`].
    pub disturbance: f64,
    /// The networks: the elites, the winner first, and those of the front.
    pub networks: Vec<KeptNetwork>,
}

/// A network that a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptNetwork {
    /// The network.
    pub genome: Genome,
    /// What it took, in milliseconds.
    pub milliseconds: f64,
    /// What was predicted.
    pub predicted: f64,
    /// Whether it took no more than the limit, where there is one.
    pub keeps_limit: Option<bool>,
}

/// Measures the space of a run file, and writes `profile.json` into a directory: `folder`, or the first
/// free `runs/<name>-profile-<number>`.
///
/// # Errors
///
/// A run file that does not say what measures, and everything that a component says.
pub fn profile(
    (path, sets): (&Path, &[String]),
    effort: Effort,
    folder: Option<&Path>,
    search_path: &SearchPath,
    process: &Arc<Process>,
) -> Result<(PathBuf, Profile)> {
    let (config, file) = config::load(path, sets)?;
    let registry = load(&config, &file, search_path, process)?;
    let blueprint = Blueprint::new(&config, &file, &registry, process)?;
    let meter = Meter::new(&blueprint, &file)?;
    let Ground { context, space, .. } = blueprint.ground(Seed(config.seed))?;
    let network = space.network();
    let mut bench = Bench::new(&meter, context, process);
    let found = operations::of(network);
    for place in found.values() {
        bench.add_alone(place.alone(network)?)?;
        bench.add_alone(operations::end(place.output(network))?)?;
    }
    let seed = Seed(config.seed).derive("profile", 0);
    let genomes = draw(space.as_ref(), 2 * effort.networks, seed)?;
    if genomes.len() < 4 {
        let message = format!("the space has {} networks, which is too few to fit a predictor", genomes.len());
        return Err(Error::Unusable(vec![file.diagnostic("/space", &message).help("profile a larger space")]));
    }
    let first = bench.add(Arc::clone(&space), &genomes)?;
    let directory = run::make_directory(folder, &format!("{}-profile", config.name))?;
    process.view().line(&format!(
        "{} operations and {} networks of {}, {} rounds",
        found.len(),
        genomes.len(),
        network.description().name,
        effort.rounds
    ));
    bench.measure(effort.rounds)?;
    let measured_on = bench.measured_on(&directory)?;
    let alone: Vec<f64> =
        (0..found.len()).map(|index| (bench.least(2 * index) - bench.least(2 * index + 1)).max(0.0)).collect();
    let times: Vec<f64> = (0..genomes.len()).map(|index| bench.least(first + index)).collect();
    // Every other one is unseen, so that both are measured at the same time and drawn alike.
    let counts = |genome: &Genome| counts(network, genome, &found.keys().map(String::as_str).collect::<Vec<_>>());
    let samples: Vec<Sample> = (0..genomes.len())
        .step_by(2)
        .map(|index| Sample { counts: counts(&genomes[index]), time: times[index] })
        .collect();
    let fitted = fit(&alone, &samples);
    let nanoseconds = |milliseconds: f64| (milliseconds * 1e6).round() as u64;
    let operations: Vec<Operation> = found
        .into_iter()
        .zip(alone.iter().zip(&fitted.times))
        .map(|((signature, place), (alone, time))| Operation {
            name: place.name(network).to_owned(),
            signature,
            milliseconds: *alone,
            nanoseconds: nanoseconds(*time),
        })
        .collect();
    let constant = nanoseconds(fitted.constant);
    let known: HashMap<&str, u64> = operations.iter().map(|it| (it.signature.as_str(), it.nanoseconds)).collect();
    let latencies = latencies(network, constant, &known).expect("every operation of the space was measured");
    let predicting = network.clone().with_latencies(latencies)?;
    let networks: Vec<MeasuredNetwork> = genomes
        .into_iter()
        .zip(times)
        .enumerate()
        .map(|(index, (genome, milliseconds))| {
            let predicted = predicting.cost(&genome).nanoseconds.unwrap_or(0) as f64 / 1e6;
            MeasuredNetwork { genome, milliseconds, predicted, unseen: index % 2 == 1 }
        })
        .collect();
    let unseen: Vec<(f64, f64)> =
        networks.iter().filter(|it| it.unseen).map(|it| (it.milliseconds, it.predicted)).collect();
    let profile = Profile {
        format: PROFILE_FORMAT,
        name: config.name.clone(),
        space: network.description().name.clone(),
        by: config.latency.as_ref().and_then(|latency| latency.by.clone()).expect("the meter was built from it"),
        plugin: meter.plugin(&registry),
        measured_on,
        machine: MachineRecord::here(),
        measured_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        rounds: effort.rounds,
        disturbance: bench.disturbance(),
        fit: Fit { networks: samples.len(), constant, strength: fitted.strength },
        error: PredictionError::of(&unseen),
        operations,
        networks,
    };
    run::write_document(&directory.join(PROFILE), &profile)?;
    Ok((directory, profile))
}

/// Measures the networks that a search found, with what its profile was measured with.
///
/// # Errors
///
/// A directory without a result or a profile, and everything that a component says.
pub fn found(path: &Path, rounds: u32, search_path: &SearchPath, process: &Arc<Process>) -> Result<Kept> {
    let (path, search_path) = (absolute(path), search_path.clone().absolute());
    let (record, _) = Record::read(&path)?;
    let unusable = |message: &str, help: &str| Error::unusable(format!("{}: {message}", path.display()), help);
    let Some(result) = result_of(&path)? else {
        return Err(unusable("the search has no result yet", "`pleach resume` ends it"));
    };
    let own = path.join(PROFILE);
    if !own.is_file() {
        return Err(unusable("the search had no profile", "name one in its run file: latency: { profile: ... }"));
    }
    let profile = Profile::read(&own).map_err(|why| unusable(&why, "search once more"))?;
    record.enter()?;
    let (mut config, file, search_path) = record.configuration(&path, &[], &search_path)?;
    if let Some(latency) = &mut config.latency {
        latency.by = Some(profile.by.clone());
    }
    let registry = load(&config, &file, &search_path, process)?;
    let blueprint = Blueprint::new(&config, &file, &registry, process)?;
    let meter = Meter::new(&blueprint, &file)?;
    let Ground { context, space, .. } = blueprint.ground(Seed(config.seed))?;
    let genomes = found_genomes(&result);
    let mut bench = Bench::new(&meter, context, process);
    bench.add(Arc::clone(&space), &genomes)?;
    bench.measure(rounds)?;
    let latencies = profile.latencies(space.network()).map_err(|unknown| {
        unusable(&format!("its profile has no time for `{}`", unknown.name), "search once more with a new profile")
    })?;
    let predicting = space.network().clone().with_latencies(latencies)?;
    let limit = config.objectives().0.iter().find(|one| one.name == LATENCY).and_then(|one| one.at_most);
    let network = |(index, genome): (usize, Genome)| {
        let milliseconds = bench.least(index);
        let predicted = predicting.cost(&genome).nanoseconds.unwrap_or(0) as f64 / 1e6;
        KeptNetwork { genome, milliseconds, predicted, keeps_limit: limit.map(|limit| milliseconds <= limit) }
    };
    let networks: Vec<KeptNetwork> = genomes.into_iter().enumerate().map(network).collect();
    let pairs: Vec<(f64, f64)> = networks.iter().map(|it| (it.milliseconds, it.predicted)).collect();
    Ok(Kept { limit, error: PredictionError::of(&pairs), disturbance: bench.disturbance(), networks })
}

fn load(config: &Config, file: &RunFile, path: &SearchPath, process: &Arc<Process>) -> Result<Arc<Registry>> {
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    Ok(Arc::new(assemble::load_plugins(config, file, path, &host)?))
}

/// The elites, the winner first, and the front, each network once.
fn found_genomes(result: &SearchResult) -> Vec<Genome> {
    let front = result.front.iter().flat_map(|front| front.networks.iter().map(|it| &it.found));
    let mut seen = BTreeSet::new();
    let genome = |found: &Found| found.genome.clone();
    result.elites.iter().chain(front).map(genome).filter(|genome| seen.insert(genome.clone())).collect()
}

/// Distinct complete networks of a space, as many as are wanted where it has them. One half is drawn
/// uniformly. In the other most layers may be the same operation, for all that are drawn uniformly take
/// much the same time.
fn draw(space: &dyn SearchSpace, wanted: u32, seed: Seed) -> Result<Vec<Genome>> {
    let region = Region::complete(space.network());
    let mut generator = seed.generator();
    let (mut drawn, mut seen) = (Vec::new(), BTreeSet::new());
    for number in 0..wanted * DRAWS_PER_NETWORK {
        if drawn.len() == wanted as usize {
            break;
        }
        let mut genome = region.sample(&mut generator);
        // Of each two that follow one another one is unseen, so pairs are drawn alike.
        if number / 2 % 2 == 1 {
            let (favourite, share): (usize, f64) = (generator.random_range(0..1024), generator.random());
            for (slot, gene) in genome.0.iter_mut().enumerate() {
                let allowed = region.allowed(slot);
                if generator.random::<f64>() < share {
                    *gene = allowed[favourite % allowed.len()];
                }
            }
        }
        let genome = space.network().aligned(&genome, &region);
        if seen.insert(space.canonical(&genome)?) {
            drawn.push(genome);
        }
    }
    Ok(drawn)
}

/// How often a network has each of the operations with these signatures.
fn counts(network: &Network, genome: &Genome, signatures: &[&str]) -> Vec<u32> {
    let mut counts = vec![0; signatures.len()];
    for node in network.nodes() {
        let signature = operations::signature(node, &node.candidates[node.chosen(genome)]);
        if let Some(index) = signature.and_then(|own| signatures.iter().position(|one| *one == own)) {
            counts[index] += 1;
        }
    }
    counts
}

/// What measures, as a run file names it.
struct Meter<'a> {
    part: &'a Part<'a>,
    file: &'a RunFile,
}

impl<'a> Meter<'a> {
    fn new(blueprint: &'a Blueprint<'a>, file: &'a RunFile) -> Result<Self> {
        let Some(part) = blueprint.latency() else {
            let message = "the run file does not say what measures how long networks take";
            let help = "add `latency: { by: { use: supernet/latency } }` and `supernet` to its plugins";
            return Err(Error::Unusable(vec![file.diagnostic("/latency", message).help(help)]));
        };
        Ok(Meter { part, file })
    }

    /// An estimator over a space, and which of its numbers is the latency.
    fn over(&self, space: Arc<dyn SearchSpace>, context: &Context) -> Result<(Box<dyn Estimator>, usize)> {
        let context = Context { objectives: Default::default(), ..context.clone() };
        let build = |plugin: &pleach_sdk::bridge::Plugin, name: &str, with: &Value| {
            plugin.estimator(name, with, space, None, &context)
        };
        let estimator = self.part.build(build)?;
        let measured = estimator.objectives();
        match measured.iter().position(|one| one.name == LATENCY) {
            Some(index) => Ok((estimator, index)),
            None => {
                let known = measured.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
                let message = format!("it does not measure `{LATENCY}`, it measures {known}");
                Err(Error::Unusable(vec![self.file.diagnostic("/latency/by", &message).help("use supernet/latency")]))
            }
        }
    }

    fn plugin(&self, registry: &Registry) -> Value {
        let mut plugins = run::plugins_record(registry).into_iter();
        let own = plugins.find(|plugin| plugin["name"] == self.part.plugin_name()).unwrap_or_default();
        let keys = ["name", "version", "compiler", "sha256"];
        keys.iter().map(|key| ((*key).to_owned(), own[*key].clone())).collect()
    }
}

/// Everything that is measured, in turn.
struct Bench<'a> {
    meter: &'a Meter<'a>,
    context: Context,
    process: &'a Arc<Process>,
    items: Vec<Item>,
    estimators: Vec<(Box<dyn Estimator>, usize)>,
}

/// A network that is measured.
struct Item {
    estimator: usize,
    genome: Genome,
    times: Vec<f64>,
}

impl<'a> Bench<'a> {
    fn new(meter: &'a Meter<'a>, mut context: Context, process: &'a Arc<Process>) -> Self {
        context.seed = context.seed.derive("latency", 0);
        // Operations read other images than the data set has.
        context.dataset = None;
        Bench { meter, context, process, items: Vec::new(), estimators: Vec::new() }
    }

    /// Adds networks of a space; the number of the first.
    fn add(&mut self, space: Arc<dyn SearchSpace>, genomes: &[Genome]) -> Result<usize> {
        let (first, estimator) = (self.items.len(), self.estimators.len());
        self.estimators.push(self.meter.over(space, &self.context)?);
        self.items.extend(genomes.iter().map(|genome| Item { estimator, genome: genome.clone(), times: Vec::new() }));
        Ok(first)
    }

    /// Adds the one network of a space without choices.
    fn add_alone(&mut self, network: Network) -> Result<usize> {
        self.add(Arc::new(DescribedSpace(network)), &[Genome::default()])
    }

    fn measure(&mut self, rounds: u32) -> Result<()> {
        let total = u64::from(rounds) * self.items.len() as u64;
        let seed = self.context.seed;
        let mut done = 0;
        for round in 0..rounds {
            let started = Instant::now();
            for item in &mut self.items {
                let (estimator, index) = &mut self.estimators[item.estimator];
                let outcome = match estimator.evaluate(std::slice::from_ref(&item.genome), seed) {
                    _ if self.process.is_interrupted() => return Err(Error::Stopped),
                    outcome => outcome?.pop(),
                };
                let outcome = outcome.unwrap_or_else(|| Err("no answer".to_owned()));
                match outcome.map(|numbers| numbers.get(*index).copied().unwrap_or(f64::NAN)) {
                    Ok(time) if time.is_finite() && time > 0.0 => item.times.push(time),
                    other => {
                        let what = other.map_or_else(|why| why, |time| format!("{LATENCY} is {time}"));
                        let message = format!("{} could not be measured: {what}", item.genome);
                        return Err(pleach_sdk::Error::failed(message).into());
                    }
                }
                done += 1;
                let note = format!("round {} of {rounds}", round + 1);
                self.process.view().overall(&Progress { task: "profile", done, total, note: &note });
            }
            self.process.view().line(&format!("round {} of {rounds} in {}", round + 1, spoken(started.elapsed())));
        }
        Ok(())
    }

    /// The least of the rounds.
    fn least(&self, index: usize) -> f64 {
        self.items[index].times.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn disturbance(&self) -> f64 {
        let above = |(index, item): (usize, &Item)| Some(quantile(&item.times, 0.5)? / self.least(index) - 1.0);
        let above: Vec<f64> = self.items.iter().enumerate().filter_map(above).collect();
        quantile(&above, 0.5).unwrap_or(0.0)
    }

    /// What the estimator says of its device, in the state that it saves: any JSON, or nothing.
    fn measured_on(&self, directory: &Path) -> Result<Value> {
        let Some((estimator, _)) = self.estimators.last() else { return Ok(Value::Null) };
        let folder = directory.join("estimator");
        std::fs::create_dir(&folder).map_err(|error| run::failed(&folder, "make", &error))?;
        estimator.save(&folder)?;
        let saved = match std::fs::read_to_string(folder.join(pleach_sdk::state::FILE)) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| run::failed(&folder, "read", &error))?,
            Err(_) => Value::Null,
        };
        std::fs::remove_dir_all(&folder).map_err(|error| run::failed(&folder, "remove", &error))?;
        Ok(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::testing::network;

    #[test]
    fn networks_are_drawn_once_and_short_and_long_ones_among_them() {
        let space = DescribedSpace(network());
        let few = draw(&space, 8, Seed(1)).expect("the space has them");
        assert_eq!(few, draw(&space, 8, Seed(1)).expect("the space has them"));
        assert_eq!(few.len(), 8);
        // The space has 12 networks that differ: `identity` first or last is the same.
        let all = draw(&space, 100, Seed(1)).expect("the space can be drawn from");
        let keys: BTreeSet<Genome> = all.iter().map(|genome| space.network().canonical(genome)).collect();
        assert!(keys.len() == all.len() && (12..=18).contains(&all.len()), "{}", all.len());
    }

    #[test]
    fn operations_are_counted_wherever_they_are() {
        let network = network();
        let found = operations::of(&network);
        let signatures: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(counts(&network, &Genome(vec![1, 1, 0]), &signatures), [1, 2, 0, 1, 1, 0, 1]);
        assert_eq!(counts(&network, &Genome(vec![0, 2, 1]), &signatures), [1, 0, 1, 1, 0, 1, 1]);
    }
}
