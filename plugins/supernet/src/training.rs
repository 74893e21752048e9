//! Trains shared weights inside a region.

use std::cmp::Reverse;

use pleach_sdk::{
    DatasetInfo, Error, Genome, Network, Result, Seed, Split, TrainPlan, TrainReport, VIEWS,
    host::{self, Progress},
    rand::{Rng, seq::SliceRandom},
};
use tch::{Device, Kind, Reduction, TchError, Tensor};

use crate::{
    attempts,
    batch_norm::Mode,
    config::Config,
    data::{Images, LabelledBatch},
    network::{Pass, forward},
    optimiser::{self, Gradients, Rates},
    sampling,
    threads::{ReadByAll, side_by_side},
    torch,
    weights::Weights,
};

/// How many steps pass between two looks at the loss, each of which waits for the device.
const STEPS_PER_LOOK: u64 = 8;

/// What training works with.
pub(crate) struct Trainer<'a> {
    pub(crate) config: &'a Config,
    pub(crate) network: &'a Network,
    pub(crate) images: &'a Images,
    /// Which images to train on.
    pub(crate) training: &'a [u64],
    pub(crate) weights: &'a mut Weights,
}

/// Loss and accuracy summed up on the device, over the steps since the last look.
pub(crate) struct Sums {
    pub(crate) loss: Tensor,
    pub(crate) correct: Tensor,
    pub(crate) passes: u64,
}

impl Trainer<'_> {
    /// Trains as a plan says. If it fails or is cancelled the weights are as they were before.
    pub(crate) fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        plan.region.validate(self.network)?;
        if !plan.epochs.is_finite() || plan.epochs < 0.0 {
            return Err(Error::failed(format!("a plan asks for {} epochs", plan.epochs)));
        }
        if plan.epochs == 0.0 {
            return Ok(TrainReport::default());
        }
        let used = self.weights.used_in(self.network, &plan.region);
        let before = self.weights.snapshot(&used).map_err(torch("copying weights"))?;
        self.steps(plan, seed).or_else(|error| {
            self.weights.restore(&before).map_err(torch("going back to weights"))?;
            Err(error)
        })
    }

    fn steps(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        self.weights.give_birth(self.network, &plan.region)?;
        let batch = self.config.batch as usize;
        let per_epoch = (self.training.len() / batch) as u64;
        let steps = ((plan.epochs * per_epoch as f64).round() as u64).max(1);
        let batch_images = batch as u64;
        let mut report = TrainReport { weights_changed: true, ..TrainReport::default() };
        let mut since_look = Vec::new();
        let mut last_epoch = Mean::default();
        let images = self.images;
        let (training, info) = (self.training, images.info());
        let lists = (0..steps.div_ceil(per_epoch))
            .flat_map(move |epoch| epoch_lists(info, training, batch, seed.derive("order", epoch)))
            .take(steps as usize);
        let mut step = 0;
        images.ahead(Split::Train, lists, |raw| {
            if host::is_cancelled() {
                return Err(Error::cancelled());
            }
            let within = step % per_epoch;
            if within == 0 {
                last_epoch = Mean::default();
            }
            let batch = images.augmented(&raw, &self.config.augment, seed.derive("augmentation", step))?;
            let paths =
                sampling::paths(self.config.sampling, &plan.region, &mut seed.derive("paths", step).generator());
            let rates = Rates {
                learning_rate: optimiser::cosine(self.config.learning_rate, self.config.learning_rate_min, step, steps),
                momentum: self.config.momentum,
                weight_decay: self.config.weight_decay,
                clip: self.config.clip,
            };
            since_look.push(self.step(&batch, &paths, rates).map_err(torch("training"))?);
            report.images += batch_images * paths.len() as u64;
            if (step + 1) % STEPS_PER_LOOK == 0 || step + 1 == steps || within + 1 == per_epoch {
                let seen = look(&since_look, batch_images).map_err(torch("reading the loss"))?;
                since_look.clear();
                if !seen.loss().is_finite() {
                    return Err(attempts::diverged(seen.loss(), step + 1, steps, rates.learning_rate));
                }
                last_epoch.add(&seen);
                let note = format!("loss {:.3}", seen.loss());
                host::progress(Progress { task: "train", done: step + 1, total: steps, note: &note });
            }
            step += 1;
            Ok(())
        })?;
        report.metrics.insert("loss".to_owned(), last_epoch.loss());
        report.metrics.insert("accuracy".to_owned(), last_epoch.accuracy());
        report.metrics.insert("steps".to_owned(), steps as f64);
        Ok(report)
    }

    /// One step: every path forward and back on the same batch, gradients added up, one move.
    fn step(&mut self, batch: &LabelledBatch, paths: &[Genome], rates: Rates) -> std::result::Result<Sums, TchError> {
        let device = batch.images.device();
        let mut loss = Tensor::f_zeros([0i64; 0], (Kind::Float, device))?;
        let mut correct = Tensor::f_zeros([0i64; 0], (Kind::Int64, device))?;
        let mut gradients = Gradients::default();
        for passed in passes(self.config, self.network, self.weights, batch, paths)? {
            let _ = loss.f_add_(&passed.loss)?;
            let _ = correct.f_add_(&passed.correct)?;
            gradients.add(passed.gradients)?;
        }
        optimiser::step(&self.weights.parameters, gradients, rates)?;
        Ok(Sums { loss, correct, passes: paths.len() as u64 })
    }
}

