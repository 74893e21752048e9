use serde::Deserialize;

use super::*;

fn point(costs: &[f64]) -> Point {
    Point { violation: 0.0, costs: costs.to_vec() }
}

/// What `with_pymoo.py` wrote.
#[derive(Deserialize)]
struct Case {
    name: String,
    costs: Vec<Vec<f64>>,
    violations: Vec<f64>,
    fronts_inside_limits: Vec<Vec<usize>>,
    /// Of each of those fronts; nothing stands for infinity.
    crowding: Vec<Vec<Option<f64>>>,
    /// Half of the points.
    survivors: Vec<usize>,
    reference: Vec<f64>,
    hypervolume: f64,
}

impl Case {
    fn points(&self) -> Vec<Point> {
        let pairs = self.costs.iter().zip(&self.violations);
        pairs.map(|(costs, violation)| Point { violation: *violation, costs: costs.clone() }).collect()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("pymoo.json")).expect("with_pymoo.py wrote it")
}

fn is_close(one: f64, other: f64) -> bool {
    one == other || (one - other).abs() <= 1e-12 * one.abs().max(other.abs())
}

#[test]
fn fronts_are_those_of_pymoo() {
    for case in cases() {
        let fronts = fronts(&case.points());
        let inside = case.violations.iter().filter(|violation| **violation == 0.0).count();
        assert_eq!(fronts[..case.fronts_inside_limits.len()], case.fronts_inside_limits, "{}", case.name);
        // pymoo sorts those that break limits by how much they do.
        let outside: Vec<f64> =
            fronts[case.fronts_inside_limits.len()..].iter().flatten().map(|index| case.violations[*index]).collect();
        assert_eq!(outside.len(), case.costs.len() - inside, "{}", case.name);
        assert!(outside.is_sorted() && outside.iter().all(|violation| *violation > 0.0), "{}", case.name);
    }
}

#[test]
fn crowding_is_that_of_pymoo() {
    for case in cases() {
        let points = case.points();
        for (front, expected) in case.fronts_inside_limits.iter().zip(&case.crowding) {
            let members: Vec<&Point> = front.iter().map(|index| &points[*index]).collect();
            let expected: Vec<f64> = expected.iter().map(|one| one.unwrap_or(f64::INFINITY)).collect();
            let found = crowding(&members);
            let agree = found.iter().zip(&expected).all(|(one, other)| is_close(*one, *other));
            assert!(agree && found.len() == expected.len(), "{}: {found:?}, pymoo has {expected:?}", case.name);
        }
    }
}

#[test]
fn survivors_are_those_of_pymoo() {
    let mut decided = 0;
    for case in cases() {
        let points = case.points();
        let standings = standings(&points);
        // Which of equally crowded points survives is drawn in pymoo, so standings are compared.
        let sorted = |indices: &[usize]| {
            let mut sorted: Vec<Standing> = indices.iter().map(|index| standings[*index]).collect();
            sorted.sort_by(Standing::compare);
            sorted
        };
        let count = case.survivors.len();
        let all = survivors(&points, points.len());
        assert_eq!(sorted(&all[..count]), sorted(&case.survivors), "{}", case.name);
        if standings[all[count - 1]].compare(&standings[all[count]]).is_ne() {
            let mut found = survivors(&points, count);
            found.sort_unstable();
            assert_eq!(found, case.survivors, "{}", case.name);
            decided += 1;
        }
    }
    assert!(decided >= 6, "{decided}");
}

#[test]
fn hypervolume_is_that_of_pymoo() {
    for case in cases() {
        let found = hypervolume(&case.points(), &case.reference);
        assert!(is_close(found, case.hypervolume), "{}: {found}, pymoo has {}", case.name, case.hypervolume);
        assert!(found > 0.0, "{}", case.name);
    }
}

#[test]
fn hypervolume_is_that_of_boxes_counted_by_hand() {
    let staircase = [point(&[1.0, 3.0]), point(&[2.0, 2.0]), point(&[3.0, 1.0]), point(&[3.0, 3.0])];
    assert_eq!(hypervolume(&staircase, &[4.0, 4.0]), 6.0);
    assert_eq!(hypervolume(&staircase, &[2.0, 4.0]), 1.0, "points at the reference add nothing");
    assert_eq!(hypervolume(&[], &[4.0, 4.0]), 0.0);
    let cubes = [point(&[0.0, 0.0, 1.0]), point(&[1.0, 1.0, 0.0])];
    assert_eq!(hypervolume(&cubes, &[2.0, 2.0, 2.0]), 5.0);
    let outside = Point { violation: 0.5, costs: vec![0.0, 0.0] };
    assert_eq!(hypervolume(&[outside, point(&[1.0, f64::NAN])], &[4.0, 4.0]), 0.0);
}

#[test]
fn hypervolume_of_four_dimensions_is_that_of_unit_boxes_counted() {
    let mut generator = crate::Seed(4).generator();
    let mut draw = || Point {
        violation: 0.0,
        costs: (0..4).map(|_| f64::from(rand::Rng::random_range(&mut generator, 0..4_u8))).collect(),
    };
    let points: Vec<Point> = (0..12).map(|_| draw()).collect();
    let corner = |number: usize| -> Vec<f64> { (0..4).map(|digit| (number / 4_usize.pow(digit) % 4) as f64).collect() };
    let is_covered = |corner: &Vec<f64>| {
        points.iter().any(|point| point.costs.iter().zip(corner).all(|(cost, corner)| cost <= corner))
    };
    let counted = (0..256).filter(|number| is_covered(&corner(*number))).count();
    assert_eq!(hypervolume(&points, &[4.0; 4]), counted as f64);
}

#[test]
fn limits_come_before_costs_and_nan_dominates_nothing() {
    let outside = Point { violation: 0.1, costs: vec![0.0, 0.0] };
    assert!(point(&[9.0, 9.0]).dominates(&outside));
    assert!(!outside.dominates(&point(&[9.0, 9.0])));
    assert!(!point(&[1.0, 2.0]).dominates(&point(&[1.0, 2.0])));
    assert!(!point(&[f64::NAN, 0.0]).dominates(&point(&[1.0, 1.0])));
    assert!(!point(&[0.0, 2.0]).dominates(&point(&[1.0, 1.0])));
}

#[test]
fn objectives_become_costs() {
    let objectives: Objectives = serde_json::from_value(serde_json::json!([
        {"name": "accuracy", "goal": "maximise"},
        {"name": "flops", "goal": "minimise"},
        {"name": "params", "at_most": 100.0},
    ]))
    .expect("the document is whole");
    assert_eq!(objectives.point(&[0.9, 5.0, 150.0]), Point { violation: 0.5, costs: vec![-0.9, 5.0] });
}

#[test]
fn crowding_is_that_of_neighbours_counted_by_hand() {
    let front = [[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]].map(|costs| point(&costs));
    assert_eq!(crowding(&front.each_ref()), [f64::INFINITY, 1.5, 1.25, f64::INFINITY]);
    assert_eq!(crowding(&[&front[0], &front[1]]), [f64::INFINITY; 2]);
    assert_eq!(crowding(&[&front[1]; 3]), [0.0; 3], "equal points say nothing of each other");
}
