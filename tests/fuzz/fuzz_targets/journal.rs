//! A journal, a `run.json` or a `result.json`: each any text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = pleach::fuzzing::journal(text);
    let _ = pleach::fuzzing::record(text);
    let _ = serde_json::from_str::<pleach::result::SearchResult>(text);
});
