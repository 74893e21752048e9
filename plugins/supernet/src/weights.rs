//! The SuperNet's parameters: for each node of the network and each of its candidate operations
//! weights of their own.

use std::path::Path;

use pleach_sdk::{
    Error, Genome, Network, Region, Result, Seed,
    network::{Layer, ResolvedOperation},
    rand::Rng,
    serde::{Deserialize, Serialize},
    state,
};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{data::PixelStatistics, torch};

/// One trainable tensor and its momentum.
pub(crate) struct Parameter {
    /// What it is called in a file.
    name: String,
    pub(crate) value: Tensor,
    pub(crate) momentum: Tensor,
}

impl Parameter {
    /// What it is called in a file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[cfg(test)]
    pub(crate) fn for_test(value: Tensor, momentum: Tensor) -> Self {
        Parameter { name: String::new(), value, momentum }
    }
}

/// Where the parameters of one layer are.
#[derive(Clone, Copy)]
pub(crate) enum LayerWeights {
    None,
    Convolution { weight: usize, bias: Option<usize> },
    BatchNorm { scale: Option<usize>, shift: Option<usize> },
    SqueezeExcite { reduce: (usize, usize), expand: (usize, usize) },
    Linear { weight: usize, bias: usize },
}

/// All parameters of a SuperNet.
pub(crate) struct Weights {
    pub(crate) parameters: Vec<Parameter>,
    /// By node, candidate and layer.
    layers: Vec<Vec<Vec<LayerWeights>>>,
    growth: Growth,
}

/// Which layers were born. Saved with the weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct Growth {
    /// By slot.
    born: Vec<bool>,
    /// Whether anything was trained yet.
    trained: bool,
}

/// What is saved beside tensors.
#[derive(Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct Saved {
    growth: Growth,
    pixels: PixelStatistics,
}

const TENSORS: &str = "supernet.safetensors";

impl Weights {
    /// First weights: convolutions uniform with the variance of He et al. 2015 (fan-out, ReLU),
    /// linear layers uniform within one over the root of their inputs. Each layer draws from a
    /// seed of its own, so what a layer begins with does not depend on what else there is.
    pub(crate) fn new(network: &Network, affine: bool, device: Device, seed: Seed) -> Result<Self> {
        let mut builder = Builder { parameters: Vec::new(), device };
        let mut layers = Vec::new();
        for node in network.nodes() {
            let mut candidates = Vec::new();
            for candidate in &node.candidates {
                let name = format!("{}/{}", node.name, candidate.name);
                candidates.push(builder.operation(candidate, &name, affine, seed)?);
            }
            layers.push(candidates);
        }
        let born = (0..network.slots().len()).map(|slot| network.absent(slot).is_none()).collect();
        Ok(Weights { parameters: builder.parameters, layers, growth: Growth { born, trained: false } })
    }

    /// First weights of a single network, with scale and shift in every batch norm; other
    /// candidates have none.
    pub(crate) fn of_genome(network: &Network, genome: &Genome, device: Device, seed: Seed) -> Result<Self> {
        let mut builder = Builder { parameters: Vec::new(), device };
        let mut layers = Vec::new();
        for node in network.nodes() {
            let mut candidates = Vec::new();
            for (index, candidate) in node.candidates.iter().enumerate() {
                let name = format!("{}/{}", node.name, candidate.name);
                let is_chosen = index == node.chosen(genome);
                candidates.push(if is_chosen { builder.operation(candidate, &name, true, seed)? } else { Vec::new() });
            }
            layers.push(candidates);
        }
        let growth = Growth { born: vec![true; network.slots().len()], trained: true };
        Ok(Weights { parameters: builder.parameters, layers, growth })
    }

    /// Adds the weights of an operation that is no part of the network.
    pub(crate) fn add_operation(
        &mut self,
        operation: &ResolvedOperation,
        name: &str,
        seed: Seed,
    ) -> Result<Vec<LayerWeights>> {
        let device = self.device();
        let mut builder = Builder { parameters: std::mem::take(&mut self.parameters), device };
        let layers = builder.operation(operation, name, true, seed);
        self.parameters = builder.parameters;
        layers
    }

    /// Where they are.
    pub(crate) fn device(&self) -> Device {
        self.parameters.first().map_or(Device::Cpu, |parameter| parameter.value.device())
    }

