//! Fields with no canonical place on their way back: `Request::extra`, found by the path of the object they stood in.

use crate::place;
use canon::Drops;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The kept fields of a request of this dialect, taken out as the encoder reaches their places.
pub(super) struct Overlay<'a> {
    /// By the path of the object.
    by_place: BTreeMap<&'a str, Vec<Kept<'a>>>,
    /// Where the encoder writes something else.
    overruled: Vec<&'a str>,
}

struct Kept<'a> {
    /// The whole path.
    path: &'a str,
    /// Its last step.
    field: Cow<'a, str>,
    value: &'a Value,
}

impl<'a> Overlay<'a> {
    /// Everything kept; a top-level field is at place `""`.
    pub(super) fn new(extra: &'a Map<String, Value>) -> Self {
        let mut by_place: BTreeMap<&str, Vec<Kept<'a>>> = BTreeMap::new();
        for (path, value) in extra {
            let (place, field) = place::split_last(path);
            by_place.entry(place).or_default().push(Kept { path, field, value });
        }
        Self { by_place, overruled: Vec::new() }
    }

    /// Nothing kept: the request came in another dialect.
    pub(super) fn none() -> Self {
        Self { by_place: BTreeMap::new(), overruled: Vec::new() }
    }

    /// Writes back what stood in the object at `place`. A field the encoder wrote already is replaced by what stood
    /// there only for `source`, whose canonical form is the poorer one.
    pub(super) fn restore(&mut self, place: &str, object: &mut Map<String, Value>) {
        for Kept { path, field, value } in self.by_place.remove(place).unwrap_or_default() {
            match object.get(field.as_ref()) {
                Some(written) if field != "source" => {
                    if written != value {
                        self.overruled.push(path);
                    }
                }
                _ => {
                    object.insert(field.into_owned(), value.clone());
                }
            }
        }
    }

    /// Reports what was not written.
    pub(super) fn report_rest(&mut self, drops: &mut Drops) {
        for path in std::mem::take(&mut self.overruled) {
            drops.add(path, "the translated request says something else there");
        }
        for kept in std::mem::take(&mut self.by_place).into_values().flatten() {
            drops.add(kept.path, "the part of the request it belonged to was altered");
        }
    }
}
