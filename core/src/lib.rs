//! The pleach host: runs a search that a YAML file describes, with components from plugins.
//!
//! From a run file to a result: [`config`] reads and checks it, [`plugins`] loads libraries,
//! [`assemble`] builds components, [`search`] runs the loop, [`executor`] lets estimators work in
//! other processes, [`run`] keeps the run directory,
//! [`show`] draws what was found, [`profile`] measures what networks take on a device ([`latency`]),
//! [`train`] trains one, [`export`] hands it on. `docs/architecture.md` says what each must not know.

pub mod assemble;
mod books;
pub mod checkpoint;
pub mod cli;
mod colours;
pub mod compare;
pub mod config;
mod described;
pub mod editor;
pub mod error;
pub mod executor;
pub mod export;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod journal;
pub mod latency;
mod pareto;
pub mod plugins;
pub mod profile;
pub mod progress;
pub mod rank;
pub mod report;
pub mod reproduce;
pub mod result;
pub mod resume;
pub mod run;
pub mod schema;
pub mod search;
pub mod show;
pub mod statistics;
pub mod train;
mod winner;
