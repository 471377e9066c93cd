//! Fields with no canonical place on their way back: `Request::extra`, found by the path of the object they stood in.

use canon::Drops;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The kept fields of a request of this dialect, taken out as the encoder reaches their places.
pub(super) struct Overlay<'a> {
    /// By the path of the object, then by field.
    by_place: BTreeMap<&'a str, Vec<(&'a str, &'a Value)>>,
}

impl<'a> Overlay<'a> {
    /// Everything kept; a key without a path is a top-level field, at place `""`.
    pub(super) fn new(extra: &'a Map<String, Value>) -> Self {
        let mut by_place: BTreeMap<&str, Vec<(&str, &Value)>> = BTreeMap::new();
        for (key, value) in extra {
            let (place, field) = key.rsplit_once('.').unwrap_or(("", key));
            by_place.entry(place).or_default().push((field, value));
        }
        Self { by_place }
    }

    /// Nothing kept: the request came in another dialect.
    pub(super) fn none() -> Self {
        Self { by_place: BTreeMap::new() }
    }

    /// Writes back what stood in the object at `place`. A field the encoder wrote already is replaced by what stood
    /// there only for `source`, whose canonical form is the poorer one.
    pub(super) fn restore(&mut self, place: &str, object: &mut Map<String, Value>) {
        for (field, value) in self.by_place.remove(place).unwrap_or_default() {
            if field == "source" || !object.contains_key(field) {
                object.insert(field.to_owned(), value.clone());
            }
        }
    }

    /// Reports what found no place.
    pub(super) fn report_rest(&mut self, drops: &mut Drops) {
        for (place, fields) in std::mem::take(&mut self.by_place) {
            for (field, _) in fields {
                let path = if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
                drops.add(path, "the part of the request it belonged to was altered");
            }
        }
    }
}
