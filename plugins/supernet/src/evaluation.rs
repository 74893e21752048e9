//! Measures candidates with shared weights. Reads the weights and changes nothing.

use pleach_sdk::{
    Error, Genome, Network, Outcome, Result, Split,
    host::{self, Progress},
};
use tch::{Kind, Reduction, TchError, Tensor, no_grad};

use crate::{
    batch_norm::{Mode, Statistics},
    config::{Config, Normalisation},
    data::{Images, LabelledBatch},
    network::forward,
    parts::Parts,
    weights::Weights,
};

/// What candidates are measured on, kept on the device.
pub(crate) struct Benchmark {
    evaluation: Vec<LabelledBatch>,
    recalibration: Vec<LabelledBatch>,
}

impl Benchmark {
    /// Loads the held-out images, and those that statistics are taken from.
    pub(crate) fn new(config: &Config, images: &Images, parts: &Parts) -> Result<Self> {
        let batches = |indices: &[u64]| -> Result<Vec<LabelledBatch>> {
            let chunks = indices.chunks(config.evaluation_batch as usize);
            chunks.map(|chunk| images.plain(&images.fetch(Split::Train, chunk)?)).collect()
        };
        let recalibration = match config.batch_norm.evaluation {
            Normalisation::Recalibrated => batches(&parts.recalibration)?,
            Normalisation::BatchStatistics => Vec::new(),
        };
        Ok(Benchmark { evaluation: batches(&parts.evaluation)?, recalibration })
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
            let _ = forward(network, weights, genome, &batch.images, Mode::Record(&mut statistics))?;
        }
        let device = self.evaluation.first().map_or(tch::Device::Cpu, |batch| batch.images.device());
        let mut loss = Tensor::f_zeros([0i64; 0], (Kind::Double, device))?;
        let mut correct = Tensor::f_zeros([0i64; 0], (Kind::Int64, device))?;
        let mut count = 0;
        for batch in &self.evaluation {
            let mode = if self.recalibration.is_empty() { Mode::Batch } else { Mode::Recorded(&statistics) };
            let logits = forward(network, weights, genome, &batch.images, mode)?;
            let batch_loss = logits.f_cross_entropy_loss(&batch.labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?;
            let _ = loss.f_add_(&batch_loss.f_to_kind(Kind::Double)?)?;
            let _ = correct.f_add_(&logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?.f_sum(Kind::Int64)?)?;
            count += batch.labels.size()[0];
        }
        let count = count as f64;
        Ok((correct.f_double_value(&[])? / count, loss.f_double_value(&[])? / count))
    }
}
