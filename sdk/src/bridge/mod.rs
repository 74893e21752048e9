//! The boundary: every trait of the SDK has two faces here.
//!
//! An *exported* face (`exported.rs`) wraps a component of this library so that it can cross;
//! a *foreign* face (`foreign.rs`) makes what came across look like any other component.
//! `plugin.rs` is what the host builds components through, `table.rs` what answers in a plugin.
//! `guard.rs` stands at every crossing: a panic becomes an error before it reaches the boundary,
//! and a component that panicked refuses further calls. Nothing outside this folder and
//! `export.rs` names an ABI type.

mod exported;
mod foreign;
pub(crate) mod guard;
mod plugin;
mod regions;
pub(crate) mod table;

use pleach_abi::{
    Boxed, BuildAbi, DatasetAbi_TO, ErrorAbi, EstimatorAbi_TO, GenomeAbi, OperatorAbi_TO, RegionAbi, SearchSpaceAbi_TO,
    StrategyAbi_TO,
    abi_stable::std_types::{RResult, RVec},
};
use serde::{Serialize, de::DeserializeOwned};

pub use plugin::Plugin;

use crate::{
    error::{Error, ErrorKind, Result},
    space::{Genome, Region},
    strategy::Origin,
};

pub(crate) type SpaceBox = SearchSpaceAbi_TO<'static, Boxed>;
pub(crate) type OperatorBox = OperatorAbi_TO<'static, Boxed>;
pub(crate) type DatasetBox = DatasetAbi_TO<'static, Boxed>;
pub(crate) type EstimatorBox = EstimatorAbi_TO<'static, Boxed>;
pub(crate) type StrategyBox = StrategyAbi_TO<'static, Boxed>;

pub(crate) fn error_to_abi(error: Error) -> ErrorAbi {
    ErrorAbi {
        kind: error.kind.number(),
        message: error.message.into(),
        place: error.place.unwrap_or_default().into(),
        origin: error.origin.unwrap_or_default().into(),
    }
}

fn error_from_abi(error: ErrorAbi) -> Error {
    let given = |text: String| (!text.is_empty()).then_some(text);
    Error {
        kind: ErrorKind::from_number(error.kind),
        message: error.message.into_string(),
        place: given(error.place.into_string()),
        origin: given(error.origin.into_string()),
    }
}

fn result_from_abi<T>(result: RResult<T, ErrorAbi>) -> Result<T> {
    result.into_result().map_err(error_from_abi)
}

fn genome_to_abi(genome: &Genome) -> GenomeAbi {
    GenomeAbi::from(genome.0.clone())
}

fn genome_from_abi(genome: GenomeAbi) -> Genome {
    Genome(genome.into_vec())
}

fn genomes_to_abi(genomes: &[Genome]) -> RVec<GenomeAbi> {
    genomes.iter().map(genome_to_abi).collect()
}

fn genomes_from_abi(genomes: &[GenomeAbi]) -> Vec<Genome> {
    genomes.iter().map(|genome| Genome(genome.to_vec())).collect()
}

fn region_to_abi(region: &Region) -> RegionAbi {
    region.slots().iter().map(|choices| RVec::from(choices.clone())).collect()
}

fn region_from_abi(region: &[RVec<u16>]) -> Result<Region> {
    Region::new(region.iter().map(|choices| choices.to_vec()).collect())
}

fn to_json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string(document).map_err(|error| Error::failed(format!("failed to write a document: {error}")))
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::failed(format!("the {what} document cannot be read: {error}")))
}

fn build_to_abi(component: &str, config: &serde_json::Value, context: &crate::Context) -> Result<BuildAbi> {
    Ok(BuildAbi {
        component: component.into(),
        config: config.to_string().into(),
        context: to_json(context)?.into(),
        seed: context.seed.0,
    })
}

/// A training plan without its region, which crosses by itself.
#[derive(serde::Serialize, serde::Deserialize)]
struct PlanDocument {
    epochs: f64,
    stage: u32,
    #[serde(default)]
    notes: serde_json::Value,
}

/// A batch without its genomes, which cross by themselves.
#[derive(serde::Serialize, serde::Deserialize)]
struct BatchDocument {
    #[serde(default)]
    origins: Vec<Origin>,
    #[serde(default)]
    notes: serde_json::Value,
}
