//! The command line: what the program is asked, and how answers are printed.

mod compare;
mod export;
mod manual;
mod plugins;
mod profile;
mod search;
mod train;

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

use self::search::RunFileArguments;
use crate::{
    editor,
    error::{Error, Result},
    executor::worker,
    host::Process,
    plugins::{SearchPath, catalogue::Catalogue, child},
    progress::View,
    report,
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
    Resume(search::ResumeArguments),
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
    Train(train::TrainArguments),
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
    Compare(compare::CompareArguments),
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
            search::run(file, *allow_changed_plugins, dir.as_deref(), &path, process, is_json)
        }
        Command::Resume(arguments) => search::resume(arguments, &path, process, is_json),
        Command::Reproduce { run, candidate, dir } => {
            search::reproduce(run, candidate.as_ref(), dir.as_deref(), &path, process, is_json)
        }
        Command::Rank { file, variant, dir } => compare::rank(file, variant, dir.as_deref(), &path, process, is_json),
        Command::Profile(arguments) => profile::measure(arguments, &path, process, is_json),
        Command::Train(arguments) => train::train(arguments, &path, process, is_json),
        Command::Export(arguments) => export::export_network(arguments, is_json),
        Command::Compare(arguments) => compare::compare(arguments, &path, process, is_json),
        Command::Report { run, out } => write_report(run, out.as_deref(), is_json),
        Command::Serve { run, port } => report::serve(run, *port, process),
        Command::Check { file } => search::check(file, &path, process, is_json),
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

fn print_json(document: &impl serde::Serialize) {
    // A document of ours is always JSON; a reader that went away is no failure of the command.
    if let Ok(text) = serde_json::to_string_pretty(document) {
        anstream::println!("{text}");
    }
}
