//! What every component promises: its description and its configuration.

use serde_json::json;

use super::{
    Check, Stop,
    bench::{Bench, broken},
};
use crate::error::ErrorKind;

/// The name of the check of what a component says of itself.
pub const DESCRIBES: &str = "describes-itself";

/// The name of the check without which no other can be tried.
pub const BUILDS: &str = "example-builds";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: DESCRIBES,
        tried: "read name, summary, schema and example",
        expected: "a name of lower-case words joined by `-`, a summary of one line, a schema, an example that fits it",
        run: describes_itself,
    },
    Check {
        name: BUILDS,
        tried: "build it from its example, or from the configuration that was given",
        expected: "it is built",
        run: example_builds,
    },
    Check {
        name: "unknown-key-refused",
        tried: "build it with one more key in its configuration",
        expected: "a configuration error that names the key",
        run: unknown_key_refused,
    },
    Check {
        name: "wrong-type-refused",
        tried: "build it from a text instead of a mapping",
        expected: "a configuration error",
        run: wrong_type_refused,
    },
];

fn describes_itself(bench: &Bench<'_>) -> Result<(), Stop> {
    let info = bench.info;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    if !info.name.split('-').all(is_word) {
        return broken(format!("the name `{}`", info.name));
    }
    if info.summary.trim().is_empty() || info.summary.contains('\n') {
        return broken(format!("the summary {:?}", info.summary));
    }
    if !info.schema.is_object() {
        return broken(format!("the schema {}", info.schema));
    }
    if !info.example.is_object() {
        return broken(format!("the example {}", info.example));
    }
    Ok(())
}

fn example_builds(bench: &Bench<'_>) -> Result<(), Stop> {
    match bench.build(&bench.config()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind == ErrorKind::Config && !bench.info.needs.is_empty() => {
            Err(Stop::NotTried(format!("it needs {}; it said: {error}", bench.info.needs)))
        }
        Err(error) => broken(error.to_string()),
    }
}

fn unknown_key_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut config = bench.config();
    config["no-such-key"] = json!(1);
    match bench.build(&config) {
        Ok(()) => broken("it was built"),
        Err(error) if error.kind == ErrorKind::Config && error.message.contains("no-such-key") => Ok(()),
        Err(error) => broken(error.to_string()),
    }
}

fn wrong_type_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    match bench.build(&json!("a text")) {
        Ok(()) => broken("it was built"),
        Err(error) if error.kind == ErrorKind::Config => Ok(()),
        Err(error) => broken(error.to_string()),
    }
}
