//! What is kept and held of a stream, so that another target can go on with it when it breaks.

use super::{Reader, Stream};
use canon::{Tag, Usage};
use dialect::{Shown, StreamEncoder};

/// Most that is held to completeness, in bytes; what is longer is let through, and cannot be rescued from there.
pub(super) const HOLD_LIMIT: usize = 1 << 20;
/// Longest transcript of one stream, in bytes.
const TRANSCRIPT_LIMIT: usize = 256 << 10;

/// How a stream is read.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub(crate) struct Terms {
    /// Reasoning is shown to this caller, and so counts as content.
    pub reasoning_is_content: bool,
    /// An answer that says nothing is a fault.
    pub empty_is_fault: bool,
    /// `content_blocked: next`: a blocked answer without content is a fault.
    pub blocked_is_fault: bool,
    /// Keep what the caller has, for whoever goes on with it.
    pub keeps: bool,
    /// What is held to completeness, so that a cut inside it can be made good by making it again.
    pub holds: Holds,
    /// To which boundary text is held back.
    pub text: rescue::Granularity,
    /// More than one candidate was asked for.
    pub several: bool,
}

/// What is held to completeness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing.
    Nothing,
    /// Tool calls, and whatever follows one.
    Calls,
    /// The whole answer: it is structured.
    Everything,
}

impl Terms {
    pub(super) fn holds_anything(self) -> bool {
        self.holds != Holds::Nothing
    }

    pub(super) fn holds(self, tag: Tag) -> bool {
        match self.holds {
            Holds::Nothing => false,
            Holds::Calls => tag == Tag::Tool,
            Holds::Everything => matches!(tag, Tag::Tool | Tag::Content),
        }
    }

    /// More came than is held: it goes as it comes from here.
    pub(super) fn hold_no_more(&mut self) {
        self.holds = Holds::Nothing;
    }
}

/// What the caller has of a stream that broke.
pub(crate) struct Seen {
    /// Of the answer.
    pub shown: Shown,
    /// What wrote the caller's stream, and goes on with it; `None` = the provider's own bytes passed.
    pub encoder: Option<Box<dyn StreamEncoder>>,
    /// What it cost, as far as the provider said.
    pub usage: Usage,
}

impl Stream {
    /// What the caller has of it; `None` where that was not kept. What was held is thrown away.
    pub(crate) fn take_seen(&mut self) -> Option<Seen> {
        if !self.terms.keeps {
            return None;
        }
        let (shown, encoder) = match &mut self.reader {
            Reader::Same { sniffer, .. } => {
                let shown = sniffer.shown_mut()?;
                if let Some(mark) = self.since.take() {
                    shown.rewind(&mark);
                }
                self.frames.clear();
                (std::mem::take(shown), None)
            }
            Reader::Translated(translation) => {
                translation.forget_held();
                let shown = translation.shown.take()?;
                (shown, translation.encoder.take())
            }
        };
        // The finish reason of an answer that did not end was not passed on.
        Some(Seen { shown: Shown { finished: false, ..shown }, encoder, usage: self.facts.usage.clone() })
    }

    /// Gives the encoder back: nobody goes on.
    pub(crate) fn give_back(&mut self, encoder: Option<Box<dyn StreamEncoder>>) {
        if let Reader::Translated(translation) = &mut self.reader
            && encoder.is_some()
        {
            translation.encoder = encoder;
        }
    }

    /// Draws the transcript on its budget; past it the stream goes on without.
    pub(super) fn account_for_transcript(&mut self) {
        let kept = match &self.reader {
            Reader::Same { sniffer, .. } => sniffer.shown().map(|shown| shown.text.capacity()),
            Reader::Translated(translation) => translation
                .shown
                .as_ref()
                .map(|shown| shown.text.capacity() + translation.joining.as_ref().map_or(0, super::Joining::held)),
        };
        let Some(kept) = kept else { return };
        let all = kept + self.frames.len();
        if all <= self.transcript.bytes() {
            return;
        }
        if kept <= TRANSCRIPT_LIMIT && self.transcript.grow_to(all) {
            return;
        }
        match &mut self.reader {
            Reader::Same { sniffer, .. } => sniffer.stop_recording(),
            Reader::Translated(translation) => translation.shown = None,
        }
        self.facts.unkept = true;
        self.transcript.release();
    }
}
