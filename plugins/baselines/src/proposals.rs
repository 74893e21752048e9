//! What the strategies here share: the region of complete networks, proposals that are new and
//! inside the limits.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Candidate, Context, Genome, Objectives, Origin, Region, Result, SearchSpace, Step, TrainPlan, rand::Rng,
    serde_json::Value, state,
};

/// How many networks are drawn for each that is wanted, before a batch stays smaller.
pub(crate) const TRIES_PER_PROPOSAL: usize = 50;

/// What a strategy is built over.
pub(crate) struct Setting {
    pub(crate) space: Arc<dyn SearchSpace>,
    pub(crate) region: Region,
    pub(crate) objectives: Objectives,
}

impl Setting {
    /// Checks that some network keeps every limit that follows from the description alone.
    pub(crate) fn new(space: Arc<dyn SearchSpace>, context: &Context) -> Result<Self> {
        let objectives = context.objectives.clone();
        let region = Region::complete(space.network());
        objectives.check_limits(space.network(), &region, &region)?;
        Ok(Setting { space, region, objectives })
    }

    /// Checks that the networks of a state that was loaded are of this space.
    pub(crate) fn check_loaded<'a>(&self, folder: &Path, networks: impl IntoIterator<Item = &'a Genome>) -> Result<()> {
        let check = |genome| self.space.network().validate(genome);
        networks.into_iter().try_for_each(check).map_err(|error| state::unreadable(folder, error.message))
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

/// Maps with genomes as keys in a state: JSON has texts alone, so pairs are written.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use pleach_sdk::{
        Genome,
        serde::{Deserialize, Deserializer, Serializer},
    };

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<Genome, Vec<f64>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Genome, Vec<f64>>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
