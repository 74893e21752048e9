//! `pleach compare`: strategies, or whatever else run files differ in, held side by side.
//!
//! Each variant (`plan.rs`) searches with many seeds (`searched.rs`), in parallel and in this
//! process. What each search came to is a line of one file (`store.rs`), from which the report
//! follows (`report.rs`, `tables.rs`, `plot.rs`): whatever was interrupted goes on where it was.

mod plan;
mod plot;
mod report;
mod searched;
mod store;
mod tables;

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pleach_sdk::host::{Host, Progress};

use crate::{
    error::{Error, Result},
    host::Process,
    plugins::SearchPath,
    progress::spoken,
    run,
};

use plan::{Contender, Variant};
pub use report::{Comparison, Pair, Point, Reached, VariantReport};
pub use searched::{Improvement, Searched};
use store::Store;
pub(crate) use store::difference;

/// How often who looks on is told how many searches are done.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What is compared, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The run files.
    pub files: Vec<PathBuf>,
    /// Values that are replaced in each, as in `--set`.
    pub sets: Vec<String>,
    /// Only these variants; all without any.
    pub only: Vec<String>,
    /// Searches of each variant, where not as many as the first run file says.
    pub seeds: Option<u32>,
    /// Searches at the same time; without it as many as there are cores.
    pub jobs: Option<NonZero<usize>>,
    /// Where to write, and go on with what is there.
    pub folder: Option<PathBuf>,
    /// Whether each search leaves a run directory.
    pub keep_runs: bool,
}

/// Searches with every variant and seed that has no result yet, and reports on all of them.
///
/// # Errors
///
/// Run files that cannot be compared, results of something else in the folder, and everything
/// that ends a search; what was found until then is kept.
pub fn compare(request: &Request, path: &SearchPath, process: &Arc<Process>) -> Result<(PathBuf, Comparison)> {
    let host: Arc<dyn Host> = Arc::clone(process) as Arc<dyn Host>;
    let variants = plan::variants(request)?;
    let registries = variants.iter().map(|variant| variant.plugins(path, &host)).collect::<Result<Vec<_>>>()?;
    let contenders: Vec<Contender<'_>> = variants
        .iter()
        .zip(&registries)
        .map(|(variant, registry)| Contender::new(variant, registry, process))
        .collect::<Result<_>>()?;
    let question = plan::common_question(&contenders)?;
    let jobs = jobs(request, &variants)?;
    let first = &variants[0];
    let seeds = plan::seeds(request, first);
    let folder = match &request.folder {
        Some(folder) => folder.clone(),
        None => run::make_directory(None, &format!("{}-compare", first.config.name))?,
    };
    let mut store = Store::open(&folder)?;
    for contender in &contenders {
        store.add_variant(contender.record())?;
    }
    // One seed after the other, so that what there is until an interruption is of all variants.
    let tasks: Vec<(&Contender<'_>, u64)> = seeds
        .clone()
        .flat_map(|seed| contenders.iter().map(move |contender| (contender, seed)))
        .filter(|(contender, seed)| !store.has(&contender.variant.name, *seed))
        .collect();
    let runs = request.keep_runs.then(|| folder.join("runs"));
    if let Some(runs) = &runs {
        std::fs::create_dir_all(runs).map_err(|error| run::failed(runs, "make", &error))?;
    }
    let store = search_all(&tasks, jobs, runs.as_deref(), store, process)?;
    let comparison = Comparison::new(&contenders, &question, seeds, &store);
    comparison.write(&folder)?;
    Ok((folder, comparison))
}

/// How many searches are under way at the same time.
fn jobs(request: &Request, variants: &[Variant]) -> Result<usize> {
    let timed = variants.iter().find(|variant| variant.config.budget.real_time().is_some());
    match (timed, request.jobs) {
        // What one search does would cut into the time of the others.
        (Some(_), None) => Ok(1),
        (Some(variant), Some(jobs)) if jobs.get() > 1 => Err(Error::unusable(
            format!("`{}` has a budget of real time, which {jobs} searches at the same time would share", variant.name),
            "give --jobs 1, or a budget of evaluations or of simulated time",
        )),
        (_, Some(jobs)) => Ok(jobs.get()),
        (None, None) => Ok(thread::available_parallelism().map_or(1, NonZero::get)),
    }
}

/// Searches in several threads, and answers with the results.
fn search_all(
    tasks: &[(&Contender<'_>, u64)],
    jobs: usize,
    runs: Option<&Path>,
    store: Store,
    process: &Arc<Process>,
) -> Result<Store> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(Shared { store, done: 0, evaluations: 0, told: started, error: None });
    let work = || {
        while let Some((contender, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if process.is_interrupted() {
                break;
            }
            let searched = contender.search(*seed, runs, process);
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = searched.and_then(|searched| shared.add(searched, tasks.len(), process)) {
                // The first error counts: the others follow from it, or stop as asked.
                shared.error.get_or_insert(error);
                process.interrupt();
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(work);
        }
    });
    let Shared { mut store, evaluations, error, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    store.sync()?;
    let folder = store.folder().to_owned();
    match error {
        Some(Error::Interrupted { .. }) => return Err(Error::Interrupted { folder }),
        Some(Error::Component { error, .. }) => return Err(Error::Component { error, folder: Some(folder) }),
        Some(error) => return Err(error),
        None if process.is_interrupted() => return Err(Error::Interrupted { folder }),
        None => {}
    }
    let elapsed = started.elapsed();
    let rate = evaluations as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let searches = tasks.len();
    process.view().line(&format!(
        "{searches} searches, {evaluations} evaluations in {}: {rate:.0} a second in {} threads",
        spoken(elapsed),
        jobs.min(searches)
    ));
    Ok(store)
}

/// What the threads have in common.
struct Shared {
    store: Store,
    done: usize,
    evaluations: u64,
    told: Instant,
    error: Option<Error>,
}

impl Shared {
    fn add(&mut self, searched: Searched, all: usize, process: &Process) -> Result<()> {
        self.done += 1;
        self.evaluations += searched.evaluations;
        let note = format!("{} evaluations, {}", self.evaluations, searched.variant);
        let progress = Progress { task: "searches", done: self.done as u64, total: all as u64, note: &note };
        process.view().overall(&progress);
        if self.told.elapsed() > BETWEEN_LINES {
            self.told = Instant::now();
            process.view().line(&format!("{} of {all} searches", self.done));
        }
        self.store.add(searched)
    }
}
