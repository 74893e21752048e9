//! `pleach export`: a network that was trained, in files that others read.
//!
//! Everything comes from the folder of the training: no plugin is asked. What is written is run on
//! real images and compared with the logits that the estimator left of its own forward pass; the
//! export takes its place when all of it matches.

mod card;
mod check;
mod names;
mod onnx;
mod onnx_proto;
mod plan;
mod pytorch;
mod trained;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use pleach_sdk::Genome;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    plugins::sha256_of,
    run::{failed, sync_folder, write_document, write_synced},
    train::{self, MODEL},
};

use self::{
    plan::Plan,
    trained::{CHECK, SCRIPT, Trained, WEIGHTS},
};

/// The folder of an export in that of its training.
pub const EXPORT: &str = "export";

const RECORD: &str = "export.json";
const ONNX: &str = "model.onnx";
const PYTORCH: &str = "model.py";

/// What is to be exported.
pub struct Request<'a> {
    /// The directory of a training, or of a search with one.
    pub directory: &'a Path,
    /// The seed of the training; without it the first.
    pub seed: Option<u64>,
    /// Where to write; without it the folder `export` of the training.
    pub to: Option<&'a Path>,
    /// In which formats; all without any.
    pub formats: &'a [Format],
    /// A Python with PyTorch, to run the PyTorch module.
    pub python: Option<&'a Path>,
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The weights, as a PyTorch module takes them.
    Safetensors,
    /// An ONNX model, and a program that predicts with it.
    Onnx,
    /// A TorchScript module for Python and C++.
    Torchscript,
    /// The source of a PyTorch module, and its weights.
    Pytorch,
}

/// What was exported: the document `export.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// The format of this document.
    pub format: u32,
    /// The program's version.
    pub version: String,
    /// The network.
    pub genome: Genome,
    /// The seed of its training.
    pub seed: u64,
    /// The SHA-256 of the weights that were exported.
    pub weights: String,
    /// The operators that the ONNX model is written in.
    pub opset: Option<i64>,
    /// Images that it was checked on.
    pub images: usize,
    /// The largest difference of logits that is allowed.
    pub tolerance: f64,
    /// How each file was checked.
    pub checked: BTreeMap<String, Checked>,
}

/// How a file was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// By running it here, with this largest difference of logits.
    Difference(f64),
    /// By the estimator's plugin when it wrote it; here by its hash.
    ByEstimator,
    /// By itself, run by the Python that was given.
    ByPython,
    /// Not at all: no Python was given.
    Not,
}

