//! `pleach export`, and what `pleach train` exports by itself.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::print_json;
use crate::{
    error::Result,
    export::{self, Checked, Exported, Format},
};

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The directory of a training, of one of its seeds, or of a search that was trained.
    directory: PathBuf,
    /// The training with this seed; without it the first.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write; without it the folder `export` of the training.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Only these formats, with commas between them.
    #[arg(long, value_name = "FORMATS", value_delimiter = ',')]
    format: Vec<Format>,
    /// A Python with torch and safetensors: runs model.py too, and refuses it if it is wrong.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
}

pub(crate) fn export_network(arguments: &ExportArguments, is_json: bool) -> Result<()> {
    let request = export::Request {
        directory: &arguments.directory,
        seed: arguments.seed,
        to: arguments.to.as_deref(),
        formats: &arguments.format,
        python: arguments.python.as_deref(),
    };
    let (folder, exported) = export::export(&request)?;
    if is_json {
        print_json(&json!({ "directory": folder, "export": exported }));
    } else {
        anstream::print!("{}", told(&folder, &exported));
    }
    Ok(())
}

/// What a person is told of an export.
pub(crate) fn told(folder: &Path, exported: &Exported) -> String {
    let mut text = format!("exported to {}, checked on {} images\n", folder.display(), exported.images);
    for (file, checked) in &exported.checked {
        let how = match checked {
            Checked::Difference(difference) => format!("logits differ by {difference:.1e}"),
            Checked::ByEstimator => "compared when the training wrote it".to_owned(),
            Checked::ByPython => "run and compared".to_owned(),
            Checked::Not => "not run: --python PROGRAM runs it, and so does its own --check".to_owned(),
        };
        text.push_str(&format!("  {file:<12} {how}\n"));
    }
    text
}
