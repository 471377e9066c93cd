//! How quick and how reliable a target is beside others, for strategies that choose by it.
//!
//! Health compares a target with its own past; here targets are compared with each other. Each time to an answer is
//! taken by its logarithm, relative to what answers to prompts of its size usually take over all targets, so that who
//! gets the long prompts does not look slow for it. Calls that still wait count with their age as soon as that is above
//! what is expected: a target that hangs says nothing, and that is what it is judged by.
//!
//! Everything is an atomic: a plan reads thirty targets, and an answer writes one.

use crate::TargetLedger;
use canon::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Weight of the latest sample: half of what is known is of the last three answers.
const LATEST: f64 = 0.2;
/// The same of the usual time over all targets, which has to stand still while targets are compared by it.
const LATEST_USUAL: f64 = 0.02;
/// The same of the share of answers: twenty of them make most of it.
const LATEST_SUCCESS: f64 = 0.05;
/// Calls watched at once; those beyond say nothing until they have answered.
const WATCHED: usize = 8;
/// A failure counts as an answer that took at least this long, or a target that fails at once would be the quickest.
const FAILURE: Duration = Duration::from_secs(5);
/// Fewer output tokens say nothing of a pace.
pub(crate) const PACED: u64 = 8;
/// Upper ends of prompt sizes in tokens, the last aside.
const SIZES: [u64; 4] = [1_000, 8_000, 32_000, 128_000];
/// Sizes of prompts whose answers are streamed, then of those whose answers come whole.
const CLASSES: usize = 2 * (SIZES.len() + 1);
/// The shortest time that is told from a shorter one.
const LEAST_MICROS: u64 = 1_000;
/// Bits of a class beside the start of a call.
const CLASS_BITS: u32 = 4;

/// A moving mean. Mean (as bits of an `f32`) and count are one word, so that neither is read without the other.
#[derive(Debug, Default)]
struct Moving(AtomicU64);

impl Moving {
    /// Returns the mean with the sample in it.
    #[expect(clippy::cast_possible_truncation, reason = "a mean of noise needs no more than seven digits")]
    fn add(&self, sample: f64, latest: f64) -> f32 {
        let mut changed = 0.0;
        let next = |word: u64| {
            let (mean, count) = Self::parts(word);
            let share = latest.max(1.0 / f64::from(count.saturating_add(1)));
            changed = (mean + share * (sample - mean)) as f32;
            Some(u64::from(changed.to_bits()) << 32 | u64::from(count.saturating_add(1)))
        };
        let _changed = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        changed
    }

    fn parts(word: u64) -> (f64, u32) {
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
        (f64::from(f32::from_bits(low(word >> 32))), low(word))
    }

    fn get(&self) -> Option<f64> {
        let (mean, count) = Self::parts(self.0.load(Ordering::Relaxed));
        (count > 0).then_some(mean)
    }
}

/// A moving mean of logarithms, with the number that it is the logarithm of: every plan reads that of every target.
#[derive(Debug, Default)]
struct Logarithmic {
    logarithm: Moving,
    /// Bits of an `f32`; zero = there are no samples.
    number: AtomicU32,
}

impl Logarithmic {
    fn add(&self, sample: f64, latest: f64) {
        self.number.store(self.logarithm.add(sample, latest).exp().to_bits(), Ordering::Relaxed);
    }

    fn logarithm(&self) -> Option<f64> {
        self.logarithm.get()
    }

    fn number(&self) -> Option<f64> {
        Some(f64::from(f32::from_bits(self.number.load(Ordering::Relaxed)))).filter(|number| *number > 0.0)
    }
}

/// What answers usually take over all targets, by size of the prompt: seconds.
#[derive(Debug, Default)]
pub(crate) struct Usual([Logarithmic; CLASSES]);

impl Usual {
    fn of(&self, class: Class) -> Option<f64> {
        self.0.get(class.index())?.logarithm()
    }

    fn seconds(&self, class: Class) -> Option<f64> {
        self.0.get(class.index())?.number()
    }
}

/// Prompts of a size and a kind of answer, which are compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// The class of a prompt of so many tokens.
    pub(crate) fn of(tokens: u64, streamed: bool) -> Self {
        let size = SIZES.iter().filter(|end| tokens >= **end).count();
        let index = if streamed { size } else { SIZES.len() + 1 + size };
        Self(u8::try_from(index).unwrap_or(0))
    }

    /// Of a call that waits.
    fn of_word(word: u64) -> Self {
        Self(u8::try_from(word & ((1 << CLASS_BITS) - 1)).unwrap_or(0))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// How many sizes of prompts there are.
    pub(crate) const SIZES: usize = SIZES.len() + 1;
    /// How many classes there are.
    pub(crate) const COUNT: usize = CLASSES;

    /// The size of the prompt, where the answer is streamed.
    pub(crate) fn streamed_size(self) -> Option<usize> {
        Some(self.index()).filter(|size| *size < Self::SIZES)
    }
}

