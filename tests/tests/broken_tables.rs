//! What `pleach check` says of benchmark tables that are damaged, cut off, or something else: one clear
//! message with the line or the entry, exit code 2. The messages are kept in `snapshots/`.

use std::{fmt::Write as _, io::Write as _, path::Path};

use pleach_tests::{pleach, stderr, tables};

const NAS_BENCH_201: &str = "\
name: cells
seed: 0
plugins: [baselines, tabular]
space: { use: tabular/nas-bench-201 }
estimator: { use: tabular/nas-bench-201, with: { table: TABLE } }
strategy: { use: baselines/random-search, with: { evaluations: 10, epochs: 0 } }
objectives: { accuracy: maximise }
";

const NAS_BENCH_MACRO: &str = "\
name: chains
seed: 0
plugins: [gevonas, datasets, baselines, tabular]
space:
  use: gevonas/growing-blocks
  with:
    blocks:
      - { layers: 2, channels: 16, stride: 2 }
      - { layers: 3, channels: 32, stride: 2 }
      - { layers: 3, channels: 64, stride: 2 }
    operations: [identity, mb3_k3, mb6_k5]
    projection: true
dataset: { use: datasets/synthetic, with: { size: 32 } }
estimator: { use: tabular/nas-bench-macro, with: { table: TABLE } }
strategy: { use: baselines/random-search, with: { evaluations: 10, epochs: 0 } }
objectives: { accuracy: maximise }
";

/// The start of a PNG file.
const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0";

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// What is said of a run file in a folder.
fn check(folder: &Path, run: &str, table: &str) -> (Option<i32>, String) {
    std::fs::write(folder.join("run.yaml"), run.replace("TABLE", table)).expect("the file can be written");
    let output = pleach().args(["check", "run.yaml"]).current_dir(folder).output().expect("the program starts");
    let said = stderr(&output);
    // Before it may stand which of two builds of a plugin is used.
    let start = said.find("error:").unwrap_or(0);
    (output.status.code(), said[start..].to_owned())
}

#[test]
fn every_message_is_clear() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    tables::write_nas_bench_201(&folder.join("whole.csv"));
    tables::write_nas_bench_macro(&folder.join("whole.json"));
    std::fs::create_dir(folder.join("folder")).expect("it can be made");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was written");
    let (cells, chains) = (read("whole.csv"), read("whole.json"));
    for (run, whole) in [(NAS_BENCH_201, "whole.csv"), (NAS_BENCH_MACRO, "whole.json")] {
        let (code, said) = check(folder, run, whole);
        assert_eq!(code, Some(0), "{said}");
    }
    let line = |number: usize, change: fn(&str) -> String| -> Vec<u8> {
        let lines = cells.lines().enumerate();
        let changed = lines.map(|(index, line)| if index + 1 == number { change(line) } else { line.to_owned() });
        (changed.collect::<Vec<_>>().join("\n") + "\n").into_bytes()
    };
    let written = [
        ("cut off in the middle of a line", "cut.csv", cells.as_bytes()[..cells.len() / 2].to_vec()),
        ("cut off and packed", "cut.csv.gz", {
            let packed = packed(cells.as_bytes());
            packed[..packed.len() / 2].to_vec()
        }),
        (
            "a text in the place of a number",
            "number.csv",
            line(9, |line| format!("{},ten", line.rsplit_once(',').expect("columns").0)),
        ),
        ("a column too few", "columns.csv", line(9, |line| line.rsplit_once(',').expect("columns").0.to_owned())),
        ("an operation that there is not", "cell.csv", line(7, |line| line.replacen("~0", "x~0", 1))),
        ("an image", "image.csv", IMAGE.to_vec()),
        ("an image called packed", "image.csv.gz", IMAGE.to_vec()),
        ("nothing", "empty.csv", Vec::new()),
        ("nothing called packed", "empty.csv.gz", Vec::new()),
        ("the table of another benchmark", "other.csv", chains.clone().into_bytes()),
    ];
    let mut told = String::new();
    let mut tell = |title: &str, run: &str, table: &str| {
        let (code, said) = check(folder, run, table);
        assert_eq!(code, Some(2), "{title}: {said}");
        writeln!(told, "## {title}\n{}\n", said.trim_end()).expect("a text can be written");
    };
    for (title, name, bytes) in written {
        std::fs::write(folder.join(name), bytes).expect("the file can be written");
        tell(&format!("NAS-Bench-201: {title}"), NAS_BENCH_201, name);
    }
    tell("NAS-Bench-201: a folder", NAS_BENCH_201, "folder");
    tell("NAS-Bench-201: no file", NAS_BENCH_201, "nowhere.csv");
    let key = chains.split('"').nth(1).expect("it has an entry").to_owned();
    let written = [
        ("cut off", "cut.json", chains.as_bytes()[..chains.len() / 2].to_vec()),
        ("a network that there is not", "network.json", chains.replacen(&key, "01234567", 1).into_bytes()),
        ("an entry without accuracies", "entry.json", chains.replacen("mean_acc", "mean", 1).into_bytes()),
        ("an image", "image.json", IMAGE.to_vec()),
        ("nothing", "empty.json", Vec::new()),
        ("the table of another benchmark", "other.json", cells.clone().into_bytes()),
    ];
    for (title, name, bytes) in written {
        std::fs::write(folder.join(name), bytes).expect("the file can be written");
        tell(&format!("NAS-Bench-Macro: {title}"), NAS_BENCH_MACRO, name);
    }
    tell("NAS-Bench-Macro: a folder", NAS_BENCH_MACRO, "folder");
    tell("NAS-Bench-Macro: no file", NAS_BENCH_MACRO, "nowhere.json");
    insta::assert_snapshot!(told);
}
