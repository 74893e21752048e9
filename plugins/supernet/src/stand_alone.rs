//! The component `supernet/stand-alone`.

use std::{path::Path, sync::Arc};

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SearchSpace, Seed, TrainPlan, TrainReport, host,
    serde::{Deserialize, Serialize},
    state,
};
use tch::Device;

use crate::{
    data::{Images, PixelStatistics},
    device, fit,
    model::{Model, Saved},
    parts::{Parts, Sizes},
    recipe::{Measure, Recipe, Schedule},
    workplace::{Job, Measurement, Workplace},
};

/// Fitness from training each network from scratch.
pub struct StandAlone {
    recipe: Recipe,
    space: Arc<dyn SearchSpace>,
    dataset: Arc<dyn Dataset>,
    device: Device,
    parts: Parts,
    seed: Seed,
    /// Made at first use: `pleach check` builds an estimator and spends nothing.
    images: Option<Images>,
    pixels: Option<PixelStatistics>,
    /// The network that `train` works on.
    model: Option<Model>,
    /// Where the strategy's trainings say how long candidates are trained, and not the recipe.
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct Asked {
    /// What the trainings come to.
    epochs: f64,
    /// The most that the recipe allows.
    most: u32,
}

impl Component for StandAlone {
    type Config = Recipe;
    const NAME: &'static str = "stand-alone";
    const SUMMARY: &'static str = "accuracy of networks that are trained from scratch, each by itself";
    const NEEDS: &'static str = "a data set with more images than it holds out";

    fn example() -> Recipe {
        Recipe::default()
    }
}

impl BuildEstimator for StandAlone {
    fn build(
        recipe: Recipe,
        space: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        let dataset = dataset.ok_or_else(|| {
            Error::config("supernet/stand-alone needs images to train on: add `dataset:` to the run file")
        })?;
        fit::check(space.as_ref(), dataset.as_ref())?;
        let info = dataset.info();
        let of_test = recipe.measure == Measure::Test;
        if !of_test && recipe.held_out == 0 {
            return Err(Error::config("without held-out images there is nothing to measure on").at("/held_out"));
        }
        if of_test && recipe.evaluate_images > info.test {
            let (asked, there) = (recipe.evaluate_images, info.test);
            let message = format!("evaluate_images asks for {asked} images, there are {there}");
            return Err(Error::config(message).at("/evaluate_images"));
        }
        if recipe.warm_up_epochs >= recipe.epochs {
            let message = format!("a warm-up of {} epochs leaves none of {}", recipe.warm_up_epochs, recipe.epochs);
            return Err(Error::config(message).at("/warm_up_epochs"));
        }
        let sizes = Sizes {
            held_out: recipe.held_out,
            train_images: recipe.train_images,
            evaluate_images: if of_test { 0 } else { recipe.evaluate_images },
            recalibration_images: 0,
            batch: recipe.batch,
        };
        // The split of the run's weight-sharing estimator, so that the winner is not judged on
        // images that it was trained on.
        let parts = Parts::new(&sizes, info.train, context.seed.derive("split", 0))?;
        let device = device::prepare(&recipe.device, recipe.threads, recipe.keep_pages, recipe.autotune)?;
        let seed = context.seed.derive("stand-alone", 0);
        let asked = (recipe.schedule == Schedule::Strategy).then_some(Asked { epochs: 0.0, most: recipe.epochs });
        Ok(StandAlone { recipe, space, dataset, device, parts, seed, images: None, pixels: None, model: None, asked })
    }
}

impl StandAlone {
    fn prepare(&mut self) -> Result<()> {
        if self.images.is_none() {
            let resident = device::room(self.device, self.recipe.resident);
            let (dataset, training) = (Arc::clone(&self.dataset), &self.parts.training);
            self.images = Some(Images::new(dataset, training, self.device, resident, self.pixels.as_ref())?);
        }
        Ok(())
    }

    fn workplace(&self) -> Workplace<'_> {
        Workplace {
            recipe: &self.recipe,
            network: self.space.network(),
            images: self.images.as_ref().expect("`prepare` was called before"),
            parts: &self.parts,
            device: self.device,
        }
    }

    /// Takes what the strategy's trainings come to for the epochs of each candidate.
    fn ask(&mut self, asked: Asked) -> Result<()> {
        let Asked { epochs, most } = asked;
        if epochs.round() > f64::from(most) {
            return Err(Error::failed(format!(
                "the strategy has trained for {epochs} epochs, the recipe of supernet/stand-alone has {most}"
            )));
        }
        self.recipe.epochs = epochs.round() as u32;
        self.asked = Some(asked);
        Ok(())
    }

