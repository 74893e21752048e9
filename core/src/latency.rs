//! What networks take on a device, predicted: the document that `pleach profile` writes, and the
//! spaces and limits of searches that name it.
//!
//! It knows nothing of devices: `operations.rs` says what there is to measure, `fit.rs` makes a
//! predictor of it, and `core/src/profile.rs` asks an estimator.

pub(crate) mod fit;
pub(crate) mod operations;
#[cfg(test)]
pub(crate) mod testing;

use std::{collections::HashMap, path::Path, sync::Arc};

use pleach_sdk::{
    Genome, LATENCY, Network, Objectives, Result as ComponentResult, SearchSpace,
    network::{Latencies, ResolvedNode, ResolvedOperation},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{Component, Config, RunFile},
    error::{Error, Result},
    run::MachineRecord,
    statistics::{kendall_tau, quantile},
};

/// The number of a profile's format.
pub const PROFILE_FORMAT: u32 = 1;

/// A profile in its own directory, and the copy in the directory of a run that uses it.
pub const PROFILE: &str = "profile.json";

/// The quantile of unseen networks whose excess is the margin below a limit.
const SAFE: f64 = 0.95;

/// What `pleach profile` found: the document `profile.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`PROFILE_FORMAT`].
    pub format: u32,
    /// The name in the run file.
    pub name: String,
    /// The space whose operations it has.
    pub space: String,
    /// The estimator that measured, and how it was configured.
    pub by: Component,
    /// The plugin that it is from.
    pub plugin: Value,
    /// What the estimator says of the device that it measured on.
    pub measured_on: Value,
    /// The machine.
    pub machine: MachineRecord,
    /// When, in UTC.
    pub measured_at: String,
    /// How often each time was measured; what counts is the least.
    pub rounds: u32,
    /// By how much the median of the rounds was above the least, as a share: the median of
    /// everything that was measured. What other programs cost.
    pub disturbance: f64,
    /// How the predictor was made.
    pub fit: Fit,
    /// How far it is off for networks that it was not made of.
    pub error: PredictionError,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The networks that were measured.
    pub networks: Vec<MeasuredNetwork>,
}

/// How a predictor was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Of so many networks.
    pub networks: usize,
    /// Nanoseconds that every network takes beside its operations.
    pub constant: u64,
    /// How strongly the operations' times were held to one factor; none where all have it.
    pub strength: Option<f64>,
}

/// An operation at a shape at which it occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name where it occurs first.
    pub name: String,
    /// What tells it from others: shapes and layers.
    pub signature: String,
    /// What it took alone.
    pub milliseconds: f64,
    /// What it takes in a network, as the predictor adds it up.
    pub nanoseconds: u64,
}

/// A network that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredNetwork {
    /// The network.
    pub genome: Genome,
    /// What it took.
    pub milliseconds: f64,
    /// What the predictor says.
    pub predicted: f64,
    /// Whether the predictor was made without it.
    pub unseen: bool,
}

/// How far predictions are from measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionError {
    /// Of so many networks.
    pub networks: usize,
    /// The mean of the errors without their signs, each a share of what was measured.
    pub mean: f64,
    /// The largest of them.
    pub worst: f64,
    /// The mean with signs: above 0 where predictions are too long.
    pub bias: f64,
    /// How well predictions order networks; none where all are equal.
    pub kendall_tau: Option<f64>,
    /// 95 of 100 networks took at most this share longer than predicted; not below 0.
    pub excess: f64,
}

