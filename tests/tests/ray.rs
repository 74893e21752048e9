//! Searches whose workers are actors of a Ray cluster. `tests/ray.sh` gets Ray and runs them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use pleach_tests::{candidates, checkout, journal_length, losses, pleach, result, stderr, stdout};
use serde_json::Value;

const RUN: &str = "\
name: clustered
seed: 5
plugins: [gevonas, datasets, misbehaving]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 2, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic }
estimator: { use: misbehaving/formula, with: { badly: BADLY } }
operators:
  - { use: gevonas/uniform-crossover, weight: 0.5 }
  - { use: gevonas/operation-mutation, weight: 0.5 }
strategy: { use: gevonas/grow-and-prune, with: { population: 8, generations: 4 } }
objectives: { accuracy: maximise }
random_networks: 0
";

/// The Python that has Ray, or `None`, said loudly.
fn python() -> Option<String> {
    let python = std::env::var("PLEACH_TEST_RAY").ok();
    if python.is_none() {
        eprintln!("SKIPPED: PLEACH_TEST_RAY names no Python with Ray; `bash tests/ray.sh` gets one");
    }
    python
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn run(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, name: &str, badly: &str, executor: &str) -> Command {
        fs::write(self.run("run.yaml"), RUN.replace("BADLY", badly)).expect("it can be written");
        let mut command = pleach();
        command.current_dir(self.0.path()).args(["run", "run.yaml", "--dir"]).arg(self.run(name));
        command.args(["--set", &format!("executor={executor}")]);
        command
    }

    fn search(&self, name: &str, badly: &str, executor: &str) -> Value {
        let output = self.start(name, badly, executor).output().expect("the program starts");
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        result(&self.run(name))
    }
}

/// A cluster of nodes that come and go.
struct Nodes {
    script: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Nodes {
    fn start(python: &str) -> Self {
        let mut script = Command::new(python)
            .arg("-u")
            .arg(checkout().join("tests/tests/ray_cluster.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts");
        let input = script.stdin.take();
        let output = BufReader::new(script.stdout.take().expect("it is piped"));
        let mut nodes = Nodes { script, input, output, address: String::new() };
        nodes.address = nodes.answer(|line| line.contains(':') && line.split(':').count() == 2 && !line.contains(' '));
        nodes
    }

    /// The next line that is meant for us: Ray prints others.
    fn answer(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("it can be read") > 0, "the cluster ended");
            if is_it(line.trim()) {
                return line.trim().to_owned();
            }
        }
    }

    fn ask(&mut self, command: &str) {
        writeln!(self.input.as_mut().expect("it is open"), "{command}").expect("it can be written");
        let known = |line: &str| line == "removed" || line.parse::<u32>().is_ok();
        self.answer(known);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        drop(self.input.take());
        let patience = Instant::now() + Duration::from_secs(60);
        while self.script.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(self.script.kill());
        drop(self.script.wait());
    }
}

/// The head of a cluster, with two places for workers, that can be lost and started again.
struct Head {
    python: String,
    folder: PathBuf,
    port: u16,
    process: Child,
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

impl Head {
    fn start(python: &str, folder: PathBuf) -> Self {
        // One that nobody has, outside the ports that Ray gives to its own.
        let port = (20_000..30_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let port = port.expect("some port is free");
        let process = Self::process(python, &folder, port);
        Head { python: python.to_owned(), folder, port, process }
    }

    fn process(python: &str, folder: &Path, port: u16) -> Child {
        let mut ray = Command::new(python);
        ray.args(["-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]);
        ray.args(["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"]);
        ray.arg(format!("--port={port}")).arg(format!("--temp-dir={}", folder.display()));
        ray.env("RAY_AUTH_MODE", "token").env("RAY_AUTH_TOKEN", TOKEN);
        ray.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Python starts")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the head with no chance to say goodbye: Ray's reaper ends what it had started.
    fn lose(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        let patience = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < patience, "a part of the head is left");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn start_again(&mut self) {
        self.process = Self::process(&self.python, &self.folder, self.port);
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.process.id().to_string()).status());
        drop(self.process.wait());
    }
}

/// Workers, wherever in the tree below these processes.
fn workers() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("the system lists processes");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let folder = pleach_tests::profile_folder().display().to_string();
    let is_worker = |number: &u32| {
        fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| {
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with(&folder) && line.contains("pleach worker --descriptor")
        })
    };
    numbers.filter(is_worker).collect()
}

#[test]
fn a_cluster_that_pleach_starts_gives_the_same_result_and_ends_with_the_search() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let expected = place.search("here", "some-fail", "local");
    let executor = format!("{{use: ray, with: {{workers: 2, python: {python}}}}}");
    assert_eq!(place.search("ray", "some-fail", &executor), expected);
    assert_eq!(candidates(&place.run("ray")), candidates(&place.run("here")));
    assert_eq!(losses(&place.run("ray")), Vec::<Value>::new());
    assert_eq!(workers(), Vec::<u32>::new());
    // A plugin that crashes costs the candidate here too.
    let executor = format!("{{use: ray, with: {{workers: 2, batch: 1, retries: 0, timeout: 2s, python: {python}}}}}");
    let result = place.search("crashing", "segfault:odd", &executor);
    assert!(result["failed"].as_u64() > Some(0), "{result}");
    let losses = losses(&place.run("crashing"));
    assert_eq!(losses.len() as u64, result["failed"].as_u64().expect("a number"));
    assert!(losses.iter().all(|loss| loss["reason"] == "was ended by signal 11 (SIGSEGV)"), "{losses:?}");
}

