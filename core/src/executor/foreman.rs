//! Shares out a job among workers: what each does, which weights it has, what is tried again.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use pleach_sdk::{
    Error, ErrorKind, Measured, Result,
    host::{Host, Progress},
};

use super::{
    Carrier, Death, Event, Loss, Workshop,
    job::{Done, Job, Tries, Work, given_up},
    protocol::{Answer, Call, Order, Reply, Request},
    states::{make_anew, unwritten},
};
use crate::{config::Workers, host::Process};

/// How long to wait for something to happen before looking at clocks again.
const TICK: Duration = Duration::from_millis(50);

/// How long workers may take to stop when the user wants to.
const GRACE: Duration = Duration::from_secs(10);

/// So often the same work may lose its worker to somebody else, who ends processes, before the
/// work is taken to be the cause; and so often each worker there may be before it has begun.
const FOREIGN_ENDS: u32 = 20;

/// For how long a worker gets candidates at once: what is lost with it, and what others wait for in
/// the end.
const SHARE: Duration = Duration::from_secs(10);

/// Who shares out, and what is known of the workers.
pub(super) struct Foreman {
    carrier: Box<dyn Carrier>,
    pub(super) order: Order,
    /// How many workers there may be.
    limit: usize,
    timeout: Option<Duration>,
    start_timeout: Duration,
    retries: u32,
    /// The most candidates of a request.
    batch: usize,
    /// How long a candidate took that was answered last, with what it shared with others.
    pace: Option<Duration>,
    workshop: Arc<Workshop>,
    process: Arc<Process>,
    workers: BTreeMap<u64, Worker>,
    last_worker: u64,
    last_task: u64,
    pub(super) measured: Option<Vec<Measured>>,
    /// Counts the states that the estimator was in; 0 is the one it was built in.
    pub(super) state: u64,
    /// Workers that were lost before they did any work, since one last did.
    failed_starts: Tries,
}

struct Worker {
    doing: Doing,
    task: u64,
    since: Instant,
    /// The state that it is in.
    state: u64,
}

#[derive(Clone, PartialEq, Eq)]
enum Doing {
    Opening,
    Starting,
    Nothing,
    Loading,
    /// These parts of the job.
    Parts(Vec<usize>),
}

impl Foreman {
    /// Opens a first worker and waits until it has built the estimator.
    pub(super) fn start(
        carrier: Box<dyn Carrier>,
        settings: &Workers,
        order: Order,
        workshop: &Arc<Workshop>,
        process: &Arc<Process>,
    ) -> Result<Self> {
        let mut foreman = Foreman {
            carrier,
            order,
            limit: settings.workers as usize,
            timeout: settings.timeout(),
            start_timeout: settings.start_timeout(),
            retries: settings.retries,
            batch: settings.batch.map_or(usize::MAX, |batch| batch as usize),
            pace: None,
            workshop: Arc::clone(workshop),
            process: Arc::clone(process),
            workers: BTreeMap::new(),
            last_worker: 0,
            last_task: 0,
            measured: None,
            state: 0,
            failed_starts: Tries::default(),
        };
        while foreman.measured.is_none() {
            foreman.hire(1);
            foreman.step(&Job::Start, &mut Work::of(0))?;
            if foreman.process.is_cancelled() {
                return Err(Error::cancelled());
            }
        }
        Ok(foreman)
    }

    pub(super) fn carry_out_one(&mut self, call: Call, operation: &'static str) -> Result<Answer> {
        let done = self.carry_out(&Job::Call { call, operation })?.pop();
        match done {
            Some(Done::Answer(answer)) => Ok(answer),
            Some(Done::GivenUp(reason)) => {
                let name = self.order.estimator.name.clone();
                Err(Error::failed(reason).from_origin(|| format!("{name} {operation}")))
            }
            None => Err(self.broken(operation)),
        }
    }

