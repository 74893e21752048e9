//! Workers as child processes: how they are started, watched and ended.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, PipeReader, pipe},
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};

use super::{
    Carrier, Death, Event,
    protocol::{self, Reply, Request},
};
use crate::host::Process;

/// The descriptor through which a child is asked.
const DESCRIPTOR: i32 = 3;

/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a child may leave a request unread before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a child that closed its descriptor may take to end.
const DYING: Duration = Duration::from_secs(1);

/// How much is kept of what a child prints.
const LINE: usize = 500;

/// Children of this process.
pub(super) struct Children {
    program: PathBuf,
    memory: Option<u64>,
    process: Arc<Process>,
    children: BTreeMap<u64, Running>,
    heard: mpsc::Receiver<(u64, Heard)>,
    say: mpsc::Sender<(u64, Heard)>,
    looked: Instant,
}

/// What the thread that listens to a child passes on.
enum Heard {
    Opened,
    Reply(Reply),
    /// The descriptor is closed, or what came from it is no reply.
    Closed(Option<String>),
    /// The child could not be started.
    Failed(String),
}

struct Running {
    child: Child,
    stream: UnixStream,
    /// Why this process ended it.
    killed: Option<String>,
    printed: Printed,
    printer: Option<JoinHandle<()>>,
}

impl Children {
    pub(super) fn new(program: PathBuf, memory: Option<u64>, process: Arc<Process>) -> Self {
        let (say, heard) = mpsc::channel();
        Children { program, memory, process, children: BTreeMap::new(), heard, say, looked: Instant::now() }
    }

    fn spawn(&self, worker: u64) -> std::io::Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(["worker", "--descriptor", &DESCRIPTOR.to_string()]);
        let name = format!("worker {worker}");
        let Spawned { child, stream, printed, printer } =
            spawn(command, Spoken { name: name.clone(), aloud: true }, &self.process)?;
        let (listener, say) = (stream.try_clone()?, self.say.clone());
        thread::Builder::new().name(name).spawn(move || listen(worker, listener, &say))?;
        Ok(Running { child, stream, killed: None, printed, printer: Some(printer) })
    }

    /// Ends children that hold too much memory, and notices those that ended while somebody else
    /// holds their descriptor.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for (worker, running) in &mut self.children {
            if running.child.try_wait().is_ok_and(|status| status.is_some()) {
                drop(running.stream.shutdown(std::net::Shutdown::Both));
            }
            let Some(limit) = self.memory else { continue };
            let held = resident_memory(running.child.id()).unwrap_or(0);
            if held > limit && running.killed.is_none() {
                tracing::debug!(worker, held, limit, "too much memory");
                running.kill(&format!("held more than {} of memory", bytesize::ByteSize::b(limit)));
            }
        }
    }

    fn bury(&mut self, worker: u64, complaint: Option<String>) -> Option<Death> {
        let mut running = self.children.remove(&worker)?;
        if let Some(complaint) = complaint {
            running.kill(&complaint);
        }
        let patience = Instant::now() + DYING;
        let status = loop {
            match running.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < patience => thread::sleep(LOOK_EVERY / 20),
                Ok(None) => running.kill("closed its descriptor"),
                Err(error) => {
                    tracing::warn!("failed to ask for the end of a worker: {error}");
                    break None;
                }
            }
        };
        // Whatever it printed last has arrived when its printer ends; a grandchild that holds the
        // pipe is not waited for.
        if let Some(printer) = running.printer.take() {
            let patience = Instant::now() + DYING;
            while !printer.is_finished() && Instant::now() < patience {
                thread::sleep(LOOK_EVERY / 20);
            }
        }
        let printed = last(&running.printed);
        let (reason, is_foreign) = match (running.killed.take(), status) {
            (Some(why), _) => (why, false),
            (None, Some(status)) => describe(status),
            (None, None) => ("ended in an unknown way".to_owned(), false),
        };
        Some(Death { reason, is_foreign, printed })
    }
}

impl Carrier for Children {
    fn open(&mut self, worker: u64) {
        let heard = match self.spawn(worker) {
            Ok(running) => {
                self.children.insert(worker, running);
                Heard::Opened
            }
            Err(error) => Heard::Failed(format!("{} cannot be run: {error}", self.program.display())),
        };
        // The receiver is held by this very value.
        drop(self.say.send((worker, heard)));
    }

    fn send(&mut self, worker: u64, request: &Request) {
        let Some(running) = self.children.get_mut(&worker) else { return };
        if let Err(error) = protocol::write(&mut running.stream, request) {
            tracing::debug!(worker, "a request was not sent: {error}");
            // One that closed its end is about to be over, and says how in its own way.
            if error.kind() != std::io::ErrorKind::BrokenPipe
                && running.child.try_wait().is_ok_and(|status| status.is_none())
            {
                running.kill("reads no requests");
            }
        }
    }

    fn kill(&mut self, worker: u64, why: &str) {
        if let Some(running) = self.children.get_mut(&worker) {
            running.kill(why);
        }
    }

