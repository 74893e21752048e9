//! From a configuration to components that are ready to search.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use pleach_sdk::{
    COMPUTED, ComponentInfo, Context, Dataset, ErrorKind, Estimator, Genome, Kind, LATENCY, Measured, Objective,
    Objectives, Region, SIMULATED_SECONDS, SearchSpace, Seed, Strategy, WeightedOperator, bridge::Plugin, host::Host,
    unknown_name,
};
use serde_json::Value;

use crate::{
    config::{Clock, Component, Config, ExecutorName, RunFile},
    error::{Diagnostic, Error, Result},
    executor::{
        self, Workshop,
        protocol::{self, Order, PROTOCOL, PluginFile},
    },
    host::Process,
    latency::{self, Profile},
    plugins::{Registry, SearchPath},
    schema::Schema,
    train::TrainingParts,
};

/// How many draws a random network inside the limits may take.
const DRAWS_PER_NETWORK: usize = 200;

/// How long a constructor may take before that is told.
const SLOW: Duration = Duration::from_secs(10);
/// The roles of the seeds of data set and space.
pub(crate) const BUILD_DATASET: &str = "build dataset";
pub(crate) const BUILD_SPACE: &str = "build space";

/// The role of the seed from which estimators split their data set and draw first weights.
pub(crate) const BUILD_ESTIMATOR: &str = "build estimator";

/// The components of a run.
pub struct Assembly {
    /// The plugins they come from.
    pub registry: Arc<Registry>,
    /// What networks there are.
    pub space: Arc<dyn SearchSpace>,
    /// What networks are measured on.
    pub dataset: Option<Arc<dyn Dataset>>,
    /// What measures them.
    pub estimator: Box<dyn Estimator>,
    /// What it measures.
    pub measured: Vec<Measured>,
    /// For each objective which of these it is, if any.
    pub sources: Vec<Option<usize>>,
    /// Which of its numbers a simulated clock counts, where the run has such a clock.
    pub seconds: Option<usize>,
    /// What decides.
    pub strategy: Box<dyn Strategy>,
    /// What names the winner among the best networks, where the estimator alone does not.
    pub judge: Option<Judge>,
    /// What is wanted; a limit on latency is that of predictions, below the run file's by a margin.
    pub objectives: Objectives,
    /// What networks take on a device, where the run file names it.
    pub profile: Option<Profile>,
    /// The root of all randomness.
    pub seed: Seed,
    /// What is shared with those who work elsewhere.
    pub workshop: Arc<Workshop>,
}

/// An estimator whose opinion names the winner.
pub struct Judge {
    /// What measures.
    pub estimator: Box<dyn Estimator>,
    /// What it measures, by name.
    pub measured: Vec<Measured>,
    /// Which of its numbers decides.
    pub decides: usize,
}

impl Assembly {
    /// Distinct random networks of a region inside the limits on costs, as many as are wanted
    /// where the region has them.
    ///
    /// # Errors
    ///
    /// What the space says of a genome that it should know.
    pub fn draw(&self, region: &Region, wanted: u32, seed: Seed) -> Result<Vec<Genome>> {
        draw(self.space.as_ref(), &self.objectives, region, wanted, seed)
    }

    /// One number per objective of the run, from the estimator's and from the description.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn values(&self, genome: &Genome, numbers: &[f64]) -> std::result::Result<Vec<f64>, String> {
        let value = |(objective, source): (&Objective, &Option<usize>)| {
            let measured = source.and_then(|index| numbers.get(index).copied());
            match measured.or_else(|| objective.computed(self.space.network().cost(genome))) {
                Some(value) if value.is_finite() => Ok(value),
                Some(value) => Err(format!("the estimator gave {} = {value}", objective.name)),
                None => Err(format!("nobody measured {}", objective.name)),
            }
        };
        self.objectives.0.iter().zip(&self.sources).map(value).collect()
    }
}

/// Distinct random networks of a region of a space inside the limits on costs, as many as are
/// wanted where the region has them.
///
/// # Errors
///
/// What the space says of a genome that it should know.
pub fn draw(
    space: &dyn SearchSpace,
    objectives: &Objectives,
    region: &Region,
    wanted: u32,
    seed: Seed,
) -> Result<Vec<Genome>> {
    let network = space.network();
    let mut generator = seed.generator();
    let mut drawn = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..wanted as usize * DRAWS_PER_NETWORK {
        if drawn.len() == wanted as usize {
            break;
        }
        let genome = network.aligned(&region.sample(&mut generator), region);
        if objectives.allows(network.cost(&genome)) && seen.insert(space.canonical(&genome)?) {
            drawn.push(genome);
        }
    }
    Ok(drawn)
}

