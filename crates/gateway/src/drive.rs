//! The driver of the attempt machine: turns its actions into upstream calls and timers, and what happens into events.
//!
//! It ends with something of an answer (the commit) or with the machine giving up. Dropping it, because the caller hung
//! up, drops every call under way and settles the machine.

use crate::attempt::{Attempt, Exchange, Failed, Ready, Served};
use crate::clock::Clock;
use crate::inquiry::Inquiry;
use crate::memory::Held;
use crate::pipeline::Planned;
use crate::quality::{Judge, Quality, Record};
use crate::relay::{Committed, Kept, Limits, RelayBody};
use crate::respond::{self, GatewayBody, names};
use crate::settle::{self, Settlement};
use crate::stream::{Facts, Holds, Terms};
use crate::witness::Beyond;
use crate::{Current, Shared};
use bytes::Bytes;
use canon::{CallerError, DialectName, Drops, FaultClass, Instant};
use catalog::Usd;
use dialect::StreamShape;
use http::{HeaderMap, HeaderValue, Response, header};
use rescue::Granularity;
use routing::{
    Action, AttemptId, Event, ExchangeFacts, Hedging, Hold, Machine, Model, Overtaken, RescueMode, Start, Step,
};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How an exchange went up to the commit.
pub(crate) enum Driven {
    /// An answer, whole or a committed stream.
    Answered(Response<GatewayBody>),
    /// Nobody could answer.
    GaveUp {
        /// What the caller is told.
        response: Response<GatewayBody>,
        /// Why.
        error: CallerError,
    },
}

type Running = Pin<Box<dyn Future<Output = Result<Ready, Failed>> + Send>>;

struct Slot {
    attempt: AttemptId,
    idle: std::time::Duration,
    running: Running,
}

