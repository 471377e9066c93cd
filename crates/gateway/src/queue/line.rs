//! The order in which requests wait for a model, and who is let go next.
//!
//! By priority, then by deadline, the earliest first. A target that must prove itself gets a request that has not been
//! one of those before: one that failed a probe may be what fails it, and must not be the probe for ever.

use super::pace::Pace;
use canon::{Instant, Priority};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long after a probe was let go the next one is, unless its outcome is known before: it has yet to take its slot.
const PROBE_GAP: Duration = Duration::from_millis(50);
/// How late the first may be before others look after the line in its place.
const OVERDUE: Duration = Duration::from_millis(250);
/// How soon a thing is looked at again that tells nobody when it changes: a probe in flight.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What targets can take at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Capacity {
    /// One at least takes requests; the largest share among them.
    Open {
        /// Of its ramp; 1 = none.
        share: f64,
    },
    /// One takes a probe.
    Probe,
    /// None does before then.
    Due(Instant),
    /// Somebody else's probe is in flight.
    Soon,
    /// None will.
    Never,
}

/// A place in the line. Smaller is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: Reverse<Priority>,
    deadline: Instant,
    sequence: u64,
}

/// How one who waits is called.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// Wakes it.
    pub(super) notify: Notify,
    let_go: AtomicBool,
}

impl Call {
    /// Whether it is its turn.
    pub(super) fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Waiting {
    /// It has been upstream and come back.
    returned: bool,
    call: Arc<Call>,
}

/// What becomes of one that asks for a place.
#[derive(Debug)]
pub(super) enum Entered {
    /// It waits.
    At(Place),
    /// The line is full.
    Full,
}

/// Those who wait for one model.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<Place, Waiting>,
    sequence: u64,
    probe_after: Instant,
    /// When the line is to be looked after again.
    look_at: Instant,
    pub(super) pace: Pace,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a place. In a full line one of lower priority gives way, the last first.
    pub(super) fn enter(
        &mut self,
        priority: Priority,
        deadline: Instant,
        returned: bool,
        call: &Arc<Call>,
        size: usize,
    ) -> Entered {
        if self.waiting.len() >= size {
            let last = self.waiting.last_key_value().map(|(place, _)| *place);
            let Some(last) = last.filter(|last| last.priority.0 < priority) else { return Entered::Full };
            self.leave(last);
        }
        self.sequence += 1;
        let place = Place { priority: Reverse(priority), deadline, sequence: self.sequence };
        self.waiting.insert(place, Waiting { returned, call: call.clone() });
        Entered::At(place)
    }

    /// Whether this one waits still; one that does not was let go, or gave way to a higher priority.
    pub(super) fn waits(&self, place: &Place) -> bool {
        self.waiting.contains_key(place)
    }

    /// Whether this one looks after the line: the first does, and anybody when the first does not come to it, because
    /// nobody polls a stream that its caller does not read.
    pub(super) fn looks_after(&self, place: &Place, now: Instant) -> bool {
        self.is_first(place) || now > self.look_at + OVERDUE
    }

