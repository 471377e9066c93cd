//! The seam: what of a continuing target's text is new to the caller.
//!
//! A [`Join`] is fed the target's text as it comes. Until the place is proven at which the new text begins, it holds
//! everything ([`Step::Held`]); from then on everything passes untouched and uncopied; where no place can be proven it
//! says why ([`Step::NoJoin`]) and stays so.
//!
//! Three stages. *Opening*: where does the new text begin? `anchored` believes nothing but a passage that was shown and
//! has to come again; `token` trusts the provider. *Guard*: does the new text say again what was shown?
//! It usually holds a handful of characters. *Flowing*: everything passes.

mod anchored;
mod guard;
mod token;

use crate::Verdict;
use crate::anchor::Anchor;
use crate::text::from;
use anchored::Anchored;
use guard::{Guard, Ruling};
use std::sync::Arc;
use token::Token;

/// How the target was asked to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It got what was shown up to this passage, right-trimmed, as the beginning of its own turn, and is known to go on
    /// from there. It has to say the passage by itself.
    Native(Anchor),
    /// It got the provider's own token. The place the token stands for may lag behind what was shown.
    Token,
    /// It was asked to repeat the anchor and go on.
    Anchored(Anchor),
}

/// What may be done with the text so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing may be released yet.
    Held,
    /// This is new to the caller and follows what was shown. From [`Join::finish`] it may be empty: nothing was left.
    Release(&'a str),
    /// No join: nothing of this target may be released, now or later.
    NoJoin(Verdict),
}

/// How the seam was found; a label of logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// The target simply went on.
    Continued,
    /// It repeated what it had been given, or the end of it, and went on.
    Echoed,
    /// It began with the anchor.
    Anchor,
    /// The anchor came after text that had been shown too, or after a short preamble.
    AnchorFurtherIn,
    /// It gave the whole answer again, verbatim.
    Anew,
}

impl Via {
    /// The name logs and metrics write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continued => "continued",
            Self::Echoed => "echoed",
            Self::Anchor => "anchor",
            Self::AnchorFurtherIn => "anchor_further_in",
            Self::Anew => "anew",
        }
    }
}

/// Where the new text begins in what the target sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seam {
    /// Byte of the target's text.
    at: usize,
    via: Via,
    /// Words of the target's own came before the anchor.
    preamble: bool,
}

impl Seam {
    fn new(at: usize, via: Via) -> Self {
        Self { at, via, preamble: false }
    }
}

/// What an opening says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Wait,
    Found(Seam),
    No(Verdict),
}

#[derive(Debug)]
enum Stage {
    Token(Token),
    Anchored(Anchored),
    Guard(Guard, Seam),
    Flowing,
    Failed(Verdict),
}

/// Joins one target's text to what was shown. One per attempt.
#[derive(Debug)]
pub struct Join {
    shown: Arc<str>,
    /// The target's text since its start, until it flows.
    held: String,
    stage: Stage,
    via: Option<Via>,
}

impl Join {
    /// A join to `shown`, everything the caller has of the text, for a target asked in this mode.
    pub fn new(shown: Arc<str>, mode: Mode) -> Self {
        let stage = match mode {
            Mode::Native(proof) => Stage::Anchored(Anchored::native(proof)),
            Mode::Token => Stage::Token(Token::default()),
            Mode::Anchored(anchor) => Stage::Anchored(Anchored::new(anchor)),
        };
        Self { shown, held: String::new(), stage, via: None }
    }

    /// How the seam was found, once text flows.
    pub fn via(&self) -> Option<Via> {
        self.via
    }

    /// Bytes that wait for a decision; they count against the caller's memory budget.
    pub fn held(&self) -> usize {
        match self.stage {
            Stage::Flowing | Stage::Failed(_) => 0,
            Stage::Token(_) | Stage::Anchored(_) | Stage::Guard(..) => self.held.len(),
        }
    }

    /// Takes the target's next text.
    pub fn push<'a>(&'a mut self, delta: &'a str) -> Step<'a> {
        match self.stage {
            Stage::Flowing => {
                self.held = String::new();
                return if delta.is_empty() { Step::Held } else { Step::Release(delta) };
            }
            Stage::Failed(verdict) => return Step::NoJoin(verdict),
            Stage::Token(_) | Stage::Anchored(_) | Stage::Guard(..) => {}
        }
        self.held.push_str(delta);
        self.decide(false)
    }

    /// The target has ended as its protocol says: what is held is released now or never. Never [`Step::Held`].
    ///
    /// Not to be called for a stream that broke: of what is held then, nothing was shown, and the next target gets the
    /// same transcript.
    pub fn finish(&mut self) -> Step<'_> {
        match self.stage {
            Stage::Flowing => Step::Release(""),
            Stage::Failed(verdict) => Step::NoJoin(verdict),
            Stage::Token(_) | Stage::Anchored(_) | Stage::Guard(..) => self.decide(true),
        }
    }

    fn decide(&mut self, ended: bool) -> Step<'_> {
        let (shown, held) = (&*self.shown, self.held.as_str());
        let finding = match &mut self.stage {
            Stage::Token(token) => token.open(shown, held, ended),
            Stage::Anchored(anchored) => anchored.open(shown, held, ended),
            Stage::Guard(_, seam) => Finding::Found(*seam),
            Stage::Flowing => return Step::Held,
            Stage::Failed(verdict) => return Step::NoJoin(*verdict),
        };
        let seam = match finding {
            Finding::Wait => return Step::Held,
            Finding::No(verdict) => return self.fail(verdict),
            Finding::Found(seam) => seam,
        };
        let fresh = from(held, seam.at);
        let mut guard = match std::mem::replace(&mut self.stage, Stage::Flowing) {
            Stage::Guard(guard, _) => guard,
            Stage::Anchored(anchored) if seam.preamble => Guard::after_preamble(anchored.anchor().of(shown)),
            Stage::Anchored(_) | Stage::Token(_) | Stage::Flowing | Stage::Failed(_) => Guard::default(),
        };
        match guard.rule(shown, fresh, ended) {
            Ruling::Wait => {
                self.stage = Stage::Guard(guard, seam);
                Step::Held
            }
            Ruling::No(verdict) => self.fail(verdict),
            Ruling::Pass => {
                self.via = Some(seam.via);
                Step::Release(from(&self.held, seam.at))
            }
        }
    }

    fn fail(&mut self, verdict: Verdict) -> Step<'_> {
        self.stage = Stage::Failed(verdict);
        self.held = String::new();
        Step::NoJoin(verdict)
    }
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "tests cut at places they know")]
mod tests;
