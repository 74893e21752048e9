//! A mutation that draws genes anew.

use std::sync::Arc;

use pleach_sdk::{
    BuildOperator, Component, Context, Genome, Operator, Region, Result, SearchSpace, Seed, config,
    export_plugin, rand::Rng,
};

config! {
    /// Draws genes anew.
    pub struct RedrawConfig {
        /// Genes that are drawn anew in each child.
        #[schemars(range(min = 1))]
        pub genes: usize = 1,
    }
}

/// Draws genes anew.
pub struct Redraw(RedrawConfig);

impl Component for Redraw {
    type Config = RedrawConfig;
    const NAME: &'static str = "redraw";
    const SUMMARY: &'static str = "a mutation that draws genes anew";

    fn example() -> RedrawConfig {
        RedrawConfig::default()
    }
}

impl BuildOperator for Redraw {
    fn build(config: RedrawConfig, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(Redraw(config))
    }
}

impl Operator for Redraw {
    fn arity(&self) -> usize {
        1
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let mut generator = seed.generator();
        // A parent need not lie in the region; the child must.
        let mut child = region.sample(&mut generator);
        for slot in 0..child.len() {
            if region.allows(slot, parents[0][slot]) {
                child.0[slot] = parents[0][slot];
            }
        }
        for _ in 0..self.0.genes {
            let slot = generator.random_range(0..child.len());
            child.0[slot] = region.sample_slot(slot, &mut generator);
        }
        Ok(child)
    }
}

export_plugin! {
    name: "{{name}}",
    summary: "a mutation that draws genes anew",
    operators: [Redraw],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, fixtures};

    use super::*;

    #[test]
    fn keeps_the_promises_of_an_operator() {
        conformance::operator::<Redraw>(&Default::default()).assert();
    }

    #[test]
    fn changes_one_gene_at_most() {
        let space = fixtures::chain();
        let region = Region::full(space.network());
        let operator = Redraw(RedrawConfig { genes: 1 });
        for number in 0..100 {
            let parent = region.sample(&mut Seed(number).generator());
            let child = operator.vary(&[parent.clone()], &region, Seed(number));
            let child = child.expect("a gene can be drawn");
            let changed = parent
                .iter()
                .zip(child.iter())
                .filter(|(one, other)| one != other);
            assert!(changed.count() <= 1, "{parent} became {child}");
        }
    }
}
