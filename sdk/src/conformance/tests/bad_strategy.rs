//! A strategy that breaks one promise, as its configuration says.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use super::bad::{Behaviour, component, drawn};
use crate::{
    Batch, BuildStrategy, Candidate, Component, Context, Error, Evaluation, Genome, Origin, Region, Result,
    SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, state,
};

pub struct Guess {
    badly: String,
    space: Arc<dyn SearchSpace>,
    operators: Vec<WeightedOperator>,
    /// Steps done, and the last networks.
    state: (u64, Vec<Genome>),
}
component!(Guess, Behaviour, "guess");

impl BuildStrategy for Guess {
    fn build(
        config: Behaviour,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        _: &Context,
    ) -> Result<Self> {
        Ok(Guess { badly: config.badly, space, operators, state: (0, Vec::new()) })
    }
}

impl Strategy for Guess {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let region = Region::complete(self.space.network());
        self.state.0 += 1;
        match self.state.0 {
            1 => {
                let epochs = if self.badly == "endless-epochs" { f64::INFINITY } else { 1.0 };
                return Ok(Step::Train(TrainPlan { region, epochs, stage: 0, notes: Value::Null }));
            }
            30 => return Ok(Step::Finished(Value::Null)),
            _ => {}
        }
        if self.badly == "wants-two-operators" && self.operators.len() < 2 {
            return Err(Error::failed("one operator is not enough"));
        }
        if self.badly == "wants-a-choice" && region.size() == 1.0 {
            return Err(Error::failed("there is nothing to choose"));
        }
        let mut generator = if self.badly == "own-generator" { Seed(drawn()) } else { seed }.generator();
        let mut genomes: Vec<Genome> = (0..4).map(|_| region.sample(&mut generator)).collect();
        match self.badly.as_str() {
            "outside" => genomes[0].0[0] = 99,
            "keeps-what-it-loads" => genomes.extend(self.state.1.pop()),
            _ => {}
        }
        self.state.1 = genomes.clone();
        let candidate = |genome| Candidate { genome, origin: Origin::new("random") };
        Ok(Step::Evaluate(Batch { candidates: genomes.into_iter().map(candidate).collect(), notes: Value::Null }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let values: Vec<&Vec<f64>> = evaluations.iter().filter_map(|told| told.outcome.as_ref().ok()).collect();
        let is_equal = values.len() > 1 && values.iter().all(|other| *other == values[0]);
        let complaint = match self.badly.as_str() {
            "wants-numbers" => values.len() < evaluations.len(),
            // Four times the same network is not what is meant.
            "wants-a-best" => is_equal,
            "wants-one-number" => values.iter().any(|numbers| numbers.len() > 1),
            _ => false,
        };
        if complaint { Err(Error::failed("not what was wanted")) } else { Ok(()) }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = state::load(folder);
        match self.badly.as_str() {
            "forgets" => return Ok(()),
            "any-state" => self.state = loaded.unwrap_or_default(),
            _ => self.state = loaded?,
        }
        Ok(())
    }
}
