//! The target has to say a passage that was shown, the anchor, and to go on; nothing is believed but the anchor. Asked
//! by instruction, it was told to repeat it. Asked natively, it was given what stands before it, and says it because
//! that is how it goes on: then the anchor counts at the start of the answer alone.
//!
//! - At the start of the answer (white space before it aside) the anchor is the seam. If it occurs elsewhere in what was
//!   shown too, the target may have begun at one of those places instead; the text is held until it has left what was
//!   shown on every such way, and if it reached the end of it on one, nobody can tell, and there is no join.
//! - Everything shown, verbatim, at the start: a whole answer, and what follows is new.
//! - Further in the anchor counts only if it is unique and long enough, and if all that stands before it was shown too
//!   (the target began earlier than asked), or is an ellipsis, or a short preamble that ends in a line break or a colon
//!   and opens no quotation. A code fence is a quotation even if the anchor lies in a code block: whether the fence that
//!   closes it at the end is the answer's own cannot be told before the end.

use super::{Finding, Seam, Via};
use crate::anchor::Anchor;
use crate::phrases::{Opener, opener};
use crate::text::{
    Tracker, agreement, agreement_at_end, find, floor, from, has_chars, head, is_periodic, overlap, until,
};
use crate::{MIN_OVERLAP, Verdict};

/// Characters of the target's text that are held in search of the anchor, its own length not counted.
const SEARCHED: usize = 1_200;
/// Characters an anchor needs to be believed further in.
const FURTHER_IN_MIN: usize = 32;
/// Characters of a preamble.
const PREAMBLE_MAX: usize = 160;

/// Characters after which a native target that does not say the anchor is given up: enough to name what it does
/// instead.
const NAMED: usize = 64;

/// The opening of a continuation that is believed only by its anchor.
#[derive(Debug)]
pub(super) struct Anchored {
    anchor: Anchor,
    /// The target was given what stands before the anchor, as the beginning of its own turn.
    native: bool,
    /// Bytes of white space before the answer, once something visible has come.
    start: Option<usize>,
    /// Bytes on which the answer agrees with the anchor.
    on_anchor: usize,
    /// Bytes on which it agrees with everything shown.
    on_shown: usize,
    /// Bytes of the held text in which the anchor does not begin.
    searched: usize,
    /// The ways through what was shown that begin with an anchor that is not unique.
    ways: Tracker,
}

/// What was shown, as the answer is compared with it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    whole: &'a str,
    /// Without the white space it begins with: that need not come again.
    visible: &'a str,
    /// The anchor; where it is everything shown, from its first visible character.
    passage: &'a str,
    unique: bool,
}

impl Anchored {
    pub(super) fn new(anchor: Anchor) -> Self {
        let ways = Tracker::default();
        Self { anchor, native: false, start: None, on_anchor: 0, on_shown: 0, searched: 0, ways }
    }

    pub(super) fn native(anchor: Anchor) -> Self {
        Self { native: true, ..Self::new(anchor) }
    }

    pub(super) fn anchor(&self) -> Anchor {
        self.anchor
    }

    pub(super) fn open(&mut self, shown: &str, held: &str, ended: bool) -> Finding {
        let visible = shown.trim_start();
        if visible.is_empty() {
            return open_blank(shown, held, ended);
        }
        let Some(start) = self.start.or_else(|| first_visible(held)) else {
            return if ended { Finding::No(Verdict::Empty) } else { Finding::Wait };
        };
        self.start = Some(start);
        let passage = if self.anchor.start == 0 { visible } else { self.anchor.of(shown) };
        // A passage of nothing but white space marks no place: then only the whole answer anew can be joined.
        let unique = self.anchor.unique && !passage.trim().is_empty();
        let shown = Shown { whole: shown, visible, passage, unique };
        self.seek(shown, held, start, ended)
    }

    fn seek(&mut self, shown: Shown<'_>, held: &str, start: usize, ended: bool) -> Finding {
        let (answer, passage) = (from(held, start), shown.passage);
        self.on_anchor = agreement(self.on_anchor, passage, answer);
        self.on_shown = agreement(self.on_shown, shown.visible, answer);
        if self.on_anchor == passage.len() {
            let via = match (self.native, self.anchor.start) {
                (true, _) => Via::Continued,
                (false, 0) => Via::Anew,
                (false, _) => Via::Anchor,
            };
            let seam = Seam::new(start + passage.len(), via);
            return if shown.unique { Finding::Found(seam) } else { self.other_ways(shown, answer, seam, ended) };
        }
        if self.on_shown == shown.visible.len() {
            // Of one passage said again and again nobody can tell how often the target meant to repeat it.
            let elsewhere = !shown.unique && is_periodic(shown.visible);
            let seam = Seam::new(start + shown.visible.len(), Via::Anew);
            return if elsewhere { Finding::No(Verdict::Ambiguous) } else { Finding::Found(seam) };
        }
        let (follows_anchor, follows_shown) = (self.on_anchor == answer.len(), self.on_shown == answer.len());
        if (follows_anchor || follows_shown) && !ended {
            return Finding::Wait;
        }
        if shown.unique && self.on_anchor >= passage.trim_end().len() {
            // All but the white space at the anchor's end. If the answer ends so, what was shown was all of it.
            let whole = follows_anchor && ended;
            let seam = Seam::new(held.len(), if self.native { Via::Continued } else { Via::Anchor });
            return if whole { Finding::Found(seam) } else { Finding::No(Verdict::SeamWhitespace) };
        }
        if self.native {
            let enough = ended || has_chars(held, NAMED);
            return if enough { Finding::No(self.why_not(shown, held)) } else { Finding::Wait };
        }
        self.further_in(shown, held, ended)
    }

