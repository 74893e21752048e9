//! What `benches/supernet` takes apart to time. Nobody else's interface.

use std::{path::Path, sync::Arc};

use pleach_sdk::{Dataset, Error, Generator, Genome, Network, Region, Result, Seed};
use tch::{Device, Reduction, TchError, Tensor};

use crate::{
    batch_norm::Mode,
    config::{Config, Sampling},
    data::{Images, LabelledBatch},
    device,
    evaluation::Benchmark,
    kernels,
    network::{Pass, forward},
    optimiser::{self, Rates},
    parts::{Parts, Sizes},
    population::Population,
    sampling, torch,
    weights::Weights,
};

/// A SuperNet whose steps are called one by one.
pub struct Bench {
    config: Config,
    network: Network,
    device: Device,
    images: Images,
    parts: Parts,
    weights: Weights,
}

/// Images and labels on the device.
pub struct Batch(LabelledBatch);

/// Gradients of the parameters of one network.
pub struct Gradients(optimiser::Gradients);

impl Bench {
    pub fn new(config: Config, network: Network, dataset: Arc<dyn Dataset>, seed: Seed) -> Result<Self> {
        let sizes = Sizes {
            held_out: config.held_out,
            train_images: config.train_images,
            evaluate_images: config.evaluate_images,
            recalibration_images: config.batch_norm.recalibration_images,
            batch: config.batch,
        };
        let parts = Parts::new(&sizes, dataset.info().train, seed.derive("split", 0))?;
        let device = device::prepare(&config.device, config.threads, config.keep_pages, config.autotune)?;
        let resident = device::room(device, config.resident);
        let images = Images::new(dataset, &parts.training, device, resident, None)?;
        let weights = Weights::new(&network, config.batch_norm.affine, device, seed.derive("weights", 0))?;
        Ok(Bench { config, network, device, images, parts, weights })
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Waits for what was started on the device.
    pub fn synchronise(&self) {
        device::synchronise(self.device);
    }

    /// A batch, fetched and augmented.
    pub fn batch(&self, number: u64) -> Result<Batch> {
        let size = self.config.batch as usize;
        let start = (number as usize * size) % (self.parts.training.len() - size + 1);
        let raw = self.images.fetch(&self.parts.training[start..start + size])?;
        let seed = Seed(number).derive("augmentation", number);
        Ok(Batch(self.images.augmented(&raw, &self.config.augment, seed)?))
    }

    /// The loss of one network.
    pub fn forward(&self, Batch(batch): &Batch, path: &Genome) -> Result<Tensor> {
        let (precision, own_kernels) = (self.config.precision, self.config.own_kernels);
        let pass = Pass::from(Mode::Batch).with_precision(precision).with_own_kernels(own_kernels);
        let loss = || -> std::result::Result<Tensor, TchError> {
            let logits = forward(&self.network, &self.weights, path, &batch.images, pass)?;
            logits.f_cross_entropy_loss(&batch.labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
        };
        loss().map_err(torch("training"))
    }

    /// The gradients of the loss of one network.
    pub fn backward(&self, loss: &Tensor, path: &Genome) -> Result<Gradients> {
        let used = self.weights.used_by(&self.network, path);
        optimiser::Gradients::of(loss, &self.weights.parameters, &used).map(Gradients).map_err(torch("training"))
    }

    /// Moves the weights of one network.
    pub fn step(&self, Gradients(gradients): Gradients) -> Result<()> {
        let rates = Rates {
            learning_rate: self.config.learning_rate,
            momentum: self.config.momentum,
            weight_decay: self.config.weight_decay,
            clip: self.config.clip,
        };
        optimiser::step(&self.weights.parameters, gradients, rates).map_err(torch("training"))
    }

    /// Takes the statistics of batch norms for networks, as they are measured with.
    pub fn recalibrate(&self, genomes: &[Genome]) -> Result<()> {
        let mut benchmark = Benchmark::new(&self.config, &self.images, &self.parts)?;
        benchmark.evaluation.truncate(0);
        benchmark.evaluate(&self.network, &self.weights, genomes).map(drop)
    }

    /// How many layers networks have in all, and how many are left when what they share counts once.
    pub fn layers(&self, genomes: &[Genome]) -> (usize, usize) {
        let population = Population::new(&self.network, &genomes.iter().collect::<Vec<_>>());
        let all = population.networks.iter().map(|index| population.members[*index].path.len()).sum();
        (all, population.values.len())
    }

    /// Writes all weights and a batch.
    pub fn write(&self, Batch(batch): &Batch, file: &Path) -> Result<()> {
        let plain = |tensor: &Tensor| tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous();
        let write = || {
            let mut tensors =
                vec![("images".to_owned(), plain(&batch.images)?), ("labels".to_owned(), plain(&batch.labels)?)];
            for parameter in &self.weights.parameters {
                tensors.push((format!("weight:{}", parameter.name()), plain(&parameter.value)?));
            }
            Tensor::write_safetensors(&tensors, file)
        };
        write().map_err(torch("writing weights"))
    }
}

/// The paths of a training step.
pub fn paths(sampling: Sampling, region: &Region, generator: &mut Generator) -> Vec<Genome> {
    sampling::paths(sampling, region, generator)
}

/// The instruction set of our own kernels on this processor.
pub fn instruction_set() -> Option<&'static str> {
    kernels::instruction_set()
}

/// The most bytes of the device's memory that tensors took so far; of the process on the CPU.
pub fn peak_memory(device: Device) -> Result<u64> {
    match device {
        Device::Cuda(index) => kernels::peak_memory(index).map_err(torch("asking for memory")),
        _ => {
            let status =
                std::fs::read_to_string("/proc/self/status").map_err(|error| Error::failed(error.to_string()))?;
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            Ok(peak.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()).unwrap_or(0) * 1024)
        }
    }
}
