//! Which networks need no more images: those that cannot come among the best any more. Pure.

/// How many standard errors the accuracy on all images may be away from that on some.
const ERRORS: f64 = 3.0;

/// The least and the most that the accuracy on `total` images may be, after so many right answers
/// on `seen` of them that were drawn at random.
fn bounds(correct: u64, seen: u64, total: u64) -> (f64, f64) {
    if seen >= total {
        let accuracy = correct as f64 / seen as f64;
        return (accuracy, accuracy);
    }
    // Four answers more, half of them right, keep the error from vanishing where all were right
    // (Agresti and Coull 1998); and what is drawn cannot be drawn again.
    let count = seen as f64 + 4.0;
    let share = (correct as f64 + 2.0) / count;
    let left = 1.0 - seen as f64 / total as f64;
    let error = ERRORS * (share * (1.0 - share) / count * left).sqrt();
    (share - error, share + error)
}

/// Of networks with so many right answers on `seen` of `total` images, those that may be among the
/// `keep` best on all of them.
pub(crate) fn survivors(keep: usize, correct: &[u64], seen: u64, total: u64) -> Vec<bool> {
    let bounds: Vec<(f64, f64)> = correct.iter().map(|correct| bounds(*correct, seen, total)).collect();
    let mut lowest: Vec<f64> = bounds.iter().map(|(least, _)| *least).collect();
    lowest.sort_by(|one, other| other.total_cmp(one));
    match lowest.get(keep.max(1) - 1) {
        Some(bar) => bounds.iter().map(|(_, most)| most >= bar).collect(),
        None => vec![true; correct.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_sdk::{
        Seed,
        rand::{Rng, seq::SliceRandom},
    };

    #[test]
    fn who_is_far_behind_leaves_and_who_is_near_stays() {
        assert_eq!(survivors(1, &[90, 40, 85], 100, 1000), [true, false, true]);
        assert_eq!(survivors(2, &[90, 40, 85], 100, 1000), [true, false, true]);
        assert_eq!(survivors(3, &[90, 40, 85], 100, 1000), [true; 3]);
        assert_eq!(survivors(5, &[90, 40, 85], 100, 1000), [true; 3], "fewer networks than places");
        // When all images were seen there is nothing left to hope for, but for equals.
        assert_eq!(survivors(1, &[90, 89, 90], 100, 100), [true, false, true]);
        assert!(survivors(1, &[], 100, 1000).is_empty());
        assert_eq!(survivors(1, &[100, 100, 97], 100, 1000), [true; 3], "all right does not mean sure");
    }

    #[test]
    fn the_best_hardly_ever_leave() {
        let (networks, total, keep) = (30, 2000, 5);
        let (mut lost, mut measured, mut races) = (0, 0, 0);
        for seed in 0..20 {
            let mut generator = Seed(seed).generator();
            // Right answers, image by image, of networks like those of a generation.
            let mut answers: Vec<Vec<bool>> = Vec::new();
            for _ in 0..networks {
                let accuracy = generator.random_range(0.4..0.6);
                let right = (accuracy * total as f64) as usize;
                let mut answer: Vec<bool> = (0..total).map(|image| image < right).collect();
                answer.shuffle(&mut generator);
                answers.push(answer);
            }
            let right = |network: usize, images: usize| answers[network][..images].iter().filter(|it| **it).count();
            let mut left: Vec<usize> = (0..networks).collect();
            for images in (100..=total).step_by(100) {
                measured += left.len();
                races += networks;
                let correct: Vec<u64> = left.iter().map(|network| right(*network, images) as u64).collect();
                let stays = survivors(keep, &correct, images as u64, total as u64);
                left = left.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(network, _)| network).collect();
            }
            let mut best: Vec<usize> = (0..networks).collect();
            best.sort_by_key(|network| std::cmp::Reverse(right(*network, total)));
            lost += best[..keep].iter().filter(|network| !left.contains(network)).count();
        }
        assert!(lost <= 1, "{lost} of 100 elites were lost");
        assert!(measured * 4 < races * 3, "{measured} of {races} batches were measured");
    }
}
