//! A plugin's table of components, and how each is built from what crosses.

use std::sync::Arc;

use pleach_abi::{
    BuildAbi, ResultAbi, WeightedOperatorAbi,
    abi_stable::std_types::{ROption, RString, RVec},
};

use super::{
    DatasetBox, EstimatorBox, OperatorBox, SpaceBox, StrategyBox, error_to_abi, exported, foreign, from_json,
    guard::guard, to_json,
};
use crate::{
    component::{
        BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, Component, ComponentInfo, Context,
        Kind, PluginInfo, parse_config,
    },
    error::{Error, Result, unknown_name},
    seed::Seed,
};

/// A plugin's table of contents. Made by [`crate::export_plugin!`].
pub struct Exports {
    name: &'static str,
    version: &'static str,
    summary: &'static str,
    entries: Vec<Entry>,
}

/// One component of a plugin and how it is built.
pub struct Entry {
    name: &'static str,
    info: fn() -> Result<ComponentInfo>,
    space: Option<SpaceBuilder>,
    dataset: Option<DatasetBuilder>,
    operator: Option<OperatorBuilder>,
    estimator: Option<EstimatorBuilder>,
    strategy: Option<StrategyBuilder>,
}

impl Entry {
    const EMPTY: Entry = Entry {
        name: "",
        info: || Err(Error::failed("an entry without a component")),
        space: None,
        dataset: None,
        operator: None,
        estimator: None,
        strategy: None,
    };

    /// A search space.
    pub fn space<C: BuildSpace>() -> Self {
        let info = || ComponentInfo::of::<C>(Kind::Space);
        Entry { name: C::NAME, info, space: Some(build_space::<C>), ..Self::EMPTY }
    }

    /// A data set.
    pub fn dataset<C: BuildDataset>() -> Self {
        let info = || ComponentInfo::of::<C>(Kind::Dataset);
        Entry { name: C::NAME, info, dataset: Some(build_dataset::<C>), ..Self::EMPTY }
    }

    /// An operator.
    pub fn operator<C: BuildOperator>() -> Self {
        let info = || ComponentInfo::of::<C>(Kind::Operator);
        Entry { name: C::NAME, info, operator: Some(build_operator::<C>), ..Self::EMPTY }
    }

    /// An estimator.
    pub fn estimator<C: BuildEstimator>() -> Self {
        let info = || ComponentInfo::of::<C>(Kind::Estimator);
        Entry { name: C::NAME, info, estimator: Some(build_estimator::<C>), ..Self::EMPTY }
    }

    /// A strategy.
    pub fn strategy<C: BuildStrategy>() -> Self {
        let info = || ComponentInfo::of::<C>(Kind::Strategy);
        Entry { name: C::NAME, info, strategy: Some(build_strategy::<C>), ..Self::EMPTY }
    }
}

impl Exports {
    /// The table of a plugin.
    pub fn new(name: &'static str, version: &'static str, summary: &'static str, entries: Vec<Entry>) -> Self {
        Exports { name, version, summary, entries }
    }
}

/// How each kind is built from what crosses; one function per component, stored in [`Exports`].
type SpaceBuilder = fn(&BuildAbi) -> Result<SpaceBox>;
type DatasetBuilder = fn(&BuildAbi) -> Result<DatasetBox>;
type OperatorBuilder = fn(&BuildAbi, SpaceBox) -> Result<OperatorBox>;
type EstimatorBuilder = fn(&BuildAbi, SpaceBox, Option<DatasetBox>) -> Result<EstimatorBox>;
type StrategyBuilder = fn(&BuildAbi, SpaceBox, RVec<WeightedOperatorAbi>) -> Result<StrategyBox>;

fn parts<C: Component>(build: &BuildAbi) -> Result<(C::Config, Context)> {
    let mut context: Context = from_json("context", &build.context)?;
    context.seed = Seed(build.seed);
    Ok((parse_config::<C>(&build.config)?, context))
}

fn build_space<C: BuildSpace>(build: &BuildAbi) -> Result<SpaceBox> {
    let (config, context) = parts::<C>(build)?;
    Ok(exported::space(Arc::new(C::build(config, &context)?)))
}

