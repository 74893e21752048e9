//! Damaged copies of a real plugin, and files of random bytes, given to `plugins list` and
//! `plugins check`: the program says something of each and never ends by it.
//!
//! PLEACH_TEST_DAMAGED is how many (`tests/damaged.sh` tries 10,000), PLEACH_TEST_SEED which.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use pleach_sdk::{Seed, rand::RngCore};
use pleach_tests::{library, library_file, pleach_alone, stderr, stdout};
use serde_json::Value;

/// How many lie in a folder that is listed.
const BATCH: usize = 50;

fn number(variable: &str, default: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// The plugin `fatal` without its debug information, which would be most of it.
fn plugin(folder: &Path) -> Vec<u8> {
    let stripped = folder.join("stripped");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(library("fatal")).status();
    match strip {
        Ok(status) if status.success() => fs::read(stripped),
        // Slower, and as good.
        _ => fs::read(library("fatal")),
    }
    .expect("the plugin was built")
}

/// A damaged copy, or a file that never was a library.
fn damaged(whole: &[u8], seed: Seed) -> (&'static str, Vec<u8>) {
    let mut generator = seed.generator();
    let mut bytes = whole.to_vec();
    let mut random = |length: usize| {
        let mut bytes = vec![0; length];
        generator.fill_bytes(&mut bytes);
        bytes
    };
    let mut draws =
        random(8 * 64).chunks(8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight"))).collect::<Vec<_>>();
    let mut below = |limit: usize| (draws.pop().unwrap_or_default() % limit as u64) as usize;
    match below(8) {
        0 => {
            bytes.truncate(below(whole.len()));
            ("cut short", bytes)
        }
        1 => {
            for _ in 0..=below(8) {
                bytes[below(64)] ^= 1 << below(8);
            }
            ("a header with other bits", bytes)
        }
        2 => {
            for _ in 0..=below(16) {
                bytes[below(4096)] = below(256) as u8;
            }
            ("other bytes at its beginning", bytes)
        }
        3 => {
            let place = whole.len() - 1 - below(4096);
            bytes[place] ^= 1 << below(8);
            ("another bit at its end", bytes)
        }
        4 => {
            let (start, length) = (below(whole.len()), below(65536));
            let end = (start + length).min(whole.len());
            bytes[start..end].fill(0);
            ("a hole", bytes)
        }
        5 => {
            for _ in 0..=below(20) {
                let place = below(whole.len());
                bytes[place] = below(256) as u8;
            }
            ("other bytes anywhere", bytes)
        }
        6 => {
            let length = below(100_000);
            ("random bytes", random(length))
        }
        _ => {
            let length = below(100_000);
            ("random bytes after a library's first 64", [&whole[..64], &random(length)].concat())
        }
    }
}

#[test]
fn damaged_plugins_and_random_files_are_told_and_end_nothing() {
    let (count, root) = (number("PLEACH_TEST_DAMAGED", 48), Seed(number("PLEACH_TEST_SEED", 1) as u64));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = plugin(folder.path());
    let batch = folder.path().join("batch");
    // By what was done to a file and what was said of it.
    let mut said: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut done = 0;
    while done < count {
        fs::create_dir(&batch).expect("it can be made");
        let mut files = Vec::new();
        for index in done..count.min(done + BATCH) {
            let (what, bytes) = damaged(&whole, root.derive("damage", index as u64));
            let path = batch.join(library_file(&format!("damaged{index}")));
            fs::write(&path, bytes).expect("it can be written");
            files.push((index, what, path));
        }
        done += files.len();
        let listed = pleach_alone(&[&batch]).args(["--json", "plugins", "list"]).output().expect("the program starts");
        assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
        let document: Value = serde_json::from_slice(&listed.stdout).expect("a list is JSON");
        for (index, what, path) in files {
            let refused = document["refused"].as_array().into_iter().flatten();
            // No copy is called what it says it is, so that none is accepted.
            let message = refused.clone().find(|refused| refused["path"] == path.display().to_string());
            let message = message.unwrap_or_else(|| panic!("nothing was said of {index}, {what}"));
            let text = message["message"].as_str().expect("a text");
            assert!(!text.is_empty() && message["help"].is_string(), "{index}, {what}: {message}");
            let mut command = pleach_alone(&[]);
            let checked = command.args(["plugins", "check", "--timeout", "10s"]).arg(&path).output();
            let checked = checked.expect("the program starts");
            let code = checked.status.code();
            assert!(matches!(code, Some(0 | 2 | 3)), "{index}, {what}: {code:?}, {}", stderr(&checked));
            let told = stdout(&checked) + &stderr(&checked);
            assert!(!told.is_empty(), "{index}, {what}: nothing was said");
            let outcome = match code {
                Some(0) => "looks whole and keeps its promises",
                Some(3) => "breaks a promise, or ends a process that tries it",
                _ if told.contains("cannot be loaded: ") => "ends the process that opens it",
                _ => "is refused",
            };
            *said.entry((what, outcome)).or_default() += 1;
        }
        fs::remove_dir_all(&batch).expect("it can be removed");
    }
    println!("{count} files, none of which ended the program:");
    for ((what, outcome), count) in said {
        println!("  {count:>6}  {what}: {outcome}");
    }
}
