//! Small checks the three readers share.

use serde_json::{Map, Value};

/// The first key of `object` that is not known.
pub(crate) fn unknown<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Option<&'a str> {
    object.keys().map(String::as_str).find(|key| !known.contains(key))
}

/// A key whose value is there and not null.
pub(crate) fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// Letters, digits and these, no more than `most` of them and at least one.
pub(crate) fn is_name(name: &str, also: &str, most: usize) -> bool {
    !name.is_empty()
        && name.len() <= most
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter))
}

/// Undoes percent encoding; what is not valid stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = code.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
