//! One target's health, and the permit a call to it holds.
//!
//! A plan reads every target's standing, so that of a target with nothing to tell is read without a lock. What changes
//! it (a start, a first token, an end) takes one, for that target alone.

use crate::breaker::{Breaker, Ticket};
use crate::by_size::{Own, Sizes};
use crate::latency::Samples;
use crate::lesson::{Lesson, lesson};
use crate::rank::Slowness;
use crate::size::PromptSize;
use crate::speeds::{Judgement, Slow, Speeds, Watched};
use crate::{BreakerSettings, BreakerStanding, Quantiles, Refused, StartKind, lock};
use canon::{Fault, Instant, Phase, Scope};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a target whose model is missing is left alone before it is asked again.
const OFF: Duration = Duration::from_secs(10 * 60);

/// Where a target stands: what the plan decides by, and `explain` prints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Of its breaker, `Off` for a missing model included.
    pub breaker: BreakerStanding,
    /// A chronic flapper: fallback only, at most 10 % of a pool.
    pub degraded: bool,
    /// Lately slower than its own baseline: ranked below the next healthy target.
    pub slow: bool,
    /// What is wrong concerns prompts of the size asked for, and not the target as a whole.
    pub for_size: bool,
}

impl Standing {
    /// Nothing is wrong with it.
    pub const WELL: Self = Self { breaker: BreakerStanding::Closed, degraded: false, slow: false, for_size: false };

    /// Closed and not degraded: trying it costs the retry budget nothing. A slow target answers, so it is healthy.
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
    speeds: Speeds,
    /// Its standing is [`Standing::WELL`], the calls that wait aside.
    is_well: AtomicBool,
    prefill_refused: AtomicBool,
    in_flight: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    off_until: Option<Instant>,
    judgement: Judgement,
    sizes: Sizes,
    /// When a call last began or ended; a stream's pace is told when it has ended.
    seen: Instant,
    suspicion: Option<Arc<Suspicion>>,
}

/// Somebody reports an incident that concerns a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// Until when the report is believed.
    pub until: Instant,
    /// Who reports what.
    pub why: String,
}