    fn is_first(&self, place: &Place) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| first == place)
    }

    /// Gives up a place, and wakes whoever looks after the line from now on.
    pub(super) fn leave(&mut self, place: Place) {
        if let Some(waiting) = self.waiting.remove(&place) {
            waiting.call.notify.notify_one();
            self.wake_first();
        }
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.call.notify.notify_one();
        }
    }

    /// Lets go whom the capacity allows. Returns those and when to look again.
    pub(super) fn let_go(&mut self, capacity: Capacity, now: Instant) -> (Vec<Place>, Instant) {
        let mut gone = Vec::new();
        let next = loop {
            match capacity {
                Capacity::Open { share } => match self.waiting.first_key_value().map(|(place, _)| *place) {
                    None => break now + LOOK_AGAIN,
                    Some(first) => match self.pace.take(share, now) {
                        Ok(()) => self.go(first, &mut gone),
                        Err(wait) => break now + wait.clamp(Duration::from_millis(1), LOOK_AGAIN),
                    },
                },
                Capacity::Probe if now < self.probe_after => break self.probe_after,
                Capacity::Probe => {
                    self.pace.stuck();
                    self.probe_after = now + PROBE_GAP;
                    let fresh = self.waiting.iter().find(|(_, waiting)| !waiting.returned);
                    let chosen = fresh.or_else(|| self.waiting.first_key_value()).map(|(place, _)| *place);
                    if let Some(chosen) = chosen {
                        self.go(chosen, &mut gone);
                    }
                    break self.probe_after;
                }
                Capacity::Due(at) => {
                    self.pace.stuck();
                    break at.max(now + Duration::from_millis(1));
                }
                Capacity::Soon => {
                    self.pace.stuck();
                    break now + LOOK_AGAIN;
                }
                Capacity::Never => {
                    self.pace.stuck();
                    break Instant::FAR_FUTURE;
                }
            }
        };
        self.look_at = next;
        (gone, next)
    }

    fn go(&mut self, place: Place, gone: &mut Vec<Place>) {
        if let Some(waiting) = self.waiting.remove(&place) {
            waiting.call.let_go.store(true, Ordering::Release);
            waiting.call.notify.notify_one();
            gone.push(place);
            self.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    fn enter(line: &mut Line, priority: Priority, deadline: u64, returned: bool) -> Option<Place> {
        match line.enter(priority, at(deadline), returned, &Arc::default(), 4) {
            Entered::At(place) => Some(place),
            Entered::Full => None,
        }
    }

    fn drained(line: &mut Line, capacity: Capacity) -> Vec<Place> {
        let mut all = Vec::new();
        for ms in 0..100_000 {
            all.extend(line.let_go(capacity, at(ms)).0);
        }
        all
    }

    #[test]
    fn the_order_is_priority_then_the_earliest_deadline() {
        let mut line = Line::default();
        let late = enter(&mut line, Priority::Normal, 900, false).unwrap();
        let low = enter(&mut line, Priority::Low, 1, false).unwrap();
        let early = enter(&mut line, Priority::Normal, 300, false).unwrap();
        let high = enter(&mut line, Priority::High, 5_000, false).unwrap();
        assert!(line.is_first(&high));
        assert_eq!(drained(&mut line, Capacity::Open { share: 1.0 }), [high, early, late, low]);
    }

    #[test]
    fn a_full_line_takes_only_a_higher_priority_and_the_last_of_the_lowest_gives_way() {
        let mut line = Line::default();
        let places: Vec<_> =
            [30, 20, 10, 40].map(|deadline| enter(&mut line, Priority::Normal, deadline, false).unwrap()).into();
        assert!(enter(&mut line, Priority::Normal, 1, false).is_none(), "equals are not pushed out");
        assert!(enter(&mut line, Priority::Low, 1, false).is_none());
        assert!(enter(&mut line, Priority::High, 99, false).is_some());
        assert!(!line.waits(&places[3]) && line.waits(&places[0]) && line.len() == 4);
    }

    #[test]
    fn a_probe_is_one_request_and_not_the_one_that_failed_before() {
        let mut line = Line::default();
        let failed = enter(&mut line, Priority::Normal, 1, true).unwrap();
        let fresh = enter(&mut line, Priority::Normal, 2, false).unwrap();
        let (gone, next) = line.let_go(Capacity::Probe, at(0));
        assert_eq!(gone, [fresh]);
        assert_eq!(next, at(50));
        assert_eq!(line.let_go(Capacity::Probe, at(10)).0, [], "the slot is not taken yet");
        assert_eq!(line.let_go(Capacity::Probe, at(60)).0, [failed], "there is no other");
    }

    #[test]
    fn nobody_is_let_go_before_a_target_is_due() {
        let mut line = Line::default();
        let place = enter(&mut line, Priority::Normal, 1, false).unwrap();
        assert_eq!(line.let_go(Capacity::Due(at(700)), at(0)), (vec![], at(700)));
        assert_eq!(line.let_go(Capacity::Never, at(0)).0, []);
        assert_eq!(line.let_go(Capacity::Soon, at(0)), (vec![], at(50)));
        assert!(line.waits(&place));
    }

    #[test]
    fn a_first_one_that_nobody_polls_holds_nobody_up() {
        let mut line = Line::default();
        let stuck = enter(&mut line, Priority::Normal, 1, false).unwrap();
        let next = enter(&mut line, Priority::Normal, 2, false).unwrap();
        line.let_go(Capacity::Due(at(1_000)), at(0));
        assert!(line.looks_after(&stuck, at(500)) && !line.looks_after(&next, at(1_250)));
        assert!(line.looks_after(&next, at(1_251)));
        assert_eq!(line.let_go(Capacity::Open { share: 1.0 }, at(1_251)).0, [stuck]);
    }

    #[tokio::test]
    async fn whoever_is_first_after_one_leaves_is_woken() {
        let mut line = Line::default();
        let call = Arc::<Call>::default();
        let first = enter(&mut line, Priority::Normal, 1, false).unwrap();
        let Entered::At(second) = line.enter(Priority::Normal, at(2), false, &call, 4) else { panic!("has room") };
        line.leave(first);
        assert!(line.is_first(&second));
        call.notify.notified().await;
        assert!(!call.is_let_go());
    }
}
