//! Gemini's `Schema` (a subset of `OpenAPI` 3.0) to JSON Schema.
//!
//! Only this way: outbound the JSON Schema goes as it is, in `parametersJsonSchema` and `responseJsonSchema`.

use super::json::camel;
use super::words::Enumeration;
use serde_json::{Map, Value, json};

/// The JSON Schema of a Gemini schema: lower-case types, `nullable` as a type, lengths as numbers, the order of
/// properties as `propertyOrdering` says. What is JSON Schema already stays as it is.
pub(super) fn to_json_schema(schema: Value) -> Value {
    let Value::Object(map) = schema else { return schema };
    let mut out = Map::new();
    let (mut nullable, mut ordering) = (false, None);
    for (key, value) in map {
        let key = camel(&key);
        match key.as_str() {
            _ if value.is_null() && key != "default" => {}
            "nullable" => nullable = value.as_bool().unwrap_or(false),
            "propertyOrdering" => ordering = value.as_array().cloned(),
            "type" => {
                if let Some(kind) = json_type(value) {
                    out.insert(key, kind);
                }
            }
            "properties" | "$defs" | "defs" | "definitions" => {
                let key = if key == "defs" { "$defs".to_owned() } else { key };
                out.insert(key, each_property(value));
            }
            "items" | "additionalProperties" | "not" => {
                out.insert(key, to_json_schema(value));
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                out.insert(key, each_item(value));
            }
            "example" => {
                out.insert("examples".to_owned(), json!([value]));
            }
            "ref" if value.is_string() => {
                out.insert("$ref".to_owned(), value);
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                out.insert(key, as_number(value));
            }
            _ => {
                out.insert(key, value);
            }
        }
    }
    if let Some(order) = ordering {
        reorder(&mut out, &order);
    }
    if nullable { admit_null(out) } else { Value::Object(out) }
}

/// `STRING`, `string` or 1 → `string`; unspecified → none. A list of types is JSON Schema's already.
fn json_type(value: Value) -> Option<Value> {
    if value.is_array() {
        return Some(value);
    }
    let name = Enumeration::Type.read(&value)?.to_ascii_lowercase();
    (name != "type_unspecified").then_some(Value::String(name))
}

fn each_property(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().map(|(name, s)| (name, to_json_schema(s))).collect()),
        other => other,
    }
}

fn each_item(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(to_json_schema).collect()),
        other => other,
    }
}

/// Protobuf JSON writes 64-bit integers as strings.
fn as_number(value: Value) -> Value {
    match value.as_str().and_then(|text| text.parse::<u64>().ok()) {
        Some(number) => json!(number),
        None => value,
    }
}

fn reorder(schema: &mut Map<String, Value>, order: &[Value]) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let mut rest = std::mem::take(properties);
    for name in order.iter().filter_map(Value::as_str) {
        if let Some(value) = rest.shift_remove(name) {
            properties.insert(name.to_owned(), value);
        }
    }
    properties.extend(rest);
}

fn admit_null(mut schema: Map<String, Value>) -> Value {
    match schema.get("type").cloned() {
        Some(Value::String(kind)) => {
            schema.insert("type".to_owned(), json!([kind, "null"]));
            if let Some(Value::Array(values)) = schema.get_mut("enum")
                && !values.contains(&Value::Null)
            {
                values.push(Value::Null);
            }
            Value::Object(schema)
        }
        Some(_) => Value::Object(schema),
        None => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// Whether a tool's schema says no more than "an object": Gemini wants no parameters then.
pub(super) fn is_empty_object(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else { return false };
    map.iter().all(|(key, value)| match key.as_str() {
        "type" => value == "object",
        "properties" => value.as_object().is_some_and(Map::is_empty),
        "required" => value.as_array().is_some_and(Vec::is_empty),
        "additionalProperties" => value.is_boolean(),
        "title" | "description" | "$schema" => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_and_numeric_types_become_json_schema() {
        let gemini = json!({"type": "OBJECT", "properties": {
            "type": {"type": 1, "nullable": true},
            "items": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"}
        }, "required": ["type"]});
        let expected = json!({"type": "object", "properties": {
            "type": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1}
        }, "required": ["type"]});
        assert_eq!(to_json_schema(gemini), expected);
    }

    #[test]
    fn snake_case_keywords_are_read_and_property_names_are_not_touched() {
        let gemini =
            json!({"any_of": [{"type": "STRING"}, {"type": "NULL"}], "properties": {"max_items": {"type": "NUMBER"}}});
        let expected =
            json!({"anyOf": [{"type": "string"}, {"type": "null"}], "properties": {"max_items": {"type": "number"}}});
        assert_eq!(to_json_schema(gemini), expected);
    }

    #[test]
    fn property_ordering_orders_the_properties() {
        let out = to_json_schema(json!({"properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a"]}));
        let names: Vec<_> = out["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["c", "a", "b"]);
        assert!(out.get("propertyOrdering").is_none());
    }

    #[test]
    fn json_schema_stays_as_it_is() {
        let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": false,
            "$defs": {"x": {"type": "string"}}, "anyOf": [{"$ref": "#/$defs/x"}]});
        assert_eq!(to_json_schema(schema.clone()), schema);
    }

    #[test]
    fn an_object_without_properties_is_no_parameter() {
        assert!(is_empty_object(&json!({"type": "object", "properties": {}, "additionalProperties": false})));
        assert!(!is_empty_object(&json!({"type": "object", "additionalProperties": {"type": "string"}})));
        assert!(!is_empty_object(&json!({"type": "object", "properties": {"a": {}}})));
    }
}
