//! Components of another library, made to look like any other.

use std::{any::Any, path::Path, sync::Arc};

use pleach_abi::{
    ErrorAbi, GenomeAbi, OperatorAbi, ResultAbi, SearchSpaceAbi, StepAbi, WeightedOperatorAbi,
    abi_stable::std_types::{RResult, RSlice, RSliceMut, RStr, RString, RVec},
};

use super::{
    BatchDocument, DatasetBox, EstimatorBox, OperatorBox, PlanDocument, SpaceBox, StrategyBox, error_from_abi,
    error_to_abi, from_json, genome_from_abi, genome_to_abi, genomes_to_abi, region_from_abi, region_to_abi,
    regions::Sent, result_from_abi, to_json,
};
use crate::{
    dataset::{Dataset, DatasetInfo, Split},
    error::{Error, Result},
    estimator::{Estimator, Outcome, TrainPlan, TrainReport},
    network::Network,
    objective::Measured,
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::{Genome, Region, SearchSpace},
    strategy::{Batch, Candidate, Evaluation, Origin, Step, Strategy},
};

/// A component of another library and the name under which its errors are reported.
pub(super) struct Foreign<T, D> {
    component: T,
    name: String,
    /// What it said of itself when it came across; asked once.
    document: D,
}

impl<T, D> Foreign<T, D> {
    fn named<A>(&self, operation: &str, result: Result<A>) -> Result<A> {
        named(&self.name, operation, result)
    }

    fn named_abi(&self, operation: &str, error: ErrorAbi) -> ErrorAbi {
        error_to_abi(error_from_abi(error).from_origin(|| format!("{} {operation}", self.name)))
    }
}

fn named<A>(name: &str, operation: &str, result: Result<A>) -> Result<A> {
    result.map_err(|error| error.from_origin(|| format!("{name} {operation}")))
}

pub(super) fn space(component: SpaceBox, name: &str) -> Result<Arc<dyn SearchSpace>> {
    let network = result_from_abi(component.spec())
        .and_then(|document| from_json("network description", &document))
        .and_then(Network::of);
    let document = named(name, "spec", network)?;
    Ok(Arc::new(Foreign { component, name: name.to_owned(), document }))
}

pub(super) type ForeignSpace = Foreign<SpaceBox, Network>;

impl SearchSpace for ForeignSpace {
    fn network(&self) -> &Network {
        &self.document
    }

    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        let canonical = result_from_abi(self.component.canonical(RSlice::from_slice(genome)));
        let canonical = self.named("canonical", canonical.map(genome_from_abi))?;
        self.named("canonical", self.document.validate(&canonical))?;
        Ok(canonical)
    }

    fn crossed(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self)
    }
}

/// A component of another library that goes on to a third: what crosses is passed on as it is, and not
/// taken apart and put together again.
pub(super) struct Onward<T>(pub(super) Arc<T>);

impl SearchSpaceAbi for Onward<ForeignSpace> {
    fn spec(&self) -> ResultAbi<RString> {
        self.0.component.spec().map_err(|error| self.0.named_abi("spec", error))
    }

    fn canonical(&self, genome: RSlice<'_, u16>) -> ResultAbi<GenomeAbi> {
        self.0.component.canonical(genome).map_err(|error| self.0.named_abi("canonical", error))
    }
}

pub(super) fn dataset(component: DatasetBox, name: &str) -> Result<Arc<dyn Dataset>> {
    let info = result_from_abi(component.info()).and_then(|document| from_json("data set", &document));
    let document = named(name, "info", info)?;
    Ok(Arc::new(Foreign { component, name: name.to_owned(), document }))
}

impl Dataset for Foreign<DatasetBox, DatasetInfo> {
    fn info(&self) -> &DatasetInfo {
        &self.document
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        let fetched = self.component.fetch(
            split.number(),
            RSlice::from_slice(indices),
            RSliceMut::from_mut_slice(images),
            RSliceMut::from_mut_slice(labels),
        );
        self.named("fetch", result_from_abi(fetched))
    }
}

pub(super) fn weighted_operator(weighted: WeightedOperatorAbi) -> Result<WeightedOperator> {
    let name = weighted.name.into_string();
    let operator = operator(weighted.operator, &name)?;
    Ok(WeightedOperator { name, weight: weighted.weight, operator })
}

pub(super) fn operator(component: OperatorBox, name: &str) -> Result<Arc<dyn Operator>> {
    let arity = named(name, "arity", result_from_abi(component.arity()))? as usize;
    let document = OperatorDocument { arity, region: Sent::default() };
    Ok(Arc::new(Foreign { component, name: name.to_owned(), document }))
}

pub(super) struct OperatorDocument {
    arity: usize,
    region: Sent,
}

pub(super) type ForeignOperator = Foreign<OperatorBox, OperatorDocument>;

