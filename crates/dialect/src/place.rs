//! Paths of the fields a decoder keeps in `Request::extra`: `generationConfig.speechConfig`, `tools[0].defer_loading`.
//!
//! A key of the caller's that could be read as a path, or as none, stands quoted in brackets, as JSON:
//! `["generationConfig.maxOutputTokens"]` is one field of the body, and `tools[0][""]` the tool's field without a name.

use std::borrow::Cow;
use std::fmt;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Into the field of this name.
    Key(Cow<'a, str>),
    /// Into an element of a list.
    Index,
}

/// Writes the step into a field. `first` = nothing stands before it.
pub(crate) fn write_key(f: &mut fmt::Formatter<'_>, key: &str, first: bool) -> fmt::Result {
    if key.is_empty() || key.contains(['.', '[', ']']) {
        return write!(f, "[{}]", serde_json::Value::from(key));
    }
    if !first {
        f.write_str(".")?;
    }
    f.write_str(key)
}

/// The steps of a path. What was not written by [`write_key`] is never refused: it is read as names as far as it goes.
pub(crate) fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    Steps { rest: path }.map(|(step, _)| step)
}

/// A path taken apart into that of the object and the name of the field in it.
pub(crate) fn split_last(path: &str) -> (&str, Cow<'_, str>) {
    let mut before = path;
    let mut last = None;
    for (step, rest) in (Steps { rest: path }) {
        let object = path.strip_suffix(before).unwrap_or_default();
        before = rest;
        last = Some((object, step));
    }
    match last {
        Some((object, Step::Key(key))) => (object, key),
        // An element stands in no object; nothing is ever looked up under its path.
        Some((_, Step::Index)) | None => (path, Cow::Borrowed("")),
    }
}

struct Steps<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Steps<'a> {
    /// The step and what follows it.
    type Item = (Step<'a>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (step, rest) = quoted(self.rest).or_else(|| index(self.rest)).unwrap_or_else(|| plain(self.rest));
        self.rest = rest;
        Some((step, rest))
    }
}

fn quoted(path: &str) -> Option<(Step<'_>, &str)> {
    let text = path.strip_prefix('[').filter(|text| text.starts_with('"'))?;
    let mut reader = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let key = reader.next()?.ok()?;
    let rest = text.get(reader.byte_offset()..)?.strip_prefix(']')?;
    Some((Step::Key(Cow::Owned(key)), rest))
}

fn index(path: &str) -> Option<(Step<'_>, &str)> {
    let (digits, rest) = path.strip_prefix('[')?.split_once(']')?;
    let is_index = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_index.then_some((Step::Index, rest))
}

fn plain(path: &str) -> (Step<'_>, &str) {
    let name = path.strip_prefix('.').unwrap_or(path);
    // A name has at least one character, so that every step gets on.
    let end = name.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map_or(name.len(), |(at, _)| at);
    let (name, rest) = name.split_at_checked(end).unwrap_or((name, ""));
    (Step::Key(Cow::Borrowed(name)), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Path(Vec<Result<String, usize>>);

    impl fmt::Display for Path {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for (at, step) in self.0.iter().enumerate() {
                match step {
                    Ok(key) => write_key(f, key, at == 0)?,
                    Err(index) => write!(f, "[{index}]")?,
                }
            }
            Ok(())
        }
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z.\\[\\]\"\\\\0-9]{0,6}", any::<String>()]
    }

    proptest! {
        #[test]
        fn a_path_is_read_as_it_was_written(
            before in prop::collection::vec(prop_oneof![3 => key().prop_map(Ok), 1 => (0..99_usize).prop_map(Err)], 0..5),
            last in key(),
        ) {
            let object = Path(before.clone()).to_string();
            let whole = Path(before.iter().cloned().chain([Ok(last.clone())]).collect());
            let expected: Vec<Step<'_>> = whole.0.iter().map(|step| match step {
                Ok(key) => Step::Key(key.as_str().into()),
                Err(_) => Step::Index,
            }).collect();
            let whole_text = whole.to_string();
            prop_assert_eq!(steps(&whole_text).collect::<Vec<_>>(), expected, "{}", &whole_text);
            prop_assert_eq!(split_last(&whole_text), (object.as_str(), Cow::from(last.as_str())), "{}", &whole_text);
        }

        #[test]
        fn what_is_no_path_is_read_to_its_end(text in "[a.\\[\\]\"\\\\0ü]{0,12}") {
            prop_assert!(steps(&text).count() <= text.len());
            split_last(&text);
        }
    }

    #[test]
    fn ordinary_names_stand_as_they_are() {
        let path = Path(vec![Ok("tools".into()), Err(0), Ok("x-mark".into()), Ok("a.b".into())]).to_string();
        assert_eq!(path, "tools[0].x-mark[\"a.b\"]");
    }
}