/// Loads the plugins and builds every component. Nothing is trained or evaluated.
///
/// # Errors
///
/// The first plugin or component that cannot be used.
pub fn assemble(config: &Config, file: &RunFile, path: &SearchPath, process: &Arc<Process>) -> Result<Assembly> {
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    let registry = Arc::new(load_plugins(config, file, path, &host)?);
    Blueprint::new(config, file, &registry, process)?.build(Seed(config.seed))
}

/// Loads the plugins of a configuration.
///
/// # Errors
///
/// The first that cannot be used.
pub fn load_plugins(config: &Config, file: &RunFile, path: &SearchPath, host: &Arc<dyn Host>) -> Result<Registry> {
    Registry::load(&config.plugins, path, host).map_err(|(index, diagnostic)| {
        let placed = file.diagnostic(&format!("/plugins/{index}"), &diagnostic.message);
        Error::Unusable(vec![Diagnostic { help: diagnostic.help, ..placed }])
    })
}

/// The components of a configuration, found and checked: they are built from it as often as
/// somebody wants to search.
pub struct Blueprint<'a> {
    config: &'a Config,
    file: &'a RunFile,
    registry: &'a Arc<Registry>,
    process: &'a Arc<Process>,
    dataset: Option<Part<'a>>,
    space: Part<'a>,
    operators: Vec<Part<'a>>,
    estimator: Part<'a>,
    judge: Option<Part<'a>>,
    /// What `pleach profile` measures with.
    latency: Option<Part<'a>>,
    strategy: Part<'a>,
}

impl<'a> Blueprint<'a> {
    /// Finds every component and checks its configuration against its schema.
    ///
    /// # Errors
    ///
    /// The first that is not there or whose configuration does not fit.
    pub fn new(
        config: &'a Config,
        file: &'a RunFile,
        registry: &'a Arc<Registry>,
        process: &'a Arc<Process>,
    ) -> Result<Self> {
        let builder = Builder { file, registry };
        let dataset = config.dataset.as_ref();
        let dataset =
            dataset.map(|used| builder.part(Kind::Dataset, &used.name, &used.with, "/dataset")).transpose()?;
        let space = builder.part(Kind::Space, &config.space.name, &config.space.with, "/space")?;
        let operators: Result<Vec<_>> = config
            .operators
            .iter()
            .enumerate()
            .map(|(index, used)| builder.part(Kind::Operator, &used.name, &used.with, &format!("/operators/{index}")))
            .collect();
        let operators = operators?;
        let estimator = builder.part(Kind::Estimator, &config.estimator.name, &config.estimator.with, "/estimator")?;
        let strategy = builder.part(Kind::Strategy, &config.strategy.name, &config.strategy.with, "/strategy")?;
        let judge = config.winner.as_ref();
        let judge = judge
            .map(|winner| builder.part(Kind::Estimator, &winner.by.name, &winner.by.with, "/winner/by"))
            .transpose()?;
        let by = config.latency.as_ref().and_then(|latency| latency.by.as_ref());
        let latency =
            by.map(|used| builder.part(Kind::Estimator, &used.name, &used.with, "/latency/by")).transpose()?;
        if let Some(train) = &config.train {
            // Built by `pleach train`; a mistake in it is told before the search and not after.
            TrainingParts::new(&builder, train)?;
        }
        Ok(Blueprint {
            config,
            file,
            registry,
            process,
            dataset,
            space,
            operators,
            estimator,
            judge,
            latency,
            strategy,
        })
    }

    /// Builds data set and space alone; with what everything over them is built in.
    ///
    /// # Errors
    ///
    /// The first of the two that cannot be built.
    pub(crate) fn ground(&self, seed: Seed) -> Result<Ground> {
        let seed_of = |role| seed.derive(role, 0);
        let mut context = Context { dataset: None, objectives: self.config.objectives(), seed: seed_of(BUILD_DATASET) };
        let dataset = self.dataset.as_ref();
        let dataset =
            dataset.map(|part| part.build(|plugin, name, with| plugin.dataset(name, with, &context))).transpose()?;
        context.dataset = dataset.as_ref().map(|dataset| dataset.info().clone());
        context.seed = seed_of(BUILD_SPACE);
        let space = self.space.build(|plugin, name, with| plugin.space(name, with, &context))?;
        Ok(Ground { context, dataset, space })
    }

