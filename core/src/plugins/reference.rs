//! A reference page of components in Markdown, from what they say of themselves.

use std::fmt::Write as _;

use pleach_sdk::{ComponentInfo, PluginInfo};
use serde_json::Value;

/// What stands above the plugins.
const HEAD: &str = "\
# Components

Every component of the plugins that come with pleach: what it is and how it is configured. The page is
what `pleach plugins docs` writes, from the descriptions that the plugins carry; a test holds it
against them.
";

/// The page of some plugins.
pub fn page<'a>(plugins: impl IntoIterator<Item = &'a PluginInfo>) -> String {
    let mut page = HEAD.to_owned();
    for plugin in plugins {
        let _ = write!(page, "\n## {}\n\n{}\n", plugin.name, sentence(&plugin.summary));
        for component in &plugin.components {
            describe(&mut page, &plugin.name, component);
        }
    }
    page
}

fn describe(page: &mut String, plugin: &str, component: &ComponentInfo) {
    let ComponentInfo { kind, name, summary, schema, example, needs } = component;
    // Writing to a string cannot fail.
    let _ = write!(page, "\n### {plugin}/{name}\n\n{}: {}\n", capital(&kind.to_string()), sentence(summary));
    if let Some(more) = schema.get("description").and_then(Value::as_str) {
        let _ = write!(page, "\n{}\n", more.replace('\n', " "));
    }
    if !needs.is_empty() {
        let _ = write!(page, "\nIts example needs {needs}.\n");
    }
    let mut rows = Vec::new();
    collect(&mut rows, "", schema, schema);
    if rows.is_empty() {
        page.push_str("\nIt has no configuration.\n");
    } else {
        page.push_str("\n| key | takes | default | |\n| --- | --- | --- | --- |\n");
        for Row { key, takes, default, text } in rows {
            let _ = writeln!(page, "| `{key}` | {takes} | {default} | {text} |");
        }
    }
    let with = if example.as_object().is_some_and(serde_json::Map::is_empty) {
        String::new()
    } else {
        format!("\nwith: {example}")
    };
    let _ = write!(page, "\n```yaml\nuse: {plugin}/{name}{with}\n```\n");
}

/// A key of a configuration.
struct Row {
    key: String,
    takes: String,
    default: String,
    text: String,
}

/// The keys of a mapping, those of mappings inside of it right after them.
fn collect(rows: &mut Vec<Row>, before: &str, schema: &Value, root: &Value) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let key = format!("{before}{name}");
        let target = resolve(field, root);
        let default = match field.get("default") {
            // Its keys have defaults of their own.
            Some(Value::Object(_)) if target.get("properties").is_some() => String::new(),
            Some(Value::Null) => String::new(),
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let text = field.get("description").or_else(|| target.get("description")).and_then(Value::as_str);
        let text = text.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        rows.push(Row { key: key.clone(), takes: takes(field, root), default, text });
        if target.get("properties").is_some() {
            collect(rows, &format!("{key}."), target, root);
        } else if let Some(items) = target.get("items") {
            collect(rows, &format!("{key}[]."), resolve(items, root), root);
        }
    }
}

/// What a schema refers to, and of one that may be null what else it may be.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut schema = schema;
    // References of a schema that refers to itself lead nowhere after so many.
    for _ in 0..8 {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|reference| root.pointer(reference.strip_prefix('#')?));
        let alternative = || schema.get("anyOf")?.as_array()?.iter().find(|one| one["type"] != "null");
        match target.or_else(alternative) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// What a key takes, in words.
fn takes(field: &Value, root: &Value) -> String {
    let schema = resolve(field, root);
    let values = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|value| format!("`{}`", plain(value))).collect()
    };
    if let Some(list) = schema.get("enum") {
        return values(list).join(", ");
    }
    if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
        let variant = |variant: &Value| match (variant.get("const"), variant.get("enum")) {
            (Some(value), _) => format!("`{}`", plain(value)),
            (None, Some(list)) => values(list).join(", "),
            (None, None) => takes(variant, root),
        };
        return variants.iter().map(variant).collect::<Vec<_>>().join(", ");
    }
    let one = |name: &str| match name {
        "integer" => "whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "string" => "text".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", takes(items, root)),
            None => "list".to_owned(),
        },
        "object" => "mapping".to_owned(),
        other => other.to_owned(),
    };
    let kinds: Vec<String> = match &schema["type"] {
        Value::String(name) => vec![one(name)],
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(one).collect(),
        _ => Vec::new(),
    };
    let bound = |key: &str, words: &str| schema.get(key).map(|limit| format!("{words} {}", number(limit)));
    let bounds: Vec<String> = [
        bound("minimum", "at least"),
        bound("exclusiveMinimum", "above"),
        bound("maximum", "at most"),
        bound("exclusiveMaximum", "below"),
    ]
    .into_iter()
    .flatten()
    .collect();
    [kinds.join(" or "), bounds.join(", ")]
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number without a fraction that says nothing.
fn number(value: &Value) -> String {
    let text = value.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn sentence(text: &str) -> String {
    capital(text.trim_end_matches('.')) + "."
}

#[cfg(test)]
mod tests {
    use pleach_sdk::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_inside_of_mappings_and_lists_are_shown_with_their_bounds() {
        let schema = json!({
            "description": "How it is made.",
            "properties": {
                "rate": { "type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.1, "description": "A | B." },
                "stem": { "$ref": "#/$defs/Stem", "default": { "channels": 3 } },
                "parts": { "type": "array", "items": { "$ref": "#/$defs/Stem" } },
                "device": { "anyOf": [{ "$ref": "#/$defs/Device" }, { "type": "null" }] },
            },
            "required": ["parts"],
            "$defs": {
                "Stem": { "type": "object", "properties": { "channels": { "type": "integer", "minimum": 1 } } },
                "Device": { "oneOf": [{ "const": "cpu" }, { "const": "cuda" }] },
            },
        });
        let component = ComponentInfo {
            kind: Kind::Space,
            name: "made".to_owned(),
            summary: "something made".to_owned(),
            schema,
            example: json!({ "rate": 0.5 }),
            needs: "a file".to_owned(),
        };
        let mut page = String::new();
        describe(&mut page, "some", &component);
        let expected = "
### some/made

Space: Something made.

How it is made.

Its example needs a file.

| key | takes | default | |
| --- | --- | --- | --- |
| `rate` | number, at least 0, at most 1 | `0.1` | A \\| B. |
| `stem` | mapping |  |  |
| `stem.channels` | whole number, at least 1 |  |  |
| `parts` | list of mapping | required |  |
| `parts[].channels` | whole number, at least 1 |  |  |
| `device` | `cpu`, `cuda` |  |  |

```yaml
use: some/made
with: {\"rate\":0.5}
```
";
        assert_eq!(page, expected);
    }
}
