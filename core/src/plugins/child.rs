//! Plugin code in a process of its own: what it does there, this process outlives.
//!
//! The program starts itself again with the hidden command `in-child`. The child answers on what
//! was its standard output, one JSON object a line; plugin code finds standard error in its place,
//! so that nothing it prints gets between.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Subcommand;
use pleach_sdk::{
    Kind, PluginInfo,
    conformance::{self, Check, Finding, Surroundings, Watch},
    host::Host,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load;
use crate::{
    error::{Diagnostic, Error, Result},
    host::Process,
};

/// The name of the hidden command.
pub const COMMAND: &str = "in-child";

/// How often a child is looked after while it says nothing.
const LOOK: Duration = Duration::from_millis(20);

/// How much of what a child printed last is kept, in bytes.
const TAIL: usize = 2000;

/// What a child is to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Load a plugin and say what it has.
    Describe {
        /// The library.
        library: PathBuf,
    },
    /// Try the promises of a component.
    Check {
        /// The library.
        library: PathBuf,
        /// The component's kind.
        #[arg(value_parser = parse_kind)]
        kind: Kind,
        /// The component's name after `plugin/`.
        component: String,
        /// The configuration, a JSON document; without it the example.
        #[arg(long)]
        with: Option<String>,
        /// A check that is not to be tried.
        #[arg(long)]
        skip: Vec<String>,
    },
}

/// Reads a kind as it is written on the command line.
///
/// # Errors
///
/// What is no kind.
pub fn parse_kind(text: &str) -> std::result::Result<Kind, String> {
    serde_json::from_value(Value::from(text))
        .map_err(|_| "a component is a space, dataset, operator, estimator or strategy".to_owned())
}

impl Task {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![COMMAND.into()];
        match self {
            Task::Describe { library } => arguments.extend(["describe".into(), library.into()]),
            Task::Check { library, kind, component, with, skip } => {
                arguments.extend(["check".into(), library.into(), kind.to_string().into(), component.into()]);
                for (name, value) in
                    with.iter().map(|with| ("--with", with)).chain(skip.iter().map(|skip| ("--skip", skip)))
                {
                    arguments.extend([name.into(), value.into()]);
                }
            }
        }
        arguments
    }
}

/// What a child says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What the plugin has.
    Described(PluginInfo),
    /// The library cannot be used.
    Refused(Diagnostic),
    /// A check comes next, by name.
    Before(String),
    /// What came of it.
    Found(Finding),
    /// The child is done: whatever ends it now, its work is whole.
    Done,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With its work done.
    Whole,
    /// Of itself, before its work was done; with the last that it printed.
    Died(String),
    /// It was ended, for nothing came of it for so long.
    TooLong(Duration),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Whole => formatter.write_str("its work was done"),
            Ending::Died(how) => formatter.write_str(how),
            Ending::TooLong(patience) => {
                write!(formatter, "it did not come back within {}", humantime::format_duration(*patience))
            }
        }
    }
}

/// Does a task in a child process, and hands on each thing it says. The child is ended when it
/// says nothing for longer than `patience`, or when the user asks to stop.
///
/// # Errors
///
/// A child that cannot be started, and an interrupt.
pub fn run(task: &Task, patience: Duration, process: &Process, hear: &mut dyn FnMut(Answer)) -> Result<Ending> {
    let cannot_start =
        |error: io::Error| Error::unusable(format!("failed to start a process of this program: {error}"), "try again");
    let program = std::env::current_exe().map_err(cannot_start)?;
    let mut command = Command::new(program);
    command.args(task.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded(command.spawn().map_err(cannot_start)?);
    let printed = keep_tail(child.0.stderr.take().expect("standard error is piped"));
    let answers = read_answers(child.0.stdout.take().expect("standard output is piped"));
    let mut is_whole = false;
    let mut since = Instant::now();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match answers.recv_timeout(LOOK) {
            Ok(answer) => {
                since = Instant::now();
                is_whole |= answer == Answer::Done;
                if !is_whole {
                    hear(answer);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // What the child started may hold its output open for longer than it lives.
            Err(RecvTimeoutError::Timeout) if ended.is_some_and(|(_, when)| when.elapsed() > 5 * LOOK) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if is_whole {
            return Ok(Ending::Whole);
        }
        if process.is_interrupted() {
            return Err(Error::Stopped);
        }
        if ended.is_none() {
            ended = child.0.try_wait().map_err(cannot_start)?.map(|status| (status, Instant::now()));
        }
        if ended.is_none() && since.elapsed() > patience {
            return Ok(Ending::TooLong(patience));
        }
    }
    let status = match ended {
        Some((status, _)) => status,
        None => child.wait_within(patience.saturating_sub(since.elapsed())).map_err(cannot_start)?,
    };
    let printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Ending::Died(how_it_died(status, &String::from_utf8_lossy(&printed))))
}

/// A child that does not outlive its parent's interest.
struct Guarded(Child);

impl Guarded {
    fn wait_within(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let since = Instant::now();
        while since.elapsed() < patience {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(LOOK / 4);
        }
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // One that has ended cannot be ended, and that is all that can go wrong.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn how_it_died(status: ExitStatus, printed: &str) -> String {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None::<i32>;
    let how = match (signal, status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("it ended the process with signal {signal} ({name})"),
            None => format!("it ended the process with signal {signal}"),
        },
        (None, Some(code)) => format!("it ended the process with exit code {code}"),
        (None, None) => "it ended the process".to_owned(),
    };
    let last: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = last[last.len().saturating_sub(3)..].join(" / ");
    if last.is_empty() { how } else { format!("{how}; the last that it printed: {last}") }
}

/// Reads what a child prints to the end and keeps the last of it.
fn keep_tail(mut stream: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let tail = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&tail);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..read]);
            let surplus = kept.len().saturating_sub(TAIL);
            kept.drain(..surplus);
        }
    });
    tail
}

