//! What is usual for a target, learned from its own answers, and how surely a duration is not.
//!
//! Two hypotheses are weighed against each other with every answer, and with every call that still waits: "as usual",
//! a little slower than the median at most, and "slow", three times the median to the first token or half the speed.
//! Each duration speaks for one of them by a logarithm of odds under a log-logistic law around the median, whose width
//! is the target's own spread: its tails are heavy, so that one very late answer says little more than a late one.
//! The sum, never below zero, is a CUSUM: it forgets good times and finds a change within a few answers.

use crate::histogram::Histogram;
use canon::Instant;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Odds of a hundred and fifty to one, where "as usual" already allows for half as long again: where the sum is a
/// verdict.
pub(crate) const SURE: f64 = 5.0;
/// What one duration says at most: a verdict takes three.
pub(crate) const ONE_VOICE: f64 = SURE / 3.0;
/// Samples until which each moves the median; later few do.
const EARLY: u32 = 64;
/// Samples between two looks at the histogram then.
const REFRESH: u32 = 16;
/// Samples before it is known what one in twenty is later than: ten of them are.
const KNOWN_LATE: u32 = 200;
/// The spread is believed within these bounds (standard deviations of the logarithm): a narrower one would take noise
/// for news, with a wider one nothing would ever be slow.
const SPREAD: (f64, f64) = (0.2, 1.0);
/// The spread before anything was seen, and how many samples that is worth: first tokens of providers spread by 0.3
/// to 0.8, and few samples may lie close together by chance.
const PRIOR: (f64, f64) = (0.5, 20.0);
/// Makes the logistic distribution that of a normal one of the same spread.
const LOGISTIC: f64 = 1.702;

/// What counts as slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yardstick {
    /// Times the median that is still as usual.
    usual: f64,
    /// Times the median that is slow.
    slow: f64,
    /// Times the median below which a target that was slow is as usual again.
    back: f64,
    /// Nothing quicker is ever slow.
    floor: Duration,
    /// Samples before anything is known.
    known: u32,
    /// And time since the first of them: of calls that began together the quick ones end first, and a busy target's
    /// first twenty answers are its quickest.
    learns: Duration,
}

/// First tokens: three times the median and at least a second is slow. Return below twice.
pub(crate) const FIRST_TOKEN: Yardstick = Yardstick {
    usual: 1.5,
    slow: 3.0,
    back: 2.0,
    floor: Duration::from_secs(1),
    known: 20,
    learns: Duration::from_secs(30),
};
/// Time between two events of a stream: less than half of the speed is slow. Return above two thirds.
pub(crate) const PACE: Yardstick =
    Yardstick { usual: 1.25, slow: 2.0, back: 1.5, floor: Duration::ZERO, known: 5, learns: Duration::ZERO };

/// The usual duration of one kind.
#[derive(Debug)]
pub(crate) struct Baseline {
    yardstick: Yardstick,
    /// Made with the first sample: most targets see two or three prompt sizes.
    histogram: OnceLock<Box<Histogram>>,
    fresh: AtomicU32,
    /// When the first sample came: ms since the origin, plus one; zero = not yet.
    begun: AtomicU64,
    /// µs; zero = not known yet.
    median: AtomicU32,
    /// Bits of an `f32`: standard deviation of the logarithm.
    spread: AtomicU32,
    /// µs; later than three times the median, and than 97 % of all.
    outlived: AtomicU32,
    /// µs; later than 95 % of all; zero = not known yet.
    late: AtomicU32,
}

/// How late a call is that still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lateness {
    /// As usual so far, or nothing is known.
    InTime,
    /// Later than usual: its age is evidence.
    Late,
    /// It has outlived the usual answer.
    Outlived,
}

/// A usual duration that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usual {
    yardstick: Yardstick,
    pub(crate) median: Duration,
    spread: f64,
}

impl Baseline {
    pub(crate) fn new(yardstick: Yardstick) -> Self {
        Self {
            yardstick,
            histogram: OnceLock::new(),
            fresh: AtomicU32::new(0),
            begun: AtomicU64::new(0),
            median: AtomicU32::new(0),
            spread: AtomicU32::new(0),
            outlived: AtomicU32::new(0),
            late: AtomicU32::new(0),
        }
    }

