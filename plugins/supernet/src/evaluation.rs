//! Measures candidates with shared weights. Reads the weights and changes nothing.

use pleach_sdk::{
    Error, Genome, Network, Outcome, Result,
    host::{self, Progress},
    tracing,
};
use tch::{Kind, Reduction, TchError, Tensor, no_grad};

use crate::{
    attempts,
    config::{Config, Normalisation},
    data::{Images, LabelledBatch},
    parts::Parts,
    population::Population,
    race,
    shared::{How, Normal, Shared},
    weights::Weights,
};

/// What candidates are measured on, kept on the device.
pub(crate) struct Benchmark {
    pub(crate) evaluation: Vec<LabelledBatch>,
    recalibration: Vec<LabelledBatch>,
    how: How,
    /// Bytes of results that several candidates share.
    room: usize,
    /// How many of the best are measured on all images; 0 for all.
    race: usize,
}

impl Benchmark {
    /// Loads the held-out images, and those that statistics are taken from.
    pub(crate) fn new(config: &Config, images: &Images, parts: &Parts) -> Result<Self> {
        let batches = |indices: &[u64]| -> Result<Vec<LabelledBatch>> {
            let chunks = indices.chunks(config.evaluation_batch as usize);
            chunks.map(|chunk| images.plain(&images.fetch(chunk)?)).collect()
        };
        let recalibration = match config.batch_norm.evaluation {
            Normalisation::Recalibrated => batches(&parts.recalibration)?,
            Normalisation::BatchStatistics => Vec::new(),
        };
        Ok(Benchmark {
            evaluation: batches(&parts.evaluation)?,
            recalibration,
            how: How { precision: config.precision, own_kernels: config.own_kernels },
            room: config.shared_memory as usize * 1024 * 1024,
            race: config.race as usize,
        })
    }

    /// Accuracy and mean cross-entropy of each genome. What several of the networks compute is
    /// computed once.
    pub(crate) fn evaluate(&self, network: &Network, weights: &Weights, genomes: &[Genome]) -> Result<Vec<Outcome>> {
        let validity: Vec<_> = genomes.iter().map(|genome| network.validate(genome)).collect();
        let is_valid = |(genome, validity): (_, &Result<()>)| validity.is_ok().then_some(genome);
        let valid: Vec<&Genome> = genomes.iter().zip(&validity).filter_map(is_valid).collect();
        let population = Population::new(network, &valid);
        let mut measured = self.measure(network, weights, &population, self.room)?;
        let has_no_room = |outcome: &Outcome| outcome.as_ref().is_err_and(|message| attempts::has_no_room(message));
        if self.room > 0 && measured.iter().any(has_no_room) {
            tracing::warn!("no room to keep what networks share; measuring again without");
            measured = self.measure(network, weights, &population, 0)?;
        }
        let mut networks = population.networks.iter();
        let outcome = |validity: Result<()>| {
            validity.map_err(|error| error.message)?;
            let index = networks.next().expect("each valid genome has a network");
            measured[*index].clone()
        };
        Ok(validity.into_iter().map(outcome).collect())
    }

