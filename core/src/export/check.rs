//! Whether what was exported computes what was trained: the logits of real images beside those of
//! the estimator's own forward pass.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use rten::Model;
use rten_tensor::{AsView, Tensor};

use super::trained::{self, Check};

/// How far logits may be from those of the estimator, as a share of the largest one above 1.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// Runs an ONNX file on the images, all at once and the first by itself, and answers with the
/// largest difference.
///
/// # Errors
///
/// A file that cannot be run, or a difference that is too large.
pub(crate) fn onnx(file: &Path, check: &Check) -> Result<f64, String> {
    let model = Model::load_file(file).map_err(|error| format!("it cannot be read: {error}"))?;
    let count = check.logits.shape[0];
    let whole = run(&model, check, count).map_err(|error| format!("it cannot be run: {error}"))?;
    let first = run(&model, check, 1).map_err(|error| format!("it cannot be run with one image: {error}"))?;
    let classes = check.logits.shape[1];
    if (whole.len(), first.len()) != (count * classes, classes) {
        return Err(format!("it gives {} logits, {} were expected", whole.len(), count * classes));
    }
    let difference = difference(&whole, &check.logits).max(difference(&first, &check.logits));
    allowed(difference)
}

/// Runs `model.py` of a folder by a Python, which compares by itself.
///
/// # Errors
///
/// What Python says.
pub(crate) fn pytorch(python: &Path, file: &Path) -> Result<(), String> {
    let output = Command::new(python)
        .arg(file)
        .arg("--check")
        // Python's PyTorch brings a libtorch of its own, and leaves nothing beside what is exported.
        .env_remove("LD_LIBRARY_PATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", python.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(said.lines().last().unwrap_or("Python failed and said nothing").to_owned())
}

fn run(model: &Model, check: &Check, count: usize) -> Result<Vec<f32>, String> {
    let mut shape = check.images.shape.clone();
    let of_image: usize = shape[1..].iter().product();
    shape[0] = count;
    let images = Tensor::from_data(&shape, check.images.values[..count * of_image].to_vec());
    let logits = model.run_one(images.into(), None).map_err(|error| error.to_string())?;
    let logits: Tensor<f32> = logits.try_into().map_err(|error| format!("its logits: {error}"))?;
    Ok(logits.to_vec())
}

/// The largest difference of the first logits, and infinity where one is no number.
fn difference(found: &[f32], logits: &trained::Tensor) -> f64 {
    let scale = logits.values.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    let differences = found.iter().zip(&logits.values).map(|(found, logit)| f64::from((found - logit).abs() / scale));
    differences.fold(0.0, |most, one| if one.is_nan() { f64::INFINITY } else { most.max(one) })
}

fn allowed(difference: f64) -> Result<f64, String> {
    if difference <= TOLERANCE {
        Ok(difference)
    } else {
        Err(format!("logits are {difference:.1e} from those of the training, {TOLERANCE:.0e} is allowed"))
    }
}