impl TargetHealth {
    pub(crate) fn new(id: &str, settings: &BreakerSettings, seed: u64) -> Self {
        Self {
            id: id.to_owned(),
            inner: Mutex::new(Inner {
                breaker: Breaker::new(settings, seed),
                off_until: None,
                judgement: Judgement::new(),
                sizes: Sizes::new(),
                seen: Instant::ORIGIN,
                suspicion: None,
            }),
            first_tokens: Mutex::default(),
            gaps: Mutex::default(),
            speeds: Speeds::new(),
            is_well: AtomicBool::new(true),
            prefill_refused: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// The stable id it is kept under.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn configure(&self, settings: &BreakerSettings) {
        let mut inner = lock(&self.inner);
        inner.breaker.configure(settings);
        inner.sizes.configure(settings);
    }

    /// Where it stands now, as a whole.
    pub fn standing(&self, now: Instant) -> Standing {
        self.standing_of(None, now)
    }

    /// Where it stands now for a prompt of so many tokens.
    #[inline]
    pub fn standing_for(&self, prompt_tokens: u64, now: Instant) -> Standing {
        self.standing_of(Some(prompt_tokens), now)
    }

    #[inline]
    fn standing_of(&self, prompt_tokens: Option<u64>, now: Instant) -> Standing {
        // What has ended was judged when it did; only what waits grows older.
        if self.speeds.is_quiet(now) && self.is_well.load(Ordering::Acquire) {
            return Standing::WELL;
        }
        self.looked_at(prompt_tokens, now)
    }

    fn looked_at(&self, prompt_tokens: Option<u64>, now: Instant) -> Standing {
        let slowness = if self.speeds.is_quiet(now) { None } else { self.speeds.slowness(now) };
        if slowness.is_none() && self.is_well.load(Ordering::Acquire) {
            return Standing::WELL;
        }
        let mut inner = lock(&self.inner);
        if let Some(slow) = slowness {
            self.lose_rank(slow, &mut inner, now);
        }
        let mut standing = inner.standing(now);
        if let Some(own) = prompt_tokens.and_then(|tokens| inner.sizes.get(PromptSize::of(tokens))) {
            standing = standing.with(own, now);
        }
        self.publish(&inner);
        standing
    }

    fn lose_rank(&self, slow: Slow, inner: &mut Inner, now: Instant) {
        let Some(size) = slow.size else {
            self.speeds.lose_rank(slow.slowness, &mut inner.judgement, now);
            return;
        };
        if let Some(own) = inner.sizes.make(size, &mut inner.breaker) {
            self.speeds.begin_anew_of(size, own.rank.lose(slow.slowness, now));
        }
    }

    fn first_token_took(&self, took: Duration, watched: Watched, inner: &mut Inner, now: Instant) {
        let own = inner.sizes.get(watched.size()).map(|own| &mut own.rank);
        if let Some(slow) = self.speeds.first_token_took(took, watched, (&mut inner.judgement, own), now) {
            self.lose_rank(slow, inner, now);
        }
    }

    /// Says to those who take no lock whether there is anything to see.
    fn publish(&self, inner: &Inner) {
        let is_well = inner.off_until.is_none()
            && inner.judgement.rank.is_usual()
            && inner.breaker.is_well()
            && inner.sizes.are_well();
        self.is_well.store(is_well, Ordering::Release);
    }

    /// Starts a call: takes the half-open slot or whatever else it needs, atomically. The permit must get a verdict;
    /// dropped without one it counts as cancelled.
    pub fn start(self: &Arc<Self>, kind: StartKind, now: Instant) -> Result<Permit, Refused> {
        self.start_for(0, kind, now)
    }

    /// Starts a call with a prompt of so many tokens.
    pub fn start_for(self: &Arc<Self>, prompt_tokens: u64, kind: StartKind, now: Instant) -> Result<Permit, Refused> {
        let size = PromptSize::of(prompt_tokens);
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        if let Some(until) = inner.off_until.filter(|until| *until > now) {
            return Err(Refused::Off { until });
        }
        let ticket = inner.breaker.start(kind, now)?;
        let own = inner.sizes.get(size).map(|own| own.breaker.start(kind, now));
        let own = own.transpose().inspect_err(|_| inner.breaker.released(ticket))?;
        inner.judgement.rank.start(ticket.sequence(), now);
        if let Some(size) = inner.sizes.get(size) {
            size.rank.start(ticket.sequence(), now);
        }
        inner.seen = inner.seen.max(now);
        self.publish(inner);
        drop(guard);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            target: Arc::clone(self),
            ticket,
            size,
            own,
            started: now,
            first_token: None,
            settled: false,
            watched: None,
        })
    }

    /// Calls started and not yet settled.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// When a call to it last began or was answered; the origin of time when none ever was.
    pub fn last_call(&self) -> Instant {
        lock(&self.inner).seen
    }

    /// Somebody reports an incident: its breaker trips a fault earlier and asks for a success more, until the report is
    /// stale. `None` = nobody does.
    pub fn suspect(&self, suspicion: Option<Suspicion>) {
        let mut inner = lock(&self.inner);
        inner.breaker.reported(suspicion.as_ref().map(|suspicion| suspicion.until));
        inner.suspicion = suspicion.map(Arc::new);
    }

    /// The incident that is reported of it, if one is.
    pub fn suspicion(&self, now: Instant) -> Option<Arc<Suspicion>> {
        lock(&self.inner).suspicion.clone().filter(|suspicion| now < suspicion.until)
    }

    /// Time to the first token of recent streamed calls.
    pub fn first_tokens(&self) -> Quantiles {
        lock(&self.first_tokens).quantiles()
    }

    /// The time that 95 % of the first tokens to prompts of about so many tokens come within; `None` until two hundred
    /// have come within an hour.
    pub fn late_first_token(&self, prompt_tokens: u64) -> Option<Duration> {
        self.speeds.late_first_token(prompt_tokens)
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
        let mut inner = lock(&self.inner);
        let now = inner.seen;
        self.speeds.pace_was(pace, &mut inner.judgement, now);
        self.publish(&inner);
    }

    /// The usual time between two events of its streams; `None` until enough streams have ended.
    pub fn usual_pace(&self) -> Option<Duration> {
        Some(self.speeds.pace.usual()?.median)
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
        let mut inner = lock(&self.inner);
        inner.off_until = None;
        self.publish(&inner);
    }
}