    fn next(&mut self, patience: Duration) -> Option<(u64, Event)> {
        let until = Instant::now() + patience;
        loop {
            self.look();
            let left = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left.min(LOOK_EVERY)) {
                Ok((worker, Heard::Opened)) => return Some((worker, Event::Opened)),
                Ok((worker, Heard::Reply(reply))) if self.children.contains_key(&worker) => {
                    return Some((worker, Event::Said(reply)));
                }
                Ok((_, Heard::Reply(_))) => {}
                Ok((worker, Heard::Failed(reason))) => {
                    let death = Death { reason, is_foreign: false, printed: None };
                    return Some((worker, Event::Died(death)));
                }
                Ok((worker, Heard::Closed(complaint))) => {
                    if let Some(death) = self.bury(worker, complaint) {
                        return Some((worker, Event::Died(death)));
                    }
                }
                Err(_) if left.is_zero() => return None,
                Err(_) => {}
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for running in self.children.values_mut() {
            running.kill("the search is over");
            drop(running.child.wait());
        }
    }
}

impl Running {
    fn kill(&mut self, why: &str) {
        self.killed.get_or_insert_with(|| why.to_owned());
        if let Err(error) = self.child.kill() {
            tracing::warn!("failed to end a worker: {error}");
        }
    }
}

fn listen(worker: u64, mut stream: UnixStream, say: &mpsc::Sender<(u64, Heard)>) {
    let complaint = loop {
        match protocol::read::<Reply>(&mut stream) {
            Ok(Some(reply)) => {
                if say.send((worker, Heard::Reply(reply))).is_err() {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                break Some(format!("broke the protocol: {error}"));
            }
            // It ended in the middle of a reply.
            Err(_) => break None,
        }
    };
    drop(say.send((worker, Heard::Closed(complaint))));
}

/// The last line that a child printed.
pub(super) type Printed = Arc<Mutex<Option<String>>>;

/// Takes the last line that a child printed.
pub(super) fn last(printed: &Printed) -> Option<String> {
    printed.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A child that was just started.
pub(super) struct Spawned {
    pub(super) child: Child,
    /// The way to it.
    pub(super) stream: UnixStream,
    pub(super) printed: Printed,
    /// Ends when nothing more can be printed.
    pub(super) printer: JoinHandle<()>,
}

/// How what a child prints is shown.
pub(super) struct Spoken {
    /// Who it is.
    pub(super) name: String,
    /// Whether a person is shown it, or only the diagnostics.
    pub(super) aloud: bool,
}

/// Starts a child that is asked through its descriptor 3, in a group of its own.
pub(super) fn spawn(mut command: Command, spoken: Spoken, process: &Arc<Process>) -> std::io::Result<Spawned> {
    let (stream, theirs) = UnixStream::pair()?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (prints, out) = pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        // Ctrl-C is the host's to hear, who asks its children to stop.
        .process_group(0)
        .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: DESCRIPTOR }])
        .map_err(std::io::Error::other)?;
    let child = command.spawn()?;
    // What the command holds of the child's ends goes with it.
    drop(command);
    let printed = Printed::default();
    let (process, last) = (Arc::clone(process), Arc::clone(&printed));
    let name = format!("prints of {}", spoken.name);
    let printer = thread::Builder::new().name(name).spawn(move || show(&spoken, prints, &process, &last))?;
    Ok(Spawned { child, stream, printed, printer })
}

/// Waits for a child to end by itself, and ends it where that takes too long.
pub(super) fn wait(child: &mut Child, patience: Duration) {
    let patience = Instant::now() + patience;
    while Instant::now() < patience && child.try_wait().is_ok_and(|status| status.is_none()) {
        thread::sleep(LOOK_EVERY);
    }
    drop(child.kill());
    drop(child.wait());
}

/// Shows what a child prints, line by line, and remembers the last one.
fn show(spoken: &Spoken, prints: PipeReader, process: &Process, last: &Mutex<Option<String>>) {
    let mut prints = BufReader::new(prints);
    let mut line = Vec::new();
    loop {
        line.clear();
        match prints.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text: String = String::from_utf8_lossy(&line).trim_end().chars().take(LINE).collect();
                if spoken.aloud {
                    process.view().printed(&format!("{}: {text}", spoken.name));
                } else {
                    tracing::debug!("{}: {text}", spoken.name);
                }
                if !text.is_empty() {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                }
            }
        }
    }
}

fn describe(status: ExitStatus) -> (String, bool) {
    match (status.signal(), status.code()) {
        (Some(number), _) => {
            let name = signal_hook::low_level::signal_name(number).unwrap_or("unknown");
            let is_foreign = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"].contains(&name);
            (format!("was ended by signal {number} ({name})"), is_foreign)
        }
        (None, Some(code)) => (format!("exited with code {code}"), false),
        (None, None) => ("ended in an unknown way".to_owned(), false),
    }
}

/// The memory that a process holds, where the system says so.
fn resident_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::{super::protocol::Call, *};

    #[test]
    fn one_that_is_ended_just_when_it_is_asked_says_how_it_ended() {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/executor/testing/killed.sh");
        let mut children = Children::new(program.into(), None, Arc::default());
        children.open(1);
        assert!(matches!(children.next(Duration::from_secs(10)), Some((1, Event::Opened))));
        for task in 0..20 {
            children.send(1, &Request { task, call: Call::Cancel });
            thread::sleep(Duration::from_millis(10));
        }
        let Some((1, Event::Died(death))) = children.next(Duration::from_secs(60)) else {
            panic!("it is not over");
        };
        assert_eq!((death.reason.as_str(), death.is_foreign), ("was ended by signal 9 (SIGKILL)", true));
    }
}