    /// The answer begins with an anchor that occurs more than once.
    fn other_ways(&mut self, shown: Shown<'_>, answer: &str, seam: Seam, ended: bool) -> Finding {
        let passage = shown.passage.len();
        if self.ways.follows(shown.whole, answer) && !ended {
            let endless = has_chars(from(answer, passage), SEARCHED);
            return if endless { Finding::No(Verdict::Ambiguous) } else { Finding::Wait };
        }
        let followed = floor(answer, self.ways.followed());
        if overlap(shown.whole, followed) > passage { Finding::No(Verdict::Ambiguous) } else { Finding::Found(seam) }
    }

    /// Looks for the anchor after other text.
    fn further_in(&mut self, shown: Shown<'_>, held: &str, ended: bool) -> Finding {
        let passage = shown.passage;
        let Some(at) = find(held, passage, self.searched) else {
            self.searched = (held.len() + 1).saturating_sub(passage.len()).max(self.searched);
            let enough = ended || has_chars(held, SEARCHED + passage.chars().count());
            return if enough { Finding::No(self.why_not(shown, held)) } else { Finding::Wait };
        };
        if !shown.unique || !has_chars(passage, FURTHER_IN_MIN) {
            return Finding::No(Verdict::Ambiguous);
        }
        let before = until(shown.whole, self.anchor.start);
        let foreign = until(held, at - agreement_at_end(until(held, at), before));
        let seam = Seam::new(at + passage.len(), Via::AnchorFurtherIn);
        let words = foreign.trim();
        if words.is_empty() || matches!(words, "..." | "…") {
            return Finding::Found(seam);
        }
        match preamble(foreign, from(held, foreign.len())) {
            None => Finding::Found(Seam { preamble: true, ..seam }),
            Some(verdict) => Finding::No(verdict),
        }
    }

    /// Names what the target did instead.
    fn why_not(&self, shown: Shown<'_>, held: &str) -> Verdict {
        let answer = held.trim_start();
        match opener(answer) {
            Some(Opener::Refusal) => return Verdict::Refused,
            Some(Opener::Preamble) => return Verdict::Preamble,
            None => {}
        }
        let said_again = head(answer, 64);
        if has_chars(floor(shown.passage, self.on_anchor), MIN_OVERLAP) {
            Verdict::Rephrased
        } else if has_chars(floor(shown.visible, self.on_shown), MIN_OVERLAP) {
            Verdict::RestartedDifferently
        } else if has_chars(said_again, 64) && find(shown.whole, said_again, 0).is_some() {
            Verdict::Looping
        } else if resembles(shown.passage, answer) {
            Verdict::Rephrased
        } else {
            Verdict::AnchorMissing
        }
    }
}

/// Nothing visible was shown: whatever comes is the answer, less the white space the caller has.
fn open_blank(shown: &str, held: &str, ended: bool) -> Finding {
    if held.starts_with(shown) {
        return Finding::Found(Seam::new(shown.len(), Via::Anew));
    }
    match first_visible(held) {
        Some(at) => Finding::Found(Seam::new(at, Via::Anew)),
        None if ended => Finding::No(Verdict::Empty),
        None => Finding::Wait,
    }
}

/// Where white space ends.
fn first_visible(text: &str) -> Option<usize> {
    let at = text.len() - text.trim_start().len();
    (at < text.len()).then_some(at)
}

/// Why `foreign`, which stands before text that was shown (`rest`), is not a plain preamble; `None` = it is one.
fn preamble(foreign: &str, rest: &str) -> Option<Verdict> {
    let words = foreign.trim_end();
    let plain_end = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '!' | '…' | '：' | '。');
    if words.contains(['`', '"', '“', '”', '«', '»', '「', '『', '„', '*', '>', '<', '['])
        || !words.chars().next_back().is_some_and(plain_end)
    {
        return Some(Verdict::Wrapped);
    }
    let set_off = foreign.ends_with('\n') || words.ends_with([':', '：']) || rest.starts_with('\n');
    let short = !has_chars(foreign, PREAMBLE_MAX + 1);
    if set_off && short { None } else { Some(Verdict::Preamble) }
}

/// Whether `answer` says the anchor in other characters: the same letters and digits, or most of its longer words.
fn resembles(anchor: &str, answer: &str) -> bool {
    let letters =
        |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect() };
    let (bare, spoken) = (letters(anchor), letters(head(answer, SEARCHED)));
    if has_chars(&bare, MIN_OVERLAP) && find(&spoken, &bare, 0).is_some() {
        return true;
    }
    let words: Vec<&str> = anchor.split(|c: char| !c.is_alphanumeric()).filter(|word| has_chars(word, 4)).collect();
    let kept = words.iter().filter(|word| find(answer, word, 0).is_some()).count();
    words.len() >= 3 && kept * 2 >= words.len()
}