impl Inner {
    fn standing(&mut self, now: Instant) -> Standing {
        self.off_until = self.off_until.filter(|until| *until > now);
        let breaker = match self.off_until {
            Some(until) => BreakerStanding::Off { until },
            None => self.breaker.standing(now),
        };
        let (degraded, slow) = (self.breaker.is_degraded(now), self.judgement.rank.is_lost(now));
        Standing { breaker, degraded, slow, for_size: false }
    }

    /// A call got the first of its answer, or the whole of it.
    fn answered(&mut self, permit: &Permit, now: Instant) {
        self.breaker.first_token(permit.ticket, now);
        self.sizes.answered(permit.size, now);
        if let (Some(ticket), Some(own)) = (permit.own, self.sizes.get(permit.size)) {
            own.breaker.first_token(ticket, now);
        }
    }

    /// A call failed by the target's fault, or by what the size of its prompt does to the target: whether by that, and so
    /// surely that the target is not asked with prompts of this size any more.
    fn failed(&mut self, permit: &Permit, silent: bool, now: Instant) -> bool {
        let is_of_size = self.sizes.failed(permit.size, now) && self.breaker.is_serving();
        if is_of_size {
            self.breaker.released(permit.ticket);
            self.sizes.make(permit.size, &mut self.breaker);
        } else {
            self.breaker.suspect(self.sizes.take_held());
            self.breaker.failed(permit.ticket, permit.first_token, silent, now);
        }
        let Some(own) = self.sizes.get(permit.size) else { return false };
        let ticket = permit.own.or_else(|| own.breaker.start(StartKind::Live, now).ok());
        if let Some(ticket) = ticket {
            own.breaker.failed(ticket, permit.first_token, silent, now);
        }
        is_of_size && !own.breaker.is_serving()
    }

    /// A call ended without a verdict.
    fn released(&mut self, permit: &Permit) {
        self.breaker.released(permit.ticket);
        if let (Some(ticket), Some(own)) = (permit.own, self.sizes.get(permit.size)) {
            own.breaker.released(ticket);
        }
    }
}

impl Standing {
    /// With what the size of a prompt has of its own; the worse of the two holds.
    fn with(self, own: &mut Own, now: Instant) -> Self {
        let (breaker, degraded, slow) =
            (own.breaker.standing(now), own.breaker.is_degraded(now), own.rank.is_lost(now));
        let is_closed = self.breaker == BreakerStanding::Closed;
        let for_size =
            is_closed && (breaker != BreakerStanding::Closed || degraded && !self.degraded || slow && !self.slow);
        let breaker = if is_closed { breaker } else { self.breaker };
        Self { breaker, degraded: self.degraded || degraded, slow: self.slow || slow, for_size }
    }
}

/// A started call to a target. Settled exactly once: every verdict consumes it, and dropping it is `cancelled`.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as cancelled"]
pub struct Permit {
    target: Arc<TargetHealth>,
    ticket: Ticket,
    size: PromptSize,
    /// Of the breaker of its size.
    own: Option<Ticket>,
    started: Instant,
    first_token: Option<Instant>,
    settled: bool,
    /// Its first token is waited for.
    watched: Option<Watched>,
}

impl Permit {
    /// A first token is waited for, to a prompt of so many tokens: from now on the call's age is evidence.
    pub fn awaits_first_token(&mut self, prompt_tokens: u64) {
        self.watched = Some(self.target.speeds.watch(prompt_tokens, self.started));
    }

