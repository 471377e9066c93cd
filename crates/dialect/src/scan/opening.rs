//! What names a conversation: the words a caller says for it, and what it begins with.
//!
//! Read again from the body, and only for requests that are asked for it: the scan itself records no more than how many
//! messages a conversation begins with.

use super::{Cursor, Scan};
use bytes::Bytes;
use std::hash::Hasher;
use std::ops::Range;

/// Of a value longer than twice this, such as a picture or a book in the instructions, the two ends and the length are
/// read: what else differs in the middle alone begins no other conversation.
const END: usize = 2 << 10;

/// Members that move from turn to turn of one conversation: Anthropic's marks of what is to be cached.
const WANDERING: &[u8] = b"cache_control";

impl Scan {
    /// The value of a top-level field that is a string with something in it, as written, or a number.
    pub fn word<'b>(&self, body: &'b [u8], key: &str) -> Option<&'b [u8]> {
        let value = body.get(self.fields.iter().find(|field| field.key == key)?.value_range.clone())?;
        match value {
            [b'"', word @ .., b'"'] => Some(word).filter(|word| !word.is_empty()),
            [b'-' | b'0'..=b'9', ..] => Some(value),
            _ => None,
        }
    }

    /// Hashes tools, instructions and the caller's first turn; the same for every turn of a conversation, however its
    /// white space and the marks of what is to be cached change.
    pub fn hash_opening(&self, body: &[u8], hasher: &mut impl Hasher) {
        for field in &self.fields {
            let most = match &*field.key {
                "messages" | "contents" => self.opening_messages,
                "tools" | "functions" | "system" | "systemInstruction" | "system_instruction" => usize::MAX,
                _ => continue,
            };
            hasher.write(field.key.as_bytes());
            let value = body.get(field.value_range.clone()).unwrap_or_default();
            // The body was read whole before: it does not stop being JSON here.
            let _read = hash(&mut Cursor::new(value), most, hasher);
        }
    }
}

/// Hashes a value: of an array, the first `most` elements.
fn hash(cursor: &mut Cursor<'_>, most: usize, hasher: &mut impl Hasher) -> super::json::Parsed<()> {
    let bracket = cursor.token();
    if !matches!(bracket, b'{' | b'[') {
        let start = cursor.at();
        cursor.skip()?;
        scalar(cursor.bytes(start..cursor.at()), hasher);
        return Ok(());
    }
    hasher.write_u8(bracket);
    let mut more = cursor.enter()?;
    let mut count = 0;
    while more && (bracket == b'{' || count < most) {
        let key = if bracket == b'{' { Some(cursor.key()?) } else { None };
        let key = key.map(|key| cursor.bytes(key.inside));
        cursor.token();
        if key == Some(WANDERING) {
            cursor.skip()?;
        } else {
            scalar(key.unwrap_or_default(), hasher);
            hash(cursor, usize::MAX, hasher)?;
        }
        count += 1;
        more = cursor.another()?;
    }
    hasher.write_u8(b'.');
    Ok(())
}

fn scalar(bytes: &[u8], hasher: &mut impl Hasher) {
    hasher.write_usize(bytes.len());
    match (bytes.first_chunk::<END>(), bytes.last_chunk::<END>()) {
        (Some(head), Some(tail)) if bytes.len() > 2 * END => {
            hasher.write(head);
            hasher.write(tail);
        }
        _ => hasher.write(bytes),
    }
}

