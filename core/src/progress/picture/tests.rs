//! What rows say of a search, at several widths.

use console::measure_text_width;
use pleach_sdk::{Description, TrainPlan};
use serde_json::{Value, json};

use super::*;
use crate::{config::Budget, described::DescribedSpace};

/// Two Blocks of two layers.
fn space() -> Arc<dyn SearchSpace> {
    let operation = |name: &str, meaning: &str, primitives: Value| json!({ "name": name, "meaning": meaning, "primitives": primitives });
    let convolution = json!([{ "convolution": { "kernel": 3, "channels": "output" } }]);
    let slot = |name: &str| json!({ "name": name, "choices": ["skip", "conv", "unborn"] });
    let node =
        |name: &str, from: &str, slot: usize| json!({ "name": name, "inputs": [from], "apply": { "slot": slot } });
    let description = json!({
        "format": 1, "name": "two Blocks", "input": { "channels": 3, "height": 4, "width": 4 }, "classes": 4,
        "operations": [
            operation("skip", "identity", json!([])), operation("unborn", "absent", json!([])),
            operation("conv", "sequence", convolution),
            operation("head", "sequence", json!(["global-average", { "linear": { "features": "output" } }])),
        ],
        "slots": [slot("a"), slot("b"), slot("c"), slot("d")],
        "blocks": [{ "name": "one", "slots": [0, 1] }, { "name": "other", "slots": [2, 3] }],
        "network": [
            node("a", "input", 0), node("b", "a", 1), node("c", "b", 2), node("d", "c", 3),
            { "name": "head", "inputs": ["d"], "apply": { "operation": "head" }, "channels": 4 },
        ],
    });
    let description: Description = serde_json::from_value(description).expect("it is a description");
    Arc::new(DescribedSpace(Network::new(description).expect("it is sound")))
}

fn objectives() -> Objectives {
    let objectives = json!([{ "name": "accuracy", "goal": "maximise" }, { "name": "params", "at_most": 1e6 }]);
    serde_json::from_value(objectives).expect("the document is whole")
}

fn begun(budget: &Budget) -> Picture {
    let mut picture = Picture::default();
    picture.begin(&Beginning {
        space: &space(),
        objectives: &objectives(),
        goal: (0, Goal::Maximise),
        budget,
        elapsed: Duration::ZERO,
        steps: 0,
        evaluations: 0,
        simulated_seconds: 0.0,
        stage: None,
    });
    picture
}

fn train(picture: &mut Picture, stage: u32) {
    let region = Region::new(vec![vec![0, 1], vec![2], vec![1], vec![2]]).expect("it has choices");
    let plan = TrainPlan { region, epochs: 2.0, stage, notes: json!({ "stages": 3 }) };
    picture.doing(Doing::Training(&plan));
}

fn step(picture: &mut Picture, notes: &Value, values: &[f64], evaluations: u64) {
    picture.doing(Doing::Evaluating(values.len()));
    picture.step(&Step {
        number: 4,
        notes,
        measured: values.len() as u64,
        seconds: 1.0,
        values,
        best: Some((&Genome(vec![1, 1, 0, 2]), &[0.75, 123_456.0])),
        front: None,
        evaluations,
        failed: 1,
        simulated_seconds: None,
        objective: ("accuracy", 0),
    });
}

/// What is shown 90 s after everything that was told.
fn rows(picture: &Picture, width: usize) -> Vec<String> {
    picture.rows(width, Instant::now() + Duration::from_secs(90))
}

#[test]
fn everything_is_told_where_there_is_room() {
    let mut picture = begun(&Budget { evaluations: Some(20), ..Budget::default() });
    assert_eq!(
        rows(&picture, 100)[3..],
        ["    region  all 16 networks, operations 2 2 | 2 2", "      best  no network yet"]
    );
    train(&mut picture, 1);
    step(&mut picture, &json!({ "stage": 1, "generation": 3 }), &[0.5, 0.75], 10);
    picture.task(&Progress { task: "train", done: 3, total: 4, note: "loss\n0.5" });
    let expected = [
        "    search  [============>           ] 10 of 20 evaluations, 6.7 a minute, 1 failed",
        "      time  1 min 30 s, at most 1 min 30 s left",
        "     stage  2 of 3, generation 3, evaluating 2 networks",
        "    region  2 of 16 networks, operations 2 · | 1 ·",
        "      best  accuracy 0.7500, params 0.123 million",
        "            conv-conv | passes through",
        "population  latest 2, mean accuracy 0.6250, best 0.7500",
        "     train  [==================>     ] 3 of 4, loss 0.5",
    ];
    assert_eq!(rows(&picture, 100), expected);
    picture.stops_at(&Arc::new(AtomicBool::new(true)));
    assert_eq!(rows(&picture, 100)[8], "  stopping  Ctrl-C once more does not wait");
    let narrow = rows(&picture, 38);
    assert_eq!(narrow[0], "    search  10 of 20 evaluations");
    assert_eq!(narrow[2], "     stage  2 of 3, generation 3");
    assert_eq!(narrow[5], "            conv-conv | passes throu…");
    for width in [0, 1, 20, 60, 200] {
        let too_wide = rows(&picture, width).into_iter().find(|row| measure_text_width(row) >= width.max(14));
        assert_eq!(too_wide, None, "{width}");
    }
}

#[test]
fn a_strategy_that_says_nothing_is_told_by_its_steps() {
    let mut picture = begun(&Budget::default());
    step(&mut picture, &Value::Null, &[0.25], 1);
    step(&mut picture, &Value::Null, &[0.75], 2);
    let rows = rows(&picture, 100);
    assert_eq!(
        rows[..3],
        [
            "    search  2 evaluations, 1.3 a minute, 1 failed",
            "      time  1 min 30 s",
            "     stage  step 6, evaluating 1 network",
        ]
    );
    assert_eq!(rows[6], "population  latest 2, mean accuracy 0.5000, best 0.7500");
}

#[test]
fn what_is_left_follows_from_the_stages_that_are_over_unless_a_budget_ends_before() {
    let mut picture = begun(&Budget::default());
    train(&mut picture, 0);
    let left = |picture: &Picture| picture.search.as_ref().and_then(|search| search.left(Instant::now()));
    assert_eq!(left(&picture), None, "no stage is over");
    train(&mut picture, 1);
    picture.search.as_mut().expect("it began").stages_took = vec![Duration::from_secs(60)];
    assert_eq!(left(&picture).as_deref(), Some("about 1 min 59 s left"));
    let search = picture.search.as_mut().expect("it began");
    search.stage_began = search.stage_began.map(|began| began - Duration::from_secs(90));
    assert_eq!(left(&picture).as_deref(), Some("about 1 min 30 s left"), "it is longer than the one before");
    let search = picture.search.as_mut().expect("it began");
    search.limits.real = Some(Duration::from_secs(30));
    assert_eq!(left(&picture).as_deref(), Some("at most 30 s left"));
    picture.doing(Doing::Closing("naming the winner"));
    assert_eq!(left(&picture), None);
}