    /// Whether the call holds the half-open slot.
    pub fn is_probe(&self) -> bool {
        self.ticket.kind == StartKind::Probe || self.own.is_some_and(|own| own.kind == StartKind::Probe)
    }

    /// The first token came.
    pub fn first_token(&mut self, now: Instant) {
        if self.first_token.is_none() {
            self.first_token = Some(now);
            let target = &self.target;
            let took = now.saturating_since(self.started);
            lock(&target.first_tokens).add(took);
            let mut inner = lock(&target.inner);
            inner.answered(self, now);
            if let Some(watched) = self.watched.take() {
                target.first_token_took(took, watched, &mut inner, now);
            }
            target.publish(&inner);
        }
    }

    /// The whole answer came. Stands for the first token too where none was reported (calls not streamed).
    pub fn succeeded(mut self, now: Instant) {
        let mut inner = lock(&self.target.inner);
        if self.first_token.is_none() {
            inner.answered(&self, now);
        }
        inner.breaker.completed(self.ticket);
        if let (Some(ticket), Some(own)) = (self.own, inner.sizes.get(self.size)) {
            own.breaker.completed(ticket);
        }
        inner.seen = inner.seen.max(now);
        self.target.publish(&inner);
        drop(inner);
        self.settled = true;
    }

    /// The call failed. What that teaches about the target depends on the class; faults of the credential, the
    /// request and the caller teach nothing. Returns whether it says something of prompts of this size alone, with which
    /// the target is not asked any more.
    pub fn failed(mut self, fault: &Fault, now: Instant) -> bool {
        let mut inner = lock(&self.target.inner);
        let mut is_of_size = false;
        match lesson(fault) {
            Lesson::Failure => {
                let silent = fault.phase == Some(Phase::FirstToken);
                is_of_size = inner.failed(&self, silent, now);
                if silent && let Some(watched) = self.watched.take() {
                    let waited = now.saturating_since(self.started);
                    self.target.first_token_took(waited, watched, &mut inner, now);
                }
            }
            Lesson::TargetOff => {
                inner.released(&self);
                if !matches!(fault.scope, Scope::Credential | Scope::CredentialModel) {
                    inner.off_until = Some(now + OFF);
                }
            }
            Lesson::Soft => {
                inner.released(&self);
                self.target.speeds.lose_rank(Slowness::Pace, &mut inner.judgement, now);
            }
            Lesson::RateParked | Lesson::QuotaParked | Lesson::CredentialOff | Lesson::Quality | Lesson::Nothing => {
                inner.released(&self);
            }
        }
        self.target.publish(&inner);
        drop(inner);
        self.settled = true;
        is_of_size
    }

    /// The call was cancelled: neutral.
    pub fn cancelled(self) {}

    /// Nobody waits for the call any more. It says nothing of its end, but that it was not quicker than this.
    pub fn abandoned(mut self, now: Instant) {
        if let Some(watched) = self.watched.take() {
            let target = &self.target;
            let age = now.saturating_since(self.started);
            lock(&target.first_tokens).add_longer_than(age);
            target.speeds.waited_for(age, watched);
            let slowness = target.speeds.slowness(now);
            let mut inner = lock(&target.inner);
            let is_usual = |inner: &mut Inner| {
                let own = inner.sizes.get(watched.size()).is_none_or(|own| own.rank.is_usual());
                own && inner.judgement.rank.is_usual()
            };
            if let Some(slowness) = slowness {
                target.lose_rank(slowness, &mut inner, now);
            } else if is_usual(&mut inner) {
                target.speeds.took_longer_than(age, watched, now);
            }
            target.publish(&inner);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(watched) = self.watched.take() {
            self.target.speeds.unwatch(watched);
        }
        let mut inner = lock(&self.target.inner);
        if !self.settled {
            inner.released(self);
        }
        inner.judgement.rank.release(self.ticket.sequence());
        if let Some(own) = inner.sizes.get(self.size) {
            own.rank.release(self.ticket.sequence());
        }
        self.target.publish(&inner);
        drop(inner);
        self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
