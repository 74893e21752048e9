//! Spaces, genomes and regions: the language that every component speaks.
//!
//! A *space* is a list of slots, each with a list of choices. A *genome* picks one choice per
//! slot and always has full length. A *region* says, for each slot, which choices are allowed
//! now: growth widens it, pruning narrows it, and training, sampling, variation and evaluation
//! happen inside it.

use std::{any::Any, fmt, ops::Deref, sync::Arc};

use rand::{Rng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    network::Network,
};

/// A search space.
///
/// Called by every other component and from any thread, many times for each candidate.
/// It holds no state: the same call gives the same answer during a whole run.
pub trait SearchSpace: Send + Sync {
    /// The resolved network description: slots, choices, shapes, costs.
    fn network(&self) -> &Network;

    /// The one genome that stands for all that describe the same network as `genome`.
    ///
    /// The host uses it as the key under which a fitness is remembered, so equal networks are
    /// evaluated once. The default moves layers that pass their input through (`identity`,
    /// `absent`) to the end of their chain; see [`Network::canonical`].
    ///
    /// # Errors
    ///
    /// A genome that is not of this space; see [`Network::validate`].
    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        self.network().validate(genome)?;
        Ok(self.network().canonical(genome))
    }

    /// The component as it came across the boundary, where it did: it goes on as it came.
    #[doc(hidden)]
    fn crossed(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// A network: for each slot, the index of one choice in the slot's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Genome(pub Vec<u16>);

impl Deref for Genome {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        &self.0
    }
}

impl fmt::Display for Genome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (slot, choice) in self.0.iter().enumerate() {
            if slot > 0 {
                formatter.write_str("-")?;
            }
            write!(formatter, "{choice}")?;
        }
        Ok(())
    }
}

/// The choices that are allowed for each slot: ascending, without repetition, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u16>>", into = "Vec<Vec<u16>>")]
pub struct Region(Vec<Vec<u16>>);

impl Region {
    /// A region from the allowed choices of each slot; order and repetition do not matter.
    ///
    /// # Errors
    ///
    /// A slot without a choice.
    pub fn new(mut allowed: Vec<Vec<u16>>) -> Result<Self> {
        for (slot, choices) in allowed.iter_mut().enumerate() {
            choices.sort_unstable();
            choices.dedup();
            if choices.is_empty() {
                return Err(Error::failed(format!("a region allows no choice for slot {slot}")));
            }
        }
        Ok(Region(allowed))
    }

    /// The region that allows every choice of a space.
    pub fn full(network: &Network) -> Self {
        Region(network.slots().iter().map(|slot| (0..slot.choices.len() as u16).collect()).collect())
    }

    /// The region of complete networks: every choice but `absent`, where a slot has another.
    pub fn complete(network: &Network) -> Self {
        let of_slot = |slot: usize, choices: usize| {
            let absent = network.absent(slot).filter(|_| choices > 1);
            (0..choices as u16).filter(|choice| Some(*choice) != absent).collect()
        };
        Region(network.slots().iter().enumerate().map(|(slot, known)| of_slot(slot, known.choices.len())).collect())
    }