#[test]
fn nodes_that_join_and_are_lost_change_nothing() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let expected = place.search("here", "none", "local");
    let mut nodes = Nodes::start(&python);
    nodes.ask("add 2");
    let address = &nodes.address;
    let executor = format!("{{use: ray, with: {{workers: 3, address: '{address}', python: {python}}}}}");
    // Candidates take as long as this file is there.
    fs::write(place.run("hold"), "").expect("it can be written");
    let mut search = place.start("ray", "held", &executor);
    let log = fs::File::create(place.run("log")).expect("it can be made");
    let mut search = search.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
    let mut wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            let ended = search.try_wait().expect("it can be asked").is_some();
            assert!(!ended, "{}", fs::read_to_string(place.run("log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // After the training two workers have a candidate each, and there is no room for a third.
    wait_for(&|| journal_length(&place.run("ray")) >= 2 && workers().len() == 2);
    wait_for(&|| {
        let log = fs::read_to_string(place.run("log")).unwrap_or_default();
        log.contains("waits for a node that has room for it (CPU 1)")
    });
    let killed = workers()[0];
    drop(Command::new("kill").args(["-KILL", &killed.to_string()]).status());
    wait_for(&|| workers().len() == 2 && !workers().contains(&killed));
    // One more node joins and takes the third; the first is lost with all its workers.
    nodes.ask("add 2");
    wait_for(&|| workers().len() == 3);
    nodes.ask("remove 0");
    fs::remove_file(place.run("hold")).expect("it is there");
    assert!(search.wait().expect("it ends").success(), "{}", fs::read_to_string(place.run("log")).unwrap_or_default());
    assert_eq!(result(&place.run("ray")), expected);
    assert_eq!(candidates(&place.run("ray")), candidates(&place.run("here")));
    let losses = losses(&place.run("ray"));
    assert!(losses.len() >= 2, "{losses:?}");
    let patience = Instant::now() + Duration::from_secs(20);
    while !workers().is_empty() {
        assert!(Instant::now() < patience, "workers are left behind");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_head_that_is_lost_and_starts_again_changes_nothing() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let expected = place.search("here", "none", "local");
    let mut head = Head::start(&python, place.run("ray-head"));
    let address = head.address();
    let executor = format!("{{use: ray, with: {{workers: 2, address: '{address}', python: {python}}}}}");
    // Candidates take as long as this file is there.
    fs::write(place.run("hold"), "").expect("it can be written");
    let log = fs::File::create(place.run("log")).expect("it can be made");
    let mut search = place.start("ray", "held", &executor);
    search.env("RAY_AUTH_MODE", "token").env("RAY_AUTH_TOKEN", TOKEN);
    let mut search = search.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
    let said = || fs::read_to_string(place.run("log")).unwrap_or_default();
    let mut wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(search.try_wait().expect("it can be asked").is_none(), "{}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(&|| journal_length(&place.run("ray")) >= 2 && workers().len() == 2);
    let lost = workers();
    head.lose();
    wait_for(&|| workers().is_empty());
    // The driver has noticed, and the one that is started in its place finds nothing yet.
    wait_for(&|| said().contains(&format!("no Ray cluster answers at {address} yet")));
    head.start_again();
    wait_for(&|| workers().len() == 2 && !workers().iter().any(|worker| lost.contains(worker)));
    fs::remove_file(place.run("hold")).expect("it is there");
    assert!(search.wait().expect("it ends").success(), "{}", said());
    assert_eq!(result(&place.run("ray")), expected);
    assert_eq!(candidates(&place.run("ray")), candidates(&place.run("here")));
    let losses = losses(&place.run("ray"));
    assert!(losses.len() >= 2, "{losses:?}");
}

#[test]
fn a_cluster_that_wants_a_token_says_how_to_give_one() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let head = Head::start(&python, place.run("ray-head"));
    let address = head.address();
    let executor = format!("{{use: ray, with: {{address: '{address}', python: {python}, retries: 0}}}}");
    let output = place.start("never", "none", &executor).env_remove("RAY_AUTH_MODE").output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let expected = format!("the Ray cluster at {address} wants an authentication token that was not given");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert!(stderr(&output).contains("RAY_AUTH_MODE=token"), "{}", stderr(&output));
}

#[test]
fn a_python_without_ray_is_said_once() {
    let place = Place::new();
    // One that sees its own modules alone.
    fs::write(place.run("python"), "#!/bin/sh\nexec python3 -I -S \"$@\"\n").expect("it can be written");
    fs::set_permissions(place.run("python"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let python = place.run("python");
    let executor = format!("{{use: ray, with: {{workers: 2, retries: 0, python: {}}}}}", python.display());
    let output = place.start("never", "none", &executor).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("has no Ray (No module named 'ray'): pip install 'ray==2.*'"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_cluster_that_is_not_there_is_said() {
    let place = Place::new();
    let executor = "{use: ray, with: {python: /nowhere/python, retries: 0}}";
    let output = place.start("never", "none", executor).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("the worker could not be asked for: /nowhere/python:"), "{}", stderr(&output));
}