    /// The weights of one candidate's layers.
    pub(crate) fn of(&self, node: usize, candidate: usize) -> &[LayerWeights] {
        &self.layers[node][candidate]
    }

    /// The parameters that a path uses, by index.
    pub(crate) fn used_by(&self, network: &Network, path: &Genome) -> Vec<usize> {
        let nodes = network.nodes().iter().enumerate();
        nodes.flat_map(|(index, node)| self.of_candidate(index, node.chosen(path))).collect()
    }

    /// The weights of convolutions and linear layers that a path uses, by index: no bias, and
    /// nothing of batch norms.
    pub(crate) fn factors_of(&self, network: &Network, path: &Genome) -> Vec<usize> {
        let nodes = network.nodes().iter().enumerate();
        nodes.flat_map(|(index, node)| self.of(index, node.chosen(path))).flat_map(LayerWeights::factors).collect()
    }

    /// The parameters that some path of a region uses, by index.
    pub(crate) fn used_in(&self, network: &Network, region: &Region) -> Vec<usize> {
        let mut used = Vec::new();
        for (index, node) in network.nodes().iter().enumerate() {
            match node.slot {
                None => used.extend(self.of_candidate(index, 0)),
                Some(slot) => {
                    for choice in region.allowed(slot) {
                        used.extend(self.of_candidate(index, usize::from(*choice)));
                    }
                }
            }
        }
        used
    }

    fn of_candidate(&self, node: usize, candidate: usize) -> Vec<usize> {
        self.layers[node][candidate].iter().flat_map(LayerWeights::parameters).collect()
    }

    /// Layers that a region allows for the first time start near identity, unless they are there
    /// from the first training on: the scale of the last batch norm beside a shortcut is zero, so
    /// a grown network gives the outputs of the network that it grew from.
    pub(crate) fn give_birth(&mut self, network: &Network, region: &Region) -> Result<()> {
        for slot in 0..self.growth.born.len() {
            let is_allowed = region.allowed(slot).iter().any(|choice| Some(*choice) != network.absent(slot));
            if self.growth.born[slot] || !is_allowed {
                continue;
            }
            self.growth.born[slot] = true;
            if !self.growth.trained {
                continue;
            }
            for (index, node) in network.nodes().iter().enumerate().filter(|(_, node)| node.slot == Some(slot)) {
                for (candidate, operation) in node.candidates.iter().enumerate().filter(|(_, it)| it.residual) {
                    let gain = self.layers[index][candidate].iter().rev().find_map(LayerWeights::scale);
                    if let Some(gain) = gain {
                        let value = &mut self.parameters[gain].value;
                        let _ = no_grad(|| value.f_zero_()).map_err(torch("starting a new layer"))?;
                    } else {
                        pleach_sdk::tracing::warn!(
                            "`{}` has no batch norm beside its shortcut, so it does not start near identity",
                            operation.name
                        );
                    }
                }
            }
        }
        self.growth.trained = true;
        Ok(())
    }

    /// Weights of the same layers with other values.
    pub(crate) fn map(
        &self,
        change: impl Fn(&Tensor) -> std::result::Result<Tensor, tch::TchError>,
    ) -> std::result::Result<Weights, tch::TchError> {
        no_grad(|| {
            let changed = |parameter: &Parameter| {
                let value = change(&parameter.value)?.f_set_requires_grad(true)?;
                Ok(Parameter { name: parameter.name.clone(), momentum: parameter.momentum.shallow_clone(), value })
            };
            let parameters = self.parameters.iter().map(changed).collect::<std::result::Result<_, tch::TchError>>()?;
            Ok(Weights { parameters, layers: self.layers.clone(), growth: self.growth.clone() })
        })
    }

    /// Copies of some parameters, to go back to.
    pub(crate) fn snapshot(&self, indices: &[usize]) -> std::result::Result<Snapshot, tch::TchError> {
        let copy = |index: &usize| {
            let parameter = &self.parameters[*index];
            Ok((*index, parameter.value.f_detach_copy()?, parameter.momentum.f_detach_copy()?))
        };
        let copies: std::result::Result<Vec<_>, tch::TchError> = indices.iter().map(copy).collect();
        Ok(Snapshot { copies: copies?, growth: self.growth.clone() })
    }

