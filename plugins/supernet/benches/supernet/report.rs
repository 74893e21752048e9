//! What a benchmark tells, to people and to programs.

use std::path::Path;

use pleach_sdk::{
    Error, Result,
    serde_json::{Map, Value},
};

/// Lines that were printed, and their numbers.
pub struct Report(Map<String, Value>);

impl Report {
    pub fn new() -> Self {
        Report(Map::new())
    }

    /// Prints a line.
    pub fn line(&mut self, name: &str, text: String) {
        println!("{name:34} {text}");
    }

    /// Keeps a number.
    pub fn value(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// All numbers.
    pub fn values(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Writes all numbers.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = format!("{:#}\n", Value::Object(self.0.clone()));
        std::fs::write(file, text)
            .map_err(|error| Error::failed(format!("failed to write {}: {error}", file.display())))
    }
}

/// The middle one.
pub fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
