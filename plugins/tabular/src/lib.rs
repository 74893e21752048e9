//! Fitness from published benchmark tables: networks that others trained.

mod nas_bench_macro;

pub use nas_bench_macro::{Column, NasBenchMacro, NasBenchMacroConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "tabular",
    summary: "fitness from published benchmark tables",
    estimators: [NasBenchMacro],
}
