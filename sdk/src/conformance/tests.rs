//! The kit against components that break one promise each: every check must find its own.

mod bad;
mod bad_estimator;
mod bad_strategy;

use std::collections::BTreeSet;

use serde_json::json;

use super::{Report, Surroundings, checks, component, dataset, estimator, operator, space, strategy};
use crate::component::Kind;

/// A component that misbehaves in the way of the second, and the check that must say so.
const BAD: &[(Kind, &str, &str)] = &[
    (Kind::Operator, "bad-name", "describes-itself"),
    (Kind::Operator, "fails-to-build", "example-builds"),
    (Kind::Operator, "takes-any-key", "unknown-key-refused"),
    (Kind::Operator, "takes-any-type", "wrong-type-refused"),
    (Kind::Space, "another-each-time", "same-configuration-same-space"),
    (Kind::Space, "other-images", "images-as-the-data-set-has"),
    (Kind::Space, "beyond", "canonical-is-of-the-space"),
    (Kind::Space, "back-and-forth", "canonical-stays"),
    (Kind::Space, "smallest", "canonical-is-the-same-network"),
    (Kind::Space, "takes-all", "foreign-genome-refused"),
    (Kind::Space, "panics-at-foreign", "foreign-genome-refused"),
    (Kind::Space, "one-thread", "many-threads"),
    (Kind::Dataset, "no-images", "says-what-it-has"),
    (Kind::Dataset, "own-generator", "same-image-same-bytes"),
    (Kind::Dataset, "by-position", "any-order"),
    (Kind::Dataset, "half-an-image", "fills-the-buffers"),
    (Kind::Dataset, "no-such-class", "labels-are-classes"),
    (Kind::Dataset, "wraps-around", "index-beyond-refused"),
    (Kind::Dataset, "panics-beyond", "index-beyond-refused"),
    (Kind::Dataset, "any-buffer", "wrong-buffers-refused"),
    (Kind::Dataset, "wants-one", "empty-batch"),
    (Kind::Dataset, "views-move", "views-are-kept"),
    (Kind::Dataset, "one-thread", "many-threads"),
    (Kind::Operator, "no-parents", "takes-parents"),
    (Kind::Operator, "outside", "child-inside-the-region"),
    (Kind::Operator, "own-generator", "same-seed-same-child"),
    (Kind::Operator, "remembers", "no-memory"),
    (Kind::Operator, "one-thread", "many-threads"),
    (Kind::Operator, "panics", "child-inside-the-region"),
    (Kind::Estimator, "measures-params", "says-what-it-measures"),
    (Kind::Estimator, "one-less", "one-answer-each"),
    (Kind::Estimator, "all-fail", "one-answer-each"),
    (Kind::Estimator, "not-a-number", "numbers-are-finite"),
    (Kind::Estimator, "wants-one", "empty-batch"),
    (Kind::Estimator, "own-generator", "same-seed-same-numbers"),
    (Kind::Estimator, "by-position", "batch-does-not-matter"),
    (Kind::Estimator, "takes-all", "failed-candidate-is-data"),
    (Kind::Estimator, "own-training", "same-seed-same-training"),
    (Kind::Estimator, "silent-training", "says-when-weights-change"),
    (Kind::Estimator, "forgets", "loaded-goes-on"),
    (Kind::Estimator, "any-state", "damaged-state-refused"),
    (Kind::Estimator, "panics-at-damage", "damaged-state-refused"),
    (Kind::Estimator, "fails-when-stopped", "stops-when-asked"),
    (Kind::Estimator, "half-trained", "stops-when-asked"),
    (Kind::Strategy, "outside", "steps-are-of-the-space"),
    (Kind::Strategy, "endless-epochs", "steps-are-of-the-space"),
    (Kind::Strategy, "own-generator", "same-seed-same-steps"),
    (Kind::Strategy, "forgets", "loaded-goes-on"),
    (Kind::Strategy, "any-state", "damaged-state-refused"),
    (Kind::Strategy, "keeps-what-it-loads", "foreign-state-refused"),
    (Kind::Strategy, "wants-numbers", "failed-candidates"),
    (Kind::Strategy, "wants-a-best", "equal-candidates"),
    (Kind::Strategy, "wants-two-operators", "fewer-operators"),
    (Kind::Strategy, "wants-one-number", "several-objectives"),
    (Kind::Strategy, "wants-a-choice", "space-of-one-network"),
];

