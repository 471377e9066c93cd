//! A committed stream on its way to the caller: a pull-based body that owns whole events.
//!
//! hyper polls it when the caller has room, so a slow caller is never read ahead of and the phase timers stand still
//! meanwhile. When it breaks, the attempt machine says who may go on; that attempt is polled from here too, and its
//! stream takes the place of the broken one. It ends in one of three ways, and the machine hears of each: complete,
//! broken (the dialect's error event, no terminator), or dropped because the caller hung up, which drops the upstream
//! call with it.

use crate::attempt::{Attempt, Exchange};
use crate::clock::Clock;
use crate::drain::DrainSignal;
use crate::memory::Held;
use crate::pace::Pace;
use crate::rescuing::{self, Broken, NotTakenOver, Remedy};
use crate::settle::Settlement;
use crate::stream::{Progress, Seen, Stream};
use crate::witness::Keeper;
use bytes::Bytes;
use canon::{CallerError, Delivered, DialectName, Fault, FaultClass, FinishReason, Instant, Origin, Phase};
use dialect::StreamShape;
use http_body::{Body, Frame};
use routing::{Action, AttemptId, Event, Machine, RescueMode, Start, Target, TranscriptCursor};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// After the finish reason, how long usage and the terminator may take.
const USAGE_GRACE: Duration = Duration::from_secs(1);

/// The body of a streamed answer.
pub struct RelayBody {
    stream: Box<Stream>,
    machine: Machine,
    attempt: AttemptId,
    dialect: DialectName,
    shape: StreamShape,
    clock: Clock,
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    /// Since when the provider is waited for; `None` while the caller is.
    waiting_since: Option<Instant>,
    /// Time spent waiting for the provider since the last content.
    waited: Duration,
    drain: DrainSignal,
    settlement: Settlement,
    /// What a rescue is made from; `None` = streams that break end.
    kept: Option<Kept>,
    target: Option<Arc<Target>>,
    pace: Pace,
    /// Of a stream that broke: what the caller has of it, and why nobody went on.
    delivered: Option<Delivered>,
    cursor: TranscriptCursor,
    /// When the caller was last given something; `None` while it waits for more.
    handed_over: Option<Instant>,
    state: State,
    /// Goes last: it settles the exchange's history.
    _keeper: Keeper,
}

/// The limits of a committed stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest wait for the next token.
    pub idle: Duration,
    /// When the exchange must be over.
    pub deadline: Instant,
}

/// What of the request is kept while its answer is relayed, so that another target can go on with it.
pub(crate) struct Kept {
    /// What every attempt of the exchange is made from.
    pub exchange: Arc<Exchange>,
    /// The request's share of the byte budget.
    pub _held: Arc<Held>,
    /// What is done.
    pub rescue: RescueMode,
}

enum State {
    Relaying,
    /// The stream broke, and a target is asked to go on.
    Rescuing(Box<Rescuing>),
    /// Everything is in the output; the machine has been told.
    Ended,
}

type Running = Pin<Box<dyn Future<Output = Result<Box<Stream>, NotTakenOver>> + Send>>;

struct Rescuing {
    broken: Box<Broken>,
    start: Start,
    running: Running,
}

/// What a relay is made of.
pub(crate) struct Committed {
    /// The stream, first content in its output.
    pub stream: Box<Stream>,
    /// The machine, committed.
    pub machine: Machine,
    /// The attempt that serves.
    pub attempt: AttemptId,
    /// The caller's dialect.
    pub dialect: DialectName,
    /// The caller's stream.
    pub shape: StreamShape,
    /// Limits.
    pub limits: Limits,
    /// What is written down at the end.
    pub settlement: Settlement,
    /// What a rescue is made from.
    pub kept: Option<Kept>,
    /// The target that serves.
    pub target: Option<Arc<Target>>,
}

impl RelayBody {
    /// Takes over a committed stream.
    pub(crate) fn new(committed: Committed, clock: Clock, drain: DrainSignal) -> Self {
        let Committed { stream, machine, attempt, dialect, shape, limits, settlement, kept, target } = committed;
        let keeper = Keeper::new(settlement.witness.clone());
        if let Some(witness) = keeper.witness() {
            witness.hands_over(true);
        }
        let timer = Box::pin(tokio::time::sleep_until(clock.runtime(limits.deadline)));
        Self {
            stream,
            machine,
            attempt,
            dialect,
            shape,
            clock,
            limits,
            timer,
            waiting_since: None,
            waited: Duration::ZERO,
            drain,
            settlement,
            kept,
            pace: Pace::of(target.as_deref()),
            target,
            delivered: None,
            cursor: TranscriptCursor::default(),
            handed_over: None,
            state: State::Relaying,
            _keeper: keeper,
        }
    }

