//! The driver of the attempt machine: turns its actions into upstream calls and timers, and what happens into events.
//!
//! It ends with something of an answer (the commit) or with the machine giving up. Dropping it, because the caller hung
//! up, drops every call under way and settles the machine.

use crate::attempt::{Attempt, Failed, Ready, Served};
use crate::clock::Clock;
use crate::inquiry::Inquiry;
use crate::memory::{ByteBudget, Held};
use crate::pipeline::Planned;
use crate::relay::{Committed, Limits, RelayBody};
use crate::respond::{self, GatewayBody, names};
use crate::settle::Settlement;
use crate::stream::Facts;
use crate::{Current, Gateway};
use bytes::{BufMut, Bytes, BytesMut};
use canon::{CallerError, DialectName, FaultClass, Instant};
use dialect::StreamShape;
use http::{HeaderMap, HeaderValue, Response, header};
use routing::{Action, AttemptId, Event, ExchangeFacts, Machine, Model, Needs, Start, Step};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How an exchange went up to the commit.
pub(crate) enum Driven {
    /// An answer, whole or a committed stream.
    Answered(Response<GatewayBody>),
    /// Nobody could answer.
    GaveUp {
        /// What the caller is told.
        error: CallerError,
        /// Who was asked.
        headers: HeaderMap,
    },
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Ready, Failed>> + Send + 'a>>;

struct Slot<'a> {
    attempt: AttemptId,
    idle: std::time::Duration,
    running: Running<'a>,
}

/// Everything an attempt borrows.
struct Exchange<'a> {
    inquiry: &'a Inquiry,
    clock: Clock,
    shape: &'a StreamShape,
    budget: &'a ByteBudget,
    blocked_is_fault: bool,
    current: &'a Current,
}

impl<'a> Exchange<'a> {
    fn start(&self, start: Start) -> Slot<'a> {
        let attempt = start.attempt;
        let idle = start.limits.idle;
        let running = Attempt {
            inquiry: self.inquiry,
            transport: self.current.transport(&start.target.id).as_ref(),
            clock: self.clock,
            shape: self.shape,
            budget: self.budget,
            blocked_is_fault: self.blocked_is_fault,
            endpoint: self.current.endpoints.get(&start.target.provider.name).cloned(),
            start,
        };
        Slot { attempt, idle, running: Box::pin(running.run()) }
    }
}

/// Settles the machine when the driver is dropped before its end: the caller hung up.
struct Settling<'a> {
    machine: Option<Machine>,
    clock: Clock,
    settlement: &'a Settlement,
}

impl Settling<'_> {
    fn next(&mut self, event: Event, now: Instant) -> Action {
        self.machine.as_mut().map_or(Action::Done, |machine| machine.next(event, now))
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if let Some(mut machine) = self.machine.take() {
            let now = self.clock.now();
            let _done = machine.next(Event::HungUp, now);
            self.settlement.hung_up(&Facts::default(), &machine, now);
        }
    }
}

/// Runs an exchange up to the commit.
pub(crate) async fn drive(gateway: &Gateway, current: &Current, planned: Planned, seed: u64) -> Driven {
    let Planned { inquiry, model, plan, settlement, shape, held } = planned;
    let clock = gateway.clock;
    let facts = facts(&inquiry, &model, settlement.started, seed);
    let deadline = facts.deadline;
    let exchange = Exchange {
        inquiry: &inquiry,
        clock,
        shape: &shape,
        budget: &gateway.budget,
        blocked_is_fault: model.settings.on.policy(FaultClass::ContentBlocked).step == Some(Step::Next),
        current,
    };
    let mut settling =
        Settling { machine: Some(Machine::new(model.clone(), plan, facts)), clock, settlement: &settlement };
    let reached = reach(&exchange, &mut settling, deadline).await;
    let Some(machine) = settling.machine.take() else {
        return gone();
    };
    drop(settling);
    match reached {
        Reached::Committed { ready, attempt, idle } => {
            let limits = Limits { idle, deadline };
            let commit = Commit { dialect: inquiry.dialect, shape, limits, attempt, machine, settlement, held };
            commit.respond(gateway, ready)
        }
        Reached::GaveUp(error) => {
            let now = clock.now();
            settlement.gave_up(error.status, error.fault.map(FaultClass::as_str), &machine, now);
            let mut headers = HeaderMap::new();
            who_was_asked(&mut headers, &machine);
            Driven::GaveUp { error, headers }
        }
    }
}