fn start(exchange: &Arc<Exchange>, start: Start, is_hedge: bool) -> Slot {
    if let Some(witness) = &exchange.witness {
        witness.started(&start, is_hedge);
    }
    let attempt = start.attempt;
    let idle = start.limits.idle;
    let running = Attempt { exchange: exchange.clone(), start };
    Slot { attempt, idle, running: Box::pin(running.run()) }
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
pub(crate) async fn drive(gateway: &Arc<Shared>, current: &Arc<Current>, planned: Planned, seed: u64) -> Driven {
    let Planned { inquiry, model, plan, settlement, shape, held, is_evaluation, is_unawaited } = planned;
    let clock = gateway.clock;
    let facts = facts(&inquiry, &model, settlement.started, seed);
    let (deadline, rescue) = (facts.deadline, facts.rescue);
    let first_byte = inquiry.announced.filter(|_| !is_unawaited).and_then(|it| it.first_byte(deadline));
    let terms = terms(&inquiry, &model, rescue);
    let judge = model.settings.evaluate.clone().filter(|_| !is_evaluation).map(|evaluate| Judge {
        evaluate,
        shared: gateway.clone(),
        caller: settlement.caller.clone(),
        seed,
    });
    let quality = Quality::of(&inquiry, model.settings.checks, judge);
    let exchange = Arc::new(Exchange {
        inquiry,
        shape,
        clock,
        budget: gateway.budget.clone(),
        transcripts: gateway.transcripts.clone(),
        terms,
        quality,
        traced: settlement.trace.is_some(),
        current: current.clone(),
        earlier: u32::try_from(settlement.earlier.attempts.len()).unwrap_or(u32::MAX),
        witness: settlement.witness.clone(),
    });
    if let Some(witness) = &exchange.witness {
        witness.planned(exchange.earlier, &plan, deadline.saturating_since(clock.now()), &model);
    }
    let machine = Machine::new(model, plan, facts).heard_by(first_byte);
    let due = machine.due();
    let mut settling = Settling { machine: Some(machine), clock, settlement: &settlement };
    let mut slots = Slots::default();
    let reached = reach(&exchange, &mut settling, &mut slots, due).await;
    let Some(mut machine) = settling.machine.take() else {
        let error = internal();
        return Driven::GaveUp { response: respond::final_error(exchange.inquiry.dialect, &error), error };
    };
    drop(settling);
    match reached {
        Reached::Committed { mut ready, attempt, idle } => {
            ready.answer.facts().checks.splice(..0, std::mem::take(&mut slots.checks));
            if let Some(probe) = machine.take_overtaken() {
                let beyond = exchange.witness.as_ref().map(|witness| witness.goes_on(probe.attempt()));
                slots.go_on(probe, clock, beyond);
            }
            if let Some(witness) = &exchange.witness {
                witness.serves(attempt, slots.running.iter().flatten().map(|slot| slot.attempt));
            }
            let limits = Limits { idle, deadline };
            let commit = Commit {
                dialect: exchange.inquiry.dialect,
                shape: exchange.shape.clone(),
                limits,
                attempt,
                machine,
                settlement,
                kept: (rescue != RescueMode::Error).then(|| Kept { exchange: exchange.clone(), _held: held, rescue }),
            };
            commit.respond(gateway, ready)
        }
        Reached::GaveUp(mut error) => {
            error.attempts.splice(..0, settlement.earlier.attempts.iter().cloned());
            settlement.gave_up(error.status, error.fault.map(FaultClass::as_str), &machine, clock.now());
            let response = refusal(exchange.inquiry.dialect, &error, &machine, &settlement, &slots);
            Driven::GaveUp { response, error }
        }
    }
}

/// The answer when nobody could answer: the error, who was asked, and the story if it was asked for.
fn refusal(
    dialect: DialectName,
    error: &CallerError,
    machine: &Machine,
    settlement: &Settlement,
    slots: &Slots,
) -> Response<GatewayBody> {
    let told = machine.told_of();
    let facts = Facts {
        drops: slots.dropped_by(told.as_ref().map(|told| told.attempt)),
        checks: slots.checks.clone(),
        ..Facts::default()
    };
    let mut response = respond::final_error(dialect, error);
    if let Some(story) = settlement.story(&facts, machine) {
        respond::tell(&mut response, &story);
    }
    let headers = response.headers_mut();
    who_was_asked(headers, machine, settlement);
    respond::set(headers, names::REASON, respond::reason_of(error));
    respond::set_dropped(headers, &facts.drops);
    response
}

/// How the streams of an exchange are read.
fn terms(inquiry: &Inquiry, model: &Model, rescue: RescueMode) -> Terms {
    let scan = &inquiry.scan;
    // Several candidates do not advance together, so nothing of them is ever stitched.
    let keeps = scan.stream && rescue != RescueMode::Error && scan.n <= 1;
    Terms {
        reasoning_is_content: scan.shows_reasoning,
        empty_is_fault: model.settings.checks.empty,
        blocked_is_fault: model.settings.on.policy(FaultClass::ContentBlocked).step == Some(Step::Next),
        keeps,
        holds: if !keeps || inquiry.releases_early() {
            Holds::Nothing
        } else if inquiry.is_structured() {
            Holds::Everything
        } else {
            Holds::Calls
        },
        several: scan.n > 1,
        text: match model.settings.rescue.hold {
            _ if !keeps => Granularity::None,
            Hold::None => Granularity::None,
            Hold::Word => Granularity::Word,
            Hold::Sentence => Granularity::Sentence,
        },
    }
}

/// When the exchange must be over.
pub(crate) fn deadline(inquiry: &Inquiry, model: &Model, started: Instant) -> Instant {
    let configured = model.settings.timeouts.deadline;
    let asked = inquiry.timeout();
    let limit = match (configured, asked) {
        (Some(configured), Some(asked)) => Some(configured.min(asked)),
        (one, other) => one.or(other),
    };
    limit.map_or(Instant::FAR_FUTURE, |limit| started + limit)
}

/// Until when a caller that has had nothing yet waits for an answer or an error.
pub(crate) fn patience(inquiry: &Inquiry, model: &Model, started: Instant) -> Instant {
    let deadline = deadline(inquiry, model, started);
    inquiry.announced.and_then(|it| it.first_byte(deadline)).map_or(deadline, |first_byte| first_byte.by)
}

fn facts(inquiry: &Inquiry, model: &Model, started: Instant, seed: u64) -> ExchangeFacts {
    ExchangeFacts {
        started,
        deadline: deadline(inquiry, model, started),
        needs: inquiry.needs(),
        is_callers_retry: inquiry.is_callers_retry(),
        may_hedge: model.settings.hedging != Hedging::Off && inquiry.may_be_asked_twice(),
        seed,
        rescue: inquiry.rescue().ok().flatten().unwrap_or(model.settings.rescue.mode),
    }
}

enum Reached {
    Committed { ready: Ready, attempt: AttemptId, idle: std::time::Duration },
    GaveUp(CallerError),
}

async fn reach(exchange: &Arc<Exchange>, settling: &mut Settling<'_>, slots: &mut Slots, due: Instant) -> Reached {
    let clock = exchange.clock;
    let mut ready: Option<(Ready, std::time::Duration)> = None;
    let mut last = AttemptId(0);
    let mut action = settling.next(Event::Begin, clock.now());
    loop {
        let mut timer = due;
        let is_hedge = matches!(action, Action::Hedge(_));
        match action {
            Action::Try(begin) | Action::Hedge(begin) => {
                timer = timer.min(begin.hedge_at.unwrap_or(Instant::FAR_FUTURE));
                slots.put(start(exchange, begin, is_hedge));
            }
            Action::Continue { hedge_at } => timer = timer.min(hedge_at.unwrap_or(Instant::FAR_FUTURE)),
            Action::Wait { until } => timer = timer.min(until),
            Action::Commit { attempt, .. } => {
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
            // Nothing broke before the commit.
            Action::Rescue(_) => return Reached::GaveUp(internal()),
        }
        let event = match tokio::time::timeout_at(clock.runtime(timer), First(&mut slots.running)).await {
            Ok(Finished { attempt, outcome: Ok(first), idle }) => {
                let event = match &first.answer {
                    Served::Stream(_) => Event::FirstContent { attempt },
                    Served::Whole(..) => Event::Completed { attempt },
                };
                ready = Some((first, idle));
                last = attempt;
                event
            }
            Ok(Finished { attempt, outcome: Err(Failed { fault, altered, drops, checks }), .. }) => {
                slots.checks.extend(checks);
                if !drops.is_empty() {
                    slots.dropped.push((attempt, drops));
                }
                if let Some(witness) = &exchange.witness {
                    witness.ended(attempt, Some(&fault));
                }
                Event::Failed { attempt, fault, altered }
            }
            Err(_) if timer >= due => Event::DeadlinePassed,
            Err(_) => Event::Elapsed,
        };
        action = settling.next(event, clock.now());
    }
}

/// The attempts under way, two at most, what the failed ones could not take of the request, and which checks they
/// failed.
///
/// Dropping it cancels whatever is under way.
#[derive(Default)]
struct Slots {
    running: [Option<Slot>; 2],
    dropped: Vec<(AttemptId, Drops)>,
    checks: Vec<Record>,
}

impl Slots {
    fn put(&mut self, slot: Slot) {
        if let Some(free) = self.running.iter_mut().find(|s| s.is_none()) {
            *free = Some(slot);
        }
    }

    fn dropped_by(&self, attempt: Option<AttemptId>) -> Drops {
        let found = self.dropped.iter().find(|(by, _)| Some(*by) == attempt);
        found.map(|(_, drops)| drops.clone()).unwrap_or_default()
    }

    /// Lets a probe that its hedge has overtaken run to its own end.
    fn go_on(&mut self, probe: Overtaken, clock: Clock, beyond: Option<Beyond>) {
        let is_probe = |slot: &&mut Option<Slot>| slot.as_ref().is_some_and(|slot| slot.attempt == probe.attempt());
        let Some(slot) = self.running.iter_mut().find(is_probe).and_then(Option::take) else { return };
        let judged = async move {
            match slot.running.await {
                Ok(_) => probe.succeeded(clock.now()),
                Err(Failed { fault, .. }) => probe.failed(&fault, clock.now()),
            }
            drop(beyond);
        };
        #[expect(clippy::disallowed_methods, reason = "one a target at most, bounded by the limits of its attempt")]
        tokio::spawn(judged);
    }
}

struct Finished {
    attempt: AttemptId,
    idle: std::time::Duration,
    outcome: Result<Ready, Failed>,
}

/// Resolves with the first attempt that is over, and takes it out of its slot.
struct First<'s>(&'s mut [Option<Slot>; 2]);

impl Future for First<'_> {
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
/// The same for a stream: as many as the gateway's own, for hyper keeps the map while the stream lasts.
const STREAM_HEADERS: usize = 12;

/// Everything a commit needs.
struct Commit {
    dialect: DialectName,
    shape: StreamShape,
    limits: Limits,
    attempt: AttemptId,
    machine: Machine,
    settlement: Settlement,
    kept: Option<Kept>,
}

impl Commit {
    fn respond(self, gateway: &Shared, ready: Ready) -> Driven {
        let same = ready.same_dialect;
        match ready.answer {
            Served::Whole(bytes, facts, held) => self.whole(gateway, &ready.headers, same, (bytes, held), &facts),
            Served::Stream(stream) => self.stream(gateway, &ready.headers, same, stream),
        }
    }

    fn whole(
        self,
        gateway: &Shared,
        from: &HeaderMap,
        same: bool,
        (bytes, held): (Bytes, Held),
        facts: &Facts,
    ) -> Driven {
        self.settlement.complete(facts, &self.machine, gateway.clock.now());
        let bytes = match self.settlement.story(facts, &self.machine) {
            Some(story) => respond::with_story(&bytes, &story),
            None => bytes,
        };
        let mut response = Response::new(GatewayBody::Whole(Some(bytes), Some(held)));
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.headers(headers, from, same, facts);
        let cost = settle::cost(facts, &self.machine).map(Usd::to_nine_decimals);
        respond::set(headers, names::COST, cost.as_deref().unwrap_or(respond::UNKNOWN));
        Driven::Answered(response)
    }

    fn stream(self, gateway: &Shared, from: &HeaderMap, same: bool, mut stream: Box<crate::stream::Stream>) -> Driven {
        let mut headers = HeaderMap::with_capacity(STREAM_HEADERS);
        let kind = if self.shape.json_array { "application/json" } else { "text/event-stream" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        self.headers(&mut headers, from, same, &stream.facts);
        stream.commit();
        let served = self.machine.served_by();
        let committed = Committed {
            stream,
            machine: self.machine,
            attempt: self.attempt,
            dialect: self.dialect,
            shape: self.shape,
            limits: self.limits,
            settlement: self.settlement,
            kept: self.kept,
            target: served.map(|served| served.target),
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
        who_was_asked(headers, &self.machine, &self.settlement);
        respond::set(headers, names::REASON, self.machine.reason().unwrap_or(respond::NONE));
        respond::set_dropped(headers, &facts.drops);
    }
}

/// `x-mainstay-provider`, `-model`, `-attempts`, `-fallback`, `-cache`: of who served, else of who is told of.
fn who_was_asked(headers: &mut HeaderMap, machine: &Machine, settlement: &Settlement) {
    if let Some(who) = machine.served_by().or_else(|| machine.told_of()) {
        respond::set(headers, names::PROVIDER, &who.target.provider.name);
        respond::set(headers, names::MODEL, &who.target.model);
        headers.insert(names::FALLBACK, HeaderValue::from(who.fallback));
        if let Some(tier) = settlement.tier.as_ref().and_then(|tier| tier.of_target(&who.target.id)) {
            respond::set(headers, names::TIER, tier);
        }
    }
    if let Some(trials) = settle::trials(machine) {
        respond::set(headers, names::EXPERIMENT, &trials);
    }
    headers.insert(names::ATTEMPTS, HeaderValue::from(settlement.earlier.attempts.len() + machine.attempts_made()));
    headers.insert(names::CACHE, HeaderValue::from_static(respond::NONE));
}

/// A step the machine never takes here; said honestly rather than with a panic.
fn internal() -> CallerError {
    CallerError::new(500, "internal_error", "the exchange ended without an answer and without a reason")
}
