//! Where a component is tried: how it is built, and what the checks share.

use std::{cell::Cell, path::Path, sync::Arc};

use serde_json::Value;

use super::{Surroundings, fixtures};
use crate::{
    bridge::Plugin,
    component::{ComponentInfo, Context, Kind},
    dataset::Dataset,
    error::{Error, ErrorKind, Result},
    estimator::Estimator,
    host::{self, Host, Progress},
    objective::Objectives,
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::SearchSpace,
    strategy::Strategy,
};

/// Why a check ended before its end.
pub(crate) enum Stop {
    /// The promise is broken; what came back.
    Broken(String),
    /// The check does not apply, or what it needs is not there.
    NotTried(String),
}

/// Ends a check with what came back instead of what was promised.
pub(super) fn broken<T>(found: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(found.into()))
}

/// A component and what it is tried in.
pub(crate) struct Bench<'a> {
    pub plugin: &'a Plugin,
    pub info: &'a ComponentInfo,
    pub surroundings: &'a Surroundings,
    pub cancel: &'a dyn Fn(bool),
}

impl Bench<'_> {
    pub fn config(&self) -> Value {
        self.surroundings.config.clone().unwrap_or_else(|| self.info.example.clone())
    }

    /// The spaces that the component must work with.
    pub fn spaces(&self) -> Vec<Arc<dyn SearchSpace>> {
        match &self.surroundings.space {
            Some(space) => vec![Arc::clone(space)],
            None => fixtures::spaces(),
        }
    }

    /// The space of checks that need one.
    pub fn first_space(&self) -> Arc<dyn SearchSpace> {
        self.spaces().swap_remove(0)
    }

    pub fn images(&self) -> Arc<dyn Dataset> {
        self.surroundings.dataset.clone().unwrap_or_else(fixtures::dataset)
    }

    pub fn epochs(&self) -> f64 {
        self.surroundings.epochs.unwrap_or(1.0)
    }

    pub fn operators(&self) -> Vec<WeightedOperator> {
        match &self.surroundings.operators {
            none if none.is_empty() => fixtures::operators(),
            given => given.clone(),
        }
    }

    pub fn context(&self, objectives: Objectives) -> Context {
        Context { dataset: Some(self.images().info().clone()), objectives, seed: Seed(1) }
    }

    fn objectives(&self) -> Objectives {
        self.surroundings.objectives.clone().unwrap_or_else(fixtures::accuracy)
    }

    pub fn space(&self, config: &Value) -> Result<Arc<dyn SearchSpace>> {
        // A space that takes its images from its configuration must not meet others.
        let context = Context {
            dataset: self.surroundings.dataset.as_ref().map(|dataset| dataset.info().clone()),
            ..self.context(self.objectives())
        };
        self.plugin.space(&self.info.name, config, &context)
    }

    pub fn dataset(&self, config: &Value) -> Result<Arc<dyn Dataset>> {
        let context = Context { dataset: None, ..self.context(self.objectives()) };
        self.plugin.dataset(&self.info.name, config, &context)
    }

    pub fn operator(&self, config: &Value, space: &Arc<dyn SearchSpace>) -> Result<Arc<dyn Operator>> {
        let context = self.context(self.objectives());
        self.plugin.operator(&self.info.name, config, Arc::clone(space), &context)
    }

    pub fn estimator(&self, config: &Value, space: &Arc<dyn SearchSpace>) -> Result<Box<dyn Estimator>> {
        let context = self.context(self.objectives());
        self.plugin.estimator(&self.info.name, config, Arc::clone(space), Some(self.images()), &context)
    }

    /// A strategy and what it was built to want: one objective, or two where one is refused.
    pub fn strategy(&self, config: &Value, space: &Arc<dyn SearchSpace>) -> Result<(Box<dyn Strategy>, Objectives)> {
        let objectives = self.objectives();
        let built = self.strategy_for(config, space, self.operators(), objectives.clone());
        match built {
            Err(error) if error.kind == ErrorKind::Config && self.surroundings.objectives.is_none() => {
                let two = fixtures::accuracy_and_params();
                let of_two = self.strategy_for(config, space, self.operators(), two.clone());
                // The first refusal says what is wrong, if both are refused.
                of_two.map(|strategy| (strategy, two)).map_err(|_| error)
            }
            other => other.map(|strategy| (strategy, objectives)),
        }
    }

    pub fn strategy_for(
        &self,
        config: &Value,
        space: &Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        objectives: Objectives,
    ) -> Result<Box<dyn Strategy>> {
        let context = self.context(objectives);
        self.plugin.strategy(&self.info.name, config, Arc::clone(space), operators, &context)
    }

    /// Builds the component and drops it.
    pub fn build(&self, config: &Value) -> Result<()> {
        let space = self.first_space();
        match self.info.kind {
            Kind::Space => self.space(config).map(|_| ()),
            Kind::Dataset => self.dataset(config).map(|_| ()),
            Kind::Operator => self.operator(config, &space).map(|_| ()),
            Kind::Estimator => self.estimator(config, &space).map(|_| ()),
            Kind::Strategy => self.strategy(config, &space).map(|_| ()),
        }
    }
}

