//! Normal noise from a seed.

use pleach_sdk::{Seed, rand::Rng};

/// A number of the standard normal distribution (Box and Muller 1958).
pub(crate) fn normal(seed: Seed) -> f64 {
    let mut generator = seed.generator();
    let (first, second): (f64, f64) = (generator.random(), generator.random());
    (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}