impl PredictionError {
    /// Of pairs of what was measured and what was predicted.
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let count = pairs.len().max(1) as f64;
        let errors = || pairs.iter().map(|(measured, predicted)| predicted / measured - 1.0);
        let excesses: Vec<f64> = pairs.iter().map(|(measured, predicted)| measured / predicted - 1.0).collect();
        let (measured, predicted): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        PredictionError {
            networks: pairs.len(),
            mean: errors().map(f64::abs).sum::<f64>() / count,
            worst: errors().map(f64::abs).fold(0.0, f64::max),
            bias: errors().sum::<f64>() / count,
            kendall_tau: kendall_tau(&predicted, &measured),
            excess: quantile(&excesses, SAFE).unwrap_or(0.0).max(0.0),
        }
    }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn read(path: &Path) -> std::result::Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("the profile {} cannot be read: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let document: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        let format = &document["format"];
        if *format != PROFILE_FORMAT {
            return Err(wrong(&format!("its format is {format}, this pleach knows format {PROFILE_FORMAT}")));
        }
        let profile: Profile = serde_json::from_value(document).map_err(|error| wrong(&error))?;
        if !(0.0..10.0).contains(&profile.error.excess) {
            return Err(wrong(&format!("its `error.excess` is {}, a share was expected", profile.error.excess)));
        }
        Ok(profile)
    }

    /// What the networks of a space take.
    ///
    /// # Errors
    ///
    /// Operations that the profile does not have.
    pub fn latencies(&self, network: &Network) -> std::result::Result<Latencies, Unknown> {
        let times: Vec<u64> = self.operations.iter().map(|operation| operation.nanoseconds).collect();
        let signatures = self.operations.iter().map(|operation| operation.signature.as_str());
        latencies(network, self.fit.constant, &signatures.zip(times).collect())
    }

    /// How good it is, in words.
    pub fn stated(&self) -> String {
        let PredictionError { networks, mean, worst, .. } = &self.error;
        let device = self.measured_on["device"].as_str().unwrap_or(&self.machine.architecture);
        let (mean, worst) = (100.0 * mean, 100.0 * worst);
        format!("error {mean:.1} % over {networks} unseen networks, worst {worst:.1} %, on {device}")
    }

    /// What is wanted, with the limit that predictions have to keep so that measurements do.
    pub fn objectives(&self, objectives: &Objectives, margin: Option<f64>) -> Objectives {
        let mut objectives = objectives.clone();
        for objective in objectives.0.iter_mut().filter(|objective| objective.name == LATENCY) {
            objective.at_most = objective.at_most.map(|limit| limit / (1.0 + margin.unwrap_or(self.error.excess)));
        }
        objectives
    }
}

/// An operation that a profile does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its name.
    pub name: String,
    /// What tells it from others.
    pub signature: String,
    /// The node where it is.
    pub node: String,
    /// How many others it does not have.
    pub more: usize,
}

/// Adds up what the operations of a space take: for each slot what each of its choices does in all
/// nodes that it decides, and the rest.
pub(crate) fn latencies(
    network: &Network,
    constant: u64,
    times: &HashMap<&str, u64>,
) -> std::result::Result<Latencies, Unknown> {
    let mut fixed = constant;
    let mut slots: Vec<Vec<u64>> = network.slots().iter().map(|slot| vec![0; slot.choices.len()]).collect();
    let mut unknown: Vec<Unknown> = Vec::new();
    let mut time = |node: &ResolvedNode, operation: &ResolvedOperation| {
        let Some(signature) = operations::signature(node, operation) else { return 0 };
        let known = times.get(signature.as_str()).copied();
        if known.is_none() && !unknown.iter().any(|one| one.signature == signature) {
            unknown.push(Unknown { name: operation.name.clone(), signature, node: node.name.clone(), more: 0 });
        }
        known.unwrap_or(0)
    };
    for node in network.nodes() {
        for (choice, operation) in node.candidates.iter().enumerate() {
            let time = time(node, operation);
            match node.slot {
                Some(slot) => slots[slot][choice] = slots[slot][choice].saturating_add(time),
                None => fixed = fixed.saturating_add(time),
            }
        }
    }
    let more = unknown.len().saturating_sub(1);
    match unknown.into_iter().next() {
        Some(first) => Err(Unknown { more, ..first }),
        None => Ok(Latencies { fixed, slots }),
    }
}

