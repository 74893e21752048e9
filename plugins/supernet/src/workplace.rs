//! Where networks are trained from scratch: one, or several side by side.

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pleach_sdk::{
    Genome, Network, Result, Seed, Split,
    host::{self, Progress},
};
use tch::Device;

use crate::{
    data::Images,
    device::synchronise,
    finished,
    model::{Given, Model, TRAIN},
    parts::Parts,
    recipe::{Measure, Recipe},
    threads::{ReadByAll, on_stream, side_by_side},
    torch,
    training::Mean,
};

/// What networks are trained with.
pub(crate) struct Workplace<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) network: &'a Network,
    pub(crate) images: &'a Images,
    pub(crate) parts: &'a Parts,
    pub(crate) device: Device,
}

/// A training from first weights.
pub(crate) struct Job<'a> {
    pub(crate) genome: &'a Genome,
    pub(crate) seed: Seed,
}

/// Accuracy and mean cross-entropy.
pub(crate) type Measurement = (f64, f64);

impl Workplace<'_> {
    /// First weights of a network.
    pub(crate) fn begin(&self, job: &Job<'_>) -> Result<Model> {
        Model::new(self.network, job.genome, self.recipe, self.device, job.seed)
    }

    /// An epoch of training.
    pub(crate) fn epoch(&self, model: &mut Model, tell: &dyn Fn(Progress<'_>)) -> Result<Mean> {
        let mut epoch = || model.train_epoch(self.given(tell), &self.parts.training);
        if self.recipe.graphs { on_stream(self.device, epoch).map_err(torch("training"))? } else { epoch() }
    }

    fn given<'a>(&'a self, tell: &'a dyn Fn(Progress<'_>)) -> Given<'a> {
        Given { network: self.network, recipe: self.recipe, images: self.images, tell }
    }

    /// The epochs that are left, and the measurement.
    pub(crate) fn finish(&self, model: &mut Model) -> Result<Measurement> {
        while !self.is_trained(model) {
            self.epoch(model, &host::progress)?;
        }
        self.measure(model, &host::progress)
    }

    /// What each of several trainings comes to, in their order. With `side_by_side` as many are at work as there are
    /// threads, each computed by one thread at a time, so that its result depends on nothing beside it; or streams.
    pub(crate) fn finish_all(&self, jobs: &[Job<'_>]) -> Result<Vec<Result<Measurement>>> {
        let threads = match (self.recipe.side_by_side, self.device) {
            (true, Device::Cpu) => tch::get_num_threads() as usize,
            (true, _) => self.recipe.streams as usize,
            (false, _) => 1,
        };
        let results: Vec<OnceLock<Result<Measurement>>> = jobs.iter().map(|_| OnceLock::new()).collect();
        let steps: Vec<AtomicU64> = jobs.iter().map(|_| AtomicU64::new(0)).collect();
        let turns = Turns::new(jobs.len(), threads);
        // SAFETY: training writes to tensors of its own model, which one thread has at a time; to none that is here.
        let workplace = unsafe { ReadByAll::new(self) };
        let work = |_| {
            let workplace = *workplace.get();
            while let Some((number, model)) = turns.take() {
                let tell = |progress: Progress<'_>| tell_of(number, &steps, progress);
                let turn = || {
                    let mut model = model.map_or_else(|| workplace.begin(&jobs[number]), Ok)?;
                    while !workplace.is_trained(&model) {
                        workplace.epoch(&mut model, &tell)?;
                        if turns.is_shared(number) && !workplace.is_trained(&model) {
                            // The next epoch may be on another stream.
                            synchronise(workplace.device);
                            turns.put_back(number, model);
                            return Ok(None);
                        }
                    }
                    workplace.measure(&mut model, &tell).map(Some)
                };
                if let Some(result) = turn().transpose() {
                    let _ = results[number].set(result);
                }
            }
        };
        side_by_side(self.device, threads.min(jobs.len()), threads, work).map_err(torch("training side by side"))?;
        let results = results.into_iter().map(|result| result.into_inner().expect("every training came to its end"));
        Ok(results.collect())
    }

    fn is_trained(&self, model: &Model) -> bool {
        model.epoch() >= self.recipe.epochs
    }

    fn measure(&self, model: &mut Model, tell: &dyn Fn(Progress<'_>)) -> Result<Measurement> {
        let (split, indices) = self.measured_on();
        model.measure(self.given(tell), split, &indices)
    }

    /// The images that a trained network is measured on.
    fn measured_on(&self) -> (Split, Vec<u64>) {
        let Recipe { measure, evaluate_images, .. } = self.recipe;
        match measure {
            Measure::HeldOut => (Split::Train, self.parts.evaluation.clone()),
            Measure::Test => {
                let there = self.images.info().test;
                let count = if *evaluate_images == 0 { there } else { *evaluate_images };
                (Split::Test, (0..count).collect())
            }
        }
    }

    /// Writes what others need to take a trained network away, beside its weights.
    pub(crate) fn hand_over(&self, genome: &Genome, folder: &Path) -> Result<()> {
        let (split, mut indices) = self.measured_on();
        indices.truncate(finished::IMAGES);
        let (images, labels) = self.images.bytes(split, &indices)?;
        finished::hand_over(self.network, genome, (&images, &labels), folder)
    }
}

/// Whose turn it is, of trainings that share threads.
///
/// The last ones are trained epoch by epoch in turn, so that no thread is without work while another has two
/// trainings before it; those before them from beginning to end, so that few are in memory.
struct Turns {
    waiting: Mutex<Waiting>,
    count: usize,
    threads: usize,
}

#[derive(Default)]
struct Waiting {
    /// The first one that did not begin.
    next: usize,
    begun: Vec<(usize, Model)>,
}

impl Turns {
    fn new(count: usize, threads: usize) -> Self {
        Turns { waiting: Mutex::default(), count, threads }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A list is whole whatever happened to who held it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The training that is furthest behind, with its model if it has begun.
    fn take(&self) -> Option<(usize, Option<Model>)> {
        let mut waiting = self.waiting();
        if waiting.next < self.count {
            waiting.next += 1;
            return Some((waiting.next - 1, None));
        }
        let behind = waiting.begun.iter().enumerate().min_by_key(|(_, (number, model))| (model.epoch(), *number));
        let place = behind?.0;
        let (number, model) = waiting.begun.swap_remove(place);
        Some((number, Some(model)))
    }

    /// Whether a training leaves its thread to others after an epoch.
    fn is_shared(&self, number: usize) -> bool {
        number + 2 * self.threads > self.count
    }

    fn put_back(&self, number: usize, model: Model) {
        self.waiting().begun.push((number, model));
    }
}

/// Says how far several trainings are, of which number `number` is where `progress` says.
fn tell_of(number: usize, steps: &[AtomicU64], progress: Progress<'_>) {
    let count = steps.len();
    if count == 1 {
        host::progress(progress);
    } else if progress.task == TRAIN {
        steps[number].store(progress.done, Ordering::Relaxed);
        let done = steps.iter().map(|steps| steps.load(Ordering::Relaxed)).sum();
        let note = format!("network {} of {count}, {}", number + 1, progress.note);
        host::progress(Progress { done, total: progress.total * count as u64, note: &note, ..progress });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_trainings_share_threads() {
        let shared = |count, threads| {
            let turns = Turns::new(count, threads);
            let taken: Vec<usize> = std::iter::from_fn(|| turns.take().map(|(number, _)| number)).collect();
            assert_eq!(taken, (0..count).collect::<Vec<_>>());
            taken.into_iter().filter(|number| turns.is_shared(*number)).collect::<Vec<_>>()
        };
        assert_eq!(shared(10, 2), [7, 8, 9]);
        assert_eq!(shared(3, 2), [0, 1, 2]);
        assert_eq!(shared(2, 16), [0, 1]);
        assert_eq!(shared(3, 1), [2]);
    }
}
