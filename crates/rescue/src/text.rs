//! Small measures of text: what two texts share, and where.
//!
//! All of it is linear in what was shown, whatever the text: what was shown may be 256 KiB of one letter.

use memchr::memmem;

/// `text` from byte `at`; empty when `at` is past the end or inside a character.
pub(crate) fn from(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// `text` up to byte `at`; the whole when `at` is past the end or inside a character.
pub(crate) fn until(text: &str, at: usize) -> &str {
    text.get(..at).unwrap_or(text)
}

/// The whole characters of the first `at` bytes.
pub(crate) fn floor(text: &str, at: usize) -> &str {
    (0..4).find_map(|back| text.get(..at.checked_sub(back)?)).unwrap_or(text)
}

/// The first `count` characters.
pub(crate) fn head(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(at, _)| until(text, at))
}

/// The last `count` characters.
pub(crate) fn tail(text: &str, count: usize) -> &str {
    count.checked_sub(1).map_or("", |last| text.char_indices().nth_back(last).map_or(text, |(at, _)| from(text, at)))
}

/// Whether `text` has at least `count` characters, without counting them all.
pub(crate) fn has_chars(text: &str, count: usize) -> bool {
    count.checked_sub(1).is_none_or(|last| text.chars().nth(last).is_some())
}

/// Bytes `a` and `b` agree on from their start, of which the first `known` are known to agree.
pub(crate) fn agreement(known: usize, a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes().get(known..).unwrap_or_default(), b.as_bytes().get(known..).unwrap_or_default());
    known + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Bytes `a` and `b` agree on at their end, a whole number of characters.
pub(crate) fn agreement_at_end(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// For each prefix of `text`, the length of its longest proper border (Knuth, Morris, Pratt).
fn borders(text: &[u8]) -> Vec<usize> {
    let mut table = Vec::with_capacity(text.len());
    let mut length = 0;
    for (at, byte) in text.iter().enumerate() {
        if at > 0 {
            length = extend(text, &table, length, *byte);
        }
        table.push(length);
    }
    table
}

/// The longest prefix of `text` that ends in `byte` and whose beginning is a border of the prefix of `length` bytes.
fn extend(text: &[u8], table: &[usize], mut length: usize, byte: u8) -> usize {
    loop {
        if text.get(length) == Some(&byte) {
            return length + 1;
        }
        match length.checked_sub(1).and_then(|last| table.get(last)) {
            Some(shorter) => length = *shorter,
            None => return 0,
        }
    }
}

/// Bytes of the longest prefix of `text` that `shown` ends with.
pub(crate) fn overlap(shown: &str, text: &str) -> usize {
    let (shown, text) = (shown.as_bytes(), text.as_bytes());
    let table = borders(text);
    let end = shown.get(shown.len().saturating_sub(text.len())..).unwrap_or_default();
    end.iter().fold(0, |length, byte| extend(text, &table, length, *byte))
}

/// Whether `text` is one passage said twice or more, the last time perhaps in part.
pub(crate) fn is_periodic(text: &str) -> bool {
    let border = borders(text.as_bytes()).last().copied().unwrap_or(0);
    border * 2 >= text.len()
}

/// Where `passage` occurs in `text` at or after byte `from`.
pub(crate) fn find(text: &str, passage: &str, from: usize) -> Option<usize> {
    memmem::find(text.as_bytes().get(from..)?, passage.as_bytes()).map(|at| from + at)
}

/// Follows a growing text and says up to where it still occurs in another one.
///
/// The first occurrence of a longer text is never before that of a shorter one, so the search only moves forward.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tracker {
    at: usize,
    followed: usize,
    lost: bool,
}

impl Tracker {
    /// Bytes of the growing text that occur, one after the other, in the other.
    pub(crate) fn followed(&self) -> usize {
        self.followed
    }

    /// Takes in what `text` has become; false once it does not occur in `shown` any more.
    pub(crate) fn follows(&mut self, shown: &str, text: &str) -> bool {
        let (shown, text) = (shown.as_bytes(), text.as_bytes());
        while let Some(byte) = text.get(self.followed)
            && !self.lost
        {
            if shown.get(self.at + self.followed) == Some(byte) {
                self.followed += 1;
                continue;
            }
            let sought = text.get(..=self.followed).unwrap_or_default();
            match memmem::find(shown.get(self.at + 1..).unwrap_or_default(), sought) {
                Some(further) => {
                    self.at += 1 + further;
                    self.followed += 1;
                }
                None => self.lost = true,
            }
        }
        !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_overlap_is_found_where_shorter_ones_are_too() {
        assert_eq!(overlap("ab aba", "abaxx"), 3);
        assert_eq!(overlap("ab", "xab"), 0);
        assert_eq!(overlap("aaaa", "aaaaaa"), 4);
        assert_eq!(overlap("", "a"), 0);
    }

    #[test]
    fn a_tracker_moves_on_to_the_next_place_that_fits() {
        let mut tracker = Tracker::default();
        assert!(tracker.follows("the cat, the cow", "the c"));
        assert!(tracker.follows("the cat, the cow", "the co"));
        assert!(!tracker.follows("the cat, the cow", "the cob"));
        assert_eq!(tracker.followed(), 6);
    }

    #[test]
    fn heads_and_tails_count_characters() {
        assert_eq!((head("añb", 2), tail("añb", 2), head("a", 5), tail("a", 0)), ("añ", "ñb", "a", ""));
        assert!(has_chars("añ", 2) && !has_chars("añ", 3) && has_chars("", 0));
        assert!(is_periodic("abcabcab") && !is_periodic("abcab"));
        assert_eq!(agreement_at_end("xñb", "yñb"), 3);
    }
}
