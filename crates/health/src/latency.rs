//! Recent latencies of one target, and the phase limits that follow from them.
//!
//! A ring of the latest samples is enough for limits; the histograms by prompt size take its place behind the same
//! [`Quantiles`].

use crate::histogram::spread_out;
use std::time::Duration;

const RING: usize = 128;

/// Below this many samples the limits are the cold ones.
const WARM: usize = 20;

/// Quantiles of recent samples. All zero while `count` is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    /// Half are quicker.
    pub p50: Duration,
    /// 95 % are quicker.
    pub p95: Duration,
    /// 99 % are quicker.
    pub p99: Duration,
    /// How many samples that rests on, the ring's size at most.
    pub count: usize,
}

/// The limit for the first token of a streamed call: 4 × p99 within 10–60 s, 10 s until there are 20 samples. A
/// `patient` call (a reasoning model, a prompt above 32k tokens) gets 60 s.
pub fn first_token_limit(samples: Quantiles, patient: bool) -> Duration {
    const FLOOR: Duration = Duration::from_secs(10);
    const CAP: Duration = Duration::from_secs(60);
    if patient {
        CAP
    } else if samples.count < WARM {
        FLOOR
    } else {
        (samples.p99 * 4).clamp(FLOOR, CAP)
    }
}

/// The limit between two tokens: 10 × p99 within 5–30 s, 10 s until there are 20 samples.
pub fn idle_limit(gaps: Quantiles) -> Duration {
    if gaps.count < WARM {
        Duration::from_secs(10)
    } else {
        (gaps.p99 * 10).clamp(Duration::from_secs(5), Duration::from_secs(30))
    }
}

/// The latest samples, in no order but age.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Microseconds.
    ring: Vec<u32>,
    next: usize,
    cached: Quantiles,
    stale: usize,
}

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        let micros = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        if self.ring.len() < RING {
            self.ring.push(micros);
        } else if let Some(slot) = self.ring.get_mut(self.next) {
            *slot = micros;
        }
        self.next = (self.next + 1) % RING;
        self.stale += 1;
    }

    /// A sample that is longer than `age` by nobody knows how much: it counts as one of those that are, each in its
    /// turn. Were it left out, all quantiles would shrink with every call that is given up for another.
    pub(crate) fn add_longer_than(&mut self, age: Duration) {
        if self.ring.len() < WARM {
            return;
        }
        let micros = u32::try_from(age.as_micros()).unwrap_or(u32::MAX);
        let mut longer: Vec<u32> = self.ring.iter().copied().filter(|sample| *sample > micros).collect();
        longer.sort_unstable();
        let turn = spread_out(u32::try_from(self.next).unwrap_or(0));
        let place = longer.len() * usize::try_from(turn).unwrap_or(0) / 100;
        self.add(longer.get(place).map_or(age, |micros| Duration::from_micros(u64::from(*micros))));
    }

    /// Quantiles, computed again only after an eighth of the ring is new: exactness is not worth a sort a request.
    pub(crate) fn quantiles(&mut self) -> Quantiles {
        if self.stale > 0 && (self.ring.len() < RING || self.stale >= RING / 8) {
            let mut sorted = self.ring.clone();
            sorted.sort_unstable();
            let pick = |percent: usize| {
                let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
                Duration::from_micros(u64::from(sorted.get(index).copied().unwrap_or(0)))
            };
            self.cached = Quantiles { p50: pick(50), p95: pick(95), p99: pick(99), count: sorted.len() };
            self.stale = 0;
        }
        self.cached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: impl IntoIterator<Item = u64>) -> Quantiles {
        let mut ring = Samples::default();
        samples.into_iter().for_each(|ms| ring.add(Duration::from_millis(ms)));
        ring.quantiles()
    }

    #[test]
    fn quantiles_are_those_of_the_latest_samples() {
        let quantiles = of(1..=100);
        assert_eq!(quantiles.p50, Duration::from_millis(50));
        assert_eq!(quantiles.p95, Duration::from_millis(95));
        assert_eq!(quantiles.p99, Duration::from_millis(99));
        assert_eq!(of((0..500).map(|i| if i < 300 { 9_000 } else { 10 })).p99, Duration::from_millis(10));
        assert_eq!(of([]), Quantiles::default());
    }

    #[test]
    fn what_was_given_up_counts_as_one_of_those_that_took_longer() {
        let mut ring = Samples::default();
        ring.add_longer_than(Duration::from_secs(9));
        assert_eq!(ring.quantiles().count, 0, "nobody knows yet what is longer");
        (1..=100).for_each(|ms| ring.add(Duration::from_millis(ms)));
        (0..20).for_each(|_| ring.add_longer_than(Duration::from_millis(80)));
        let quantiles = ring.quantiles();
        assert_eq!((quantiles.count, quantiles.p50), (120, Duration::from_millis(60)));
        assert!((93..=98).contains(&quantiles.p95.as_millis()), "{quantiles:?}");
        ring.add_longer_than(Duration::from_secs(9));
        assert_eq!(ring.quantiles().p99, Duration::from_millis(100));
    }

    #[test]
    fn the_first_token_limit_is_cold_until_twenty_samples_and_bounded_after() {
        assert_eq!(first_token_limit(of([9_000; 19]), false), Duration::from_secs(10));
        assert_eq!(first_token_limit(of([9_000; 20]), false), Duration::from_secs(36));
        assert_eq!(first_token_limit(of([200; 20]), false), Duration::from_secs(10));
        assert_eq!(first_token_limit(of([30_000; 20]), false), Duration::from_secs(60));
        assert_eq!(first_token_limit(of([]), true), Duration::from_secs(60));
    }

    #[test]
    fn the_idle_limit_is_ten_times_the_slowest_gap_within_its_bounds() {
        assert_eq!(idle_limit(of([1; 3])), Duration::from_secs(10));
        assert_eq!(idle_limit(of([20; 40])), Duration::from_secs(5));
        assert_eq!(idle_limit(of([1_200; 40])), Duration::from_secs(12));
        assert_eq!(idle_limit(of([9_000; 40])), Duration::from_secs(30));
    }
}
