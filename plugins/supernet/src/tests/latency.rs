//! How long networks take.

use super::*;
use crate::{Latency, LatencyConfig};
use pleach_sdk::{
    Outcome,
    conformance::{self, Surroundings},
    serde_json::{Value, json},
    state,
};

fn quick() -> LatencyConfig {
    LatencyConfig { repeats: 5, milliseconds: 0, take: crate::Take::Least, ..LatencyConfig::default() }
}

fn measure(config: LatencyConfig, space: Arc<dyn SearchSpace>, genomes: &[Genome]) -> Vec<Outcome> {
    let mut estimator = Latency::build(config, space, None, &Context::default()).expect("the configuration is sound");
    estimator.evaluate(genomes, Seed(9)).expect("the batch is measured")
}

#[test]
fn latency_keeps_what_estimators_promise() {
    let config = json!({ "repeats": 2, "milliseconds": 0 });
    let surroundings = Surroundings { config: Some(config), ..Surroundings::default() };
    conformance::estimator::<Latency>(&surroundings).assert();
}

#[test]
fn more_work_takes_longer() {
    let genome = [Genome(vec![1, 1])];
    let of = |batch| measure(LatencyConfig { batch, ..quick() }, growing(), &genome)[0].as_ref().expect("it ran")[0];
    let (one, many) = (of(1), of(512));
    assert!(0.0 < one && 4.0 * one < many, "{one} {many}");
}

#[test]
fn every_kind_of_layer_is_measured_and_what_is_no_network_is_a_failed_candidate() {
    let genomes = [Genome(vec![0]), Genome(vec![7]), Genome(vec![2])];
    let outcomes = measure(quick(), Arc::new(Space(zoo())), &genomes);
    let is_time = |outcome: &Outcome| outcome.as_ref().is_ok_and(|numbers| numbers[0] > 0.0);
    assert!(is_time(&outcomes[0]) && is_time(&outcomes[2]), "{outcomes:?}");
    assert!(outcomes[1].as_ref().is_err_and(|why| why.contains("choice 7")), "{outcomes:?}");
}

#[test]
fn other_estimators_keep_their_threads() {
    let before = tch::get_num_threads();
    measure(LatencyConfig { threads: before as u32 + 1, ..quick() }, growing(), &[Genome(vec![0, 0])]);
    assert_eq!(tch::get_num_threads(), before);
}

#[test]
fn what_was_measured_on_is_saved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let estimator = Latency::build(quick(), growing(), None, &Context::default()).expect("it is sound");
    estimator.save(folder.path()).expect("the folder can be written");
    let saved: Value = state::load(folder.path()).expect("it was written");
    let texts = ["device", "libtorch"].map(|key| saved[key].as_str().unwrap_or_default());
    assert!(texts.iter().all(|text| !text.is_empty()), "{saved}");
    assert_eq!((&saved["threads"], &saved["batch"]), (&json!(1), &json!(1)));
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let config = LatencyConfig { device: "cuda:77".to_owned(), ..quick() };
    let error = Latency::build(config, growing(), None, &Context::default()).err().expect("there is none");
    assert_eq!(error.place.as_deref(), Some("/device"));
}
