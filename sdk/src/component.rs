//! Components: how a plugin says what it has, and how each is built from its configuration.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    dataset::{Dataset, DatasetInfo},
    error::{Error, Result},
    estimator::Estimator,
    objective::Objectives,
    operator::{Operator, WeightedOperator},
    seed::Seed,
    space::SearchSpace,
    strategy::Strategy,
};

/// What every component says of itself.
pub trait Component: Sized {
    /// What `with:` in a run file is read into. Derive it with [`crate::config!`].
    type Config: DeserializeOwned + Serialize + JsonSchema;

    /// The name in run files after `plugin/`: lower case, words joined by `-`.
    const NAME: &'static str;

    /// One line for `pleach plugins list`.
    const SUMMARY: &'static str;

    /// What the example needs that no plugin can bring, such as files of a data set: a few words
    /// that go on "it needs". Without any the example must build wherever it is tried.
    const NEEDS: &'static str = "";

    /// A configuration that works as it stands, for documentation and the conformance kit.
    fn example() -> Self::Config;
}

/// A search space that a run file can name.
pub trait BuildSpace: Component + SearchSpace + 'static {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`Error::config`] for a configuration that cannot be used, with [`Error::at`].
    fn build(config: Self::Config, context: &Context) -> Result<Self>;
}

/// A data set that a run file can name.
pub trait BuildDataset: Component + Dataset + 'static {
    /// Builds it. Looks at files but reads no images: `pleach check` is answered within a second.
    ///
    /// # Errors
    ///
    /// [`Error::config`] for a configuration that cannot be used, with [`Error::at`].
    fn build(config: Self::Config, context: &Context) -> Result<Self>;
}

/// An operator that a run file can name.
pub trait BuildOperator: Component + Operator + 'static {
    /// Builds it over the run's space.
    ///
    /// # Errors
    ///
    /// [`Error::config`] for a configuration that cannot be used, with [`Error::at`].
    fn build(config: Self::Config, space: Arc<dyn SearchSpace>, context: &Context) -> Result<Self>;
}

/// An estimator that a run file can name.
pub trait BuildEstimator: Component + Estimator + 'static {
    /// Builds it over the run's space and data set.
    ///
    /// # Errors
    ///
    /// [`Error::config`] for a configuration that cannot be used, with [`Error::at`].
    fn build(
        config: Self::Config,
        space: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self>;
}

/// A strategy that a run file can name.
pub trait BuildStrategy: Component + Strategy + 'static {
    /// Builds it over the run's space and operators.
    ///
    /// # Errors
    ///
    /// [`Error::config`] for a configuration that cannot be used, with [`Error::at`].
    fn build(
        config: Self::Config,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self>;
}

/// What the host tells every component of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// The data set, where the run names one and it was built before this component.
    pub dataset: Option<DatasetInfo>,
    /// What the run wants; empty for components built before the estimator.
    pub objectives: Objectives,
    /// The seed of whatever the constructor draws: a split, first weights.
    pub seed: Seed,
}

impl Default for Context {
    fn default() -> Self {
        Context { dataset: None, objectives: Objectives::default(), seed: Seed(0) }
    }
}

/// The kinds of component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A [`SearchSpace`].
    Space,
    /// A [`Dataset`].
    Dataset,
    /// An [`Operator`].
    Operator,
    /// An [`Estimator`].
    Estimator,
    /// A [`Strategy`].
    Strategy,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Kind::Space => "space",
            Kind::Dataset => "dataset",
            Kind::Operator => "operator",
            Kind::Estimator => "estimator",
            Kind::Strategy => "strategy",
        })
    }
}

/// What a plugin says of itself: the document behind `describe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The plugin's name in run files.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The version of this SDK it was built with.
    pub sdk: String,
    /// The compiler it was built with.
    #[serde(default)]
    pub compiler: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// Its components.
    pub components: Vec<ComponentInfo>,
}

/// What a plugin says of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentInfo {
    /// Its kind.
    pub kind: Kind,
    /// Its name after `plugin/`.
    pub name: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// The JSON Schema of its configuration.
    pub schema: serde_json::Value,
    /// A configuration that works as it stands.
    pub example: serde_json::Value,
    /// What the example needs that no plugin can bring; see [`Component::NEEDS`].
    #[serde(default)]
    pub needs: String,
}

impl ComponentInfo {
    pub(crate) fn of<C: Component>(kind: Kind) -> Result<Self> {
        let example = serde_json::to_value(C::example())
            .map_err(|error| Error::failed(format!("the example of `{}` is no JSON: {error}", C::NAME)))?;
        Ok(ComponentInfo {
            kind,
            name: C::NAME.to_owned(),
            summary: C::SUMMARY.to_owned(),
            schema: schemars::schema_for!(C::Config).to_value(),
            example,
            needs: C::NEEDS.to_owned(),
        })
    }
}

/// Reads a component's configuration.
pub(crate) fn parse_config<C: Component>(config: &str) -> Result<C::Config> {
    serde_json::from_str(config)
        .map_err(|error| Error::config(format!("the configuration of `{}` cannot be read: {error}", C::NAME)))
}

/// Declares a configuration struct with the derives that a component needs.
///
/// Unknown keys are refused. With a default for every field, each may be left out of a run file,
/// and `Default` is implemented; without any default, all are required.
///
/// ```
/// pleach_sdk::config! {
///     /// Changes each gene with a fixed probability.
///     pub struct MutationConfig {
///         /// The probability, 0 to 1.
///         #[schemars(range(min = 0.0, max = 1.0))]
///         pub rate: f64 = 0.1,
///     }
/// }
/// assert_eq!(MutationConfig::default().rate, 0.1);
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_visibility:vis $field:ident : $type:ty = $default:expr ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize, $crate::schemars::JsonSchema)]
        #[serde(crate = "pleach_sdk::serde", deny_unknown_fields, default)]
        #[schemars(crate = "pleach_sdk::schemars")]
        $visibility struct $name {
            $( $(#[$field_meta])* $field_visibility $field: $type ),+
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                $name { $( $field: $default ),+ }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_visibility:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize, $crate::schemars::JsonSchema)]
        #[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
        #[schemars(crate = "pleach_sdk::schemars")]
        $visibility struct $name {
            $( $(#[$field_meta])* $field_visibility $field: $type ),*
        }
    };
}
