//! A committed stream on its way to the caller: a pull-based body that owns whole events.
//!
//! hyper polls it when the caller has room, so a slow caller is never read ahead of and the phase timers stand still
//! meanwhile. It ends in one of three ways, and the attempt machine hears of each: complete, broken (the dialect's
//! error event, no terminator), or dropped because the caller hung up, which drops the upstream call with it.

use crate::clock::Clock;
use crate::drain::DrainSignal;
use crate::settle::Settlement;
use crate::stream::{Progress, Stream};
use bytes::Bytes;
use canon::{CallerError, DialectName, Fault, FaultClass, Instant, Origin, Phase};
use dialect::StreamShape;
use health::TargetHealth;
use http_body::{Body, Frame};
use routing::{Action, AttemptId, Event, Machine, TranscriptCursor};
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
    health: Option<Arc<TargetHealth>>,
    cursor: TranscriptCursor,
    /// When the caller was last given something; `None` while it waits for more.
    handed_over: Option<Instant>,
    state: State,
}

/// The limits of a committed stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest wait for the next token.
    pub idle: Duration,
    /// When the exchange must be over.
    pub deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Relaying,
    /// Everything is in the output; the machine has been told.
    Ended,
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
    /// The health of the target that serves.
    pub health: Option<Arc<TargetHealth>>,
}

impl RelayBody {
    /// Takes over a committed stream.
    pub(crate) fn new(committed: Committed, clock: Clock, drain: DrainSignal) -> Self {
        let Committed { stream, machine, attempt, dialect, shape, limits, settlement, health } = committed;
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
            health,
            cursor: TranscriptCursor::default(),
            handed_over: None,
            state: State::Relaying,
        }
    }

    /// Cuts off a caller that has not asked for more since `limit` ago; nothing of it counts against the target.
    ///
    /// Over HTTP/1 the socket notices such a caller. Over HTTP/2 only its stream stands still, and a body that is not
    /// polled has no timers: somebody else has to look.
    pub(crate) fn cut_off_if_unread(&mut self, limit: Duration) {
        let now = self.clock.now();
        let unread = self.handed_over.is_some_and(|at| now.saturating_since(at) >= limit);
        if self.state == State::Ended || !unread {
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
                return Poll::Ready(Some(output));
            }
            if self.state == State::Ended {
                return Poll::Ready(None);
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
                Poll::Ready(Err(fault)) => self.break_off(&fault),
                Poll::Pending => match self.poll_limits(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// The machine keeps the cursor of what the caller has, for whatever follows a broken stream.
    fn tell_progress(&mut self, bytes: usize) {
        if self.state == State::Ended {
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
        if let Some(health) = self.health.as_ref().filter(|_| !gap.is_zero()) {
            health.observe_gap(gap);
        }
    }

    /// Checks what can end a silent stream. `Ready` = something changed, look again.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.poll_expired(cx) {
            let fault = Fault::new(FaultClass::StreamBroken, Origin::Mainstay, "the gateway is shutting down");
            self.break_off(&fault);
            return Poll::Ready(());
        }
        let now = self.clock.now();
        if let Some(since) = self.waiting_since {
            self.waited += now.saturating_since(since);
        }
        self.waiting_since = Some(now);
        let idle = if self.stream.finished() { USAGE_GRACE.min(self.limits.idle) } else { self.limits.idle };
        if self.waited >= idle {
            if self.stream.finished() {
                self.close();
            } else {
                self.break_off(&Fault::timed_out(Phase::Idle, idle));
            }
            return Poll::Ready(());
        }
        if now >= self.limits.deadline {
            let limit = self.limits.deadline.saturating_since(self.settlement.started());
            self.break_off(&Fault::timed_out(Phase::Deadline, limit));
            return Poll::Ready(());
        }
        let at = (now + idle.saturating_sub(self.waited)).min(self.limits.deadline);
        let at = self.clock.runtime(at);
        // Re-arming costs a lock on the timer wheel; a timer that fires early only makes us look and re-arm.
        if self.timer.deadline() > at || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx)
    }

    fn complete(&mut self) {
        let now = self.clock.now();
        let action = self.machine.next(Event::Completed { attempt: self.attempt }, now);
        debug_assert!(matches!(action, Action::Done), "a completed attempt settles the exchange");
        self.state = State::Ended;
        self.settlement.complete(&self.stream.facts, &self.machine, now);
        if let Some(trace) = self.settlement.trace_event(self.dialect, &self.shape, &self.stream.facts, &self.machine) {
            self.stream.release_terminator(&trace);
        }
    }

    fn close(&mut self) {
        match self.stream.close() {
            Ok(()) => self.complete(),
            Err(fault) => self.break_off(&fault),
        }
    }

    /// Nothing rescues a committed stream yet: whatever the machine says, it says it honestly.
    fn break_off(&mut self, fault: &Fault) {
        let now = self.clock.now();
        let event = Event::Failed { attempt: self.attempt, fault: fault.clone(), altered: false };
        let _honest_end = self.machine.next(event, now);
        let mut encoder = dialect::inbound(self.dialect).stream_encoder(self.shape.clone());
        self.stream.fail(encoder.as_mut(), &broken(fault, &self.machine));
        self.state = State::Ended;
        self.settlement.broken(fault, &self.stream.facts, &self.machine, now);
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
        self.state == State::Ended && self.stream.output_len() == 0
    }
}

impl Drop for RelayBody {
    fn drop(&mut self) {
        if self.state == State::Relaying {
            let now = self.clock.now();
            let _done = self.machine.next(Event::HungUp, now);
            self.settlement.hung_up(&self.stream.facts, &self.machine, now);
        }
    }
}