/// What a path came to on a batch.
pub(crate) struct Passed {
    pub(crate) loss: Tensor,
    correct: Tensor,
    pub(crate) gradients: Gradients,
}

/// One path forward and back.
fn pass(
    config: &Config,
    network: &Network,
    weights: &Weights,
    batch: &LabelledBatch,
    path: &Genome,
) -> std::result::Result<Passed, TchError> {
    let pass = Pass::from(Mode::Batch).with_precision(config.precision).with_own_kernels(config.own_kernels);
    let logits = forward(network, weights, path, &batch.images, pass)?;
    let target = &batch.labels;
    let loss = logits.f_cross_entropy_loss(target, None::<&Tensor>, Reduction::Mean, -100, config.label_smoothing)?;
    let correct = logits.f_argmax(1, false)?.f_eq_tensor(target)?.f_sum(Kind::Int64)?;
    let gradients = Gradients::of(&loss, &weights.parameters, &weights.used_by(network, path))?;
    Ok(Passed { loss: loss.f_detach()?, correct, gradients })
}

/// Every path forward and back, in their order. On the CPU as many at a time as there are threads, for threads that
/// share the small tensors of one path wait for each other; what is left over is computed path by path, by all threads.
/// On CUDA each on one of so many streams, for the small tensors of one path leave most of the device without work.
pub(crate) fn passes(
    config: &Config,
    network: &Network,
    weights: &Weights,
    batch: &LabelledBatch,
    paths: &[Genome],
) -> std::result::Result<Vec<Passed>, TchError> {
    let device = batch.images.device();
    let is_on_cpu = device == Device::Cpu;
    let threads = match config.side_by_side {
        true if is_on_cpu => tch::get_num_threads() as usize,
        true => config.streams as usize,
        false => 1,
    };
    // The longest first: threads end at about the same time.
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|index| Reverse(network.cost(&paths[*index]).flops));
    let (beside, alone) = order.split_at(if is_on_cpu { paths.len() / threads * threads } else { paths.len() });
    // SAFETY: a pass forward and back writes to no tensor that it is given.
    let given = unsafe { ReadByAll::new((weights, batch)) };
    let each = |index: usize| {
        let (weights, batch) = *given.get();
        pass(config, network, weights, batch, &paths[index])
    };
    let mut passed = side_by_side(device, beside.len(), threads, |number| each(beside[number]))?;
    passed.extend(alone.iter().map(|index| each(*index)));
    let mut passed: Vec<_> = order.iter().zip(passed).collect();
    passed.sort_by_key(|(index, _)| **index);
    passed.into_iter().map(|(_, passed)| passed).collect()
}

/// The batches of an epoch: every image at most once, in random order and, where the data set has
/// them, in a random view; a rest that fills no batch is left out.
pub(crate) fn epoch_lists(info: &DatasetInfo, training: &[u64], batch: usize, seed: Seed) -> Vec<Vec<u64>> {
    let mut generator = seed.generator();
    let mut order = training.to_vec();
    order.shuffle(&mut generator);
    if info.views {
        for index in &mut order {
            *index = info.view(*index, generator.random_range(1..=VIEWS));
        }
    }
    order.chunks_exact(batch).map(<[u64]>::to_vec).collect()
}

/// A mean of losses and accuracies over passes.
#[derive(Default)]
pub(crate) struct Mean {
    loss: f64,
    correct: f64,
    passes: u64,
    images: u64,
}

impl Mean {
    pub(crate) fn add(&mut self, other: &Mean) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.passes += other.passes;
        self.images += other.images;
    }

    pub(crate) fn loss(&self) -> f64 {
        self.loss / self.passes as f64
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.correct / self.images as f64
    }
}

pub(crate) fn look(steps: &[Sums], batch: u64) -> std::result::Result<Mean, TchError> {
    let mut mean = Mean::default();
    for step in steps {
        mean.loss += step.loss.f_double_value(&[])?;
        mean.correct += step.correct.f_double_value(&[])?;
        mean.passes += step.passes;
        mean.images += step.passes * batch;
    }
    Ok(mean)
}