/// What is known of one target.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    usual: Arc<Usual>,
    /// The time to the answer, as a part of the usual one.
    answer: Logarithmic,
    /// Seconds a token of output.
    pace: Logarithmic,
    success: Moving,
    /// Start in µs and class of calls that wait; zero = free.
    waiting: [AtomicU64; WATCHED],
}

impl Speed {
    pub(crate) fn beside(usual: Arc<Usual>) -> Self {
        Self { usual, ..Self::default() }
    }

    /// Seconds to the first token of a request of this class, or to the whole answer where it is not streamed; `None` =
    /// nobody knows.
    pub(crate) fn answer_in(&self, class: Class, now: Instant) -> Option<f64> {
        let known = self.answer.number();
        let relative = if self.is_late(known, now) { self.relative(now).map(f64::exp) } else { known };
        relative.map(|relative| relative * self.usual.seconds(class).unwrap_or(1.0))
    }

    /// Whether a call has waited for longer than its answer was expected to take: the others' ages say nothing.
    fn is_late(&self, known: Option<f64>, now: Instant) -> bool {
        self.waiting.iter().any(|slot| {
            let word = slot.load(Ordering::Relaxed);
            if word == 0 {
                return false;
            }
            let age = micros(now).saturating_sub(word >> CLASS_BITS).max(LEAST_MICROS) as f64 / 1e6;
            self.usual.seconds(Class::of_word(word)).is_some_and(|usual| age > usual * known.unwrap_or(1.0))
        })
    }

    /// Seconds a token of output; `None` = nobody knows.
    pub(crate) fn pace(&self) -> Option<f64> {
        self.pace.number()
    }

    /// The share of calls that are answered.
    pub(crate) fn success(&self) -> f64 {
        self.success.get().unwrap_or(1.0)
    }

    /// The logarithm of how much longer than usual it takes, with the ages of calls that have waited for longer than
    /// that.
    fn relative(&self, now: Instant) -> Option<f64> {
        let ages = self.waiting.iter().filter_map(|slot| {
            let word = slot.load(Ordering::Relaxed);
            if word == 0 {
                return None;
            }
            let age = Duration::from_micros(micros(now).saturating_sub(word >> CLASS_BITS));
            let usual = self.usual.of(Class::of_word(word))?;
            Some(logarithm(age) - usual)
        });
        ages.fold(self.answer.logarithm(), |known, age| match known {
            Some(known) if age > known => Some(known + LATEST * (age - known)),
            // Nothing has come of it yet, and it is late by anybody's measure.
            None if age > 0.0 => Some(LATEST * age),
            known => known,
        })
    }

    /// The logarithm of how much longer than usual an answer took.
    pub(crate) fn beside_usual(&self, class: Class, took: Duration) -> f64 {
        let seconds = logarithm(took);
        seconds - self.usual.of(class).unwrap_or(seconds)
    }

    fn answered(&self, class: Class, took: Duration) {
        let seconds = logarithm(took);
        if let Some(usual) = self.usual.0.get(class.index()) {
            usual.add(seconds, LATEST_USUAL);
        }
        self.answer.add(seconds - self.usual.of(class).unwrap_or(seconds), LATEST);
    }

    fn took_longer_than(&self, class: Class, age: Duration) {
        let Some(usual) = self.usual.of(class) else { return };
        let relative = logarithm(age) - usual;
        if self.answer.logarithm().is_some_and(|known| relative > known) {
            self.answer.add(relative, LATEST);
        }
    }

    /// An answer of so many tokens was written in this time.
    pub(crate) fn wrote(&self, tokens: u64, took: Duration) {
        if tokens >= PACED && !took.is_zero() {
            self.pace.add((took.as_secs_f64() / tokens as f64).ln(), LATEST);
        }
    }
}

/// A call whose answer is waited for.
#[derive(Debug)]
pub(crate) struct Watch {
    target: Arc<TargetLedger>,
    class: Class,
    started: Instant,
    /// [`WATCHED`] when there was no room.
    slot: usize,
    has_answered: bool,
}

impl Watch {
    pub(crate) fn start(target: &Arc<TargetLedger>, class: Class, now: Instant) -> Self {
        let word = micros(now) << CLASS_BITS | u64::from(class.0);
        let free = |slot: &AtomicU64| slot.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let slot = target.speed.waiting.iter().position(free).unwrap_or(WATCHED);
        target.judges.started(class, now);
        Self { target: Arc::clone(target), class, started: now, slot, has_answered: false }
    }

    /// What the class calls an answer came: the first token, or the whole of it.
    pub(crate) fn answered(&mut self, now: Instant) {
        if !self.has_answered {
            let took = now.saturating_since(self.started);
            self.target.judges.first_token(self.class, took, now);
            self.took(took);
        }
    }

    fn took(&mut self, took: Duration) {
        if !std::mem::replace(&mut self.has_answered, true) {
            self.leave();
            self.target.speed.answered(self.class, took);
        }
    }

