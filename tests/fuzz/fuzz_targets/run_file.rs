//! A run file, with a `--set`: the first line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (set, text) = text.split_once('\n').unwrap_or(("", text));
    let sets = if set.is_empty() { Vec::new() } else { vec![set.to_owned()] };
    match pleach::config::parse(std::path::Path::new("run.yaml"), text, &sets) {
        Ok((config, _)) => {
            let recorded = serde_json::to_value(&config).expect("a configuration is JSON");
            let again = pleach::config::recorded(std::path::Path::new("run.json"), &recorded, &[]);
            assert_eq!(again.map(|(config, _)| config).map_err(|error| error.to_string()), Ok(config));
        }
        Err(error) => assert!(!error.to_string().is_empty() && error.exit_code() == 2),
    }
});
