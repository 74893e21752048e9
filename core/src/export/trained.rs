//! What a training left: the network, its weights, and the images that exports are checked on.
//!
//! Everything is held against everything before it is used: files against their hashes, tensors
//! against the network.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use pleach_sdk::{DatasetInfo, Description, Genome, Network, network::Layer};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Error, Result},
    plugins::sha256_of,
    run::{NETWORK, RECORD},
    train::{self, MODEL, OneTraining},
};

pub(crate) const WEIGHTS: &str = "weights.safetensors";
pub(crate) const CHECK: &str = "check.safetensors";
pub(crate) const SCRIPT: &str = "model.pt";

/// A network that was trained.
pub(crate) struct Trained {
    /// The folder of its training, `seed-N`.
    pub(crate) folder: PathBuf,
    pub(crate) network: Network,
    pub(crate) genome: Genome,
    /// Weights, statistics of batch norms, and of pixels, as `node/operation/layer/name`.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) check: Check,
    pub(crate) record: Record,
    pub(crate) result: OneTraining,
}

/// Numbers of some shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Real images, and the logits of the estimator's own forward pass.
pub(crate) struct Check {
    /// Pixels from 0 to 255, of shape (images, channels, rows, columns).
    pub(crate) images: Tensor,
    /// Of shape (images, classes).
    pub(crate) logits: Tensor,
}

/// What is said of a training in its `run.json`.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) genome: Genome,
    pub(crate) config: Value,
    /// What it was trained on.
    #[serde(default)]
    pub(crate) dataset: Option<DatasetInfo>,
}

/// The folder of the training that a directory stands for: itself, or the one with this seed (the
/// first one, if none is said) of a training, or of a search's training.
///
/// # Errors
///
/// A directory without a training, or with several.
pub(crate) fn find(directory: &Path, seed: Option<u64>) -> Result<PathBuf> {
    let wrong = |message: String| Error::RunDirectory { path: directory.to_owned(), message };
    if directory.join(MODEL).is_dir() {
        return match seed {
            Some(seed) if !directory.ends_with(format!("seed-{seed}")) => {
                Err(wrong(format!("this is not the training with seed {seed}")))
            }
            _ => Ok(directory.to_owned()),
        };
    }
    if directory.join("training.json").is_file() {
        #[derive(Deserialize)]
        struct Seeds {
            trainings: Vec<OneTraining>,
        }
        let Seeds { trainings } = train::read(directory, "training.json")?;
        let chosen = trainings.iter().find(|one| seed.is_none_or(|seed| seed == one.seed));
        let Some(chosen) = chosen else {
            let known: Vec<String> = trainings.iter().map(|one| one.seed.to_string()).collect();
            return Err(wrong(format!("there is no training with this seed; there are {}", known.join(", "))));
        };
        return Ok(directory.join(format!("seed-{}", chosen.seed)));
    }
    let mut trainings: Vec<String> = fs::read_dir(directory)
        .map_err(|error| wrong(format!("it cannot be read: {error}")))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("training.json").is_file())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    trainings.sort();
    match trainings.as_slice() {
        [only] => find(&directory.join(only), seed),
        [] if directory.join(RECORD).is_file() => {
            let shown = directory.display();
            Err(wrong(format!("nothing was trained in it yet: `pleach train {shown}` trains what the search found")))
        }
        [] => Err(wrong("this is no training: give a directory of `pleach train`".to_owned())),
        several => Err(wrong(format!("it has several trainings: give the directory of one of {}", several.join(", ")))),
    }
}

impl Trained {
    /// Reads the folder of a training.
    ///
    /// # Errors
    ///
    /// Files that are missing, damaged, or not of one network.
    pub(crate) fn read(folder: PathBuf) -> Result<Self> {
        if !folder.join("result.json").is_file() {
            return Err(Error::RunDirectory {
                path: folder,
                message: "the training is not over: `pleach train` with the same arguments goes on with it".to_owned(),
            });
        }
        let description: Description = train::read(&folder, NETWORK)?;
        let record: Record = train::read(&folder, RECORD)?;
        let result: OneTraining = train::read(&folder, "result.json")?;
        let network = Network::new(description).and_then(|network| {
            network.validate(&record.genome)?;
            Ok(network)
        });
        let network = network.map_err(|error| Error::RunDirectory {
            path: folder.join(NETWORK),
            message: format!("the network cannot be used: {}", error.message),
        })?;
        let model = folder.join(MODEL);
        for name in [WEIGHTS, CHECK, SCRIPT] {
            let (path, known) = (model.join(name), result.files.get(name));
            let Some(sha256) = known else { continue };
            if !path.is_file() {
                return Err(damaged(&path, "it is missing"));
            }
            if sha256_of(&path)? != *sha256 {
                return Err(damaged(&path, "it is not what the training wrote"));
            }
        }
        let tensors = read_tensors(&model.join(WEIGHTS))?;
        fits(&network, &record.genome, &tensors).map_err(|why| damaged(&model.join(WEIGHTS), &why))?;
        let check = Check::read(&model.join(CHECK), &network)?;
        let genome = record.genome.clone();
        Ok(Trained { folder, network, genome, tensors, check, record, result })
    }

