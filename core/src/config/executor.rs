//! `executor:` of a run file: where candidates are evaluated.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What evaluates candidates: a name, or a name and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Executor {
    /// The executor as it is.
    Bare(ExecutorName),
    /// The same with settings.
    Set(SetExecutor),
}

/// An executor and how it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetExecutor {
    /// Which one.
    #[serde(rename = "use")]
    pub name: ExecutorName,
    /// How it works; `local` has no settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Workers>,
}

/// The executors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorName {
    /// In this process, one candidate after the other.
    Local,
    /// In child processes: a plugin that crashes or hangs costs a child and not the search.
    Processes,
    /// In processes on the nodes of a Ray cluster; needs Python with `ray`.
    Ray,
}

/// Processes that evaluate candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// How many there are. The result does not depend on it.
    #[schemars(range(min = 1, max = 10000))]
    pub workers: u32,
    /// How long a worker may take for one candidate, such as `10m`; without it as long as it takes.
    /// Trainings take their time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How long a worker may take to start, and to take up weights.
    pub start_timeout: String,
    /// How much memory a worker may hold at once, such as `4GiB`; without it as much as there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// How often a candidate is tried again that has cost a worker.
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// The most candidates that a worker is asked for at once. Networks that begin alike take less
    /// time together; without it they are as many as take ten seconds. 1 asks for each by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub batch: Option<u32>,
    /// `ray` alone: the cluster, such as `10.0.0.1:6379`, or `auto` for the one that runs on this
    /// machine; without it one is started and ended with the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `ray` alone: what a worker needs of its node, such as `{ CPU: 4, GPU: 1 }`; 1 CPU without
    /// it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, f64>,
    /// `ray` alone: the Python that has `ray`; `python3` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            workers: 1,
            timeout: None,
            start_timeout: "5m".to_owned(),
            memory: None,
            retries: 2,
            batch: None,
            address: None,
            resources: BTreeMap::new(),
            python: None,
        }
    }
}

impl Default for Executor {
    fn default() -> Self {
        Executor::Bare(ExecutorName::Local)
    }
}

impl Executor {
    /// Which one.
    pub fn name(&self) -> ExecutorName {
        match self {
            Executor::Bare(name) => *name,
            Executor::Set(set) => set.name,
        }
    }

    /// How its workers work.
    pub fn workers(&self) -> Workers {
        match self {
            Executor::Set(SetExecutor { with: Some(workers), .. }) => workers.clone(),
            _ => Workers::default(),
        }
    }

    /// What a schema cannot say: where something is wrong below `executor`, what, and the way out.
    pub(super) fn mistake(&self) -> Option<(&'static str, String, &'static str)> {
        let Executor::Set(SetExecutor { name, with: Some(workers) }) = self else { return None };
        if *name == ExecutorName::Local {
            let message = "`local` works in this process and has no settings".to_owned();
            return Some(("/with", message, "leave `with` out, or use processes or ray"));
        }
        let of_ray = [
            ("/with/address", workers.address.is_some()),
            ("/with/resources", !workers.resources.is_empty()),
            ("/with/python", workers.python.is_some()),
        ];
        if *name != ExecutorName::Ray
            && let Some((pointer, _)) = of_ray.into_iter().find(|(_, is_given)| *is_given)
        {
            let message = "child processes run here, on no cluster".to_owned();
            return Some((pointer, message, "leave it out, or use ray"));
        }
        if let Some((name, _)) = workers.resources.iter().find(|(_, amount)| !(amount.is_finite() && **amount >= 0.0)) {
            let message = format!("no worker can have so much of `{name}`");
            return Some(("/with/resources", message, "write numbers from 0 on, such as { CPU: 4, GPU: 0.5 }"));
        }
        let durations =
            [("/with/timeout", workers.timeout.as_ref()), ("/with/start_timeout", Some(&workers.start_timeout))];
        for (pointer, text) in durations {
            if let Some(text) = text
                && let Err(error) = humantime::parse_duration(text)
            {
                let message = format!("`{text}` is no duration: {error}");
                return Some((pointer, message, "write a number with a unit, such as 90s, 30m or 1h 30m"));
            }
        }
        if let Some(text) = &workers.memory {
            match text.parse::<ByteSize>() {
                Ok(size) if size.as_u64() >= SMALLEST => {}
                Ok(_) => {
                    let message = format!("no worker gets by with {text}");
                    return Some(("/with/memory", message, "write a number with a unit, such as 500MB or 4GiB"));
                }
                Err(error) => {
                    let message = format!("`{text}` is no amount of memory: {error}");
                    return Some(("/with/memory", message, "write a number with a unit, such as 500MB or 4GiB"));
                }
            }
        }
        None
    }
}

/// A worker with a small plugin holds about so many bytes.
const SMALLEST: u64 = 10_000_000;

impl Workers {
    /// The limit of time of a candidate; [`super::load`] made sure that it can be read.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.as_deref().and_then(|text| humantime::parse_duration(text).ok())
    }

    /// The limit of time of a start; [`super::load`] made sure that it can be read.
    pub fn start_timeout(&self) -> Duration {
        humantime::parse_duration(&self.start_timeout).unwrap_or(Duration::MAX)
    }

    /// The limit of memory in bytes; [`super::load`] made sure that it can be read.
    pub fn memory(&self) -> Option<u64> {
        self.memory.as_deref().and_then(|text| text.parse::<ByteSize>().ok()).map(|size| size.as_u64())
    }
}
