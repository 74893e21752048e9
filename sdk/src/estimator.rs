//! Fitness estimators.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    objective::Measured,
    seed::Seed,
    space::{Genome, Region},
};

/// Measures how good networks are.
///
/// The host calls it from one thread. Its state is what training left, the weights; evaluating
/// leaves no trace in it, so the order of candidates does not matter.
pub trait Estimator: Send {
    /// What it measures; asked once, after construction.
    fn objectives(&self) -> Vec<Measured>;

    /// Measures genomes: for each, in order, one number per objective.
    ///
    /// A candidate that cannot be measured is `Err` with the reason *inside* the answer, and the
    /// search goes on. The same genome, weights and seed give the same numbers, whatever else
    /// is in the batch; [`crate::LATENCY`] alone may be a time that passed. Look at [`crate::host::is_cancelled`] between candidates.
    ///
    /// # Errors
    ///
    /// A failure that is not one candidate's: ends the run with exit code 3.
    fn evaluate(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Outcome>>;

    /// Trains shared weights on paths inside the plan's region.
    ///
    /// An estimator without weights keeps the default, which does nothing.
    ///
    /// # Errors
    ///
    /// Divergence and whatever else makes the weights useless: ends the run with exit code 3.
    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        let _ = (plan, seed);
        Ok(TrainReport::default())
    }

    /// Writes its state into the empty folder `folder`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn save(&self, folder: &Path) -> Result<()> {
        let _ = folder;
        Ok(())
    }

    /// Takes up the state that [`Estimator::save`] wrote.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged, or of another space.
    fn load(&mut self, folder: &Path) -> Result<()> {
        let _ = folder;
        Ok(())
    }
}

/// One candidate's numbers, one per objective of the estimator, or why there are none.
pub type Outcome = std::result::Result<Vec<f64>, String>;

/// What a strategy wants trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Where paths are drawn from.
    pub region: Region,
    /// How many times the training images are seen.
    pub epochs: f64,
    /// Counts the strategy's stages from 0.
    pub stage: u32,
    /// What the strategy says about the stage, for the journal: why the region is what it is.
    #[serde(default)]
    pub notes: serde_json::Value,
}

/// What training did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainReport {
    /// Whether weights changed: fitness known from before no longer counts.
    pub weights_changed: bool,
    /// Images that went through a network and back; a fair step over m paths counts m times.
    pub images: u64,
    /// Named numbers, such as the last epoch's mean loss.
    pub metrics: std::collections::BTreeMap<String, f64>,
}
