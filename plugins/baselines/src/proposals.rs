//! What the strategies here share: the region of complete networks, proposals that are new and
//! inside the limits, and a state in a file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Candidate, Context, Error, Genome, Goal, Objectives, Origin, Region, Result, SearchSpace, Step, TrainPlan,
    rand::Rng,
    serde::{Serialize, de::DeserializeOwned},
    serde_json::{self, Value},
};

/// How many networks are drawn for each that is wanted, before a batch stays smaller.
const TRIES_PER_PROPOSAL: usize = 50;

const STATE: &str = "state.json";

/// What a strategy is built over.
pub(crate) struct Setting {
    pub(crate) space: Arc<dyn SearchSpace>,
    pub(crate) region: Region,
    pub(crate) objectives: Objectives,
    pub(crate) goal: (usize, Goal),
}

impl Setting {
    /// Checks that there is one objective to follow and that some network keeps every limit that
    /// follows from the description alone.
    pub(crate) fn new(strategy: &str, space: Arc<dyn SearchSpace>, context: &Context) -> Result<Self> {
        let objectives = context.objectives.clone();
        let goals: Vec<_> = objectives.goals().collect();
        let [goal] = goals[..] else {
            return Err(Error::config(format!(
                "{strategy} follows one objective, the run has {}: give the others limits (at_most, at_least) instead",
                goals.len()
            )));
        };
        let region = Region::complete(space.network());
        let (least, most) = space.network().cost_range(&region);
        for objective in &objectives.0 {
            let unmet = |limit: Option<f64>, cost, is_unmet: fn(f64, f64) -> bool| {
                let (limit, cost) = (limit?, objective.computed(cost)?);
                is_unmet(cost, limit).then_some((limit, cost))
            };
            let upper = unmet(objective.at_most, least, |least, limit| least > limit);
            let lower = unmet(objective.at_least, most, |most, limit| most < limit);
            if let Some((limit, cost)) = upper.or(lower) {
                return Err(Error::config(format!(
                    "no network can keep the limit {limit} of {}: the nearest complete one has {cost}",
                    objective.name
                )));
            }
        }
        Ok(Setting { space, region, objectives, goal })
    }

    /// The one training before the search.
    pub(crate) fn training(&self, epochs: f64) -> Step {
        Step::Train(TrainPlan { region: self.region.clone(), epochs, stage: 0, notes: Value::Null })
    }

    /// A new network inside the limits, made by `make`; `None` if tries run out.
    pub(crate) fn propose<R: Rng>(
        &self,
        known: &mut BTreeSet<Genome>,
        generator: &mut R,
        mut make: impl FnMut(&mut R) -> Result<(Genome, Origin)>,
    ) -> Result<Option<Candidate>> {
        for _ in 0..TRIES_PER_PROPOSAL {
            let (genome, origin) = make(generator)?;
            let genome = self.space.network().aligned(&genome, &self.region);
            let is_allowed = self.objectives.allows(self.space.network().cost(&genome));
            if is_allowed && known.insert(self.space.canonical(&genome)?) {
                return Ok(Some(Candidate { genome, origin }));
            }
        }
        Ok(None)
    }

    /// A random complete network.
    pub(crate) fn random(&self, generator: &mut impl Rng) -> Result<(Genome, Origin)> {
        Ok((self.region.sample(generator), Origin::new("random")))
    }
}

/// Writes a strategy's state.
pub(crate) fn save(folder: &Path, state: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string(state).map_err(|error| Error::failed(format!("failed to write the state: {error}")))?;
    std::fs::write(folder.join(STATE), text).map_err(|error| Error::failed(format!("failed to write {STATE}: {error}")))
}

/// Reads what `save` wrote.
pub(crate) fn load<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(STATE);
    let unreadable =
        |error: &dyn std::fmt::Display| Error::failed(format!("failed to read {}: {error}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(&error))
}