    /// Goes back to a snapshot.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> std::result::Result<(), tch::TchError> {
        no_grad(|| {
            for (index, value, momentum) in &snapshot.copies {
                self.parameters[*index].value.f_copy_(value)?;
                self.parameters[*index].momentum.f_copy_(momentum)?;
                // A step that failed half-way has left some.
                let mut gradient = self.parameters[*index].value.f_grad()?;
                if gradient.defined() {
                    let _ = gradient.f_zero_()?;
                }
            }
            Ok::<(), tch::TchError>(())
        })?;
        self.growth = snapshot.growth.clone();
        Ok(())
    }

    /// Writes weights, momentum and growth into a folder.
    pub(crate) fn save(&self, folder: &Path, pixels: &PixelStatistics) -> Result<()> {
        let mut tensors = Vec::new();
        for parameter in &self.parameters {
            let plain = |tensor: &Tensor| tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous();
            let value = plain(&parameter.value).map_err(torch("reading weights"))?;
            let momentum = plain(&parameter.momentum).map_err(torch("reading weights"))?;
            tensors.push((parameter.name.clone(), value));
            tensors.push((format!("{}.momentum", parameter.name), momentum));
        }
        let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        Tensor::write_safetensors(&named, folder.join(TENSORS)).map_err(torch("writing weights"))?;
        state::save(folder, &Saved { growth: self.growth.clone(), pixels: pixels.clone() })
    }

    /// What a folder that `save` wrote says of pixels.
    pub(crate) fn pixels(folder: &Path) -> Result<PixelStatistics> {
        Ok(state::load::<Saved>(folder)?.pixels)
    }

    /// Takes up what `save` wrote.
    pub(crate) fn load(&mut self, folder: &Path) -> Result<()> {
        let Saved { growth, .. } = state::load(folder)?;
        let (stored, needed) = (growth.born.len(), self.growth.born.len());
        if stored != needed {
            let why = format!("it is of a space with {stored} slots, this one has {needed}");
            return Err(state::unreadable(folder, why));
        }
        let mut tensors: std::collections::HashMap<String, Tensor> =
            Tensor::read_safetensors(folder.join(TENSORS)).map_err(torch("reading weights"))?.into_iter().collect();
        for parameter in &mut self.parameters {
            let names = [parameter.name.clone(), format!("{}.momentum", parameter.name)];
            for (name, target) in names.iter().zip([&mut parameter.value, &mut parameter.momentum]) {
                let stored =
                    tensors.remove(name).ok_or_else(|| Error::failed(format!("{TENSORS} has no tensor `{name}`")))?;
                if stored.size() != target.size() {
                    return Err(Error::failed(format!(
                        "{TENSORS} has `{name}` of {:?}, this space needs {:?}",
                        stored.size(),
                        target.size()
                    )));
                }
                no_grad(|| target.f_copy_(&stored)).map_err(torch("taking up weights"))?;
            }
        }
        self.growth = growth;
        Ok(())
    }
}

/// Copies of parameters.
pub(crate) struct Snapshot {
    copies: Vec<(usize, Tensor, Tensor)>,
    growth: Growth,
}

impl LayerWeights {
    fn parameters(&self) -> Vec<usize> {
        match self {
            LayerWeights::None => Vec::new(),
            LayerWeights::Convolution { weight, bias } => [Some(*weight), *bias].into_iter().flatten().collect(),
            LayerWeights::BatchNorm { scale, shift } => [*scale, *shift].into_iter().flatten().collect(),
            LayerWeights::SqueezeExcite { reduce, expand } => vec![reduce.0, reduce.1, expand.0, expand.1],
            LayerWeights::Linear { weight, bias } => vec![*weight, *bias],
        }
    }

    fn factors(&self) -> Vec<usize> {
        match self {
            LayerWeights::None | LayerWeights::BatchNorm { .. } => Vec::new(),
            LayerWeights::Convolution { weight, .. } | LayerWeights::Linear { weight, .. } => vec![*weight],
            LayerWeights::SqueezeExcite { reduce, expand } => vec![reduce.0, expand.0],
        }
    }

    fn scale(&self) -> Option<usize> {
        match self {
            LayerWeights::BatchNorm { scale, .. } => *scale,
            _ => None,
        }
    }
}

