//! One provider stream, read event by event: the same bytes for a caller of the same dialect, translated otherwise.
//!
//! It owns whole events only: bytes past the last complete event never leave it, so an error event or a splice can
//! always follow what was sent. It has no timers and takes no decisions; [`crate::attempt`] drives it up to the first
//! content, [`crate::relay`] from there on.

use crate::clock;
use crate::memory::{Held, no_room};
use bytes::{Bytes, BytesMut};
use canon::{DialectName, Drops, Event, Fault, FaultClass, FinishReason, Origin, Tag, Usage};
use catalog::{Provider, classify};
use dialect::sse::{self, Decoder, Frame};
use dialect::{Sniffer, StreamDecoder, StreamEncoder, StreamEnd};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use upstream::AnswerBody;

/// Longest single event; a provider that sends more is broken.
const EVENT_LIMIT: usize = 16 << 20;

/// Bytes of an unfinished event that need no share of the byte budget.
const UNACCOUNTED: usize = 64 << 10;

/// How much is gathered before it is handed on, when the provider is faster than the caller's connection.
const BATCH: usize = 16 << 10;

/// What is known of an answer so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Token counts, cumulative.
    pub usage: Usage,
    /// Why it ended, and the provider's word.
    pub finish: Option<(FinishReason, String)>,
    /// The model that served, as the provider names it.
    pub model: Option<String>,
    /// Events that could not be read and were left out.
    pub malformed: u32,
    /// What the caller's dialect could not show.
    pub drops: Drops,
    /// Text, a tool call, or shown reasoning went out.
    pub content: bool,
    /// Whole events that went out.
    pub events: u64,
}

/// How events become the caller's bytes.
pub(crate) enum Reader {
    /// Same dialect: bytes pass, a copy is looked at.
    Same {
        /// Looks.
        sniffer: Box<dyn Sniffer>,
        /// Usage reports go to the caller too.
        show_usage: bool,
        /// What stands around the events.
        framing: Framing,
    },
    /// Another dialect: through canonical events.
    Translated {
        /// Reads the provider's dialect.
        decoder: Box<dyn StreamDecoder>,
        /// Writes the caller's.
        encoder: Box<dyn StreamEncoder>,
        /// Events of the frame at hand; kept to save the allocation.
        events: Vec<Event>,
    },
}

/// What stands around the events that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// What the provider put there.
    Received,
    /// Elements of one JSON array, as Gemini streams to those who do not ask for events.
    Array {
        /// The first element is written.
        begun: bool,
    },
}

impl Framing {
    /// Events as they come, or an array.
    pub(crate) fn new(is_array: bool) -> Self {
        if is_array { Self::Array { begun: false } } else { Self::Received }
    }

    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        match self {
            Self::Received => out.extend_from_slice(&frame.raw),
            Self::Array { .. } => self.element(&frame.data, out),
        }
    }

    fn element(&mut self, json: &[u8], out: &mut BytesMut) {
        let before: &[u8] = if *self == (Self::Array { begun: false }) { b"[" } else { b",\r\n" };
        out.extend_from_slice(before);
        out.extend_from_slice(json);
        *self = Self::Array { begun: true };
    }

    fn close(self, out: &mut BytesMut) {
        match self {
            Self::Received => {}
            Self::Array { begun: true } => out.extend_from_slice(b"]"),
            Self::Array { begun: false } => out.extend_from_slice(b"[]"),
        }
    }
}

/// What a poll brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Signs of life, nothing of the answer yet: the gate stays shut. Carries no content.
    Prelude,
    /// Content. It can be sent, unless the caller's dialect shows it only when it is complete.
    Content,
    /// The stream ended as its protocol says.
    Complete,
}

/// A provider's stream under way.
pub(crate) struct Stream {
    body: AnswerBody,
    decoder: Decoder,
    reader: Reader,
    provider: Arc<Provider>,
    /// Whether reasoning is shown to this caller, and so counts as content.
    reasoning_is_content: bool,
    /// Whole events, ready to go.
    out: BytesMut,
    /// What was learned.
    pub facts: Facts,
    ended: bool,
    /// The finish reason was seen: only usage and the terminator may follow.
    finished: bool,
    /// Content is in the output, or was: an encoder may hold a tool call back until it is complete.
    shown: bool,
    /// `content_blocked: next`: a blocked answer without content is a fault.
    blocked_is_fault: bool,
    /// The terminator is kept back, so that the trace can go before it.
    hold_terminator: bool,
    terminator: BytesMut,
    /// The share of the byte budget that an unfinished event holds.
    held: Held,
}

impl Stream {
    /// Wraps the body of a 200 that promises an event stream.
    pub(crate) fn new(
        body: AnswerBody,
        reader: Reader,
        provider: Arc<Provider>,
        reasoning_is_content: bool,
        blocked_is_fault: bool,
        held: Held,
    ) -> Self {
        Self {
            body,
            decoder: Decoder::new(EVENT_LIMIT),
            reader,
            provider,
            reasoning_is_content,
            out: BytesMut::new(),
            facts: Facts::default(),
            ended: false,
            finished: false,
            shown: false,
            blocked_is_fault,
            hold_terminator: false,
            terminator: BytesMut::new(),
            held,
        }
    }

