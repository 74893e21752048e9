//! One network with weights of its own: training, measuring, and its files.

use std::{collections::HashMap, path::Path};

use pleach_sdk::{
    Error, Genome, Network, Result, Seed, Split,
    description::{Activation, Meaning},
    host::{self, Progress},
    network::{Cost, Layer, ResolvedOperation},
    serde::{Deserialize, Serialize},
    state, tracing,
};
use tch::{Device, Kind, Reduction, TchError, Tensor, no_grad};

use crate::{
    attempts::smaller_batch,
    batch_norm::{Mode, Statistics},
    captured::{Computed, Inputs, Repeated},
    data::{Images, LabelledBatch, PixelStatistics},
    evaluation::Score,
    finished,
    network::{Pass, forward, forward_tapped, kept_branches, run},
    optimiser::{self, Gradients, Rates},
    recipe::Recipe,
    torch,
    training::{Mean, Sums, epoch_lists, look},
    weights::{LayerWeights, Snapshot, Weights},
};

/// Channels of the auxiliary head, as in DARTS.
const AUXILIARY_CHANNELS: u32 = 128;

/// How many steps pass between two looks at the loss, each of which waits for the device.
const STEPS_PER_LOOK: u64 = 8;

/// The network as it is used afterwards: its weights (the moving average where there is one), the
/// statistics of its batch norms, and those of pixels, as `input/mean` and `input/deviation`.
pub(crate) const WEIGHTS: &str = "weights.safetensors";
/// What training needs to go on.
pub(crate) const TRAINING: &str = "training.safetensors";

/// What progress of training is told as.
pub(crate) const TRAIN: &str = "train";

/// What a network is trained and measured with.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) network: &'a Network,
    pub(crate) recipe: &'a Recipe,
    pub(crate) images: &'a Images,
    /// Is told how far it is.
    pub(crate) tell: &'a dyn Fn(Progress<'_>),
}

/// A network that is being trained.
pub(crate) struct Model {
    genome: Genome,
    weights: Weights,
    statistics: Statistics,
    /// The moving average of each parameter.
    average: Option<Vec<Tensor>>,
    auxiliary: Option<Auxiliary>,
    /// Epochs done.
    epoch: u32,
    seed: Seed,
    /// The batch, where that of the recipe found no room on the device.
    batch: Option<u32>,
    repeated: Repeated,
}

/// A second classifier.
struct Auxiliary {
    /// The node that it reads.
    node: usize,
    operation: ResolvedOperation,
    layers: Vec<LayerWeights>,
}

/// What is saved beside tensors.
#[derive(Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
pub(crate) struct Saved {
    pub(crate) genome: Genome,
    epoch: u32,
    seed: Seed,
    #[serde(default)]
    batch: Option<u32>,
    pub(crate) pixels: PixelStatistics,
}

/// What a model was before an epoch.
struct Before {
    weights: Snapshot,
    statistics: Vec<(Tensor, Tensor)>,
    average: Option<Vec<Tensor>>,
}

impl Model {
    /// A network with first weights.
    pub(crate) fn new(network: &Network, genome: &Genome, recipe: &Recipe, device: Device, seed: Seed) -> Result<Self> {
        network.validate(genome)?;
        let mut weights = Weights::of_genome(network, genome, device, seed)?;
        let auxiliary = if recipe.auxiliary > 0.0 { Auxiliary::new(network, &mut weights, seed)? } else { None };
        let average = if recipe.moving_average > 0.0 {
            let copies: std::result::Result<_, TchError> =
                weights.parameters.iter().map(|parameter| parameter.value.f_detach_copy()).collect();
            Some(copies.map_err(torch("copying weights"))?)
        } else {
            None
        };
        let statistics = Statistics::default();
        Ok(Model {
            genome: genome.clone(),
            weights,
            statistics,
            average,
            auxiliary,
            epoch: 0,
            seed,
            batch: None,
            repeated: Repeated::Nothing,
        })
    }

    /// The network.
    pub(crate) fn genome(&self) -> &Genome {
        &self.genome
    }

