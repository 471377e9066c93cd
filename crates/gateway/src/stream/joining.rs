//! A target that takes over from a broken stream: its events, cut to what goes on from what was shown.

use canon::{Event, Fault, FaultClass, FinishReason, Origin, Tag, Usage};
use rescue::{Join, Step, StopSpan, Verdict, Via};

/// The code of the fault of an answer that does not go on from what was shown.
pub(crate) const NO_JOIN: &str = "no_join";

/// Cuts the events of one target.
pub(crate) struct Joining {
    /// `None` = the whole call was made again: everything passes.
    join: Option<Join>,
    stops: StopSpan,
    /// What the parts before it used.
    earlier: Usage,
    /// What this part used so far.
    own: Usage,
    /// Bytes of its text so far, and those before the first that goes on.
    pushed: usize,
    skipped: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No place was found yet.
    Opening,
    /// Everything passes.
    Flowing,
    /// A stop sequence was hit.
    Stopped,
}

/// What became of an event.
pub(super) struct Joined {
    /// What goes on.
    pub events: Vec<Event>,
    /// The answer is over, whatever the target would still say.
    pub ended: bool,
}

impl Joining {
    /// For a target that was asked to go on.
    pub(crate) fn new(join: Join, stops: StopSpan, earlier: Usage) -> Self {
        let own = Usage::default();
        Self { join: Some(join), stops, earlier, own, pushed: 0, skipped: 0, state: State::Opening }
    }

    /// For a target that was asked the whole again, as nothing but reasoning was shown.
    pub(crate) fn again(earlier: Usage) -> Self {
        let (stops, own) = (StopSpan::new(&[], ""), Usage::default());
        Self { join: None, stops, earlier, own, pushed: 0, skipped: 0, state: State::Flowing }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.state != State::Opening
    }

    pub(super) fn via(&self) -> Option<Via> {
        self.join.as_ref().and_then(Join::via)
    }

    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    pub(super) fn was_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Bytes that wait for a decision.
    pub(super) fn held(&self) -> usize {
        self.join.as_ref().map_or(0, Join::held)
    }

    pub(super) fn take(&mut self, event: Event) -> Result<Joined, Fault> {
        let mut out = Vec::with_capacity(1);
        match event {
            Event::Usage(usage) => {
                self.own.update(&usage);
                out.push(Event::Usage(sum(&self.earlier, &self.own)));
            }
            Event::Start { .. } | Event::Ping | Event::Done | Event::Error(_) | Event::Fault(_) => out.push(event),
            event if self.join.is_none() => out.push(event),
            Event::Text { candidate: 0, text, .. } => return self.text(&text, out),
            // A target that refuses, or has no answer, does not go on from anything.
            Event::Refusal { .. } | Event::PromptBlocked(_) if !self.is_joined() => {
                return Err(no_join(Verdict::Refused));
            }
            // Text was shown: what a target thinks before it goes on has no place behind it.
            Event::Reasoning { .. } | Event::RedactedReasoning { .. } => {}
            Event::Finish { candidate: 0, .. } => {
                self.close(&mut out)?;
                out.push(event);
            }
            event if event.tag() == Tag::Tool => {
                self.close(&mut out)?;
                out.push(event);
            }
            event => out.push(event),
        }
        Ok(Joined { events: out, ended: false })
    }

    fn text(&mut self, text: &str, mut out: Vec<Event>) -> Result<Joined, Fault> {
        let Some(join) = &mut self.join else { return Ok(Joined { events: out, ended: false }) };
        self.pushed += text.len();
        let fresh = match join.push(text) {
            Step::Held => return Ok(Joined { events: out, ended: false }),
            Step::Release(fresh) => fresh,
            Step::NoJoin(verdict) => return Err(no_join(verdict)),
        };
        if self.state == State::Opening {
            self.skipped = self.pushed.saturating_sub(fresh.len());
        }
        self.state = State::Flowing;
        let stopped = self.stops.push(fresh);
        if !stopped.text.is_empty() {
            out.push(piece(stopped.text));
        }
        let Some(stop) = stopped.stop.map(str::to_owned) else { return Ok(Joined { events: out, ended: false }) };
        self.state = State::Stopped;
        out.push(Event::Finish { candidate: 0, reason: FinishReason::Stop, native: None, stop_sequence: Some(stop) });
        out.push(Event::Usage(sum(&self.earlier, &self.own)));
        out.push(Event::Done);
        Ok(Joined { events: out, ended: true })
    }

    /// The target's text is over: what is held goes now, or does not go on from anything.
    fn close(&mut self, out: &mut Vec<Event>) -> Result<(), Fault> {
        let Some(join) = &mut self.join else { return Ok(()) };
        let rest = match join.finish() {
            Step::Release(rest) => rest,
            Step::Held => "",
            Step::NoJoin(verdict) => return Err(no_join(verdict)),
        };
        if self.state == State::Opening {
            self.skipped = self.pushed.saturating_sub(rest.len());
        }
        self.state = State::Flowing;
        // No stop sequence is completed by what is already released, so the rest of a begun one is plain text.
        let stopped = self.stops.push(rest);
        let mut text = stopped.text.to_owned();
        if stopped.stop.is_none() {
            text.push_str(self.stops.finish());
        }
        if !text.is_empty() {
            out.push(piece(&text));
        }
        Ok(())
    }
}

fn piece(text: &str) -> Event {
    Event::Text { candidate: 0, text: text.to_owned(), signature: None }
}

fn no_join(verdict: Verdict) -> Fault {
    Fault {
        code: Some(NO_JOIN.to_owned()),
        ..Fault::new(FaultClass::BadAnswer, Origin::Mainstay, format!("it does not go on: {}", verdict.as_str()))
    }
}

/// The figures of two parts of one answer together.
fn sum(one: &Usage, other: &Usage) -> Usage {
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    };
    Usage {
        input_tokens: add(one.input_tokens, other.input_tokens),
        cached_input_tokens: add(one.cached_input_tokens, other.cached_input_tokens),
        cache_write_tokens: add(one.cache_write_tokens, other.cache_write_tokens),
        output_tokens: add(one.output_tokens, other.output_tokens),
        reasoning_tokens: add(one.reasoning_tokens, other.reasoning_tokens),
        input_audio_tokens: add(one.input_audio_tokens, other.input_audio_tokens),
        output_audio_tokens: add(one.output_audio_tokens, other.output_audio_tokens),
    }
}
