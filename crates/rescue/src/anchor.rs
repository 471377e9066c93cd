//! The passage a target is asked to repeat, so that the seam can be seen.

use crate::text::{find, floor, from, has_chars, tail, until};

/// Characters of the shortest anchor, if as much was shown.
pub const ANCHOR_MIN: usize = 64;
/// Characters of the longest.
pub const ANCHOR_MAX: usize = 200;

/// The end of what was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Byte of what was shown at which it starts; it goes to the end.
    pub start: usize,
    /// Whether it occurs there alone. If not, some joins cannot be proven and are not made.
    pub unique: bool,
}

impl Anchor {
    /// The passage itself; `shown` is the text the anchor was chosen in.
    pub fn of(self, shown: &str) -> &str {
        from(shown, self.start)
    }
}

/// Chooses the anchor: everything, if fewer than [`ANCHOR_MIN`] characters were shown; else the last 64 to 200
/// characters, as few as make it unique, from the start of a word where there is one. Linear time.
///
/// It always ends where the shown text ends, be it inside a word or between the code points of one emoji: the caller
/// has exactly that.
pub fn anchor(shown: &str) -> Anchor {
    if !has_chars(shown, ANCHOR_MIN + 1) {
        return Anchor { start: 0, unique: true };
    }
    let longest = shown.len() - tail(shown, ANCHOR_MAX).len();
    let mut chosen = Anchor { start: longest, unique: false };
    // The last 16 are left for the start of a word.
    for length in [ANCHOR_MIN, 96, 136, ANCHOR_MAX - 16] {
        let start = word_start(shown, shown.len() - tail(shown, length).len(), longest);
        chosen = Anchor { start, unique: find(shown, from(shown, start), 0) == Some(start) };
        if chosen.unique {
            break;
        }
    }
    chosen
}

/// Bytes of the shortest proof. Bytes, for a character of Chinese says as much as three of English.
const PROOF_MIN: usize = 12;

/// Chooses what a target that goes on natively is *not* given, so that it has to say it by itself: the last words
/// shown, [`PROOF_MIN`] bytes or more from the start of a word, as few as make them unique where a few more do. `None`
/// where nothing would be left before them.
///
/// A target that goes on with what it was given says the next words again, for they are the most likely ones; one that
/// starts anew, answers something else or speaks of the task does not. And the beginning it gets ends between two
/// words, where its tokens end too.
pub(crate) fn proof(shown: &str) -> Option<Anchor> {
    let body = shown.trim_end();
    let mut chosen = None;
    for length in [PROOF_MIN, 2 * PROOF_MIN, 4 * PROOF_MIN] {
        let at = visible_at(body, floor(body, body.len().saturating_sub(length)).len());
        let start = word_start(shown, at, floor(body, at.saturating_sub(length)).len());
        if until(shown, start).trim().is_empty() {
            break;
        }
        let unique = find(shown, from(shown, start), 0) == Some(start);
        chosen = chosen.filter(|_| !unique).or(Some(Anchor { start, unique }));
        if unique {
            break;
        }
    }
    chosen
}

/// `at`, or if white space stands there the last visible character before it.
fn visible_at(text: &str, at: usize) -> usize {
    if from(text, at).starts_with(char::is_whitespace) {
        until(text, at).trim_end().char_indices().next_back().map_or(0, |(at, _)| at)
    } else {
        at
    }
}

/// The start of the word at `start` or before it, not before `earliest`; else the nearest place that is neither white
/// space nor inside a cluster of code points; else `start`.
fn word_start(shown: &str, start: usize, earliest: usize) -> usize {
    let window = shown.get(earliest..start).unwrap_or_default();
    let mut fallback = None;
    let mut right = from(shown, start).chars().next();
    let mut at = start;
    for left in window.chars().rev().map(Some).chain([None]) {
        let visible = right.is_some_and(|c| !c.is_whitespace() && !continues_cluster(c));
        let after_space = left.map_or_else(|| earliest == 0, char::is_whitespace);
        if visible && after_space {
            return at;
        }
        if visible && fallback.is_none() && left.is_some_and(|c| c != ZWJ) {
            fallback = Some(at);
        }
        let Some(left) = left else { break };
        at -= left.len_utf8();
        right = Some(left);
    }
    fallback.unwrap_or(start)
}

const ZWJ: char = '\u{200d}';

/// Whether this code point belongs to the one before it: combining marks, variation selectors, skin tones, joiners.
fn continues_cluster(c: char) -> bool {
    matches!(c,
        ZWJ | '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{0591}'..='\u{05bd}' | '\u{064b}'..='\u{065f}'
        | '\u{093a}'..='\u{094f}' | '\u{0e31}'..='\u{0e3a}' | '\u{0e47}'..='\u{0e4e}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "tests cut at places they know")]
mod tests {
    use super::*;

    #[test]
    fn little_text_is_its_own_anchor() {
        assert_eq!(anchor(""), Anchor { start: 0, unique: true });
        assert_eq!(anchor("Hello"), Anchor { start: 0, unique: true });
    }

    #[test]
    fn it_begins_with_a_word_and_has_at_least_64_characters() {
        let shown =
            "The quick brown fox jumps over the lazy dog, and the dog, being lazy, lets the fox jump as it likes.";
        let found = anchor(shown);
        assert!(found.unique);
        let passage = found.of(shown);
        assert!((ANCHOR_MIN..=ANCHOR_MAX).contains(&passage.chars().count()), "{passage:?}");
        assert!(shown[..found.start].ends_with(' ') && !passage.starts_with(' '));
    }

    #[test]
    fn it_grows_until_it_is_unique() {
        let row = "| the same | row | again |\n";
        let shown = format!("# Table\n{}", row.repeat(5));
        let found = anchor(&shown);
        assert!(found.unique);
        assert!(found.of(&shown).chars().count() > 100);
        let shown = format!("# Table\n{}", row.repeat(50));
        assert!(!anchor(&shown).unique);
    }

    #[test]
    fn it_does_not_begin_inside_an_emoji() {
        let shown = "👩‍💻".repeat(100);
        let passage = anchor(&shown).of(&shown).to_owned();
        assert!(passage.starts_with('👩') || passage.starts_with('💻'), "{passage:?}");
        let after_joiner = shown[..shown.len() - passage.len()].ends_with('\u{200d}');
        assert!(!after_joiner);
    }
}
