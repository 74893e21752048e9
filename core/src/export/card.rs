//! The model card of an export, after Mitchell et al. 2019: what the network is, what it was
//! trained on and how, how good it is, what it is not for, how to use it.

use std::fmt::{Result, Write as _};

use serde_json::Value;

use super::{
    Checked, Exported, ONNX, PYTORCH,
    plan::{Plan, Step},
    trained::{SCRIPT, Trained, parts},
};
use crate::{progress::spoken, show};

/// What the network is called.
pub(crate) fn title(trained: &Trained) -> String {
    let text = |place: &str| trained.record.config.pointer(place).and_then(Value::as_str);
    let name = text("/name").unwrap_or("network");
    match &trained.record.dataset {
        Some(dataset) => format!("{name}: an image classifier for {}", dataset.name),
        None => format!("{name}: an image classifier"),
    }
}

/// The card, in Markdown.
pub(crate) fn card(trained: &Trained, plan: &Plan<'_>, exported: &Exported) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_card(&mut text, trained, plan, exported);
    text
}

fn write_card(out: &mut String, trained: &Trained, plan: &Plan<'_>, exported: &Exported) -> Result {
    let description = trained.network.description();
    writeln!(out, "# {}\n", title(trained))?;
    writeln!(out, "Found by neural architecture search and trained with pleach {}.\n", exported.version)?;
    writeln!(out, "## Network\n")?;
    let cost = trained.network.cost(&trained.genome);
    writeln!(out, "| | |\n| --- | --- |")?;
    writeln!(out, "| space | {} |", description.name)?;
    writeln!(out, "| genome | `{}` |", trained.genome)?;
    writeln!(
        out,
        "| input | pixels from 0 to 255, (images, {}) |",
        description.input.to_string().replace(" x ", ", ")
    )?;
    writeln!(out, "| output | logits, (images, {}) |", description.classes)?;
    writeln!(out, "| parameters | {} |", cost.params)?;
    let kept = plan.steps.iter().map(parameters).sum::<usize>() as u64;
    if kept != cost.params {
        writeln!(out, "| parameters in these files | {kept}: what the output does not depend on is left out |")?;
    }
    writeln!(out, "| FLOPs | {} multiply-adds an image |", cost.flops)?;
    writeln!(out, "\n```text")?;
    let mut drawing = String::new();
    show::write_network(&mut drawing, &trained.genome, &trained.network)?;
    write!(out, "{}", anstream::adapter::strip_str(&drawing))?;
    writeln!(out, "```\n")?;
    data(out, trained)?;
    recipe(out, trained)?;
    accuracy(out, trained)?;
    limits(out, trained)?;
    usage(out, exported)
}

/// How many numbers of a step are trained.
fn parameters(step: &Step<'_>) -> usize {
    let layers = step.operation.iter().flat_map(|operation| &operation.layers);
    let trained = layers.flat_map(parts).filter(|(own, ..)| !["mean", "variance"].contains(own));
    trained.map(|(_, _, shape)| shape.iter().product::<usize>()).sum()
}

fn data(out: &mut String, trained: &Trained) -> Result {
    writeln!(out, "## Data\n")?;
    match &trained.record.dataset {
        Some(dataset) => {
            writeln!(
                out,
                "{}: {} images to train with and {} to test with, of {}.",
                dataset.name, dataset.train, dataset.test, dataset.shape
            )?;
            let classes = &dataset.classes;
            const MOST: usize = 20;
            let shown = classes.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
            let more = if classes.len() > MOST { ", ..." } else { "" };
            writeln!(out, "Classes ({}), in the order of the logits: {shown}{more}.", classes.len())?;
        }
        None => writeln!(out, "The training does not say what it was trained on.")?,
    }
    let values = |name: &str| {
        let rounded = trained.tensors[name].values.iter().map(|value| format!("{value:.2}"));
        rounded.collect::<Vec<_>>().join(", ")
    };
    let (mean, deviation) = (values("input/mean"), values("input/deviation"));
    writeln!(
        out,
        "Channels are normalised inside of the network, by the training images' mean of {mean} and deviation of \
         {deviation}.\n"
    )
}

fn recipe(out: &mut String, trained: &Trained) -> Result {
    writeln!(out, "## Recipe\n")?;
    let time = spoken(std::time::Duration::from_secs_f64(trained.result.seconds));
    writeln!(
        out,
        "Trained from scratch for {} epochs with seed {}, {time}.\n",
        trained.result.epochs, trained.result.seed
    )?;
    if let Some(estimator) = trained.record.config.pointer("/train/estimator") {
        // A document is always JSON.
        writeln!(out, "```json\n{}\n```\n", serde_json::to_string_pretty(estimator).unwrap_or_default())?;
    }
    Ok(())
}

/// On what the network was measured.
fn measured_on(trained: &Trained) -> &'static str {
    match trained.record.config.pointer("/train/estimator/with/measure").and_then(Value::as_str) {
        Some("test") => "the test images",
        _ => "images held out from the training images",
    }
}

fn accuracy(out: &mut String, trained: &Trained) -> Result {
    writeln!(out, "## Accuracy\n")?;
    writeln!(out, "Measured once after training, on {}:\n", measured_on(trained))?;
    for (name, value) in &trained.result.measured {
        writeln!(out, "- {name}: {value:.4}")?;
    }
    writeln!(out)
}

fn limits(out: &mut String, trained: &Trained) -> Result {
    writeln!(out, "## Limits\n")?;
    let shape = trained.network.description().input;
    writeln!(
        out,
        "- It was trained on images of {shape} from one data set. How good it is on others was not measured.\n- It \
         always answers with one of its classes, whatever an image shows, and its probabilities were not calibrated.\n\
         - Bias in the data was not looked at.\n- The accuracy is that of one training. Another seed gives another \
         one.\n"
    )
}

fn usage(out: &mut String, exported: &Exported) -> Result {
    writeln!(out, "## Use\n")?;
    let has = |file: &str| exported.checked.contains_key(file);
    writeln!(out, "```sh")?;
    if has(PYTORCH) {
        writeln!(out, "python model.py image.png           # pip install torch safetensors pillow")?;
    }
    if has(ONNX) {
        writeln!(out, "python predict_onnx.py image.png    # pip install onnxruntime numpy pillow")?;
    }
    writeln!(out, "```\n")?;
    if has(PYTORCH) {
        writeln!(out, "`model.py` is a PyTorch module by itself; `load()` gives it with `weights.safetensors`.\n")?;
    }
    if has(SCRIPT) {
        writeln!(
            out,
            "`model.pt` is TorchScript, for `torch.jit.load(\"model.pt\")` in Python and \
             `torch::jit::load(\"model.pt\")` in C++.\n"
        )?;
    }
    if let Some(opset) = exported.opset {
        writeln!(
            out,
            "`model.onnx` is written in opset {opset}. Its input is `images`, its output `logits`; the number of \
             images is free.\n"
        )?;
    }
    writeln!(
        out,
        "`check.safetensors` has {} images and the logits of the network that was trained. What a file may differ \
         from them is {:.0e} of the largest one above 1.\n",
        exported.images, exported.tolerance
    )?;
    for (file, how) in &exported.checked {
        let how = match how {
            Checked::Difference(difference) => format!("differs by {difference:.1e}"),
            Checked::ByEstimator => "was compared when the training wrote it".to_owned(),
            Checked::ByPython => "was run and compared".to_owned(),
            Checked::Not => "was not run: `python model.py --check` compares it".to_owned(),
        };
        writeln!(out, "- `{file}` {how}")?;
    }
    Ok(())
}