    /// The names of the classes, or their numbers where they are not known.
    pub(crate) fn classes(&self) -> Vec<String> {
        match &self.record.dataset {
            Some(dataset) => dataset.classes.clone(),
            None => (0..self.network.description().classes).map(|number| format!("class {number}")).collect(),
        }
    }

    /// The network as TorchScript, where the estimator wrote it.
    pub(crate) fn script(&self) -> Option<PathBuf> {
        Some(self.folder.join(MODEL).join(SCRIPT)).filter(|path| path.is_file())
    }
}

impl Check {
    fn read(path: &Path, network: &Network) -> Result<Self> {
        let mut tensors = read_tensors(path)?;
        let mut take = |name: &str| tensors.remove(name).ok_or_else(|| damaged(path, &format!("it has no `{name}`")));
        let (images, logits) = (take("images")?, take("logits")?);
        let shape = network.description().input;
        let of_image = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        let count = logits.shape.first().copied().unwrap_or_default();
        let is_sound = count > 0
            && images.shape == [&[count][..], &of_image].concat()
            && logits.shape == [count, network.description().classes as usize];
        if is_sound {
            Ok(Check { images, logits })
        } else {
            Err(damaged(path, &format!("images of {:?} and logits of {:?} are not right", images.shape, logits.shape)))
        }
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::RunDirectory {
        path: path.to_owned(),
        message: format!(
            "this file of the training cannot be used: {why}; without `result.json` and the folder `{MODEL}` of the \
             training `pleach train` writes it again"
        ),
    }
}

/// Reads a file of numbers; bytes and integers become numbers too.
fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = fs::read(path).map_err(|error| damaged(path, &format!("it cannot be read: {error}")))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(path, &error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => {
                data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("these are four"))).collect()
            }
            Dtype::U8 => data.iter().map(|byte| f32::from(*byte)).collect(),
            Dtype::I64 => data
                .chunks_exact(8)
                .map(|eight| i64::from_le_bytes(eight.try_into().expect("these are eight")) as f32)
                .collect(),
            other => return Err(damaged(path, &format!("`{name}` has numbers of the type {other:?}"))),
        };
        tensors.insert(name, Tensor { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// A tensor of a layer, what PyTorch calls it, and its shape.
pub(crate) type Part = (&'static str, &'static str, Vec<usize>);

/// The tensors of a layer.
pub(crate) fn parts(layer: &Layer) -> Vec<Part> {
    let size = |number: &u32| *number as usize;
    match layer {
        Layer::Convolution { input, output, kernel, groups, bias, .. } => {
            let weight = vec![size(output), size(&(input / groups)), size(kernel), size(kernel)];
            let bias = bias.then(|| ("bias", "bias", vec![size(output)]));
            [("weight", "weight", weight)].into_iter().chain(bias).collect()
        }
        Layer::BatchNorm { channels } => {
            let names = [("scale", "weight"), ("shift", "bias"), ("mean", "running_mean"), ("variance", "running_var")];
            names.map(|(own, torch)| (own, torch, vec![size(channels)])).to_vec()
        }
        Layer::SqueezeExcite { channels, hidden, .. } => vec![
            ("reduce/weight", "reduce.weight", vec![size(hidden), size(channels), 1, 1]),
            ("reduce/bias", "reduce.bias", vec![size(hidden)]),
            ("expand/weight", "expand.weight", vec![size(channels), size(hidden), 1, 1]),
            ("expand/bias", "expand.bias", vec![size(channels)]),
        ],
        Layer::Linear { input, output } => {
            vec![("weight", "weight", vec![size(output), size(input)]), ("bias", "bias", vec![size(output)])]
        }
        Layer::Activation(_) | Layer::Pool { .. } | Layer::GlobalAverage => Vec::new(),
    }
}

/// Whether the tensors are those of the network, no more and no less.
fn fits(network: &Network, genome: &Genome, tensors: &BTreeMap<String, Tensor>) -> std::result::Result<(), String> {
    let channels = network.description().input.channels as usize;
    let mut needed: BTreeMap<String, Vec<usize>> =
        ["input/mean", "input/deviation"].map(|name| (name.to_owned(), vec![1, channels, 1, 1])).into();
    for node in network.nodes() {
        let operation = &node.candidates[node.chosen(genome)];
        for (index, layer) in operation.layers.iter().enumerate() {
            for (own, _, shape) in parts(layer) {
                needed.insert(format!("{}/{}/{index}/{own}", node.name, operation.name), shape);
            }
        }
    }
    for (name, shape) in &needed {
        match tensors.get(name) {
            None => return Err(format!("it has no tensor `{name}`")),
            Some(tensor) if tensor.shape != *shape => {
                return Err(format!("`{name}` has the shape {:?}, the network needs {shape:?}", tensor.shape));
            }
            Some(tensor) if tensor.values.iter().any(|value| !value.is_finite()) => {
                return Err(format!("`{name}` has values that are no numbers"));
            }
            Some(_) => {}
        }
    }
    match tensors.keys().find(|name| !needed.contains_key(*name)) {
        Some(other) => Err(format!("`{other}` is no tensor of this network")),
        None => Ok(()),
    }
}
