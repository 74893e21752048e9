//! Documents against JSON Schemas, and what a mismatch means in words. It knows neither run files
//! nor plugins.

use pleach_sdk::nearest;
use serde_json::Value;

use crate::error::{Error, Result};

/// A mismatch between a document and its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The JSON pointer of the value.
    pub pointer: String,
    /// What was expected and what was found.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// The key that is missing at the pointer.
    missing: Option<String>,
    /// The pointer of the key that an unknown key was meant to be.
    meant: Option<String>,
}

impl Complaint {
    fn new(pointer: &str, message: String, help: Option<String>) -> Self {
        Complaint { pointer: pointer.to_owned(), message, help, missing: None, meant: None }
    }
}

/// A JSON Schema that is ready to be held against documents: to prepare it takes milliseconds.
pub struct Schema {
    document: Value,
    validator: jsonschema::Validator,
}

impl Schema {
    /// Prepares a schema.
    ///
    /// # Errors
    ///
    /// A document that is no schema.
    pub fn new(document: Value) -> Result<Self> {
        let validator = jsonschema::validator_for(&document).map_err(|error| {
            Error::unusable(
                format!("the JSON Schema of a component cannot be used: {error}"),
                "this is a fault of its plugin: report it to its author",
            )
        })?;
        Ok(Schema { document, validator })
    }

    /// Everything in `document` that does not fit.
    pub fn check(&self, document: &Value) -> Vec<Complaint> {
        let errors = self.validator.iter_errors(document);
        let mut complaints: Vec<Complaint> = errors.flat_map(|error| explain(&error, &self.document)).collect();
        // A misspelt key is one mistake, not also a missing one.
        let misspelt: Vec<String> = complaints.iter().filter_map(|complaint| complaint.meant.clone()).collect();
        complaints.retain(|complaint| {
            complaint.missing.as_ref().is_none_or(|key| !misspelt.contains(&format!("{}/{key}", complaint.pointer)))
        });
        complaints
    }
}

