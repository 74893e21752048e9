//! What the host itself remembers during a search: the part of a checkpoint that is not a
//! component's.

use std::collections::{HashMap, hash_map::Entry};

use pleach_sdk::{Genome, Goal, Objectives, Region};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::result::{Ending, Reference, Stage, Times};

/// Counts, stages, and what every network was measured at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    /// Steps that were done.
    pub(crate) step: u64,
    /// Distinct networks that the estimator was asked for.
    pub(crate) evaluations: u64,
    /// Candidates whose fitness was known already.
    pub(crate) known: u64,
    /// Evaluations that failed.
    pub(crate) failed: u64,
    /// With the weights as they are.
    pub(crate) current: Measurements,
    /// Before the last training: a search that ends right after it has only these.
    pub(crate) previous: Measurements,
    pub(crate) stages: Vec<Stage>,
    pub(crate) final_region: Option<Region>,
    /// Where a simulated clock stands; 0 without one.
    #[serde(default)]
    pub(crate) simulated_seconds: f64,
    /// Up to where the hypervolume of several objectives is counted; none before the first values.
    #[serde(default)]
    pub(crate) reference: Option<Vec<Reference>>,
    /// Why the strategy takes no more calls.
    pub(crate) ended: Option<Ending>,
    /// Where the time went until now.
    pub(crate) times: Times,
    /// What somebody who looks on has seen.
    pub(crate) observed: Value,
}

impl Books {
    /// The weights have changed: nothing measured before compares with what comes.
    pub(crate) fn weights_changed(&mut self) {
        let current = std::mem::take(&mut self.current);
        if !current.list.is_empty() {
            self.previous = current;
        }
    }

    /// The measurements that name a winner.
    pub(crate) fn last_measurements(&self) -> &Measurements {
        if self.current.list.is_empty() { &self.previous } else { &self.current }
    }

    /// Why the first network that failed did so.
    pub(crate) fn first_failure(&self) -> Option<&str> {
        self.current.list.iter().chain(&self.previous.list).find_map(|measured| match &measured.outcome {
            Outcome::Failed(reason) => Some(reason.as_str()),
            Outcome::Values(_) => None,
        })
    }
}

/// A distinct network and what it was measured at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The form that equal networks share.
    pub(crate) key: Genome,
    pub(crate) genome: Genome,
    pub(crate) outcome: Outcome,
    /// What it took on a simulated clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
}

/// One number per objective of the run, or the reason why there are none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Values(Vec<f64>),
    Failed(String),
}

impl Outcome {
    /// The values, or the reason.
    pub(crate) fn as_ref(&self) -> std::result::Result<&[f64], &str> {
        match self {
            Outcome::Values(values) => Ok(values),
            Outcome::Failed(reason) => Err(reason),
        }
    }
}

/// Networks measured with the same weights, in the order in which they were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measurements {
    list: Vec<Measured>,
    by_key: HashMap<Genome, usize>,
    /// The best of the first networks, as many as were looked at.
    best: Option<usize>,
    looked_at: usize,
}

impl Measurements {
    pub(crate) fn get(&self, key: &Genome) -> Option<&Measured> {
        self.by_key.get(key).map(|index| &self.list[*index])
    }

    /// Adds a network, unless its key is there.
    pub(crate) fn add(&mut self, measured: Measured) {
        if let Entry::Vacant(place) = self.by_key.entry(measured.key.clone()) {
            place.insert(self.list.len());
            self.list.push(measured);
        }
    }

    /// Networks with values, in the order in which they were measured.
    pub(crate) fn with_values(&self) -> impl Iterator<Item = (&Genome, &[f64])> {
        self.list.iter().filter_map(|one| match &one.outcome {
            Outcome::Values(values) => Some((&one.genome, values.as_slice())),
            Outcome::Failed(_) => None,
        })
    }