    /// One more usual duration. What a slow time brings is not to be recorded, or slowness would become usual.
    pub(crate) fn record(&self, duration: Duration, now: Instant) {
        let histogram = self.histogram.get_or_init(|| Box::new(Histogram::new()));
        histogram.record(duration, now);
        let fresh = self.fresh.fetch_add(1, Ordering::Relaxed) + 1;
        let millis = u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let begun =
            self.begun.compare_exchange(0, millis, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|known| known);
        let begun = if begun == 0 { millis } else { begun };
        if fresh > EARLY && !fresh.is_multiple_of(REFRESH) {
            return;
        }
        let learned = Duration::from_millis(millis.saturating_sub(begun));
        let shape = histogram.shape(now);
        if shape.count < self.yardstick.known || learned < self.yardstick.learns {
            return;
        }
        let spread = (shape.upper.as_secs_f64() / shape.median.as_secs_f64().max(f64::MIN_POSITIVE)).ln();
        let count = f64::from(shape.count);
        let spread = (spread * count + PRIOR.0 * PRIOR.1) / (count + PRIOR.1);
        let spread = spread.clamp(SPREAD.0, SPREAD.1);
        let outlived = shape.median.mul_f64(self.yardstick.slow.max((2.0 * spread).exp())).max(self.yardstick.floor);
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a spread needs no more than seven digits")]
        self.spread.store((spread as f32).to_bits(), Ordering::Relaxed);
        self.outlived.store(micros(outlived), Ordering::Relaxed);
        self.late.store(if shape.count < KNOWN_LATE { 0 } else { micros(shape.late) }, Ordering::Relaxed);
        self.median.store(micros(shape.median), Ordering::Relaxed);
    }

    /// How late a call of this age is.
    pub(crate) fn lateness(&self, age: Duration) -> Lateness {
        let age = u32::try_from(age.as_micros()).unwrap_or(u32::MAX);
        let median = self.median.load(Ordering::Relaxed);
        let late = f64::from(median) * self.yardstick.usual;
        if median == 0 || f64::from(age) < late || u128::from(age) < self.yardstick.floor.as_micros() {
            Lateness::InTime
        } else if age < self.outlived.load(Ordering::Relaxed) {
            Lateness::Late
        } else {
            Lateness::Outlived
        }
    }

    /// The least age (µs) at which a call is not in time any more; `None` = at none, as nothing is known.
    pub(crate) fn late_from(&self) -> Option<u64> {
        let median = self.median.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few times what a u32 holds")]
        let late = (f64::from(median) * self.yardstick.usual).ceil() as u64;
        (median > 0).then(|| late.max(u64::try_from(self.yardstick.floor.as_micros()).unwrap_or(u64::MAX)))
    }

    /// What 95 % are quicker than; `None` until there are enough samples.
    pub(crate) fn late(&self) -> Option<Duration> {
        let late = self.late.load(Ordering::Relaxed);
        (late > 0).then(|| Duration::from_micros(u64::from(late)))
    }

    /// A call was given up after `age` without its end: it would have taken longer, and counts as one of those that
    /// did, each in its turn. Were it left out, the quick alone would be counted, and what is usual would shrink with
    /// every call that is given up for another.
    pub(crate) fn record_longer_than(&self, age: Duration, now: Instant) {
        if let Some(histogram) = self.histogram.get().filter(|_| self.median.load(Ordering::Relaxed) > 0) {
            let turn = self.fresh.load(Ordering::Relaxed);
            self.record(histogram.one_of_longer(age, turn, now), now);
        }
    }

    pub(crate) fn usual(&self) -> Option<Usual> {
        let median = self.median.load(Ordering::Relaxed);
        (median > 0).then(|| Usual {
            yardstick: self.yardstick,
            median: Duration::from_micros(u64::from(median)),
            spread: f64::from(f32::from_bits(self.spread.load(Ordering::Relaxed))),
        })
    }

    /// What was usual is so no more.
    pub(crate) fn forget(&self) {
        if let Some(histogram) = self.histogram.get() {
            histogram.clear();
        }
        self.fresh.store(0, Ordering::Relaxed);
        self.begun.store(0, Ordering::Relaxed);
        self.median.store(0, Ordering::Relaxed);
        self.late.store(0, Ordering::Relaxed);
    }
}

