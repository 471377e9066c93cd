//! Exact counts of the recent past, and how sure a ratio of them is.
//!
//! Exact buckets, not a decaying average: under a burst an average weighted by time can hide a total outage.

use canon::Instant;
use std::time::Duration;

const BUCKETS: usize = 10;

/// The normal quantile of a two-sided 80 % interval.
const Z_80: f64 = 1.281_551_565_544_8;

/// The lower end of the 80 % Wilson interval of `failures` in `samples`: the ratio the evidence is sure to exceed.
/// Zero without samples.
pub fn wilson_lower_bound(failures: u32, samples: u32) -> f64 {
    if samples == 0 {
        return 0.0;
    }
    let n = f64::from(samples);
    let p = f64::from(failures.min(samples)) / n;
    let z2 = Z_80 * Z_80;
    let centre = p + z2 / (2.0 * n);
    let spread = Z_80 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - spread) / (1.0 + z2 / n)).max(0.0)
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Which slice of the time line it counts; a stale number means that it is empty.
    epoch: u64,
    successes: u32,
    failures: u32,
}

/// Ten buckets over the window's length.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    slice: Duration,
    buckets: [Bucket; BUCKETS],
}

impl Window {
    pub(crate) fn new(length: Duration) -> Self {
        let slices = u32::try_from(BUCKETS).unwrap_or(1);
        Self { slice: (length / slices).max(Duration::from_nanos(1)), buckets: [Bucket::default(); BUCKETS] }
    }

    pub(crate) fn clear(&mut self) {
        self.buckets = [Bucket::default(); BUCKETS];
    }

    pub(crate) fn success(&mut self, now: Instant) {
        if let Some(bucket) = self.bucket(now) {
            bucket.successes = bucket.successes.saturating_add(1);
        }
    }

    pub(crate) fn failure(&mut self, now: Instant) {
        if let Some(bucket) = self.bucket(now) {
            bucket.failures = bucket.failures.saturating_add(1);
        }
    }

    /// Takes back a success counted at `at`, when a stream broke after its first token.
    pub(crate) fn retract_success(&mut self, at: Instant) {
        let epoch = self.epoch(at);
        if let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.epoch == epoch) {
            bucket.successes = bucket.successes.saturating_sub(1);
        }
    }

    /// `(failures, samples)` inside the window.
    pub(crate) fn counts(&self, now: Instant) -> (u32, u32) {
        let epoch = self.epoch(now);
        let oldest = epoch.saturating_sub(BUCKETS as u64 - 1);
        self.buckets
            .iter()
            .filter(|bucket| (oldest..=epoch).contains(&bucket.epoch))
            .fold((0, 0), |(f, n), bucket| (f + bucket.failures, n + bucket.failures + bucket.successes))
    }

    /// Slices are numbered from one, so that a fresh bucket (zero) belongs to none.
    fn epoch(&self, at: Instant) -> u64 {
        let slice = self.slice.as_nanos().max(1);
        u64::try_from(at.since_origin().as_nanos() / slice).unwrap_or(u64::MAX - 1) + 1
    }

    fn bucket(&mut self, now: Instant) -> Option<&mut Bucket> {
        let epoch = self.epoch(now);
        let index = usize::try_from(epoch % BUCKETS as u64).unwrap_or(0);
        let bucket = self.buckets.get_mut(index)?;
        if bucket.epoch != epoch {
            *bucket = Bucket { epoch, ..Bucket::default() };
        }
        Some(bucket)
    }
}

/// How the latest twenty calls ended, in a ring.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latest {
    ends: [Option<(Instant, bool)>; Self::MOST],
    next: usize,
}

impl Latest {
    const MOST: usize = 20;

    pub(crate) fn push(&mut self, failed: bool, now: Instant) {
        if let Some(end) = self.ends.get_mut(self.next) {
            *end = Some((now, failed));
        }
        self.next = (self.next + 1) % Self::MOST;
    }

    /// Whether of the latest calls since `oldest`, at least `least` of them, surely more than `ratio` failed.
    pub(crate) fn fail_too_often(&self, least: u32, ratio: f64, oldest: Instant) -> bool {
        let newest_first = (1..=Self::MOST).map(|back| self.ends.get((self.next + Self::MOST - back) % Self::MOST));
        let (mut failures, mut samples) = (0, 0);
        newest_first.map_while(|end| end?.as_ref().filter(|(at, _)| *at >= oldest)).any(|(_, failed)| {
            samples += 1;
            failures += u32::from(*failed);
            samples >= least && wilson_lower_bound(failures, samples) > ratio
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn the_wilson_bound_has_its_known_values() {
        assert!((wilson_lower_bound(4, 8) - 0.2936).abs() < 1e-3);
        assert!((wilson_lower_bound(3, 8) - 0.1952).abs() < 1e-3);
        assert!((wilson_lower_bound(8, 20) - 0.2725).abs() < 1e-3);
        assert!(wilson_lower_bound(0, 0).abs() < f64::EPSILON);
        assert!(wilson_lower_bound(0, 50).abs() < f64::EPSILON);
    }

    #[test]
    fn the_wilson_bound_stays_below_the_ratio_and_approaches_it() {
        for n in [1_u32, 8, 20, 100, 10_000] {
            for failures in 0..=n.min(100) {
                let bound = wilson_lower_bound(failures, n);
                let ratio = f64::from(failures) / f64::from(n);
                assert!(bound <= ratio + 1e-12, "{failures}/{n}");
            }
        }
        assert!(wilson_lower_bound(2_600, 10_000) > 0.25);
        assert!(wilson_lower_bound(26, 100) < 0.25);
    }

    #[test]
    fn a_good_past_does_not_water_down_the_latest_calls() {
        let mut latest = Latest::default();
        (0..1_000).for_each(|_| latest.push(false, at(1.0)));
        let trips = |latest: Latest| latest.fail_too_often(8, 0.25, at(1.0));
        for failed in [true, false, true, false, true, false] {
            latest.push(failed, at(2.0));
            assert!(!trips(latest), "three of the latest are not enough");
        }
        latest.push(true, at(3.0));
        assert!(trips(latest), "four of eight");
        assert!(!latest.fail_too_often(8, 0.25, at(2.0)), "the rest is too old");
        (0..20).for_each(|_| latest.push(false, at(4.0)));
        assert!(!trips(latest));
        let mut few = Latest::default();
        (0..7).for_each(|_| few.push(true, at(1.0)));
        assert!(!trips(few), "seven say nothing yet");
    }

    #[test]
    fn the_window_forgets_what_is_older_than_its_length() {
        let mut window = Window::new(Duration::from_secs(30));
        window.failure(at(0.5));
        window.success(at(4.0));
        assert_eq!(window.counts(at(29.9)), (1, 2));
        assert_eq!(window.counts(at(30.1)), (0, 1));
        assert_eq!(window.counts(at(34.0)), (0, 0));
        window.failure(at(90.0));
        assert_eq!(window.counts(at(90.0)), (1, 1));
    }

    #[test]
    fn a_retracted_success_is_gone_from_its_own_bucket_alone() {
        let mut window = Window::new(Duration::from_secs(30));
        window.success(at(1.0));
        window.success(at(10.0));
        window.retract_success(at(1.0));
        assert_eq!(window.counts(at(10.0)), (0, 1));
        window.retract_success(at(1.0));
        assert_eq!(window.counts(at(10.0)), (0, 1));
    }
}
