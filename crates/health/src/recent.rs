//! The latest calls in the order of their start, with what each says about the target's speed, without a lock.
//!
//! Evidence is summed along the starts, not along the ends. A target that hangs ends nothing; and of calls that began
//! together the quick ones end first, so that a sum over those that still wait would find every busy target slow.

use crate::size::PromptSize;
use canon::Instant;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// As many are watched. While the oldest of them waits a new call goes unwatched: those watched are a fair sample.
const CALLS: usize = 32;
const WAITS: u64 = 1 << PromptSize::BITS;

/// One call.
#[derive(Debug)]
struct Slot {
    /// When it began (µs since the origin, plus one), whether it waits, its prompt's size; zero = free.
    word: AtomicU64,
    /// Bits of an `f32`: what its end said.
    said: AtomicU32,
}

/// The watched calls.
#[derive(Debug)]
pub(crate) struct Recent {
    slots: [Slot; CALLS],
    next: AtomicUsize,
    waiting: AtomicUsize,
    /// Counts what changes here and what it is judged by.
    changes: AtomicU16,
    /// Until when (µs) those that wait are in time, and the change that was said at: [`Self::is_quiet`].
    quiet: AtomicU64,
    /// What began before counts no more, by size.
    since: [AtomicU64; PromptSize::CLASSES],
}

/// A watched call's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// A watched call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen {
    /// Its first token is waited for.
    Waits { age: Duration },
    /// It ended, and said this.
    Said(f64),
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Slot { word: AtomicU64::new(0), said: AtomicU32::new(0) }),
            next: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            changes: AtomicU16::new(0),
            quiet: AtomicU64::new(0),
            since: [const { AtomicU64::new(0) }; PromptSize::CLASSES],
        }
    }

    /// A call starts. Returns its place; `None` = it goes unwatched, and is to be left with [`Self::leave_unwatched`].
    pub(crate) fn enter(
        &self,
        size: PromptSize,
        now: Instant,
        is_straggler: impl Fn(PromptSize, Duration) -> bool,
    ) -> Option<Place> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = self.take_place(size, now, is_straggler);
        self.changed();
        place
    }

    fn take_place(
        &self,
        size: PromptSize,
        now: Instant,
        is_straggler: impl Fn(PromptSize, Duration) -> bool,
    ) -> Option<Place> {
        let began = micros(now);
        let fresh = began << (PromptSize::BITS + 1) | WAITS | size.index() as u64;
        let mut place = self.next.load(Ordering::Relaxed) % CALLS;
        for _ in 0..CALLS {
            let slot = self.slots.get(place)?;
            let known = slot.word.load(Ordering::Relaxed);
            if known & WAITS == 0 {
                slot.word.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Relaxed).ok()?;
                self.next.store(place + 1, Ordering::Relaxed);
                return Some(Place(place));
            }
            // Only the oldest makes room: if whoever has ended did, the late ones alone would be remembered. But one
            // straggler is not waited for; what the calls after it say outweighs it.
            let age = Duration::from_micros(began.saturating_sub(known >> (PromptSize::BITS + 1)));
            if !is_straggler(PromptSize::of_index(known), age) {
                return None;
            }
            place = (place + 1) % CALLS;
        }
        None
    }

    /// How many wait for their first token, watched or not.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Something changed that the calls are judged by.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Which change was the latest.
    pub(crate) fn change(&self) -> u16 {
        self.changes.load(Ordering::Acquire)
    }

    /// After this change nothing was wrong, and nothing will be until then (µs) but by another change.
    pub(crate) fn all_is_quiet(&self, change: u16, until: u64) {
        let until = until.min(u64::MAX >> u16::BITS);
        self.quiet.store(until << u16::BITS | u64::from(change), Ordering::Relaxed);
    }

    /// Nothing waits, or nothing can have become wrong since the calls were looked at.
    #[inline]
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        if self.waiting() == 0 {
            return true;
        }
        let quiet = self.quiet.load(Ordering::Relaxed);
        quiet & u64::from(u16::MAX) == u64::from(self.change()) && micros(now) < quiet >> u16::BITS
    }

    /// A call that went unwatched is over.
    pub(crate) fn leave_unwatched(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.changed();
    }

    /// The call is over, and said this; `None` = nothing.
    pub(crate) fn leave(&self, place: Place, said: Option<f64>) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.say(place, said);
        self.changed();
    }

    fn say(&self, place: Place, said: Option<f64>) {
        let Some(slot) = self.slots.get(place.0) else { return };
        match said {
            Some(said) => {
                #[expect(clippy::cast_possible_truncation, reason = "evidence needs no more than seven digits")]
                slot.said.store((said as f32).to_bits(), Ordering::Relaxed);
                slot.word.fetch_and(!WAITS, Ordering::Release);
            }
            None => slot.word.store(0, Ordering::Release),
        }
    }

    /// Calls that began before `now` are not to be counted any more.
    pub(crate) fn begin_anew(&self, now: Instant) {
        self.since.iter().for_each(|since| since.store(micros(now), Ordering::Relaxed));
        self.changed();
    }

    /// The same for calls of one size.
    pub(crate) fn begin_anew_of(&self, size: PromptSize, now: Instant) {
        if let Some(since) = self.since.get(size.index()) {
            since.store(micros(now), Ordering::Relaxed);
        }
        self.changed();
    }

    /// Start (an ordering), size and state of each, in no order.
    pub(crate) fn calls(&self, now: Instant) -> impl Iterator<Item = (u64, PromptSize, Seen)> {
        let now = micros(now);
        self.slots.iter().filter_map(move |slot| {
            let word = slot.word.load(Ordering::Acquire);
            let began = word >> (PromptSize::BITS + 1);
            let size = PromptSize::of_index(word);
            let since = self.since.get(size.index()).map_or(0, |since| since.load(Ordering::Relaxed));
            if word == 0 || began < since {
                return None;
            }
            let seen = if word & WAITS == 0 {
                Seen::Said(f64::from(f32::from_bits(slot.said.load(Ordering::Relaxed))))
            } else {
                Seen::Waits { age: Duration::from_micros(now.saturating_sub(began)) }
            };
            Some((began, size, seen))
        })
    }

    /// The highest sum of evidence of any run of calls of the `wanted` sizes up to the latest start: a CUSUM.
    pub(crate) fn sum(
        &self,
        now: Instant,
        wanted: impl Fn(PromptSize) -> bool,
        waiting: impl Fn(PromptSize, Duration) -> f64,
    ) -> f64 {
        let mut calls = [(u64::MAX, 0.0_f64); CALLS];
        let wanted = self.calls(now).filter(|(_, size, _)| wanted(*size));
        for (place, (began, size, seen)) in calls.iter_mut().zip(wanted) {
            let said = match seen {
                Seen::Waits { age } => waiting(size, age),
                Seen::Said(said) => said,
            };
            *place = (began, said);
        }
        calls.sort_unstable_by_key(|(began, _)| *began);
        calls.iter().fold(0.0, |sum: f64, (_, said)| (sum + said).max(0.0))
    }
}

