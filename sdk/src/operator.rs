//! Variation operators.

use std::{any::Any, sync::Arc};

use crate::{
    error::{Error, Result},
    seed::Seed,
    space::{Genome, Region},
};

/// A way to make a child network from its parents.
///
/// The strategy calls it once for each child, from its own thread. It holds no state: the same
/// parents, region and seed give the same child.
pub trait Operator: Send + Sync {
    /// How many parents [`Operator::vary`] takes: 1 for a mutation, 2 for a crossover.
    fn arity(&self) -> usize;

    /// Makes one child.
    ///
    /// `parents` are [`Operator::arity`] genomes of the space; they need not lie in `region`.
    /// The child must lie in it: the strategy refuses one that does not and says who made it.
    ///
    /// # Errors
    ///
    /// End the search with exit code 3. A child that equals a parent is no error.
    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome>;

    /// The component as it came across the boundary, where it did: it goes on as it came.
    #[doc(hidden)]
    fn crossed(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// An operator as a strategy receives it from the run file.
#[derive(Clone)]
pub struct WeightedOperator {
    /// `plugin/component`.
    pub name: String,
    /// The share of children it makes, relative to the others; positive.
    pub weight: f64,
    /// The operator.
    pub operator: Arc<dyn Operator>,
}

impl WeightedOperator {
    /// Makes one child and checks that it lies in the region.
    ///
    /// # Errors
    ///
    /// Those of [`Operator::vary`], and a child outside of the region.
    pub fn child(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let child = self.operator.vary(parents, region, seed)?;
        if region.contains(&child) {
            return Ok(child);
        }
        Err(Error::failed(format!("the operator {} made {child}, which is outside of its region", self.name)))
    }
}