/// What several threads at once answer, each to the same question.
pub(super) fn from_threads<T: Send>(work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(&work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|_| Err(Error::failed("a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// An empty folder for a component's state, removed at the end.
pub(super) struct Folder(std::path::PathBuf);

impl Folder {
    pub fn new() -> Result<Self, Stop> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pleach-conformance-{}-{number}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Folder(path)),
            Err(error) => Err(Stop::NotTried(format!("failed to make the folder {}: {error}", path.display()))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The files in it that hold something.
    pub fn files(&self) -> Result<Vec<std::path::PathBuf>, Stop> {
        let unreadable = |error| Stop::NotTried(format!("failed to read the folder {}: {error}", self.0.display()));
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let metadata = path.metadata().map_err(unreadable)?;
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.len() > 0 {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind in the folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder with the state that `save` writes, for each way to damage one: each file emptied and
/// overwritten, and all files gone.
pub(super) fn damaged(save: impl Fn(&Path) -> Result<()>) -> Result<Vec<(String, Folder)>, Stop> {
    let whole = Folder::new()?;
    save(whole.path())?;
    let mut damaged = Vec::new();
    for file in whole.files()? {
        for (what, bytes) in [("empty", &b""[..]), ("overwritten", &[0xFF; 64])] {
            let folder = Folder::new()?;
            save(folder.path())?;
            let relative = file.strip_prefix(whole.path()).unwrap_or(&file);
            std::fs::write(folder.path().join(relative), bytes)
                .map_err(|error| Stop::NotTried(format!("failed to damage {}: {error}", relative.display())))?;
            damaged.push((format!("{} {what}", relative.display()), folder));
        }
    }
    if !damaged.is_empty() {
        damaged.push(("all files gone".to_owned(), Folder::new()?));
    }
    Ok(damaged)
}

thread_local! {
    static CANCELLED: Cell<bool> = const { Cell::new(false) };
}

/// Sets what components linked into this test hear on this thread; tests run side by side.
pub(super) fn cancel_this_thread(cancelled: bool) {
    CANCELLED.set(cancelled);
}

/// The host of linked components.
struct TestHost;

impl Host for TestHost {
    /// A failed assertion of the test itself comes this way too.
    fn log(&self, level: tracing::Level, target: &str, message: &str) {
        eprintln!("{level} {target}: {message}");
    }

    fn log_level(&self) -> Option<tracing::Level> {
        Some(tracing::Level::WARN)
    }

    fn progress(&self, _: &Progress<'_>) {}

    fn is_cancelled(&self) -> bool {
        CANCELLED.get()
    }
}

pub(super) fn install_host() {
    host::set(Box::new(TestHost));
}