    /// What `latency.by` of the run file names, if it names something.
    pub(crate) fn latency(&self) -> Option<&Part<'a>> {
        self.latency.as_ref()
    }

    /// Builds every component, in the order data set, space, operators, estimator, strategy.
    ///
    /// # Errors
    ///
    /// The first component that cannot be built.
    pub fn build(&self, seed: Seed) -> Result<Assembly> {
        let Blueprint { config, file, .. } = self;
        let Ground { mut context, dataset, mut space } = self.ground(seed)?;
        let profile = latency::of_run_file(config, file)?;
        if let Some(profile) = &profile {
            space = latency::profiled(space, profile, file)?;
            let margin = config.latency.as_ref().and_then(|latency| latency.margin);
            context.objectives = profile.objectives(&context.objectives, margin);
        }
        let objectives = context.objectives.clone();
        let mut operators = Vec::new();
        for (index, (part, used)) in self.operators.iter().zip(&config.operators).enumerate() {
            context.seed = seed.derive("build operator", index as u64);
            let operator =
                part.build(|plugin, name, with| plugin.operator(name, with, Arc::clone(&space), &context))?;
            operators.push(WeightedOperator { name: used.name.clone(), weight: used.weight, operator });
        }
        context.seed = seed.derive(BUILD_ESTIMATOR, 0);
        let workshop = Arc::new(Workshop::default());
        let build_estimator = |part: &Part<'_>| {
            part.estimator(&Place {
                blueprint: self,
                space: &space,
                dataset: &dataset,
                context: &context,
                seed,
                workshop: &workshop,
            })
        };
        let estimator = build_estimator(&self.estimator)?;
        let measured = estimator.objectives();
        check_objectives(&objectives, &measured, profile.is_some(), &config.estimator.name, file)?;
        let source = |objective: &Objective| measured.iter().position(|one| one.name == objective.name);
        let sources = objectives.0.iter().map(source).collect();
        let seconds = simulated_seconds(config, &measured, file)?;
        // It gets the estimator's seed, so that both hold out the same images.
        let judge = self.judge.as_ref().map(build_estimator).transpose()?;
        let judge = judge.map(|estimator| Judge::new(estimator, &objectives, file)).transpose()?;
        context.seed = seed.derive("build strategy", 0);
        let strategy = self
            .strategy
            .build(|plugin, name, with| plugin.strategy(name, with, Arc::clone(&space), operators, &context))?;
        let registry = Arc::clone(self.registry);
        Ok(Assembly {
            space,
            dataset,
            estimator,
            measured,
            sources,
            seconds,
            strategy,
            judge,
            objectives,
            profile,
            seed,
            workshop,
            registry,
        })
    }
}

/// What everything else is built over.
pub(crate) struct Ground {
    /// Without objectives that a profile changes; its seed is of no component yet.
    pub(crate) context: Context,
    pub(crate) dataset: Option<Arc<dyn Dataset>>,
    pub(crate) space: Arc<dyn SearchSpace>,
}

impl Judge {
    fn new(estimator: Box<dyn Estimator>, objectives: &Objectives, file: &RunFile) -> Result<Self> {
        let measured = estimator.objectives();
        let (index, _) = objectives.goals().next().expect("a configuration has an objective with a direction");
        let wanted = &objectives.0[index].name;
        let known: Vec<&str> = measured.iter().map(|one| one.name.as_str()).collect();
        match known.iter().position(|name| name == wanted) {
            Some(decides) => Ok(Judge { estimator, measured, decides }),
            None => {
                let message = format!("what names the winner does not measure `{wanted}`");
                let help = format!("it measures {}", known.join(", "));
                Err(Error::Unusable(vec![file.diagnostic("/winner/by", &message).help(help)]))
            }
        }
    }
}

