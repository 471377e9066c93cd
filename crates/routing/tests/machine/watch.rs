//! What holds after every event, checked by the harness whatever the test is about, and a hash of all that was decided.
//!
//! - A caller's fault (invalid, blocked, too long, an unknown parameter, a hang-up) makes no target's standing worse, and moves
//!   no breaker.
//! - A target that has never failed hard, by whatever soft signal, is not opened.
//! - A ramp only rises while its target serves: it falls by a trip alone.
//! - Nobody borrows from the retry budget.
//! - No more calls are in flight at a target than were ever started.

use canon::{FaultClass, Instant};
use health::{BreakerStanding, Standing};
use routing::{Action, Event, Model, Start};
use std::collections::HashMap;

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
    code: u64,
    class: Option<FaultClass>,
}

impl Told {
    pub(crate) fn of(event: &Event) -> Self {
        let (code, class) = match event {
            Event::Begin => (1, None),
            Event::FirstContent { .. } => (2, None),
            Event::Completed { .. } => (3, None),
            Event::Failed { fault, .. } => (4, Some(fault.class)),
            Event::Broken { fault, .. } => (5, Some(fault.class)),
            Event::NotRescued { fault, .. } => (6, Some(fault.class)),
            Event::Elapsed => (7, None),
            Event::DeadlinePassed => (8, None),
            Event::HungUp => (9, None),
            // Told by drivers that follow a transcript, which this one does not.
            Event::Progress { .. } => (0, None),
        };
        Self { code, class }
    }

    /// A fault that is told to a target alone.
    pub(crate) fn fault(class: FaultClass) -> Self {
        Self { code: 10, class: Some(class) }
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
    /// How often each kind of event, each decision and each class of fault was met.
    pub(crate) met: Met,
}

/// What a run has met, so that one that met nothing proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Met {
    events: [u64; 11],
    decisions: [u64; 10],
    classes: [u64; FaultClass::ALL.len()],
}

impl Met {
    fn add(&mut self, told: Told, decided: u64) {
        self.events[usize::try_from(told.code).unwrap()] += 1;
        self.decisions[usize::try_from(decided).unwrap()] += 1;
        for (place, class) in FaultClass::ALL.iter().enumerate() {
            self.classes[place] += u64::from(told.class == Some(*class));
        }
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        self.events.iter_mut().zip(other.events).for_each(|(sum, more)| *sum += more);
        self.decisions.iter_mut().zip(other.decisions).for_each(|(sum, more)| *sum += more);
        self.classes.iter_mut().zip(other.classes).for_each(|(sum, more)| *sum += more);
        self
    }

    /// Every event, decision and class, and how often the rarest of each was met.
    pub(crate) fn rarest(&self) -> [u64; 3] {
        let least = |counts: &[u64]| counts.iter().min().copied().unwrap_or(0);
        // Neither an event nor a decision has the number 0.
        [least(&self.events[1..]), least(&self.decisions[1..]), least(&self.classes)]
    }
}

impl Default for Watch {
    fn default() -> Self {
        let hash = 0xcbf2_9ce4_8422_2325;
        Self { events: 0, hash, failed: HashMap::new(), ramps: HashMap::new(), before: Vec::new(), met: Met::default() }
    }
}

impl Watch {
    /// Something is about to be told to the machine.
    pub(crate) fn before(&mut self, model: &Model, told: Told, now: Instant) {
        self.events += 1;
        if told.class.is_some_and(is_callers) {
            self.before = model.targets.iter().map(|target| target.health.standing(now)).collect();
        }
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

    /// The machine has been told, and has decided.
    pub(crate) fn after(&mut self, model: &Model, exchange: usize, told: Told, decided: Option<&Action>, now: Instant) {
        let at = u64::try_from(now.since_origin().as_nanos()).unwrap();
        self.add(&[at, exchange as u64, told.code, told.class.map_or(99, |class| class as u64)]);
        let decided = decided.map_or([0; 4], numbers);
        self.add(&decided);
        self.met.add(told, decided[0]);
        for (index, target) in model.targets.iter().enumerate() {
            let standing = target.health.standing(now);
            if told.class.is_some_and(is_callers) {
                let before = self.before[index];
                // A call that is over no longer counts among those that wait too long; others may.
                let waits = before.slow || target.health.in_flight() > 0;
                let same = standing.degraded == before.degraded && (waits || !standing.slow);
                assert!(
                    same && is_same(standing.breaker, before.breaker),
                    "a caller's fault changes health: {before:?} to {standing:?}"
                );
            }
            let has_failed = self.failed.contains_key(&target.id);
            let is_closed = standing.breaker == BreakerStanding::Closed;
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
            assert!(target.health.in_flight() as u64 <= self.events, "a permit was released twice");
        }
        let balance = model.budget.balance(now);
        assert!(balance >= -1e-6, "the retry budget is overdrawn: {balance}");
    }

    fn add(&mut self, numbers: &[u64]) {
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A probe that is given back is no change of standing.
fn is_same(now: BreakerStanding, before: BreakerStanding) -> bool {
    match (now, before) {
        (BreakerStanding::HalfOpen { .. }, BreakerStanding::HalfOpen { .. }) => true,
        (now, before) => now == before,
    }
}

fn numbers(action: &Action) -> [u64; 4] {
    let start = |code: u64, start: &Start| {
        [code, u64::from(start.attempt.0), start.target_index as u64, start.credential as u64]
    };
    match action {
        Action::Try(it) => start(1, it),
        Action::Hedge(it) => start(2, it),
        Action::Rescue(it) => start(3, it),
        Action::Wait { until } => [4, u64::try_from(until.since_origin().as_nanos()).unwrap(), 0, 0],
        Action::Continue { hedge_at } => [5, u64::from(hedge_at.is_some()), 0, 0],
        Action::Commit { attempt, cancel } => [6, u64::from(attempt.0), cancel.map_or(99, |it| u64::from(it.0)), 0],
        Action::End(end) => [7, u64::from(end.error.status), 0, 0],
        Action::GiveUp(give_up) => [8, u64::from(give_up.error.status), 0, 0],
        Action::Done => [9, 0, 0, 0],
    }
}
