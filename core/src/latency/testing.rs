//! A space for tests: a stem, two layers, their sum, and both laid side by side.

use pleach_sdk::{Network, serde_json::json};

/// Two layers with three choices each and a pooling with two: 18 networks.
pub(crate) fn network() -> Network {
    let convolution = |kernel: u32| json!({ "convolution": { "kernel": kernel, "channels": "output" } });
    let activation = json!({ "activation": "relu6" });
    let operation = |name: &str, primitives: &[pleach_sdk::serde_json::Value], residual: bool| json!({ "name": name, "meaning": "sequence", "primitives": primitives, "residual": residual });
    let layer = |kernel| [convolution(kernel), json!("batch-norm"), activation.clone()];
    let node = |name: &str,
                inputs: &[&str],
                combine: &str,
                apply: pleach_sdk::serde_json::Value,
                channels: Option<u32>| {
        json!({ "name": name, "inputs": inputs, "combine": combine, "apply": apply, "channels": channels })
    };
    let slot = |name: &str, choices: &[&str]| json!({ "name": name, "choices": choices });
    let description = json!({
        "format": 1, "name": "layers", "input": { "channels": 3, "height": 8, "width": 8 }, "classes": 2,
        "operations": [
            operation("stem", &[convolution(3), json!("batch-norm")], false),
            operation("k3", &layer(3), true),
            operation("k5", &layer(5), true),
            json!({ "name": "identity", "meaning": "identity" }),
            json!({ "name": "cut", "meaning": "zero" }),
            operation("max", &[json!({ "pool": { "kind": "max", "kernel": 3 } })], false),
            operation("head", &[json!("global-average"), json!({ "linear": { "features": "output" } })], false),
        ],
        "slots": [
            slot("one", &["identity", "k3", "k5"]), slot("two", &["identity", "k3", "k5"]),
            slot("edge", &["cut", "max"]),
        ],
        "blocks": [{ "name": "Block 1", "slots": [0, 1] }],
        "network": [
            node("stem", &["input"], "sum", json!({ "operation": "stem" }), Some(4)),
            node("one", &["stem"], "sum", json!({ "slot": 0 }), None),
            node("two", &["one"], "sum", json!({ "slot": 1 }), None),
            node("sum", &["one", "two"], "sum", json!({ "operation": "identity" }), None),
            node("edge", &["sum", "two"], "concat", json!({ "slot": 2 }), None),
            node("head", &["edge"], "sum", json!({ "operation": "head" }), Some(2)),
        ],
    });
    let description = pleach_sdk::serde_json::from_value(description).expect("it is a description");
    Network::new(description).expect("it is sound")
}
