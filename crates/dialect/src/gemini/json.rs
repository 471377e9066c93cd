//! Reading protobuf JSON: places for error messages, both spellings of a key, lenient scalars.

use crate::{BadRequest, place};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// A place in the caller's body, for error messages: a list linked through the stack, rendered only when needed.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The body itself.
    pub(super) const ROOT: At<'static> = At { parent: None, segment: Segment::Root };

    /// A field of the object here.
    pub(super) fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), segment: Segment::Key(key) }
    }

    /// An element of the list here.
    pub(super) fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), segment: Segment::Index(index) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Key(key) => {
                let first = self.parent.is_none_or(|parent| parent.parent.is_none());
                place::write_key(f, key, first)
            }
            Segment::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A value of the wrong type.
pub(super) fn wrong_type(at: &At<'_>, expected: &str, got: &Value) -> BadRequest {
    let kind = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let place = at.to_string();
    let message = if place.is_empty() {
        format!("the body is {kind}, expected {expected}")
    } else {
        format!("`{place}` is {kind}, expected {expected}")
    };
    BadRequest { code: "invalid_type", message, parameter: (!place.is_empty()).then_some(place) }
}

/// A value of the right type that means nothing here.
pub(super) fn wrong_value(at: &At<'_>, expected: &str, got: &str) -> BadRequest {
    // A quoted value is cut: it is the caller's text and may be long.
    let shown: String = got.chars().take(60).collect();
    BadRequest {
        code: "invalid_value",
        message: format!("`{at}` is \"{shown}\", expected {expected}"),
        parameter: Some(at.to_string()),
    }
}

/// A field that must be there.
pub(super) fn missing(at: &At<'_>, expected: &str) -> BadRequest {
    BadRequest {
        code: "missing_field",
        message: format!("`{at}` is missing, expected {expected}"),
        parameter: Some(at.to_string()),
    }
}

/// `maxOutputTokens` → `max_output_tokens`; borrowed when there is nothing to change.
pub(super) fn snake(camel: &str) -> Cow<'_, str> {
    if !camel.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Borrowed(camel);
    }
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `max_output_tokens` → `maxOutputTokens`.
pub(super) fn camel(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' && !out.is_empty() {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether the object has this field in either spelling, and not as `null`.
pub(super) fn has(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).or_else(|| map.get(snake(key).as_ref())).is_some_and(|v| !v.is_null())
}

/// Takes a field out in either spelling; `null` is absent. Both spellings at once is an error.
pub(super) fn take(map: &mut Map<String, Value>, key: &str, at: &At<'_>) -> Result<Option<Value>, BadRequest> {
    let first = map.shift_remove(key).filter(|v| !v.is_null());
    let other = snake(key);
    if other == key {
        return Ok(first);
    }
    let second = map.shift_remove(other.as_ref()).filter(|v| !v.is_null());
    if first.is_some() && second.is_some() {
        let place = at.key(key);
        return Err(BadRequest {
            code: "duplicate_key",
            message: format!("`{place}` is given twice, as `{key}` and as `{other}`; expected one of them"),
            parameter: Some(place.to_string()),
        });
    }
    Ok(first.or(second))
}

/// An object.
pub(super) fn object(value: Value, at: &At<'_>) -> Result<Map<String, Value>, BadRequest> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(wrong_type(at, "an object", &other)),
    }
}

/// A list of objects; Google's parser takes a lone object as a list of one.
pub(super) fn list(value: Value, at: &At<'_>) -> Result<Vec<Value>, BadRequest> {
    match value {
        Value::Array(items) => Ok(items),
        lone @ Value::Object(_) => Ok(vec![lone]),
        other => Err(wrong_type(at, "a list", &other)),
    }
}

/// A string.
pub(super) fn string(value: Value, at: &At<'_>) -> Result<String, BadRequest> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(at, "a string", &other)),
    }
}

/// A list of strings.
pub(super) fn strings(value: Value, at: &At<'_>) -> Result<Vec<String>, BadRequest> {
    match value {
        Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| string(item, &at.index(i))).collect(),
        other => Err(wrong_type(at, "a list of strings", &other)),
    }
}

/// A boolean.
pub(super) fn boolean(value: &Value, at: &At<'_>) -> Result<bool, BadRequest> {
    value.as_bool().ok_or_else(|| wrong_type(at, "a boolean", value))
}

/// A number; protobuf JSON writes it as a string too.
pub(super) fn number(value: &Value, at: &At<'_>) -> Result<f64, BadRequest> {
    let read = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    };
    read.ok_or_else(|| wrong_type(at, "a number", value))
}

/// An integer; protobuf JSON takes `"5"` and `5.0` as well as `5`.
pub(super) fn integer(value: &Value, at: &At<'_>) -> Result<i64, BadRequest> {
    let read = match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    read.ok_or_else(|| wrong_type(at, "an integer", value))
}

/// An integer from 0.
pub(super) fn natural(value: &Value, at: &At<'_>) -> Result<u64, BadRequest> {
    let read = integer(value, at)?;
    u64::try_from(read).map_err(|_| wrong_value(at, "an integer from 0", &read.to_string()))
}

/// A 32-bit integer from 0.
pub(super) fn natural32(value: &Value, at: &At<'_>) -> Result<u32, BadRequest> {
    let read = natural(value, at)?;
    u32::try_from(read).map_err(|_| wrong_value(at, "an integer of 32 bits", &read.to_string()))
}

/// A float without a fraction, as an integer.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first; 2^53 bounds exact integers")]
pub(super) fn whole(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

/// Tool arguments as the object Gemini wants, and whether they were one. Anything else the model wrote is wrapped, so
/// that it is not lost.
pub(super) fn arguments(text: &str) -> (Value, bool) {
    if text.trim().is_empty() {
        return (Value::Object(Map::new()), true);
    }
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => (object, true),
        Ok(other) => (serde_json::json!({ "input": other }), false),
        Err(_) => (serde_json::json!({ "input": text }), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_reads_like_a_path() {
        let root = At::ROOT;
        let contents = root.key("contents");
        let first = contents.index(0);
        let parts = first.key("parts");
        assert_eq!(parts.index(1).key("inlineData").to_string(), "contents[0].parts[1].inlineData");
    }

    #[test]
    fn either_spelling_is_taken_and_both_are_refused() {
        let mut map = json!({"max_output_tokens": 1, "topP": null}).as_object().unwrap().clone();
        assert_eq!(take(&mut map, "maxOutputTokens", &At::ROOT).unwrap(), Some(json!(1)));
        assert_eq!(take(&mut map, "topP", &At::ROOT).unwrap(), None);
        assert!(map.is_empty());
        let mut both = json!({"topK": 1, "top_k": 2}).as_object().unwrap().clone();
        assert_eq!(take(&mut both, "topK", &At::ROOT).unwrap_err().code, "duplicate_key");
    }

    #[test]
    fn integers_come_as_numbers_whole_floats_and_strings() {
        for value in [json!(40), json!(40.0), json!("40")] {
            assert_eq!(integer(&value, &At::ROOT).unwrap(), 40);
        }
        assert!(integer(&json!(40.5), &At::ROOT).is_err());
        assert!(natural(&json!(-1), &At::ROOT).is_err());
    }

    #[test]
    fn spellings_convert_both_ways() {
        assert_eq!(snake("parametersJsonSchema"), "parameters_json_schema");
        assert_eq!(camel("parameters_json_schema"), "parametersJsonSchema");
        assert_eq!(camel("_private"), "_private");
    }
}
