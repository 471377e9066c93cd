//! One target's health, and the permit a call to it holds.

use crate::breaker::{Breaker, Ticket};
use crate::latency::Samples;
use crate::lesson::{Lesson, lesson};
use crate::{BreakerSettings, BreakerStanding, Quantiles, Refused, StartKind, lock};
use canon::{Fault, Instant, Phase, Scope};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a target whose model is missing is left alone before it is asked again.
const OFF: Duration = Duration::from_secs(10 * 60);
/// Streams whose pace makes a usual one.
const KNOWN_PACE: usize = 5;
/// How long a soft fault costs a target its rank.
const SLOW: Duration = Duration::from_secs(30);

/// Where a target stands: what the plan decides by, and `explain` prints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Of its breaker, `Off` for a missing model included.
    pub breaker: BreakerStanding,
    /// A chronic flapper: fallback only, at most 10 % of a pool.
    pub degraded: bool,
    /// Lately slower than its own baseline: ranked below the next healthy target.
    pub slow: bool,
}

impl Standing {
    /// Closed, neither degraded nor slow: trying it costs the retry budget nothing.
    pub fn is_healthy(&self) -> bool {
        self.breaker == BreakerStanding::Closed && !self.degraded
    }
}

/// The health of one target, shared by the whole process.
#[derive(Debug)]
pub struct TargetHealth {
    id: String,
    inner: Mutex<Inner>,
    first_tokens: Mutex<Samples>,
    gaps: Mutex<Samples>,
    /// Mean time between two events, a sample a stream.
    paces: Mutex<Samples>,
    prefill_refused: AtomicBool,
    in_flight: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    off_until: Option<Instant>,
    slow_until: Option<Instant>,
}

impl TargetHealth {
    pub(crate) fn new(id: &str, settings: &BreakerSettings, seed: u64) -> Self {
        Self {
            id: id.to_owned(),
            inner: Mutex::new(Inner { breaker: Breaker::new(settings, seed), off_until: None, slow_until: None }),
            first_tokens: Mutex::default(),
            gaps: Mutex::default(),
            paces: Mutex::default(),
            prefill_refused: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// The stable id it is kept under.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn configure(&self, settings: &BreakerSettings) {
        lock(&self.inner).breaker.configure(settings);
    }

    /// Where it stands now.
    pub fn standing(&self, now: Instant) -> Standing {
        let mut inner = lock(&self.inner);
        let breaker = match inner.off_until {
            Some(until) if until > now => BreakerStanding::Off { until },
            _ => inner.breaker.standing(now),
        };
        Standing {
            breaker,
            degraded: inner.breaker.is_degraded(now),
            slow: inner.slow_until.is_some_and(|until| until > now),
        }
    }

    /// Starts a call: takes the half-open slot or whatever else it needs, atomically. The permit must get a verdict;
    /// dropped without one it counts as cancelled.
    pub fn start(self: &Arc<Self>, kind: StartKind, now: Instant) -> Result<Permit, Refused> {
        let mut inner = lock(&self.inner);
        if let Some(until) = inner.off_until.filter(|until| *until > now) {
            return Err(Refused::Off { until });
        }
        let ticket = inner.breaker.start(kind, now)?;
        drop(inner);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Permit { target: Arc::clone(self), ticket, started: now, first_token: None, settled: false })
    }

    /// Calls started and not yet settled.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Time to the first token of recent streamed calls.
    pub fn first_tokens(&self) -> Quantiles {
        lock(&self.first_tokens).quantiles()
    }

    /// Gaps between tokens of recent streams.
    pub fn gaps(&self) -> Quantiles {
        lock(&self.gaps).quantiles()
    }

    /// One gap between two tokens. A driver that wants to stay cheap reports the longest gap of a stream at its end.
    pub fn observe_gap(&self, gap: Duration) {
        lock(&self.gaps).add(gap);
    }

    /// The mean time between two events of a stream that has ended.
    pub fn observe_pace(&self, pace: Duration) {
        lock(&self.paces).add(pace);
    }

    /// The usual time between two events of its streams; `None` until enough streams have ended.
    pub fn usual_pace(&self) -> Option<Duration> {
        let paces = lock(&self.paces).quantiles();
        (paces.count >= KNOWN_PACE).then_some(paces.p50)
    }

    /// It would not take the beginning of an answer to go on with, whatever the catalogue says of its model.
    pub fn learn_prefill_refused(&self) {
        self.prefill_refused.store(true, Ordering::Relaxed);
    }

    /// Whether it would not take the beginning of an answer.
    pub fn refuses_prefill(&self) -> bool {
        self.prefill_refused.load(Ordering::Relaxed)
    }

    /// The provider lists the model again, or its configuration changed: a target that was off is back.
    pub fn relisted(&self) {
        self.prefill_refused.store(false, Ordering::Relaxed);
        lock(&self.inner).off_until = None;
    }
}

/// A started call to a target. Settled exactly once: every verdict consumes it, and dropping it is `cancelled`.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as cancelled"]
pub struct Permit {
    target: Arc<TargetHealth>,
    ticket: Ticket,
    started: Instant,
    first_token: Option<Instant>,
    settled: bool,
}

impl Permit {
    /// Whether the call holds the half-open slot.
    pub fn is_probe(&self) -> bool {
        self.ticket.kind == StartKind::Probe
    }

    /// The first token came.
    pub fn first_token(&mut self, now: Instant) {
        if self.first_token.is_none() {
            self.first_token = Some(now);
            lock(&self.target.first_tokens).add(now.saturating_since(self.started));
            lock(&self.target.inner).breaker.first_token(self.ticket, now);
        }
    }

    /// The whole answer came. Stands for the first token too where none was reported (calls not streamed).
    pub fn succeeded(mut self, now: Instant) {
        let mut inner = lock(&self.target.inner);
        if self.first_token.is_none() {
            inner.breaker.first_token(self.ticket, now);
        }
        inner.breaker.completed(self.ticket);
        inner.slow_until = None;
        drop(inner);
        self.settled = true;
    }

    /// The call failed. What that teaches about the target depends on the class; faults of the credential, the
    /// request and the caller teach nothing.
    pub fn failed(mut self, fault: &Fault, now: Instant) {
        let mut inner = lock(&self.target.inner);
        match lesson(fault) {
            Lesson::Failure => {
                let silent = fault.phase == Some(Phase::FirstToken);
                inner.breaker.failed(self.ticket, self.first_token, silent, now);
            }
            Lesson::TargetOff => {
                inner.breaker.released(self.ticket);
                if !matches!(fault.scope, Scope::Credential | Scope::CredentialModel) {
                    inner.off_until = Some(now + OFF);
                }
            }
            Lesson::Soft => {
                inner.breaker.released(self.ticket);
                inner.slow_until = Some(now + SLOW);
            }
            Lesson::RateParked | Lesson::QuotaParked | Lesson::CredentialOff | Lesson::Quality | Lesson::Nothing => {
                inner.breaker.released(self.ticket);
            }
        }
        drop(inner);
        self.settled = true;
    }

    /// The call was cancelled: neutral.
    pub fn cancelled(self) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            lock(&self.target.inner).breaker.released(self.ticket);
        }
        self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