    /// Epochs done.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    #[cfg(test)]
    pub(crate) fn is_repeated(&self) -> bool {
        matches!(self.repeated, Repeated::Captured(_))
    }

    /// Images of one step.
    pub(crate) fn batch(&self, recipe: &Recipe) -> u32 {
        self.batch.unwrap_or(recipe.batch)
    }

    /// Sees every training image once, and tells how far it is. If it fails or is cancelled the
    /// model is as it was; where the device has no room it goes on with half of the batch.
    pub(crate) fn train_epoch(&mut self, given: Given<'_>, training: &[u64]) -> Result<Mean> {
        loop {
            let before = self.before().map_err(torch("copying weights"))?;
            let batch = self.batch(given.recipe);
            let recipe = Recipe { batch, ..given.recipe.clone() };
            let error = match self.steps(Given { recipe: &recipe, ..given }, training) {
                Ok(mean) => return Ok(mean),
                Err(error) => error,
            };
            self.go_back(before).map_err(torch("going back to weights"))?;
            let Some(half) = smaller_batch(&error, batch) else { return Err(error) };
            tracing::warn!("{}; starting epoch {} again with a batch of {half}", error.message, self.epoch + 1);
            self.batch = Some(half);
        }
    }

    fn before(&self) -> std::result::Result<Before, TchError> {
        let copy = |tensor: &Tensor| tensor.f_detach_copy();
        let statistics: std::result::Result<_, TchError> =
            self.statistics.layers().iter().map(|(mean, variance)| Ok((copy(mean)?, copy(variance)?))).collect();
        let average = self.average.as_ref().map(|average| average.iter().map(copy).collect()).transpose()?;
        let all: Vec<usize> = (0..self.weights.parameters.len()).collect();
        Ok(Before { weights: self.weights.snapshot(&all)?, statistics: statistics?, average })
    }

    fn go_back(&mut self, before: Before) -> std::result::Result<(), TchError> {
        self.weights.restore(&before.weights)?;
        self.statistics = Statistics::of(before.statistics);
        self.average = before.average;
        // It writes to the statistics that there were.
        self.repeated = Repeated::Nothing;
        Ok(())
    }

    fn steps(&mut self, given: Given<'_>, training: &[u64]) -> Result<Mean> {
        let Given { network, recipe, images, tell } = given;
        let per_epoch = (training.len() / recipe.batch as usize) as u64;
        let steps = per_epoch * u64::from(recipe.epochs);
        let seed = self.seed.derive("epoch", u64::from(self.epoch));
        let lists = epoch_lists(images.info(), training, recipe.batch as usize, seed.derive("order", 0));
        let share = f64::from(self.epoch) / f64::from(recipe.epochs);
        let (mut since_look, mut mean, mut within) = (Vec::new(), Mean::default(), 0);
        images.ahead(Split::Train, lists.into_iter(), |raw| {
            if host::is_cancelled() {
                return Err(Error::cancelled());
            }
            let step = u64::from(self.epoch) * per_epoch + within;
            let batch = images.augmented(&raw, &recipe.augment, seed.derive("augmentation", within))?;
            let rates = Rates {
                learning_rate: learning_rate(recipe, step, per_epoch, steps),
                momentum: recipe.momentum,
                weight_decay: recipe.weight_decay,
                clip: recipe.clip,
            };
            let drop = (recipe.drop_path * share, seed.derive("drop path", within));
            let inputs = self.inputs(network, batch, drop).map_err(torch("making a batch"))?;
            since_look.push(self.step(given, &inputs, rates).map_err(torch("training"))?);
            within += 1;
            if within % STEPS_PER_LOOK == 0 || within == per_epoch {
                let seen = look(&since_look, u64::from(recipe.batch)).map_err(torch("reading the loss"))?;
                since_look.clear();
                if !seen.loss().is_finite() {
                    return Err(Error::failed(format!(
                        "the loss is {} in epoch {} with learning rate {:.4}: lower learning_rate or clip",
                        seen.loss(),
                        self.epoch + 1,
                        rates.learning_rate
                    )));
                }
                mean.add(&seen);
                let note = format!("epoch {} of {}, loss {:.3}", self.epoch + 1, recipe.epochs, seen.loss());
                tell(Progress { task: TRAIN, done: step + 1, total: steps, note: &note });
            }
            Ok(())
        })?;
        self.epoch += 1;
        Ok(mean)
    }

