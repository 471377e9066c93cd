//! The gateway's pen: it follows one exchange and keeps its ledger.

use super::lock;
use crate::record::{AttemptKind, Event, GatewayEnd, GatewayEvent, Origin, Segment, Tokens};
use crate::recorder::Recorder;
use crate::tally::Tally;
use canon::{Fault, FaultClass};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How an attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In its turn.
    Next,
    /// Beside another one.
    Hedge,
    /// With the half-open slot of its target.
    Probe,
}

/// Writes down what the gateway does for one exchange. Shared by whoever has a part in it.
pub struct GatewayPen {
    recorder: Arc<dyn Recorder>,
    id: Arc<str>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    attempts: Vec<Attempt>,
    /// What the caller is given comes from there.
    serving: Option<Origin>,
    /// `None` until text is followed.
    segments: Option<Vec<Segment>>,
    /// Text of the serving attempt that was left out and not yet written to a segment.
    skipped: Tally,
    body: Tally,
    settled: bool,
}

struct Attempt {
    number: u32,
    target: Box<str>,
    credential: u32,
    read: Option<Tally>,
    tokens: Option<Tokens>,
    ended: bool,
}

impl GatewayPen {
    /// A request was accepted.
    pub fn received(recorder: Arc<dyn Recorder>, id: Arc<str>) -> Self {
        let pen = Self { recorder, id, ledger: Mutex::default() };
        pen.write(GatewayEvent::Received {});
        pen
    }

    /// The exchange.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its candidates and limits are known; `left` = time to the deadline.
    pub fn planned(&self, candidates: u32, left: Option<Duration>, max_attempts: u32, max_targets: u32) {
        let deadline = left.map(|left| self.recorder.now().saturating_add(crate::policy::micros(left)));
        let (max_attempts, max_targets) = (Some(max_attempts), Some(max_targets));
        self.write(GatewayEvent::Planned { candidates, deadline, max_attempts, max_targets });
    }

    /// An upstream call begins.
    pub fn attempt_started(&self, attempt: u32, target: &str, credential: u32, way: Way) {
        let mut ledger = lock(&self.ledger);
        let kind = ledger.kind(target, credential, way);
        ledger.attempts.push(Attempt {
            number: attempt,
            target: target.into(),
            credential,
            read: None,
            tokens: None,
            ended: false,
        });
        drop(ledger);
        self.write(GatewayEvent::AttemptStarted { attempt, target: target.into(), credential, kind });
    }

    /// Text of a provider's answer arrived, to be released or not. Called at least once for an answer whose text is
    /// followed, be it with nothing.
    pub fn read(&self, attempt: u32, text: &str) {
        if let Some(attempt) = lock(&self.ledger).attempt(attempt) {
            attempt.read.get_or_insert(Tally::EMPTY).add(text);
        }
    }

    /// A provider stated its tokens, all so far.
    pub fn stated(&self, attempt: u32, tokens: Tokens) {
        if let Some(attempt) = lock(&self.ledger).attempt(attempt) {
            attempt.tokens = Some(tokens);
        }
    }

    /// An upstream call is over; no fault = it brought its answer whole.
    pub fn attempt_ended(&self, attempt: u32, fault: Option<&Fault>) {
        let mut ledger = lock(&self.ledger);
        let Some(entry) = ledger.attempt(attempt).filter(|entry| !entry.ended) else { return };
        entry.ended = true;
        let (read, tokens) = (entry.read, entry.tokens);
        drop(ledger);
        self.write(GatewayEvent::AttemptEnded {
            attempt,
            fault: fault.map(|fault| fault.class),
            phase: fault.and_then(|fault| fault.phase),
            may_be_billed: fault.is_some_and(|fault| fault.may_be_billed),
            read,
            tokens,
        });
    }

    /// A call was dropped before its end.
    pub fn cancelled(&self, attempt: u32) {
        self.write(GatewayEvent::Cancelled { attempt });
    }

    /// Content goes to the caller from here on, and comes from this attempt.
    pub fn committed(&self, attempt: u32) {
        lock(&self.ledger).serving = Some(Origin::Attempt(attempt));
        self.write(GatewayEvent::Committed { attempt });
    }

    /// Another origin goes on with the answer.
    pub fn serves(&self, from: Origin) {
        let mut ledger = lock(&self.ledger);
        ledger.serving = Some(from);
        ledger.skipped = Tally::EMPTY;
    }

    /// Text of the serving origin is left out: it repeats what the caller has.
    pub fn skipped(&self, text: &str) {
        lock(&self.ledger).skipped.add(text);
    }

    /// Text of the serving origin goes to the caller. Called at least once for an answer whose text is followed, be it
    /// with nothing.
    pub fn released(&self, text: &str) {
        lock(&self.ledger).release(text);
    }

    /// Bytes go to the caller's connection.
    pub fn handed_over(&self, bytes: &[u8]) {
        lock(&self.ledger).body.add(bytes);
    }

    /// The exchange is over. Attempts still under way were given up; only the first call counts.
    pub fn settled(&self, outcome: GatewayEnd) {
        let mut ledger = lock(&self.ledger);
        if std::mem::replace(&mut ledger.settled, true) {
            return;
        }
        let open: Vec<u32> = ledger.attempts.iter().filter(|attempt| !attempt.ended).map(|it| it.number).collect();
        let tokens = ledger.attempts.iter().filter_map(|attempt| attempt.tokens).fold(Tokens::default(), Tokens::plus);
        let event = GatewayEvent::Settled {
            outcome,
            served: ledger.serving,
            segments: ledger.segments.take(),
            body: Some(ledger.body),
            tokens,
        };
        drop(ledger);
        for attempt in open {
            let given_up = Fault::new(FaultClass::Cancelled, canon::Origin::Mainstay, "");
            self.attempt_ended(attempt, Some(&Fault { may_be_billed: true, ..given_up }));
        }
        self.write(event);
    }

    fn write(&self, event: GatewayEvent) {
        self.recorder.record(Some(&self.id), Event::Gateway(event));
    }
}

impl std::fmt::Debug for GatewayPen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayPen").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ledger {
    fn attempt(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.number == number)
    }

    fn kind(&self, target: &str, credential: u32, way: Way) -> AttemptKind {
        let mut same = self.attempts.iter().filter(|attempt| *attempt.target == *target).peekable();
        match way {
            Way::Hedge => AttemptKind::Hedge,
            Way::Probe => AttemptKind::Probe,
            Way::Next if self.serving.is_some() => AttemptKind::Rescue,
            Way::Next if self.attempts.is_empty() => AttemptKind::First,
            Way::Next if same.peek().is_none() => AttemptKind::Fallback,
            Way::Next if same.all(|attempt| attempt.credential != credential) => AttemptKind::Credential,
            Way::Next => AttemptKind::Retry,
        }
    }

    fn release(&mut self, text: &str) {
        let segments = self.segments.get_or_insert_default();
        let Some(from) = self.serving.filter(|_| !text.is_empty()) else { return };
        let skipped = std::mem::take(&mut self.skipped);
        match segments.last_mut() {
            Some(last) if last.from == from && skipped.is_empty() => last.text.add(text),
            Some(_) | None => segments.push(Segment { from, skipped, text: Tally::of(text) }),
        }
    }
}
