//! A small value that satisfies a JSON Schema, and the words a text is cut into.

use serde_json::{Map, Value, json};

/// Deeper than this a schema is taken to be recursive, and optional parts are left out.
const DEEP: usize = 6;
/// Deeper than this nothing more is generated.
const DEEPEST: usize = 24;

/// A value that satisfies `schema`; `ordinal` tells two calls apart where the schema leaves room.
///
/// Knows objects, arrays, scalars with their bounds, enum, const, anyOf, oneOf, allOf and local `$ref`; patterns are
/// not read. Type names may be in capitals, as Gemini's are.
pub(crate) fn example(schema: &Value, ordinal: usize) -> Value {
    Generator { root: schema, ordinal }.value(schema, "", 0)
}

struct Generator<'a> {
    root: &'a Value,
    ordinal: usize,
}

impl Generator<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.value(found, name, depth + 1));
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values.get(self.ordinal % values.len().max(1)).cloned().unwrap_or_default();
        }
        for several in ["anyOf", "oneOf", "any_of"] {
            if let Some(options) = schema.get(several).and_then(Value::as_array) {
                // Deep inside a recursive schema the last option is the likely way out.
                let option = if depth > DEEP { options.last() } else { options.first() };
                return option.map_or(Value::Null, |option| self.value(option, name, depth + 1));
            }
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.value(&merged(schema, parts), name, depth + 1);
        }
        match type_of(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Value::from(self.string(schema, name)),
            "integer" => number(schema, true, self.ordinal),
            "number" => number(schema, false, self.ordinal),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => json!("anything"),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let mut fields = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let required: Option<Vec<&str>> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect());
        for (name, property) in properties.into_iter().flatten() {
            let is_wanted = match &required {
                Some(names) => names.contains(&name.as_str()),
                None => depth <= DEEP,
            };
            if is_wanted {
                fields.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
        for name in required.into_iter().flatten() {
            fields.entry(name).or_insert_with(|| json!("anything"));
        }
        Value::Object(fields)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let fewest = bound(schema, "minItems").unwrap_or(u64::from(depth <= DEEP));
        let most = bound(schema, "maxItems").unwrap_or(u64::MAX);
        let count = fewest.max(1).min(most).min(16);
        let count = if depth > DEEP { fewest.min(16) } else { count };
        let item = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
        (0..count).map(|_| self.value(&item, "", depth + 1)).collect()
    }

    fn string(&self, schema: &Value, name: &str) -> String {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let places = ["Paris", "Oslo", "Lima", "Kyoto"];
        let text = match format {
            "date" => "2026-01-01".to_owned(),
            "time" => "12:00:00Z".to_owned(),
            "date-time" => "2026-01-01T12:00:00Z".to_owned(),
            "email" => "sim@example.com".to_owned(),
            "uri" => "https://example.com/".to_owned(),
            "uuid" => "00000000-0000-4000-8000-000000000000".to_owned(),
            _ if ["city", "location", "place"].contains(&name.to_lowercase().as_str()) => {
                places.get(self.ordinal % places.len()).copied().unwrap_or("Paris").to_owned()
            }
            _ if name.is_empty() => "text".to_owned(),
            _ => format!("{name} text"),
        };
        let fewest = usize::try_from(bound(schema, "minLength").unwrap_or(0)).unwrap_or(0).min(4096);
        let most = bound(schema, "maxLength").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let padding = "x".repeat(fewest.saturating_sub(text.chars().count()));
        (text + &padding).chars().take(most).collect()
    }
}

fn type_of(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        // Protobuf's numbers.
        Some(Value::Number(number)) => match number.as_u64() {
            Some(1) => Some("string"),
            Some(2) => Some("number"),
            Some(3) => Some("integer"),
            Some(4) => Some("boolean"),
            Some(5) => Some("array"),
            Some(6) => Some("object"),
            _ => None,
        },
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    };
    match named {
        Some(name) => name.to_lowercase(),
        None if schema.get("properties").is_some() => "object".to_owned(),
        None if schema.get("items").is_some() => "array".to_owned(),
        None => String::new(),
    }
}

/// A bound may be a number or, in protobuf's JSON, a number in a string.
fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
}

fn number(schema: &Value, is_integer: bool, ordinal: usize) -> Value {
    let limit = |name| schema.get(name).and_then(Value::as_f64);
    let lowest = limit("minimum").or_else(|| limit("exclusiveMinimum").map(|value| value + 1.0));
    let highest = limit("maximum").or_else(|| limit("exclusiveMaximum").map(|value| value - 1.0));
    let mut value = 1.0 + ordinal as f64;
    if let Some(step) = limit("multipleOf").filter(|step| *step > 0.0) {
        value = step * (lowest.unwrap_or(value).max(value) / step).ceil();
    }
    let value = value.min(highest.unwrap_or(f64::MAX)).max(lowest.unwrap_or(f64::MIN));
    if is_integer {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an example number, small unless its schema says otherwise"
        )]
        let whole = value.ceil() as i64;
        whole.into()
    } else {
        value.into()
    }
}

fn merged(schema: &Value, parts: &[Value]) -> Value {
    let mut all = schema.as_object().cloned().unwrap_or_default();
    all.remove("allOf");
    for part in parts.iter().filter_map(Value::as_object) {
        for (key, value) in part {
            match (all.get_mut(key), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.clone()),
                _ => {
                    all.insert(key.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(all)
}

/// Longer words are more than one piece.
pub(crate) const LONGEST_PIECE: usize = 12;

/// The pieces a text is streamed in, which are its tokens: words with the space behind them, long ones cut.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for word in text.split_inclusive(' ') {
        let characters: Vec<char> = word.chars().collect();
        all.extend(characters.chunks(LONGEST_PIECE).map(|chunk| chunk.iter().collect::<String>()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_properties_get_values_of_their_types() {
        let schema = json!({"type": "object", "required": ["city", "days", "unit"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "minimum": 3},
            "unit": {"enum": ["c", "f"]}, "note": {"type": "string"},
        }});
        assert_eq!(example(&schema, 0), json!({"city": "Paris", "days": 3, "unit": "c"}));
        assert_eq!(example(&schema, 1), json!({"city": "Oslo", "days": 3, "unit": "f"}));
    }

    #[test]
    fn references_unions_and_bounds_are_followed() {
        let schema = json!({"type": "OBJECT", "properties": {
            "steps": {"type": "ARRAY", "minItems": "2", "items": {"$ref": "#/$defs/step"}},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "kind": {"const": "plan"},
        }, "$defs": {"step": {"allOf": [{"type": "object", "properties": {"n": {"type": "number"}}}]}}});
        assert_eq!(example(&schema, 0), json!({"steps": [{"n": 1.0}, {"n": 1.0}], "either": true, "kind": "plan"}));
    }

    #[test]
    fn a_recursive_schema_comes_to_an_end() {
        let schema = json!({"$defs": {"node": {"type": "object", "required": ["next"], "properties": {
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}, "$ref": "#/$defs/node"});
        assert!(example(&schema, 0).is_object());
    }

    #[test]
    fn pieces_join_to_the_text() {
        let text = "a naïve answer withaverylongwordinsideit  end";
        assert_eq!(pieces(text).concat(), text);
        assert!(pieces(text).iter().all(|piece| piece.chars().count() <= 12));
    }
}
