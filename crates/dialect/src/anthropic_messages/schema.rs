//! JSON Schema as `output_config.format` takes it: every object closed, and no bounds on numbers, lengths or counts.
//!
//! The API rejects those bounds, so they move into the description, where the model still reads them.

use serde_json::{Map, Value};

/// Keywords the grammar of the API does not know.
const UNSUPPORTED: [&str; 16] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
];

/// How deep a schema is followed; a deeper one is left as it is.
const DEEPEST: usize = 64;

/// A schema fit for the API, and whether it had to be altered.
pub(super) fn for_output(schema: &Value) -> (Value, bool) {
    let mut schema = schema.clone();
    let altered = fit(&mut schema, 0);
    (schema, altered)
}

fn fit(schema: &mut Value, depth: usize) -> bool {
    let Value::Object(map) = schema else { return false };
    if depth > DEEPEST {
        return false;
    }
    let mut altered = move_bounds_to_description(map);
    if describes_object(map) && map.get("additionalProperties") != Some(&Value::Bool(false)) {
        altered |= map.get("additionalProperties").is_some();
        map.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                for (_, child) in named.iter_mut() {
                    altered |= fit(child, depth + 1);
                }
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                for child in list {
                    altered |= fit(child, depth + 1);
                }
            }
            ("items", child) => altered |= fit(child, depth + 1),
            _ => {}
        }
    }
    altered
}

fn describes_object(map: &Map<String, Value>) -> bool {
    match map.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => map.contains_key("properties"),
    }
}

fn move_bounds_to_description(map: &mut Map<String, Value>) -> bool {
    let mut bounds = Vec::new();
    for keyword in UNSUPPORTED {
        if let Some(value) = map.shift_remove(keyword) {
            bounds.push(format!("{keyword}: {value}"));
        }
    }
    // 0 and 1 are the only least counts it takes.
    if map.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 1)
        && let Some(value) = map.shift_remove("minItems")
    {
        bounds.push(format!("minItems: {value}"));
    }
    if bounds.is_empty() {
        return false;
    }
    let note = format!("({})", bounds.join(", "));
    let description = match map.get("description").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!("{text} {note}"),
        _ => note,
    };
    map.insert("description".to_owned(), Value::String(description));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounds_become_words_and_objects_are_closed() {
        let (schema, altered) = for_output(&json!({"type": "object", "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "years"},
            "tags": {"type": "array", "minItems": 2, "items": {"type": "object"}}}}));
        assert!(altered);
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {
                "age": {"type": "integer", "description": "years (minimum: 0)"},
                "tags": {"type": "array", "items": {"type": "object", "additionalProperties": false},
                    "description": "(minItems: 2)"}},
                "additionalProperties": false})
        );
    }

    #[test]
    fn a_property_that_is_called_like_a_bound_stays() {
        let schema = json!({"type": "object", "properties": {"minimum": {"type": "number"}},
            "additionalProperties": false});
        assert_eq!(for_output(&schema), (schema, false));
    }
}
