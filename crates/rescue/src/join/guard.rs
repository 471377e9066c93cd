//! After the seam: does the target say again what was shown?
//!
//! A model that loses its place repeats its last sentence, or goes back to an earlier passage and says it all again.
//! The first characters of the new text are held as long as they occur, in order, in what was shown; in ordinary text
//! that ends after a few. If they go on so for [`LOOP`] characters, or are the end of what was shown said again
//! ([`MIN_OVERLAP`] characters or more), there is no join, unless the text had been repeating itself already when it
//! was cut: then the characters *before* the seam stood before the same passage earlier, and to repeat is to go on
//! (equal rows of a table, a refrain, a ruler of dashes).

use super::Via;
use crate::phrases::{Opener, may_open, opener};
use crate::text::{Tracker, find, floor, has_chars, head, overlap, tail};
use crate::{MIN_OVERLAP, Verdict};

/// Characters that follow an earlier passage before it counts as a loop.
const LOOP: usize = 64;
/// Characters before the seam that must have stood before the passage when it came the first time.
const CONTEXT: usize = 12;
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
    /// The seam is inside a word or directly after one: no new sentence begins there.
    inside_word: bool,
    /// The beginning of the anchor, where a preamble stood before it.
    anchor: Option<String>,
}

impl Guard {
    /// For a target that is trusted to go on.
    pub(super) fn native(shown: &str, via: Via) -> Self {
        // Letters without case (CJK) have no word to be inside of.
        let word = |c: char| c.is_lowercase() || c.is_ascii_digit();
        Self { inside_word: via == Via::Continued && shown.chars().next_back().is_some_and(word), ..Self::default() }
    }

    /// For a target that spoke before it repeated the anchor.
    pub(super) fn after_preamble(anchor: &str) -> Self {
        Self { anchor: Some(head(anchor, MIN_OVERLAP).to_owned()), ..Self::default() }
    }

    /// Judges the new text so far.
    pub(super) fn rule(&mut self, shown: &str, fresh: &str, ended: bool) -> Ruling {
        if self.inside_word {
            match opener(fresh) {
                Some(Opener::Preamble) => return Ruling::No(Verdict::Preamble),
                Some(Opener::Refusal) => return Ruling::No(Verdict::Refused),
                None if !ended && may_open(fresh) => return Ruling::Wait,
                None => self.inside_word = false,
            }
        }
        if let Some(anchor) = &self.anchor {
            if find(head(fresh, QUOTATION), anchor, 0).is_some() {
                return Ruling::No(Verdict::Preamble);
            }
            if !ended && !has_chars(fresh, QUOTATION) {
                return Ruling::Wait;
            }
        }
        self.repetition(shown, head(fresh, LOOP), ended)
    }

    fn repetition(&mut self, shown: &str, window: &str, ended: bool) -> Ruling {
        let follows = self.tracker.follows(shown, window);
        let followed = floor(window, self.tracker.followed());
        if has_chars(followed, LOOP) {
            return if repeats_itself(shown, followed) { Ruling::Pass } else { Ruling::No(Verdict::Looping) };
        }
        if follows && !ended {
            return Ruling::Wait;
        }
        let again = floor(followed, overlap(shown, followed));
        if has_chars(again, MIN_OVERLAP) && !repeats_itself(shown, again) {
            return Ruling::No(Verdict::Looping);
        }
        Ruling::Pass
    }
}

/// Whether the end of `shown` and `passage` after it stand together earlier in the text already.
pub(super) fn repeats_itself(shown: &str, passage: &str) -> bool {
    let sought = [tail(shown, CONTEXT), passage].concat();
    if find(shown, &sought, 0).is_some() {
        return true;
    }
    // An earlier place may reach over the seam: the text is then periodic, its period shorter than what is sought.
    let near = [tail(shown, 2 * (CONTEXT + LOOP)), passage].concat();
    find(&near, &sought, 0).is_some_and(|at| at + sought.len() < near.len())
}
