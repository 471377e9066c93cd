//! What holds after every event, checked by the harness whatever the test is about, and a hash of all that was decided.
//!
//! - A caller's fault (invalid, blocked, too long, an unknown parameter, a hang-up) makes no target's standing worse, and moves
//!   no breaker.
//! - What an attempt comes to moves no other target's breaker, and an answer opens nobody: who is called off is not
//!   blamed for it.
//! - A target that has never failed hard, by whatever soft signal, is not opened.
//! - A ramp only rises while its target serves: it falls by a trip alone.
//! - Nobody borrows from the retry budget, and it holds no more than it may.
//!
//! Who is in flight where is counted in `books.rs`, the laws of second attempts are in `hedges.rs`, and what a run has
//! met is in `met.rs`. What a class of fault means is written down here a second time on purpose: a witness that read the
//! lists of the machine and of health would agree with them whatever they said.

use crate::hedges::Hedges;
use crate::met::{self, Met, Way};
use canon::{FaultClass, Instant};
use health::{BreakerStanding, Standing};
use routing::{Action, Event, GiveUp, HonestEnd, Model, Start};
use std::collections::HashMap;
use std::time::Duration;

/// What the retry budget holds at most.
const MOST_BUDGET: f64 = 10.0;

/// Whose fault it is, as far as health is concerned.
fn is_callers(class: FaultClass) -> bool {
    match class {
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => true,
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected => false,
    }
}

/// Whether a fault may open a target, or take it off.
fn is_hard(class: FaultClass) -> bool {
    match class {
        FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::StreamBroken
        | FaultClass::ModelMissing => true,
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::TooSlow
        | FaultClass::BadAnswer
        | FaultClass::AuthRejected
        | FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => false,
    }
}

/// What an event is, for the hash and for what it may change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    exchange: usize,
    name: &'static str,
    class: Option<FaultClass>,
    is_answer: bool,
}

impl Told {
    pub(crate) fn of(exchange: usize, event: &Event) -> Self {
        let class = match event {
            Event::Failed { fault, .. } | Event::Broken { fault, .. } | Event::NotRescued { fault, .. } => {
                Some(fault.class)
            }
            Event::Begin
            | Event::FirstContent { .. }
            | Event::Progress { .. }
            | Event::Completed { .. }
            | Event::Elapsed
            | Event::HungUp
            | Event::DeadlinePassed => None,
        };
        let is_answer = matches!(event, Event::FirstContent { .. } | Event::Progress { .. } | Event::Completed { .. });
        Self { exchange, name: met::event(event), class, is_answer }
    }

    /// A fault that is told to a target alone.
    pub(crate) fn fault(exchange: usize, class: FaultClass) -> Self {
        Self { exchange, name: met::way(&Way::ProbeFailsAlone), class: Some(class), is_answer: false }
    }
}

/// Watches one model's targets over a run.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Events so far.
    pub(crate) events: u64,
    /// FNV-1a over every event and every decision with its time.
    pub(crate) hash: u64,
    /// By the target's id: it has failed hard.
    failed: HashMap<String, bool>,
    /// By the target's id: its share when it was last seen to ramp.
    ramps: HashMap<String, f64>,
    before: Vec<Standing>,
    /// What second attempts may cost.
    pub(crate) hedges: Hedges,
    /// How often each kind of event, each decision and each class of fault was met.
    pub(crate) met: Met,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            failed: HashMap::new(),
            ramps: HashMap::new(),
            before: Vec::new(),
            hedges: Hedges::default(),
            met: Met::default(),
        }
    }
}

impl Watch {
    /// Something is about to be told to the machine.
    pub(crate) fn before(&mut self, model: &Model, now: Instant) {
        self.events += 1;
        self.before.clear();
        self.before.extend(model.targets.iter().map(|target| target.health.standing(now)));
    }

    /// What a target's health was told before anybody watched.
    pub(crate) fn begins(&mut self, model: &Model) {
        let stands = |target: &routing::Target| target.health.standing(Instant::ORIGIN).breaker;
        let open = model.targets.iter().filter(|target| stands(target) != BreakerStanding::Closed);
        self.failed.extend(open.map(|target| (target.id.clone(), true)));
    }

    /// A target failed so.
    pub(crate) fn failed(&mut self, target: &str, class: FaultClass) {
        if is_hard(class) {
            self.failed.insert(target.to_owned(), true);
        }
    }

    /// Settings have changed: a ramp may be of another length.
    pub(crate) fn reloaded(&mut self) {
        self.ramps.clear();
    }

