//! Reading a caller's JSON field by field, with errors that name the place, what stood there and what was expected.

use crate::{BadRequest, place};
use serde_json::{Map, Value};
use std::fmt;

/// Where in the body a value stands; written out only when somebody asks.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The body.
    Root,
    /// A field.
    Key(&'a Path<'a>, &'a str),
    /// An element.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// The path of a field below this one.
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Path::Key(self, key)
    }

    /// The path of an element below this one.
    pub(super) fn index(&'a self, index: usize) -> Self {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(parent, key) => {
                parent.fmt(f)?;
                place::write_key(f, key, matches!(parent, Path::Root))
            }
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What a value is, in the words of an error message.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value of the wrong type.
pub(super) fn wrong_type(path: &Path<'_>, expected: &str, found: &Value) -> BadRequest {
    let place = path.to_string();
    let found = kind_of(found);
    if place.is_empty() {
        return BadRequest {
            code: "invalid_type",
            message: format!("the body must be {expected}, found {found}"),
            parameter: None,
        };
    }
    BadRequest {
        code: "invalid_type",
        message: format!("{place} must be {expected}, found {found}"),
        parameter: Some(place),
    }
}

/// A value of the right type that is not one of those expected.
pub(super) fn wrong_value(path: &Path<'_>, expected: &str, found: &str) -> BadRequest {
    let place = path.to_string();
    let found: String = found.chars().take(60).collect();
    BadRequest {
        code: "invalid_value",
        message: format!("{place} must be {expected}, found \"{found}\""),
        parameter: Some(place),
    }
}

/// A field that has to be there and is not.
pub(super) fn missing(path: &Path<'_>, expected: &str) -> BadRequest {
    let place = path.to_string();
    BadRequest {
        code: "missing_field",
        message: format!("{place} is missing: expected {expected}"),
        parameter: Some(place),
    }
}

/// An object being taken apart. `null` counts as absent, as the API's own optional fields do.
pub(super) struct Fields<'p> {
    map: Map<String, Value>,
    path: Path<'p>,
}

impl<'p> Fields<'p> {
    /// Takes a value that must be an object.
    pub(super) fn new(value: Value, path: Path<'p>) -> Result<Self, BadRequest> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong_type(&path, "an object", &other)),
        }
    }

    /// Where it stands.
    pub(super) fn path(&self) -> Path<'p> {
        self.path
    }

    /// A string field, looked at without taking it.
    pub(super) fn peek_str(&self, key: &str) -> Option<&str> {
        self.map.get(key).and_then(Value::as_str)
    }

    /// Any field, looked at without taking it.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Any value; `null` is none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// The object as it still is, to be kept whole.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// A string, if there.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path.key(key), "a string", &other)),
        }
    }

    /// A string that must be there.
    pub(super) fn required_string(&mut self, key: &str) -> Result<String, BadRequest> {
        self.string(key)?.ok_or_else(|| missing(&self.path.key(key), "a string"))
    }

    /// A boolean, if there.
    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(&self.path.key(key), "a boolean", &other)),
        }
    }

    /// A number, if there.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| wrong_type(&self.path.key(key), "a number", &value)),
        }
    }

    /// A whole number ≥ 0, if there; `10.0` counts, because some clients have only floats.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, BadRequest> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let path = self.path.key(key);
        if let Some(count) = value.as_u64() {
            return Ok(Some(count));
        }
        match value.as_f64() {
            Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 9e15 =>
            {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
                Ok(Some(number as u64))
            }
            Some(number) => Err(wrong_value(&path, "a whole number of at least 0", &number.to_string())),
            None => Err(wrong_type(&path, "a whole number", &value)),
        }
    }

    /// An array, if there.
    pub(super) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type(&self.path.key(key), "an array", &other)),
        }
    }

    /// An object as it is, if there.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, BadRequest> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(wrong_type(&self.path.key(key), "an object", &other)),
        }
    }

    /// Keeps everything not taken, each under its path.
    pub(super) fn keep_rest(self, extra: &mut Map<String, Value>) {
        for (key, value) in self.map {
            if !value.is_null() {
                extra.insert(self.path.key(&key).to_string(), value);
            }
        }
    }
}
