//! Another dialect, or a rescue: through canonical events.
//!
//! `decoder → join → holds → record → encoder`. A stream that takes over from a broken one has no encoder until it was
//! joined; what may be shown waits for it.

use super::joining::Joined;
use super::keep::HOLD_LIMIT;
use super::{Facts, Joining, Reader, Stream, Terms, Translation};
use bytes::BytesMut;
use canon::{Drops, Event, Fault, FinishReason, Tag, Usage};
use dialect::sse::Frame;
use dialect::{Shown, StreamDecoder, StreamEncoder};

impl Translation {
    /// From a provider's dialect to the caller's.
    pub(crate) fn new(decoder: Box<dyn StreamDecoder>, encoder: Box<dyn StreamEncoder>, terms: Terms) -> Self {
        let shown = terms.keeps.then(Shown::default);
        Self { encoder: Some(encoder), shown, ..Self::bare(decoder, terms) }
    }

    /// Of a target that takes over from a broken stream of which the caller has `shown`.
    pub(crate) fn taking_over(
        decoder: Box<dyn StreamDecoder>,
        joining: Joining,
        shown: Option<Shown>,
        terms: Terms,
    ) -> Self {
        Self { joining: Some(joining), shown, ..Self::bare(decoder, terms) }
    }

    fn bare(decoder: Box<dyn StreamDecoder>, terms: Terms) -> Self {
        Self {
            decoder,
            encoder: None,
            joining: None,
            shown: None,
            text: rescue::Hold::new(terms.text),
            pending: Vec::new(),
            held: Vec::new(),
            holding: false,
            held_bytes: 0,
            events: Vec::new(),
        }
    }

    /// Puts one event on its way to the caller, behind whatever is held. Returns whether something was written.
    fn emit(&mut self, event: Event, terms: &mut Terms, out: &mut BytesMut, drops: &mut Drops) -> bool {
        if self.holding {
            return self.hold(event, terms, out, drops);
        }
        match event {
            Event::Text { candidate: 0, text, signature: None } if terms.text != rescue::Granularity::None => {
                let ready = self.text.push(&text).to_owned();
                !ready.is_empty() && self.write(Event::Text { candidate: 0, text: ready, signature: None }, out, drops)
            }
            Event::Ping | Event::Usage(_) | Event::Start { .. } => self.write(event, out, drops),
            event => {
                let rest = self.text.finish().to_owned();
                self.text = rescue::Hold::new(terms.text);
                let mut written = !rest.is_empty()
                    && self.write(Event::Text { candidate: 0, text: rest, signature: None }, out, drops);
                if terms.holds(event.tag()) {
                    self.holding = true;
                    written |= self.hold(event, terms, out, drops);
                } else {
                    written |= self.write(event, out, drops);
                }
                written
            }
        }
    }

    /// Keeps an event until the answer is complete.
    fn hold(&mut self, event: Event, terms: &mut Terms, out: &mut BytesMut, drops: &mut Drops) -> bool {
        self.held_bytes += match &event {
            Event::Text { text, .. } | Event::ToolCallDelta { arguments: text, .. } => text.len(),
            _ => size_of::<Event>(),
        };
        let complete = matches!(event, Event::Finish { .. } | Event::Done | Event::PromptBlocked(_));
        self.held.push(event);
        if self.held_bytes > HOLD_LIMIT {
            terms.hold_no_more();
        } else if !complete {
            return false;
        }
        self.holding = false;
        let mut written = false;
        for event in std::mem::take(&mut self.held) {
            written |= self.write(event, out, drops);
        }
        written
    }

    fn write(&mut self, event: Event, out: &mut BytesMut, drops: &mut Drops) -> bool {
        let Some(encoder) = &mut self.encoder else {
            let says = matches!(event.tag(), Tag::Content | Tag::Tool | Tag::Reasoning | Tag::Done);
            self.pending.push(event);
            return says;
        };
        if let Some(shown) = &mut self.shown {
            shown.take(&event);
        }
        let before = out.len();
        encoder.encode(&event, out, drops);
        out.len() > before
    }

    /// Whether it goes on from what was shown, or needs not.
    fn is_joined(&self) -> bool {
        self.joining.as_ref().is_none_or(Joining::is_joined)
    }

    /// What of it the caller has, everything that is held forgotten.
    pub(super) fn forget_held(&mut self) {
        self.held.clear();
        self.holding = false;
    }
}

impl Stream {
    pub(super) fn translate(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let Reader::Translated(translation) = &mut self.reader else { return Ok(false) };
        let mut events = std::mem::take(&mut translation.events);
        if translation.decoder.decode(frame, &mut events).is_err() {
            self.facts.malformed += 1;
        }
        let content = self.encode(&mut events);
        if let Reader::Translated(translation) = &mut self.reader {
            events.clear();
            translation.events = events;
        }
        content
    }

