//! Objectives and limits: what a search wants.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Network, Region, Result, network::Cost};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// More is better.
    Maximise,
    /// Less is better.
    Minimise,
}

impl Goal {
    /// Whether `value` is better than `other`.
    pub fn better(self, value: f64, other: f64) -> bool {
        match self {
            Goal::Maximise => value > other,
            Goal::Minimise => value < other,
        }
    }
}

/// Something that an estimator measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Its name in run files.
    pub name: String,
    /// The direction that is usually wanted.
    pub goal: Goal,
    /// Its unit; empty for a share from 0 to 1 or a plain number.
    #[serde(default)]
    pub unit: String,
}

/// What a run file wants of one quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// `params`, `flops`, or something that the estimator measures.
    pub name: String,
    /// The direction to go; without it the quantity is only limited.
    #[serde(default)]
    pub goal: Option<Goal>,
    /// The largest value allowed.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The smallest value allowed.
    #[serde(default)]
    pub at_least: Option<f64>,
}

/// What an estimator calls the seconds that measuring a network would have cost, where it knows
/// them from a table.
pub const SIMULATED_SECONDS: &str = "seconds";

/// Quantities that the host computes from the network description.
pub const COMPUTED: [&str; 2] = ["params", "flops"];

/// What a quantity is called that says how many milliseconds a batch takes on a device. The host
/// computes it where a run file names a profile of the device; without one an estimator may
/// measure it.
pub const LATENCY: &str = "latency";

impl Objective {
    /// How far a value lies outside the limits, as a share of the limit; 0 inside.
    pub fn violation(&self, value: f64) -> f64 {
        let above = self.at_most.map_or(0.0, |limit| (value - limit) / limit.abs().max(f64::MIN_POSITIVE));
        let below = self.at_least.map_or(0.0, |limit| (limit - value) / limit.abs().max(f64::MIN_POSITIVE));
        above.max(below).max(0.0)
    }

    /// The value where it follows from the network description alone.
    pub fn computed(&self, cost: Cost) -> Option<f64> {
        match self.name.as_str() {
            "params" => Some(cost.params as f64),
            "flops" => Some(cost.flops as f64),
            LATENCY => cost.nanoseconds.map(|nanoseconds| nanoseconds as f64 / 1e6),
            _ => None,
        }
    }
}

/// All that a run wants; values of an evaluation stand in this order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Objectives(pub Vec<Objective>);

impl Objectives {
    /// The objectives with a direction, and their index among all.
    pub fn goals(&self) -> impl Iterator<Item = (usize, Goal)> {
        self.0.iter().enumerate().filter_map(|(index, objective)| Some((index, objective.goal?)))
    }

    /// The one objective with a direction, for a strategy that follows one.
    ///
    /// # Errors
    ///
    /// A run with several.
    pub fn only_goal(&self, strategy: &str) -> Result<(usize, Goal)> {
        let goals: Vec<_> = self.goals().collect();
        match goals[..] {
            [goal] => Ok(goal),
            _ => Err(Error::config(format!(
                "{strategy} follows one objective, the run has {}: give the others limits (at_most, at_least) instead",
                goals.len()
            ))),
        }
    }

    /// Checks that some network of the region `first` keeps each upper limit on costs, and some
    /// network of the region `last` each lower one.
    ///
    /// # Errors
    ///
    /// The limit that no network can keep.
    pub fn check_limits(&self, network: &Network, first: &Region, last: &Region) -> Result<()> {
        let (least, _) = network.cost_range(first);
        let (_, most) = network.cost_range(last);
        let unmet = |name: &str, side: &str, limit: f64, extreme: &str, value: f64| {
            Err(Error::config(format!(
                "no network can keep {name} {side} {limit}: the {extreme} one to search has {value}"
            )))
        };
        for objective in &self.0 {
            let name = &objective.name;
            if let (Some(limit), Some(least)) = (objective.at_most, objective.computed(least))
                && least > limit
            {
                return unmet(name, "at most", limit, "smallest", least);
            }
            if let (Some(limit), Some(most)) = (objective.at_least, objective.computed(most))
                && most < limit
            {
                return unmet(name, "at least", limit, "largest", most);
            }
        }
        Ok(())
    }

    /// Whether a network of this cost keeps the limits that follow from its description alone.
    pub fn allows(&self, cost: Cost) -> bool {
        self.0.iter().all(|objective| objective.computed(cost).is_none_or(|value| objective.violation(value) == 0.0))
    }

    /// The sum of all violations of an evaluation's values.
    pub fn violation(&self, values: &[f64]) -> f64 {
        self.0.iter().zip(values).map(|(objective, value)| objective.violation(*value)).sum()
    }

    /// The order of two evaluations by the one objective at `goal`, the better first.
    pub fn compare(&self, goal: (usize, Goal), values: &[f64], others: &[f64]) -> Ordering {
        if self.better(goal, values, others) {
            Ordering::Less
        } else if self.better(goal, others, values) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    /// Whether one evaluation is better than another, by the one objective at `goal`:
    /// less violation first (Deb 2000), then the value. NaN is never better.
    pub fn better(&self, goal: (usize, Goal), values: &[f64], others: &[f64]) -> bool {
        let (violation, other) = (self.violation(values), self.violation(others));
        if violation != other {
            return violation < other;
        }
        let (index, direction) = goal;
        direction.better(values[index], others[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objectives() -> Objectives {
        serde_json::from_value(serde_json::json!([
            {"name": "accuracy", "goal": "maximise"},
            {"name": "params", "at_most": 100.0},
        ]))
        .expect("the document is whole")
    }

    #[test]
    fn a_network_inside_the_limits_beats_a_better_one_outside() {
        let objectives = objectives();
        let goal = objectives.goals().next().expect("accuracy has a direction");
        assert!(objectives.better(goal, &[0.5, 90.0], &[0.9, 110.0]));
        assert!(objectives.better(goal, &[0.5, 110.0], &[0.9, 120.0]));
        assert!(objectives.better(goal, &[0.9, 100.0], &[0.5, 10.0]));
        assert!(!objectives.better(goal, &[f64::NAN, 90.0], &[0.1, 90.0]));
    }

    #[test]
    fn limits_on_costs_need_no_evaluation() {
        assert!(objectives().allows(Cost::new(100, 9)));
        assert!(!objectives().allows(Cost::new(101, 9)));
    }
}
