//! The target got the provider's own token for the place it had reached (Gemini 4).
//!
//! A token goes on at its own place: at the end of what was shown or before it, how far before is not said. What comes
//! again is removed when there is enough of it to be no chance and it could be nothing else. A little of it (1 to 15
//! characters) proves nothing, and there is no join.

use super::guard::{CONTEXT, repeats_itself};
use super::{Finding, Seam, Via};
use crate::text::{Tracker, floor, is_periodic, overlap};
use crate::{MIN_OVERLAP, Verdict};

/// The opening of a continuation by token.
#[derive(Debug, Default)]
pub(super) struct Token {
    tracker: Tracker,
}

impl Token {
    pub(super) fn open(&mut self, shown: &str, held: &str, ended: bool) -> Finding {
        if self.tracker.follows(shown, held) && !ended {
            return Finding::Wait;
        }
        let followed = floor(held, self.tracker.followed());
        let again = floor(followed, overlap(shown, followed));
        match again.chars().count() {
            0 => Finding::Found(Seam::new(0, Via::Continued)),
            1..MIN_OVERLAP => Finding::No(Verdict::Ambiguous),
            _ if is_periodic(again) || repeats_itself(shown, again, CONTEXT) => Finding::No(Verdict::Ambiguous),
            _ => Finding::Found(Seam::new(again.len(), Via::Echoed)),
        }
    }
}
