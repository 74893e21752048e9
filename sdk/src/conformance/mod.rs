//! The conformance kit: the promises of every trait, tried on a component.
//!
//! A plugin's author calls it in a test of the plugin's own crate; a component linked into a test
//! goes through the same two faces and guards as one that was loaded:
//!
//! ```
//! # use std::sync::Arc;
//! # use pleach_sdk::{BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config};
//! # config! { /// None.
//! #     pub struct KeepConfig {} }
//! # pub struct Keep;
//! # impl Component for Keep {
//! #     type Config = KeepConfig;
//! #     const NAME: &'static str = "draw";
//! #     const SUMMARY: &'static str = "a network of the region";
//! #     fn example() -> KeepConfig { KeepConfig {} }
//! # }
//! # impl BuildOperator for Keep {
//! #     fn build(_: KeepConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> { Ok(Keep) }
//! # }
//! # impl Operator for Keep {
//! #     fn arity(&self) -> usize { 1 }
//! #     fn vary(&self, _: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
//! #         Ok(region.sample(&mut seed.generator()))
//! #     }
//! # }
//! // In a `#[test]`:
//! pleach_sdk::conformance::operator::<Keep>(&Default::default()).assert();
//! ```
//!
//! `pleach plugins check` runs the same checks on a library, through the boundary. Without
//! anything else the component is built from its example, over the small spaces, images and
//! operators of [`fixtures`]; [`Surroundings`] give it others.
//!
//! A check cannot stop a component that does not come back, or one that ends the process: the
//! program `pleach` runs the kit in a child for that.

mod bench;
mod component;
mod dataset;
mod estimator;
pub mod fixtures;
mod operator;
mod report;
mod space;
mod strategy;
#[cfg(test)]
mod tests;

pub use component::{BUILDS, DESCRIBES};
pub use report::{Finding, Report, Verdict};

use std::sync::Arc;

use serde_json::Value;

use self::bench::{Bench, Stop};
use crate::{
    bridge::{
        Plugin,
        table::{Entry, Exports},
    },
    component::{BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, ComponentInfo, Kind},
    dataset::Dataset,
    error::Error,
    objective::Objectives,
    operator::WeightedOperator,
    space::SearchSpace,
};

/// What a component is built from and over while it is checked. The default is the component's
/// example over the kit's own [`fixtures`].
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The component's configuration; without it the example.
    pub config: Option<Value>,
    /// The space; without it the kit's spaces.
    pub space: Option<Arc<dyn SearchSpace>>,
    /// The data set; without it [`fixtures::dataset`].
    pub dataset: Option<Arc<dyn Dataset>>,
    /// A strategy's operators; without any a mutation and a crossover of the kit.
    pub operators: Vec<WeightedOperator>,
    /// What is wanted; without it accuracy, and with a strategy that follows several objectives
    /// parameters too.
    pub objectives: Option<Objectives>,
    /// Epochs of each training that is tried; without it 1.
    pub epochs: Option<f64>,
}

/// One promise and how it is tried.
pub struct Check {
    /// Its name, of words joined by `-`.
    pub name: &'static str,
    /// What is done.
    pub tried: &'static str,
    /// What must come of it.
    pub expected: &'static str,
    run: fn(&Bench<'_>) -> Result<(), Stop>,
}

/// Looks on while a component is checked.
pub trait Watch {
    /// Whether to try a check, which comes next. One that is not tried is not in the report.
    fn before(&mut self, check: &Check) -> bool {
        let _ = check;
        true
    }

    /// What came of a check.
    fn after(&mut self, finding: &Finding) {
        let _ = finding;
    }
}

/// Lets every check be tried.
impl Watch for () {}

/// The promises of every component of a kind, in the order in which they are tried.
pub fn checks(kind: Kind) -> impl Iterator<Item = &'static Check> {
    let own = match kind {
        Kind::Space => space::CHECKS,
        Kind::Dataset => dataset::CHECKS,
        Kind::Operator => operator::CHECKS,
        Kind::Estimator => estimator::CHECKS,
        Kind::Strategy => strategy::CHECKS,
    };
    component::CHECKS.iter().chain(own)
}

/// Checks a linked space.
pub fn space<C: BuildSpace>(surroundings: &Surroundings) -> Report {
    linked(Entry::space::<C>(), C::NAME, Kind::Space, surroundings)
}

/// Checks a linked data set.
pub fn dataset<C: BuildDataset>(surroundings: &Surroundings) -> Report {
    linked(Entry::dataset::<C>(), C::NAME, Kind::Dataset, surroundings)
}

/// Checks a linked operator.
pub fn operator<C: BuildOperator>(surroundings: &Surroundings) -> Report {
    linked(Entry::operator::<C>(), C::NAME, Kind::Operator, surroundings)
}

/// Checks a linked estimator.
pub fn estimator<C: BuildEstimator>(surroundings: &Surroundings) -> Report {
    linked(Entry::estimator::<C>(), C::NAME, Kind::Estimator, surroundings)
}

/// Checks a linked strategy.
pub fn strategy<C: BuildStrategy>(surroundings: &Surroundings) -> Report {
    linked(Entry::strategy::<C>(), C::NAME, Kind::Strategy, surroundings)
}

fn linked(entry: Entry, name: &str, kind: Kind, surroundings: &Surroundings) -> Report {
    bench::install_host();
    match Plugin::linked(Exports::new("linked", "0.0.0", "components of this library", vec![entry])) {
        Err(error) => Report::of_undescribed(name, kind, &error),
        Ok(plugin) => {
            let info = &plugin.info().components[0];
            check(&plugin, info, surroundings, &bench::cancel_this_thread, &mut ())
        }
    }
}

/// Checks a component of a plugin through the boundary that the plugin is behind.
///
/// `cancel` sets what the plugin's host answers when it is asked whether to stop.
pub fn check(
    plugin: &Plugin,
    info: &ComponentInfo,
    surroundings: &Surroundings,
    cancel: &dyn Fn(bool),
    watch: &mut dyn Watch,
) -> Report {
    let bench = Bench { plugin, info, surroundings, cancel };
    let name = format!("{}/{}", plugin.info().name, info.name);
    let mut report = Report::new(name, info.kind);
    for check in checks(info.kind) {
        if !watch.before(check) {
            continue;
        }
        let verdict = match (check.run)(&bench) {
            Ok(()) => Verdict::Kept,
            Err(Stop::Broken(found)) => Verdict::Broken { found },
            Err(Stop::NotTried(why)) => Verdict::NotTried { why },
        };
        // What cannot be built cannot be tried any further.
        let is_over = check.name == component::BUILDS && verdict != Verdict::Kept;
        let finding = Finding::new(check, verdict);
        watch.after(&finding);
        report.findings.push(finding);
        if is_over {
            break;
        }
    }
    report
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Broken(error.to_string())
    }
}
