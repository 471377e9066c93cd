//! The target got what was shown as the beginning of its own turn.
//!
//! It is trusted to go on, for the catalogue says of this model that it does. Three things are not taken on trust:
//!
//! - *White space.* The target got the text right-trimmed. Its text must begin with exactly the white space that was
//!   trimmed; that much is removed, as the caller has it.
//! - *The beginning again.* Some targets repeat what they were given (Mistral), some ignore it and give the whole answer
//!   anew; both begin with everything shown, and that is removed. Required are [`MIN_OVERLAP`] characters, and that what
//!   was shown is not itself one passage said twice or more: after "haha", of "hahaha…" nobody can tell whether the
//!   target repeated or went on.
//! - *The beginning, then other words.* [`RESTART`] characters of the beginning, that occur there alone, and then
//!   something else: a new answer in other words. Fewer are taken for the text's own: list items and code begin alike.

use super::{Finding, Seam, Via};
use crate::text::{agreement, floor, from, has_chars, is_periodic, occurs_once, trailing_space};
use crate::{MIN_OVERLAP, Verdict};

/// Characters of the beginning that show a new answer.
const RESTART: usize = 32;

/// The opening of a trusted continuation.
#[derive(Debug, Default)]
pub(super) struct Native {
    /// Bytes on which the target's text and what it was given are known to agree.
    agreed: usize,
    /// Whether what it was given can be told from a repetition of it, once that was asked.
    distinct: Option<bool>,
}

impl Native {
    pub(super) fn open(&mut self, shown: &str, held: &str, ended: bool) -> Finding {
        let space = trailing_space(shown);
        let given = shown.get(..shown.len() - space.len()).unwrap_or_default();
        self.agreed = agreement(self.agreed, given, held);
        if !given.is_empty() && self.agreed == given.len() {
            let distinct = *self.distinct.get_or_insert_with(|| is_distinct(given));
            return if distinct {
                after_space(space, held, given.len(), Via::Echoed, ended)
            } else {
                Finding::No(Verdict::Ambiguous)
            };
        }
        if self.agreed == held.len() && !ended {
            return Finding::Wait;
        }
        let again = floor(given, self.agreed);
        if has_chars(again, RESTART) && occurs_once(given, again) {
            return Finding::No(Verdict::RestartedDifferently);
        }
        after_space(space, held, 0, Via::Continued, ended)
    }
}

/// Whether to say it again could not be to go on.
fn is_distinct(given: &str) -> bool {
    has_chars(given, MIN_OVERLAP) && !is_periodic(given)
}

/// The white space that was shown must come next.
fn after_space(space: &str, held: &str, at: usize, via: Via, ended: bool) -> Finding {
    let rest = from(held, at);
    if rest.starts_with(space) {
        Finding::Found(Seam::new(at + space.len(), via))
    } else if space.starts_with(rest) {
        // At the end: the answer ends here, and white space that was shown after it does no harm.
        if ended { Finding::Found(Seam::new(held.len(), via)) } else { Finding::Wait }
    } else {
        Finding::No(Verdict::SeamWhitespace)
    }
}