    /// Cuts off a caller that has not asked for more since `limit` ago; nothing of it counts against the target.
    ///
    /// Over HTTP/1 the socket notices such a caller. Over HTTP/2 only its stream stands still, and a body that is not
    /// polled has no timers: somebody else has to look.
    pub(crate) fn cut_off_if_unread(&mut self, limit: Duration) {
        let now = self.clock.now();
        let unread = self.handed_over.is_some_and(|at| now.saturating_since(at) >= limit);
        if self.is_over() || !unread {
            return;
        }
        let _done = self.machine.next(Event::HungUp, now);
        let fault = Fault::new(FaultClass::Cancelled, Origin::Mainstay, "the caller stopped reading");
        let mut encoder = dialect::inbound(self.dialect).stream_encoder(self.shape.clone());
        self.stream.fail(encoder.as_mut(), &broken(&fault, &self.machine));
        self.stream.abandon();
        self.state = State::Ended;
        self.settlement.hung_up(&self.stream.facts, &self.machine, now);
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.handed_over = None;
        loop {
            if let Some(output) = self.stream.take_output() {
                self.waiting_since = None;
                self.handed_over = Some(self.clock.now());
                self.tell_progress(output.len());
                if let Some(witness) = &self.settlement.witness {
                    witness.handed_over(&output);
                }
                return Poll::Ready(Some(output));
            }
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Rescuing(rescuing) => {
                    let over = rescuing.running.as_mut().poll(cx);
                    match over {
                        Poll::Ready(outcome) => self.rescue_is_over(outcome),
                        Poll::Pending if self.poll_ends(cx).is_ready() => {}
                        Poll::Pending => return Poll::Pending,
                    }
                    continue;
                }
                State::Relaying => {}
            }
            match self.stream.poll_progress(cx) {
                Poll::Ready(Ok(Progress::Content)) => self.token_arrived(),
                // Signs of life are no content: the wait for it goes on, and what was waited is kept although the
                // caller may be next to be waited for.
                Poll::Ready(Ok(Progress::Prelude)) => {
                    if let Some(since) = self.waiting_since.take() {
                        self.waited += self.clock.now().saturating_since(since);
                    }
                }
                Poll::Ready(Ok(Progress::Complete)) => self.complete(),
                Poll::Ready(Err(fault)) => self.break_off(fault),
                Poll::Pending => match self.poll_limits(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// The machine keeps the cursor of what the caller has, for whatever follows a broken stream.
    fn tell_progress(&mut self, bytes: usize) {
        if self.is_over() {
            return;
        }
        self.cursor.bytes += bytes as u64;
        self.cursor.events = self.stream.facts.events;
        let now = self.clock.now();
        let _continue = self.machine.next(Event::Progress { attempt: self.attempt, cursor: self.cursor }, now);
    }

    /// The gap before a token is a sample of the target's own pace; the idle limit is learned from those.
    fn token_arrived(&mut self) {
        let mut gap = std::mem::take(&mut self.waited);
        if let Some(since) = self.waiting_since.take() {
            gap += self.clock.now().saturating_since(since);
        }
        if let Some(target) = self.target.as_ref().filter(|_| !gap.is_zero()) {
            target.health.observe_gap(gap);
        }
        if self.pace.token(gap, self.stream.facts.events) && !self.stream.finished() {
            self.break_off(Fault::new(
                FaultClass::TooSlow,
                Origin::Mainstay,
                "it answered at less than half of its usual speed for 10 s",
            ));
        }
    }

    /// Checks what can end a silent stream. `Ready` = something changed, look again.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_drain(cx) {
            return Poll::Ready(());
        }
        let now = self.clock.now();
        if let Some(since) = self.waiting_since {
            self.waited += now.saturating_since(since);
        }
        self.waiting_since = Some(now);
        let idle = if self.stream.finished() { USAGE_GRACE.min(self.limits.idle) } else { self.limits.idle };
        if self.waited >= idle {
            if self.stream.may_be_whole() {
                self.close();
            } else {
                self.break_off(Fault::timed_out(Phase::Idle, idle));
            }
            return Poll::Ready(());
        }
        if self.is_too_late(now) {
            return Poll::Ready(());
        }
        let at = (now + idle.saturating_sub(self.waited)).min(self.limits.deadline);
        self.poll_timer(at, cx)
    }

    /// What can end a rescue under way, its own limits aside.
    fn poll_ends(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_drain(cx) || self.is_too_late(self.clock.now()) {
            return Poll::Ready(());
        }
        self.poll_timer(self.limits.deadline, cx)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> bool {
        let expired = self.drain.poll_expired(cx);
        if expired {
            self.end(&Fault::new(FaultClass::StreamBroken, Origin::Mainstay, "the gateway is shutting down"));
        }
        expired
    }

    fn is_too_late(&mut self, now: Instant) -> bool {
        let late = now >= self.limits.deadline;
        if late {
            let limit = self.limits.deadline.saturating_since(self.settlement.started());
            self.end(&Fault::timed_out(Phase::Deadline, limit));
        }
        late
    }

    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.clock.runtime(at);
        // Re-arming costs a lock on the timer wheel; a timer that fires early only makes us look and re-arm.
        if self.timer.deadline() > at || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx)
    }

