//! Tables in the published forms, with made-up numbers.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Writes a table in the form of NAS-Bench-Macro. Larger operations are better, in some layers more
/// than in others.
pub fn write_nas_bench_macro(path: &Path) {
    let entry = |number: usize| {
        let digits: Vec<usize> = (0..8).rev().map(|place| number / 3_usize.pow(place) % 3).collect();
        let accuracy: f64 =
            80.0 + digits.iter().zip(1..).map(|(digit, layer)| *digit as f64 / layer as f64).sum::<f64>();
        let entry = json!({ "test_acc": [accuracy, accuracy, accuracy], "mean_acc": accuracy, "std": 0.0,
            "params": 1, "flops": 1 });
        (digits.iter().map(usize::to_string).collect::<String>(), entry)
    };
    let table: Map<String, Value> = (0..6561).map(entry).collect();
    std::fs::write(path, Value::from(table).to_string()).expect("the file can be written");
}

/// Writes a table in the form of the CSV file that `tabular/nas-bench-201` reads. Cells with more
/// convolutions are better.
pub fn write_nas_bench_201(path: &Path) {
    const OPERATIONS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
    let mut lines = vec![
        "arch,cifar10_train_seconds_per_epoch,cifar10_valid_seconds,\
         cifar10_valid_12,cifar100_valid_12,imagenet16_valid_12,\
         cifar10_valid_200,cifar100_valid_200,imagenet16_valid_200,\
         cifar10_test_200,cifar100_test_200,imagenet16_test_200"
            .to_owned(),
    ];
    for number in 0..5_usize.pow(6) {
        let digits: Vec<usize> = (0..6).rev().map(|place| number / 5_usize.pow(place) % 5).collect();
        let edge = |edge: usize, from: usize| format!("{}~{from}", OPERATIONS[digits[edge]]);
        let convolutions = digits.iter().filter(|digit| [2, 3].contains(*digit)).count();
        lines.push(format!(
            "|{}|+|{}|{}|+|{}|{}|{}|,20.0,3.0{}",
            edge(0, 0),
            edge(1, 0),
            edge(2, 1),
            edge(3, 0),
            edge(4, 1),
            edge(5, 2),
            format!(",{}.0", 60 + convolutions).repeat(9)
        ));
    }
    std::fs::write(path, lines.join("\n") + "\n").expect("the file can be written");
}
