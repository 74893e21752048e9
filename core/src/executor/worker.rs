//! `pleach worker`: one estimator in a process of its own, asked through a descriptor.
//!
//! It ends when the host closes the descriptor or dies, whatever its plugin is doing then.

use std::{
    io,
    os::{
        fd::{FromRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use pleach_sdk::{
    Context, Error, Estimator, Kind, Result,
    host::{Host, Progress},
};

use super::protocol::{self, Answer, Call, Level, Measurement, Order, PROTOCOL, Reply, Request};
use crate::{
    config::{PinnedPlugin, PluginReference},
    plugins::{Registry, SearchPath},
};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How long a plugin may go on after the host is gone.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the host at the other end of a descriptor until that closes it.
///
/// # Errors
///
/// A descriptor that does not lead to a host.
pub fn serve(descriptor: RawFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if descriptor <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard streams are no way to a host"));
    }
    // SAFETY: the host opened this descriptor for the worker alone, and nothing else in this
    // process knows of it yet. A wrong number fails at the first use.
    let stream = unsafe { UnixStream::from_raw_fd(descriptor) };
    let requests = stream.try_clone()?;
    let remote = Arc::new(Remote::new(stream));
    let (sender, receiver) = mpsc::channel();
    let listener = Arc::clone(&remote);
    thread::Builder::new().name("requests".to_owned()).spawn(move || listen(requests, &listener, &sender))?;
    let mut estimator = None;
    for request in receiver {
        let answer = answer(&mut estimator, request.call, &remote);
        remote.say(&Reply::Answer { task: request.task, answer });
    }
    Ok(())
}

/// Reads requests until there are no more, also while the estimator is at work.
fn listen(mut requests: UnixStream, remote: &Remote, sender: &mpsc::Sender<Request>) {
    loop {
        match protocol::read::<Request>(&mut requests) {
            Ok(Some(Request { call: Call::Cancel, .. })) => remote.cancelled.store(true, Ordering::Relaxed),
            Ok(Some(request)) => {
                remote.cancelled.store(false, Ordering::Relaxed);
                if sender.send(request).is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                eprintln!("the host cannot be understood: {error}");
                break;
            }
        }
    }
    remote.cancelled.store(true, Ordering::Relaxed);
    let patience = Instant::now() + GRACE;
    while Instant::now() < patience {
        thread::sleep(GRACE / 20);
    }
    // Still here: the plugin hangs, and nobody waits for it any more.
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
        eprintln!("failed to end this worker: {error}");
    }
}

fn answer(estimator: &mut Option<Box<dyn Estimator>>, call: Call, remote: &Arc<Remote>) -> Answer {
    let done = match (call, estimator.as_mut()) {
        (Call::Start(order), None) => build(&order, remote).map(|built| {
            let measured = built.objectives();
            *estimator = Some(built);
            Answer::Ready(measured)
        }),
        (Call::Evaluate { genomes, seed }, Some(estimator)) => estimator
            .evaluate(&genomes, seed)
            .map(|outcomes| Answer::Evaluated(outcomes.into_iter().map(Measurement::from).collect())),
        (Call::Train { plan, seed, folder }, Some(estimator)) => estimator.train(&plan, seed).and_then(|report| {
            if report.weights_changed {
                estimator.save(&folder)?;
            }
            Ok(Answer::Trained(report))
        }),
        (Call::Save { folder }, Some(estimator)) => estimator.save(&folder).map(|()| Answer::Done),
        (Call::Load { folder }, Some(estimator)) => estimator.load(&folder).map(|()| Answer::Done),
        (Call::Cancel, _) => Ok(Answer::Done),
        (Call::Start(_), Some(_)) => Err(Error::failed("this worker was started before")),
        (_, None) => Err(Error::failed("this worker was not started yet")),
    };
    done.unwrap_or_else(|error| Answer::Failed(error.into()))
}

fn build(order: &Order, remote: &Arc<Remote>) -> Result<Box<dyn Estimator>> {
    if order.protocol != PROTOCOL {
        let found = order.protocol;
        return Err(Error::failed(format!("the host speaks worker protocol {found}, this worker {PROTOCOL}")));
    }
    *remote.level.lock().unwrap_or_else(PoisonError::into_inner) = order.log.map(tracing::Level::from);
    enter(&order.directory)?;
    let references: Vec<PluginReference> = order
        .plugins
        .iter()
        .map(|file| {
            let name = file.path.display().to_string();
            PluginReference::Pinned(PinnedPlugin { name, sha256: file.sha256.clone() })
        })
        .collect();
    let host: Arc<dyn Host> = Arc::clone(remote) as Arc<dyn Host>;
    let registry = Registry::load(&references, &SearchPath::default(), &host)
        .map_err(|(_, diagnostic)| Error::failed(format!("in a worker: {diagnostic}")))?;
    let find = |kind: Kind, name: &str| {
        let found = registry.find(kind, name);
        found.map_err(|diagnostic| Error::failed(format!("in a worker: {diagnostic}")))
    };
    let mut context = Context { objectives: order.objectives.clone(), ..Context::default() };
    let mut dataset = None;
    if let Some(part) = &order.dataset {
        context.seed = part.seed;
        let (plugin, info) = find(Kind::Dataset, &part.name)?;
        let built = plugin.dataset(&info.name, &part.with, &context)?;
        context.dataset = Some(built.info().clone());
        dataset = Some(built);
    }
    context.seed = order.space.seed;
    let (plugin, info) = find(Kind::Space, &order.space.name)?;
    let space = plugin.space(&info.name, &order.space.with, &context)?;
    context.seed = order.estimator.seed;
    let (plugin, info) = find(Kind::Estimator, &order.estimator.name)?;
    plugin.estimator(&info.name, &order.estimator.with, space, dataset, &context)
}

fn enter(directory: &Path) -> Result<()> {
    if std::env::current_dir().ok().as_deref() == Some(directory) {
        return Ok(());
    }
    std::env::set_current_dir(directory).map_err(|error| {
        let shown = directory.display();
        Error::failed(format!("the folder {shown} of the search cannot be entered on a worker's machine: {error}"))
    })
}

/// The host, as far as plugins in this process are concerned.
struct Remote {
    out: Mutex<UnixStream>,
    cancelled: AtomicBool,
    level: Mutex<Option<tracing::Level>>,
    told: Mutex<Option<Instant>>,
}

impl Remote {
    fn new(stream: UnixStream) -> Self {
        let (cancelled, level, told) = (AtomicBool::new(false), Mutex::new(None), Mutex::new(None));
        Remote { out: Mutex::new(stream), cancelled, level, told }
    }

    fn say(&self, reply: &Reply) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = protocol::write(&mut *out, reply) {
            // Nobody is there to be told; the end of the requests ends this process.
            self.cancelled.store(true, Ordering::Relaxed);
            eprintln!("failed to answer the host: {error}");
        }
    }
}

impl Host for Remote {
    fn log(&self, level: tracing::Level, target: &str, message: &str) {
        self.say(&Reply::Log { level: Level::from(level), target: target.to_owned(), message: message.to_owned() });
    }

    fn log_level(&self) -> Option<tracing::Level> {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, progress: &Progress<'_>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let Progress { task, done, total, note } = *progress;
        self.say(&Reply::Progress { task: task.to_owned(), done, total, note: note.to_owned() });
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
