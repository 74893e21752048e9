//! Components of this library, ready to cross.

use std::{any::Any, path::Path, sync::Arc};

use pleach_abi::{
    DatasetAbi, DatasetAbi_TO, EstimatorAbi, EstimatorAbi_TO, EvaluationAbi, GenomeAbi, HostAbi, HostAbi_TO,
    OperatorAbi, OperatorAbi_TO, OutcomeAbi, ResultAbi, SearchSpaceAbi, SearchSpaceAbi_TO, StepAbi, StrategyAbi,
    StrategyAbi_TO, WeightedOperatorAbi,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RSliceMut, RStr, RString, RVec},
    },
};

use super::{
    BatchDocument, DatasetBox, EstimatorBox, OperatorBox, PlanDocument, SpaceBox, StrategyBox, error_to_abi,
    foreign::{ForeignOperator, ForeignSpace, Onward},
    from_json, genomes_from_abi,
    guard::{Poison, guard, guard_component},
    region_from_abi, region_to_abi,
    regions::Received,
    to_json,
};
use crate::{
    dataset::{Dataset, Split},
    error::{Error, Result},
    estimator::{Estimator, TrainPlan},
    host::{Host, Progress},
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::{Genome, SearchSpace},
    strategy::{Evaluation, Step, Strategy},
};

/// A component with its memory of panics.
struct Exported<T> {
    component: T,
    poison: Poison,
}

impl<T> Exported<T> {
    fn new(component: T) -> Self {
        Exported { component, poison: Poison::default() }
    }

    fn call<A>(&self, operation: &str, call: impl FnOnce(&T) -> Result<A>) -> ResultAbi<A> {
        guard_component(&self.poison, operation, || call(&self.component)).map_err(error_to_abi).into()
    }

    fn call_mut<A>(&mut self, operation: &str, call: impl FnOnce(&mut T) -> Result<A>) -> ResultAbi<A> {
        let Exported { component, poison } = self;
        guard_component(poison, operation, || call(component)).map_err(error_to_abi).into()
    }
}

fn came_across<T: Any + Send + Sync>(component: Option<Arc<dyn Any + Send + Sync>>) -> Option<Onward<T>> {
    component.and_then(|component| component.downcast().ok()).map(Onward)
}

pub(crate) fn space(space: Arc<dyn SearchSpace>) -> SpaceBox {
    match came_across::<ForeignSpace>(Arc::clone(&space).crossed()) {
        Some(foreign) => SearchSpaceAbi_TO::from_value(foreign, TD_Opaque),
        None => SearchSpaceAbi_TO::from_value(Exported::new(space), TD_Opaque),
    }
}

pub(crate) fn dataset(dataset: Arc<dyn Dataset>) -> DatasetBox {
    DatasetAbi_TO::from_value(Exported::new(dataset), TD_Opaque)
}

pub(crate) fn operator(operator: Arc<dyn Operator>) -> OperatorBox {
    match came_across::<ForeignOperator>(Arc::clone(&operator).crossed()) {
        Some(foreign) => OperatorAbi_TO::from_value(foreign, TD_Opaque),
        None => {
            let operator = ExportedOperator { operator, region: Received::default() };
            OperatorAbi_TO::from_value(Exported::new(operator), TD_Opaque)
        }
    }
}

pub(crate) fn estimator(estimator: Box<dyn Estimator>) -> EstimatorBox {
    EstimatorAbi_TO::from_value(Exported::new(estimator), TD_Opaque)
}

pub(crate) fn strategy(strategy: Box<dyn Strategy>) -> StrategyBox {
    StrategyAbi_TO::from_value(Exported::new(strategy), TD_Opaque)
}

pub(crate) fn weighted_operator(weighted: WeightedOperator) -> WeightedOperatorAbi {
    WeightedOperatorAbi { name: weighted.name.into(), weight: weighted.weight, operator: operator(weighted.operator) }
}

pub(crate) fn host(host: Arc<dyn Host>) -> HostAbi_TO<'static, pleach_abi::Boxed> {
    HostAbi_TO::from_value(ExportedHost(host), TD_Opaque)
}

impl SearchSpaceAbi for Exported<Arc<dyn SearchSpace>> {
    fn spec(&self) -> ResultAbi<RString> {
        self.call("spec", |space| Ok(to_json(&space.network().document())?.into()))
    }

    fn canonical(&self, genome: RSlice<'_, u16>) -> ResultAbi<GenomeAbi> {
        self.call("canonical", |space| Ok(space.canonical(&Genome(genome.to_vec()))?.0.into()))
    }
}

struct ExportedOperator {
    operator: Arc<dyn Operator>,
    region: Received,
}

impl OperatorAbi for Exported<ExportedOperator> {
    fn arity(&self) -> ResultAbi<u32> {
        self.call("arity", |ExportedOperator { operator, .. }| {
            u32::try_from(operator.arity()).map_err(|_| Error::failed("an arity beyond 32 bits"))
        })
    }

    fn vary(&self, parents: RSlice<'_, GenomeAbi>, region: RSlice<'_, RVec<u16>>, seed: u64) -> ResultAbi<GenomeAbi> {
        self.call("vary", |ExportedOperator { operator, region: received }| {
            let region = received.region_of(&region)?;
            Ok(operator.vary(&genomes_from_abi(&parents), &region, Seed(seed))?.0.into())
        })
    }
}