    pub(super) fn encode(&mut self, events: &mut Vec<Event>) -> Result<bool, Fault> {
        let mut content = false;
        for event in events.drain(..) {
            if let Event::Error(error) = &event {
                return Err(self.in_body(error));
            }
            if let Event::Start { model: Some(model), .. } = &event {
                self.facts.model = Some(model.clone());
            }
            content |= self.counts(event.tag());
            let Reader::Translated(translation) = &mut self.reader else { continue };
            match &mut translation.joining {
                None => self.take(event, content)?,
                Some(joining) => {
                    let Joined { events, ended } = joining.take(event)?;
                    for event in events {
                        self.take(event, true)?;
                    }
                    if ended {
                        self.abandon();
                        return Ok(true);
                    }
                }
            }
        }
        Ok(content || self.finished)
    }

    fn take(&mut self, event: Event, content: bool) -> Result<(), Fault> {
        let is_content = self.counts(event.tag());
        self.facts.content |= is_content;
        match &event {
            Event::PromptBlocked(block) => {
                let native = block.reason.clone();
                self.finish(FinishReason::ContentFilter, native, content)?;
            }
            Event::Finish { reason, native, .. } => {
                self.finish(*reason, native.clone().unwrap_or_default(), content)?;
            }
            Event::Usage(usage) => self.facts.usage.update(usage),
            Event::Done => self.finished = true,
            _ => {}
        }
        if let Reader::Translated(translation) = &mut self.reader {
            let keep_back = self.hold_terminator && event == Event::Done && translation.encoder.is_some();
            let out = if keep_back { &mut self.terminator } else { &mut self.out };
            let begins = is_content || matches!(event, Event::Finish { .. });
            let written = translation.emit(event, &mut self.terms, out, &mut self.facts.drops);
            self.facts.events += 1;
            self.shown |= begins && written;
        }
        self.look()
    }

    /// Whether a target that takes over has said something that goes on from what was shown, or has ended.
    pub(crate) fn has_joined(&self) -> bool {
        match &self.reader {
            Reader::Same { .. } => true,
            Reader::Translated(translation) => (translation.is_joined() && self.shown) || self.finished,
        }
    }

    /// How the seam was found.
    pub(crate) fn joined_via(&self) -> Option<rescue::Via> {
        match &self.reader {
            Reader::Same { .. } => None,
            Reader::Translated(translation) => translation.joining.as_ref().and_then(Joining::via),
        }
    }

    /// Bytes of its text before the first that was shown: they repeat what the caller had.
    pub(crate) fn skipped(&self) -> usize {
        match &self.reader {
            Reader::Same { .. } => 0,
            Reader::Translated(translation) => translation.joining.as_ref().map_or(0, Joining::skipped),
        }
    }

    /// Whether a stop sequence over the seam ended it before its provider did.
    pub(crate) fn was_stopped(&self) -> bool {
        match &self.reader {
            Reader::Same { .. } => false,
            Reader::Translated(translation) => translation.joining.as_ref().is_some_and(Joining::was_stopped),
        }
    }

    /// It goes on where `before` ended.
    pub(crate) fn follows(&mut self, before: &Self) {
        let own = std::mem::take(&mut self.facts);
        self.facts = Facts {
            drops: before.facts.drops.clone(),
            events: before.facts.events + own.events,
            malformed: before.facts.malformed + own.malformed,
            content: before.facts.content || own.content,
            unkept: before.facts.unkept,
            checks: before.facts.checks.clone(),
            ..own
        };
        self.facts.drops.extend(own.drops);
        self.facts.checks.extend(own.checks);
    }

    /// Puts an event of the gateway's own before what is still to come.
    pub(crate) fn announce(&mut self, event: &[u8]) {
        self.out.extend_from_slice(event);
    }

    /// Ends the caller's stream for this reason, as its protocol says.
    pub(crate) fn finish_with(&mut self, mut encoder: Box<dyn StreamEncoder>, reason: FinishReason, usage: &Usage) {
        let finish = Event::Finish { candidate: 0, reason, native: None, stop_sequence: None };
        for event in [finish, Event::Usage(usage.clone())] {
            encoder.encode(&event, &mut self.out, &mut self.facts.drops);
        }
        let out = if self.hold_terminator { &mut self.terminator } else { &mut self.out };
        encoder.encode(&Event::Done, out, &mut self.facts.drops);
        self.facts.usage.clone_from(usage);
        self.facts.finish = Some((reason, String::new()));
        self.abandon();
    }

    /// Gives a joined stream the encoder it goes on in the caller's stream with.
    pub(crate) fn attach(&mut self, encoder: Box<dyn StreamEncoder>) {
        if let Reader::Translated(translation) = &mut self.reader {
            translation.encoder = Some(encoder);
            for event in std::mem::take(&mut translation.pending) {
                let keep_back = self.hold_terminator && event == Event::Done;
                let out = if keep_back { &mut self.terminator } else { &mut self.out };
                translation.write(event, out, &mut self.facts.drops);
            }
        }
    }
}