fn facts(inquiry: &Inquiry, model: &Model, started: Instant, seed: u64) -> ExchangeFacts {
    let configured = model.settings.timeouts.deadline;
    let asked = inquiry.timeout();
    let limit = match (configured, asked) {
        (Some(configured), Some(asked)) => Some(configured.min(asked)),
        (one, other) => one.or(other),
    };
    ExchangeFacts {
        started,
        deadline: limit.map_or(Instant::FAR_FUTURE, |limit| started + limit),
        needs: Needs::from(&inquiry.scan),
        cost: 1.0,
        is_callers_retry: inquiry.is_callers_retry(),
        seed,
    }
}

enum Reached {
    Committed { ready: Ready, attempt: AttemptId, idle: std::time::Duration },
    GaveUp(CallerError),
}

async fn reach<'a>(exchange: &Exchange<'a>, settling: &mut Settling<'_>, deadline: Instant) -> Reached {
    let clock = exchange.clock;
    let mut slots: [Option<Slot<'a>>; 2] = [None, None];
    let mut ready: Option<(Ready, std::time::Duration)> = None;
    let mut last = AttemptId(0);
    let mut action = settling.next(Event::Begin, clock.now());
    loop {
        let mut timer = deadline;
        match action {
            Action::Try(start) | Action::Hedge(start) => {
                timer = timer.min(start.hedge_at.unwrap_or(Instant::FAR_FUTURE));
                put(&mut slots, exchange.start(start));
            }
            Action::Continue { hedge_at } => timer = timer.min(hedge_at.unwrap_or(Instant::FAR_FUTURE)),
            Action::Wait { until } => timer = timer.min(until),
            Action::Commit { attempt, .. } => {
                // Dropping the slots cancels whatever else is under way.
                if let Some((ready, idle)) = ready.take() {
                    return Reached::Committed { ready, attempt, idle };
                }
                return Reached::GaveUp(internal());
            }
            // A call that was not streamed upstream has nothing to commit: it is complete.
            Action::Done => {
                return match ready.take() {
                    Some((ready, idle)) => Reached::Committed { ready, attempt: last, idle },
                    None => Reached::GaveUp(internal()),
                };
            }
            Action::GiveUp(gave_up) => return Reached::GaveUp(gave_up.error),
            Action::End(end) => return Reached::GaveUp(end.error),
        }
        let event = match tokio::time::timeout_at(clock.runtime(timer), First(&mut slots)).await {
            Ok(Finished { attempt, outcome: Ok(first), idle }) => {
                let event = match &first.answer {
                    Served::Stream(_) => Event::FirstContent { attempt },
                    Served::Whole(..) => Event::Completed { attempt },
                };
                ready = Some((first, idle));
                last = attempt;
                event
            }
            Ok(Finished { attempt, outcome: Err(Failed { fault, altered }), .. }) => {
                Event::Failed { attempt, fault, altered }
            }
            Err(_) if timer >= deadline => Event::DeadlinePassed,
            Err(_) => Event::Elapsed,
        };
        action = settling.next(event, clock.now());
    }
}

fn put<'a>(slots: &mut [Option<Slot<'a>>; 2], slot: Slot<'a>) {
    if let Some(free) = slots.iter_mut().find(|s| s.is_none()) {
        *free = Some(slot);
    }
}

struct Finished {
    attempt: AttemptId,
    idle: std::time::Duration,
    outcome: Result<Ready, Failed>,
}

/// Resolves with the first attempt that is over, and takes it out of its slot.
struct First<'s, 'a>(&'s mut [Option<Slot<'a>>; 2]);

impl Future for First<'_, '_> {
    type Output = Finished;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        for place in self.0.iter_mut() {
            let Some(slot) = place else { continue };
            if let Poll::Ready(outcome) = slot.running.as_mut().poll(cx) {
                let finished = Finished { attempt: slot.attempt, idle: slot.idle, outcome };
                *place = None;
                return Poll::Ready(finished);
            }
        }
        Poll::Pending
    }
}

/// Room for the headers of an answer, so that the map does not grow step by step.
const HEADERS: usize = 16;

/// Everything a commit needs.
struct Commit {
    dialect: DialectName,
    shape: StreamShape,
    limits: Limits,
    attempt: AttemptId,
    machine: Machine,
    settlement: Settlement,
    held: Held,
}

impl Commit {
    fn respond(self, gateway: &Gateway, ready: Ready) -> Driven {
        let same = ready.same_dialect;
        match ready.answer {
            Served::Whole(bytes, facts, held) => self.whole(gateway, &ready.headers, same, (bytes, held), &facts),
            Served::Stream(stream) => self.stream(gateway, &ready.headers, same, stream),
        }
    }

