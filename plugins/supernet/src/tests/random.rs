//! Random tensors. A test draws by itself: libtorch has one generator for all threads, from which tests that run
//! beside each other would take one another's numbers.

use std::cell::RefCell;

use pleach_sdk::{
    Generator, Seed,
    rand::{Rng, distr::Open01},
};
use tch::{Kind, Tensor};

use crate::weights;

thread_local! {
    static GENERATOR: RefCell<Generator> = RefCell::new(Seed(0).generator());
}

/// What this test draws begins anew.
pub(crate) fn seed(number: u64) {
    GENERATOR.set(Seed(number).generator());
}

fn draw(shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f64> = GENERATOR.with_borrow_mut(|it| (0..count).map(|_| it.sample(Open01)).collect());
    Tensor::from_slice(&values).reshape(shape)
}

/// Between 0 and 1.
pub(crate) fn uniform(shape: &[i64]) -> Tensor {
    draw(shape).to_kind(Kind::Float)
}

/// Of mean 0 and variance 1.
pub(crate) fn normal(shape: &[i64]) -> Tensor {
    ((draw(shape) * 2.0 - 1.0).erfinv() * 2f64.sqrt()).to_kind(Kind::Float)
}

/// Whole numbers below a limit.
pub(crate) fn below(limit: i64, shape: &[i64], kind: Kind) -> Tensor {
    (draw(shape) * limit as f64).floor().to_kind(kind)
}

/// Of mean 0 and variance 1, channels-last.
pub(crate) fn channels_last(shape: [i64; 4]) -> Tensor {
    weights::channels_last(&normal(&shape)).expect("it has four dimensions")
}