fn report(kind: Kind, badly: &str) -> Report {
    let surroundings = Surroundings { config: Some(json!({ "badly": badly })), ..Surroundings::default() };
    let example = Surroundings::default();
    match (kind, badly) {
        (_, "bad-name") => operator::<bad::Named>(&example),
        (_, "fails-to-build") => operator::<bad::Unbuilt>(&example),
        (_, "takes-any-key") => operator::<bad::AnyKey>(&example),
        (_, "takes-any-type") => operator::<bad::AnyType>(&example),
        (Kind::Space, _) => space::<bad::Space>(&surroundings),
        (Kind::Dataset, _) => dataset::<bad::Images>(&surroundings),
        (Kind::Operator, _) => operator::<bad::Redraw>(&surroundings),
        (Kind::Estimator, _) => estimator::<bad_estimator::Formula>(&surroundings),
        (Kind::Strategy, _) => strategy::<bad_strategy::Guess>(&surroundings),
    }
}

const KINDS: [Kind; 5] = [Kind::Space, Kind::Dataset, Kind::Operator, Kind::Estimator, Kind::Strategy];

#[test]
fn every_bad_component_is_found_by_the_check_that_is_for_it() {
    for (kind, badly, check) in BAD {
        let report = report(*kind, badly);
        assert!(report.broken().any(|finding| finding.check == *check), "{badly} should break {check}:\n{report}");
    }
}

#[test]
fn every_check_has_a_bad_component() {
    for kind in KINDS {
        // What every component promises is broken by operators here.
        let is_of_all = |name: &str| component::CHECKS.iter().any(|check| check.name == name);
        let own: BTreeSet<&str> =
            BAD.iter().filter(|(bad, _, check)| *bad == kind || is_of_all(check)).map(|(.., check)| *check).collect();
        let without: Vec<_> = checks(kind).map(|check| check.name).filter(|name| !own.contains(name)).collect();
        assert!(without.is_empty(), "{kind}: no bad component for {without:?}");
    }
}

#[test]
fn the_same_components_without_their_faults_keep_every_promise() {
    for kind in KINDS {
        report(kind, "").assert();
    }
}

#[test]
fn what_an_example_needs_makes_it_untried_and_not_broken() {
    let report = operator::<bad::Needy>(&Surroundings::default());
    assert!(report.is_untried() && report.broken().next().is_none(), "{report}");
    let text = report.to_string();
    assert!(text.contains("not tried  example-builds: it needs a file of its own; it said: "), "{text}");
    assert!(std::panic::catch_unwind(|| report.assert()).is_err(), "a test must not pass by it");
}

#[test]
fn a_report_says_what_was_tried_expected_and_found() {
    let text = report(Kind::Operator, "no-parents").to_string();
    let broken = "\
  BROKEN     takes-parents
               tried     ask how many parents it takes
               expected  1 to 16, the same number from every one that is built
               found     [0, 0, 0, 0]
";
    assert!(text.contains(broken), "{text}");
    let report = report(Kind::Operator, "panics");
    let document = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(document["component"], "linked/redraw");
    let finding = &document["findings"][5];
    assert_eq!((&finding["check"], &finding["verdict"]), (&json!("child-inside-the-region"), &json!("broken")));
    let found = finding["found"].as_str().expect("a text");
    assert!(found.starts_with("linked/redraw vary: panicked: asked to panic (at "), "{found}");
    assert_eq!(serde_json::from_value::<Report>(document).expect("it is whole"), report);
}
