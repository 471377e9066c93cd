//! Values as people write them in YAML: a text or a bare number, read by one function, with what was expected in the
//! error.

use serde::de::{self, Unexpected, Visitor};
use std::fmt;

/// Reads a value by its text.
#[derive(Debug)]
pub struct Written<T> {
    /// Reads the text; a number is written out first.
    pub parse: fn(&str) -> Option<T>,
    /// What an error says was expected.
    pub expected: &'static str,
}

impl<T> Written<T> {
    fn read<E: de::Error>(&self, text: &str, found: Unexpected<'_>) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(found, &self.expected))
    }
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.read(text, Unexpected::Str(text))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.read(&number.to_string(), Unexpected::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.read(&number.to_string(), Unexpected::Signed(number))
    }

    /// The shortest decimal of a float is what was written: nothing is lost on the way.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.read(&number.to_string(), Unexpected::Float(number))
    }
}