impl DatasetAbi for Exported<Arc<dyn Dataset>> {
    fn info(&self) -> ResultAbi<RString> {
        self.call("info", |dataset| Ok(to_json(dataset.info())?.into()))
    }

    fn fetch(
        &self,
        split: u32,
        indices: RSlice<'_, u64>,
        mut images: RSliceMut<'_, u8>,
        mut labels: RSliceMut<'_, u32>,
    ) -> ResultAbi<()> {
        self.call("fetch", |dataset| {
            let split = Split::from_number(split).ok_or_else(|| Error::failed(format!("there is no split {split}")))?;
            dataset.fetch(split, &indices, &mut images, &mut labels)
        })
    }
}

impl EstimatorAbi for Exported<Box<dyn Estimator>> {
    fn objectives(&self) -> ResultAbi<RString> {
        self.call("objectives", |estimator| Ok(to_json(&estimator.objectives())?.into()))
    }

    fn evaluate(&mut self, genomes: RSlice<'_, GenomeAbi>, seed: u64) -> ResultAbi<RVec<OutcomeAbi>> {
        self.call_mut("evaluate", |estimator| {
            let outcomes = estimator.evaluate(&genomes_from_abi(&genomes), Seed(seed))?;
            Ok(outcomes.into_iter().map(|outcome| outcome.map(RVec::from).map_err(RString::from).into()).collect())
        })
    }

    fn train(&mut self, region: RSlice<'_, RVec<u16>>, plan: RStr<'_>, seed: u64) -> ResultAbi<RString> {
        self.call_mut("train", |estimator| {
            let PlanDocument { epochs, stage, notes } = from_json("training plan", &plan)?;
            let plan = TrainPlan { region: region_from_abi(&region)?, epochs, stage, notes };
            Ok(to_json(&estimator.train(&plan, Seed(seed))?)?.into())
        })
    }

    fn save(&self, folder: RStr<'_>) -> ResultAbi<()> {
        self.call("save", |estimator| estimator.save(Path::new(folder.as_str())))
    }

    fn load(&mut self, folder: RStr<'_>) -> ResultAbi<()> {
        self.call_mut("load", |estimator| estimator.load(Path::new(folder.as_str())))
    }
}

impl StrategyAbi for Exported<Box<dyn Strategy>> {
    fn next(&mut self, seed: u64) -> ResultAbi<StepAbi> {
        self.call_mut("next", |strategy| {
            Ok(match strategy.next(Seed(seed))? {
                Step::Train(TrainPlan { region, epochs, stage, notes }) => StepAbi::Train {
                    region: region_to_abi(&region),
                    plan: to_json(&PlanDocument { epochs, stage, notes })?.into(),
                },
                Step::Evaluate(batch) => {
                    let (genomes, origins): (RVec<_>, Vec<_>) = batch
                        .candidates
                        .into_iter()
                        .map(|candidate| (GenomeAbi::from(candidate.genome.0), candidate.origin))
                        .unzip();
                    let notes = to_json(&BatchDocument { origins, notes: batch.notes })?.into();
                    StepAbi::Evaluate { genomes, notes }
                }
                Step::Finished(notes) => StepAbi::Finished { notes: notes.to_string().into() },
            })
        })
    }

    fn tell(&mut self, evaluations: RSlice<'_, EvaluationAbi>) -> ResultAbi<()> {
        self.call_mut("tell", |strategy| {
            let evaluations: Vec<_> = evaluations
                .iter()
                .map(|evaluation| Evaluation {
                    genome: Genome(evaluation.genome.to_vec()),
                    outcome: match &evaluation.outcome {
                        RResult::ROk(values) => Ok(values.to_vec()),
                        RResult::RErr(reason) => Err(reason.to_string()),
                    },
                })
                .collect();
            strategy.tell(&evaluations)
        })
    }

    fn save(&self, folder: RStr<'_>) -> ResultAbi<()> {
        self.call("save", |strategy| strategy.save(Path::new(folder.as_str())))
    }

    fn load(&mut self, folder: RStr<'_>) -> ResultAbi<()> {
        self.call_mut("load", |strategy| strategy.load(Path::new(folder.as_str())))
    }
}

/// The host itself; a panic in it must not reach the plugin that called.
struct ExportedHost(Arc<dyn Host>);

impl HostAbi for ExportedHost {
    fn log(&self, level: u32, target: RStr<'_>, message: RStr<'_>) {
        self.tell_host(|host| host.log(crate::forward::level_of(level), &target, &message));
    }

    fn log_level(&self) -> u32 {
        guard(|| Ok(self.0.log_level())).ok().flatten().map_or(0, crate::forward::number_of)
    }

    fn progress(&self, task: RStr<'_>, done: u64, total: u64, note: RStr<'_>) {
        self.tell_host(|host| host.progress(&Progress { task: &task, done, total, note: &note }));
    }

    fn is_cancelled(&self) -> bool {
        // A host that cannot answer any more should not be kept waiting.
        guard(|| Ok(self.0.is_cancelled())).unwrap_or(true)
    }
}

impl ExportedHost {
    fn tell_host(&self, call: impl FnOnce(&dyn Host)) {
        if let Err(error) = guard(|| {
            call(self.0.as_ref());
            Ok(())
        }) {
            tracing::error!("{error}");
        }
    }
}