/// Builds an estimator that knows better than the run's, over the same space and data set: the
/// one at `pointer` of the run file. A search does not need it.
///
/// # Errors
///
/// A component that cannot be used.
pub fn reference(used: &Component, pointer: &str, file: &RunFile, assembly: &Assembly) -> Result<Box<dyn Estimator>> {
    let builder = Builder { file, registry: &assembly.registry };
    let part = builder.part(Kind::Estimator, &used.name, &used.with, pointer)?;
    let context = Context {
        dataset: assembly.dataset.as_ref().map(|dataset| dataset.info().clone()),
        objectives: assembly.objectives.clone(),
        seed: assembly.seed.derive("build reference", 0),
    };
    part.build(|plugin, name, with| {
        plugin.estimator(name, with, Arc::clone(&assembly.space), assembly.dataset.clone(), &context)
    })
}

/// The number of a reference that is compared: the one that is asked for, or the one that is
/// called as the run's objective.
///
/// # Errors
///
/// A reference that does not measure it.
pub fn compared(
    reference: &dyn Estimator,
    against: Option<&String>,
    objective: &String,
    (pointer, who): (&str, &str),
    file: &RunFile,
) -> Result<(usize, Measured)> {
    let mut known = reference.objectives();
    let name = against.unwrap_or(objective);
    match known.iter().position(|one| one.name == *name) {
        Some(index) => Ok((index, known.swap_remove(index))),
        None => {
            let known = known.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("{who} does not measure `{name}`, it measures {known}");
            let help = "the run's objective is compared with the number of the same name, or with `against`";
            Err(Error::Unusable(vec![file.diagnostic(pointer, &message).help(help)]))
        }
    }
}

/// Every quantity that is wanted must be measured or computed by somebody.
fn check_objectives(
    objectives: &Objectives,
    measured: &[Measured],
    has_profile: bool,
    estimator: &str,
    file: &RunFile,
) -> Result<()> {
    let measured: Vec<&str> = measured.iter().map(|one| one.name.as_str()).collect();
    if has_profile && measured.contains(&LATENCY) {
        let message = format!("{estimator} measures `{LATENCY}`, which the profile predicts: there is one too many");
        let help = "leave `latency.profile` out, or take an estimator that does not measure it";
        return Err(Error::Unusable(vec![file.diagnostic("/latency/profile", &message).help(help)]));
    }
    let predicted = has_profile.then_some(LATENCY);
    let known: Vec<&str> = measured.iter().copied().chain(COMPUTED).chain(predicted).collect();
    for objective in &objectives.0 {
        let name = objective.name.as_str();
        if !known.contains(&name) {
            let message = unknown_name("objective", name, &known);
            let of_profile = match name {
                LATENCY => {
                    "; latency follows from a profile: `latency: { profile: ... }` names what `pleach profile` wrote"
                }
                _ => "",
            };
            return Err(Error::Unusable(vec![file.diagnostic(&format!("/objectives/{name}"), &message).help(
                format!(
                    "{estimator} measures {}; params and flops follow from the space{of_profile}",
                    measured.join(", ")
                ),
            )]));
        }
    }
    Ok(())
}

/// Which of the estimator's numbers a simulated clock counts.
fn simulated_seconds(config: &Config, measured: &[Measured], file: &RunFile) -> Result<Option<usize>> {
    if config.budget.clock != Clock::Simulated {
        return Ok(None);
    }
    let seconds = measured.iter().position(|one| one.name == SIMULATED_SECONDS);
    seconds.map(Some).ok_or_else(|| {
        let known = measured.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "a simulated clock counts `{SIMULATED_SECONDS}`, which {} does not measure: it measures {known}",
            config.estimator.name
        );
        let help = "leave `clock` out, or use an estimator that knows what a training takes, such as a table";
        Error::Unusable(vec![file.diagnostic("/budget/clock", &message).help(help)])
    })
}

/// Finds the components that a run file names.
pub(crate) struct Builder<'a> {
    pub(crate) file: &'a RunFile,
    pub(crate) registry: &'a Registry,
}

/// A component whose configuration fits its schema.
pub(crate) struct Part<'a> {
    file: &'a RunFile,
    registry: &'a Registry,
    plugin: &'a Plugin,
    info: &'a ComponentInfo,
    with: &'a Value,
    pointer: String,
}

