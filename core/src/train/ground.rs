//! From `train:` in a run file to what a network is trained with: its space, its widths, its data.

use std::sync::Arc;

use pleach_sdk::{Context, Dataset, Estimator, Genome, Kind, Network, Objectives, SearchSpace, Seed};

use crate::{
    assemble::{BUILD_DATASET, BUILD_ESTIMATOR, BUILD_SPACE, Builder, Part},
    config::{Component, Config, RunFile, Training, WidthLimit},
    described::DescribedSpace,
    error::{Error, Result},
    plugins::Registry,
};

/// What `pleach train` works with.
pub(crate) struct TrainingGround {
    /// The space that the network was taken to; its one network is the one that is trained.
    pub(crate) space: Arc<dyn SearchSpace>,
    /// The network, written in that space.
    pub(crate) genome: Genome,
    /// What it is trained on.
    pub(crate) dataset: Option<Arc<dyn Dataset>>,
    /// What trains it.
    pub(crate) estimator: Box<dyn Estimator>,
}

/// The components of `train:` whose configurations fit their schemas.
pub(crate) struct TrainingParts<'a> {
    dataset: Option<Part<'a>>,
    space: Option<Part<'a>>,
    estimator: Part<'a>,
}

impl<'a> TrainingParts<'a> {
    /// Finds them, and builds none.
    pub(crate) fn new(builder: &Builder<'a>, train: &'a Training) -> Result<Self> {
        let part = |kind, used: &'a Component, pointer: &str| builder.part(kind, &used.name, &used.with, pointer);
        let dataset = train.dataset.as_ref();
        let space = train.space.as_ref();
        Ok(TrainingParts {
            dataset: dataset.map(|used| part(Kind::Dataset, used, "/train/dataset")).transpose()?,
            space: space.map(|used| part(Kind::Space, used, "/train/space")).transpose()?,
            estimator: part(Kind::Estimator, &train.estimator, "/train/estimator")?,
        })
    }
}

/// Builds what trains a network, found in the space `from`, as the run file `file` says.
///
/// # Errors
///
/// A component that cannot be used, or a network that does not fit the space or the widths.
pub(crate) fn build(
    config: &Config,
    file: &RunFile,
    train: &Training,
    registry: &Registry,
    found: (&Network, &Genome),
    seed: Seed,
) -> Result<TrainingGround> {
    let builder = Builder { file, registry };
    let parts = TrainingParts::new(&builder, train)?;
    let of_search = config
        .dataset
        .as_ref()
        .map(|used| builder.part(Kind::Dataset, &used.name, &used.with, "/dataset"))
        .transpose()?;
    let mut context = Context {
        dataset: None,
        objectives: Objectives::default(),
        // A data set made from a seed is the one that was searched on.
        seed: Seed(config.seed).derive(BUILD_DATASET, 0),
    };
    let dataset = parts
        .dataset
        .or(of_search)
        .map(|part| part.build(|plugin, name, with| plugin.dataset(name, with, &context)))
        .transpose()?;
    context.dataset = dataset.as_ref().map(|dataset| dataset.info().clone());
    context.seed = Seed(config.seed).derive(BUILD_SPACE, 0);
    let (space_part, place) = match parts.space {
        Some(part) => (part, "/train/space"),
        None => (builder.part(Kind::Space, &config.space.name, &config.space.with, "/space")?, "/space"),
    };
    let template = space_part.build(|plugin, name, with| plugin.space(name, with, &context))?;
    let misfit = |place: &str, error: &pleach_sdk::Error| {
        Error::Unusable(vec![file.diagnostic(place, &format!("the network does not fit: {}", error.message))])
    };
    let (from, genome) = found;
    let genome = if from.description() == template.network().description() {
        genome.clone()
    } else {
        from.transferred(genome, template.network()).map_err(|error| misfit(place, &error))?
    };
    let network = match train.width.as_ref().and_then(WidthLimit::limit) {
        None => template.network().clone(),
        Some(limit) => template.network().scaled_to(&genome, limit).map_err(|error| misfit("/train/width", &error))?,
    };
    let space: Arc<dyn SearchSpace> = Arc::new(DescribedSpace(network));
    context.seed = seed.derive(BUILD_ESTIMATOR, 0);
    let estimator = parts
        .estimator
        .build(|plugin, name, with| plugin.estimator(name, with, Arc::clone(&space), dataset.clone(), &context))?;
    Ok(TrainingGround { space, genome, dataset, estimator })
}