    /// Has all parts of a job done.
    pub(super) fn carry_out(&mut self, job: &Job) -> Result<Vec<Done>> {
        let mut work = Work::of(job.len());
        while work.left > 0 {
            if job.may_be_stopped() && self.process.is_cancelled() {
                self.stop();
                return Err(Error::cancelled());
            }
            self.hire(work.left);
            if let Err(error) = self.share_out(job, &mut work).and_then(|()| self.step(job, &mut work)) {
                self.dismiss_all();
                return Err(error);
            }
        }
        Ok(work.done.into_iter().flatten().collect())
    }

    /// Opens workers until there are as many as there is work for.
    fn hire(&mut self, work: usize) {
        while self.workers.len() < self.limit.min(work) {
            self.last_worker += 1;
            let worker = Worker { doing: Doing::Opening, task: 0, since: Instant::now(), state: 0 };
            self.workers.insert(self.last_worker, worker);
            self.carrier.open(self.last_worker);
        }
    }

    /// Gives work to those who have none.
    fn share_out(&mut self, job: &Job, work: &mut Work) -> Result<()> {
        let idle: Vec<u64> =
            self.workers.iter().filter(|(_, it)| it.doing == Doing::Nothing).map(|(it, _)| *it).collect();
        for worker in idle {
            if work.waiting.is_empty() {
                break;
            }
            let is_load = matches!(job, Job::Call { call: Call::Load { .. }, .. });
            if self.workers[&worker].state != self.state && !is_load {
                let folder = self.folder_of(self.state);
                self.ask(worker, Doing::Loading, Call::Load { folder });
                continue;
            }
            if let Job::Call { call: Call::Train { folder, .. }, .. } = job {
                make_anew(folder)?;
            }
            let share = self.share(work);
            let taken: Vec<usize> = work.waiting.drain(..share).collect();
            let Some(request) = job.request(&taken) else { break };
            self.ask(worker, Doing::Parts(taken), request);
        }
        Ok(())
    }

    /// How many of the parts that wait make one request: as much as takes [`SHARE`] at the pace of
    /// before, and at most half of what would be a worker's part of all that is left (guided
    /// self-scheduling, Polychronopoulos and Kuck 1987), so that all end at about the same time.
    fn share(&self, work: &Work) -> usize {
        let waiting = work.waiting.iter().take_while(|part| !work.alone[**part]).count();
        let time = self.timeout.map_or(SHARE, |timeout| SHARE.min(timeout / 4));
        let in_time = self.pace.map_or(1.0, |pace| time.as_secs_f64() / pace.as_secs_f64());
        waiting.div_ceil(2 * self.limit).min(self.batch).min(in_time as usize).max(1)
    }

