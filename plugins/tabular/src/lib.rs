//! Fitness from published benchmark tables: networks that others trained.

mod nas_bench_201;
mod nas_bench_macro;
mod noise;
mod shared;

pub use nas_bench_201::{
    Accuracy, DataSet, LatencyConfig, NasBench201, NasBench201Config, NasBench201Space, NasBench201SpaceConfig,
    Validated,
};
pub use nas_bench_macro::{Column, NasBenchMacro, NasBenchMacroConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "tabular",
    summary: "fitness from published benchmark tables",
    spaces: [NasBench201Space],
    estimators: [NasBench201, NasBenchMacro],
}
