//! `pleach train`.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use pleach_sdk::Genome;
use serde_json::json;

use super::{export, parse_genome, print_json};
use crate::{
    error::Result,
    host::Process,
    plugins::SearchPath,
    show,
    train::{self, Choice},
};

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// The run directory of a finished search.
    run: PathBuf,
    /// Another run file: its `train:`, its space and its data set say how.
    #[arg(long = "as", value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Replace or add a value, such as `--set train.estimator.with.epochs=50`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Train this network of the search's space, such as 1-2-0, and not the winner.
    #[arg(long, conflicts_with = "random", value_parser = parse_genome)]
    genome: Option<Genome>,
    /// Train a network drawn at random by this seed, to hold the winner against.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// Where to write; without it a folder `training...` in the run directory.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Leave out what `pleach export` would do with the trained network.
    #[arg(long)]
    no_export: bool,
}

pub(crate) fn train(
    arguments: &TrainArguments,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let network = match (&arguments.genome, arguments.random) {
        (Some(genome), _) => Choice::Genome(genome.clone()),
        (None, Some(seed)) => Choice::Random(seed),
        (None, None) => Choice::Winner,
    };
    let request = train::Request {
        run: &arguments.run,
        recipe: arguments.recipe.as_deref(),
        sets: &arguments.set,
        network,
        folder: arguments.dir.as_deref(),
    };
    let trained = train::train(&request, path, process);
    process.view().finish();
    let (folder, trained) = trained?;
    // What was trained is told even where its export is refused.
    let exported = if arguments.no_export { Ok(None) } else { crate::export::after_training(&folder) };
    if is_json {
        let export = exported?.map(|(directory, export)| json!({ "directory": directory, "export": export }));
        print_json(&json!({ "directory": folder, "training": trained, "exported": export }));
        return Ok(());
    }
    anstream::print!("{}", show::trained(&trained, &folder.display().to_string()));
    match exported? {
        Some((directory, exported)) => anstream::print!("\n{}", export::told(&directory, &exported)),
        None if arguments.no_export => {}
        None => println!("\nnot exported: the estimator left no images with logits to check an export on"),
    }
    Ok(())
}