    /// The smallest region that holds all of `genomes`: what pruning by elites leaves.
    ///
    /// # Errors
    ///
    /// No genome, or genomes of different lengths.
    pub fn union_of<'a>(genomes: impl IntoIterator<Item = &'a Genome>) -> Result<Self> {
        let mut allowed: Vec<Vec<u16>> = Vec::new();
        for genome in genomes {
            if allowed.is_empty() {
                allowed.resize(genome.len(), Vec::new());
            }
            if genome.len() != allowed.len() {
                return Err(Error::failed("genomes of different lengths have no common region"));
            }
            for (choices, choice) in allowed.iter_mut().zip(genome.iter()) {
                choices.push(*choice);
            }
        }
        if allowed.is_empty() {
            return Err(Error::failed("no genome, so no region"));
        }
        Region::new(allowed)
    }

    /// The allowed choices of every slot.
    pub fn slots(&self) -> &[Vec<u16>] {
        &self.0
    }

    /// The allowed choices of one slot.
    pub fn allowed(&self, slot: usize) -> &[u16] {
        &self.0[slot]
    }

    /// Whether a choice is allowed for a slot.
    pub fn allows(&self, slot: usize, choice: u16) -> bool {
        self.0.get(slot).is_some_and(|choices| choices.binary_search(&choice).is_ok())
    }

    /// Whether every gene is allowed.
    pub fn contains(&self, genome: &Genome) -> bool {
        genome.len() == self.0.len() && genome.iter().enumerate().all(|(slot, choice)| self.allows(slot, *choice))
    }

    /// The same region with another list of choices for one slot.
    ///
    /// # Errors
    ///
    /// No choice, or no such slot.
    pub fn with_slot(&self, slot: usize, choices: Vec<u16>) -> Result<Self> {
        let mut allowed = self.0.clone();
        *allowed.get_mut(slot).ok_or_else(|| Error::failed(format!("a region has no slot {slot}")))? = choices;
        Region::new(allowed)
    }

    /// How many genomes it holds; a float, for spaces are large.
    pub fn size(&self) -> f64 {
        self.0.iter().map(|choices| choices.len() as f64).product()
    }

    /// A genome drawn uniformly.
    pub fn sample(&self, generator: &mut impl Rng) -> Genome {
        Genome((0..self.0.len()).map(|slot| self.sample_slot(slot, generator)).collect())
    }

    /// A choice drawn uniformly among those allowed for one slot.
    pub fn sample_slot(&self, slot: usize, generator: &mut impl Rng) -> u16 {
        *self.0[slot].choose(generator).expect("a region is never empty")
    }

    /// Whether it speaks of this space: as many slots, and only choices that exist.
    ///
    /// # Errors
    ///
    /// The first slot or choice that does not fit.
    pub fn validate(&self, network: &Network) -> Result<()> {
        if self.0.len() != network.slots().len() {
            return Err(Error::failed(format!(
                "a region has {} slots, the space has {}",
                self.0.len(),
                network.slots().len()
            )));
        }
        for (slot, choices) in self.0.iter().enumerate() {
            let known = network.slots()[slot].choices.len();
            if let Some(choice) = choices.iter().find(|choice| usize::from(**choice) >= known) {
                return Err(Error::failed(format!(
                    "a region allows choice {choice} for slot {slot}, which has {known} choices"
                )));
            }
        }
        Ok(())
    }
}

impl TryFrom<Vec<Vec<u16>>> for Region {
    type Error = Error;

    fn try_from(allowed: Vec<Vec<u16>>) -> Result<Self> {
        Region::new(allowed)
    }
}

impl From<Region> for Vec<Vec<u16>> {
    fn from(region: Region) -> Self {
        region.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn a_region_is_sorted_and_never_empty() {
        let region = Region::new(vec![vec![2, 0, 2], vec![1]]).expect("both slots have a choice");
        assert_eq!(region.slots(), [vec![0, 2], vec![1]]);
        assert_eq!(region.size(), 2.0);
        assert!(Region::new(vec![vec![]]).is_err());
        assert!(serde_json::from_str::<Region>("[[1],[]]").is_err());
    }

    #[test]
    fn the_union_of_genomes_holds_them_and_nothing_new() {
        let genomes = [Genome(vec![0, 1, 2]), Genome(vec![1, 1, 0])];
        let region = Region::union_of(&genomes).expect("two genomes");
        assert_eq!(region.slots(), [vec![0, 1], vec![1], vec![0, 2]]);
        assert!(genomes.iter().all(|genome| region.contains(genome)));
        assert!(!region.contains(&Genome(vec![0, 0, 2])));
        assert!(!region.contains(&Genome(vec![0, 1])));
        assert!(Region::union_of(&[]).is_err());
    }

    #[test]
    fn samples_are_inside_and_reach_everything() {
        let region = Region::new(vec![vec![0, 3], vec![1, 2]]).expect("both slots have choices");
        let mut generator = Seed(1).generator();
        let seen: std::collections::BTreeSet<_> = (0..100).map(|_| region.sample(&mut generator)).collect();
        assert!(seen.iter().all(|genome| region.contains(genome)));
        assert_eq!(seen.len(), 4);
    }
}
