//! Workers in the actors of a Ray cluster. A driver in Python, `ray.py`, speaks to Ray; this starts
//! it and passes messages through it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Child,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Carrier, Death, Event,
    children::{self, Spoken},
    protocol::{self, Reply, Request},
};
use crate::{config::Workers, host::Process};

const DRIVER: &str = include_str!("ray.py");

/// A Ray cluster, as far as this search is concerned.
pub(super) struct Cluster {
    program: PathBuf,
    settings: Workers,
    process: Arc<Process>,
    driver: Option<Driver>,
    /// Workers that were asked for and have not died.
    open: BTreeSet<u64>,
    /// Why this process ended a worker.
    killed: BTreeMap<u64, String>,
    /// Deaths that nobody has been told of yet.
    deaths: Vec<(u64, Death)>,
}

struct Driver {
    child: Child,
    stream: UnixStream,
    heard: mpsc::Receiver<std::io::Result<Option<Message>>>,
    printed: children::Printed,
}

/// What is sent to the driver.
#[derive(Serialize)]
#[serde(untagged)]
enum ToDriver<'a> {
    Settings { settings: DriverSettings<'a> },
    Open { worker: u64, open: bool },
    Send { worker: u64, send: &'a Request },
    Kill { worker: u64, kill: bool },
}

#[derive(Serialize)]
struct DriverSettings<'a> {
    address: Option<&'a str>,
    resources: &'a BTreeMap<String, f64>,
    program: &'a PathBuf,
    memory: Option<u64>,
}

/// What the driver says: about one worker, or about itself.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    worker: u64,
    #[serde(default)]
    opened: bool,
    #[serde(default)]
    said: Option<Reply>,
    #[serde(default)]
    printed: Option<String>,
    #[serde(default)]
    died: Option<Died>,
    /// What the driver waits for.
    #[serde(default)]
    waits: Option<String>,
    /// Why there is nothing that it can do.
    #[serde(default)]
    ended: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Died {
    reason: String,
    is_foreign: bool,
    printed: Option<String>,
}

impl Cluster {
    pub(super) fn new(program: PathBuf, settings: &Workers, process: Arc<Process>) -> Self {
        Cluster {
            program,
            settings: settings.clone(),
            process,
            driver: None,
            open: BTreeSet::new(),
            killed: BTreeMap::new(),
            deaths: Vec::new(),
        }
    }

    /// The driver, started if there is none: the one before may have lost its cluster.
    fn driver(&mut self) -> std::io::Result<&mut Driver> {
        if self.driver.is_none() {
            let python = self.settings.python.as_deref().unwrap_or("python3");
            let mut command = std::process::Command::new(python);
            command.args(["-u", "-c", DRIVER]);
            let spawned = children::spawn(command, Spoken { name: "ray".to_owned(), aloud: false }, &self.process)?;
            let children::Spawned { child, mut stream, printed, .. } = spawned;
            let settings = DriverSettings {
                address: self.settings.address.as_deref(),
                resources: &self.settings.resources,
                program: &self.program,
                memory: self.settings.memory(),
            };
            protocol::write(&mut stream, &ToDriver::Settings { settings })?;
            let mut listener = stream.try_clone()?;
            let (say, heard) = mpsc::channel();
            thread::Builder::new().name("ray".to_owned()).spawn(move || {
                loop {
                    let message = protocol::read::<Message>(&mut listener);
                    let is_last = !matches!(message, Ok(Some(_)));
                    if say.send(message).is_err() || is_last {
                        return;
                    }
                }
            })?;
            self.driver = Some(Driver { child, stream, heard, printed });
        }
        self.driver.as_mut().ok_or_else(|| std::io::Error::other("the driver was not started"))
    }

    fn tell(&mut self, message: &ToDriver<'_>) -> std::io::Result<()> {
        protocol::write(&mut self.driver()?.stream, message)
    }

    /// The driver is no more, and with it all workers.
    fn lose(&mut self, why: &str, is_foreign: bool) {
        let mut printed = None;
        if let Some(mut driver) = self.driver.take() {
            // It may have closed its descriptor and go on.
            drop(driver.child.kill());
            drop(driver.child.wait());
            printed = children::last(&driver.printed);
        }
        for worker in std::mem::take(&mut self.open) {
            let death = Death { reason: why.to_owned(), is_foreign, printed: printed.clone() };
            self.deaths.push((worker, death));
        }
    }
}

impl Carrier for Cluster {
    fn open(&mut self, worker: u64) {
        self.open.insert(worker);
        if let Err(error) = self.tell(&ToDriver::Open { worker, open: true }) {
            let python = self.settings.python.as_deref().unwrap_or("python3");
            self.lose(&format!("could not be asked for: {python}: {error}"), false);
        }
    }

    fn send(&mut self, worker: u64, request: &Request) {
        if self.open.contains(&worker)
            && let Err(error) = self.tell(&ToDriver::Send { worker, send: request })
        {
            self.lose(&format!("lost its driver: {error}"), true);
        }
    }

    fn kill(&mut self, worker: u64, why: &str) {
        if !self.open.contains(&worker) || self.killed.contains_key(&worker) {
            return;
        }
        self.killed.insert(worker, why.to_owned());
        if let Err(error) = self.tell(&ToDriver::Kill { worker, kill: true }) {
            self.lose(&format!("lost its driver: {error}"), true);
        }
    }

    fn next(&mut self, patience: Duration) -> Option<(u64, Event)> {
        if let Some((worker, death)) = self.deaths.pop() {
            return Some((worker, Event::Died(death)));
        }
        let Some(driver) = &self.driver else {
            thread::sleep(patience);
            return None;
        };
        let message = match driver.heard.recv_timeout(patience) {
            Ok(Ok(Some(message))) => message,
            Err(mpsc::RecvTimeoutError::Timeout) => return None,
            Ok(Err(error)) => {
                self.lose(&format!("lost its driver: {error}"), true);
                return None;
            }
            Ok(Ok(None)) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                self.lose("lost its driver, which ended", true);
                return None;
            }
        };
        let Message { worker, opened, said, printed, died, waits, ended } = message;
        if let Some(why) = ended {
            self.lose(&why, false);
            return None;
        }
        if let Some(what) = waits {
            tracing::warn!("{what}");
            return None;
        }
        if let Some(text) = printed {
            self.process.view().printed(&format!("worker {worker}: {text}"));
        }
        if opened {
            return Some((worker, Event::Opened));
        }
        if let Some(reply) = said {
            return Some((worker, Event::Said(reply)));
        }
        let Died { reason, is_foreign, printed } = died?;
        if !self.open.remove(&worker) {
            return None;
        }
        let death = match self.killed.remove(&worker) {
            Some(why) => Death { reason: why, is_foreign: false, printed },
            None => Death { reason, is_foreign, printed },
        };
        Some((worker, Event::Died(death)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It ends its actors, and a cluster that it started, when its descriptor is closed.
        if let Some(mut driver) = self.driver.take() {
            drop(driver.stream.shutdown(std::net::Shutdown::Both));
            children::wait(&mut driver.child, GOODBYE);
        }
    }
}

/// How long Ray may take to end a cluster that it started.
const GOODBYE: Duration = Duration::from_secs(20);