/// The profile that a run file names.
///
/// # Errors
///
/// One that cannot be read, or that was measured in another way than the run file says.
pub fn of_run_file(config: &Config, file: &RunFile) -> Result<Option<Profile>> {
    let Some(latency) = &config.latency else { return Ok(None) };
    let Some(path) = &latency.profile else { return Ok(None) };
    let unusable = |message: &str, help: &str| {
        Error::Unusable(vec![file.diagnostic("/latency/profile", message).help(help.to_owned())])
    };
    let again = format!("`pleach profile {}` measures anew", file.path.display());
    let profile = Profile::read(path).map_err(|why| unusable(&why, &again))?;
    match &latency.by {
        Some(by) if *by != profile.by => {
            let text = |component: &Component| format!("{} with {}", component.name, component.with);
            let message = format!("the profile was measured by {}, not by {}", text(&profile.by), text(by));
            Err(unusable(&message, &format!("{again}; without `latency.by` the profile is taken as it is")))
        }
        _ => Ok(Some(profile)),
    }
}

/// The space with what its networks take by a profile.
///
/// # Errors
///
/// An operation that the profile does not have.
pub fn profiled(space: Arc<dyn SearchSpace>, profile: &Profile, file: &RunFile) -> Result<Arc<dyn SearchSpace>> {
    let unusable = |message: String| {
        let help = format!("`pleach profile {}` measures the operations of this space", file.path.display());
        Error::Unusable(vec![file.diagnostic("/latency/profile", &message).help(help)])
    };
    let latencies = profile.latencies(space.network()).map_err(|Unknown { name, signature, node, more }| {
        let others = if more > 0 { format!(" and {more} other operations") } else { String::new() };
        let (of, here) = (&profile.space, &space.network().description().name);
        unusable(format!(
            "the profile, of the space {of}, has no time for `{name}` of node `{node}` in {here} ({signature}){others}"
        ))
    })?;
    let network = space.network().clone().with_latencies(latencies).map_err(|error| unusable(error.message))?;
    Ok(Arc::new(ProfiledSpace { space, network }))
}

/// A space whose networks' costs have latencies.
struct ProfiledSpace {
    space: Arc<dyn SearchSpace>,
    network: Network,
}

impl SearchSpace for ProfiledSpace {
    fn network(&self) -> &Network {
        &self.network
    }

