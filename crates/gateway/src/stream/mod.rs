//! One provider stream, read event by event: the same bytes for a caller of the same dialect (`same`), translated
//! otherwise (`translated`), or joined to what another provider's stream had shown before it broke (`joining`).
//!
//! It owns whole events only: bytes past the last complete event never leave it, so an error event or a splice can
//! always follow what was sent. It has no timers and takes no decisions; [`crate::attempt`] drives it up to the first
//! content, [`crate::relay`] from there on.

mod checked;
mod framing;
mod joining;
mod keep;
mod same;
mod translated;

pub(crate) use framing::Framing;
pub(crate) use joining::{Joining, NO_JOIN};
pub(crate) use keep::{Holds, Seen, Terms};

use crate::clock;
use crate::memory::{Held, no_room};
use crate::quality::{Inspection, Record};
use bytes::{Bytes, BytesMut};
use canon::{DialectName, Drops, Event, Fault, FaultClass, FinishReason, Origin, Tag, Usage};
use catalog::{Provider, classify};
use dialect::shown::Mark;
use dialect::sse::Decoder;
use dialect::{Shown, Sniffer, StreamDecoder, StreamEncoder, StreamEnd};
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
    /// What the caller has is not kept any more: too much of it, or of all together.
    pub unkept: bool,
    /// What came of the checks.
    pub checks: Vec<Record>,
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
    Translated(Box<Translation>),
}

/// What a translated stream needs.
pub(crate) struct Translation {
    /// Reads the provider's dialect.
    pub decoder: Box<dyn StreamDecoder>,
    /// Writes the caller's; absent until a rescue has been joined.
    pub encoder: Option<Box<dyn StreamEncoder>>,
    /// Joins it to what was shown before.
    pub joining: Option<Joining>,
    /// What the caller has of it, where that is kept.
    pub shown: Option<Shown>,
    /// Text held back to a boundary.
    text: rescue::Hold,
    /// What may be shown once there is an encoder.
    pending: Vec<Event>,
    /// What waits for the end of the answer.
    held: Vec<Event>,
    /// Everything from here on is held to completeness.
    holding: bool,
    /// Bytes of text in what is held.
    held_bytes: usize,
    /// Events of the frame at hand; kept to save the allocation.
    events: Vec<Event>,
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
    terms: Terms,
    /// Whole events, ready to go.
    out: BytesMut,
    /// What was learned.
    pub facts: Facts,
    ended: bool,
    /// The finish reason was seen: only usage and the terminator may follow.
    finished: bool,
    /// Content is in the output, or was: an encoder may hold a tool call back until it is complete.
    shown: bool,
    /// Whole frames held to completeness, and where the record stood before them.
    frames: BytesMut,
    since: Option<Mark>,
    /// The provider sent its terminator.
    terminated: bool,
    /// The terminator is kept back, so that the trace can go before it.
    hold_terminator: bool,
    terminator: BytesMut,
    /// What watches it; `None` = nothing is left to look at.
    inspection: Option<Box<Inspection>>,
    /// The share of the byte budget that an unfinished event holds, and what is held back for a check.
    held: Held,
    /// The share of the budget of transcripts.
    transcript: Held,
}

/// The budgets a stream draws on.
pub(crate) struct Shares {
    /// Of everything.
    pub held: Held,
    /// Of what is kept to rescue streams.
    pub transcript: Held,
}