    /// What a step reads, with branches left out at a rate and by a seed.
    fn inputs(
        &self,
        network: &Network,
        batch: LabelledBatch,
        (rate, seed): (f64, Seed),
    ) -> std::result::Result<Inputs, TchError> {
        let LabelledBatch { images, labels } = batch;
        let (count, device) = (labels.size()[0], images.device());
        let kept = (rate > 0.0).then(|| kept_branches(network, &self.genome, rate, count, device, seed));
        Ok(Inputs { images, labels, kept: kept.transpose()? })
    }

    fn step(&mut self, given: Given<'_>, inputs: &Inputs, rates: Rates) -> std::result::Result<Sums, TchError> {
        let Computed { loss, correct, gradients } = self.passed(given, inputs)?;
        optimiser::step(&self.weights.parameters, gradients, rates)?;
        if let Some(average) = &mut self.average {
            no_grad(|| {
                for (average, parameter) in average.iter_mut().zip(&self.weights.parameters) {
                    let _ = average.f_lerp_(&parameter.value, 1.0 - given.recipe.moving_average)?;
                }
                Ok::<(), TchError>(())
            })?;
        }
        Ok(Sums { loss, correct, passes: 1 })
    }

    /// A pass forward and back; with `graphs` CUDA takes it up once and repeats it from then on.
    fn passed(&mut self, given: Given<'_>, inputs: &Inputs) -> std::result::Result<Computed, TchError> {
        if !given.recipe.graphs || inputs.images.device() == Device::Cpu {
            return self.pass(given, inputs);
        }
        let mut repeated = std::mem::take(&mut self.repeated);
        let computed = repeated.pass(inputs, |inputs| self.pass(given, inputs));
        self.repeated = repeated;
        computed
    }

    fn pass(&mut self, given: Given<'_>, inputs: &Inputs) -> std::result::Result<Computed, TchError> {
        let Given { network, recipe, .. } = given;
        let mut pass = Pass::from(Mode::Running(&mut self.statistics))
            .with_branches(inputs.kept.as_ref())
            .with_precision(recipe.precision)
            .with_own_kernels(recipe.own_kernels)
            .with_tap(self.auxiliary.as_ref().map(|auxiliary| auxiliary.node));
        let (logits, tapped) = forward_tapped(network, &self.weights, &self.genome, &inputs.images, &mut pass)?;
        let entropy = |logits: &Tensor| {
            let weights = None::<&Tensor>;
            logits.f_cross_entropy_loss(&inputs.labels, weights, Reduction::Mean, -100, recipe.label_smoothing)
        };
        let loss = entropy(&logits)?;
        let mut whole = loss.shallow_clone();
        if let (Some(auxiliary), Some(tapped)) = (&self.auxiliary, tapped) {
            let mut pass =
                Pass::from(Mode::Batch).with_precision(recipe.precision).with_own_kernels(recipe.own_kernels);
            let second = run(&auxiliary.operation, &self.weights, &auxiliary.layers, tapped, &mut pass)?;
            whole = whole.f_add(&entropy(&second.f_flatten(1, -1)?)?.f_mul_scalar(recipe.auxiliary)?)?;
        }
        let used: Vec<usize> = (0..self.weights.parameters.len()).collect();
        let gradients = Gradients::of(&whole, &self.weights.parameters, &used)?;
        let correct = logits.f_argmax(1, false)?.f_eq_tensor(&inputs.labels)?.f_sum(Kind::Int64)?;
        Ok(Computed { loss: loss.f_detach()?, correct, gradients })
    }

    /// Accuracy and mean cross-entropy on images of a split, fetched as they are needed.
    pub(crate) fn measure(&mut self, given: Given<'_>, split: Split, indices: &[u64]) -> Result<(f64, f64)> {
        self.swap_average();
        let measured = self.score(given, split, indices);
        self.swap_average();
        measured
    }

