//! Search strategies.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{error::Result, estimator::TrainPlan, seed::Seed, space::Genome};

/// Decides what to train and what to evaluate.
///
/// The host owns the loop: it calls [`Strategy::next`], does what the step says, and after an
/// [`Step::Evaluate`] calls [`Strategy::tell`] once. Both come from one thread. The state is
/// population and region; randomness comes from the seed of each call alone.
pub trait Strategy: Send {
    /// What to do next.
    ///
    /// # Errors
    ///
    /// End the run with exit code 3.
    fn next(&mut self, seed: Seed) -> Result<Step>;

    /// What became of the candidates of the last [`Step::Evaluate`]: all of them, in its order.
    ///
    /// # Errors
    ///
    /// End the run with exit code 3. A failed candidate is data, not an error.
    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()>;

    /// Writes its state into the empty folder `folder`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Takes up the state that [`Strategy::save`] wrote.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged, or of another space.
    fn load(&mut self, folder: &Path) -> Result<()>;
}

/// What a strategy asks of the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Train the estimator's weights.
    Train(TrainPlan),
    /// Evaluate candidates. None is no error, and is told back as none.
    Evaluate(Batch),
    /// The search is over; the notes go to the journal.
    Finished(serde_json::Value),
}

/// Candidates to evaluate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The candidates.
    pub candidates: Vec<Candidate>,
    /// What the strategy says about the batch, for the journal, such as stage and generation.
    pub notes: serde_json::Value,
}

/// A network that a strategy proposes.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The network.
    pub genome: Genome,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a candidate comes from: what genealogies are drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// An operator as `plugin/component`, or `random`, `immigrant`, `elite`, `grown`.
    pub by: String,
    /// The genomes it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Genome>,
}

impl Origin {
    /// An origin without parents.
    pub fn new(by: impl Into<String>) -> Self {
        Origin { by: by.into(), parents: Vec::new() }
    }
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The candidate as it was proposed.
    pub genome: Genome,
    /// One number per objective of the *run* (see [`crate::Context::objectives`]), in its order,
    /// or why there are none.
    pub outcome: std::result::Result<Vec<f64>, String>,
}