    /// Keeps the terminator back until [`Stream::release_terminator`].
    pub(crate) fn hold_terminator(&mut self) {
        self.hold_terminator = true;
    }

    /// Appends what the gateway itself has to say (the trace), then the terminator that was kept back.
    pub(crate) fn release_terminator(&mut self, before: &[u8]) {
        self.out.extend_from_slice(before);
        let terminator = self.terminator.split();
        self.out.extend_from_slice(&terminator);
    }

    /// Bytes of whole events that may go to the caller.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| self.out.split().freeze())
    }

    /// Bytes waiting to go.
    pub(crate) fn output_len(&self) -> usize {
        self.out.len()
    }

    /// Whether the caller would see anything of the answer by now, if only its end.
    pub(crate) fn has_begun(&self) -> bool {
        self.shown || self.finished
    }

    /// Whether the finish reason was seen; after it only usage and the terminator may follow, within a second.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    /// Reads on. `Ready` once something happened that the driver must know; what can be sent is in the output.
    pub(crate) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, Fault>> {
        let mut content = false;
        loop {
            if self.ended {
                return Poll::Ready(Ok(Progress::Complete));
            }
            let polled = self.body.as_mut().poll_frame(cx);
            let polled = match polled {
                Poll::Pending if content => return Poll::Ready(Ok(Progress::Content)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(polled) => polled,
            };
            match polled {
                Some(Ok(frame)) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.decoder.push(chunk);
                    content |= self.read_frames()?;
                    self.account()?;
                    if self.out.len() >= BATCH && content {
                        return Poll::Ready(Ok(Progress::Content));
                    }
                    if !content {
                        return Poll::Ready(Ok(Progress::Prelude));
                    }
                }
                // If the answer is whole, how the connection died after it is nobody's concern.
                Some(Err(fault)) => self.end().map_err(|_| Fault {
                    class: FaultClass::StreamBroken,
                    scope: FaultClass::StreamBroken.default_scope(),
                    ..fault
                })?,
                None => self.end()?,
            }
        }
    }

    /// The driver waited long enough for what may follow the finish reason: the stream is complete as it is.
    pub(crate) fn close(&mut self) -> Result<(), Fault> {
        if self.ended { Ok(()) } else { self.end() }
    }

    /// Gives up the provider's answer: the call is cancelled.
    pub(crate) fn abandon(&mut self) {
        self.body = Box::pin(http_body_util::Empty::new().map_err(|never| match never {}));
        self.ended = true;
    }

    /// Ends the caller's stream with the dialect's error event and no terminator.
    pub(crate) fn fail(&mut self, encoder: &mut dyn StreamEncoder, error: &canon::CallerError) {
        match &mut self.reader {
            Reader::Same { framing: Framing::Received, .. } => encoder.fail(error, &mut self.out),
            Reader::Same { framing, .. } => {
                framing.element(&dialect::inbound(DialectName::Gemini).encode_error(error), &mut self.out);
                framing.close(&mut self.out);
            }
            Reader::Translated { encoder, .. } => encoder.fail(error, &mut self.out),
        }
        self.ended = true;
    }

    /// Draws what an unfinished event holds on the byte budget, once it is more than a connection holds anyway.
    fn account(&mut self) -> Result<(), Fault> {
        let unfinished = self.decoder.buffered();
        if unfinished > UNACCOUNTED && !self.held.grow_to(unfinished) {
            return Err(no_room(FaultClass::StreamBroken));
        }
        Ok(())
    }

    fn read_frames(&mut self) -> Result<bool, Fault> {
        let mut content = false;
        while let Some(frame) = self.decoder.next_frame() {
            let frame = frame.map_err(|_| {
                Fault::new(FaultClass::StreamBroken, Origin::Body, "an event of the stream is larger than 16 MiB")
            })?;
            content |= match &mut self.reader {
                Reader::Same { .. } => self.pass(&frame)?,
                Reader::Translated { .. } => self.translate(&frame)?,
            };
        }
        Ok(content)
    }

    fn pass(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let Reader::Same { sniffer, show_usage, .. } = &mut self.reader else { return Ok(false) };
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
        if self.facts.model.is_none() {
            self.facts.model = sniffed.model;
        }
        let shown = !sniffed.only_usage || *show_usage;
        let is_content = match sniffed.tag {
            None => return Ok(false),
            Some(tag) => self.counts(tag),
        };
        let only_terminator = sniffed.tag == Some(Tag::Done) && sniffed.finish.is_none();
        if let Some((reason, native)) = sniffed.finish {
            self.finish(reason, native, is_content)?;
        }
        // A terminator without a finish reason before it ends nothing: some providers close failed streams so.
        self.finished |= sniffed.terminator && self.facts.finish.is_some();
        if self.hold_terminator && only_terminator {
            self.terminator.extend_from_slice(&frame.raw);
        } else if shown {
            if let Reader::Same { framing, .. } = &mut self.reader {
                framing.write(frame, &mut self.out);
            }
            self.facts.events += 1;
            self.shown |= is_content;
        }
        self.facts.content |= is_content;
        Ok(is_content || self.finished)
    }

    fn translate(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let Reader::Translated { decoder, events, .. } = &mut self.reader else { return Ok(false) };
        let mut events = std::mem::take(events);
        if decoder.decode(frame, &mut events).is_err() {
            self.facts.malformed += 1;
        }
        let content = self.encode(&mut events);
        if let Reader::Translated { events: kept, .. } = &mut self.reader {
            events.clear();
            *kept = events;
        }
        content
    }

    fn encode(&mut self, events: &mut Vec<Event>) -> Result<bool, Fault> {
        let mut content = false;
        for event in events.drain(..) {
            match &event {
                Event::Error(error) => return Err(self.in_body(error)),
                Event::Usage(usage) => self.facts.usage.update(usage),
                Event::Start { model: Some(model), .. } => self.facts.model = Some(model.clone()),
                Event::PromptBlocked(block) => {
                    let native = block.reason.clone();
                    self.finish(FinishReason::ContentFilter, native, content)?;
                }
                Event::Finish { reason, native, .. } => {
                    self.finish(*reason, native.clone().unwrap_or_default(), content)?;
                }
                Event::Done => self.finished = true,
                _ => {}
            }
            let is_content = self.counts(event.tag());
            self.facts.content |= is_content;
            content |= is_content;
            if let Reader::Translated { encoder, .. } = &mut self.reader {
                let hold = self.hold_terminator && event == Event::Done;
                let out = if hold { &mut self.terminator } else { &mut self.out };
                let before = out.len();
                encoder.encode(&event, out, &mut self.facts.drops);
                self.facts.events += 1;
                self.shown |= is_content && out.len() > before;
            }
        }
        Ok(content || self.finished)
    }

    fn counts(&self, tag: Tag) -> bool {
        match tag {
            Tag::Content | Tag::Tool => true,
            Tag::Reasoning => self.reasoning_is_content,
            Tag::Prelude | Tag::Usage | Tag::Fault | Tag::Done => false,
        }
    }

    fn finish(&mut self, reason: FinishReason, native: String, content_now: bool) -> Result<(), Fault> {
        let content = content_now || self.facts.content;
        if let Some(fault) = finish_fault(&self.provider, reason, &native, content, self.blocked_is_fault) {
            return Err(fault);
        }
        self.facts.finish = Some((reason, native));
        Ok(())
    }

    /// Some providers leave out the blank line that closes their last event. If what is left reads as a whole event it
    /// passes, closed; anything else is returned.
    fn pass_unclosed(&mut self, residue: Bytes) -> Result<Bytes, Fault> {
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

    fn in_body(&self, error: &serde_json::Value) -> Fault {
        classify::in_body(&self.provider, error, clock::wall())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let mut residue = self.decoder.residue();
        if matches!(self.reader, Reader::Same { .. }) {
            residue = self.pass_unclosed(residue)?;
        }
        match &mut self.reader {
            Reader::Same { sniffer, .. } => match sniffer.end(&residue) {
                StreamEnd::Complete => self.finished = true,
                StreamEnd::Incomplete => {}
                StreamEnd::Error(error) => return Err(self.in_body(&error)),
            },
            Reader::Translated { decoder, events, .. } => {
                let mut last = std::mem::take(events);
                decoder.end(&residue, &mut last);
                self.encode(&mut last)?;
            }
        }
        if !self.finished {
            return Err(Fault::new(FaultClass::StreamBroken, Origin::Body, "the stream ended without a finish reason"));
        }
        if let Reader::Same { framing, .. } = &self.reader {
            framing.close(&mut self.out);
        }
        self.ended = true;
        Ok(())
    }
}

