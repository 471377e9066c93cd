//! The gateway's pen: it follows one exchange and keeps its ledger.

use super::lock;
use crate::record::{AttemptKind, Event, GatewayEnd, GatewayEvent, Origin, Segment, Tokens};
use crate::recorder::Recorder;
use crate::tally::Tally;
use canon::{Fault, FaultClass};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How much of a rescue is kept until it is known how much of that repeats what the caller had.
const LONGEST_BEGINNING: usize = 1 << 20;

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
///
/// How the exchange ends is decided before its last bytes are handed over, so it is settled when it is closed. An
/// exchange that nobody decided by then was dropped half-way, which is what a caller's hang-up does.
pub struct GatewayPen {
    recorder: Arc<dyn Recorder>,
    id: Arc<str>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    attempts: Vec<Attempt>,
    /// How often it was planned: what was tried under an earlier plan is no reason for anything.
    round: u32,
    /// What the caller is given comes from there.
    serving: Option<Origin>,
    /// `None` until text is followed.
    segments: Option<Vec<Segment>>,
    /// Text of the serving attempt that was left out and not yet written to a segment.
    skipped: Tally,
    /// `None` until bytes are handed over.
    body: Option<Tally>,
    outcome: Option<GatewayEnd>,
    /// What the answer cost, in picodollars.
    cost: Option<u64>,
    /// Arms that another one served for.
    elsewhere: Vec<Box<str>>,
    is_limited: bool,
    is_closed: bool,
}

struct Attempt {
    number: u32,
    round: u32,
    target: Box<str>,
    credential: u32,
    read: Option<Tally>,
    /// What a rescue has said until it is joined.
    beginning: Option<String>,
    tokens: Option<Tokens>,
    /// It goes on when the exchange is over; what it costs then is nobody's to count.
    goes_on: bool,
    fault: Option<FaultClass>,
    ended: bool,
}

impl Attempt {
    /// Whether it was the credential that was refused.
    fn was_refused(&self) -> bool {
        let refused = [FaultClass::RateLimited, FaultClass::QuotaExhausted, FaultClass::AuthRejected];
        self.fault.is_some_and(|fault| refused.contains(&fault))
    }
}

impl GatewayPen {
    /// A request was accepted.
    pub fn received(recorder: Arc<dyn Recorder>, id: Arc<str>) -> Self {
        Self::new(recorder, id, GatewayEvent::Received {})
    }

    /// An exchange begins that answers several requests, or is recorded.
    pub fn began(recorder: Arc<dyn Recorder>, id: Arc<str>) -> Self {
        Self::new(recorder, id, GatewayEvent::Began {})
    }

    fn new(recorder: Arc<dyn Recorder>, id: Arc<str>, event: GatewayEvent) -> Self {
        let pen = Self { recorder, id, ledger: Mutex::default() };
        pen.write(event);
        pen
    }

    /// The exchange.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its candidates and limits are known; `left` = time to the deadline, `most` = attempts, and targets, `arms` =
    /// what it was drawn for, of the experiments it takes part in.
    pub fn planned(&self, candidates: u32, left: Option<Duration>, most: (u32, u32), arms: Vec<Box<str>>) {
        let deadline = left.map(|left| self.recorder.now().saturating_add(crate::policy::micros(left)));
        let (max_attempts, max_targets) = (Some(most.0), Some(most.1));
        lock(&self.ledger).round += 1;
        self.write(GatewayEvent::Planned { candidates, deadline, max_attempts, max_targets, arms });
    }

    /// An upstream call begins; `at` = the target, and the region it runs in where that is known.
    pub fn attempt_started(&self, attempt: u32, at: (&str, Option<&str>), credential: u32, way: Way) {
        let (target, region) = at;
        if self.is_decided() {
            self.close();
        }
        let mut ledger = lock(&self.ledger);
        let kind = ledger.kind(target, credential, way);
        let round = ledger.round;
        ledger.attempts.push(Attempt {
            number: attempt,
            round,
            target: target.into(),
            credential,
            read: None,
            beginning: (kind == AttemptKind::Rescue).then(String::new),
            tokens: None,
            goes_on: false,
            fault: None,
            ended: false,
        });
        drop(ledger);
        self.write(GatewayEvent::AttemptStarted {
            attempt,
            target: target.into(),
            region: region.map(Into::into),
            credential,
            kind,
        });
    }