    fn complete(&mut self) {
        let now = self.clock.now();
        if let Some(witness) = self.settlement.witness.as_ref().filter(|_| self.stream.was_stopped()) {
            witness.limited(self.attempt);
        }
        let action = self.machine.next(Event::Completed { attempt: self.attempt }, now);
        debug_assert!(matches!(action, Action::Done), "a completed attempt settles the exchange");
        if let Some((target, pace)) = self.target.as_ref().zip(self.pace.mean(self.stream.facts.events)) {
            target.health.observe_pace(pace);
        }
        self.settle_whole(now);
    }

    /// The caller has a whole answer.
    fn settle_whole(&mut self, now: Instant) {
        self.state = State::Ended;
        self.settlement.complete(&self.stream.facts, &self.machine, now);
        if let Some(trace) = self.settlement.trace_event(self.dialect, &self.shape, &self.stream.facts, &self.machine) {
            self.stream.release_terminator(&trace);
        }
    }

    fn close(&mut self) {
        match self.stream.close() {
            Ok(()) => self.complete(),
            Err(fault) => self.break_off(fault),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The stream broke. Whether somebody may go on is seen from what the caller has; who, the machine says.
    fn break_off(&mut self, fault: Fault) {
        let Some(kept) = self.kept.as_ref().filter(|_| may_be_rescued(&fault)) else { return self.end(&fault) };
        let Some(seen) = self.stream.take_seen() else { return self.end(&fault) };
        self.delivered = Some(Delivered {
            text_characters: u64::try_from(seen.shown.text.chars().count()).ok(),
            ..Delivered::default()
        });
        let by = self.target.as_ref().map_or("", |target| &target.id);
        match rescuing::assess(&kept.exchange, kept.rescue, seen, by) {
            Remedy::Complete(seen) => self.complete_by_length(*seen, fault),
            Remedy::Nothing { encoder, obstacle } => {
                self.settlement.not_rescuable(obstacle);
                self.blame(obstacle);
                self.stream.give_back(encoder);
                self.end(&fault);
            }
            Remedy::GoOn(broken) => {
                let now = self.clock.now();
                // Whoever broke it, the provider may bill what it said.
                let fault = Fault { may_be_billed: true, ..fault };
                if let Some(witness) = &self.settlement.witness {
                    witness.ended(self.attempt, Some(&fault));
                }
                let event = Event::Broken { attempt: self.attempt, fault: fault.clone(), can_go_on: true };
                let action = self.machine.next(event, now);
                self.settlement.broke(&fault, &self.machine);
                self.follow(action, broken, &fault);
            }
        }
    }

    fn blame(&mut self, reason: &str) {
        self.delivered.get_or_insert_with(Delivered::default).not_rescued = Some(reason.to_owned());
    }

    /// Does what the machine wants done about a broken stream.
    fn follow(&mut self, action: Action, broken: Box<Broken>, fault: &Fault) {
        let (Action::Rescue(start), Some(kept)) = (action, &self.kept) else {
            self.stream.give_back(broken.into_encoder());
            return self.end(fault);
        };
        if let Some(witness) = &self.settlement.witness {
            witness.started(&start, false);
        }
        let attempt = Attempt { exchange: kept.exchange.clone(), start: start.clone() };
        let running = Box::pin(attempt.take_over(broken.take_over(&start)));
        self.waiting_since = None;
        self.state = State::Rescuing(Box::new(Rescuing { broken, start, running }));
    }

    fn rescue_is_over(&mut self, outcome: Result<Box<Stream>, NotTakenOver>) {
        let State::Rescuing(rescuing) = std::mem::replace(&mut self.state, State::Relaying) else { return };
        let Rescuing { mut broken, start, .. } = *rescuing;
        let now = self.clock.now();
        match outcome {
            Ok(stream) => self.take_over(stream, *broken, start, now),
            Err(NotTakenOver { fault, failure }) => {
                broken.learn(&start, failure);
                self.settlement.not_rescued(&start.target, &fault);
                self.blame(&format!("{}: {}", start.target.id, fault.message));
                if let Some(witness) = &self.settlement.witness {
                    witness.ended(start.attempt, Some(&fault));
                }
                let event = Event::NotRescued { attempt: start.attempt, fault: fault.clone(), failure };
                let action = self.machine.next(event, now);
                let told = match &action {
                    Action::End(end) => end.fault.clone(),
                    _ => fault,
                };
                self.follow(action, broken, &told);
            }
        }
    }

    /// The caller's stream goes on with this one.
    fn take_over(&mut self, mut stream: Box<Stream>, broken: Broken, start: Start, now: Instant) {
        let _continue = self.machine.next(Event::FirstContent { attempt: start.attempt }, now);
        self.settlement.rescued(&start.target, stream.joined_via());
        if let Some(witness) = &self.settlement.witness {
            witness.goes_on_with(start.attempt, stream.skipped());
        }
        if self.settlement.trace.is_some() {
            stream.hold_terminator();
        }
        stream.follows(&self.stream);
        if broken.is_restart() {
            stream.announce(&crate::settle::restart_event(self.dialect, &self.shape));
        }
        if let Some(kept) = &self.kept {
            stream.attach(broken.resume(&kept.exchange));
        }
        self.delivered = None;
        self.stream = stream;
        self.attempt = start.attempt;
        self.limits.idle = start.limits.idle;
        self.pace = Pace::of(Some(&start.target));
        self.target = Some(start.target);
        self.waited = Duration::ZERO;
    }

    /// The caller's cap on output was delivered before the stream broke: only its end is missing. The answer is whole;
    /// the target is to blame for the break all the same.
    fn complete_by_length(&mut self, seen: Seen, fault: Fault) {
        let Some(kept) = &self.kept else { return };
        let inbound = dialect::inbound(kept.exchange.inquiry.dialect);
        let fresh = || inbound.resume_encoder(kept.exchange.shape.clone(), &seen.shown);
        let encoder = seen.encoder.unwrap_or_else(fresh);
        self.stream.finish_with(encoder, FinishReason::Length, &seen.usage);
        if let Some(witness) = &self.settlement.witness {
            witness.limited(self.attempt);
        }
        let now = self.clock.now();
        let _end = self.machine.next(Event::Broken { attempt: self.attempt, fault, can_go_on: false }, now);
        self.settle_whole(now);
    }

    /// Nobody goes on: the caller is told.
    fn end(&mut self, fault: &Fault) {
        if let State::Rescuing(rescuing) = std::mem::replace(&mut self.state, State::Relaying) {
            self.stream.give_back(rescuing.broken.into_encoder());
        }
        let now = self.clock.now();
        let fault = &Fault { may_be_billed: true, ..fault.clone() };
        let event = Event::Broken { attempt: self.attempt, fault: fault.clone(), can_go_on: false };
        let _honest_end = self.machine.next(event, now);
        let mut encoder = dialect::inbound(self.dialect).stream_encoder(self.shape.clone());
        let mut error = broken(fault, &self.machine);
        let delivered = self.delivered.take().unwrap_or_default();
        error.delivered = Some(Box::new(Delivered { events: self.stream.facts.events, ..delivered }));
        self.stream.fail(encoder.as_mut(), &error);
        self.stream.abandon();
        self.state = State::Ended;
        self.settlement.broken(fault, &self.stream.facts, &self.machine, now);
    }
}

/// What is the caller's, or the gateway's own end, is nothing another target could do better.
fn may_be_rescued(fault: &Fault) -> bool {
    match fault.class {
        FaultClass::ContentBlocked
        | FaultClass::InvalidRequest
        | FaultClass::UnsupportedParameter
        | FaultClass::ContextExceeded
        | FaultClass::Cancelled => false,
        FaultClass::TimedOut => fault.phase != Some(Phase::Deadline),
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected => true,
    }
}

/// The error event of a stream that broke after content was shown.
fn broken(fault: &Fault, machine: &Machine) -> CallerError {
    CallerError {
        fault: Some(fault.class),
        retryable: true,
        attempts: machine.attempts(),
        ..CallerError::new(
            502,
            "stream_broken",
            format!("the provider's stream broke after part of the answer was sent: {}", fault.message),
        )
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.poll_stream(cx).map(|output| output.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over() && self.stream.output_len() == 0
    }
}

impl Drop for RelayBody {
    fn drop(&mut self) {
        if !self.is_over() {
            let now = self.clock.now();
            let _done = self.machine.next(Event::HungUp, now);
            self.settlement.hung_up(&self.stream.facts, &self.machine, now);
        }
    }
}
