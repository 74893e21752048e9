//! A loaded plugin as the host sees it: what it has, and how its components are built.

use std::sync::Arc;

use pleach_abi::{
    PluginModuleRef,
    abi_stable::std_types::{ROption, RVec},
};

use super::{build_to_abi, exported, foreign, from_json, result_from_abi, table::Exports};
use crate::{
    component::{Context, PluginInfo},
    dataset::Dataset,
    error::Result,
    estimator::Estimator,
    host::Host,
    operator::{Operator, WeightedOperator},
    space::SearchSpace,
    strategy::Strategy,
};

/// A loaded plugin, as the host uses it: started and described, ready to build components.
pub struct Plugin {
    source: Source,
    info: PluginInfo,
}

/// What answers for a plugin.
enum Source {
    /// The root module of a library.
    Module(PluginModuleRef),
    /// A table of this library, for tests of linked components.
    Table(Exports),
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
        Ok(Plugin { source: Source::Module(module), info })
    }

    /// Components of this library behind the faces of a loaded one.
    pub(crate) fn linked(exports: Exports) -> Result<Self> {
        let description = result_from_abi(exports.describe())?;
        let info = from_json("plugin description", &description)?;
        Ok(Plugin { source: Source::Table(exports), info })
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
        let build = build_to_abi(name, config, context)?;
        let built = result_from_abi(match &self.source {
            Source::Module(module) => module.space()(build),
            Source::Table(exports) => exports.space(&build),
        });
        foreign::space(self.built(name, built)?, &self.origin(name))
    }

    /// Builds a data set.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn dataset(&self, name: &str, config: &serde_json::Value, context: &Context) -> Result<Arc<dyn Dataset>> {
        let build = build_to_abi(name, config, context)?;
        let built = result_from_abi(match &self.source {
            Source::Module(module) => module.dataset()(build),
            Source::Table(exports) => exports.dataset(&build),
        });
        foreign::dataset(self.built(name, built)?, &self.origin(name))
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
        let space = exported::space(space);
        let built = result_from_abi(match &self.source {
            Source::Module(module) => module.operator()(build, space),
            Source::Table(exports) => exports.operator(&build, space),
        });
        foreign::operator(self.built(name, built)?, &self.origin(name))
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
        let (space, dataset) = (exported::space(space), ROption::from(dataset.map(exported::dataset)));
        let built = result_from_abi(match &self.source {
            Source::Module(module) => module.estimator()(build, space, dataset),
            Source::Table(exports) => exports.estimator(&build, space, dataset),
        });
        foreign::estimator(self.built(name, built)?, &self.origin(name))
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
        let space = exported::space(space);
        let built = result_from_abi(match &self.source {
            Source::Module(module) => module.strategy()(build, space, operators),
            Source::Table(exports) => exports.strategy(&build, space, operators),
        });
        Ok(foreign::strategy(self.built(name, built)?, &self.origin(name)))
    }
}
