//! The digest of a JSON text: equal for texts that differ in the order of keys, in white space and in how a character
//! is escaped; different for any other difference.
//!
//! One pass, no DOM. Numbers are taken as they are written: reading them as floats would make two large seeds one, and
//! the price of telling `1` from `1.0` is a miss that was not needed.

use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// SHA-256 of a value.
pub(crate) type Digest = [u8; 32];

/// Nesting beyond this is digested as written, so that a hostile body cannot exhaust the stack.
const DEEPEST: usize = 128;

/// What one member of the outermost object is to the digest.
pub(crate) enum Member {
    /// A part of it.
    Counts,
    /// Left out.
    LeftOut,
}

/// Digests an object; `member` is asked about each of its members, with the value as it is written. `None` = the text
/// is not one JSON object.
pub(crate) fn object(text: &[u8], member: &mut dyn FnMut(&str, &[u8]) -> Member) -> Option<Digest> {
    let mut walk = Walk { text, at: 0 };
    walk.space();
    let digest = walk.object(0, Some(member))?;
    walk.space();
    (walk.at == text.len()).then_some(digest)
}

/// Looks at the members of an object.
pub(crate) fn members(text: &[u8], member: &mut dyn FnMut(&str, &[u8])) {
    let _looked = object(text, &mut |key, value| {
        member(key, value);
        Member::LeftOut
    });
}

type Asked<'f> = Option<&'f mut dyn FnMut(&str, &[u8]) -> Member>;

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte, with the white space around it.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
            self.space();
        }
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<Digest> {
        match self.peek()? {
            b'{' if depth < DEEPEST => self.object(depth, None),
            b'[' if depth < DEEPEST => self.array(depth),
            b'{' | b'[' => Some(leaf(b'r', self.nested()?)),
            b'"' => {
                let written = self.string()?;
                Some(match unescaped(written) {
                    Some(text) => leaf(b's', text.as_bytes()),
                    None => leaf(b'r', written),
                })
            }
            _ => Some(leaf(b'n', self.word()?)),
        }
    }

    fn object(&mut self, depth: usize, mut asked: Asked<'_>) -> Option<Digest> {
        if !self.take(b'{') {
            return None;
        }
        let mut members: Vec<(Digest, Digest)> = Vec::new();
        let mut first = true;
        while self.peek()? != b'}' {
            if !first && !self.take(b',') {
                return None;
            }
            first = false;
            let written = self.string()?;
            let key = unescaped(written);
            let key_digest = key.as_ref().map_or_else(|| leaf(b'r', written), |key| leaf(b's', key.as_bytes()));
            if !self.take(b':') {
                return None;
            }
            let begin = self.at;
            let value = self.value(depth + 1)?;
            let counts = match (&mut asked, &key) {
                (Some(asked), Some(key)) => match asked(key, self.text.get(begin..self.at)?) {
                    Member::Counts => true,
                    Member::LeftOut => false,
                },
                _ => true,
            };
            if counts {
                members.push((key_digest, value));
            }
            self.space();
        }
        self.at += 1;
        // Stable: the order of members of the same name is a difference.
        members.sort_by_key(|member| member.0);
        let mut hash = Sha256::new_with_prefix(b"o");
        for (key, value) in &members {
            hash.update(key);
            hash.update(value);
        }
        Some(hash.finalize().into())
    }

    fn array(&mut self, depth: usize) -> Option<Digest> {
        let mut hash = Sha256::new_with_prefix(b"a");
        let mut first = true;
        self.take(b'[');
        while self.peek()? != b']' {
            if !first && !self.take(b',') {
                return None;
            }
            first = false;
            hash.update(self.value(depth + 1)?);
            self.space();
        }
        self.at += 1;
        Some(hash.finalize().into())
    }

    /// A string as it is written, quotes included.
    fn string(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(begin..self.at)
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        self.text.get(begin..self.at).filter(|word| !word.is_empty())
    }

    /// An object or array as it is written.
    fn nested(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return self.text.get(begin..self.at);
            }
        }
    }
}

fn leaf(kind: u8, bytes: &[u8]) -> Digest {
    let mut hash = Sha256::new_with_prefix([kind]);
    hash.update(bytes);
    hash.finalize().into()
}

/// The characters of a string; `None` for what is no text (half a surrogate pair).
fn unescaped(written: &[u8]) -> Option<Cow<'_, str>> {
    let inner = written.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(written).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Option<Digest> {
        object(text.as_bytes(), &mut |_, _| Member::Counts)
    }

    #[test]
    fn order_of_keys_white_space_and_escapes_make_no_difference() {
        let plain = digest(r#"{"a":1,"b":[true,{"c":"é","d":null}]}"#);
        assert!(plain.is_some());
        assert_eq!(plain, digest("{ \"b\" : [ true , { \"d\" : null,\n\"c\":\"\\u00e9\"} ] ,\t\"a\": 1 }\n"));
        assert_eq!(digest(r#"{"\u0061":1}"#), digest(r#"{"a":1}"#));
    }

    #[test]
    fn any_other_difference_is_one() {
        let texts = [
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[[1],2]}"#,
            r#"{"a":["1",2]}"#,
            r#"{"a":12}"#,
            r#"{"a":"12"}"#,
            r#"{"a":null}"#,
            r#"{"a":"null"}"#,
            r"{}",
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"{"a":[{}]}"#,
            r#"{"a":[null]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":9007199254740993}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":184467440737095516150}"#,
            r#"{"a":184467440737095516151}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud801"}"#,
        ];
        for (i, one) in texts.iter().enumerate() {
            for other in &texts[i + 1..] {
                assert_ne!(digest(one).unwrap(), digest(other).unwrap(), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_no_json_object_has_no_digest() {
        for text in
            ["", "1", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{} {}", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":[1"]
        {
            assert_eq!(digest(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_digested_as_written() {
        let deep = |n: usize, inner: &str| format!("{{\"a\":{}{inner}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(digest(&deep(100_000, "1")).is_some());
        assert_ne!(digest(&deep(100_000, "1")), digest(&deep(100_000, "2")));
        assert_ne!(digest(&deep(100_000, "")), digest(&deep(100_001, "")));
    }

    #[test]
    fn members_that_are_left_out_do_not_count() {
        let without = object(br#"{"a":1,"user":"x"}"#, &mut |key, _| {
            if key == "user" { Member::LeftOut } else { Member::Counts }
        });
        assert_eq!(without, digest(r#"{"a":1}"#));
    }
}