    /// Text of a provider's answer arrived, to be released or not. Called at least once for an answer whose text is
    /// followed, be it with nothing.
    pub fn read(&self, attempt: u32, text: &str) {
        if let Some(attempt) = lock(&self.ledger).attempt(attempt) {
            attempt.read.get_or_insert(Tally::EMPTY).add(text);
            if let Some(beginning) = attempt.beginning.as_mut().filter(|it| it.len() < LONGEST_BEGINNING) {
                beginning.push_str(text);
            }
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
        entry.fault = fault.map(|fault| fault.class);
        let (read, tokens) = (entry.read, entry.tokens.filter(|_| !entry.goes_on));
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

    /// An attempt was overtaken and goes on for what it may teach, longer than the exchange perhaps.
    pub fn goes_on(&self, attempt: u32) {
        if let Some(attempt) = lock(&self.ledger).attempt(attempt) {
            attempt.goes_on = true;
        }
    }

    /// A call was dropped before its end.
    pub fn cancelled(&self, attempt: u32) {
        self.write(GatewayEvent::Cancelled { attempt });
    }

    /// The first content goes to the caller, and comes from this attempt.
    pub fn committed(&self, attempt: u32) {
        lock(&self.ledger).serving = Some(Origin::Attempt(attempt));
        self.write(GatewayEvent::Committed { attempt });
    }

    /// A rescue goes on with the answer; so many bytes at the beginning of its text repeat what the caller had.
    pub fn joined(&self, attempt: u32, skipped: usize) {
        let mut ledger = lock(&self.ledger);
        let beginning = ledger.attempt(attempt).and_then(|entry| entry.beginning.take()).unwrap_or_default();
        ledger.serving = Some(Origin::Attempt(attempt));
        ledger.skipped = Tally::of(beginning.as_bytes().get(..skipped).unwrap_or_default());
    }

    /// The caller's own limit (a stop sequence, the cap on output) ends the answer before the provider does.
    pub fn limited(&self, attempt: u32) {
        let mut ledger = lock(&self.ledger);
        ledger.serving = Some(Origin::Attempt(attempt));
        ledger.is_limited = true;
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
        lock(&self.ledger).body.get_or_insert(Tally::EMPTY).add(bytes);
    }

    /// What the answer cost, in picodollars, where that is known; `elsewhere` = the experiments it takes part in of which
    /// another arm served.
    pub fn paid(&self, picodollars: Option<u64>, elsewhere: Vec<Box<str>>) {
        let mut ledger = lock(&self.ledger);
        ledger.cost = picodollars;
        ledger.elsewhere = elsewhere;
    }

    /// How the exchange ends. Once: a second word is written down at once, for the checker to find.
    pub fn decided(&self, outcome: GatewayEnd) {
        let was_decided = lock(&self.ledger).outcome.replace(outcome).is_some();
        if was_decided {
            self.settle();
        }
    }

    /// Whether it is known how the exchange ends.
    pub fn is_decided(&self) -> bool {
        lock(&self.ledger).outcome.is_some()
    }

    /// Nothing more is handed over: the exchange is settled. Only the first call counts.
    pub fn close(&self) {
        let was_closed = std::mem::replace(&mut lock(&self.ledger).is_closed, true);
        if !was_closed {
            self.settle();
        }
    }

    fn settle(&self) {
        let ledger = lock(&self.ledger);
        let counted = || ledger.attempts.iter().filter(|attempt| !attempt.goes_on);
        let open: Vec<u32> = counted().filter(|attempt| !attempt.ended).map(|attempt| attempt.number).collect();
        let tokens = counted().filter_map(|attempt| attempt.tokens).fold(Tokens::default(), Tokens::plus);
        let event = GatewayEvent::Settled {
            outcome: ledger.outcome.unwrap_or(GatewayEnd::HungUp),
            served: ledger.serving,
            segments: ledger.segments.clone(),
            body: ledger.body,
            tokens,
            limited: ledger.is_limited,
            picodollars: ledger.cost,
            elsewhere: ledger.elsewhere.clone(),
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
        let round: Vec<&Attempt> = self.attempts.iter().filter(|attempt| attempt.round == self.round).collect();
        let same: Vec<&&Attempt> = round.iter().filter(|attempt| *attempt.target == *target).collect();
        let was_refused = same.last().is_some_and(|last| last.was_refused());
        let is_new = same.iter().all(|attempt| attempt.credential != credential);
        match way {
            Way::Hedge => AttemptKind::Hedge,
            Way::Next | Way::Probe if self.serving.is_some() => AttemptKind::Rescue,
            Way::Probe if same.is_empty() => AttemptKind::Probe,
            Way::Next if round.is_empty() => AttemptKind::First,
            Way::Next if same.is_empty() => AttemptKind::Fallback,
            Way::Next | Way::Probe if was_refused && is_new => AttemptKind::Credential,
            Way::Next | Way::Probe => AttemptKind::Retry,
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
