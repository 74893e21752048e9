//! Fitness from tables: published ones, of networks that others trained, and one that is drawn.

mod nas_bench_201;
mod nas_bench_macro;
mod nk_landscape;
mod noise;
mod shared;

pub use nas_bench_201::{
    Accuracy, COLUMNS, DataSet, LatencyConfig, NasBench201, NasBench201Config, NasBench201Space,
    NasBench201SpaceConfig, Validated,
};
pub use nas_bench_macro::{Column, NasBenchMacro, NasBenchMacroConfig};
pub use nk_landscape::{NkLandscape, NkLandscapeConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "tabular",
    summary: "fitness from tables, published or drawn at random",
    spaces: [NasBench201Space],
    estimators: [NasBench201, NasBenchMacro, NkLandscape],
}