impl<'a> Builder<'a> {
    pub(crate) fn part(&self, kind: Kind, name: &str, with: &'a Value, pointer: &str) -> Result<Part<'a>> {
        let (plugin, info) = self.registry.find(kind, name).map_err(|diagnostic| {
            let placed = self.file.diagnostic(&format!("{pointer}/use"), &diagnostic.message);
            Error::Unusable(vec![Diagnostic { help: diagnostic.help, ..placed }])
        })?;
        let pointer = format!("{pointer}/with");
        self.file.check(with, &Schema::new(info.schema.clone())?, &pointer)?;
        Ok(Part { file: self.file, registry: self.registry, plugin, info, with, pointer })
    }
}

/// What an estimator is built in.
struct Place<'a> {
    blueprint: &'a Blueprint<'a>,
    space: &'a Arc<dyn SearchSpace>,
    dataset: &'a Option<Arc<dyn Dataset>>,
    context: &'a Context,
    /// The root of all randomness.
    seed: Seed,
    workshop: &'a Arc<Workshop>,
}

impl Part<'_> {
    /// The name of the plugin that it is from.
    pub(crate) fn plugin_name(&self) -> &str {
        &self.plugin.info().name
    }

    /// Builds an estimator where the run file wants it: here or in processes of its own.
    fn estimator(&self, place: &Place<'_>) -> Result<Box<dyn Estimator>> {
        let Place { blueprint, space, dataset, context, workshop, .. } = *place;
        let executor = &blueprint.config.executor;
        self.build(|plugin, name, with| match executor.name() {
            ExecutorName::Local => plugin.estimator(name, with, Arc::clone(space), dataset.clone(), context),
            ExecutorName::Processes | ExecutorName::Ray => {
                let order = self.order(place)?;
                let pool = executor::start(executor.name(), &executor.workers(), order, workshop, blueprint.process)?;
                Ok(Box::new(pool))
            }
        })
    }

    /// All that a worker needs to build the same estimator as this process would.
    fn order(&self, place: &Place<'_>) -> pleach_sdk::Result<Order> {
        let Place { blueprint: Blueprint { config, process, .. }, context, seed, .. } = *place;
        let part = |name: &str, with: &Value, seed| protocol::Part { name: name.to_owned(), with: with.clone(), seed };
        let dataset = config.dataset.as_ref();
        let dataset = dataset.map(|used| part(&used.name, &used.with, seed.derive(BUILD_DATASET, 0)));
        let space = part(&config.space.name, &config.space.with, seed.derive(BUILD_SPACE, 0));
        let name = format!("{}/{}", self.plugin.info().name, self.info.name);
        let estimator = part(&name, self.with, context.seed);
        let directory = std::env::current_dir()
            .map_err(|error| pleach_sdk::Error::failed(format!("the current folder is not known: {error}")))?;
        let used = [dataset.as_ref(), Some(&space), Some(&estimator)];
        let is_used = |plugin: &str| used.iter().flatten().any(|part| part.name.split('/').next() == Some(plugin));
        let loaded = self.registry.plugins().iter().filter(|loaded| is_used(&loaded.plugin.info().name));
        let plugins = loaded
            .map(|loaded| PluginFile { path: directory.join(&loaded.path), sha256: loaded.sha256.clone() })
            .collect();
        let (objectives, log) = (context.objectives.clone(), process.log_level().map(protocol::Level::from));
        Ok(Order { protocol: PROTOCOL, directory, plugins, dataset, space, estimator, objectives, log })
    }

    pub(crate) fn build<T>(&self, build: impl FnOnce(&Plugin, &str, &Value) -> pleach_sdk::Result<T>) -> Result<T> {
        let slow = self.tell_when_slow();
        let built = build(self.plugin, &self.info.name, self.with);
        drop(slow);
        built.map_err(|error| {
            if error.kind != ErrorKind::Config {
                return Error::Component { error, folder: None };
            }
            let pointer = format!("{}{}", self.pointer, error.place.as_deref().unwrap_or(""));
            Error::Unusable(vec![self.file.diagnostic(&pointer, &error.message)])
        })
    }

    /// Says so when a constructor does not come back for long, until the answer is dropped.
    fn tell_when_slow(&self) -> mpsc::Sender<()> {
        let (is_built, waiting) = mpsc::channel();
        let name = format!("{}/{}", self.plugin.info().name, self.info.name);
        thread::spawn(move || {
            if waiting.recv_timeout(SLOW) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::warn!(
                    "{name} build: it has not come back for {} s; to end it press Ctrl-C twice, and \
                     `pleach plugins check` says whether it ever does",
                    SLOW.as_secs()
                );
            }
        });
        is_built
    }
}