    fn whole(
        self,
        gateway: &Gateway,
        from: &HeaderMap,
        same: bool,
        (bytes, held): (Bytes, Held),
        facts: &Facts,
    ) -> Driven {
        self.settlement.complete(facts, &self.machine, gateway.clock.now());
        let bytes = match self.settlement.story(facts, &self.machine) {
            Some(story) => with_story(&bytes, &story),
            None => bytes,
        };
        let mut response = Response::new(GatewayBody::Whole(Some(bytes), Some(held)));
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.headers(headers, from, same, facts);
        Driven::Answered(response)
    }

    fn stream(self, gateway: &Gateway, from: &HeaderMap, same: bool, mut stream: Box<crate::stream::Stream>) -> Driven {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        let kind = if self.shape.json_array { "application/json" } else { "text/event-stream" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        self.headers(&mut headers, from, same, &stream.facts);
        if self.settlement.trace.is_some() {
            stream.hold_terminator();
        }
        // The request's bytes are not needed any more: nothing after the commit sends them again.
        drop(self.held);
        let served = self.machine.served_by();
        let committed = Committed {
            stream,
            machine: self.machine,
            attempt: self.attempt,
            dialect: self.dialect,
            shape: self.shape,
            limits: self.limits,
            settlement: self.settlement,
            health: served.map(|served| served.target.health.clone()),
        };
        let relay = RelayBody::new(committed, gateway.clock, gateway.drain.signal());
        let mut response = Response::new(GatewayBody::Relay(Box::new(relay)));
        *response.headers_mut() = headers;
        Driven::Answered(response)
    }

    fn headers(&self, headers: &mut HeaderMap, from: &HeaderMap, same: bool, facts: &Facts) {
        if let Some(served) = self.machine.served_by().filter(|_| same) {
            respond::cross(&served.target.provider, from, headers);
        }
        who_was_asked(headers, &self.machine);
        headers.insert(names::CACHE, HeaderValue::from_static("none"));
        respond::set_dropped(headers, &facts.drops);
    }
}

/// `x-mainstay-provider`, `-model`, `-attempts`, `-fallback`, `-reason`.
fn who_was_asked(headers: &mut HeaderMap, machine: &Machine) {
    if let Some(served) = machine.served_by() {
        respond::set(headers, names::PROVIDER, &served.target.provider.name);
        respond::set(headers, names::MODEL, &served.target.model);
        headers.insert(names::FALLBACK, HeaderValue::from(served.fallback));
    } else if let Some(first) = machine.attempts().first() {
        // Nobody served: the fault that is told is the first target's.
        let (provider, model) = first.target.split_once('/').unwrap_or((&first.target, ""));
        respond::set(headers, names::PROVIDER, provider);
        respond::set(headers, names::MODEL, model);
    }
    headers.insert(names::ATTEMPTS, HeaderValue::from(machine.attempts().len()));
    if let Some(reason) = machine.fallback_reason() {
        respond::set(headers, names::REASON, reason);
    }
}

/// Adds the story to a JSON object without touching anything else of it.
fn with_story(bytes: &Bytes, story: &serde_json::Value) -> Bytes {
    let Some(end) = bytes.iter().rposition(|b| *b == b'}') else { return bytes.clone() };
    let Some(head) = bytes.get(..end) else { return bytes.clone() };
    let empty = head.iter().rev().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let story = story.to_string();
    let mut out = BytesMut::with_capacity(bytes.len() + story.len() + 16);
    out.put_slice(head);
    out.put_slice(if empty { b"\"mainstay\":" } else { b",\"mainstay\":" });
    out.put_slice(story.as_bytes());
    out.put_u8(b'}');
    out.freeze()
}

/// A step the machine never takes here; said honestly rather than with a panic.
fn internal() -> CallerError {
    CallerError::new(500, "internal_error", "the exchange ended without an answer and without a reason")
}

fn gone() -> Driven {
    Driven::GaveUp { error: internal(), headers: HeaderMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_goes_into_an_object_and_leaves_the_rest_alone() {
        let story = serde_json::json!({ "attempts": [] });
        let with = with_story(&Bytes::from_static(b"{ \"a\" : 1 }\n"), &story);
        assert_eq!(with, r#"{ "a" : 1 ,"mainstay":{"attempts":[]}}"#);
        assert_eq!(with_story(&Bytes::from_static(b"{ }"), &story), r#"{ "mainstay":{"attempts":[]}}"#);
    }
}
