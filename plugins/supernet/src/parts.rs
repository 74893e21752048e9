//! Which images of the training split are used for what.

use pleach_sdk::{Error, Result, Seed, rand::seq::SliceRandom};

/// Which images of the training split are used for what. The test split is never touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// To train with.
    pub(crate) training: Vec<u64>,
    /// To measure candidates with: never trained on.
    pub(crate) evaluation: Vec<u64>,
    /// To take batch-norm statistics from: the first of `training`.
    pub(crate) recalibration: Vec<u64>,
}

/// How many images a configuration asks for; the names are those of its keys.
pub(crate) struct Sizes {
    /// To measure with, taken out first.
    pub(crate) held_out: u64,
    /// To train with; 0 for all that are left.
    pub(crate) train_images: u64,
    /// Of those held out; 0 for all.
    pub(crate) evaluate_images: u64,
    /// Of those to train with; 0 for none.
    pub(crate) recalibration_images: u64,
    /// In a batch of training.
    pub(crate) batch: u32,
}

impl Parts {
    /// Shuffles the training split by the seed and cuts it.
    pub(crate) fn new(sizes: &Sizes, images: u64, seed: Seed) -> Result<Self> {
        let too_many = |field: &str, asked: u64, there: u64| {
            Error::config(format!("{field} asks for {asked} images, there are {there}")).at(format!("/{field}"))
        };
        if sizes.held_out >= images {
            return Err(too_many("held_out", sizes.held_out, images));
        }
        let left = images - sizes.held_out;
        if sizes.train_images > left {
            return Err(too_many("train_images", sizes.train_images, left));
        }
        if sizes.evaluate_images > sizes.held_out {
            return Err(too_many("evaluate_images", sizes.evaluate_images, sizes.held_out));
        }
        let mut order: Vec<u64> = (0..images).collect();
        order.shuffle(&mut seed.generator());
        let rest = order.split_off(sizes.held_out as usize);
        let take = |from: &[u64], count: u64| match count {
            0 => from.to_vec(),
            count => from[..(count as usize).min(from.len())].to_vec(),
        };
        let training = take(&rest, sizes.train_images);
        if training.len() < sizes.batch as usize {
            return Err(Error::config(format!(
                "a batch of {} is more than the {} training images",
                sizes.batch,
                training.len()
            ))
            .at("/batch"));
        }
        let recalibration = training[..(sizes.recalibration_images as usize).min(training.len())].to_vec();
        Ok(Parts { evaluation: take(&order, sizes.evaluate_images), recalibration, training })
    }
}
