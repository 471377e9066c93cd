//! Whether a value follows a JSON Schema, as far as the keywords that structured output uses go.
//!
//! Looked at: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `minProperties`,
//! `maxProperties`, `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, `minLength`, `maxLength`, `minimum`,
//! `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `anyOf`, `oneOf`, `allOf`, `not`,
//! `if`/`then`/`else`, and `$ref` within the schema. Everything else (`pattern`, `format`, schemas elsewhere) is passed
//! over: a value is only ever said to be wrong where it is. A schema that takes too many steps, or refers to itself
//! without end, is given up as not violated.
//!
//! Messages name places and keywords, never what the answer says.

use serde_json::{Map, Value};
use std::collections::HashSet;

/// Steps of one validation.
const STEPS: u32 = 100_000;
/// Deepest nesting of schemas within schemas.
const DEPTH: u32 = 128;

/// What does not follow the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Steps to the place, the last first.
    path: Vec<String>,
    message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            return write!(f, "the answer: {}", self.message);
        }
        let mut path = self.path.iter().rev();
        f.write_str(path.next().map_or("", |step| step.strip_prefix('.').unwrap_or(step)))?;
        path.try_for_each(|step| f.write_str(step))?;
        write!(f, ": {}", self.message)
    }
}

/// The first violation found.
pub(super) fn violation(schema: &Value, value: &Value) -> Option<Violation> {
    let mut checker = Checker { root: schema, left: STEPS };
    match checker.check(schema, value, 0) {
        Err(Stop::Violated(violation)) => Some(violation),
        Err(Stop::Spent) | Ok(()) => None,
    }
}

enum Stop {
    Violated(Violation),
    /// No verdict.
    Spent,
}

type Checked = Result<(), Stop>;

fn violated(message: impl Into<String>) -> Checked {
    Err(Stop::Violated(Violation { path: Vec::new(), message: message.into() }))
}

/// Puts a violation at its place.
fn at(step: impl FnOnce() -> String, checked: Checked) -> Checked {
    checked.map_err(|stop| match stop {
        Stop::Violated(mut violation) => {
            violation.path.push(step());
            Stop::Violated(violation)
        }
        Stop::Spent => Stop::Spent,
    })
}

struct Checker<'s> {
    root: &'s Value,
    left: u32,
}

impl<'s> Checker<'s> {
    fn check(&mut self, schema: &'s Value, value: &Value, depth: u32) -> Checked {
        self.left = self.left.checked_sub(1).ok_or(Stop::Spent)?;
        if depth > DEPTH {
            return Err(Stop::Spent);
        }
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return violated("nothing is allowed here"),
            _ => return Ok(()),
        };
        if let Some(to) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
        {
            self.check(target, value, depth + 1)?;
        }
        kind(schema, value)?;
        one_of_values(schema, value)?;
        match value {
            Value::Object(fields) => self.object(schema, fields, depth)?,
            Value::Array(items) => self.array(schema, items, depth)?,
            Value::String(text) => string(schema, text)?,
            Value::Number(_) => number(schema, value.as_f64().unwrap_or_default())?,
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, value, depth)
    }

    fn object(&mut self, schema: &'s Map<String, Value>, fields: &Map<String, Value>, depth: u32) -> Checked {
        for name in list(schema, "required").filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return violated(format!("the required field `{name}` is missing"));
            }
        }
        bounds(schema, ("minProperties", "maxProperties"), fields.len(), "fields")?;
        let properties = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties"));
        for (name, value) in fields {
            match (properties.and_then(|all| all.get(name)), more) {
                (Some(own), _) => at(|| format!(".{name}"), self.check(own, value, depth + 1))?,
                (None, Some(Value::Bool(false))) => return violated("a field that the schema does not have"),
                (None, Some(more)) => at(|| ".*".to_owned(), self.check(more, value, depth + 1))?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn array(&mut self, schema: &'s Map<String, Value>, items: &[Value], depth: u32) -> Checked {
        bounds(schema, ("minItems", "maxItems"), items.len(), "items")?;
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = HashSet::new();
            if !items.iter().all(|item| seen.insert(item.to_string())) {
                return violated("the same item twice");
            }
        }
        let mut first = list(schema, "prefixItems");
        let rest = schema.get("items");
        for (i, item) in items.iter().enumerate() {
            if let Some(own) = first.next().or(rest) {
                at(|| format!("[{i}]"), self.check(own, item, depth + 1))?;
            }
        }
        Ok(())
    }

    fn combined(&mut self, schema: &'s Map<String, Value>, value: &Value, depth: u32) -> Checked {
        for all in list(schema, "allOf") {
            self.check(all, value, depth + 1)?;
        }
        if schema.contains_key("anyOf") && self.count(list(schema, "anyOf"), value, depth, 1)? == 0 {
            return violated("fits nothing of `anyOf`");
        }
        if schema.contains_key("oneOf") {
            match self.count(list(schema, "oneOf"), value, depth, 2)? {
                0 => return violated("fits nothing of `oneOf`"),
                1 => {}
                _ => return violated("fits more than one of `oneOf`"),
            }
        }
        if let Some(not) = schema.get("not")
            && self.fits(not, value, depth)?
        {
            return violated("is what `not` excludes");
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.fits(condition, value, depth)? { "then" } else { "else" };
            if let Some(then) = schema.get(branch) {
                self.check(then, value, depth + 1)?;
            }
        }
        Ok(())
    }

    /// How many of these it fits, counted up to `enough`.
    fn count(
        &mut self,
        schemas: impl Iterator<Item = &'s Value>,
        value: &Value,
        depth: u32,
        enough: usize,
    ) -> Result<usize, Stop> {
        let mut fitting = 0;
        for schema in schemas {
            fitting += usize::from(self.fits(schema, value, depth)?);
            if fitting == enough {
                break;
            }
        }
        Ok(fitting)
    }

    fn fits(&mut self, schema: &'s Value, value: &Value, depth: u32) -> Result<bool, Stop> {
        match self.check(schema, value, depth + 1) {
            Ok(()) => Ok(true),
            Err(Stop::Violated(_)) => Ok(false),
            Err(Stop::Spent) => Err(Stop::Spent),
        }
    }
}