    /// Measures each network of a population once.
    fn measure(
        &self,
        network: &Network,
        weights: &Weights,
        population: &Population,
        room: usize,
    ) -> Result<Vec<Outcome>> {
        let mut shared = Shared::new(network, weights, population, room, self.how);
        let mut scores: Vec<std::result::Result<Score, TchError>> = Vec::new();
        scores.resize_with(population.members.len(), || Ok(Score::default()));
        let evaluate = if self.recalibration.is_empty() { Normal::Batch } else { Normal::Recorded };
        let recalibration = self.recalibration.iter().map(|batch| (batch, Normal::Record));
        let evaluation = self.evaluation.iter().map(|batch| (batch, evaluate));
        let (passes, networks) = (self.recalibration.len() + self.evaluation.len(), population.networks.len());
        let images: u64 = self.evaluation.iter().map(LabelledBatch::count).sum();
        let mut racing = vec![true; scores.len()];
        for (number, (batch, normal)) in recalibration.chain(evaluation).enumerate() {
            let wanted: Vec<bool> =
                scores.iter().zip(&racing).map(|(score, racing)| score.is_ok() && *racing).collect();
            let each = |index: usize, logits: std::result::Result<Tensor, TchError>| {
                if host::is_cancelled() {
                    return Err(Error::cancelled());
                }
                let added = logits.and_then(|logits| match (&mut scores[index], normal) {
                    (Ok(score), Normal::Batch | Normal::Recorded) => score.add(batch, &logits),
                    _ => Ok(()),
                });
                if let Err(error) = added {
                    scores[index] = Err(error);
                }
                Ok(())
            };
            no_grad(|| shared.pass(&batch.images, normal, &wanted, each))?;
            if self.race > 0 && normal != Normal::Record {
                race(self.race, &scores, &mut racing, images);
            }
            // All networks end with the last batch.
            let (done, total) = ((networks * (number + 1) / passes) as u64, networks as u64);
            host::progress(Progress { task: "evaluate", done, total, note: "" });
        }
        Ok(scores.into_iter().map(|score| score.and_then(Score::finish)).map(outcome).collect())
    }
}

/// Takes networks out of the race that cannot be among the `keep` best any more.
fn race(keep: usize, scores: &[std::result::Result<Score, TchError>], racing: &mut [bool], images: u64) {
    let mut runners = Vec::new();
    for (index, score) in scores.iter().enumerate().filter(|(index, _)| racing[*index]) {
        // What cannot be read now fails at the end.
        if let Ok(score) = score
            && let Ok(correct) = score.correct()
        {
            runners.push((index, correct, score.images()));
        }
    }
    let correct: Vec<u64> = runners.iter().map(|(_, correct, _)| *correct).collect();
    let seen = runners.first().map_or(0, |(_, _, seen)| *seen);
    for ((index, ..), stays) in runners.iter().zip(race::survivors(keep, &correct, seen, images)) {
        racing[*index] = stays;
    }
}

/// What the host is told of a network.
fn outcome(measured: std::result::Result<(f64, f64), TchError>) -> Outcome {
    let (accuracy, loss) = measured.map_err(|error| {
        let text = error.to_string();
        format!("libtorch failed: {}", text.lines().next().unwrap_or("no reason given"))
    })?;
    if loss.is_finite() { Ok(vec![accuracy, loss]) } else { Err(format!("the loss is {loss}")) }
}

/// Accuracy and cross-entropy over batches, summed up on the device.
#[derive(Default)]
pub(crate) struct Score {
    /// Cross-entropy and right answers.
    sums: Option<(Tensor, Tensor)>,
    images: u64,
}

impl Score {
    /// Adds the logits of a batch.
    pub(crate) fn add(&mut self, batch: &LabelledBatch, logits: &Tensor) -> std::result::Result<(), TchError> {
        let loss = logits.f_cross_entropy_loss(&batch.labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?;
        let loss = loss.f_to_kind(Kind::Double)?;
        let correct = logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?.f_sum(Kind::Int64)?;
        self.sums = Some(match &self.sums {
            None => (loss, correct),
            Some((losses, corrects)) => (losses.f_add(&loss)?, corrects.f_add(&correct)?),
        });
        self.images += batch.count();
        Ok(())
    }

    /// How many images were added.
    pub(crate) fn images(&self) -> u64 {
        self.images
    }

    /// How many answers were right; waits for the device.
    fn correct(&self) -> std::result::Result<u64, TchError> {
        self.sums.as_ref().map_or(Ok(0), |(_, correct)| Ok(correct.f_int64_value(&[])?.unsigned_abs()))
    }

    /// Accuracy and mean cross-entropy.
    pub(crate) fn finish(self) -> std::result::Result<(f64, f64), TchError> {
        let Some((loss, correct)) = self.sums else { return Ok((f64::NAN, f64::NAN)) };
        let count = self.images as f64;
        Ok((correct.f_double_value(&[])? / count, loss.f_double_value(&[])? / count))
    }
}
