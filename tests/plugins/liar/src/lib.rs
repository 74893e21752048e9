//! A plugin whose description says what is not true: the environment says what.

use std::sync::Arc;

use pleach_abi::{
    PluginModule, PluginModuleRef, ResultAbi,
    abi_stable::{
        library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
        prefix_type::PrefixTypeTrait,
        std_types::RString,
    },
};
use pleach_sdk::{
    BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config,
    export::{self, Entry, Exporter, Exports},
    serde_json::{Value, json},
};

config! {
    /// Nothing to configure.
    pub struct DrawConfig {}
}

/// Draws a network of the region.
pub struct Draw;

impl Component for Draw {
    type Config = DrawConfig;
    const NAME: &'static str = "draw";
    const SUMMARY: &'static str = "a network of the region";

    fn example() -> DrawConfig {
        DrawConfig {}
    }
}

impl BuildOperator for Draw {
    fn build(_: DrawConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(Draw)
    }
}

impl Operator for Draw {
    fn arity(&self) -> usize {
        1
    }

    fn vary(&self, _: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        Ok(region.sample(&mut seed.generator()))
    }
}

struct Liar;

impl Exporter for Liar {
    fn exports() -> &'static Exports {
        static EXPORTS: std::sync::OnceLock<Exports> = std::sync::OnceLock::new();
        EXPORTS.get_or_init(|| Exports::new("liar", "0.1.0", "says what is not true", vec![Entry::operator::<Draw>()]))
    }
}

extern "C" fn describe() -> ResultAbi<RString> {
    let truth = export::root_module::<Liar>().describe()();
    let lie = std::env::var("PLEACH_LIE").unwrap_or_default();
    let text = truth.unwrap_or_default();
    let mut document: Value = pleach_sdk::serde_json::from_str(&text).unwrap_or_default();
    let component = document["components"][0].clone();
    match lie.as_str() {
        "no-json" => return ResultAbi::ROk("{ this is no".into()),
        "no-document" => document = json!(["liar"]),
        "component" => document["components"][0]["name"] = json!("ghost"),
        "kind" => document["components"][0]["kind"] = json!("strategy"),
        "no-kind" => document["components"][0]["kind"] = json!("painting"),
        "twice" => document["components"] = json!([component, component]),
        "plugin-name" => document["name"] = json!("gevonas"),
        "path-in-name" => document["name"] = json!("../liar"),
        "line-in-name" => document["components"][0]["name"] = json!("draw\nerror: all is well"),
        "schema" => document["components"][0]["schema"] = json!({ "type": "integer" }),
        "no-schema" => document["components"][0]["schema"] = json!({ "type": 7 }),
        "example" => document["components"][0]["example"] = json!({ "rate": 0.5 }),
        _ => {}
    }
    ResultAbi::ROk(document.to_string().into())
}

extern "C" fn root_module() -> RootModuleResult {
    __call_root_module_loader(|| {
        let truth = export::root_module::<Liar>();
        PluginModule {
            start: truth.start(),
            describe,
            space: truth.space(),
            dataset: truth.dataset(),
            operator: truth.operator(),
            estimator: truth.estimator(),
            strategy: truth.strategy(),
        }
        .leak_into_prefix()
    })
}

// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
pub static PLEACH_ABI_MAJOR: u32 = pleach_abi::ABI_MAJOR;

// SAFETY: no other item has the name; the constructor gives the module that the header promises.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(root_module, CheckTypeLayout::Yes) };
