//! The queue of `when_exhausted`: requests that wait for a target that is due before their deadline.
//!
//! No task looks after a queue: the first in line does, for all of it, with its own timer; when it goes, the next one
//! is woken, and the others see to it that it comes to that. A caller that hangs up drops its place at once. Who is
//! first and who goes next is [`line`]'s; how fast is [`pace`]'s.

mod line;
mod pace;

use crate::clock::Clock;
use crate::readers::lock;
use canon::{Instant, Priority};
use health::BreakerStanding;
use line::{Call, Capacity, Entered, Line, Place};
use routing::{ExclusionReason, Plan};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often those behind the first see to it that the line is looked after.
const WATCH: Duration = Duration::from_secs(2);

/// The queues, by logical model. They outlive a reload; there are no more than the configuration has had models with
/// a queue.
#[derive(Default)]
pub(crate) struct Queues(Mutex<HashMap<String, Arc<Queue>>>);

impl Queues {
    /// The queue of a model.
    pub(crate) fn of(&self, model: &str) -> Arc<Queue> {
        let mut queues = lock(&self.0);
        if let Some(queue) = queues.get(model) {
            return queue.clone();
        }
        queues.entry(model.to_owned()).or_default().clone()
    }
}

/// The queue of one model.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Line>);

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It is this one's turn.
    ItsTurn,
    /// There is no room, no target is due in time, or the time is up.
    InVain,
}

/// One who waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter {
    /// Who is served first.
    pub priority: Priority,
    /// When the caller must have an answer.
    pub deadline: Instant,
    /// When the wait is over whatever happens.
    pub until: Instant,
    /// It has been upstream and come back.
    pub returned: bool,
    /// Most that may wait.
    pub size: usize,
}

impl Queue {
    /// A request came for the model.
    pub(crate) fn arrived(&self, now: Instant) {
        lock(&self.0).pace.arrived(now);
    }

    /// Whether anybody waits.
    pub(crate) fn is_waited_in(&self) -> bool {
        lock(&self.0).len() > 0
    }

    /// Waits for its turn. `plan` plans the request as things stand.
    pub(crate) async fn wait(&self, waiter: Waiter, clock: Clock, plan: impl Fn(Instant) -> Plan) -> Waited {
        let now = clock.now();
        let capacity = capacity(&plan(now), now);
        if now >= waiter.until || !is_in_time(capacity, waiter.until) {
            return Waited::InVain;
        }
        let call = Arc::<Call>::default();
        let entered = lock(&self.0).enter(waiter.priority, waiter.deadline, waiter.returned, &call, waiter.size);
        let Entered::At(place) = entered else { return Waited::InVain };
        let standing = Standing { queue: self, place, call: &call };
        loop {
            let now = clock.now();
            if now >= waiter.until {
                return Waited::InVain;
            }
            let look_again = match standing.look(now, waiter.until, &plan) {
                Looked::ItsTurn => return Waited::ItsTurn,
                Looked::InVain => return Waited::InVain,
                Looked::Wait(look_again) => look_again.min(waiter.until),
            };
            let _woken = tokio::time::timeout_at(clock.runtime(look_again), call.notify.notified()).await;
        }
    }
}

enum Looked {
    ItsTurn,
    InVain,
    Wait(Instant),
}

/// A place that is given up when its owner goes, whichever way.
struct Standing<'a> {
    queue: &'a Queue,
    place: Place,
    call: &'a Call,
}

impl Standing<'_> {
    fn look(&self, now: Instant, until: Instant, plan: &impl Fn(Instant) -> Plan) -> Looked {
        {
            let line = lock(&self.queue.0);
            if !line.waits(&self.place) {
                return if self.call.is_let_go() { Looked::ItsTurn } else { Looked::InVain };
            }
            if !line.looks_after(&self.place, now) {
                return Looked::Wait(now + WATCH);
            }
        }
        let capacity = capacity(&plan(now), now);
        if !is_in_time(capacity, until) {
            return Looked::InVain;
        }
        let (gone, look_again) = lock(&self.queue.0).let_go(capacity, now);
        if gone.contains(&self.place) { Looked::ItsTurn } else { Looked::Wait(look_again) }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        lock(&self.queue.0).leave(self.place);
    }
}

fn is_in_time(capacity: Capacity, until: Instant) -> bool {
    match capacity {
        Capacity::Open { .. } | Capacity::Probe | Capacity::Soon => true,
        Capacity::Due(at) => at < until,
        Capacity::Never => false,
    }
}

/// What the targets of a plan can take.
fn capacity(plan: &Plan, now: Instant) -> Capacity {
    let mut share: Option<f64> = None;
    let mut probe = false;
    for candidate in &plan.candidates {
        let own = match candidate.standing.breaker {
            BreakerStanding::Closed => 1.0,
            BreakerStanding::Ramping { share } => share,
            BreakerStanding::HalfOpen { .. } => {
                probe = true;
                continue;
            }
            BreakerStanding::Open { .. } | BreakerStanding::Off { .. } => continue,
        };
        share = Some(share.map_or(own, |share| share.max(own)));
    }
    match share {
        Some(share) => return Capacity::Open { share },
        None if probe => return Capacity::Probe,
        None => {}
    }
    let mut soon = false;
    let mut due: Option<Instant> = None;
    for exclusion in &plan.excluded {
        match exclusion.reason {
            ExclusionReason::ProbeInFlight
            | ExclusionReason::AwaitsProbe
            | ExclusionReason::AtLimit { .. }
            | ExclusionReason::Reserved => soon = true,
            ExclusionReason::BreakerOpen { until, .. }
            | ExclusionReason::ModelMissing { until }
            | ExclusionReason::Parked { until, .. } => due = Some(due.map_or(until, |due| due.min(until))),
            ExclusionReason::Lacks { .. }
            | ExclusionReason::WindowTooSmall { .. }
            | ExclusionReason::BelowTier
            | ExclusionReason::BelowQuality { .. }
            | ExclusionReason::NoCredential
            | ExclusionReason::PriceUnknown { .. }
            | ExclusionReason::AbovePrice { .. }
            | ExclusionReason::AboveRate { .. }
            | ExclusionReason::AboveRatio { .. }
            | ExclusionReason::Spent { .. }
            | ExclusionReason::Rule { .. } => {}
        }
    }
    match due {
        _ if soon => Capacity::Soon,
        Some(due) => Capacity::Due(due.max(now)),
        None => Capacity::Never,
    }
}