    /// Changes places between the weights and their moving average.
    fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            for (average, parameter) in average.iter_mut().zip(&mut self.weights.parameters) {
                std::mem::swap(average, &mut parameter.value);
            }
        }
    }

    fn score(&self, given: Given<'_>, split: Split, indices: &[u64]) -> Result<(f64, f64)> {
        let Given { network, recipe, images, tell } = given;
        let mut score = Score::default();
        // What is folded by statistics lives as long as they do.
        let layers = self.statistics.layers().iter();
        let statistics = Statistics::of(layers.map(|(a, b)| (a.shallow_clone(), b.shallow_clone())).collect());
        let lists = indices.chunks(recipe.evaluation_batch as usize).map(<[u64]>::to_vec);
        images.ahead(split, lists, |raw| {
            if host::is_cancelled() {
                return Err(Error::cancelled());
            }
            let batch = images.plain(&raw)?;
            let add = || {
                let pass = Pass::from(Mode::Recorded(&statistics)).with_precision(recipe.precision);
                let pass = pass.with_own_kernels(recipe.own_kernels);
                score.add(&batch, &forward(network, &self.weights, &self.genome, &batch.images, pass)?)
            };
            no_grad(add).map_err(torch("measuring"))?;
            let (done, total) = (score.images(), indices.len() as u64);
            tell(Progress { task: "measure", done, total, note: "" });
            Ok(())
        })?;
        score.finish().map_err(torch("measuring"))
    }

    /// Writes everything that training needs to go on, and the network as it is used afterwards.
    pub(crate) fn save(&self, network: &Network, pixels: &PixelStatistics, folder: &Path) -> Result<()> {
        let plain = |tensor: &Tensor| {
            let copy = || tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous();
            copy().map_err(torch("reading weights"))
        };
        let (mut weights, mut training) = (Vec::new(), Vec::new());
        for (index, parameter) in self.weights.parameters.iter().enumerate() {
            let name = parameter.name();
            let value = plain(&parameter.value)?;
            if !name.starts_with(Auxiliary::NAME) {
                let used = self.average.as_ref().map_or(Ok(value.shallow_clone()), |average| plain(&average[index]))?;
                weights.push((name.to_owned(), used));
            }
            if let Some(average) = &self.average {
                training.push((format!("{name}.average"), plain(&average[index])?));
            }
            training.push((format!("{name}.momentum"), plain(&parameter.momentum)?));
            training.push((name.to_owned(), value));
        }
        for (name, (mean, variance)) in batch_norms(network, &self.genome).iter().zip(self.statistics.layers()) {
            weights.push((format!("{name}/mean"), plain(mean)?));
            weights.push((format!("{name}/variance"), plain(variance)?));
        }
        for (name, values) in [("input/mean", &pixels.mean), ("input/deviation", &pixels.deviation)] {
            let tensor = finished::pixels(values).map_err(torch("writing weights"))?;
            weights.push((name.to_owned(), tensor));
        }
        for (file, tensors) in [(WEIGHTS, weights), (TRAINING, training)] {
            Tensor::write_safetensors(&tensors, folder.join(file)).map_err(torch("writing weights"))?;
        }
        let (genome, pixels) = (self.genome.clone(), pixels.clone());
        let saved = Saved { genome, epoch: self.epoch, seed: self.seed, batch: self.batch, pixels };
        state::save(folder, &saved)
    }

    /// Takes up what `save` wrote.
    pub(crate) fn load(network: &Network, recipe: &Recipe, device: Device, folder: &Path) -> Result<Self> {
        let saved: Saved = state::load(folder)?;
        let mut model = Model::new(network, &saved.genome, recipe, device, saved.seed)?;
        (model.epoch, model.batch) = (saved.epoch, saved.batch);
        let read = |file: &str| -> Result<HashMap<String, Tensor>> {
            let tensors = Tensor::read_safetensors(folder.join(file)).map_err(torch("reading weights"))?;
            Ok(tensors.into_iter().collect())
        };
        let (weights, training) = (read(WEIGHTS)?, read(TRAINING)?);
        let find = |tensors: &HashMap<String, Tensor>, name: &str, size: Option<Vec<i64>>| {
            let tensor = tensors.get(name).ok_or_else(|| {
                state::unreadable(folder, format!("there is no tensor `{name}`; was the recipe changed since?"))
            })?;
            match size {
                Some(size) if size != tensor.size() => Err(state::unreadable(
                    folder,
                    format!("`{name}` has the shape {:?}, this network needs {size:?}", tensor.size()),
                )),
                _ => Ok(tensor.shallow_clone()),
            }
        };
        for (index, parameter) in model.weights.parameters.iter_mut().enumerate() {
            let name = parameter.name().to_owned();
            let size = Some(parameter.value.size());
            let mut targets = vec![
                (find(&training, &name, size.clone())?, &mut parameter.value),
                (find(&training, &format!("{name}.momentum"), size.clone())?, &mut parameter.momentum),
            ];
            if let Some(average) = &mut model.average {
                targets.push((find(&training, &format!("{name}.average"), size)?, &mut average[index]));
            }
            for (stored, target) in targets {
                no_grad(|| target.f_copy_(&stored)).map_err(torch("taking up weights"))?;
            }
        }
        if model.epoch > 0 {
            let mut layers = Vec::new();
            for name in batch_norms(network, &model.genome) {
                let place = |part: &str| {
                    let tensor = find(&weights, &format!("{name}/{part}"), None)?;
                    tensor.f_to_device(device).map_err(torch("taking up statistics"))
                };
                layers.push((place("mean")?, place("variance")?));
            }
            model.statistics = Statistics::of(layers);
        }
        Ok(model)
    }
}

