//! After the seam: does the target say again what was shown?
//!
//! A model that loses its place repeats its last sentence, or goes back to an earlier passage and says it all again.
//! The first characters of the new text are held as long as they occur, in order, in what was shown; in ordinary text
//! that ends after a few. If they go on so for [`LOOP`] characters, or are the end of what was shown said again
//! ([`MIN_OVERLAP`] characters or more), there is no join, unless the text had been repeating itself already when it
//! was cut: then the characters *before* the seam stood before the same passage earlier, and to repeat is to go on
//! (equal rows of a table, a refrain). Short rules and frames are no sentence. A sentence that was cut in its first
//! words and begins again ("It may wo" + "It may work") is seen from fewer characters.

use crate::text::{Tracker, find, floor, from, has_chars, head, overlap, tail};
use crate::{MIN_OVERLAP, Verdict};

/// Characters that follow an earlier passage before it counts as a loop. Answers do say a link or a sentence twice.
const LOOP: usize = 160;
/// Characters without a letter that must be said again before they count: rules and frames of tables.
const RULER: usize = 48;
/// Characters before the seam that must have stood before the passage when it came the first time.
pub(super) const CONTEXT: usize = 12;
/// The same where the passage is the very end of what was shown: as many as it has, up to this.
const CONTEXT_MAX: usize = 64;
/// Characters after a preamble in which the anchor must not come again: the first one would have been a quotation.
const QUOTATION: usize = 160;

/// What the guard says of the new text so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    Wait,
    Pass,
    No(Verdict),
}

/// Watches the beginning of the new text.
#[derive(Debug, Default)]
pub(super) struct Guard {
    tracker: Tracker,
    /// The beginning of the anchor, where a preamble stood before it.
    anchor: Option<String>,
}

impl Guard {
    /// For a target that spoke before it repeated the anchor.
    pub(super) fn after_preamble(anchor: &str) -> Self {
        Self { anchor: Some(head(anchor, MIN_OVERLAP).to_owned()), ..Self::default() }
    }

    /// Judges the new text so far.
    pub(super) fn rule(&mut self, shown: &str, fresh: &str, ended: bool) -> Ruling {
        if let Some(anchor) = &self.anchor {
            if find(head(fresh, QUOTATION), anchor, 0).is_some() {
                return Ruling::No(Verdict::Preamble);
            }
            if !ended && !has_chars(fresh, QUOTATION) {
                return Ruling::Wait;
            }
        }
        self.repetition(shown, fresh, ended)
    }

    fn repetition(&mut self, shown: &str, fresh: &str, ended: bool) -> Ruling {
        let window = head(fresh, LOOP);
        let follows = self.tracker.follows(shown, window);
        let followed = floor(window, self.tracker.followed());
        if has_chars(followed, LOOP) {
            return if repeats_itself(shown, followed, CONTEXT) { Ruling::Pass } else { Ruling::No(Verdict::Looping) };
        }
        if follows && !ended {
            return Ruling::Wait;
        }
        let again = floor(followed, overlap(shown, followed));
        // To say the end once more is to go on only if that end had been said twice already, as far as is looked.
        let context = again.chars().count().clamp(CONTEXT, CONTEXT_MAX);
        let telling = has_chars(again, if has_words(again) { MIN_OVERLAP } else { RULER });
        let said_again = telling && !repeats_itself(shown, again, context);
        if said_again || begins_again(shown, fresh) {
            return Ruling::No(Verdict::Looping);
        }
        Ruling::Pass
    }
}

/// Whether `fresh` begins with all there is of the last sentence or line of `shown`, and that is words.
///
/// A capital letter is enough, or four characters: nobody writes a word twice without a space, but
/// "LLM", "2020" and "haha" are written. Cells of a table repeat themselves too easily.
fn begins_again(shown: &str, fresh: &str) -> bool {
    let before = |c: char| matches!(c, '.' | '!' | '?' | '\n' | '。' | '！' | '？');
    let Some(last) = shown.chars().next_back().filter(|c| !c.is_whitespace() && !before(*c)) else {
        return false;
    };
    // The last one is not a boundary of itself.
    let body = shown.get(..shown.len() - last.len_utf8()).unwrap_or_default();
    let start = body.char_indices().rev().take(LOOP).find(|(_, c)| before(*c));
    let Some((at, mark)) = start else { return false };
    let sentence = from(shown, at + mark.len_utf8()).trim_start();
    if sentence.starts_with('|') {
        return false;
    }
    let first = sentence.chars().find(|c| c.is_alphanumeric());
    let words = first.is_some_and(char::is_uppercase) || (has_chars(sentence, 4) && has_words(sentence));
    // "L" + "LM" is an acronym, "T" + "The" is not.
    let goes_on_alone = |c: char| c.is_lowercase() || c.is_whitespace() || matches!(c, '\'' | '’');
    let acronym = || !fresh.chars().nth(1).is_some_and(goes_on_alone);
    words && fresh.starts_with(sentence) && (has_chars(sentence, 2) || !acronym())
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

/// Whether the last `context` characters of `shown` and `passage` after them stand together earlier in the text
/// already.
pub(super) fn repeats_itself(shown: &str, passage: &str, context: usize) -> bool {
    let context = tail(shown, context);
    let sought = [context, passage].concat();
    if find(shown, &sought, 0).is_some() {
        return true;
    }
    // An earlier place may reach over the seam: the text is then periodic, its period shorter than what is sought.
    let near = [tail(shown, 2 * (CONTEXT_MAX + LOOP)), passage].concat();
    find(&near, &sought, 0).is_some_and(|at| at + sought.len() < near.len())
}