fn explain(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<Complaint> {
    use jsonschema::error::ValidationErrorKind as Mismatch;
    let pointer = error.instance_path().to_string();
    let found = describe(error.instance());
    let one = |message: String, help: Option<String>| vec![Complaint::new(&pointer, message, help)];
    let described = || description(error, schema);
    let bound =
        |relation: &str, limit: &Value| one(format!("expected a value {relation} {limit}, found {found}"), described());
    match error.kind() {
        Mismatch::AdditionalProperties { unexpected } | Mismatch::UnevaluatedProperties { unexpected } => {
            let known = known_keys(error, schema);
            let complaint = |key: &String| Complaint {
                meant: nearest(key, known.iter().map(String::as_str)).map(|near| format!("{pointer}/{near}")),
                ..Complaint::new(
                    &format!("{pointer}/{key}"),
                    format!("unknown key `{key}`"),
                    Some(suggest(key, &known)),
                )
            };
            unexpected.iter().map(complaint).collect()
        }
        Mismatch::Required { property } => {
            let key = plain(property);
            let complaint = Complaint::new(&pointer, format!("the key `{key}` is missing"), None);
            vec![Complaint { missing: Some(key), ..complaint }]
        }
        Mismatch::Type { kind } => one(format!("expected {}, found {found}", describe_type(kind)), described()),
        Mismatch::Enum { options } => {
            let known: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            one(format!("{found} is none of the known values"), Some(suggest(&plain(error.instance()), &known)))
        }
        Mismatch::Constant { expected_value } => {
            one(format!("expected `{}`, found {found}", plain(expected_value)), None)
        }
        Mismatch::Minimum { limit } => bound("of at least", limit),
        Mismatch::Maximum { limit } => bound("of at most", limit),
        Mismatch::ExclusiveMinimum { limit } => bound("above", limit),
        Mismatch::ExclusiveMaximum { limit } => bound("below", limit),
        Mismatch::MinItems { limit } => one(format!("expected at least {limit} in the list, found {found}"), None),
        Mismatch::MaxItems { limit } => one(format!("expected at most {limit} in the list, found {found}"), None),
        Mismatch::MinProperties { limit } => one(format!("expected at least {limit} keys, found {found}"), None),
        Mismatch::Pattern { pattern } => one(format!("{found} does not have the form {pattern}"), described()),
        Mismatch::AnyOf { context } | Mismatch::OneOfNotValid { context } => {
            explain_choice(error, context, schema, &pointer)
        }
        _ => one(error.to_string(), None),
    }
}

/// None of several forms fits: speak of the form that was meant.
fn explain_choice(
    error: &jsonschema::ValidationError<'_>,
    context: &[Vec<jsonschema::ValidationError<'static>>],
    schema: &Value,
    pointer: &str,
) -> Vec<Complaint> {
    use jsonschema::error::ValidationErrorKind as Mismatch;
    // Forms that are one fixed word each are a list of words.
    let words: Vec<String> = context
        .iter()
        .flatten()
        .filter(|inner| inner.instance_path().to_string() == pointer)
        .flat_map(|inner| match inner.kind() {
            Mismatch::Constant { expected_value } => vec![plain(expected_value)],
            Mismatch::Enum { options } => options.as_array().into_iter().flatten().map(plain).collect(),
            Mismatch::OneOfNotValid { context } => context
                .iter()
                .flatten()
                .filter_map(|word| match word.kind() {
                    Mismatch::Constant { expected_value } => Some(plain(expected_value)),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        })
        .collect();
    let is_scalar = !error.instance().is_object() && !error.instance().is_array();
    if is_scalar && !words.is_empty() {
        let message = format!("{} is none of the known values", describe(error.instance()));
        return vec![Complaint::new(pointer, message, Some(suggest(&plain(error.instance()), &words)))];
    }
    // Otherwise the form whose type is right, if its mistakes lie deeper or name a key.
    let wrong_type = |inner: &jsonschema::ValidationError<'_>| {
        inner.instance_path().to_string() == pointer
            && matches!(
                inner.kind(),
                Mismatch::Type { .. }
                    | Mismatch::Constant { .. }
                    | Mismatch::Enum { .. }
                    | Mismatch::OneOfNotValid { .. }
            )
    };
    if let Some(form) = context.iter().find(|form| !form.is_empty() && !form.iter().any(wrong_type)) {
        return form.iter().flat_map(|inner| explain(inner, schema)).collect();
    }
    let expected: Vec<String> = context
        .iter()
        .flatten()
        .filter_map(|inner| match inner.kind() {
            Mismatch::Type { kind } => Some(describe_type(kind)),
            _ => None,
        })
        .filter(|name| name != "nothing")
        .collect();
    let message = match expected.as_slice() {
        [] => format!("{} has none of the allowed forms", describe(error.instance())),
        forms => format!("expected {}, found {}", forms.join(" or "), describe(error.instance())),
    };
    vec![Complaint::new(pointer, message, None)]
}

/// The keys that a schema knows at the place where an error arose.
fn known_keys(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<String> {
    let properties = part_of(error, schema).get("properties").and_then(Value::as_object);
    properties.map(|known| known.keys().cloned().collect()).unwrap_or_default()
}

/// What the schema says of the value that an error is about.
fn description(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Option<String> {
    let text = part_of(error, schema).get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The part of the schema that an error arose from.
fn part_of<'a>(error: &jsonschema::ValidationError<'_>, schema: &'a Value) -> &'a Value {
    let path = error.schema_path().to_string();
    let parent = path.rfind('/').map_or("", |end| &path[..end]);
    let mut here = schema;
    for part in parent.split('/').skip(1) {
        here = match here {
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(part.replace("~1", "/").replace("~0", "~")),
        }
        .unwrap_or(&Value::Null);
    }
    here
}

fn suggest(name: &str, known: &[String]) -> String {
    let list = known.join(", ");
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? known: {list}"),
        None if known.is_empty() => "no key is known here".to_owned(),
        None => format!("known: {list}"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(truth) => format!("`{truth}`"),
        Value::Number(number) => format!("{number}"),
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

fn describe_type(kind: &jsonschema::error::TypeKind) -> String {
    let names: Vec<String> = match kind {
        jsonschema::error::TypeKind::Single(single) => vec![single.to_string()],
        jsonschema::error::TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
    };
    let names: Vec<&str> = names
        .iter()
        .filter(|name| *name != "null" || names.len() == 1)
        .map(|name| match name.as_str() {
            "integer" => "an integer",
            "number" => "a number",
            "string" => "a text",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a mapping",
            _ => "nothing",
        })
        .collect();
    names.join(" or ")
}