/// The fault a finish reason is, if it is one. `content` = something of the answer was shown.
pub(crate) fn finish_fault(
    provider: &Provider,
    reason: FinishReason,
    native: &str,
    content: bool,
    blocked_is_fault: bool,
) -> Option<Fault> {
    if let Some(fault) = classify::finish(provider, reason, native, content) {
        // A blocked answer says so in the caller's own dialect; it is a fault only where the operator wants it tried
        // elsewhere.
        return (fault.class != FaultClass::ContentBlocked || blocked_is_fault).then_some(fault);
    }
    match reason {
        // Reasoning may use up the whole cap: an answer of length with nothing in it is what was asked for.
        FinishReason::Length | FinishReason::ContextFull | FinishReason::ContentFilter | FinishReason::Pause => None,
        FinishReason::Stop
        | FinishReason::ToolCalls
        | FinishReason::BrokenOutput
        | FinishReason::ProviderError
        | FinishReason::Other => (!content).then(|| classify::empty_answer(provider)),
    }
}

/// Waits for the next progress.
pub(crate) struct NextProgress<'a>(pub(crate) &'a mut Stream);

impl Future for NextProgress<'_> {
    type Output = Result<Progress, Fault>;
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let progress = ready!(self.0.poll_progress(cx));
        Poll::Ready(progress)
    }
}