fn list<'s>(schema: &'s Map<String, Value>, key: &str) -> impl Iterator<Item = &'s Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn kind(schema: &Map<String, Value>, value: &Value) -> Checked {
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    };
    let fits = match schema.get("type") {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let expected = schema.get("type").map(Value::to_string).unwrap_or_default();
    violated(format!("expected {expected}, found {}", name_of(value)))
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn one_of_values(schema: &Map<String, Value>, value: &Value) -> Checked {
    let same = |other: &Value| match (value.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => value == other,
    };
    if schema.get("const").is_some_and(|only| !same(only)) {
        return violated("is not the value of `const`");
    }
    let choices = schema.get("enum").and_then(Value::as_array);
    if choices.is_some_and(|choices| !choices.iter().any(same)) {
        return violated("is no value of `enum`");
    }
    Ok(())
}

fn string(schema: &Map<String, Value>, text: &str) -> Checked {
    if schema.contains_key("minLength") || schema.contains_key("maxLength") {
        return bounds(schema, ("minLength", "maxLength"), text.chars().count(), "characters");
    }
    Ok(())
}

fn bounds(schema: &Map<String, Value>, (least, most): (&str, &str), count: usize, of: &str) -> Checked {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let count = count as f64;
    if bound(least).is_some_and(|least| count < least) {
        return violated(format!("fewer {of} than `{least}`"));
    }
    if bound(most).is_some_and(|most| count > most) {
        return violated(format!("more {of} than `{most}`"));
    }
    Ok(())
}

fn number(schema: &Map<String, Value>, number: f64) -> Checked {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    // `exclusiveMinimum: true` of older drafts makes `minimum` exclusive.
    let is_strict = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let below = |least: f64| if is_strict("exclusiveMinimum") { number <= least } else { number < least };
    let above = |most: f64| if is_strict("exclusiveMaximum") { number >= most } else { number > most };
    if bound("minimum").is_some_and(below) || bound("exclusiveMinimum").is_some_and(|least| number <= least) {
        return violated("is less than the schema's minimum");
    }
    if bound("maximum").is_some_and(above) || bound("exclusiveMaximum").is_some_and(|most| number >= most) {
        return violated("is more than the schema's maximum");
    }
    let is_off = |step: f64| {
        let times = number / step;
        step > 0.0 && (times - times.round()).abs() > 1e-9 * times.abs().max(1.0)
    };
    if bound("multipleOf").is_some_and(is_off) {
        return violated("is no multiple of `multipleOf`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn says(schema: &Value, value: &Value) -> Option<String> {
        violation(schema, value).map(|violation| violation.to_string())
    }

    #[test]
    fn a_violation_is_named_by_its_place_and_never_quotes_the_answer() {
        let schema = json!({
            "type": "object",
            "properties": {
                "people": { "type": "array", "items": { "$ref": "#/$defs/person" }, "minItems": 1 },
                "mood": { "enum": ["good", "bad"] },
            },
            "required": ["people"],
            "additionalProperties": false,
            "$defs": { "person": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "age": { "type": ["integer", "null"], "minimum": 0 } },
                "required": ["name", "age"],
            } },
        });
        let fine = json!({"people": [{"name": "Ada", "age": 36}, {"name": "B", "age": null}], "mood": "good"});
        assert_eq!(says(&schema, &fine), None);
        for (value, expected) in [
            (json!([]), "the answer: expected \"object\", found an array"),
            (json!({}), "the answer: the required field `people` is missing"),
            (json!({"people": []}), "people: fewer items than `minItems`"),
            (json!({"people": [{"name": 1, "age": 1}]}), "people[0].name: expected \"string\", found a number"),
            (
                json!({"people": [{"name": "a", "age": 1.5}]}),
                "people[0].age: expected [\"integer\",\"null\"], found a number",
            ),
            (json!({"people": [{"name": "a", "age": -1}]}), "people[0].age: is less than the schema's minimum"),
            (json!({"people": [{"name": "a", "age": 1}], "mood": "secret"}), "mood: is no value of `enum`"),
            (
                json!({"people": [{"name": "a", "age": 1}], "secret": 1}),
                "the answer: a field that the schema does not have",
            ),
        ] {
            assert_eq!(says(&schema, &value).as_deref(), Some(expected));
        }
    }

    #[test]
    fn every_keyword_that_is_looked_at_admits_and_refuses() {
        for (schema, fits, fails) in [
            (json!({"const": 1}), json!(1.0), json!(2)),
            (json!({"type": "integer"}), json!(2.0), json!(2.5)),
            (json!({"minLength": 2, "maxLength": 3}), json!("äöü"), json!("ä")),
            (json!({"exclusiveMinimum": 1, "maximum": 2}), json!(2), json!(1)),
            (json!({"minimum": 1, "exclusiveMinimum": true}), json!(1.5), json!(1)),
            (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
            (
                json!({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}),
                json!(["a", 1]),
                json!(["a", "b"]),
            ),
            (json!({"uniqueItems": true, "maxItems": 2}), json!([1, 2]), json!([1, 1])),
            (json!({"minProperties": 1, "maxProperties": 1}), json!({"a": 1}), json!({})),
            (json!({"additionalProperties": {"type": "string"}}), json!({"a": "b"}), json!({"a": 1})),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(null), json!(1)),
            (json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}), json!(1.5), json!(1)),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1), json!(3)),
            (json!({"not": {"type": "string"}}), json!(1), json!("a")),
            (
                json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": "null"}}),
                json!("a"),
                json!(1),
            ),
            (json!({"items": false}), json!([]), json!([1])),
        ] {
            assert_eq!(says(&schema, &fits), None, "{schema} {fits}");
            assert!(says(&schema, &fails).is_some(), "{schema} {fails}");
        }
    }

    #[test]
    fn what_is_not_looked_at_is_never_said_to_be_violated() {
        for schema in [
            json!({"pattern": "^a$", "format": "email"}),
            json!({"$ref": "https://example.com/schema"}),
            json!({"$ref": "#/nowhere"}),
            json!({"patternProperties": {"^a": {}}, "additionalProperties": false}),
            json!("no schema"),
        ] {
            assert_eq!(says(&schema, &json!("b")), None, "{schema}");
            assert_eq!(says(&schema, &json!({"b": 1})), None, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_without_end_comes_to_an_end() {
        let endless = json!({"$ref": "#", "anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert_eq!(says(&endless, &json!(1)), None);
        let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["value"]});
        let bad = json!({"value": 1, "next": {"value": 2, "next": {}}});
        assert_eq!(says(&tree, &bad).as_deref(), Some("next.next: the required field `value` is missing"));
    }
}
