//! Components of another library, made to look like any other.

use std::{path::Path, sync::Arc};

use pleach_abi::{
    PluginModuleRef, StepAbi, WeightedOperatorAbi,
    abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec},
};

use super::{
    DatasetBox, EstimatorBox, OperatorBox, SpaceBox, StrategyBox, build_to_abi, exported,
    exported::{BatchDocument, PlanDocument},
    from_json, genome_from_abi, genome_to_abi, genomes_to_abi, region_from_abi, region_to_abi, result_from_abi,
    to_json,
};
use crate::{
    component::{Context, PluginInfo},
    dataset::{Dataset, DatasetInfo, Split},
    error::{Error, Result},
    estimator::{Estimator, Outcome, TrainPlan, TrainReport},
    host::Host,
    network::Network,
    objective::Measured,
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::{Genome, Region, SearchSpace},
    strategy::{Batch, Candidate, Evaluation, Origin, Step, Strategy},
};

/// A loaded plugin, as the host uses it: started and described, ready to build components.
pub struct Plugin {
    module: PluginModuleRef,
    info: PluginInfo,
}

impl Plugin {
    /// Starts a plugin whose layout was checked, and asks what it has.
    ///
    /// # Errors
    ///
    /// What the plugin says, or a description that cannot be read.
    pub fn start(module: PluginModuleRef, host: Arc<dyn Host>) -> Result<Self> {
        result_from_abi(module.start()(exported::host(host)))?;
        let description = result_from_abi(module.describe()())?;
        let info = from_json("plugin description", &description)?;
        Ok(Plugin { module, info })
    }

    /// What the plugin says of itself.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn origin(&self, component: &str) -> String {
        format!("{}/{component}", self.info.name)
    }

    fn built<T>(&self, component: &str, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.from_origin(|| format!("{} build", self.origin(component))))
    }

    /// Builds a search space.
    ///
    /// # Errors
    ///
    /// What the component says, or a network description that does not resolve.
    pub fn space(&self, name: &str, config: &serde_json::Value, context: &Context) -> Result<Arc<dyn SearchSpace>> {
        let built = result_from_abi(self.module.space()(build_to_abi(name, config, context)?));
        foreign_space(self.built(name, built)?, self.origin(name))
    }

    /// Builds a data set.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn dataset(&self, name: &str, config: &serde_json::Value, context: &Context) -> Result<Arc<dyn Dataset>> {
        let built = result_from_abi(self.module.dataset()(build_to_abi(name, config, context)?));
        foreign_dataset(self.built(name, built)?, self.origin(name))
    }

    /// Builds an operator.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn operator(
        &self,
        name: &str,
        config: &serde_json::Value,
        space: Arc<dyn SearchSpace>,
        context: &Context,
    ) -> Result<Arc<dyn Operator>> {
        let build = build_to_abi(name, config, context)?;
        let built = result_from_abi(self.module.operator()(build, exported::space(space)));
        Ok(Arc::new(foreign_operator(self.built(name, built)?, self.origin(name))?))
    }

    /// Builds an estimator.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn estimator(
        &self,
        name: &str,
        config: &serde_json::Value,
        space: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Box<dyn Estimator>> {
        let build = build_to_abi(name, config, context)?;
        let dataset = ROption::from(dataset.map(exported::dataset));
        let built = result_from_abi(self.module.estimator()(build, exported::space(space), dataset));
        let (component, name) = (self.built(name, built)?, self.origin(name));
        let objectives = result_from_abi(component.objectives())
            .and_then(|document| from_json("objectives", &document))
            .map_err(|error| error.from_origin(|| format!("{name} objectives")))?;
        Ok(Box::new(ForeignEstimator { component, name, objectives }))
    }

    /// Builds a strategy.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn strategy(
        &self,
        name: &str,
        config: &serde_json::Value,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Box<dyn Strategy>> {
        let build = build_to_abi(name, config, context)?;
        let operators: RVec<_> = operators.into_iter().map(exported::weighted_operator).collect();
        let built = result_from_abi(self.module.strategy()(build, exported::space(space), operators));
        Ok(Box::new(ForeignStrategy { component: self.built(name, built)?, name: self.origin(name) }))
    }
}

/// A component of another library and the name under which its errors are reported.
struct Foreign<T, D> {
    component: T,
    name: String,
    /// What it said of itself when it came across; asked once.
    document: D,
}

impl<T, D> Foreign<T, D> {
    fn named<A>(&self, operation: &str, result: Result<A>) -> Result<A> {
        named(&self.name, operation, result)
    }
}

fn named<A>(name: &str, operation: &str, result: Result<A>) -> Result<A> {
    result.map_err(|error| error.from_origin(|| format!("{name} {operation}")))
}

