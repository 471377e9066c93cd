//! Names and ids in the character set the API takes: `[A-Za-z0-9_-]`, tool names at most 128 of them.
//!
//! Tool names are escaped so that they can be read back without remembering anything: `a.b` → `a_x2E_b`. A name that
//! already looks escaped has its underscore escaped, so the two never meet. Ids are only rewritten, consistently: the
//! caller never sees the rewritten ones.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

const LONGEST_TOOL_NAME: usize = 128;

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The character an escape at the start of `text` stands for, and the escape's length.
fn escape_at(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix("_x")?;
    let end = digits.find('_').filter(|end| (1..=6).contains(end))?;
    let digits = digits.get(..end)?;
    if !digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((c, end + 3))
}

/// A tool's name as the API takes it. `false` = it was too long to be read back.
pub(super) fn escape_tool(name: &str) -> (String, bool) {
    let fits = name.len() <= LONGEST_TOOL_NAME && !name.is_empty() && name.chars().all(is_plain);
    if fits && unescape_tool(name) == name {
        return (name.to_owned(), true);
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        // Also where no escape stands yet: the next character's may complete one.
        let may_open = name.get(at..).is_some_and(|rest| rest.starts_with("_x"));
        if is_plain(c) && !may_open {
            escaped.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "_x{:X}_", u32::from(c));
        }
    }
    if escaped.is_empty() {
        return ("unnamed".to_owned(), false);
    }
    if escaped.len() > LONGEST_TOOL_NAME {
        // Escaped text is ASCII, so characters are bytes.
        let head: String = escaped.chars().take(LONGEST_TOOL_NAME - 9).collect();
        return (format!("{head}_{:08x}", short_hash(name)), false);
    }
    (escaped, true)
}

/// A tool's name as the caller declared it.
pub(super) fn unescape_tool(name: &str) -> String {
    if !name.contains("_x") {
        return name.to_owned();
    }
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (c, length) = escape_at(rest).unwrap_or((c, c.len_utf8()));
        plain.push(c);
        rest = rest.get(length..).unwrap_or_default();
    }
    plain
}

/// An id in the API's character set; equal ids stay equal, different ones different.
pub(super) fn plain_id(id: &str) -> String {
    if !id.is_empty() && id.chars().all(is_plain) {
        return id.to_owned();
    }
    let plain: String = id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{plain}_{:08x}", short_hash(id))
}

/// FNV-1a, folded to 32 bits: stable over builds, which `Hash` is not.
pub(super) fn short_hash(text: &str) -> u64 {
    let hash =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) ^ (hash & 0xffff_ffff)
}

/// Gives each tool call of a request an id no other call has, as the API demands.
#[derive(Default)]
pub(super) struct CallIds {
    used: HashSet<String>,
    repeats: HashMap<String, u32>,
    nameless: u32,
}

impl CallIds {
    /// The id of the next call, from the one its source gave, if any.
    pub(super) fn next(&mut self, source: Option<&str>) -> String {
        let wanted = match source {
            Some(id) if !id.is_empty() => plain_id(id),
            _ => {
                self.nameless += 1;
                format!("toolu_{}", self.nameless)
            }
        };
        let mut id = wanted.clone();
        while !self.used.insert(id.clone()) {
            let repeat = self.repeats.entry(wanted.clone()).or_insert(1);
            *repeat += 1;
            id = format!("{wanted}_{repeat}");
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dotted_name_is_escaped_and_a_plain_one_is_left_alone() {
        assert_eq!(escape_tool("files.read"), ("files_x2E_read".to_owned(), true));
        assert_eq!(escape_tool("get_weather"), ("get_weather".to_owned(), true));
        assert_eq!(escape_tool("get_xml_file"), ("get_xml_file".to_owned(), true));
        assert_eq!(escape_tool("a_x2E_b"), ("a_x5F_x2E_b".to_owned(), true));
    }

    #[test]
    fn an_escape_is_not_mistaken_for_the_end_of_what_stands_before_it() {
        let (escaped, _) = escape_tool("_x0\u{e9}");
        assert_eq!(unescape_tool(&escaped), "_x0\u{e9}");
    }

    #[test]
    fn a_name_beyond_the_limit_keeps_its_head_and_says_it_cannot_be_read_back() {
        let (name, reversible) = escape_tool(&"n".repeat(200));
        assert_eq!((name.len(), reversible), (128, false));
        assert_ne!(name, escape_tool(&"n".repeat(201)).0);
    }

    #[test]
    fn a_repeated_id_and_a_missing_one_each_get_their_own() {
        let mut ids = CallIds::default();
        let given = [Some("call_0"), Some("call_0"), Some("call_0_2"), None, Some(""), Some("a:b")];
        let ids: Vec<String> = given.iter().map(|id| ids.next(*id)).collect();
        let distinct: HashSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), given.len(), "{ids:?}");
        assert!(ids.iter().all(|id| id.chars().all(is_plain)));
    }

    proptest! {
        #[test]
        fn every_name_that_fits_is_read_back_as_it_was(name in "[a-zA-Z0-9_x.:/\u{e9}2E-]{1,18}") {
            let (escaped, reversible) = escape_tool(&name);
            prop_assert!(escaped.chars().all(is_plain) && escaped.len() <= LONGEST_TOOL_NAME);
            prop_assume!(reversible);
            prop_assert_eq!(unescape_tool(&escaped), name);
        }
    }
}
