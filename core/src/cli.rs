//! The command line: what the program is asked, and how answers are printed.

mod export;
mod manual;
mod plugins;
mod profile;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use pleach_sdk::Genome;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::{
    assemble::{Assembly, assemble},
    compare,
    config::{self, Config},
    editor,
    error::{Error, Result},
    executor::worker,
    host::Process,
    plugins::{SearchPath, catalogue::Catalogue, child},
    progress::View,
    rank::{self, Ranking},
    report, reproduce,
    result::Ending,
    resume::{self, Record, Resumed},
    run::{self, absolute},
    search::Search,
    show,
    train::{self, Choice},
};

/// Neural architecture search with plugins: a YAML file says which.
#[derive(Debug, Parser)]
#[command(name = "pleach", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Look for plugins here first; can be given several times.
    #[arg(long, global = true, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
    /// Which diagnostics to show, such as `debug` or `pleach=trace`; PLEACH_LOG does the same.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Print results and errors as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Print results and errors alone: no progress, and no warnings but those that --log asks for.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search as a run file says, or once more as a run directory did.
    Run {
        #[command(flatten)]
        file: RunFileArguments,
        /// Repeat a run although plugins are not those that it was made with.
        #[arg(long)]
        allow_changed_plugins: bool,
        /// The run directory; without it the first free `runs/<name>-<number>`.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Go on with a run that was interrupted, killed, or ended by its budget.
    Resume(ResumeArguments),
    /// Repeat a run, or one evaluation of it, and say what comes out different.
    Reproduce {
        /// The run directory.
        run: PathBuf,
        /// A network that the run evaluated, such as 1-2-0; without it the whole run is repeated.
        #[arg(value_parser = parse_genome)]
        candidate: Option<Genome>,
        /// Where the run is repeated; without it the first free `runs/<name>-again-<number>`.
        #[arg(long, value_name = "FOLDER", conflicts_with = "candidate")]
        dir: Option<PathBuf>,
    },
    /// Measure how well the estimator of a run file ranks networks: `rank:` says against what.
    Rank {
        #[command(flatten)]
        file: RunFileArguments,
        /// Measure only this variant of `rank.variants`; can be given several times.
        #[arg(long, value_name = "NAME")]
        variant: Vec<String>,
        /// Where to write; without it the first free `runs/<name>-rank-<number>`. With the folder of a
        /// ranking that was interrupted it goes on with it.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Measure how long the operations of a space take on this device, as `latency:` says by what, and
    /// make a predictor of it; or, of a run directory, whether what was found takes what was predicted.
    Profile(profile::ProfileArguments),
    /// Train the network that a search found, by itself, as `train:` of its run file says.
    Train(TrainArguments),
    /// Write a network that was trained as ONNX, TorchScript and a PyTorch module, and check them.
    Export(export::ExportArguments),
    /// Write what a run directory tells as a page: one HTML file that needs no network.
    Report {
        /// The run directory, of a search that may still go on.
        run: PathBuf,
        /// The file; without it `report.html` in the run directory.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show the same page on this machine, live while the run goes on.
    Serve {
        /// The run directory.
        run: PathBuf,
        /// The port on 127.0.0.1; 0 for a free one.
        #[arg(long, default_value_t = 8017)]
        port: u16,
    },
    /// Check a run file and everything it names, and spend nothing.
    Check {
        #[command(flatten)]
        file: RunFileArguments,
    },
    /// Evaluate for another pleach, which starts this: see docs/worker-protocol.md.
    #[command(hide = true)]
    Worker {
        /// The descriptor to be asked through.
        #[arg(long)]
        descriptor: i32,
    },
    /// Search with several run files, or with variants of one, and many seeds, and hold side by
    /// side what they come to.
    Compare(CompareArguments),
    /// Print the JSON Schema of run files with every plugin that is found, for editors.
    Schema,
    /// Print what a shell completes commands with.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write a page for each command into this folder, such as `~/.local/share/man/man1`.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Look at plugins.
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    /// Work for another process of this program.
    #[command(subcommand, hide = true)]
    InChild(child::Task),
}

#[derive(Debug, Args)]
struct RunFileArguments {
    /// The run file; for `run` and `profile` also a run directory or its `run.json`.
    file: PathBuf,
    /// Replace or add a value, such as `--set seed=8`; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct ResumeArguments {
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

#[derive(Debug, Args)]
struct CompareArguments {
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

#[derive(Debug, Args)]
struct TrainArguments {
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

fn parse_genome(text: &str) -> std::result::Result<Genome, String> {
    let gene = |gene: &str| gene.parse().map_err(|_| format!("`{gene}` is no choice; write numbers, such as 1-2-0"));
    text.split('-').map(gene).collect::<std::result::Result<_, _>>().map(Genome)
}

/// The command line as it is described to users.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Worker { descriptor } = arguments.command {
        return work(descriptor);
    }
    match start(&arguments).and_then(|process| dispatch(&arguments, &process)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if arguments.common.json {
                // What is different was printed already, as the one document that is expected.
                if !matches!(error, Error::Different { .. }) {
                    anstream::println!("{}", error.to_json());
                }
            } else {
                anstream::eprintln!("{}error:{:#} {error}", ERROR, ERROR);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// A worker handles no signals and has no view: its host does.
fn work(descriptor: i32) -> ExitCode {
    match worker::serve(descriptor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: there is no host at descriptor {descriptor}: {error}");
            ExitCode::from(2)
        }
    }
}

const ERROR: anstyle::Style =
    anstyle::Style::new().bold().fg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::Red)));

fn start(arguments: &Arguments) -> Result<Arc<Process>> {
    let view = match (&arguments.command, arguments.common.json || arguments.common.quiet) {
        (
            Command::Run { .. }
            | Command::Resume(_)
            | Command::Reproduce { .. }
            | Command::Rank { .. }
            | Command::Profile(_)
            | Command::Train(_)
            | Command::Compare(_),
            false,
        ) => View::standard(),
        _ => View::silent(),
    };
    let process = Process::start(view)
        .map_err(|error| Error::unusable(format!("failed to handle signals: {error}"), "report this as a bug"))?;
    let given = arguments.common.log.clone().or_else(|| std::env::var("PLEACH_LOG").ok());
    let filter = given.unwrap_or_else(|| if arguments.common.quiet { "error" } else { "warn" }.to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Error::unusable(
            format!("the log filter `{filter}` cannot be read: {error}"),
            "write a level, such as info or debug",
        )
    })?;
    let log = LogWriter(Arc::clone(&process));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_writer(move || log.clone())
        .init();
    Ok(process)
}

/// Writes diagnostics above the live view.
#[derive(Clone)]
struct LogWriter(Arc<Process>);

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.view().suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Does what was asked; the exit code of what was done.
fn dispatch(arguments: &Arguments, process: &Arc<Process>) -> Result<u8> {
    let path = SearchPath::new(&arguments.common.plugin_dir)?;
    let is_json = arguments.common.json;
    match &arguments.command {
        Command::Run { file, allow_changed_plugins, dir } => {
            let Some(directory) = record_of(&file.file) else {
                return run(prepare(file, &path, process)?, dir.as_deref(), process, is_json).map(|()| 0);
            };
            // What is given here counts from here, also where the run to repeat began elsewhere.
            let dir = dir.as_deref().map(absolute);
            let prepared = prepare_again(&directory, file, *allow_changed_plugins, &path, process)?;
            run(prepared, dir.as_deref(), process, is_json)
        }
        Command::Resume(arguments) => go_on(arguments, &path, process, is_json),
        Command::Reproduce { run, candidate, dir } => {
            repeat(run, candidate.as_ref(), dir.as_deref(), &path, process, is_json)
        }
        Command::Rank { file, variant, dir } => rank_networks(file, variant, dir.as_deref(), &path, process, is_json),
        Command::Profile(arguments) => profile::measure(arguments, &path, process, is_json),
        Command::Train(arguments) => train_network(arguments, &path, process, is_json),
        Command::Export(arguments) => export::export_network(arguments, is_json),
        Command::Compare(arguments) => compare_strategies(arguments, &path, process, is_json),
        Command::Report { run, out } => write_report(run, out.as_deref(), is_json),
        Command::Serve { run, port } => report::serve(run, *port, process),
        Command::Check { file } => check(file, &path, process, is_json),
        // Answered before anything was set up for a person.
        Command::Worker { .. } => Ok(()),
        Command::Schema => {
            let catalogue = Catalogue::of(&path, process)?;
            plugins::warn_of(&catalogue);
            print_json(&editor::schema(&catalogue));
            Ok(())
        }
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::pages(dir.as_deref()),
        Command::Plugins(command) => return plugins::dispatch(command, &path, process, is_json),
        Command::InChild(task) => child::work(task, process),
    }
    .map(|()| 0)
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
fn record_of(file: &Path) -> Option<PathBuf> {
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

fn run(prepared: Prepared, folder: Option<&Path>, process: &Arc<Process>, is_json: bool) -> Result<()> {
    let Prepared { config, text, sets, assembly } = prepared;
    let mut directory = run::begin("run", &config, (&text, &sets), &assembly, folder)?;
    process.view().line(&format!("run directory {}", directory.path().display()));
    let space = Arc::clone(&assembly.space);
    let result = Search::new(&config, assembly, &mut directory, Arc::clone(process)).run();
    process.view().finish();
    let result = result?;
    if is_json {
        print_json(&json!({ "run_directory": directory.path(), "result": result }));
    } else {
        anstream::print!("{}", show::summary(&result, space.network(), &directory.path().display().to_string()));
    }
    Ok(())
}

fn go_on(arguments: &ResumeArguments, path: &SearchPath, process: &Arc<Process>, is_json: bool) -> Result<()> {
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

fn repeat(
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

fn rank_networks(
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

fn train_network(arguments: &TrainArguments, path: &SearchPath, process: &Arc<Process>, is_json: bool) -> Result<()> {
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

fn compare_strategies(
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

fn write_report(run: &Path, out: Option<&Path>, is_json: bool) -> Result<()> {
    let (file, problems) = report::write(run, out)?;
    for problem in &problems {
        tracing::warn!("{problem}");
    }
    if is_json {
        print_json(&json!({ "report": file, "problems": problems }));
    } else {
        println!("the report is {}", file.display());
    }
    Ok(())
}

fn check(arguments: &RunFileArguments, path: &SearchPath, process: &Arc<Process>, is_json: bool) -> Result<()> {
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

fn print_json(document: &impl serde::Serialize) {
    // A document of ours is always JSON; a reader that went away is no failure of the command.
    if let Ok(text) = serde_json::to_string_pretty(document) {
        anstream::println!("{text}");
    }
}
