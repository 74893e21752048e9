//! Several objectives at once: dominance, fronts, crowding, hypervolume.
//!
//! Everything here speaks of [`Point`]s, in which less is better; [`Objectives::point`] makes them
//! from what was measured.

use std::cmp::Ordering;

use crate::{Goal, Objectives};

/// An evaluation as these tools see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// The sum of the violations of all limits; 0 inside.
    pub violation: f64,
    /// One number per objective with a direction, less being better.
    pub costs: Vec<f64>,
}

impl Point {
    /// Whether this point dominates another one by the rule of Deb et al. 2002 (section VI): less
    /// violation first; between equal violations no worse in any cost and better in one.
    /// Nothing that is NaN dominates.
    pub fn dominates(&self, other: &Point) -> bool {
        if self.violation != other.violation {
            return self.violation < other.violation;
        }
        self.costs.iter().zip(&other.costs).all(|(one, other)| one <= other)
            && self.costs.iter().zip(&other.costs).any(|(one, other)| one < other)
    }
}

impl Objectives {
    /// An evaluation's values as a point: what is to be maximised changes its sign.
    pub fn point(&self, values: &[f64]) -> Point {
        let cost = |(index, goal): (usize, Goal)| match goal {
            Goal::Maximise => -values[index],
            Goal::Minimise => values[index],
        };
        Point { violation: self.violation(values), costs: self.goals().map(cost).collect() }
    }
}

/// The fronts of points, the best first: the fast non-dominated sort of Deb et al. 2002 (section
/// III A). Each front has its points in their order.
pub fn fronts(points: &[Point]) -> Vec<Vec<usize>> {
    let mut dominated: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    let mut dominators = vec![0_usize; points.len()];
    for (one, point) in points.iter().enumerate() {
        for (other, second) in points.iter().enumerate().skip(one + 1) {
            let (better, worse) = match (point.dominates(second), second.dominates(point)) {
                (true, _) => (one, other),
                (_, true) => (other, one),
                _ => continue,
            };
            dominated[better].push(worse);
            dominators[worse] += 1;
        }
    }
    let mut fronts = Vec::new();
    let mut front: Vec<usize> = (0..points.len()).filter(|point| dominators[*point] == 0).collect();
    while !front.is_empty() {
        let mut next = Vec::new();
        for worse in front.iter().flat_map(|better| &dominated[*better]) {
            dominators[*worse] -= 1;
            if dominators[*worse] == 0 {
                next.push(*worse);
            }
        }
        next.sort_unstable();
        fronts.push(std::mem::replace(&mut front, next));
    }
    fronts
}

/// The crowding distance of each point of one front (Deb et al. 2002, section III B): the sum over
/// objectives of the distance between its neighbours, as a share of the front's extent.
///
/// The ends of an objective are infinitely far from others, all points of a front of one or two
/// too. An objective in which all are equal says nothing.
pub fn crowding(front: &[&Point]) -> Vec<f64> {
    if front.len() <= 2 {
        return vec![f64::INFINITY; front.len()];
    }
    let mut distances = vec![0.0; front.len()];
    for objective in 0..front[0].costs.len() {
        let cost = |index: usize| front[index].costs[objective];
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|one, other| cost(*one).total_cmp(&cost(*other)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let extent = cost(last) - cost(first);
        if extent == 0.0 {
            continue;
        }
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
        for neighbours in order.windows(3) {
            distances[neighbours[1]] += (cost(neighbours[2]) - cost(neighbours[0])) / extent;
        }
    }
    distances
}

/// Where a point stands among others: how many fronts are better, and its crowding in its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The front, from 0.
    pub rank: usize,
    /// The crowding distance in it.
    pub crowding: f64,
}

impl Standing {
    /// The crowded comparison of Deb et al. 2002: the better front first, and in one front the
    /// less crowded.
    pub fn compare(&self, other: &Standing) -> Ordering {
        self.rank.cmp(&other.rank).then(other.crowding.total_cmp(&self.crowding))
    }
}

/// The standing of each point.
pub fn standings(points: &[Point]) -> Vec<Standing> {
    let mut standings = vec![Standing { rank: 0, crowding: 0.0 }; points.len()];
    for (rank, front) in fronts(points).into_iter().enumerate() {
        let members: Vec<&Point> = front.iter().map(|index| &points[*index]).collect();
        for (index, crowding) in front.into_iter().zip(crowding(&members)) {
            standings[index] = Standing { rank, crowding };
        }
    }
    standings
}

/// The points that survive where `count` can (Deb et al. 2002, section III C), the best first:
/// whole fronts, and of the front that does not fit the least crowded; of equal ones the earlier.
pub fn survivors(points: &[Point], count: usize) -> Vec<usize> {
    let standings = standings(points);
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|one, other| standings[*one].compare(&standings[*other]));
    order.truncate(count);
    order
}

/// The volume that points dominate up to a reference point, exactly. A point that is not better
/// than the reference in every cost, or that breaks a limit, adds nothing.
///
/// Two dimensions are swept; each further one is cut into slices at the points, in which what a
/// point adds alone has one dimension less (after While et al. 2012, with its limit sets).
pub fn hypervolume(points: &[Point], reference: &[f64]) -> f64 {
    let inside = |point: &&Point| {
        point.violation == 0.0 && point.costs.iter().zip(reference).all(|(cost, reference)| cost < reference)
    };
    volume(points.iter().filter(inside).map(|point| point.costs.clone()).collect(), reference)
}

fn volume(mut points: Vec<Vec<f64>>, reference: &[f64]) -> f64 {
    let Some((end, others)) = reference.split_last() else { return 0.0 };
    let last = others.len();
    points.sort_by(|one, other| one[last].total_cmp(&other[last]));
    match last {
        0 => points.first().map_or(0.0, |best| end - best[0]),
        1 => {
            let mut sum = 0.0;
            let mut reached = others[0];
            for point in &points {
                if point[0] < reached {
                    sum += (reached - point[0]) * (end - point[1]);
                    reached = point[0];
                }
            }
            sum
        }
        _ => {
            let mut sum = 0.0;
            for (index, point) in points.iter().enumerate() {
                let limited = |before: &Vec<f64>| -> Vec<f64> {
                    before.iter().zip(point).take(last).map(|(one, other)| one.max(*other)).collect()
                };
                let shared = volume(not_dominated(points[..index].iter().map(limited).collect()), others);
                let whole: f64 = point.iter().zip(others).map(|(cost, reference)| reference - cost).product();
                sum += (whole - shared) * (end - point[last]);
            }
            sum
        }
    }
}

/// Points without those that another one covers: a volume stays what it is without them.
fn not_dominated(mut points: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    points.sort_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for point in points {
        if !kept.iter().any(|other| other.iter().zip(&point).all(|(one, other)| one <= other)) {
            kept.push(point);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
