//! The command line: what the program is asked, and how answers are printed.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use pleach_sdk::{Genome, Kind, host::Host};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::{
    assemble::{Assembly, assemble},
    compare,
    config::{self, Config},
    editor,
    error::{Error, Result},
    host::Process,
    plugins::{Registry, SearchPath},
    progress::View,
    rank::{self, Ranking},
    result::Ending,
    resume::{self, Resumed},
    run,
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
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search as a run file says.
    Run {
        #[command(flatten)]
        file: RunFileArguments,
        /// The run directory; without it the first free `runs/<name>-<number>`.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Go on with a run that was interrupted, killed, or ended by its budget.
    Resume(ResumeArguments),
    /// Measure how well the estimator of a run file ranks networks: `rank:` says against what.
    Rank {
        #[command(flatten)]
        file: RunFileArguments,
        /// Measure only this variant of `rank.variants`; can be given several times.
        #[arg(long, value_name = "NAME")]
        variant: Vec<String>,
        /// Where to write; without it the first free `runs/<name>-rank-<number>`.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Train the network that a search found, by itself, as `train:` of its run file says.
    Train(TrainArguments),
    /// Check a run file and everything it names, and spend nothing.
    Check {
        #[command(flatten)]
        file: RunFileArguments,
    },
    /// Search with several run files, or with variants of one, and many seeds, and hold side by
    /// side what they come to.
    Compare(CompareArguments),
    /// Print the JSON Schema of run files with every plugin that is found, for editors.
    Schema,
    /// Look at plugins.
    #[command(subcommand)]
    Plugins(PluginsCommand),
}

#[derive(Debug, Args)]
struct RunFileArguments {
    /// The run file.
    file: PathBuf,
    /// Replace or add a value, such as `--set seed=8`; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    /// The run directory.
    run: PathBuf,
    /// Replace a value of the budget, such as `--set budget.evaluations=5000`.
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
}

fn parse_genome(text: &str) -> std::result::Result<Genome, String> {
    let gene = |gene: &str| gene.parse().map_err(|_| format!("`{gene}` is no choice; write numbers, such as 1-2-0"));
    text.split('-').map(gene).collect::<std::result::Result<_, _>>().map(Genome)
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// List the plugins that are found and their components.
    List,
    /// Describe a component: its configuration and an example.
    Describe {
        /// `plugin/component`.
        component: String,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments).and_then(|process| dispatch(&arguments, &process)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if arguments.common.json {
                anstream::println!("{}", error.to_json());
            } else {
                anstream::eprintln!("{}error:{:#} {error}", ERROR, ERROR);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

const ERROR: anstyle::Style =
    anstyle::Style::new().bold().fg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::Red)));

fn start(arguments: &Arguments) -> Result<Arc<Process>> {
    let view = match (&arguments.command, arguments.common.json) {
        (
            Command::Run { .. } | Command::Resume(_) | Command::Rank { .. } | Command::Train(_) | Command::Compare(_),
            false,
        ) => View::standard(),
        _ => View::silent(),
    };
    let process = Process::start(view)
        .map_err(|error| Error::unusable(format!("failed to handle signals: {error}"), "report this as a bug"))?;
    let given = arguments.common.log.clone().or_else(|| std::env::var("PLEACH_LOG").ok());
    let filter = given.unwrap_or_else(|| "warn".to_owned());
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

/// Writes diagnostics above the progress bars.
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

fn dispatch(arguments: &Arguments, process: &Arc<Process>) -> Result<()> {
    let path = SearchPath::new(&arguments.common.plugin_dir);
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    let is_json = arguments.common.json;
    match &arguments.command {
        Command::Run { file, dir } => run(file, dir.as_deref(), &path, process, is_json),
        Command::Resume(arguments) => go_on(arguments, &path, process, is_json),
        Command::Rank { file, variant, dir } => rank_networks(file, variant, dir.as_deref(), &path, process, is_json),
        Command::Train(arguments) => train_network(arguments, &path, process, is_json),
        Command::Compare(arguments) => compare_strategies(arguments, &path, process, is_json),
        Command::Check { file } => check(file, &path, &host, is_json),
        Command::Schema => {
            let (registry, refused) = Registry::load_all(&path, &host);
            warn_of(&refused);
            print_json(&editor::schema(&registry));
            Ok(())
        }
        Command::Plugins(PluginsCommand::List) => {
            list(&path, &host, is_json);
            Ok(())
        }
        Command::Plugins(PluginsCommand::Describe { component }) => describe(component, &path, &host, is_json),
    }
}

fn prepare(
    arguments: &RunFileArguments,
    path: &SearchPath,
    host: &Arc<dyn Host>,
) -> Result<(Config, String, Assembly)> {
    let (config, file) = config::load(&arguments.file, &arguments.set)?;
    let assembly = assemble(&config, &file, path, host)?;
    Ok((config, file.text, assembly))
}

fn run(
    arguments: &RunFileArguments,
    folder: Option<&Path>,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    let (config, text, assembly) = prepare(arguments, path, &host)?;
    let mut directory = run::begin("run", &config, (&text, &arguments.set), &assembly, folder)?;
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

fn rank_networks(
    arguments: &RunFileArguments,
    variants: &[String],
    folder: Option<&Path>,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let (config, _) = config::load(&arguments.file, &arguments.set)?;
    let directory = run::make_directory(folder, &format!("{}-rank", config.name))?;
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
    if is_json {
        print_json(&json!({ "directory": folder, "training": trained }));
    } else {
        anstream::print!("{}", show::trained(&trained, &folder.display().to_string()));
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

fn check(arguments: &RunFileArguments, path: &SearchPath, host: &Arc<dyn Host>, is_json: bool) -> Result<()> {
    let (config, _, assembly) = prepare(arguments, path, host)?;
    let network = assembly.space.network();
    let complete = pleach_sdk::Region::complete(network);
    let (least, most) = network.cost_range(&complete);
    if is_json {
        print_json(&json!({
            "name": config.name, "slots": network.slots().len(), "networks": complete.size(),
            "least": least, "most": most,
        }));
        return Ok(());
    }
    let million = |number: u64| format!("{:.3}", number as f64 / 1e6);
    println!("{} can run: nothing was trained or evaluated", arguments.file.display());
    println!("  space       {} slots, {} networks", network.slots().len(), crate::search::round_count(complete.size()));
    println!("  parameters  {} to {} million", million(least.params), million(most.params));
    println!("  FLOPs       {} to {} million multiply-adds", million(least.flops), million(most.flops));
    Ok(())
}

fn list(path: &SearchPath, host: &Arc<dyn Host>, is_json: bool) {
    let (registry, refused) = Registry::load_all(path, host);
    if is_json {
        let plugins: Vec<Value> = registry
            .plugins()
            .iter()
            .map(|loaded| json!({ "path": loaded.path, "sha256": loaded.sha256, "plugin": loaded.plugin.info() }))
            .collect();
        let refused: Vec<Value> = refused
            .iter()
            .map(|(path, diagnostic)| json!({ "path": path, "message": diagnostic.message, "help": diagnostic.help }))
            .collect();
        print_json(&json!({ "plugins": plugins, "refused": refused }));
        return;
    }
    if registry.plugins().is_empty() {
        println!("no plugins found; build some, or name their folder with --plugin-dir or PLEACH_PLUGIN_PATH");
    }
    for loaded in registry.plugins() {
        let info = loaded.plugin.info();
        println!("{} {}  {}", info.name, info.version, info.summary);
        println!("  {} (SDK {}, ABI {})", loaded.path.display(), info.sdk, pleach_abi::ABI_MAJOR);
        for component in &info.components {
            let name = format!("{}/{}", info.name, component.name);
            println!("  {:<10} {name:<32} {}", component.kind.to_string(), component.summary);
        }
    }
    warn_of(&refused);
}

fn warn_of(refused: &[(PathBuf, crate::error::Diagnostic)]) {
    for (_, diagnostic) in refused {
        anstream::eprintln!("{ERROR}refused:{ERROR:#} {diagnostic}");
    }
}

fn describe(component: &str, path: &SearchPath, host: &Arc<dyn Host>, is_json: bool) -> Result<()> {
    let (registry, _) = Registry::load_all(path, host);
    let kinds = [Kind::Space, Kind::Dataset, Kind::Operator, Kind::Estimator, Kind::Strategy];
    let found: Vec<_> = kinds
        .iter()
        .flat_map(|kind| registry.components(*kind))
        .filter(|(name, _)| name == component || name.starts_with(&format!("{component}/")))
        .collect();
    if found.is_empty() {
        let known: Vec<String> =
            kinds.iter().flat_map(|kind| registry.components(*kind)).map(|(name, _)| name).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(Error::unusable(
            pleach_sdk::unknown_name("component", component, &known),
            "`pleach plugins list` shows what is found",
        ));
    }
    for (name, info) in found {
        if is_json {
            print_json(&json!({ "name": name, "component": info }));
            continue;
        }
        println!("{name} ({}): {}", info.kind, info.summary);
        println!("\nexample (YAML takes JSON as it is):\n  use: {name}\n  with: {}", info.example);
        println!("\nconfiguration:");
        print!("{}", fields(&info.schema));
    }
    Ok(())
}

/// The fields of a configuration, one a line: name, type, default, what it is.
fn fields(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return "  none\n".to_owned();
    };
    let mut text = String::new();
    for (name, field) in properties {
        let default = field.get("default").map_or("required".to_owned(), |default| format!("default {default}"));
        let description = field.get("description").and_then(Value::as_str).unwrap_or("").replace('\n', " ");
        text.push_str(&format!("  {name} ({default})\n      {description}\n"));
    }
    text
}

fn print_json(document: &impl serde::Serialize) {
    // A document of ours is always JSON; a reader that went away is no failure of the command.
    if let Ok(text) = serde_json::to_string_pretty(document) {
        anstream::println!("{text}");
    }
}
