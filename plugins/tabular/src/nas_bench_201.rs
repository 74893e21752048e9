//! NAS-Bench-201 (Dong and Yang 2020): the space of its cells (`space.rs`), the published table
//! (`table.rs`), latencies (`latency.rs`) and the estimator over them (`estimator.rs`).

mod cell;
mod estimator;
mod latency;
mod space;
mod table;
#[cfg(test)]
mod tests;

pub use estimator::{Accuracy, DataSet, LatencyConfig, NasBench201, NasBench201Config, Validated};
pub use space::{NasBench201Space, NasBench201SpaceConfig};
pub use table::COLUMNS;
