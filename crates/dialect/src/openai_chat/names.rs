//! Tool names in the alphabet `OpenAI` takes: `[A-Za-z0-9_-]{1,64}`.
//!
//! Other dialects allow more (`files.read`, `mcp:search/web`). The spelling sent carries its own inverse, so that the
//! name in an answer can be turned back without remembering the request: every other byte is written `-hh-` and the
//! name ends in `--esc`. Only a name too long for that is shortened for good, and reported.

use super::ids;
use std::borrow::Cow;
use std::fmt::Write as _;

const LONGEST: usize = 64;
const MARK: &str = "--esc";

/// A name as it is sent.
pub(super) struct WireName<'a> {
    /// The spelling.
    pub(super) name: Cow<'a, str>,
    /// It cannot be turned back: the answer will name the tool differently.
    pub(super) lossy: bool,
}

/// The spelling of `name` for the target.
pub(super) fn to_wire(name: &str) -> WireName<'_> {
    let plain = name.bytes().all(is_plain);
    if plain && !name.is_empty() && name.len() <= LONGEST && !name.ends_with(MARK) {
        return WireName { name: Cow::Borrowed(name), lossy: false };
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            escaped.push(char::from(byte));
        } else {
            let _infallible = write!(escaped, "-{byte:02x}-");
        }
    }
    escaped.push_str(MARK);
    if escaped.len() <= LONGEST {
        return WireName { name: Cow::Owned(escaped), lossy: false };
    }
    let mut short: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(55).collect();
    let _infallible = write!(short, "_{:08x}", ids::hash(&[name]) & 0xffff_ffff);
    WireName { name: Cow::Owned(short), lossy: true }
}

/// The name behind a spelling; one this module did not make is returned as it is.
pub(super) fn from_wire(name: &str) -> Cow<'_, str> {
    let Some(escaped) = name.strip_suffix(MARK) else { return Cow::Borrowed(name) };
    unescape(escaped).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'-' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        if rest.next()? != b'-' {
            return None;
        }
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_in_the_alphabet_is_left_alone() {
        let wire = to_wire("get_weather-2");
        assert_eq!((wire.name.as_ref(), wire.lossy), ("get_weather-2", false));
        assert_eq!(from_wire("get_weather-2"), "get_weather-2");
    }

    #[test]
    fn dots_and_slashes_survive_the_way_there_and_back() {
        let wire = to_wire("mcp.files/read-all");
        assert_eq!(wire.name, "mcp-2e-files-2f-read-2d-all--esc");
        assert_eq!(from_wire(&wire.name), "mcp.files/read-all");
    }

    #[test]
    fn a_foreign_name_that_only_looks_escaped_is_left_alone() {
        assert_eq!(from_wire("run--esc"), "run");
        assert_eq!(from_wire("run-zz---esc"), "run-zz---esc");
    }

    #[test]
    fn two_long_names_stay_different_and_are_reported() {
        let (a, b) = (format!("{}a", "x.".repeat(60)), format!("{}b", "x.".repeat(60)));
        let (a, b) = (to_wire(&a), to_wire(&b));
        assert!(a.lossy && b.lossy && a.name != b.name && a.name.len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn every_name_is_sent_in_the_alphabet_and_turned_back_unless_reported(name in "\\PC{1,70}") {
            let wire = to_wire(&name);
            prop_assert!((1..=LONGEST).contains(&wire.name.len()));
            prop_assert!(wire.name.bytes().all(is_plain));
            if !wire.lossy {
                prop_assert_eq!(from_wire(&wire.name).into_owned(), name);
            }
        }
    }
}