    fn canonical(&self, genome: &Genome) -> ComponentResult<Genome> {
        self.space.canonical(genome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Of the space for tests: each operation takes ten microseconds more than the one before.
    fn profile() -> Profile {
        let network = testing::network();
        let operations =
            operations::of(&network).into_iter().enumerate().map(|(index, (signature, place))| Operation {
                name: place.name(&network).to_owned(),
                signature,
                milliseconds: 0.01 * (index + 1) as f64,
                nanoseconds: 10_000 * (index as u64 + 1),
            });
        Profile {
            format: PROFILE_FORMAT,
            name: "test".to_owned(),
            space: "layers".to_owned(),
            by: Component { name: "supernet/latency".to_owned(), with: serde_json::json!({ "threads": 1 }) },
            plugin: Value::Null,
            measured_on: Value::Null,
            machine: MachineRecord::here(),
            measured_at: "2020-01-01T00:00:00Z".to_owned(),
            rounds: 1,
            disturbance: 0.0,
            fit: Fit { networks: 10, constant: 5_000, strength: None },
            error: PredictionError::of(&[(1.0, 1.0), (1.0, 0.8)]),
            operations: operations.collect(),
            networks: Vec::new(),
        }
    }

    #[test]
    fn a_network_takes_what_its_operations_do() {
        let network = testing::network();
        let latencies = profile().latencies(&network).expect("it has all operations");
        // Stem 10, sum 40, head 70, constant 5; identity nothing, k3 20, k5 30; cut 50, max 60.
        assert_eq!(
            latencies,
            Latencies {
                fixed: 125_000,
                slots: vec![vec![0, 20_000, 30_000]; 2].into_iter().chain([vec![50_000, 60_000]]).collect()
            }
        );
        let network = network.with_latencies(latencies).expect("they are of this space");
        assert_eq!(network.cost(&Genome(vec![0, 2, 1])).nanoseconds, Some(215_000));
    }

    #[test]
    fn an_operation_that_is_not_known_is_named() {
        let mut other = profile();
        other.operations.retain(|operation| operation.name != "k5" && operation.name != "head");
        let unknown = other.latencies(&testing::network()).expect_err("two are missing");
        assert_eq!((unknown.name.as_str(), unknown.node.as_str(), unknown.more), ("k5", "one", 1));
    }

    #[test]
    fn errors_are_those_of_the_definitions() {
        let error = PredictionError::of(&[(1.0, 1.1), (2.0, 1.8), (4.0, 4.0)]);
        assert!((error.mean - 0.2 / 3.0).abs() < 1e-12 && (error.worst - 0.1).abs() < 1e-12, "{error:?}");
        assert!(error.bias.abs() < 1e-12 && error.kendall_tau == Some(1.0), "{error:?}");
        assert!((0.0..=2.0 / 1.8 - 1.0).contains(&error.excess), "{error:?}");
        assert_eq!(PredictionError::of(&[(1.0, 2.0)]).excess, 0.0);
    }

    #[test]
    fn a_limit_is_kept_with_a_margin() {
        let objectives: Objectives = serde_json::from_str(
            r#"[{"name":"accuracy","goal":"maximise"},{"name":"latency","at_most":2.0},{"name":"flops","at_most":2.0}]"#,
        )
        .expect("it is whole");
        let limits = |objectives: Objectives| objectives.0.iter().map(|one| one.at_most).collect::<Vec<_>>();
        assert_eq!(limits(profile().objectives(&objectives, Some(0.25))), [None, Some(1.6), Some(2.0)]);
        let own = profile().error.excess;
        assert!(own > 0.2);
        assert_eq!(limits(profile().objectives(&objectives, None))[1], Some(2.0 / (1.0 + own)));
    }

    #[test]
    fn a_profile_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(PROFILE);
        let check = |change: &dyn Fn(&mut Value), by: &str, expected: &str| {
            let mut document = serde_json::to_value(profile()).expect("it is JSON");
            change(&mut document);
            std::fs::write(&path, document.to_string()).expect("it can be written");
            let text = format!(
                "name: x\nseed: 1\nplugins: [a]\nspace: {{ use: a/b }}\nestimator: {{ use: a/b }}\nstrategy: {{ use: a/b }}\n\
                 objectives: {{ accuracy: maximise }}\nlatency: {{ {by} profile: {} }}\n",
                path.display()
            );
            let (config, file) = config::parse(Path::new("run.yaml"), &text, &[]).expect("the run file is whole");
            match of_run_file(&config, &file) {
                Ok(read) => assert_eq!((read, expected), (Some(profile()), "")),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!expected.is_empty() && error.contains(expected), "{error}");
                    assert!(error.contains("run.yaml:8:") && error.contains("at `latency.profile`"), "{error}");
                }
            }
        };
        check(&|_| {}, "", "");
        check(&|_| {}, "by: { use: supernet/latency, with: { threads: 1 } },", "");
        check(
            &|_| {},
            "by: { use: supernet/latency, with: { threads: 2 } },",
            "the profile was measured by supernet/latency with {\"threads\":1}, not by",
        );
        check(&|document| document["format"] = 2.into(), "", "its format is 2, this pleach knows format 1");
        check(&|document| drop(document.as_object_mut().expect("an object").remove("fit")), "", "missing field `fit`");
        check(&|document| *document = Value::Null, "", "its format is null");
        check(&|document| document["error"]["excess"] = (-1).into(), "", "a share was expected");
        std::fs::remove_file(&path).expect("it is there");
        assert!(Profile::read(&path).expect_err("it is gone").contains("cannot be read: No such file"));
    }
}
