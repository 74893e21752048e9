//! What a training leaves for those who take the network away, beside its weights: real images
//! with the logits of our own forward pass, and the network as TorchScript, which must give the
//! same ones.

use std::{collections::HashMap, path::Path};

use pleach_sdk::{Error, Genome, Network, Result, Seed, state};
use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

use crate::{
    batch_norm::{Mode, Statistics},
    model::{WEIGHTS, batch_norms},
    network::forward,
    script, torch,
    weights::Weights,
};

/// Images that exported networks are checked on, as bytes, with labels and logits.
pub(crate) const CHECK: &str = "check.safetensors";
/// The network as TorchScript.
pub(crate) const SCRIPT: &str = "model.pt";

/// How many images there are at most in [`CHECK`].
pub(crate) const IMAGES: usize = 16;

/// How far logits may be from ours, as a share of the largest one where that is more than 1.
const TOLERANCE: f64 = 1e-4;

/// Writes both into a folder that has [`WEIGHTS`], from what is in that file.
pub(crate) fn hand_over(
    network: &Network,
    genome: &Genome,
    (images, labels): (&Tensor, &Tensor),
    folder: &Path,
) -> Result<()> {
    let read = Tensor::read_safetensors(folder.join(WEIGHTS));
    let tensors: Vec<(String, Tensor)> = read.map_err(torch("reading weights"))?;
    let logits = logits(network, genome, &tensors, images, folder)?;
    let script = folder.join(SCRIPT);
    script::write(network, genome, &tensors, &script).map_err(torch("writing TorchScript"))?;
    compare(&script, images, &logits)?;
    let check = [("images", images), ("labels", labels), ("logits", &logits)];
    Tensor::write_safetensors(&check, folder.join(CHECK)).map_err(torch("writing logits"))
}

/// The logits by our own forward pass, in single precision on the CPU whatever trained the network.
fn logits(
    network: &Network,
    genome: &Genome,
    tensors: &[(String, Tensor)],
    images: &Tensor,
    folder: &Path,
) -> Result<Tensor> {
    let by_name: HashMap<&str, &Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let find = |name: &str| {
        by_name.get(name).copied().ok_or_else(|| state::unreadable(folder, format!("there is no tensor `{name}`")))
    };
    let mut weights = Weights::of_genome(network, genome, Device::Cpu, Seed(0))?;
    for parameter in &mut weights.parameters {
        let stored = find(parameter.name())?;
        no_grad(|| parameter.value.f_copy_(stored)).map_err(torch("taking up weights"))?;
    }
    let mut statistics = Vec::new();
    for name in batch_norms(network, genome) {
        let place = |part: &str| find(&format!("{name}/{part}")).map(Tensor::shallow_clone);
        statistics.push((place("mean")?, place("variance")?));
    }
    let statistics = Statistics::of(statistics);
    let (mean, deviation) = (find("input/mean")?, find("input/deviation")?);
    let compute = || {
        let images = images.f_to_kind(Kind::Float)?.f_sub(mean)?.f_div(deviation)?;
        forward(network, &weights, genome, &images, Mode::Recorded(&statistics))
    };
    no_grad(compute).map_err(torch("computing logits"))
}

/// Loads TorchScript as anybody would, and compares its logits with ours.
pub(crate) fn compare(script: &Path, images: &Tensor, logits: &Tensor) -> Result<()> {
    let compute = || {
        let module = CModule::load(script)?;
        let found = module.forward_ts(&[images.f_to_kind(Kind::Float)?])?;
        let scale = logits.f_abs()?.f_max()?.f_double_value(&[])?.max(1.0);
        Ok(found.f_sub(logits)?.f_abs()?.f_max()?.f_double_value(&[])? / scale)
    };
    let difference = no_grad(compute).map_err(torch("running TorchScript"))?;
    // What is no number is no match.
    if difference <= TOLERANCE {
        return Ok(());
    }
    Err(Error::failed(format!(
        "the network as TorchScript gives logits that are {difference:.1e} from its own, {TOLERANCE:.0e} is allowed"
    )))
}

/// The statistics of pixels as tensors of the file of weights.
pub(crate) fn pixels(values: &[f64]) -> std::result::Result<Tensor, TchError> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::f_from_slice(&values)?.f_view([1, -1, 1, 1])
}