    fn ask(&mut self, number: u64, doing: Doing, call: Call) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        self.last_task += 1;
        *worker = Worker { doing, task: self.last_task, since: Instant::now(), state: worker.state };
        self.carrier.send(number, &Request { task: self.last_task, call });
    }

    /// Waits for something to happen and does what follows from it.
    fn step(&mut self, job: &Job, work: &mut Work) -> Result<()> {
        let event = self.carrier.next(TICK);
        self.end_the_late(job);
        match event {
            None => Ok(()),
            Some((worker, Event::Opened)) => {
                let order = Box::new(self.order.clone());
                self.ask(worker, Doing::Starting, Call::Start(order));
                Ok(())
            }
            Some((_, Event::Said(Reply::Log { level, target, message }))) => {
                self.process.log(level.into(), &target, &message);
                Ok(())
            }
            Some((worker, Event::Said(Reply::Progress { task, done, total, note }))) => {
                self.show(worker, job, work, &Progress { task: &task, done, total, note: &note });
                Ok(())
            }
            Some((worker, Event::Said(Reply::Answer { task, answer }))) => self.take(worker, task, answer, job, work),
            Some((worker, Event::Died(death))) => self.mourn(worker, &death, job, work),
        }
    }

    fn take(&mut self, number: u64, task: u64, answer: Answer, job: &Job, work: &mut Work) -> Result<()> {
        // One that was stopped may still answer.
        let Some(worker) = self.workers.get_mut(&number).filter(|worker| worker.task == task) else { return Ok(()) };
        let (doing, took) = (std::mem::replace(&mut worker.doing, Doing::Nothing), worker.since.elapsed());
        if let Answer::Failed(failure) = answer {
            let error = Error::from(failure);
            // A component that panicked takes no more calls: its process is of no more use.
            if error.kind == ErrorKind::Panicked && job.is_candidates() && matches!(doing, Doing::Parts(_)) {
                worker.doing = doing;
                self.carrier.kill(number, &error.to_string());
                return Ok(());
            }
            return Err(error);
        }
        match (doing, &answer) {
            (Doing::Starting, Answer::Ready(measured)) => match &self.measured {
                Some(known) if known != measured => Err(self.broken("objectives")),
                _ => {
                    self.measured = Some(measured.clone());
                    Ok(())
                }
            },
            (Doing::Loading, Answer::Done) => {
                worker.state = self.state;
                Ok(())
            }
            (Doing::Parts(asked), _) => {
                self.failed_starts = Tries::default();
                let is_changed = matches!(&answer, Answer::Trained(report) if report.weights_changed);
                if is_changed || matches!(job, Job::Call { call: Call::Load { .. }, .. }) {
                    worker.state = self.state + 1;
                    self.state_changed()?;
                }
                if !job.is_candidates() {
                    asked.into_iter().for_each(|part| work.is_done(part, Done::Answer(answer.clone())));
                    return Ok(());
                }
                let measured = match answer {
                    Answer::Evaluated(measured) if measured.len() == asked.len() => measured,
                    _ => return Err(self.broken("evaluate")),
                };
                self.pace = Some(took / asked.len() as u32);
                for (part, measured) in asked.into_iter().zip(measured) {
                    work.is_done(part, Done::Answer(Answer::Evaluated(vec![measured])));
                }
                let (done, total) = ((job.len() - work.left) as u64, job.len() as u64);
                self.process.progress(&Progress { task: "evaluate", done, total, note: "" });
                Ok(())
            }
            _ => Err(self.broken("answer")),
        }
    }

    /// Another state counts; that of before is needed no more.
    fn state_changed(&mut self) -> Result<()> {
        let before = self.folder_of(self.state);
        self.state += 1;
        match fs::remove_dir_all(&before) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritten(&before, &error)),
            _ => Ok(()),
        }
    }

    fn mourn(&mut self, number: u64, death: &Death, job: &Job, work: &mut Work) -> Result<()> {
        let Some(worker) = self.workers.remove(&number) else { return Ok(()) };
        let (during, genome) = match &worker.doing {
            Doing::Opening | Doing::Starting => ("start", None),
            Doing::Nothing => ("rest", None),
            Doing::Loading => ("load", None),
            Doing::Parts(asked) => job.describe(asked),
        };
        tracing::warn!(during, "worker {number} {}", death.reason);
        let seconds = if worker.doing == Doing::Nothing { 0.0 } else { worker.since.elapsed().as_secs_f64() };
        let (reason, printed) = (death.reason.clone(), death.printed.clone());
        self.workshop.lose(Loss { during: during.to_owned(), genome, reason, printed, seconds });
        match worker.doing {
            Doing::Nothing => Ok(()),
            Doing::Parts(asked) if asked.len() > 1 => {
                // Which of them it was is not known.
                for part in asked.into_iter().rev() {
                    work.alone[part] = true;
                    work.waiting.push_front(part);
                }
                Ok(())
            }
            Doing::Parts(asked) => {
                let Some(part) = asked.first().copied() else { return Ok(()) };
                if work.tries[part].again(death, self.retries, FOREIGN_ENDS) {
                    work.waiting.push_front(part);
                } else {
                    let reason = given_up(death, work.tries[part]);
                    work.is_done(part, Done::GivenUp(reason));
                }
                Ok(())
            }
            Doing::Opening | Doing::Starting | Doing::Loading => {
                // A cluster that is lost takes all of them at once.
                if self.failed_starts.again(death, self.retries, FOREIGN_ENDS * self.limit as u32) {
                    return Ok(());
                }
                let (name, printed) = (&self.order.estimator.name, death.printed.as_deref());
                let printed = printed.map_or(String::new(), |printed| format!("; it printed last: {printed}"));
                let reason = given_up(death, self.failed_starts);
                Err(Error::failed(format!("{reason}{printed}")).from_origin(|| format!("{name} {during}")))
            }
        }
    }

    /// Ends workers that take longer than they may.
    fn end_the_late(&mut self, job: &Job) {
        for (number, worker) in &self.workers {
            let timeout = match &worker.doing {
                Doing::Starting | Doing::Loading => Some(self.start_timeout),
                Doing::Parts(_) if job.is_candidates() => self.timeout,
                Doing::Opening | Doing::Nothing | Doing::Parts(_) => None,
            };
            if let Some(timeout) = timeout.filter(|timeout| worker.since.elapsed() > *timeout) {
                self.carrier.kill(*number, &format!("took longer than {}", humantime::format_duration(timeout)));
            }
        }
    }

    /// Shows how far a worker is: as it is where the job has one part, beside the bar of all parts
    /// otherwise.
    fn show(&self, worker: u64, job: &Job, work: &Work, progress: &Progress<'_>) {
        if job.len() == 1 {
            return self.process.progress(progress);
        }
        let Progress { task, done, total, note } = *progress;
        if !matches!(self.workers.get(&worker), Some(Worker { doing: Doing::Parts(_), .. })) || total < 2 {
            return;
        }
        let note = format!("worker {worker}: {task} {done}/{total} {note}");
        let (done, total) = ((job.len() - work.left) as u64, job.len() as u64);
        self.process.progress(&Progress { task: "evaluate", done, total, note: &note });
    }

    /// Asks workers to stop what they do; those that do not are ended.
    fn stop(&mut self) {
        let at_work = |worker: &Worker| matches!(worker.doing, Doing::Parts(_));
        for (number, worker) in &self.workers {
            if at_work(worker) {
                self.carrier.send(*number, &Request { task: worker.task, call: Call::Cancel });
            }
        }
        let patience = Instant::now() + GRACE;
        while self.workers.values().any(at_work) {
            if Instant::now() > patience {
                let late = self.workers.iter().filter(|(_, worker)| at_work(worker));
                late.for_each(|(number, _)| self.carrier.kill(*number, "did not stop when asked"));
            }
            match self.carrier.next(TICK) {
                Some((number, Event::Said(Reply::Answer { task, answer }))) => {
                    let Some(worker) = self.workers.get_mut(&number).filter(|worker| worker.task == task) else {
                        continue;
                    };
                    match (&worker.doing, answer) {
                        (Doing::Loading, Answer::Done) => worker.state = self.state,
                        // What it was trained to meanwhile does not count.
                        (_, Answer::Trained(report)) if report.weights_changed => {
                            self.carrier.kill(number, "was trained when the search stopped");
                            continue;
                        }
                        (_, Answer::Failed(failure)) if Error::from(failure.clone()).kind != ErrorKind::Cancelled => {
                            self.carrier.kill(number, &failure.message);
                            continue;
                        }
                        _ => {}
                    }
                    worker.doing = Doing::Nothing;
                }
                Some((number, Event::Died(_))) => drop(self.workers.remove(&number)),
                Some((number, Event::Opened)) => {
                    let order = Box::new(self.order.clone());
                    self.ask(number, Doing::Starting, Call::Start(order));
                }
                Some((_, Event::Said(Reply::Log { level, target, message }))) => {
                    self.process.log(level.into(), &target, &message);
                }
                Some((_, Event::Said(Reply::Progress { .. }))) | None => {}
            }
        }
    }

    /// After an error: whatever they were doing, nobody waits for it.
    fn dismiss_all(&mut self) {
        let numbers: Vec<u64> = std::mem::take(&mut self.workers).into_keys().collect();
        numbers.into_iter().for_each(|number| self.carrier.kill(number, "was dismissed"));
    }

    pub(super) fn folder_of(&self, state: u64) -> PathBuf {
        let name = self.order.estimator.name.replace('/', "-");
        let folder = self.workshop.folder().join(format!("{name}-{state}"));
        std::path::absolute(&folder).unwrap_or(folder)
    }

    pub(super) fn broken(&self, operation: &str) -> Error {
        let name = &self.order.estimator.name;
        Error::failed("a worker gave another answer than was asked for").from_origin(|| format!("{name} {operation}"))
    }
}