/// The learning rate of a step: it grows over the warm-up and then follows half a cosine to zero.
fn learning_rate(recipe: &Recipe, step: u64, per_epoch: u64, steps: u64) -> f64 {
    let warm_up = (per_epoch * u64::from(recipe.warm_up_epochs)).min(steps);
    if step < warm_up {
        recipe.learning_rate * (step + 1) as f64 / warm_up as f64
    } else {
        optimiser::cosine(recipe.learning_rate, 0.0, step - warm_up, steps - warm_up)
    }
}

/// The names of a network's batch norms, in the order in which a pass meets them.
pub(crate) fn batch_norms(network: &Network, genome: &Genome) -> Vec<String> {
    let mut names = Vec::new();
    for node in network.nodes() {
        let operation = &node.candidates[node.chosen(genome)];
        for (index, layer) in operation.layers.iter().enumerate() {
            if matches!(layer, Layer::BatchNorm { .. }) {
                names.push(format!("{}/{}/{index}", node.name, operation.name));
            }
        }
    }
    names
}

impl Auxiliary {
    /// What its parameters are called in files: no node can have this name, for it has a space.
    const NAME: &str = "auxiliary head";

    /// A classifier that reads the last Block but one; none for a network of one Block.
    fn new(network: &Network, weights: &mut Weights, seed: Seed) -> Result<Option<Self>> {
        let blocks = network.blocks();
        let Some(last) = blocks.len().checked_sub(2).and_then(|block| blocks[block].slots.last()) else {
            pleach_sdk::tracing::warn!("a network of fewer than two Blocks has no place for an auxiliary head");
            return Ok(None);
        };
        let Some(node) = network.nodes().iter().position(|node| node.slot == Some(*last)) else { return Ok(None) };
        let input = network.nodes()[node].output.channels;
        let convolution = Layer::Convolution {
            input,
            output: AUXILIARY_CHANNELS,
            kernel: 1,
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
            bias: false,
        };
        let operation = ResolvedOperation {
            name: Self::NAME.to_owned(),
            meaning: Meaning::Sequence,
            layers: vec![
                Layer::Activation(Activation::Relu),
                convolution,
                Layer::BatchNorm { channels: AUXILIARY_CHANNELS },
                Layer::Activation(Activation::Relu),
                Layer::GlobalAverage,
                Layer::Linear { input: AUXILIARY_CHANNELS, output: network.description().classes },
            ],
            residual: false,
            cost: Cost::default(),
        };
        let layers = weights.add_operation(&operation, Self::NAME, seed)?;
        Ok(Some(Auxiliary { node, operation, layers }))
    }
}
