//! Edits by byte range, and the members of one object as the things that are edited.

use crate::scan::Field;
use bytes::Bytes;
use canon::Drops;
use std::ops::Range;

/// What is to be replaced in a body.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub(super) fn replace(&mut self, range: Range<usize>, with: String) {
        self.0.push((range, with));
    }

    /// Something is to be written at this place already.
    pub(super) fn has_insertion(&self, at: usize) -> bool {
        self.0.iter().any(|(range, _)| *range == (at..at))
    }

    /// The body with the edits made; the same buffer when there are none. An edit inside another one is void: what it
    /// would have changed is gone.
    pub(super) fn apply(mut self, body: &Bytes) -> Bytes {
        if self.0.is_empty() {
            return body.clone();
        }
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let grown: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut edited = Vec::with_capacity(body.len() + grown);
        let mut from = 0;
        for (range, with) in self.0 {
            let Some(kept) = body.get(from..range.start) else { continue };
            edited.extend_from_slice(kept);
            edited.extend_from_slice(with.as_bytes());
            from = range.end;
        }
        edited.extend_from_slice(body.get(from..).unwrap_or_default());
        edited.into()
    }
}

/// What removing a member from its object takes: its own bytes and the comma that joins it to what is kept before, or
/// else to what comes after. Made so that the ranges of any number of removed members meet and never overlap.
pub(super) fn removal(
    field: &Field,
    kept_before: bool,
    previous_end: Option<usize>,
    next: Option<usize>,
) -> Range<usize> {
    match previous_end {
        Some(end) if kept_before => end..field.value_range.end,
        _ => field.key_range.start..next.unwrap_or(field.value_range.end),
    }
}

/// What happens to one member.
#[derive(Debug, Clone, Default)]
struct Change {
    removed: bool,
    key: Option<String>,
    value: Option<String>,
    after: Option<String>,
}

/// The members of one object, with what is to be changed of them.
#[derive(Debug)]
pub(super) struct Members<'a> {
    body: &'a [u8],
    fields: &'a [Field],
    changes: Vec<Change>,
    path: &'static str,
}

impl<'a> Members<'a> {
    /// `path` = how reports name a member: what stands before its key.
    pub(super) fn new(body: &'a [u8], fields: &'a [Field], path: &'static str) -> Self {
        Self { body, fields, changes: vec![Change::default(); fields.len()], path }
    }

    /// None of them is left.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.removed)
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    pub(super) fn field(&self, at: usize) -> Option<&'a Field> {
        self.fields.get(at)
    }

    /// The member of this name that is still there.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        let mut both = self.fields.iter().zip(&self.changes);
        both.position(|(field, change)| !change.removed && change.key.as_deref().unwrap_or(&field.key) == key)
    }

    /// The member's value as it stands.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        if let Some(value) = self.changes.get(at).and_then(|change| change.value.as_ref()) {
            return value.as_bytes();
        }
        self.fields.get(at).and_then(|field| self.body.get(field.value_range.clone())).unwrap_or_default()
    }

    pub(super) fn set(&mut self, at: usize, value: String) {
        self.change(at, |change| change.value = Some(value));
    }

    pub(super) fn rename(&mut self, at: usize, key: &str) {
        self.change(at, |change| change.key = Some(key.to_owned()));
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.change(at, |change| change.removed = true);
    }

    /// Writes a new member behind another one.
    pub(super) fn add_after(&mut self, at: usize, key: &str, value: &str) {
        self.change(at, |change| change.after = Some(format!(",\"{key}\":{value}")));
    }

    /// Changes a value and reports it.
    pub(super) fn lower(&mut self, at: usize, value: String, reason: &'static str, drops: &mut Drops) {
        self.report(at, reason, drops);
        self.set(at, value);
    }

    /// Removes every member of this name and reports it. One that is null says nothing, so nothing is lost.
    pub(super) fn drop(&mut self, key: &str, reason: &'static str, drops: &mut Drops) {
        while let Some(at) = self.find(key) {
            if self.value(at) != b"null" {
                self.report(at, reason, drops);
            }
            self.remove(at);
        }
    }

    fn report(&self, at: usize, reason: &'static str, drops: &mut Drops) {
        if let Some(field) = self.fields.get(at) {
            drops.add(format!("{}{}", self.path, field.key), reason);
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Change)) {
        if let Some(member) = self.changes.get_mut(at) {
            change(member);
        }
    }

    /// Turns the changes into edits.
    pub(super) fn write(self, edits: &mut Edits) {
        let mut kept_before = false;
        let mut previous_end = None;
        for (at, (field, change)) in self.fields.iter().zip(self.changes).enumerate() {
            if change.removed {
                let next = self.fields.get(at + 1).map(|next| next.key_range.start);
                edits.replace(removal(field, kept_before, previous_end, next), String::new());
            } else {
                kept_before = true;
                if let Some(key) = change.key {
                    edits.replace(field.key_range.clone(), serde_json::Value::from(key).to_string());
                }
                if let Some(value) = change.value {
                    edits.replace(field.value_range.clone(), value);
                }
                if let Some(after) = change.after {
                    edits.replace(field.value_range.end..field.value_range.end, after);
                }
            }
            previous_end = Some(field.value_range.end);
        }
    }
}
