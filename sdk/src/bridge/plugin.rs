//! A loaded plugin as the host sees it: what it has, and how its components are built.

use std::sync::Arc;

use pleach_abi::{
    PluginModuleRef,
    abi_stable::std_types::{ROption, RVec},
};

use super::{build_to_abi, exported, foreign, from_json, result_from_abi};
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
        foreign::space(self.built(name, built)?, &self.origin(name))
    }

    /// Builds a data set.
    ///
    /// # Errors
    ///
    /// What the component says.
    pub fn dataset(&self, name: &str, config: &serde_json::Value, context: &Context) -> Result<Arc<dyn Dataset>> {
        let built = result_from_abi(self.module.dataset()(build_to_abi(name, config, context)?));
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
        let built = result_from_abi(self.module.operator()(build, exported::space(space)));
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
        let dataset = ROption::from(dataset.map(exported::dataset));
        let built = result_from_abi(self.module.estimator()(build, exported::space(space), dataset));
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
        let built = result_from_abi(self.module.strategy()(build, exported::space(space), operators));
        Ok(foreign::strategy(self.built(name, built)?, &self.origin(name)))
    }
}
