//! An estimator that breaks one promise, as its configuration says. Its weights are one number.

use std::{path::Path, sync::Arc};

use super::bad::{Behaviour, component, drawn};
use crate::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SearchSpace, Seed, TrainPlan, TrainReport, host, state,
};

pub struct Formula {
    badly: String,
    space: Arc<dyn SearchSpace>,
    weights: u64,
}
component!(Formula, Behaviour, "formula");

impl BuildEstimator for Formula {
    fn build(config: Behaviour, space: Arc<dyn SearchSpace>, _: Option<Arc<dyn Dataset>>, _: &Context) -> Result<Self> {
        Ok(Formula { badly: config.badly, space, weights: 0 })
    }
}

impl Formula {
    fn number(&self, genome: &Genome, position: usize, seed: Seed) -> Outcome {
        if self.badly == "all-fail" {
            return Err("asked to fail".to_owned());
        }
        if self.badly != "takes-all" {
            self.space.network().validate(genome).map_err(|error| error.message)?;
        }
        let drawn = match self.badly.as_str() {
            "own-generator" => drawn(),
            "by-position" => position as u64,
            _ => seed.derive(&genome.to_string(), self.weights).0,
        };
        Ok(vec![if self.badly == "not-a-number" { f64::NAN } else { drawn as f64 }])
    }
}

impl Estimator for Formula {
    fn objectives(&self) -> Vec<Measured> {
        let name = if self.badly == "measures-params" { "params" } else { "accuracy" };
        vec![Measured { name: name.to_owned(), goal: Goal::Maximise, unit: String::new() }]
    }

    fn evaluate(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Outcome>> {
        if genomes.is_empty() && self.badly == "wants-one" {
            return Err(Error::failed("no genome"));
        }
        if host::is_cancelled() {
            return Err(if self.badly == "fails-when-stopped" { Error::failed("stopped") } else { Error::cancelled() });
        }
        let number = |(position, genome)| self.number(genome, position, seed);
        let mut outcomes: Vec<Outcome> = genomes.iter().enumerate().map(number).collect();
        if self.badly == "one-less" {
            outcomes.pop();
        }
        Ok(outcomes)
    }

    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        let before = self.weights;
        self.weights = match self.badly.as_str() {
            "own-training" => drawn(),
            _ => seed.derive(&format!("{:?}", plan.region), before).0,
        };
        if host::is_cancelled() {
            if self.badly != "half-trained" {
                self.weights = before;
            }
            return Err(Error::cancelled());
        }
        Ok(TrainReport { weights_changed: self.badly != "silent-training", ..TrainReport::default() })
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.weights)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let loaded = state::load(folder);
        self.weights = match self.badly.as_str() {
            "forgets" => return Ok(()),
            "any-state" => loaded.unwrap_or(0),
            "panics-at-damage" => loaded.expect("asked to panic"),
            _ => loaded?,
        };
        Ok(())
    }
}