    /// A network's training from first weights; `training` counts those of one network.
    fn job<'a>(&self, genome: &'a Genome, training: u32) -> Result<Job<'a>> {
        let key = self.space.canonical(genome)?;
        let seed = self.seed.derive(&format!("train {key}"), u64::from(training));
        Ok(Job { genome, seed })
    }

    /// Trains candidates and measures them.
    fn candidates(&mut self, genomes: &[Genome]) -> Result<Vec<Result<Measurement>>> {
        let mut jobs = Vec::new();
        let mut trainings = Vec::new();
        for genome in genomes {
            let has_begun = self.model.as_ref().is_some_and(|model| model.genome() == genome);
            let count = if has_begun { 0 } else { self.recipe.trainings };
            let of_genome: Result<Vec<Job<'_>>> = (0..count).map(|training| self.job(genome, training)).collect();
            trainings.push(of_genome.map(|of_genome| {
                jobs.extend(of_genome);
                count
            }));
        }
        let mut measured = self.workplace().finish_all(&jobs)?.into_iter();
        let mut candidate = |trainings: Result<u32>| match trainings? {
            // What `train` began goes on.
            0 => {
                let mut model = self.model.take().expect("a training has begun");
                let measured = self.workplace().finish(&mut model);
                self.model = Some(model);
                measured
            }
            count => {
                let each: Vec<_> = measured.by_ref().take(count as usize).collect();
                let mut sums = (0.0, 0.0);
                for result in each {
                    let (accuracy, loss) = result?;
                    sums = (sums.0 + accuracy, sums.1 + loss);
                }
                Ok((sums.0 / f64::from(count), sums.1 / f64::from(count)))
            }
        };
        Ok(trainings.into_iter().map(&mut candidate).collect())
    }
}

#[cfg(test)]
impl StandAlone {
    /// Whether CUDA repeats the steps of the network that `train` works on.
    pub(crate) fn is_repeated(&self) -> bool {
        self.model.as_ref().is_some_and(Model::is_repeated)
    }
}

impl Estimator for StandAlone {
    fn objectives(&self) -> Vec<Measured> {
        let measured = |name: &str, goal, unit: &str| Measured { name: name.to_owned(), goal, unit: unit.to_owned() };
        vec![measured("accuracy", Goal::Maximise, ""), measured("loss", Goal::Minimise, "nats")]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        if self.asked.is_some_and(|asked| asked.epochs.round() < 1.0) {
            return Err(Error::failed(
                "with `schedule: strategy` candidates are trained for as many epochs as the strategy trains for; it \
                 has trained for none",
            ));
        }
        self.prepare()?;
        let mut outcomes = Vec::new();
        for measured in self.candidates(genomes)? {
            outcomes.push(match measured {
                Ok((_, loss)) if !loss.is_finite() => Err(format!("the loss is {loss}")),
                Ok((accuracy, loss)) => Ok(vec![accuracy, loss]),
                Err(error) if error.kind == pleach_sdk::ErrorKind::Cancelled => return Err(error),
                // Divergence is the candidate's; others may train well.
                Err(error) => Err(error.message),
            });
        }
        Ok(outcomes)
    }

    /// Trains the one network of a region, as many epochs as are asked for and are left of the
    /// recipe; `evaluate` then measures it. A region of several networks has no weights to train.
    /// With `schedule: strategy` nothing is trained before it is measured.
    fn train(&mut self, plan: &TrainPlan, _: Seed) -> Result<TrainReport> {
        if let Some(Asked { epochs, most }) = self.asked {
            self.ask(Asked { epochs: epochs + plan.epochs, most })?;
            return Ok(TrainReport { weights_changed: true, ..TrainReport::default() });
        }
        let genes: Option<Vec<u16>> = plan
            .region
            .slots()
            .iter()
            .map(|allowed| match allowed.as_slice() {
                [only] => Some(*only),
                _ => None,
            })
            .collect();
        let Some(genome) = genes.map(Genome) else { return Ok(TrainReport::default()) };
        self.prepare()?;
        let mut model = match self.model.take() {
            Some(model) if *model.genome() == genome => model,
            _ => self.workplace().begin(&self.job(&genome, 0)?)?,
        };
        let mut report = TrainReport::default();
        let mut outcome = Ok(());
        for _ in 0..plan.epochs.round() as u64 {
            if model.epoch() >= self.recipe.epochs {
                break;
            }
            match self.workplace().epoch(&mut model, &host::progress) {
                Ok(mean) => {
                    report.weights_changed = true;
                    let batch = model.batch(&self.recipe) as usize;
                    report.images += (self.parts.training.len() / batch * batch) as u64;
                    report.metrics.insert("loss".to_owned(), mean.loss());
                    report.metrics.insert("accuracy".to_owned(), mean.accuracy());
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let batch = model.batch(&self.recipe);
        if batch != self.recipe.batch {
            report.metrics.insert("batch".to_owned(), f64::from(batch));
        }
        report.metrics.insert("epoch".to_owned(), f64::from(model.epoch()));
        report.metrics.insert("epochs".to_owned(), f64::from(self.recipe.epochs));
        self.model = Some(model);
        outcome.map(|()| report)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        if let Some(asked) = &self.asked {
            return state::save(folder, asked);
        }
        match (&self.model, &self.images) {
            (Some(model), Some(images)) => {
                model.save(self.space.network(), images.statistics(), folder)?;
                if model.epoch() < self.recipe.epochs {
                    return Ok(());
                }
                self.workplace().hand_over(model.genome(), folder)
            }
            _ => Ok(()),
        }
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        if let Some(Asked { most, .. }) = self.asked {
            let Asked { epochs, .. } = state::load(folder)?;
            return self.ask(Asked { epochs, most });
        }
        if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
            self.model = None;
            return Ok(());
        }
        self.pixels = Some(state::load::<Saved>(folder)?.pixels);
        self.model = Some(Model::load(self.space.network(), &self.recipe, self.device, folder)?);
        // What is saved next has the images' statistics in it.
        self.prepare()
    }
}
