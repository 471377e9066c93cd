//! Tool names in Gemini's character set, reversibly and without a table.
//!
//! Gemini takes `[A-Za-z_][A-Za-z0-9_.:-]{0,127}`. A character outside it is written `_uHEX_`, and so is an underscore
//! that would otherwise read as the start of such an escape; the decoder undoes it. So the name in the answer is the
//! caller's own, whichever exchange it belongs to.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest name Gemini takes.
const LONGEST: usize = 128;

/// The name as Gemini takes it, and whether the caller's name can be read back from it.
pub(super) fn to_wire(name: &str) -> (Cow<'_, str>, bool) {
    if plain(name) && name.len() <= LONGEST {
        return (Cow::Borrowed(name), true);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        let first_only = at > 0 || c == '_' || c.is_ascii_alphabetic();
        if fits(c) && first_only && !name.get(at..).is_some_and(reads_as_escape) {
            out.push(c);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "_u{:x}_", u32::from(c));
        }
    }
    if out.is_empty() {
        out.push('_');
        return (Cow::Owned(out), false);
    }
    if out.len() <= LONGEST {
        return (Cow::Owned(out), true);
    }
    // Too long to be reversible: cut, and told apart from its neighbours by a hash of the whole.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    out.truncate(LONGEST - 17);
    let _ = write!(out, "-{hash:016x}");
    (Cow::Owned(out), false)
}

/// The caller's name again.
pub(super) fn from_wire(name: String) -> String {
    if !name.contains("_u") {
        return name;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name.as_str();
    while let Some(c) = rest.chars().next() {
        if let Some((decoded, after)) = escape_at(rest) {
            out.push(decoded);
            rest = after;
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| fits(char::from(b)))
        && !name.char_indices().any(|(at, _)| name.get(at..).is_some_and(reads_as_escape))
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:-".contains(c)
}

/// Whether the text begins like an escape, or will once what follows its digits is escaped.
fn reads_as_escape(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("_u") else { return false };
    let after = rest.trim_start_matches(|c: char| matches!(c, '0'..='9' | 'a'..='f'));
    after.len() < rest.len() && after.chars().next().is_some_and(|c| c == '_' || !fits(c))
}

/// The character an escape at the start of `text` stands for, and what follows it.
fn escape_at(text: &str) -> Option<(char, &str)> {
    let (hex, after) = text.strip_prefix("_u")?.split_once('_')?;
    let digits = (1..=6).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let decoded = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
    digits.then_some((decoded, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_fit_are_left_alone() {
        for name in ["get_weather", "mcp.server:tool-1", "_x", "use_user_data"] {
            assert_eq!(to_wire(name), (Cow::Borrowed(name), true));
        }
    }

    #[test]
    fn a_name_too_long_is_cut_and_stays_distinct() {
        let (a, b) = (format!("{}a", "x".repeat(200)), format!("{}b", "x".repeat(200)));
        let ((a, whole), (b, _)) = (to_wire(&a), to_wire(&b));
        assert!(!whole && a.len() <= LONGEST && a != b);
    }

    proptest! {
        #[test]
        fn every_name_fits_and_comes_back(name in "[-_._u.:a-f0-9/ é]{1,40}") {
            let (wire, whole) = to_wire(&name);
            prop_assert!(wire.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_'));
            prop_assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b)));
            if whole {
                prop_assert_eq!(from_wire(wire.into_owned()), name);
            }
        }
    }
}
