//! Typed reading of a caller's JSON, with errors that name the field, the value and what was expected.

use crate::BadRequest;
use serde_json::{Map, Value};

/// An object being read: fields are taken out one by one, what is left is unknown to this build.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Reads `value`, which stands at `path` (empty = the body itself), as an object.
    pub(super) fn read(value: Value, path: &str) -> Result<Self, BadRequest> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            other => Err(wrong(path, &other, "an object")),
        }
    }

    /// The full path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a field of any type; `null` counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Puts a field back among the unknown ones.
    pub(super) fn keep(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.at(key), &other, "a string")),
        }
    }

    pub(super) fn required_string(&mut self, key: &str) -> Result<String, BadRequest> {
        self.string(key)?.ok_or_else(|| missing(&self.at(key), "a string"))
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(&self.at(key), &other, "true or false")),
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_f64().filter(|_| value.is_number());
        number.map(Some).ok_or_else(|| wrong(&self.at(key), &value, "a number"))
    }

    pub(super) fn signed(&mut self, key: &str) -> Result<Option<i64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| wrong(&self.at(key), &value, "an integer"))
    }

    pub(super) fn unsigned(&mut self, key: &str) -> Result<Option<u64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| wrong(&self.at(key), &value, "a whole number of 0 or more"))
    }

    pub(super) fn small(&mut self, key: &str) -> Result<Option<u32>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| wrong(&self.at(key), &value, "a whole number of 0 or more"))
    }

    pub(super) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(&self.at(key), &other, "an array")),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(wrong(&self.at(key), &other, "an object")),
        }
    }

    /// A nested object, to be read further.
    pub(super) fn fields(&mut self, key: &str) -> Result<Option<Self>, BadRequest> {
        let path = self.at(key);
        self.take(key).map(|value| Self::read(value, &path)).transpose()
    }

    pub(super) fn required_fields(&mut self, key: &str) -> Result<Self, BadRequest> {
        self.fields(key)?.ok_or_else(|| missing(&self.at(key), "an object"))
    }

    /// What was not taken, without nulls.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

/// A value of the wrong type.
pub(super) fn wrong(path: &str, value: &Value, expected: &str) -> BadRequest {
    let place = if path.is_empty() { "The request body".to_owned() } else { format!("`{path}`") };
    BadRequest {
        code: "invalid_type",
        message: format!("{place} is {}; expected {expected}.", describe(value)),
        parameter: (!path.is_empty()).then(|| path.to_owned()),
    }
}

/// A value of the right type that means nothing here.
pub(super) fn invalid(path: &str, value: &str, expected: &str) -> BadRequest {
    BadRequest {
        code: "invalid_value",
        message: format!("`{path}` is {}; expected {expected}.", quote(value)),
        parameter: Some(path.to_owned()),
    }
}

/// A field that must be there.
pub(super) fn missing(path: &str, expected: &str) -> BadRequest {
    BadRequest {
        code: "missing_field",
        message: format!("`{path}` is missing; expected {expected}."),
        parameter: Some(path.to_owned()),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {}", quote(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A caller's text in an error message: short, and quoted so that it cannot pass for our words.
fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
