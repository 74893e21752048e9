//! Many searches: `pleach compare` and `rank`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde_json::json;

use super::{print_json, search::RunFileArguments};
use crate::{
    compare, config,
    error::Result,
    host::Process,
    plugins::SearchPath,
    rank::{self, Ranking},
    show,
};

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// The run files. `compare:` in the first says what to report and how many seeds to take.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Replace or add a value in each of them, such as `--set budget.evaluations=500`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only this variant; can be given several times.
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// Searches of each variant; without it as many as the run file says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Searches at the same time; without it as many as there are cores.
    #[arg(long)]
    jobs: Option<std::num::NonZero<usize>>,
    /// Where to write, and to go on with what is there; without it `runs/NAME-compare-NUMBER`.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Keep a run directory of each search.
    #[arg(long)]
    keep_runs: bool,
}

pub(crate) fn compare(
    arguments: &CompareArguments,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let request = compare::Request {
        files: arguments.files.clone(),
        sets: arguments.set.clone(),
        only: arguments.variant.clone(),
        seeds: arguments.seeds,
        jobs: arguments.jobs,
        folder: arguments.dir.clone(),
        keep_runs: arguments.keep_runs,
    };
    let compared = compare::compare(&request, path, process);
    process.view().finish();
    let (folder, comparison) = compared?;
    if is_json {
        print_json(&json!({ "directory": folder, "comparison": comparison }));
    } else {
        anstream::print!("{}", show::comparison(&comparison, &folder.display().to_string()));
    }
    Ok(())
}

pub(crate) fn rank(
    arguments: &RunFileArguments,
    variants: &[String],
    folder: Option<&Path>,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let (config, _) = config::load(&arguments.file, &arguments.set)?;
    let directory = rank::directory(folder, &config.name)?;
    let ranking = rank::rank(&arguments.file, &arguments.set, variants, &directory, path, process);
    process.view().finish();
    let ranking: Ranking = ranking?;
    if is_json {
        print_json(&json!({ "directory": directory, "ranking": ranking }));
    } else {
        anstream::print!("{}", show::ranking(&ranking, &directory.display().to_string()));
    }
    Ok(())
}
