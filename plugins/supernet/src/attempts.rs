//! What is done when a training fails in a way that another attempt can mend: it starts again from
//! the weights before it, with a lower learning rate after a divergence; when the device has no room
//! with one path at a time, and then with half of the batch.
//!
//! Nothing of it is remembered: the next training begins as configured, so a run that is resumed
//! makes the same attempts. A network that is trained by itself (`model.rs`) keeps its smaller batch.

use pleach_sdk::{Error, Result, TrainReport, tracing};

use crate::config::Config;

/// What the learning rate is multiplied by after a divergence.
const LOWER: f64 = 1.0 / 3.0;

/// The smallest batch that is tried: batch norm needs several images.
const SMALLEST_BATCH: u32 = 8;

/// How the error of a training that diverged begins.
const DIVERGED: &str = "the loss is ";

/// A training whose loss is no number.
pub(crate) fn diverged(loss: f64, step: u64, steps: u64, learning_rate: f64) -> Error {
    Error::failed(format!(
        "{DIVERGED}{loss} at step {step} of {steps} with learning rate {learning_rate:.4}: lower learning_rate or clip"
    ))
}

/// Whether an error says that the device has no room.
pub(crate) fn has_no_room(message: &str) -> bool {
    // libtorch has no error number: this is what its allocators for devices say.
    message.contains("out of memory")
}

/// Half of a batch, if a training failed because the device has no room and half may do.
pub(crate) fn smaller_batch(error: &Error, batch: u32) -> Option<u32> {
    Some(batch / 2).filter(|half| has_no_room(&error.message) && *half >= SMALLEST_BATCH)
}

/// Trains until an attempt succeeds; each one has to leave the weights as they were if it fails.
pub(crate) fn train(config: &Config, mut attempt: impl FnMut(&Config) -> Result<TrainReport>) -> Result<TrainReport> {
    let mut config = config.clone();
    let mut restarts = 0;
    loop {
        let error = match attempt(&config) {
            Ok(mut report) => {
                if restarts > 0 {
                    report.metrics.insert("restarts".to_owned(), f64::from(restarts));
                    report.metrics.insert("learning_rate".to_owned(), config.learning_rate);
                    report.metrics.insert("batch".to_owned(), f64::from(config.batch));
                }
                return Ok(report);
            }
            Err(error) => error,
        };
        if has_no_room(&error.message) && config.side_by_side && config.streams > 1 {
            config.streams = 1;
            tracing::warn!("{}; starting again with one path at a time (streams: 1)", error.message);
        } else if let Some(half) = smaller_batch(&error, config.batch) {
            config.batch = half;
            tracing::warn!("{}; starting again with a batch of {}", error.message, config.batch);
        } else if error.message.starts_with(DIVERGED) && config.restarts > 0 {
            config.restarts -= 1;
            config.learning_rate *= LOWER;
            config.learning_rate_min *= LOWER;
            tracing::warn!("{}; starting again with learning rate {:.4}", error.message, config.learning_rate);
        } else if restarts > 0 {
            return Err(Error { message: format!("{} (after {restarts} restarts)", error.message), ..error });
        } else {
            return Err(error);
        }
        restarts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { batch: 128, streams: 4, learning_rate: 0.9, restarts: 2, ..Config::default() }
    }

    /// What the CUDA allocator of libtorch says.
    fn no_room() -> Error {
        Error::failed("training: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")
    }

    #[test]
    fn paths_that_have_no_room_come_one_by_one_and_a_batch_is_halved_until_it_has() {
        let mut tried = Vec::new();
        let report = train(&config(), |config| {
            tried.push((config.streams, config.batch));
            if config.batch > 32 { Err(no_room()) } else { Ok(TrainReport::default()) }
        });
        let report = report.expect("there is room for 32");
        assert_eq!(tried, [(4, 128), (1, 128), (1, 64), (1, 32)]);
        assert_eq!((report.metrics["batch"], report.metrics["restarts"]), (32.0, 3.0));
        assert_eq!(report.metrics["learning_rate"], 0.9);
        let mut smallest = u32::MAX;
        let error = train(&config(), |config| {
            smallest = smallest.min(config.batch);
            Err(no_room())
        });
        assert_eq!(smallest, SMALLEST_BATCH);
        assert!(error.expect_err("there is never room").message.ends_with("(after 5 restarts)"));
    }

    #[test]
    fn a_training_that_diverges_starts_again_with_a_lower_rate_so_often_and_then_fails() {
        let mut rates = Vec::new();
        let report = train(&config(), |config| {
            rates.push(config.learning_rate);
            if config.learning_rate > 0.5 {
                Err(diverged(f64::NAN, 8, 100, config.learning_rate))
            } else {
                Ok(TrainReport::default())
            }
        });
        assert_eq!(report.expect("the second rate is low enough").metrics["restarts"], 1.0);
        assert_eq!(rates, [0.9, 0.9 * LOWER]);
        let mut attempts = 0;
        let error = train(&config(), |_| {
            attempts += 1;
            Err(diverged(f64::INFINITY, 8, 100, 0.9))
        });
        let message = error.expect_err("it never converges").message;
        assert!(message.starts_with("the loss is inf at step 8 of 100") && message.contains("after 2 restarts"));
        assert_eq!(attempts, 3);
    }

    #[test]
    fn other_errors_are_not_tried_again() {
        let mut attempts = 0;
        let error = train(&config(), |_| {
            attempts += 1;
            Err(Error::cancelled())
        });
        assert_eq!(error.expect_err("it was cancelled"), Error::cancelled());
        assert_eq!(attempts, 1);
    }

    #[test]
    fn a_training_that_succeeds_at_once_says_nothing_of_attempts() {
        let report = train(&config(), |_| Ok(TrainReport::default())).expect("it succeeds");
        assert!(report.metrics.is_empty());
    }
}