pub(super) fn space(component: SpaceBox, name: &str) -> Result<Arc<dyn SearchSpace>> {
    foreign_space(component, name.to_owned())
}

fn foreign_space(component: SpaceBox, name: String) -> Result<Arc<dyn SearchSpace>> {
    let network = result_from_abi(component.spec())
        .and_then(|document| from_json("network description", &document))
        .and_then(Network::new);
    let document = named(&name, "spec", network)?;
    Ok(Arc::new(Foreign { component, name, document }))
}

impl SearchSpace for Foreign<SpaceBox, Network> {
    fn network(&self) -> &Network {
        &self.document
    }

    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        let canonical = result_from_abi(self.component.canonical(RSlice::from_slice(genome)));
        let canonical = self.named("canonical", canonical.map(genome_from_abi))?;
        self.named("canonical", self.document.validate(&canonical))?;
        Ok(canonical)
    }
}

pub(super) fn dataset(component: DatasetBox, name: &str) -> Result<Arc<dyn Dataset>> {
    foreign_dataset(component, name.to_owned())
}

fn foreign_dataset(component: DatasetBox, name: String) -> Result<Arc<dyn Dataset>> {
    let info = result_from_abi(component.info()).and_then(|document| from_json("data set", &document));
    let document = named(&name, "info", info)?;
    Ok(Arc::new(Foreign { component, name, document }))
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
    let operator = Arc::new(foreign_operator(weighted.operator, name.clone())?);
    Ok(WeightedOperator { name, weight: weighted.weight, operator })
}

fn foreign_operator(component: OperatorBox, name: String) -> Result<Foreign<OperatorBox, usize>> {
    let document = named(&name, "arity", result_from_abi(component.arity()))? as usize;
    Ok(Foreign { component, name, document })
}

impl Operator for Foreign<OperatorBox, usize> {
    fn arity(&self) -> usize {
        self.document
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let (parents, region) = (genomes_to_abi(parents), region_to_abi(region));
        let child = self.component.vary(RSlice::from_slice(&parents), RSlice::from_slice(&region), seed.0);
        self.named("vary", result_from_abi(child).map(genome_from_abi))
    }
}

struct ForeignEstimator {
    component: EstimatorBox,
    name: String,
    objectives: Vec<Measured>,
}

impl Estimator for ForeignEstimator {
    fn objectives(&self) -> Vec<Measured> {
        self.objectives.clone()
    }

    fn evaluate(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Outcome>> {
        let asked = genomes_to_abi(genomes);
        let outcomes = result_from_abi(self.component.evaluate(RSlice::from_slice(&asked), seed.0));
        let outcomes: Vec<Outcome> = named(&self.name, "evaluate", outcomes)?
            .into_iter()
            .map(|outcome| outcome.into_result().map(RVec::into_vec).map_err(RString::into_string))
            .collect();
        let wrong = outcomes.iter().flatten().find(|values| values.len() != self.objectives.len());
        let complaint = if outcomes.len() != genomes.len() {
            Some(format!("{} answers for {} genomes", outcomes.len(), genomes.len()))
        } else {
            wrong.map(|values| format!("{} numbers for {} objectives", values.len(), self.objectives.len()))
        };
        match complaint {
            Some(complaint) => named(&self.name, "evaluate", Err(Error::failed(format!("it gave {complaint}")))),
            None => Ok(outcomes),
        }
    }

    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        let region = region_to_abi(&plan.region);
        let document = to_json(&PlanDocument { epochs: plan.epochs, stage: plan.stage, notes: plan.notes.clone() })?;
        let report = self.component.train(RSlice::from_slice(&region), RStr::from_str(&document), seed.0);
        named(&self.name, "train", result_from_abi(report).and_then(|report| from_json("training report", &report)))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let saved = path_text(folder).and_then(|path| result_from_abi(self.component.save(RStr::from_str(path))));
        named(&self.name, "save", saved)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = path_text(folder).and_then(|path| result_from_abi(self.component.load(RStr::from_str(path))));
        named(&self.name, "load", loaded)
    }
}

struct ForeignStrategy {
    component: StrategyBox,
    name: String,
}

impl Strategy for ForeignStrategy {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let step = result_from_abi(self.component.next(seed.0)).and_then(step_from_abi);
        named(&self.name, "next", step)
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
        named(&self.name, "tell", result_from_abi(self.component.tell(RSlice::from_slice(&evaluations))))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let saved = path_text(folder).and_then(|path| result_from_abi(self.component.save(RStr::from_str(path))));
        named(&self.name, "save", saved)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = path_text(folder).and_then(|path| result_from_abi(self.component.load(RStr::from_str(path))));
        named(&self.name, "load", loaded)
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
