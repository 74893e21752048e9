//! What networks take on a device, as a sum over their choices.

use serde::{Deserialize, Serialize};

use super::Network;
use crate::{
    description::Description,
    error::{Error, Result},
};

/// What networks of a space take on a device: all of them a part, and each choice what it adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Nanoseconds of what all networks have.
    pub fixed: u64,
    /// For each slot, the nanoseconds that each of its choices adds.
    pub slots: Vec<Vec<u64>>,
}

/// A network as a document: its description, and what the host knows beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// What the space says of itself.
    #[serde(flatten)]
    pub description: Description,
    /// What its networks take on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies: Option<Latencies>,
}

impl Network {
    /// The network of a document.
    ///
    /// # Errors
    ///
    /// What [`Network::new`] and [`Network::with_latencies`] say.
    pub fn of(document: Document) -> Result<Self> {
        let network = Network::new(document.description)?;
        match document.latencies {
            Some(latencies) => network.with_latencies(latencies),
            None => Ok(network),
        }
    }

    /// The document that [`Network::of`] makes an equal network of.
    pub fn document(&self) -> Document {
        Document { description: self.description.clone(), latencies: self.latencies.clone() }
    }

    /// The same networks, whose costs say what they take on a device.
    ///
    /// # Errors
    ///
    /// Latencies of other slots or choices, or of more than an hour.
    pub fn with_latencies(mut self, latencies: Latencies) -> Result<Self> {
        const HOUR: u64 = 3_600_000_000_000;
        let choices = |slots: &[Vec<u64>]| -> Vec<usize> { slots.iter().map(Vec::len).collect() };
        let known: Vec<usize> = self.slot_costs.iter().map(Vec::len).collect();
        if choices(&latencies.slots) != known {
            return Err(Error::failed(format!(
                "latencies of slots with {:?} choices, the space has slots with {known:?}",
                choices(&latencies.slots)
            )));
        }
        if let Some(long) = latencies.slots.iter().flatten().chain([&latencies.fixed]).find(|one| **one > HOUR) {
            return Err(Error::failed(format!("a latency of {long} ns is more than an hour")));
        }
        self.fixed_cost.nanoseconds = Some(latencies.fixed);
        for (cost, nanoseconds) in self.slot_costs.iter_mut().flatten().zip(latencies.slots.iter().flatten()) {
            cost.nanoseconds = Some(*nanoseconds);
        }
        self.latencies = Some(latencies);
        Ok(self)
    }

    /// What the networks take on a device, where that is known.
    pub fn latencies(&self) -> Option<&Latencies> {
        self.latencies.as_ref()
    }
}