    /// The best networks with values, the best first; of equal ones the earlier.
    pub(crate) fn ranked(&self, objectives: &Objectives, goal: (usize, Goal), count: usize) -> Vec<(&Genome, &[f64])> {
        let mut ranked: Vec<_> = self.with_values().enumerate().collect();
        let order = |(one, (_, left)): &(usize, (_, &[f64])), (other, (_, right)): &(usize, (_, &[f64]))| {
            objectives.compare(goal, left, right).then(one.cmp(other))
        };
        // Of a search on a table there are thousands, of which a handful is wanted.
        if count < ranked.len() {
            ranked.select_nth_unstable_by(count, order);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by(order);
        ranked.into_iter().map(|(_, network)| network).collect()
    }

    /// The best network.
    pub(crate) fn best(&mut self, objectives: &Objectives, goal: (usize, Goal)) -> Option<(&Genome, &[f64])> {
        for (index, measured) in self.list.iter().enumerate().skip(self.looked_at) {
            let Outcome::Values(values) = &measured.outcome else { continue };
            let best = self.best.and_then(|best| self.list[best].outcome.as_ref().ok());
            if best.is_none_or(|best| objectives.better(goal, values, best)) {
                self.best = Some(index);
            }
        }
        self.looked_at = self.list.len();
        let best = &self.list[self.best?];
        Some((&best.genome, best.outcome.as_ref().ok()?))
    }
}

impl Serialize for Measurements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Measurements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut measurements = Measurements::default();
        for measured in Vec::<Measured>::deserialize(deserializer)? {
            measurements.add(measured);
        }
        Ok(measurements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(gene: u16, outcome: Outcome) -> Measured {
        let genome = Genome(vec![gene]);
        Measured { key: genome.clone(), genome, outcome, seconds: None }
    }

    fn books() -> Books {
        let mut books = Books::default();
        books.current.add(measured(0, Outcome::Failed("too large".to_owned())));
        for (gene, value) in [(1, 0.5), (2, 0.75), (3, 0.75)] {
            books.current.add(measured(gene, Outcome::Values(vec![value])));
        }
        books
    }

    #[test]
    fn the_first_of_equal_networks_is_the_best_and_the_first_measurement_counts() {
        let mut books = books();
        books.current.add(measured(1, Outcome::Values(vec![0.9])));
        let objectives: Objectives =
            serde_json::from_str(r#"[{"name":"accuracy","goal":"maximise"}]"#).expect("the document is whole");
        let goal = objectives.only_goal("a test").expect("there is one");
        for count in 0..5 {
            let ranked = books.current.ranked(&objectives, goal, count);
            let ranked: Vec<u16> = ranked.iter().map(|(genome, _)| genome[0]).collect();
            assert_eq!(ranked, [2, 3, 1][..count.min(3)]);
        }
        assert_eq!(books.current.best(&objectives, goal), Some((&Genome(vec![2]), [0.75].as_slice())));
        assert_eq!(books.first_failure(), Some("too large"));
    }

    #[test]
    fn a_checkpoint_keeps_everything() {
        let text = serde_json::to_string(&books()).expect("books are JSON");
        let read: Books = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(serde_json::to_string(&read).expect("books are JSON"), text);
        let known = read.current.get(&Genome(vec![2])).expect("it was measured");
        assert!(matches!(&known.outcome, Outcome::Values(values) if values == &[0.75]));
    }

    #[test]
    fn measurements_of_old_weights_name_the_winner_only_while_there_are_no_others() {
        let mut books = books();
        books.weights_changed();
        assert!(books.last_measurements().get(&Genome(vec![1])).is_some());
        books.weights_changed();
        assert!(books.last_measurements().get(&Genome(vec![1])).is_some(), "two trainings in a row lose nothing");
        books.current.add(measured(4, Outcome::Values(vec![0.1])));
        assert!(books.last_measurements().get(&Genome(vec![1])).is_none());
    }
}
