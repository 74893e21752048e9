//! The JSON Schema of run files for editors: with every component of the plugins that are found.

use pleach_sdk::Kind;
use serde_json::{Map, Value, json};

use crate::{config, plugins::catalogue::Catalogue};

/// The schema of a run file in which `use` is one of the components of `catalogue` and `with` is
/// that component's configuration: for editors.
pub fn schema(catalogue: &Catalogue) -> Value {
    let mut schema = config::schema();
    let mut definitions = Map::new();
    let mut of_kind = |kind: Kind| -> Value {
        let mut choices = Vec::new();
        for (name, component) in catalogue.components(kind) {
            let prefix = name.replace('/', ".");
            let mut configuration = component.schema.clone();
            // The dialect is that of the whole document.
            configuration.as_object_mut().and_then(|own| own.remove("$schema"));
            if let Some(Value::Object(inner)) = configuration.as_object_mut().and_then(|own| own.remove("$defs")) {
                for (definition, mut body) in inner {
                    prefix_references(&mut body, &prefix);
                    definitions.insert(format!("{prefix}.{definition}"), body);
                }
            }
            prefix_references(&mut configuration, &prefix);
            let mut properties = json!({
                "use": { "const": name, "description": component.summary },
                "with": configuration,
            });
            if kind == Kind::Operator {
                properties["weight"] = json!({ "type": "number", "exclusiveMinimum": 0, "default": 1 });
            }
            choices.push(json!({
                "type": "object",
                "properties": properties,
                "required": ["use"],
                "additionalProperties": false,
            }));
        }
        json!({ "oneOf": choices })
    };
    let replacements = [
        ("/properties/space", of_kind(Kind::Space)),
        ("/properties/dataset", of_kind(Kind::Dataset)),
        ("/properties/estimator", of_kind(Kind::Estimator)),
        ("/properties/strategy", of_kind(Kind::Strategy)),
        ("/$defs/Rank/properties/reference", of_kind(Kind::Estimator)),
        ("/$defs/Latency/properties/by", of_kind(Kind::Estimator)),
        ("/properties/operators/items", of_kind(Kind::Operator)),
    ];
    for (pointer, replacement) in replacements {
        if let Some(place) = schema.pointer_mut(pointer) {
            *place = replacement;
        }
    }
    if let Some(Value::Object(own)) = schema.get_mut("$defs") {
        own.extend(definitions);
    }
    schema
}

fn prefix_references(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object.iter_mut() {
                match inner {
                    Value::String(text) if key == "$ref" => {
                        if let Some(name) = text.strip_prefix("#/$defs/") {
                            *text = format!("#/$defs/{prefix}.{name}");
                        }
                    }
                    other => prefix_references(other, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prefix_references(item, prefix)),
        _ => {}
    }
}