impl Usual {
    /// What an answer after `duration` says: above zero for "slow", below for "as usual".
    pub(crate) fn evidence(&self, duration: Duration) -> f64 {
        if duration < self.yardstick.floor {
            return -ONE_VOICE;
        }
        let (below, above) = self.distances(duration);
        // The logarithm of a logistic density is −z − 2 ln(1 + e^−z).
        let density = |z: f64| -z - 2.0 * (-z).exp().ln_1p();
        (density(above) - density(below)).clamp(-ONE_VOICE, ONE_VOICE)
    }

    /// What a call that has waited for `age` says, whatever becomes of it: never below zero.
    pub(crate) fn evidence_of_waiting(&self, age: Duration) -> f64 {
        if age < self.yardstick.floor {
            return 0.0;
        }
        let (below, above) = self.distances(age);
        (below.exp().ln_1p() - above.exp().ln_1p()).clamp(0.0, ONE_VOICE)
    }

    /// Whether a target that was slow is as usual again, by this answer.
    pub(crate) fn is_back(&self, duration: Duration) -> bool {
        let times = self.yardstick.back.max(self.spread.exp());
        duration < self.yardstick.floor || duration <= self.median.mul_f64(times)
    }

    /// How far the duration lies from where the two hypotheses have their middle, in logistic units.
    fn distances(&self, duration: Duration) -> (f64, f64) {
        let ratio = duration.as_secs_f64() / self.median.as_secs_f64().max(f64::MIN_POSITIVE);
        let scale = LOGISTIC / self.spread.max(SPREAD.0);
        let from = |times: f64| (ratio.max(f64::MIN_POSITIVE) / times).ln() * scale;
        (from(self.yardstick.usual), from(self.yardstick.slow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// A lognormal sample.
    fn sample(median: f64, sigma: f64, rng: &mut fastrand::Rng) -> Duration {
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        secs(median * (sigma * normal).exp())
    }

    fn learned(median: f64, sigma: f64, rng: &mut fastrand::Rng) -> Baseline {
        let baseline = Baseline::new(FIRST_TOKEN);
        (0..500).for_each(|i| baseline.record(sample(median, sigma, rng), at(f64::from(i))));
        baseline
    }

    #[test]
    fn what_one_in_twenty_is_later_than_stays_where_it_is_although_the_late_are_given_up() {
        let rng = &mut fastrand::Rng::with_seed(7);
        let baseline = Baseline::new(FIRST_TOKEN);
        (0..199).for_each(|i| baseline.record(sample(2.0, 0.4, rng), at(f64::from(i))));
        assert_eq!(baseline.late(), None, "too few");
        (199..500).for_each(|i| baseline.record(sample(2.0, 0.4, rng), at(f64::from(i))));
        let truth = 2.0 * (1.645_f64 * 0.4).exp();
        let off = |baseline: &Baseline| (baseline.late().unwrap().as_secs_f64() / truth - 1.0).abs();
        assert!(off(&baseline) < 0.15, "{:?}", baseline.late());
        for i in 500..8_000 {
            let (now, took) = (at(f64::from(i)), sample(2.0, 0.4, rng));
            let given_up = baseline.late().unwrap();
            if took > given_up { baseline.record_longer_than(given_up, now) } else { baseline.record(took, now) }
        }
        assert!(off(&baseline) < 0.15, "{:?} of {truth}", baseline.late());
    }

    #[test]
    fn what_is_usual_is_known_although_only_the_quicker_of_two_is_ever_heard() {
        let rng = &mut fastrand::Rng::with_seed(5);
        let racers = [2.0, 2.4].map(|median| (median, learned(median, 0.4, rng)));
        for i in 500..6_000 {
            let now = at(f64::from(i));
            let took = [0, 1].map(|it: usize| sample(racers[it].0, 0.4, rng));
            let winner = usize::from(took[1] < took[0]);
            racers[winner].1.record(took[winner], now);
            racers[1 - winner].1.record_longer_than(took[winner], now);
        }
        for (median, racer) in &racers {
            let usual = racer.usual().unwrap();
            assert!((usual.median.as_secs_f64() / median - 1.0).abs() < 0.12, "{usual:?} of {median}");
            assert!((0.25..0.55).contains(&usual.spread), "{usual:?}");
        }
    }

    #[test]
    fn nothing_is_usual_until_enough_was_seen() {
        let baseline = Baseline::new(FIRST_TOKEN);
        (0..19).for_each(|_| baseline.record(secs(2.0), at(1.0)));
        baseline.record(secs(2.0), at(30.9));
        assert!(baseline.usual().is_none(), "the first answers of a busy target are its quickest");
        baseline.record(secs(2.0), at(31.0));
        assert!((baseline.usual().unwrap().median.as_secs_f64() - 2.0).abs() < 0.13);
        baseline.forget();
        assert!(baseline.usual().is_none());
    }

    #[test]
    fn three_times_the_median_is_found_in_a_handful_of_answers_and_chance_in_a_hundred_thousand_is_not_taken_for_it() {
        for (sigma, most) in [(0.3, 8.0), (0.4, 10.0), (0.8, 40.0)] {
            let rng = &mut fastrand::Rng::with_seed(7);
            let usual = learned(2.0, sigma, rng).usual().unwrap();
            let until = |factor: f64, rng: &mut fastrand::Rng| {
                let mut sum = 0.0_f64;
                (1..=100_000).find(|_| {
                    sum = (sum + usual.evidence(sample(2.0 * factor, sigma, rng))).max(0.0);
                    sum >= SURE
                })
            };
            let found: Vec<i32> = (0..200).filter_map(|_| until(3.0, rng)).collect();
            assert_eq!(found.len(), 200);
            let mean = f64::from(found.iter().sum::<i32>()) / 200.0;
            assert!(mean <= most, "σ {sigma}: {mean} answers");
            assert_eq!(until(1.0, rng), None, "σ {sigma}");
        }
    }

    #[test]
    fn below_a_second_no_first_token_is_slow() {
        let baseline = Baseline::new(FIRST_TOKEN);
        (0..60).for_each(|i| baseline.record(secs(0.1), at(f64::from(i))));
        let usual = baseline.usual().unwrap();
        assert!(usual.evidence(secs(0.9)) < 0.0 && usual.evidence_of_waiting(secs(0.9)).abs() < f64::EPSILON);
        assert!(usual.evidence(secs(1.1)) > 0.0);
        assert_eq!(baseline.lateness(secs(0.99)), Lateness::InTime);
        assert_eq!(baseline.lateness(secs(1.0)), Lateness::Outlived);
    }

    #[test]
    fn the_way_back_is_shorter_than_the_way_out() {
        let baseline = Baseline::new(FIRST_TOKEN);
        (0..60).for_each(|i| baseline.record(secs(2.0), at(f64::from(i))));
        let usual = baseline.usual().unwrap();
        assert!(usual.is_back(secs(3.8)) && !usual.is_back(secs(4.5)));
        assert!(usual.evidence(secs(3.8)) < 0.0, "what is back does not count as slow");
        let late = [2.8, 3.2, 5.5, 6.5].map(|age| baseline.lateness(secs(age)));
        assert_eq!(late, [Lateness::InTime, Lateness::Late, Lateness::Late, Lateness::Outlived]);
    }

    proptest! {
        #[test]
        fn one_duration_is_never_a_verdict_and_waiting_never_speaks_for_a_target(
            median in 0.001_f64..100.0,
            sigma in 0.01_f64..2.0,
            duration in 0.0_f64..1_000.0,
        ) {
            let rng = &mut fastrand::Rng::with_seed(1);
            let usual = learned(median, sigma, rng).usual().unwrap();
            let said = usual.evidence(secs(duration));
            let waited = usual.evidence_of_waiting(secs(duration));
            prop_assert!(said.is_finite() && said.abs() <= SURE / 2.9);
            prop_assert!((0.0..=SURE / 2.9).contains(&waited));
            prop_assert!(usual.evidence_of_waiting(secs(duration * 2.0)) >= waited - 1e-9, "age only adds");
        }
    }
}
