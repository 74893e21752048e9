//! One search: `pleach run`, `check`, `resume`, `reproduce`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use pleach_sdk::Genome;
use serde_json::json;

use super::print_json;
use crate::{
    assemble::{Assembly, assemble},
    config::{self, Config},
    error::{Error, Result},
    host::Process,
    plugins::SearchPath,
    reproduce,
    result::Ending,
    resume::{self, Record, Resumed},
    run::{self, absolute},
    search::Search,
    show,
};

#[derive(Debug, Args)]
pub(crate) struct RunFileArguments {
    /// The run file; for `run` and `profile` also a run directory or its `run.json`.
    pub(crate) file: PathBuf,
    /// Replace or add a value, such as `--set seed=8`; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArguments {
    /// The run directory.
    run: PathBuf,
    /// Replace a value of the budget or the executor, such as `--set budget.evaluations=5000`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on although plugins are not those that the run began with.
    #[arg(long)]
    allow_changed_plugins: bool,
    /// Begin again where no checkpoint is whole.
    #[arg(long)]
    from_the_start: bool,
}

/// A search that can begin.
struct Prepared {
    config: Config,
    /// The run file, as given.
    text: String,
    sets: Vec<String>,
    assembly: Assembly,
}

fn prepare(arguments: &RunFileArguments, path: &SearchPath, process: &Arc<Process>) -> Result<Prepared> {
    let (config, file) = config::load(&arguments.file, &arguments.set)?;
    let assembly = assemble(&config, &file, path, process)?;
    Ok(Prepared { config, text: file.text, sets: arguments.set.clone(), assembly })
}

/// The run directory, where it is one or its `run.json` that was given.
pub(crate) fn record_of(file: &Path) -> Option<PathBuf> {
    if file.is_dir() {
        return Some(file.to_owned());
    }
    let folder = file.parent().filter(|_| file.file_name().is_some_and(|name| name == run::RECORD))?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

/// Prepares to do once more what a run did: its plugins must be what they were, and what is set
/// comes on top.
fn prepare_again(
    directory: &Path,
    arguments: &RunFileArguments,
    allow_changed_plugins: bool,
    path: &SearchPath,
    process: &Arc<Process>,
) -> Result<Prepared> {
    let (directory, path) = (&absolute(directory), &path.clone().absolute());
    let (record, _) = Record::read(directory)?;
    record.enter()?;
    let (config, file, path) = record.configuration(directory, &arguments.set, path)?;
    let changed = record.changed_plugins(&config, &path);
    resume::refuse_changed_plugins(&changed, allow_changed_plugins)?;
    let assembly = assemble(&config, &file, &path, process)?;
    record.changes(&assembly, changed)?.refuse()?;
    let text = std::fs::read_to_string(directory.join("config.yaml")).map_err(|error| Error::RunDirectory {
        path: directory.to_owned(),
        message: format!("config.yaml cannot be read: {error}"),
    })?;
    let sets = [&record.set[..], &arguments.set[..]].concat();
    Ok(Prepared { config, text, sets, assembly })
}

pub(crate) fn run(
    arguments: &RunFileArguments,
    allow_changed_plugins: bool,
    folder: Option<&Path>,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let (prepared, folder) = match record_of(&arguments.file) {
        None => (prepare(arguments, path, process)?, folder.map(Path::to_owned)),
        // What is given here counts from here, also where the run to repeat began elsewhere.
        Some(directory) => {
            let folder = folder.map(absolute);
            (prepare_again(&directory, arguments, allow_changed_plugins, path, process)?, folder)
        }
    };
    let Prepared { config, text, sets, assembly } = prepared;
    let mut directory = run::begin("run", &config, (&text, &sets), &assembly, folder.as_deref())?;
    process.view().line(&format!("run directory {}", directory.path().display()));
    let space = Arc::clone(&assembly.space);
    let result = Search::new(&config, assembly, &mut directory, Arc::clone(process)).run();
    process.view().finish();
    let result = result?;
    if is_json {
        print_json(&json!({ "run_directory": directory.path(), "result": result }));
    } else {
        let folder = directory.path().display().to_string();
        anstream::print!("{}", show::summary(&result, space.network(), &config, &folder));
    }
    Ok(())
}

pub(crate) fn resume(
    arguments: &ResumeArguments,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let request = resume::Request {
        sets: arguments.set.clone(),
        allow_changed_plugins: arguments.allow_changed_plugins,
        from_the_start: arguments.from_the_start,
    };
    let directory = &arguments.run;
    let resumed = resume::resume(directory, &request, path, process);
    process.view().finish();
    match resumed? {
        Resumed::WasOver(result) | Resumed::Ended(result, _) if is_json => {
            print_json(&json!({ "run_directory": directory, "result": result }));
        }
        Resumed::Ended(_, drawing) => anstream::print!("{drawing}"),
        Resumed::WasOver(result) => {
            let (ending, more) = match result.ended {
                Ending::Finished => ("the strategy was done", ""),
                Ending::Evaluations => ("its budget of evaluations was used up", "budget.evaluations"),
                Ending::WallClock => ("its budget of time was used up", "budget.wall_clock"),
            };
            println!("this run is over: {ending}");
            println!("  {} has what was found", directory.join("result.json").display());
            if !more.is_empty() {
                println!("  pleach resume {} --set {more}=... goes on with more", directory.display());
            }
        }
    }
    Ok(())
}

pub(crate) fn reproduce(
    run: &Path,
    candidate: Option<&Genome>,
    folder: Option<&Path>,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let repeated = match candidate {
        Some(genome) => reproduce::evaluation(run, genome, path, process),
        None => reproduce::run(run, folder, path, process),
    };
    process.view().finish();
    let repeated = repeated?;
    if is_json {
        print_json(&repeated);
    } else {
        anstream::print!("{}", show::repeated(&repeated));
    }
    if repeated.is_equal() { Ok(()) } else { Err(Error::Different { count: repeated.different.len() }) }
}

pub(crate) fn check(
    arguments: &RunFileArguments,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let Prepared { config, assembly, .. } = prepare(arguments, path, process)?;
    let network = assembly.space.network();
    let complete = pleach_sdk::Region::complete(network);
    let (least, most) = network.cost_range(&complete);
    let limit = |objectives: &pleach_sdk::Objectives| {
        objectives.0.iter().find(|one| one.name == pleach_sdk::LATENCY).and_then(|one| one.at_most)
    };
    if is_json {
        print_json(&json!({
            "name": config.name, "slots": network.slots().len(), "networks": complete.size(),
            "least": least, "most": most, "latency_predicted_at_most": limit(&assembly.objectives),
        }));
        return Ok(());
    }
    let million = |number: u64| format!("{:.3}", number as f64 / 1e6);
    println!("{} can run: nothing was trained or evaluated", arguments.file.display());
    println!("  space       {} slots, {} networks", network.slots().len(), crate::search::round_count(complete.size()));
    println!("  parameters  {} to {} million", million(least.params), million(most.params));
    println!("  FLOPs       {} to {} million multiply-adds", million(least.flops), million(most.flops));
    let (Some(profile), Some(low), Some(high)) = (&assembly.profile, least.nanoseconds, most.nanoseconds) else {
        return Ok(());
    };
    println!("  latency     {} to {} ms, predicted; {}", million(low), million(high), profile.stated());
    if let (Some(given), Some(kept)) = (limit(&config.objectives()), limit(&assembly.objectives)) {
        println!("  limit       {given} ms, kept as {kept:.3} ms of the prediction");
    }
    Ok(())
}
