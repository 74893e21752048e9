//! The component `supernet/weight-sharing`.

use std::{path::Path, sync::Arc};

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SearchSpace, Seed, TrainPlan, TrainReport,
};
use tch::Device;

use crate::{
    attempts,
    config::Config,
    data::{Images, PixelStatistics},
    device,
    evaluation::Benchmark,
    fit,
    parts::{Parts, Sizes},
    training::Trainer,
    weights::Weights,
};

/// Fitness from a SuperNet with shared weights.
pub struct WeightSharing {
    config: Config,
    space: Arc<dyn SearchSpace>,
    dataset: Arc<dyn Dataset>,
    device: Device,
    parts: Parts,
    /// The seed of the first weights.
    seed: Seed,
    /// Made at first use: `pleach check` builds an estimator and spends nothing.
    weights: Option<Weights>,
    images: Option<Images>,
    /// What was measured of the pixels before, from a checkpoint.
    pixels: Option<PixelStatistics>,
    benchmark: Option<Benchmark>,
}

impl Component for WeightSharing {
    type Config = Config;
    const NAME: &'static str = "weight-sharing";
    const SUMMARY: &'static str = "accuracy with weights that all networks of the space share";
    const NEEDS: &'static str = "a data set with more images than it holds out";

    fn example() -> Config {
        Config::default()
    }
}

impl BuildEstimator for WeightSharing {
    fn build(
        config: Config,
        space: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        let dataset = dataset.ok_or_else(|| {
            Error::config("supernet/weight-sharing needs images to train on: add `dataset:` to the run file")
        })?;
        fit::check(space.as_ref(), dataset.as_ref())?;
        let sizes = Sizes {
            held_out: config.held_out,
            train_images: config.train_images,
            evaluate_images: config.evaluate_images,
            recalibration_images: config.batch_norm.recalibration_images,
            batch: config.batch,
        };
        let parts = Parts::new(&sizes, dataset.info().train, context.seed.derive("split", 0))?;
        let device = device::prepare(&config.device, config.threads, config.keep_pages, config.autotune)?;
        let seed = context.seed.derive("weights", 0);
        Ok(WeightSharing {
            config,
            space,
            dataset,
            device,
            parts,
            seed,
            weights: None,
            images: None,
            pixels: None,
            benchmark: None,
        })
    }
}

impl WeightSharing {
    /// Makes what is made at first use.
    fn prepare(&mut self) -> Result<()> {
        if self.weights.is_none() {
            let affine = self.config.batch_norm.affine;
            self.weights = Some(Weights::new(self.space.network(), affine, self.device, self.seed)?);
        }
        if self.images.is_none() {
            let resident = device::room(self.device, self.config.resident);
            let (dataset, training) = (Arc::clone(&self.dataset), &self.parts.training);
            self.images = Some(Images::new(dataset, training, self.device, resident, self.pixels.as_ref())?);
        }
        Ok(())
    }
}

/// What `prepare` made.
const PREPARED: &str = "`prepare` was called before";

impl Estimator for WeightSharing {
    fn objectives(&self) -> Vec<Measured> {
        let measured = |name: &str, goal, unit: &str| Measured { name: name.to_owned(), goal, unit: unit.to_owned() };
        vec![measured("accuracy", Goal::Maximise, ""), measured("loss", Goal::Minimise, "nats")]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        self.prepare()?;
        if self.benchmark.is_none() {
            let images = self.images.as_ref().expect(PREPARED);
            self.benchmark = Some(Benchmark::new(&self.config, images, &self.parts)?);
        }
        let benchmark = self.benchmark.as_ref().expect("it was made above");
        benchmark.evaluate(self.space.network(), self.weights.as_ref().expect(PREPARED), genomes)
    }

    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        if !self.config.inherit {
            self.weights = None;
        }
        self.prepare()?;
        let (network, images) = (self.space.network(), self.images.as_ref().expect(PREPARED));
        let (training, weights) = (&self.parts.training, self.weights.as_mut().expect(PREPARED));
        attempts::train(&self.config, |config| Trainer { config, network, images, training, weights }.train(plan, seed))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        // Weights that were never made follow from the seed.
        match (&self.weights, &self.images) {
            (Some(weights), Some(images)) => weights.save(folder, images.statistics()),
            _ => Ok(()),
        }
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
            self.weights = None;
            return Ok(());
        }
        if self.images.is_none() {
            self.pixels = Some(Weights::pixels(folder)?);
        }
        self.prepare()?;
        self.weights.as_mut().expect(PREPARED).load(folder)
    }
}

#[cfg(test)]
impl WeightSharing {
    pub(crate) fn config_for_test(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
    }

    pub(crate) fn weights_for_test(&mut self, change: impl FnOnce(&mut Weights, &pleach_sdk::Network)) {
        change(self.weights.as_mut().expect(PREPARED), self.space.network());
    }
}
