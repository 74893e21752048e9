//! Measures candidates with shared weights. Reads the weights and changes nothing.

use pleach_sdk::{
    Error, Genome, Network, Outcome, Result,
    host::{self, Progress},
};
use tch::{Kind, Reduction, TchError, Tensor, no_grad};

use crate::{
    batch_norm::{Mode, Statistics},
    config::{Config, Normalisation},
    data::{Images, LabelledBatch},
    network::{Pass, Precision, forward},
    parts::Parts,
    weights::Weights,
};

/// What candidates are measured on, kept on the device.
pub(crate) struct Benchmark {
    evaluation: Vec<LabelledBatch>,
    recalibration: Vec<LabelledBatch>,
    precision: Precision,
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
        Ok(Benchmark { evaluation: batches(&parts.evaluation)?, recalibration, precision: config.precision })
    }

    /// Accuracy and mean cross-entropy of each genome.
    pub(crate) fn evaluate(&self, network: &Network, weights: &Weights, genomes: &[Genome]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(genomes.len());
        let mut best: f64 = 0.0;
        for (index, genome) in genomes.iter().enumerate() {
            if host::is_cancelled() {
                return Err(Error::cancelled());
            }
            let outcome = self.candidate(network, weights, genome);
            if let Ok(values) = &outcome {
                best = best.max(values[0]);
            }
            outcomes.push(outcome);
            let note = format!("best {best:.4}");
            let (done, total) = (index as u64 + 1, genomes.len() as u64);
            host::progress(Progress { task: "evaluate", done, total, note: &note });
        }
        Ok(outcomes)
    }

    fn candidate(&self, network: &Network, weights: &Weights, genome: &Genome) -> Outcome {
        network.validate(genome).map_err(|error| error.message)?;
        let (accuracy, loss) = no_grad(|| self.measure(network, weights, genome)).map_err(|error| {
            let text = error.to_string();
            format!("libtorch failed: {}", text.lines().next().unwrap_or("no reason given"))
        })?;
        if loss.is_finite() { Ok(vec![accuracy, loss]) } else { Err(format!("the loss is {loss}")) }
    }

    fn measure(
        &self,
        network: &Network,
        weights: &Weights,
        genome: &Genome,
    ) -> std::result::Result<(f64, f64), TchError> {
        let mut statistics = Statistics::default();
        for batch in &self.recalibration {
            statistics.begin_batch();
            let pass = Pass::from(Mode::Record(&mut statistics)).with_precision(self.precision);
            let _ = forward(network, weights, genome, &batch.images, pass)?;
        }
        let mut score = Score::default();
        for batch in &self.evaluation {
            let mode = if self.recalibration.is_empty() { Mode::Batch } else { Mode::Recorded(&statistics) };
            let pass = Pass::from(mode).with_precision(self.precision);
            score.add(batch, &forward(network, weights, genome, &batch.images, pass)?)?;
        }
        score.finish()
    }
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
        self.images += batch.labels.size()[0].unsigned_abs();
        Ok(())
    }

    /// How many images were added.
    pub(crate) fn images(&self) -> u64 {
        self.images
    }

    /// Accuracy and mean cross-entropy.
    pub(crate) fn finish(self) -> std::result::Result<(f64, f64), TchError> {
        let Some((loss, correct)) = self.sums else { return Ok((f64::NAN, f64::NAN)) };
        let count = self.images as f64;
        Ok((correct.f_double_value(&[])? / count, loss.f_double_value(&[])? / count))
    }
}
