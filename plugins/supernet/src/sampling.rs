//! Which paths a training step takes. Pure: no tensor, no weights.

use pleach_sdk::{
    Genome, Region,
    rand::{Rng, seq::SliceRandom},
};

use crate::config::Sampling;

/// The paths of one step, each inside the region.
pub(crate) fn paths(sampling: Sampling, region: &Region, generator: &mut impl Rng) -> Vec<Genome> {
    match sampling {
        Sampling::Uniform => vec![region.sample(generator)],
        Sampling::StrictlyFair => strictly_fair(region, generator),
    }
}

/// As many paths as the longest list of allowed choices; over them each slot takes each of its
/// allowed choices once, in random order, and fills up with random ones (Chu et al. 2021).
fn strictly_fair(region: &Region, generator: &mut impl Rng) -> Vec<Genome> {
    let count = region.slots().iter().map(Vec::len).max().unwrap_or(1);
    let mut paths = vec![Genome(Vec::with_capacity(region.slots().len())); count];
    for (slot, allowed) in region.slots().iter().enumerate() {
        let mut order = allowed.clone();
        while order.len() < count {
            order.push(region.sample_slot(slot, generator));
        }
        order.shuffle(generator);
        for (path, choice) in paths.iter_mut().zip(order) {
            path.0.push(choice);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_sdk::Seed;

    fn region() -> Region {
        Region::new(vec![vec![0, 1, 2, 4], vec![3], vec![1, 2]]).expect("no slot is empty")
    }

    #[test]
    fn a_strictly_fair_step_takes_every_allowed_choice() {
        for seed in 0..50 {
            let paths = paths(Sampling::StrictlyFair, &region(), &mut Seed(seed).generator());
            assert_eq!(paths.len(), 4);
            assert!(paths.iter().all(|path| region().contains(path)));
            for (slot, allowed) in region().slots().iter().enumerate() {
                let count = |choice: u16| paths.iter().filter(|path| path[slot] == choice).count();
                assert!(allowed.iter().all(|choice| count(*choice) >= 1), "slot {slot}");
                if allowed.len() == 4 {
                    assert!(allowed.iter().all(|choice| count(*choice) == 1));
                }
            }
        }
    }

    #[test]
    fn choices_of_different_slots_meet_in_every_combination() {
        let mut generator = Seed(3).generator();
        let mut met = std::collections::BTreeSet::new();
        for _ in 0..200 {
            for path in paths(Sampling::StrictlyFair, &region(), &mut generator) {
                met.insert((path[0], path[2]));
            }
        }
        assert_eq!(met.len(), 8);
    }

    #[test]
    fn uniform_sampling_is_uniform() {
        let mut generator = Seed(5).generator();
        let mut counts = [0; 5];
        for _ in 0..4000 {
            let step = paths(Sampling::Uniform, &region(), &mut generator);
            assert_eq!(step.len(), 1);
            counts[usize::from(step[0][0])] += 1;
        }
        // Four standard deviations of a binomial with 4000 draws and 1 in 4.
        assert!([0, 1, 2, 4].iter().all(|choice| (counts[*choice] - 1000_i32).abs() < 110), "{counts:?}");
    }
}