/// The same values laid out channels-last, which convolutions on the CPU and on tensor cores
/// prefer. `tch` has no memory formats; the strides of a permuted copy say the same.
pub(crate) fn channels_last(tensor: &Tensor) -> std::result::Result<Tensor, tch::TchError> {
    tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

struct Builder {
    parameters: Vec<Parameter>,
    device: Device,
}

impl Builder {
    fn operation(
        &mut self,
        operation: &ResolvedOperation,
        name: &str,
        affine: bool,
        seed: Seed,
    ) -> Result<Vec<LayerWeights>> {
        let last_norm = operation.layers.iter().rposition(|layer| matches!(layer, Layer::BatchNorm { .. }));
        let mut layers = Vec::new();
        for (index, layer) in operation.layers.iter().enumerate() {
            let name = format!("{name}/{index}");
            let has_scale = affine || (operation.residual && last_norm == Some(index));
            layers.push(self.layer(layer, &name, has_scale, affine, seed)?);
        }
        Ok(layers)
    }

    fn layer(
        &mut self,
        layer: &Layer,
        name: &str,
        has_scale: bool,
        has_shift: bool,
        seed: Seed,
    ) -> Result<LayerWeights> {
        Ok(match layer {
            Layer::Convolution { input, output, kernel, groups, bias, .. } => {
                let shape = [i64::from(*output), i64::from(input / groups), i64::from(*kernel), i64::from(*kernel)];
                let fan_out = f64::from(output / groups * kernel * kernel);
                let weight = self.uniform(format!("{name}/weight"), &shape, (6.0 / fan_out).sqrt(), seed)?;
                let bias = bias.then(|| self.constant(format!("{name}/bias"), i64::from(*output), 0.0)).transpose()?;
                LayerWeights::Convolution { weight, bias }
            }
            Layer::BatchNorm { channels } => {
                let channels = i64::from(*channels);
                let scale = has_scale.then(|| self.constant(format!("{name}/scale"), channels, 1.0)).transpose()?;
                let shift = has_shift.then(|| self.constant(format!("{name}/shift"), channels, 0.0)).transpose()?;
                LayerWeights::BatchNorm { scale, shift }
            }
            Layer::SqueezeExcite { channels, hidden, .. } => {
                let (channels, hidden) = (i64::from(*channels), i64::from(*hidden));
                let reduce = self.gate(&format!("{name}/reduce"), hidden, channels, seed)?;
                let expand = self.gate(&format!("{name}/expand"), channels, hidden, seed)?;
                LayerWeights::SqueezeExcite { reduce, expand }
            }
            Layer::Linear { input, output } => {
                let bound = 1.0 / f64::from(*input).sqrt();
                let shape = [i64::from(*output), i64::from(*input)];
                let weight = self.uniform(format!("{name}/weight"), &shape, bound, seed)?;
                let bias = self.uniform(format!("{name}/bias"), &shape[..1], bound, seed)?;
                LayerWeights::Linear { weight, bias }
            }
            Layer::Activation(_) | Layer::Pool { .. } | Layer::GlobalAverage => LayerWeights::None,
        })
    }

    /// A 1 x 1 convolution with bias.
    fn gate(&mut self, name: &str, output: i64, input: i64, seed: Seed) -> Result<(usize, usize)> {
        let weight =
            self.uniform(format!("{name}/weight"), &[output, input, 1, 1], (3.0 / input as f64).sqrt(), seed)?;
        Ok((weight, self.constant(format!("{name}/bias"), output, 0.0)?))
    }

    fn uniform(&mut self, name: String, shape: &[i64], bound: f64, seed: Seed) -> Result<usize> {
        let mut generator = seed.derive(&name, 0).generator();
        let count = shape.iter().product::<i64>();
        let values: Vec<f32> = (0..count).map(|_| generator.random_range(-bound..=bound) as f32).collect();
        self.add(name, Tensor::f_from_slice(&values).and_then(|tensor| tensor.f_reshape(shape)))
    }

    fn constant(&mut self, name: String, count: i64, value: f64) -> Result<usize> {
        self.add(name, Tensor::f_full([count], value, (Kind::Float, Device::Cpu)))
    }

    fn add(&mut self, name: String, tensor: std::result::Result<Tensor, tch::TchError>) -> Result<usize> {
        let make = || {
            let tensor = tensor?.f_to_device(self.device)?;
            let tensor = if tensor.dim() == 4 { channels_last(&tensor)? } else { tensor };
            let momentum = tensor.f_zeros_like()?;
            Ok((tensor.f_set_requires_grad(true)?, momentum))
        };
        let (value, momentum) = make().map_err(torch("making weights"))?;
        self.parameters.push(Parameter { name, value, momentum });
        Ok(self.parameters.len() - 1)
    }
}
