//! Same dialect: the provider's own bytes, looked at in passing.

use super::{Framing, Reader, Stream, framing};
use crate::stream::keep::HOLD_LIMIT;
use bytes::{Bytes, BytesMut};
use canon::{Fault, Tag};
use dialect::Sniffed;
use dialect::sse::{self, Frame};

impl Stream {
    pub(super) fn pass(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let holds = self.terms.holds_anything() && self.since.is_none();
        let Reader::Same { sniffer, show_usage, .. } = &mut self.reader else { return Ok(false) };
        let before = if holds { sniffer.shown().map(dialect::Shown::mark) } else { None };
        let sniffed = sniffer.sniff(frame);
        if sniffed.malformed {
            self.facts.malformed += 1;
            return Ok(false);
        }
        if let Some(error) = &sniffed.error {
            return Err(self.in_body(error));
        }
        if let Some(usage) = &sniffed.usage {
            self.facts.usage.update(usage);
        }
        let passes = !sniffed.only_usage || *show_usage;
        let Some(tag) = sniffed.tag else { return Ok(false) };
        let is_content = self.counts(tag);
        if holds && self.terms.holds(tag) {
            self.since = before;
        }
        let Sniffed { finish, model, terminator, .. } = sniffed;
        if self.facts.model.is_none() {
            self.facts.model = model;
        }
        let only_terminator = tag == Tag::Done && finish.is_none();
        self.terminated |= only_terminator;
        if let Some((reason, native)) = finish {
            self.finish(reason, native, is_content)?;
            self.release_frames();
        }
        // A terminator without a finish reason before it ends nothing: some providers close failed streams so.
        self.finished |= terminator && self.facts.finish.is_some();
        if self.hold_terminator && only_terminator {
            self.terminator.extend_from_slice(&frame.raw);
        } else if passes {
            self.write_frame(frame);
            self.shown |= is_content && self.since.is_none();
        }
        self.facts.content |= is_content;
        self.look()?;
        Ok(is_content || self.finished)
    }

    fn write_frame(&mut self, frame: &Frame) {
        let out = if self.since.is_some() { &mut self.frames } else { &mut self.out };
        if let Reader::Same { framing, .. } = &mut self.reader {
            framing.write(frame, out);
        }
        self.facts.events += 1;
        if self.frames.len() > HOLD_LIMIT {
            self.terms.hold_no_more();
            self.release_frames();
        }
    }

    /// A whole answer ends with its dialect's terminator, although the provider left it out or was lost before it:
    /// whoever reads it by the rule that nothing is complete without one must not take it for cut.
    pub(super) fn terminate(&mut self) {
        if let Reader::Same { framing: Framing::Received, .. } = &self.reader
            && !std::mem::replace(&mut self.terminated, true)
        {
            let out = if self.hold_terminator { &mut self.terminator } else { &mut self.out };
            out.extend_from_slice(framing::terminator(self.provider.dialect));
        }
    }

    /// What was held is complete: it goes.
    fn release_frames(&mut self) {
        if self.since.take().is_some() {
            let frames = self.frames.split();
            self.shown |= !frames.is_empty();
            self.out.extend_from_slice(&frames);
        }
    }

    /// Some providers leave out the blank line that closes their last event. If what is left reads as a whole event it
    /// passes, closed; anything else is returned.
    pub(super) fn pass_unclosed(&mut self, residue: Bytes) -> Result<Bytes, Fault> {
        if residue.is_empty() {
            return Ok(residue);
        }
        let mut closed = BytesMut::with_capacity(residue.len() + 2);
        closed.extend_from_slice(&residue);
        closed.extend_from_slice(b"\n\n");
        let (frames, rest) = sse::frames(closed.freeze());
        if frames.is_empty() {
            return Ok(residue);
        }
        for frame in &frames {
            self.pass(frame)?;
        }
        Ok(rest)
    }
}