impl Drop for Foreman {
    fn drop(&mut self) {
        if self.state > 0 {
            // What is left is removed when the run goes on.
            drop(fs::remove_dir_all(self.folder_of(self.state)));
        }
        drop(fs::remove_dir(self.workshop.folder()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use pleach_sdk::{Genome, Objectives, Seed};

    use super::{
        super::protocol::{Measurement, PROTOCOL, Part},
        *,
    };

    /// A cluster that is lost with everything on it, so many times a worker is asked for anything.
    struct Unsteady {
        lost: u32,
        events: VecDeque<(u64, Event)>,
    }

    impl Carrier for Unsteady {
        fn open(&mut self, worker: u64) {
            self.events.push_back((worker, Event::Opened));
        }

        fn send(&mut self, worker: u64, request: &Request) {
            // The first worker, which says what is measured, is always there.
            let answer = match &request.call {
                Call::Start(_) if worker == 1 => Answer::Ready(Vec::new()),
                _ if self.lost > 0 => {
                    self.lost -= 1;
                    let death = Death { reason: "lost its driver".to_owned(), is_foreign: true, printed: None };
                    return self.events.push_back((worker, Event::Died(death)));
                }
                Call::Evaluate { genomes, .. } => {
                    Answer::Evaluated(genomes.iter().map(|_| Measurement::from(Ok(vec![0.5]))).collect())
                }
                _ => Answer::Ready(Vec::new()),
            };
            self.events.push_back((worker, Event::Said(Reply::Answer { task: request.task, answer })));
        }

        fn kill(&mut self, _: u64, _: &str) {}

        fn next(&mut self, _: Duration) -> Option<(u64, Event)> {
            self.events.pop_front()
        }
    }

    fn evaluate(lost: u32) -> Result<Vec<Done>> {
        let part = || Part { name: "some/thing".to_owned(), with: serde_json::Value::Null, seed: Seed(1) };
        let order = Order {
            protocol: PROTOCOL,
            directory: PathBuf::new(),
            plugins: Vec::new(),
            dataset: None,
            space: part(),
            estimator: part(),
            objectives: Objectives(Vec::new()),
            log: None,
        };
        let carrier = Box::new(Unsteady { lost, events: VecDeque::new() });
        let settings = Workers { workers: 64, ..Workers::default() };
        let mut foreman = Foreman::start(carrier, &settings, order, &Arc::default(), &Arc::default())?;
        let genomes = (0..64).map(|gene| Genome(vec![gene])).collect();
        foreman.carry_out(&Job::Candidates { genomes, seed: Seed(1) })
    }

    #[test]
    fn a_cluster_that_is_lost_once_with_all_workers_that_start_ends_nothing() {
        let done = evaluate(64).expect("the workers come back");
        assert!(done.len() == 64 && done.iter().all(|done| matches!(done, Done::Answer(_))));
    }

    #[test]
    fn a_cluster_that_is_lost_for_ever_is_given_up() {
        let error = evaluate(u32::MAX).err().expect("nobody ever answers").to_string();
        assert!(error.contains("the worker lost its driver; tried 1280 times"), "{error}");
    }
}