impl Operator for ForeignOperator {
    fn arity(&self) -> usize {
        self.document.arity
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let (parents, region) = (genomes_to_abi(parents), self.document.region.abi_of(region));
        let child = self.component.vary(RSlice::from_slice(&parents), RSlice::from_slice(&region.1), seed.0);
        self.named("vary", result_from_abi(child).map(genome_from_abi))
    }

    fn crossed(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self)
    }
}

impl OperatorAbi for Onward<ForeignOperator> {
    fn arity(&self) -> ResultAbi<u32> {
        self.0.component.arity().map_err(|error| self.0.named_abi("arity", error))
    }

    fn vary(&self, parents: RSlice<'_, GenomeAbi>, region: RSlice<'_, RVec<u16>>, seed: u64) -> ResultAbi<GenomeAbi> {
        self.0.component.vary(parents, region, seed).map_err(|error| self.0.named_abi("vary", error))
    }
}

pub(super) fn estimator(component: EstimatorBox, name: &str) -> Result<Box<dyn Estimator>> {
    let objectives = result_from_abi(component.objectives()).and_then(|document| from_json("objectives", &document));
    let document = named(name, "objectives", objectives)?;
    Ok(Box::new(Foreign { component, name: name.to_owned(), document }))
}

impl Estimator for Foreign<EstimatorBox, Vec<Measured>> {
    fn objectives(&self) -> Vec<Measured> {
        self.document.clone()
    }

    fn evaluate(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Outcome>> {
        let asked = genomes_to_abi(genomes);
        let outcomes = result_from_abi(self.component.evaluate(RSlice::from_slice(&asked), seed.0));
        let outcomes: Vec<Outcome> = self
            .named("evaluate", outcomes)?
            .into_iter()
            .map(|outcome| outcome.into_result().map(RVec::into_vec).map_err(RString::into_string))
            .collect();
        let wrong = outcomes.iter().flatten().find(|values| values.len() != self.document.len());
        let complaint = if outcomes.len() != genomes.len() {
            Some(format!("{} answers for {} genomes", outcomes.len(), genomes.len()))
        } else {
            wrong.map(|values| format!("{} numbers for {} objectives", values.len(), self.document.len()))
        };
        match complaint {
            Some(complaint) => self.named("evaluate", Err(Error::failed(format!("it gave {complaint}")))),
            None => Ok(outcomes),
        }
    }

    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        let region = region_to_abi(&plan.region);
        let document = to_json(&PlanDocument { epochs: plan.epochs, stage: plan.stage, notes: plan.notes.clone() })?;
        let report = self.component.train(RSlice::from_slice(&region), RStr::from_str(&document), seed.0);
        self.named("train", result_from_abi(report).and_then(|report| from_json("training report", &report)))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let saved = path_text(folder).and_then(|path| result_from_abi(self.component.save(RStr::from_str(path))));
        self.named("save", saved)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = path_text(folder).and_then(|path| result_from_abi(self.component.load(RStr::from_str(path))));
        self.named("load", loaded)
    }
}

pub(super) fn strategy(component: StrategyBox, name: &str) -> Box<dyn Strategy> {
    Box::new(Foreign { component, name: name.to_owned(), document: () })
}

impl Strategy for Foreign<StrategyBox, ()> {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let step = result_from_abi(self.component.next(seed.0)).and_then(step_from_abi);
        self.named("next", step)
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let evaluations: RVec<_> = evaluations
            .iter()
            .map(|evaluation| pleach_abi::EvaluationAbi {
                genome: genome_to_abi(&evaluation.genome),
                outcome: match &evaluation.outcome {
                    Ok(values) => RResult::ROk(values.clone().into()),
                    Err(reason) => RResult::RErr(reason.clone().into()),
                },
            })
            .collect();
        let told = result_from_abi(self.component.tell(RSlice::from_slice(&evaluations)));
        self.named("tell", told)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let saved = path_text(folder).and_then(|path| result_from_abi(self.component.save(RStr::from_str(path))));
        self.named("save", saved)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = path_text(folder).and_then(|path| result_from_abi(self.component.load(RStr::from_str(path))));
        self.named("load", loaded)
    }
}

fn step_from_abi(step: StepAbi) -> Result<Step> {
    Ok(match step {
        StepAbi::Train { region, plan } => {
            let PlanDocument { epochs, stage, notes } = from_json("training plan", &plan)?;
            Step::Train(TrainPlan { region: region_from_abi(&region)?, epochs, stage, notes })
        }
        StepAbi::Evaluate { genomes, notes } => {
            let BatchDocument { origins, notes } = from_json("batch", &notes)?;
            let origins = origins.into_iter().chain(std::iter::repeat_with(Origin::default));
            let candidates = genomes
                .into_iter()
                .zip(origins)
                .map(|(genome, origin)| Candidate { genome: genome_from_abi(genome), origin })
                .collect();
            Step::Evaluate(Batch { candidates, notes })
        }
        StepAbi::Finished { notes } => Step::Finished(from_json("final notes", &notes)?),
    })
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::failed(format!("the path {} is not UTF-8", path.display())))
}