    /// The call was completed.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        self.answered(now);
        self.target.speed.success.add(1.0, LATEST_SUCCESS);
        self.target.judges.ended(false, now);
    }

    /// Nobody waits any more: an answer would have taken longer than this, which counts where it is longer than
    /// expected.
    pub(crate) fn given_up(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.has_answered, true) {
            self.leave();
            self.target.speed.took_longer_than(self.class, now.saturating_since(self.started));
        }
    }

    /// The target failed, and says when it may be asked again. `is_of_size` = it is down for prompts of this size alone,
    /// which is no objective's business: it is not asked with them.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, is_of_size: bool, now: Instant) {
        let waited = now.saturating_since(self.started);
        if !self.has_answered {
            self.target.judges.silent(self.class, waited, now);
        }
        self.took(waited.max(FAILURE).max(retry_after.unwrap_or_default()));
        self.target.speed.success.add(0.0, LATEST_SUCCESS);
        if !is_of_size {
            self.target.judges.ended(true, now);
        }
    }

    fn leave(&self) {
        if let Some(slot) = self.target.speed.waiting.get(self.slot) {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

/// Nobody waits any more.
impl Drop for Watch {
    fn drop(&mut self) {
        if !self.has_answered {
            self.leave();
        }
    }
}

fn logarithm(duration: Duration) -> f64 {
    duration.max(Duration::from_micros(LEAST_MICROS)).as_secs_f64().ln()
}

pub(crate) fn micros(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ledger;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn answers(target: &Arc<TargetLedger>, tokens: u64, first: f64) {
        Watch::start(target, Class::of(tokens, true), at(10.0)).answered(at(10.0 + first));
    }

    fn expected(target: &TargetLedger, tokens: u64, now: f64) -> Option<f64> {
        target.speed.answer_in(Class::of(tokens, true), at(now))
    }

    fn two() -> [Arc<TargetLedger>; 2] {
        let ledger = Ledger::default();
        let [a, b] = [ledger.target("a/m"), ledger.target("b/m")];
        for _ in 0..100 {
            answers(&a, 500, 1.0);
            answers(&b, 500, 3.0);
        }
        [a, b]
    }

    #[test]
    fn targets_are_known_by_their_own_times() {
        let [a, b] = two();
        let (quick, slow) = (expected(&a, 500, 20.0).unwrap(), expected(&b, 500, 20.0).unwrap());
        assert!((slow / quick - 3.0).abs() < 0.2, "{quick} {slow}");
        assert_eq!(expected(&Ledger::default().target("c/m"), 500, 20.0), None);
    }

    #[test]
    fn who_gets_the_long_prompts_does_not_look_slow_for_it() {
        let ledger = Ledger::default();
        let [a, b] = [ledger.target("a/m"), ledger.target("b/m")];
        for _ in 0..200 {
            answers(&a, 500, 1.0);
            answers(&a, 200_000, 20.0);
            answers(&b, 200_000, 20.0);
        }
        let ratio = expected(&b, 500, 20.0).unwrap() / expected(&a, 500, 20.0).unwrap();
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
        assert!(expected(&b, 200_000, 20.0).unwrap() > 15.0);
    }

    #[test]
    fn calls_that_hang_are_counted_with_their_age_and_only_while_they_hang() {
        let [a, b] = two();
        let hung: Vec<_> = (0..8).map(|_| Watch::start(&a, Class::of(500, true), at(100.0))).collect();
        assert!(expected(&a, 500, 100.5).unwrap() < 1.2, "not later than expected");
        assert!(expected(&a, 500, 130.0).unwrap() > expected(&b, 500, 130.0).unwrap());
        drop(hung);
        assert!(expected(&a, 500, 130.0).unwrap() < 1.2);
        let ledger = Ledger::default();
        answers(&ledger.target("a/m"), 500, 1.0);
        let fresh = ledger.target("new/m");
        let _first = Watch::start(&fresh, Class::of(500, true), at(0.0));
        assert_eq!(expected(&fresh, 500, 0.5), None);
        assert!(expected(&fresh, 500, 30.0).is_some(), "a new target that hangs is not new for ever");
    }

    #[test]
    fn what_is_given_up_for_another_is_slow_as_far_as_it_was_waited_for() {
        let [a, b] = two();
        for _ in 0..20 {
            Watch::start(&a, Class::of(500, true), at(50.0)).given_up(at(54.0));
            Watch::start(&b, Class::of(500, true), at(50.0)).given_up(at(50.5));
        }
        let (a, b) = (expected(&a, 500, 60.0).unwrap(), expected(&b, 500, 60.0).unwrap());
        assert!((3.0..4.2).contains(&a), "{a}");
        assert!((2.5..3.2).contains(&b), "called off sooner than it usually answers, it says nothing: {b}");
    }

    #[test]
    fn failing_at_once_is_not_quick() {
        let [a, b] = two();
        for _ in 0..20 {
            Watch::start(&a, Class::of(500, true), at(50.0)).failed(None, false, at(50.01));
        }
        assert!(expected(&a, 500, 60.0).unwrap() > expected(&b, 500, 60.0).unwrap());
        let success = |target: &TargetLedger| target.speed.success();
        assert!(success(&a) < 0.4 && success(&b) > 0.99);
    }
}
