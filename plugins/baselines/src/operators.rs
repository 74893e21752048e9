//! The run's operators, drawn by weight.

use pleach_sdk::{
    Error, Genome, Origin, Region, Result, Seed, WeightedOperator,
    rand::{
        Rng,
        distr::{Distribution, weighted::WeightedIndex},
    },
    tracing,
};

/// Operators that a strategy draws from.
pub(crate) struct Operators {
    list: Vec<WeightedOperator>,
    weights: WeightedIndex<f64>,
}

impl Operators {
    /// Operators to draw from; at least one.
    pub(crate) fn new(list: Vec<WeightedOperator>) -> Result<Self> {
        let weights = WeightedIndex::new(list.iter().map(|weighted| weighted.weight))
            .map_err(|error| Error::config(format!("the weights of the operators cannot be used: {error}")))?;
        Ok(Operators { list, weights })
    }

    /// Takes the operators of one arity out of the run's; none where it has none.
    pub(crate) fn of_arity(arity: usize, from: &mut Vec<WeightedOperator>) -> Result<Option<Self>> {
        let (list, others): (Vec<_>, Vec<_>) =
            std::mem::take(from).into_iter().partition(|weighted| weighted.operator.arity() == arity);
        *from = others;
        if list.is_empty() { Ok(None) } else { Self::new(list).map(Some) }
    }

    /// Takes the operators of one arity out of the run's; there must be one.
    pub(crate) fn take(strategy: &str, arity: usize, from: &mut Vec<WeightedOperator>) -> Result<Self> {
        Self::of_arity(arity, from)?.ok_or_else(|| {
            Error::config(match arity {
                1 => format!(
                    "{strategy} makes children by mutation: add an operator of one parent to `operators:`, such as \
                     gevonas/operation-mutation"
                ),
                _ => format!(
                    "{strategy} makes children of {arity} parents: add such an operator to `operators:`, such as \
                     gevonas/uniform-crossover"
                ),
            })
        })
    }

    /// One of them, as likely as its weight says.
    pub(crate) fn draw(&self, generator: &mut impl Rng) -> &WeightedOperator {
        &self.list[self.weights.sample(generator)]
    }

    /// A child of parents that `parent` picks, inside the region.
    pub(crate) fn child<R: Rng>(
        &self,
        region: &Region,
        generator: &mut R,
        mut parent: impl FnMut(&mut R) -> Genome,
    ) -> Result<(Genome, Origin)> {
        let weighted = self.draw(generator);
        let parents: Vec<Genome> = (0..weighted.operator.arity()).map(|_| parent(generator)).collect();
        let child = weighted.child(&parents, region, Seed(generator.random()))?;
        Ok((child, Origin { by: weighted.name.clone(), parents }))
    }
}

/// Says which operators of the run a strategy has no use for.
pub(crate) fn not_used(strategy: &str, operators: &[WeightedOperator]) {
    for weighted in operators {
        tracing::info!("{strategy} has no use for {}", weighted.name);
    }
}
