//! Calls of a target that ended, by class of fault, over windows from a second to an hour.
//!
//! Seven rings of 32 slots, each slot four times as long as those of the ring before: 62.5 ms to 256 s. A window is
//! counted in the finest ring that is as long as it, so that it is right to an eighth of its length. All of it is
//! bounded: 18 KiB a target.

use crate::eval::Counts;
use canon::{Fault, FaultClass, Instant, Scope};
use std::time::Duration;

/// Slots of a ring.
const SLOTS: usize = 32;
/// Nanoseconds of a slot, ring by ring.
const WIDTHS: [u64; 7] =
    [62_500_000, 250_000_000, 1_000_000_000, 4_000_000_000, 16_000_000_000, 64_000_000_000, 256_000_000_000];

/// What is counted of one target's ended calls.
#[derive(Debug, Default)]
pub(crate) struct ClassWindow {
    rings: [[Slot; SLOTS]; WIDTHS.len()],
}

/// Calls that ended in one slot of time.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which slot of its width since the origin.
    number: u64,
    all: u32,
    /// With a fault that says something about the target or its credentials.
    faults: u32,
    classes: [u32; FaultClass::ALL.len()],
}

impl ClassWindow {
    /// A call ended; `None` = with its whole answer.
    pub(crate) fn add(&mut self, fault: Option<&Fault>, now: Instant) {
        let is_targets = fault.is_some_and(is_about_target);
        let class = fault.filter(|fault| is_targets || is_about_requests(fault.class)).map(|fault| fault.class);
        for (ring, width) in self.rings.iter_mut().zip(WIDTHS) {
            let number = nanos(now) / width;
            let Some(slot) = ring.get_mut(place(number)) else { continue };
            if slot.number != number {
                *slot = Slot { number, ..Slot::default() };
            }
            slot.all = slot.all.saturating_add(1);
            slot.faults = slot.faults.saturating_add(u32::from(is_targets));
            if let Some(count) = class.and_then(|class| slot.classes.get_mut(index(class))) {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Calls that ended within `window` before `now`. `class: None` = any fault but the caller's and the request's own.
    pub(crate) fn within(&self, class: Option<FaultClass>, window: Duration, now: Instant) -> Counts {
        let length = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let fits = |(_, width): &(_, u64)| width * SLOTS as u64 >= length;
        let mut counted = Counts::default();
        let rings = || self.rings.iter().zip(WIDTHS);
        let Some((ring, width)) = rings().find(fits).or_else(|| rings().next_back()) else { return counted };
        let newest = nanos(now) / width;
        let oldest = (newest + 1).saturating_sub(length.div_ceil(width));
        for slot in ring.iter().filter(|slot| (oldest..=newest).contains(&slot.number)) {
            let of_class = match class {
                None => slot.faults,
                Some(class) => slot.classes.get(index(class)).copied().unwrap_or_default(),
            };
            counted.all += u64::from(slot.all);
            counted.of_class += u64::from(of_class);
        }
        counted
    }
}

fn nanos(now: Instant) -> u64 {
    u64::try_from(now.since_origin().as_nanos()).unwrap_or(u64::MAX)
}

fn place(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or_default()
}

fn index(class: FaultClass) -> usize {
    FaultClass::ALL.iter().position(|it| *it == class).unwrap_or_default()
}

/// Whether a fault says something about the target or its credentials. One that concerns the request alone (a prompt
/// above a whole limit comes as `rate_limited`) is a call and no fault, unless its class is about requests.
pub(crate) fn is_about_target(fault: &Fault) -> bool {
    !matches!(fault.scope, Scope::Request | Scope::Caller) && !is_about_requests(fault.class)
}

fn is_about_requests(class: FaultClass) -> bool {
    matches!(class.default_scope(), Scope::Request | Scope::Caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::Origin;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn counting() -> Box<ClassWindow> {
        Box::default()
    }

    #[test]
    fn every_window_counts_all_that_is_young_and_nothing_that_is_old() {
        let mut rng = fastrand::Rng::with_seed(7);
        for window in [1_000_u64, 1_500, 2_500, 10_000, 60_000, 300_000, 1_800_000, 3_600_000] {
            let mut ended = counting();
            let mut calls: Vec<(u64, bool)> = Vec::new();
            let mut now = 500_000;
            for _ in 0..400 {
                now += rng.u64(0..window / 40);
                let is_fault = rng.bool();
                let fault = Fault::new(FaultClass::Overloaded, Origin::Head, "");
                ended.add(is_fault.then_some(&fault), at(now));
                calls.push((now, is_fault));
                let got = ended.within(Some(FaultClass::Overloaded), Duration::from_millis(window), at(now));
                let since = |length: u64, faults: bool| {
                    calls.iter().filter(|(at, f)| *at > now.saturating_sub(length) && (*f || !faults)).count() as u64
                };
                let slack = window / 8 + 1;
                for (got, faults) in [(got.all, false), (got.of_class, true)] {
                    let (least, most) = (since(window - slack, faults), since(window + slack, faults));
                    assert!((least..=most).contains(&got), "{window} ms: {got} not in {least}..={most}");
                }
            }
        }
    }

    #[test]
    fn an_old_slot_is_not_counted_again_after_a_long_silence() {
        let mut ended = counting();
        ended.add(None, at(1_000));
        // A multiple of every ring's length later: the same slots.
        let later = at(1_000 + 8_192_000 * 3);
        for seconds in [1, 60, 3600] {
            assert_eq!(ended.within(None, Duration::from_secs(seconds), later), Counts::default(), "{seconds}");
        }
    }

    #[test]
    fn classes_are_told_apart_and_any_leaves_out_what_is_the_callers() {
        for class in FaultClass::ALL {
            let mut ended = counting();
            ended.add(Some(&Fault::new(class, Origin::Head, "")), at(10));
            let minute = Duration::from_secs(60);
            for other in FaultClass::ALL {
                let expected = u64::from(other == class);
                assert_eq!(ended.within(Some(other), minute, at(20)).of_class, expected, "{class} as {other}");
            }
            let any = ended.within(None, minute, at(20));
            assert_eq!(any, Counts { all: 1, of_class: u64::from(!is_about_requests(class)) }, "{class}");
        }
    }

    #[test]
    fn a_limit_that_only_one_request_is_too_large_for_is_a_call_and_no_fault() {
        let mut ended = counting();
        let fault = Fault { scope: Scope::Request, ..Fault::new(FaultClass::RateLimited, Origin::Head, "") };
        ended.add(Some(&fault), at(10));
        let counted = ended.within(Some(FaultClass::RateLimited), Duration::from_secs(60), at(10));
        assert_eq!(counted, Counts { all: 1, of_class: 0 });
    }
}