/// Writes white space over a top-level field and forgets it: nobody upstream sees it, and everything else stays where
/// it is.
pub fn blank(body: Bytes, scan: &mut Scan, key: &str) -> Bytes {
    let Some(at) = scan.fields.iter().position(|field| field.key == key) else { return body };
    let field = scan.fields.remove(at);
    let range: Range<usize> = match (scan.fields.get(at), at.checked_sub(1).and_then(|before| scan.fields.get(before)))
    {
        (Some(next), _) => field.key_range.start..next.key_range.start,
        (None, Some(previous)) => previous.value_range.end..field.value_range.end,
        (None, None) => field.key_range.start..field.value_range.end,
    };
    // Nobody else holds the body yet, so that it is not copied.
    let mut bytes = body.try_into_mut().unwrap_or_else(|shared| bytes::BytesMut::from(&*shared));
    if let Some(gone) = bytes.get_mut(range) {
        gone.fill(b' ');
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::scan;
    use super::*;
    use crate::PathFacts;
    use canon::DialectName;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::hash::DefaultHasher;

    fn read(dialect: DialectName, body: &str) -> Scan {
        let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
        scan(dialect, &path, body.as_bytes()).unwrap()
    }

    fn opening(dialect: DialectName, body: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        read(dialect, body).hash_opening(body.as_bytes(), &mut hasher);
        hasher.finish()
    }

    /// Instructions, tools and the turns after the first.
    fn talk(dialect: DialectName, system: &str, first: &str, rest: &[(&str, &str)]) -> String {
        let turns = |open: &str, model: &str, close: &str, text: fn(&str) -> String| {
            let says = |(who, what): &(&str, &str)| {
                let who = if *who == "model" { model } else { "user" };
                format!(r#",{{"role":"{who}",{open}{}{close}}}"#, text(what))
            };
            let first = format!(r#"{{"role":"user",{open}{}{close}}}"#, text(first));
            first + &rest.iter().map(says).collect::<String>()
        };
        let quoted = |text: &str| Value::from(text).to_string();
        match dialect {
            DialectName::OpenaiChat => format!(
                r#"{{"model":"m","tools":[{{"type":"function","function":{{"name":"f"}}}}],"messages":[{{"role":"system","content":{}}},{}]}}"#,
                quoted(system),
                turns(r#""content":"#, "assistant", "", quoted)
            ),
            DialectName::AnthropicMessages => format!(
                r#"{{"model":"m","system":{},"messages":[{}],"max_tokens":9}}"#,
                quoted(system),
                turns(r#""content":"#, "assistant", "", quoted)
            ),
            DialectName::Gemini => format!(
                r#"{{"systemInstruction":{{"parts":[{{"text":{}}}]}},"contents":[{}]}}"#,
                quoted(system),
                turns(r#""parts":[{"text":"#, "model", "}]", quoted)
            ),
        }
    }

    #[test]
    fn a_conversation_begins_the_same_at_every_turn_and_no_other_does() {
        for dialect in DialectName::ALL {
            let first = talk(dialect, "be kind", "hello", &[]);
            let later = talk(dialect, "be kind", "hello", &[("model", "hi"), ("user", "and?"), ("model", "so")]);
            assert_eq!(opening(dialect, &first), opening(dialect, &later), "{dialect}");
            assert_eq!((read(dialect, &first).model_turns, read(dialect, &later).model_turns), (0, 2), "{dialect}");
            for other in [talk(dialect, "be kind", "hullo", &[]), talk(dialect, "be brief", "hello", &[])] {
                assert_ne!(opening(dialect, &first), opening(dialect, &other), "{dialect}");
            }
        }
    }

    #[test]
    fn marks_of_what_is_cached_and_white_space_begin_no_other_conversation() {
        let plain = r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}]}"#;
        let marked = r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],
            "messages":[{"role":"user","content":[{"type":"text","text":"hello","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}"#;
        let dialect = DialectName::AnthropicMessages;
        assert_eq!(opening(dialect, plain), opening(dialect, marked));
    }

    #[test]
    fn of_what_is_long_the_ends_and_the_length_tell() {
        let of = |middle: &str| {
            let long = format!("{}{middle}{}", "a".repeat(3 << 10), "z".repeat(3 << 10));
            opening(DialectName::Gemini, &talk(DialectName::Gemini, "s", &long, &[]))
        };
        assert_ne!(of("one"), of("three"));
        assert_eq!(of("one"), of("two"));
    }

    #[test]
    fn a_word_is_a_string_with_something_in_it_or_a_number() {
        for (value, word) in [
            (r#""s-1""#, Some("s-1")),
            ("17", Some("17")),
            ("-0.5", Some("-0.5")),
            (r#""""#, None),
            ("null", None),
            ("{}", None),
            ("true", None),
        ] {
            let body = format!(r#"{{"model":"m","messages":[],"session_id":{value}}}"#);
            let found = read(DialectName::OpenaiChat, &body).word(body.as_bytes(), "session_id").map(<[u8]>::to_vec);
            assert_eq!(found.as_deref(), word.map(str::as_bytes), "{value}");
        }
    }

    proptest! {
        /// Whatever stands before and behind it, the body without the field is the body as if it had never been sent.
        #[test]
        fn a_blanked_field_was_never_there(before in 0_usize..3, behind in 0_usize..3, space in " {0,2}") {
            let others = |from: usize, count: usize| (from..from + count).map(|n| format!(r#""k{n}":{n}"#));
            let field = format!(r#""session_id"{space}:{space}"s""#);
            let members: Vec<String> =
                others(0, before).chain([field]).chain(others(9, behind)).collect();
            let text = format!("{{{}}}", members.join(&format!("{space},{space}")));
            let mut found = read(DialectName::Gemini, &text);
            let blanked = blank(Bytes::from(text.clone()), &mut found, "session_id");
            prop_assert_eq!(blanked.len(), text.len());
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            expected.as_object_mut().unwrap().remove("session_id");
            prop_assert_eq!(serde_json::from_slice::<Value>(&blanked).unwrap(), expected);
            prop_assert_eq!(read(DialectName::Gemini, std::str::from_utf8(&blanked).unwrap()).fields, found.fields);
        }
    }
}