#[inline]
fn micros(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn enter(recent: &Recent, tokens: u64, now: f64) -> Option<Place> {
        recent.enter(PromptSize::of(tokens), at(now), |_, age| age >= Duration::from_secs(6))
    }

    fn watched(recent: &Recent, now: f64) -> usize {
        recent.calls(at(now)).count()
    }

    #[test]
    fn a_call_waits_until_it_says_something_and_stays_until_others_take_its_place() {
        let recent = Recent::new();
        let first = enter(&recent, 500, 1.0).unwrap();
        enter(&recent, 50_000, 2.0).unwrap();
        let seen: Vec<_> = recent.calls(at(4.0)).map(|(_, size, seen)| (size, seen)).collect();
        let waits = |tokens, age| (PromptSize::of(tokens), Seen::Waits { age: Duration::from_secs(age) });
        assert_eq!(seen, [waits(500, 3), waits(50_000, 2)]);
        recent.leave(first, Some(1.5));
        assert!(recent.calls(at(4.0)).any(|(_, _, seen)| seen == Seen::Said(1.5)));
        (2..=CALLS).for_each(|_| assert!(enter(&recent, 1, 5.0).is_some()));
        assert!(recent.calls(at(5.0)).all(|(_, _, seen)| matches!(seen, Seen::Waits { .. })));
        assert_eq!(enter(&recent, 1, 6.0), None, "the oldest waits: it goes unwatched");
        assert_eq!(recent.waiting(), CALLS + 1);
        recent.leave_unwatched();
        assert_eq!(recent.waiting(), CALLS);
    }

    #[test]
    fn one_straggler_keeps_nobody_from_being_watched() {
        let recent = Recent::new();
        enter(&recent, 1, 0.0).unwrap();
        let others: Vec<_> = (1..CALLS).map(|_| enter(&recent, 1, 5.0).unwrap()).collect();
        for place in others {
            recent.leave(place, Some(-1.0));
        }
        assert_eq!(enter(&recent, 1, 5.5), None, "it is no straggler yet");
        assert!(enter(&recent, 1, 6.0).is_some());
    }

    #[test]
    fn the_sum_follows_the_starts_whoever_ended_first() {
        let recent = Recent::new();
        let places: Vec<_> = (0..4).map(|i| enter(&recent, 1, f64::from(i)).unwrap()).collect();
        // The quick ones end first, and yet what they say stands between the late ones.
        recent.leave(places[1], Some(-2.0));
        recent.leave(places[3], Some(1.0));
        let sum = recent.sum(at(9.0), |_| true, |_, _| 1.5);
        assert!((sum - 2.5).abs() < 1e-6, "{sum}: the good one is not forgotten, and the run begins anew after it");
    }

    #[test]
    fn what_began_before_a_verdict_counts_no_more() {
        let recent = Recent::new();
        let early = enter(&recent, 1, 1.0).unwrap();
        recent.begin_anew(at(2.0));
        assert_eq!(watched(&recent, 3.0), 0);
        recent.leave(early, Some(9.0));
        enter(&recent, 1, 2.0).unwrap();
        assert_eq!(watched(&recent, 3.0), 1);
        assert!(recent.sum(at(3.0), |_| true, |_, _| 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_call_that_says_nothing_leaves_no_trace() {
        let recent = Recent::new();
        let place = enter(&recent, 1, 1.0).unwrap();
        recent.leave(place, None);
        assert_eq!(watched(&recent, 2.0), 0);
    }
}