/// Exports a network that was trained.
///
/// # Errors
///
/// A directory without a finished training, files that are damaged, a place that is taken, an
/// export that does not compute what was trained.
pub fn export(request: &Request<'_>) -> Result<(PathBuf, Exported)> {
    let folder = trained::find(request.directory, request.seed)?;
    let to = match request.to {
        Some(to) => to.to_owned(),
        None if request.seed.is_some() => folder.join(EXPORT),
        None => place(request.directory, &folder),
    };
    if to.exists() {
        return Err(Error::RunDirectory {
            path: to,
            message: "something is there already: give another place with --to, or remove it".to_owned(),
        });
    }
    let trained = Trained::read(folder)?;
    let formats: Vec<Format> =
        if request.formats.is_empty() { Format::value_variants().to_vec() } else { request.formats.to_vec() };
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let partial = to.with_file_name(format!(".{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|error| failed(&partial, "remove", &error))?;
    }
    fs::create_dir_all(&partial).map_err(|error| failed(&partial, "make", &error))?;
    let done = write(&trained, &formats, request.python, &partial).and_then(|exported| {
        sync_folder(&partial)?;
        fs::rename(&partial, &to).map_err(|error| failed(&to, "write", &error))?;
        Ok(exported)
    });
    match done {
        Ok(exported) => Ok((to, exported)),
        Err(error) => {
            fs::remove_dir_all(&partial).map_err(|error| failed(&partial, "remove", &error))?;
            Err(error)
        }
    }
}

/// Exports what was trained just now, unless that was done before.
///
/// # Errors
///
/// Those of [`export`].
pub fn after_training(directory: &Path) -> Result<Option<(PathBuf, Exported)>> {
    let folder = trained::find(directory, None)?;
    let there = place(directory, &folder);
    let weights = folder.join(MODEL).join(WEIGHTS);
    if there.join(RECORD).is_file() && weights.is_file() {
        let exported: Exported = train::read(&there, RECORD)?;
        if exported.weights == sha256_of(&weights)? {
            return Ok(Some((there, exported)));
        }
    }
    // An estimator of others need not leave what an export is made of.
    if !weights.is_file() || !folder.join(MODEL).join(CHECK).is_file() {
        return Ok(None);
    }
    export(&Request { directory, seed: None, to: None, formats: &[], python: None }).map(Some)
}

/// Beside the folder of the training's seed, unless that was given itself.
fn place(directory: &Path, folder: &Path) -> PathBuf {
    let of_training = if directory == folder { folder } else { folder.parent().unwrap_or(folder) };
    of_training.join(EXPORT)
}

/// Writes all files into a folder.
fn write(trained: &Trained, formats: &[Format], python: Option<&Path>, to: &Path) -> Result<Exported> {
    let plan = Plan::new(&trained.network, &trained.genome);
    let has = |format: Format| formats.contains(&format);
    let refused = |file: &str| {
        let file = file.to_owned();
        move |message: String| Error::Export { file, message }
    };
    let model = trained.folder.join(MODEL);
    let mut checked = BTreeMap::new();
    if has(Format::Onnx) {
        let bytes = onnx::model(trained, &plan).map_err(refused(ONNX))?;
        let file = to.join(ONNX);
        write_synced(&file, &bytes)?;
        let difference = check::onnx(&file, &trained.check).map_err(refused(ONNX))?;
        checked.insert(ONNX.to_owned(), Checked::Difference(difference));
        let program = include_str!("../templates/export/predict_onnx.py.in");
        write_synced(&to.join("predict_onnx.py"), program.as_bytes())?;
    }
    if has(Format::Torchscript) {
        match trained.script() {
            Some(script) => {
                copy(&script, &to.join(SCRIPT))?;
                checked.insert(SCRIPT.to_owned(), Checked::ByEstimator);
            }
            None if formats.len() < Format::value_variants().len() => {
                return Err(Error::unusable(
                    "the estimator that trained the network wrote no TorchScript",
                    "train with supernet/stand-alone, or export to another format",
                ));
            }
            None => tracing::warn!("no TorchScript is exported: the estimator that trained wrote none"),
        }
    }
    if has(Format::Safetensors) || has(Format::Pytorch) {
        let bytes = pytorch::state(trained, &plan).map_err(|error| failed(&to.join(WEIGHTS), "write", &error))?;
        write_synced(&to.join(WEIGHTS), &bytes)?;
    }
    copy(&model.join(CHECK), &to.join(CHECK))?;
    if has(Format::Pytorch) {
        let file = to.join(PYTORCH);
        write_synced(&file, pytorch::source(trained, &plan, &card::title(trained)).as_bytes())?;
        let how = match python {
            Some(python) => {
                check::pytorch(python, &file).map_err(refused(PYTORCH))?;
                Checked::ByPython
            }
            None => Checked::Not,
        };
        checked.insert(PYTORCH.to_owned(), how);
    }
    let exported = Exported {
        format: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        genome: trained.genome.clone(),
        seed: trained.result.seed,
        weights: sha256_of(&model.join(WEIGHTS))?,
        opset: has(Format::Onnx).then_some(onnx::OPSET),
        images: trained.check.logits.shape[0],
        tolerance: check::TOLERANCE,
        checked,
    };
    write_synced(&to.join("README.md"), card::card(trained, &plan, &exported).as_bytes())?;
    write_document(&to.join(RECORD), &exported)?;
    Ok(exported)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).map_err(|error| failed(from, "read", &error))?;
    write_synced(to, &bytes)
}