    /// The machine has been told, and has decided. `at` are the targets that an attempt was over at.
    pub(crate) fn after(&mut self, model: &Model, told: Told, at: &[usize], decided: Option<&Action>, now: Instant) {
        self.note(model, told, decided, now);
        let is_callers = told.class.is_some_and(is_callers);
        for (index, target) in model.targets.iter().enumerate() {
            let (standing, before) = (target.health.standing(now), self.before[index]);
            if is_callers {
                // A call that is over no longer counts among those that wait too long; others may.
                let waits = before.slow || target.health.in_flight() > 0;
                let same = standing.degraded == before.degraded && (waits || !standing.slow);
                assert!(
                    same && is_same(standing.breaker, before.breaker),
                    "a caller's fault changes health: {before:?} to {standing:?}"
                );
            }
            let was_closed = before.breaker == BreakerStanding::Closed;
            let is_closed = standing.breaker == BreakerStanding::Closed;
            assert!(
                at.contains(&index) || is_same(standing.breaker, before.breaker),
                "{} had no part in {told:?} and goes from {before:?} to {standing:?}",
                target.id
            );
            assert!(!told.is_answer || is_closed || !was_closed, "an answer opens {}: {standing:?}", target.id);
            let has_failed = self.failed.contains_key(&target.id);
            assert!(
                has_failed || is_closed,
                "{} has never failed hard and stands {standing:?} after {told:?}",
                target.id
            );
            if let BreakerStanding::Ramping { share } = standing.breaker {
                let last = self.ramps.insert(target.id.clone(), share).unwrap_or(0.0);
                assert!(share >= last - 1e-9, "a ramp falls from {last} to {share} without a trip");
            } else {
                self.ramps.remove(&target.id);
            }
        }
        let balance = model.budget.balance(now);
        assert!((-1e-6..=MOST_BUDGET + 1e-6).contains(&balance), "the retry budget holds {balance}");
    }

    /// What was told and what is decided, into the hash and the counts.
    fn note(&mut self, model: &Model, told: Told, decided: Option<&Action>, now: Instant) {
        self.met.add(told.name);
        if let Some(class) = told.class {
            self.met.add(class.as_str());
        }
        self.add(&[nanos(now), told.exchange as u64, told.class.map_or(99, |class| class as u64)]);
        self.add_bytes(told.name.as_bytes());
        if let Some(action) = decided {
            self.met.add(met::action(action));
            self.add_bytes(met::action(action).as_bytes());
            self.add(&numbers(action));
        }
        // Whatever was decided, what was learned is part of the trace.
        let flights: usize = model.targets.iter().map(|target| target.health.in_flight()).sum();
        self.add(&[flights as u64]);
    }

    fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.add_bytes(&number.to_le_bytes());
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_nanos()).unwrap_or(u64::MAX)
}

/// A probe that is given back is no change of standing.
fn is_same(now: BreakerStanding, before: BreakerStanding) -> bool {
    match (now, before) {
        (BreakerStanding::HalfOpen { .. }, BreakerStanding::HalfOpen { .. }) => true,
        (now, before) => now == before,
    }
}

fn numbers(action: &Action) -> [u64; 5] {
    let or_never = |at: Option<Instant>| at.map_or(u64::MAX, nanos);
    let start = |it: &Start| {
        let until = nanos(it.limits.attempt_until);
        [u64::from(it.attempt.0), it.target_index as u64, it.credential as u64, until, or_never(it.hedge_at)]
    };
    let error = |status: u16, retry: Option<Duration>, attempts: usize| {
        let retry = retry.map_or(u64::MAX, |it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
        [u64::from(status), retry, attempts as u64, 0, 0]
    };
    match action {
        Action::Try(it) | Action::Hedge(it) | Action::Rescue(it) => start(it),
        Action::Wait { until } => [nanos(*until), 0, 0, 0, 0],
        Action::Continue { hedge_at } => [or_never(*hedge_at), 0, 0, 0, 0],
        Action::Commit { attempt, cancel } => {
            [u64::from(attempt.0), cancel.map_or(u64::MAX, |it| u64::from(it.0)), 0, 0, 0]
        }
        Action::End(HonestEnd { error: it, cursor, .. }) => {
            let [status, retry, attempts, ..] = error(it.status, it.retry_after, it.attempts.len());
            [status, retry, attempts, cursor.bytes, cursor.events]
        }
        Action::GiveUp(GiveUp { error: it }) => error(it.status, it.retry_after, it.attempts.len()),
        Action::Done => [0; 5],
    }
}