fn build_dataset<C: BuildDataset>(build: &BuildAbi) -> Result<DatasetBox> {
    let (config, context) = parts::<C>(build)?;
    Ok(exported::dataset(Arc::new(C::build(config, &context)?)))
}

fn build_operator<C: BuildOperator>(build: &BuildAbi, space: SpaceBox) -> Result<OperatorBox> {
    let (config, context) = parts::<C>(build)?;
    Ok(exported::operator(Arc::new(C::build(config, foreign::space(space, "space")?, &context)?)))
}

fn build_estimator<C: BuildEstimator>(
    build: &BuildAbi,
    space: SpaceBox,
    dataset: Option<DatasetBox>,
) -> Result<EstimatorBox> {
    let (config, context) = parts::<C>(build)?;
    let dataset = dataset.map(|dataset| foreign::dataset(dataset, "dataset")).transpose()?;
    Ok(exported::estimator(Box::new(C::build(config, foreign::space(space, "space")?, dataset, &context)?)))
}

fn build_strategy<C: BuildStrategy>(
    build: &BuildAbi,
    space: SpaceBox,
    operators: RVec<WeightedOperatorAbi>,
) -> Result<StrategyBox> {
    let (config, context) = parts::<C>(build)?;
    let operators: Result<Vec<_>> = operators.into_iter().map(foreign::weighted_operator).collect();
    Ok(exported::strategy(Box::new(C::build(config, foreign::space(space, "space")?, operators?, &context)?)))
}

/// What the functions of a plugin's root module do.
impl Exports {
    pub(crate) fn describe(&self) -> ResultAbi<RString> {
        guard(|| {
            let components: Result<Vec<ComponentInfo>> = self.entries.iter().map(|entry| (entry.info)()).collect();
            let info = PluginInfo {
                name: self.name.to_owned(),
                version: self.version.to_owned(),
                sdk: env!("CARGO_PKG_VERSION").to_owned(),
                compiler: env!("PLEACH_COMPILER").to_owned(),
                summary: self.summary.to_owned(),
                components: components?,
            };
            Ok(RString::from(to_json(&info)?))
        })
        .map_err(error_to_abi)
        .into()
    }

    fn build<B, A>(
        &self,
        kind: Kind,
        build: &BuildAbi,
        find: impl Fn(&Entry) -> Option<B>,
        call: impl FnOnce(B) -> Result<A>,
    ) -> ResultAbi<A> {
        guard(|| {
            let of_kind: Vec<_> = self.entries.iter().filter_map(|entry| Some((entry.name, find(entry)?))).collect();
            let known: Vec<_> = of_kind.iter().map(|(name, _)| *name).collect();
            let found = of_kind.into_iter().find(|(name, _)| *name == build.component.as_str());
            let (_, builder) =
                found.ok_or_else(|| Error::config(unknown_name(&kind.to_string(), &build.component, &known)))?;
            call(builder)
        })
        .map_err(error_to_abi)
        .into()
    }

    pub(crate) fn space(&self, build: &BuildAbi) -> ResultAbi<SpaceBox> {
        self.build(Kind::Space, build, |entry| entry.space, |builder| builder(build))
    }

    pub(crate) fn dataset(&self, build: &BuildAbi) -> ResultAbi<DatasetBox> {
        self.build(Kind::Dataset, build, |entry| entry.dataset, |builder| builder(build))
    }

    pub(crate) fn operator(&self, build: &BuildAbi, space: SpaceBox) -> ResultAbi<OperatorBox> {
        self.build(Kind::Operator, build, |entry| entry.operator, |builder| builder(build, space))
    }

    pub(crate) fn estimator(
        &self,
        build: &BuildAbi,
        space: SpaceBox,
        dataset: ROption<DatasetBox>,
    ) -> ResultAbi<EstimatorBox> {
        self.build(
            Kind::Estimator,
            build,
            |entry| entry.estimator,
            |builder| builder(build, space, dataset.into_option()),
        )
    }

    pub(crate) fn strategy(
        &self,
        build: &BuildAbi,
        space: SpaceBox,
        operators: RVec<WeightedOperatorAbi>,
    ) -> ResultAbi<StrategyBox> {
        self.build(Kind::Strategy, build, |entry| entry.strategy, |builder| builder(build, space, operators))
    }
}