impl Stream {
    /// Wraps the body of a 200 that promises an event stream.
    pub(crate) fn new(
        body: AnswerBody,
        mut reader: Reader,
        provider: Arc<Provider>,
        terms: Terms,
        shares: Shares,
    ) -> Self {
        match &mut reader {
            Reader::Same { sniffer, .. } if terms.keeps => sniffer.record(),
            Reader::Same { .. } | Reader::Translated(_) => {}
        }
        Self {
            body,
            decoder: Decoder::new(EVENT_LIMIT),
            reader,
            provider,
            terms,
            out: BytesMut::new(),
            facts: Facts::default(),
            ended: false,
            finished: false,
            shown: false,
            frames: BytesMut::new(),
            since: None,
            terminated: false,
            hold_terminator: false,
            terminator: BytesMut::new(),
            inspection: None,
            held: shares.held,
            transcript: shares.transcript,
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
        (self.shown || self.finished) && !self.is_held_back()
    }

    /// Whether the finish reason was seen; after it only usage and the terminator may follow, within a second.
    pub(crate) fn finished(&self) -> bool {
        // Of several candidates, the protocol says when the last one is finished.
        self.finished || (self.facts.finish.is_some() && !self.terms.several)
    }

    /// Whether the answer is whole if nothing more comes. Some dialects tell that from the finish alone only in the
    /// end.
    pub(crate) fn may_be_whole(&self) -> bool {
        let would_end = match &self.reader {
            Reader::Same { .. } => false,
            Reader::Translated(translation) => translation.decoder.may_be_whole(),
        };
        would_end || self.finished()
    }

    /// Reads on. `Ready` once something happened that the driver must know; what can be sent is in the output.
    pub(crate) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, Fault>> {
        // A provider whose model has begun to speak may bill that, however it ends.
        let may_be_billed = |fault: Fault| Fault { may_be_billed: true, ..fault };
        let polled = self.poll_on(cx);
        if self.facts.content { polled.map_err(may_be_billed) } else { polled }
    }

    fn poll_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, Fault>> {
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

    /// Ends the caller's stream with the dialect's error event and no terminator. `encoder` is a fresh one of the
    /// caller's dialect, for streams that have none of their own.
    pub(crate) fn fail(&mut self, encoder: &mut dyn StreamEncoder, error: &canon::CallerError) {
        match &mut self.reader {
            Reader::Same { framing: Framing::Received, .. } => encoder.fail(error, &mut self.out),
            Reader::Same { framing, .. } => {
                framing.element(&dialect::inbound(DialectName::Gemini).encode_error(error), &mut self.out);
                framing.close(&mut self.out);
            }
            Reader::Translated(translation) => match &mut translation.encoder {
                Some(own) => own.fail(error, &mut self.out),
                None => encoder.fail(error, &mut self.out),
            },
        }
        self.ended = true;
    }

    /// Draws what an unfinished event holds on the byte budget, once it is more than a connection holds anyway.
    fn account(&mut self) -> Result<(), Fault> {
        let unfinished = self.decoder.buffered();
        self.account_for_held_back(unfinished);
        if unfinished > UNACCOUNTED && !self.held.grow_to(unfinished) {
            return Err(no_room(FaultClass::StreamBroken));
        }
        self.account_for_transcript();
        Ok(())
    }

    fn read_frames(&mut self) -> Result<bool, Fault> {
        let mut content = false;
        while let Some(frame) = self.decoder.next_frame() {
            let frame = frame.map_err(|_| {
                Fault::new(FaultClass::StreamBroken, Origin::Body, "an event of the stream is larger than 16 MiB")
            })?;
            let was_whole = self.may_be_whole();
            let read = match &mut self.reader {
                Reader::Same { .. } => self.pass(&frame),
                Reader::Translated(_) => self.translate(&frame),
            };
            match read {
                Ok(more) => content |= more,
                // An error behind a whole answer is nobody's concern either.
                Err(fault) if was_whole && fault.origin == Origin::Body => self.end().map_err(|_| fault)?,
                Err(fault) => return Err(fault),
            }
            if self.ended {
                break;
            }
        }
        Ok(content)
    }

    fn counts(&self, tag: Tag) -> bool {
        match tag {
            Tag::Content | Tag::Tool => true,
            Tag::Reasoning => self.terms.reasoning_is_content,
            Tag::Prelude | Tag::Usage | Tag::Fault | Tag::Done => false,
        }
    }

    fn finish(&mut self, reason: FinishReason, native: String, content_now: bool) -> Result<(), Fault> {
        let content = content_now || self.facts.content;
        if let Some(fault) = finish_fault(&self.provider, reason, &native, content, self.terms) {
            return Err(fault);
        }
        self.facts.finish = Some((reason, native));
        Ok(())
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
            Reader::Translated(translation) => {
                let mut last = std::mem::take(&mut translation.events);
                translation.decoder.end(&residue, &mut last);
                self.encode(&mut last)?;
            }
        }
        if !self.finished {
            return Err(Fault::new(FaultClass::StreamBroken, Origin::Body, "the stream ended without a finish reason"));
        }
        self.conclude()?;
        if let Reader::Same { framing, .. } = &self.reader {
            framing.close(&mut self.out);
        }
        self.terminate();
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
    terms: Terms,
) -> Option<Fault> {
    if let Some(fault) = classify::finish(provider, reason, native, content) {
        // A blocked answer says so in the caller's own dialect; it is a fault only where the operator wants it tried
        // elsewhere.
        return (fault.class != FaultClass::ContentBlocked || terms.blocked_is_fault).then_some(fault);
    }
    match reason {
        // Reasoning may use up the whole cap: an answer of length with nothing in it is what was asked for.
        FinishReason::Length | FinishReason::ContextFull | FinishReason::ContentFilter | FinishReason::Pause => None,
        FinishReason::Stop
        | FinishReason::ToolCalls
        | FinishReason::BrokenOutput
        | FinishReason::ProviderError
        | FinishReason::Other => (!content && terms.empty_is_fault).then(|| classify::empty_answer(provider)),
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
