//! The front of a search with several objectives: its best trade-offs, and the volume that they
//! dominate up to a reference point.

use pleach_sdk::{
    Genome, Goal, Network, Objectives, Region,
    pareto::{Point, crowding, hypervolume},
};

use crate::{
    config::Config,
    result::{Found, OnFront, ParetoFront, Reference, ReferenceFrom},
};

/// The networks that no other one dominates, in the order in which they came; of equal ones the
/// first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Front(Vec<(Genome, Vec<f64>, Point)>);

impl Front {
    /// The front of networks and their values.
    pub(crate) fn of<'a>(networks: impl IntoIterator<Item = (&'a Genome, &'a [f64])>, objectives: &Objectives) -> Self {
        let mut front = Front::default();
        for (genome, values) in networks {
            front.add(genome, values, objectives);
        }
        front
    }

    /// Looks at one more network.
    pub(crate) fn add(&mut self, genome: &Genome, values: &[f64], objectives: &Objectives) {
        let point = objectives.point(values);
        if self.0.iter().any(|(_, _, other)| other.dominates(&point) || *other == point) {
            return;
        }
        self.0.retain(|(_, _, other)| !point.dominates(other));
        self.0.push((genome.clone(), values.to_vec(), point));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The volume between the front and the reference.
    pub(crate) fn hypervolume(&self, reference: &[Reference], objectives: &Objectives) -> f64 {
        let goals = objectives.goals().map(|(_, goal)| goal);
        let corner = reference.iter().zip(goals).map(|(one, goal)| match goal {
            Goal::Maximise => -one.value,
            Goal::Minimise => one.value,
        });
        let points: Vec<Point> = self.0.iter().map(|(_, _, point)| point.clone()).collect();
        hypervolume(&points, &corner.collect::<Vec<_>>())
    }

    /// What a result says of it; the networks by the first objective, the best first.
    pub(crate) fn described(&self, reference: &[Reference], network: &Network, objectives: &Objectives) -> ParetoFront {
        let points: Vec<&Point> = self.0.iter().map(|(_, _, point)| point).collect();
        let describe = |((genome, values, point), crowding): (&(Genome, Vec<f64>, Point), f64)| {
            let crowding = Some(crowding).filter(|crowding| crowding.is_finite());
            (point.costs[0], OnFront { found: Found::new(genome, values, network, objectives), crowding })
        };
        let mut networks: Vec<_> = self.0.iter().zip(crowding(&points)).map(describe).collect();
        networks.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        ParetoFront {
            hypervolume: self.hypervolume(reference, objectives),
            reference: reference.to_vec(),
            networks: networks.into_iter().map(|(_, network)| network).collect(),
        }
    }
}

/// The reference point: for each objective with a direction what the run file says, or its limit,
/// or the worst that the space has, or else the worst of `first`, the values of the first step.
/// None while that is needed and there are no values.
pub(crate) fn reference(
    config: &Config,
    network: &Network,
    objectives: &Objectives,
    first: &[&[f64]],
) -> Option<Vec<Reference>> {
    let (least, most) = network.cost_range(&Region::complete(network));
    let of_goal = |(index, goal): (usize, Goal)| {
        let objective = &objectives.0[index];
        let (limit, extreme) = match goal {
            Goal::Maximise => (objective.at_least, least),
            Goal::Minimise => (objective.at_most, most),
        };
        let worst = || {
            let values = first.iter().map(|values| values[index]);
            values.reduce(|worst, value| if goal.better(worst, value) { value } else { worst })
        };
        let (value, from) = config
            .reference(&objective.name)
            .map(|value| (value, ReferenceFrom::RunFile))
            .or_else(|| Some((limit?, ReferenceFrom::Limit)))
            .or_else(|| Some((objective.computed(extreme)?, ReferenceFrom::Space)))
            .or_else(|| Some((worst()?, ReferenceFrom::FirstStep)))?;
        Some(Reference { objective: objective.name.clone(), value, from })
    };
    objectives.goals().map(of_goal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objectives() -> Objectives {
        serde_json::from_value(serde_json::json!([
            {"name": "accuracy", "goal": "maximise"},
            {"name": "latency", "goal": "minimise", "at_most": 10.0},
        ]))
        .expect("the document is whole")
    }

    fn front(values: &[[f64; 2]]) -> Front {
        let genomes: Vec<Genome> = (0..values.len() as u16).map(|gene| Genome(vec![gene])).collect();
        Front::of(genomes.iter().zip(values.iter().map(<[f64; 2]>::as_slice)), &objectives())
    }

    fn genes(front: &Front) -> Vec<u16> {
        front.0.iter().map(|(genome, _, _)| genome[0]).collect()
    }

    #[test]
    fn the_front_keeps_trade_offs_and_the_first_of_equal_ones() {
        assert_eq!(genes(&front(&[[0.5, 5.0], [0.6, 6.0], [0.5, 5.0], [0.4, 5.5], [0.6, 4.0]])), [4]);
        assert_eq!(genes(&front(&[[0.5, 5.0], [0.6, 6.0], [0.5, 5.0]])), [0, 1]);
        assert_eq!(genes(&front(&[[0.9, 20.0], [0.8, 15.0], [0.1, 9.0]])), [2], "limits come first");
        assert_eq!(genes(&front(&[[0.9, 20.0], [0.8, 15.0]])), [1], "the least violation where all break them");
    }

    #[test]
    fn the_volume_is_that_up_to_the_reference() {
        let at =
            |objective: &str, value| Reference { objective: objective.to_owned(), value, from: ReferenceFrom::Limit };
        let reference = [at("accuracy", 0.0), at("latency", 10.0)];
        let volume = front(&[[0.5, 5.0], [0.75, 8.0]]).hypervolume(&reference, &objectives());
        assert_eq!(volume, 0.5 * 5.0 + 0.25 * 2.0);
        assert_eq!(front(&[[0.9, 20.0]]).hypervolume(&reference, &objectives()), 0.0, "it breaks the limit");
    }
}