fn read_answers(stream: impl Read + Send + 'static) -> mpsc::Receiver<Answer> {
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            // A line that is none of these was cut off by the child's end.
            let Ok(answer) = serde_json::from_str(&line) else { return };
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    answers
}

/// Does a task: what the hidden command does.
///
/// # Errors
///
/// Output that cannot be set up or written.
pub fn work(task: &Task, process: &Arc<Process>) -> Result<()> {
    let failed =
        |error: io::Error| Error::unusable(format!("failed to answer: {error}"), "this command is for pleach itself");
    let mut answers = Answers(take_over_output().map_err(failed)?);
    match task {
        Task::Describe { library } => answers.describe(library, process),
        Task::Check { library, kind, component, with, skip } => {
            let with = with.as_deref().map(serde_json::from_str).transpose();
            let config = with.map_err(|error| failed(error.into()))?;
            answers.check(library, (*kind, component), config, skip, process)
        }
    }
    .and_then(|()| answers.say(&Answer::Done))
    .map_err(failed)
}

/// Standard output for this module alone; everybody else's goes to standard error.
fn take_over_output() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        let with_parent = rustix::process::Signal::KILL;
        rustix::process::set_parent_process_death_signal(Some(with_parent))?;
        // Code that is damaged on purpose need not fill disks.
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    }
    let own = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(own))
}

struct Answers(File);

impl Answers {
    fn say(&mut self, answer: &Answer) -> io::Result<()> {
        self.0.write_all(format!("{}\n", serde_json::to_string(answer)?).as_bytes())
    }

    fn describe(&mut self, library: &Path, process: &Arc<Process>) -> io::Result<()> {
        let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
        match load(library, None, &host) {
            Ok(loaded) => self.say(&Answer::Described(loaded.plugin.info().clone())),
            Err(diagnostic) => self.say(&Answer::Refused(diagnostic)),
        }
    }

    fn check(
        &mut self,
        library: &Path,
        (kind, component): (Kind, &str),
        config: Option<Value>,
        skip: &[String],
        process: &Arc<Process>,
    ) -> io::Result<()> {
        let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
        let loaded = match load(library, None, &host) {
            Ok(loaded) => loaded,
            Err(diagnostic) => return self.say(&Answer::Refused(diagnostic)),
        };
        let known = &loaded.plugin.info().components;
        let Some(info) = known.iter().find(|known| known.kind == kind && known.name == component) else {
            let missing = format!("it had the {kind} `{component}` before, and has it no more");
            return self.say(&Answer::Refused(Diagnostic::new(missing)));
        };
        let surroundings = Surroundings { config, ..Surroundings::default() };
        let cancel = |cancelled: bool| process.set_deadline(cancelled.then(Instant::now));
        let mut watch = Saying { answers: self, skip, failure: None };
        conformance::check(&loaded.plugin, info, &surroundings, &cancel, &mut watch);
        watch.failure.map_or(Ok(()), Err)
    }
}

/// Says each check as it is tried.
struct Saying<'a> {
    answers: &'a mut Answers,
    skip: &'a [String],
    failure: Option<io::Error>,
}

impl Saying<'_> {
    fn say(&mut self, answer: &Answer) {
        if let Err(error) = self.answers.say(answer) {
            self.failure.get_or_insert(error);
        }
    }
}

impl Watch for Saying<'_> {
    fn before(&mut self, check: &Check) -> bool {
        if self.skip.iter().any(|name| name == check.name) {
            return false;
        }
        self.say(&Answer::Before(check.name.to_owned()));
        true
    }

    fn after(&mut self, finding: &Finding) {
        self.say(&Answer::Found(finding.clone()));
    }
}
