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
    lower_bound(failures, samples, Z_80)
}

/// The same for another surety: `z` standard deviations to either side.
pub fn lower_bound(failures: u32, samples: u32, z: f64) -> f64 {
    if samples == 0 {
        return 0.0;
    }
    let n = f64::from(samples);
    let p = f64::from(failures.min(samples)) / n;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - spread) / (1.0 + z2 / n)).max(0.0)
}

/// The logarithm of how much likelier one explanation has to be than the other: a thousand to one.
const SURE: f64 = 7.0;
/// How many times the ratio that trips a target must fail which is told from its usual self by few calls.
const MUCH_WORSE: f64 = 1.6;
/// Some calls go well at any target.
const SURELY_BAD: f64 = 0.95;

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

/// The latest twenty calls in the order of their starts.
///
/// Failures are often told sooner than successes, so the latest to end are mostly calls from before a target became
/// bad. Here a call that is still waited for counts as one that goes well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Started {
    calls: [Option<StartedCall>; Self::MOST],
    next: usize,
    usual: UsualFailures,
}

#[derive(Debug, Clone, Copy)]
struct StartedCall {
    sequence: u64,
    at: Instant,
    end: CallEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallEnd {
    Failed,
    /// It says nothing of the target.
    Void,
    /// It went well, or may yet.
    WellOrOpen,
}

impl Started {
    const MOST: usize = 20;

    /// The call that is the twenty-first now becomes part of what is usual.
    pub(crate) fn push(&mut self, sequence: u64, now: Instant) {
        if let Some(call) = self.calls.get_mut(self.next) {
            match call.replace(StartedCall { sequence, at: now, end: CallEnd::WellOrOpen }).map(|it| it.end) {
                Some(CallEnd::Failed) => self.usual.note(true),
                Some(CallEnd::WellOrOpen) => self.usual.note(false),
                Some(CallEnd::Void) | None => {}
            }
        }
        self.next = (self.next + 1) % Self::MOST;
    }

    /// Forgets the latest calls, and not what is usual.
    pub(crate) fn clear(&mut self) {
        *self = Self { usual: self.usual, ..Self::default() };
    }

    pub(crate) fn failed(&mut self, sequence: u64) {
        self.ended(sequence, CallEnd::Failed);
    }

    pub(crate) fn void(&mut self, sequence: u64) {
        self.ended(sequence, CallEnd::Void);
    }

    fn ended(&mut self, sequence: u64, end: CallEnd) {
        if let Some(call) = self.calls.iter_mut().flatten().find(|call| call.sequence == sequence) {
            call.end = end;
        }
    }

    /// Whether each of so many in a row failed, or, of at least `least` since `oldest`, so many that a target which
    /// fails much more than a share of `ratio` is likelier by far than this one as it usually is; reckoned back from
    /// the latest that failed.
    pub(crate) fn fail_too_often(&self, run: u32, least: u32, ratio: f64, oldest: Instant) -> bool {
        let usual = self.usual.share();
        let bad = (MUCH_WORSE * ratio).max(2.0 * usual).min(SURELY_BAD);
        let (for_bad, for_usual) = ((bad / usual).ln(), ((1.0 - bad) / (1.0 - usual)).ln());
        let newest_first = (1..=Self::MOST).map(|back| self.calls.get((self.next + Self::MOST - back) % Self::MOST));
        let ends = newest_first
            .map_while(|call| call?.as_ref().filter(|call| call.at >= oldest))
            .map(|call| call.end)
            .filter(|end| *end != CallEnd::Void);
        let (mut samples, mut has_failed, mut in_a_row, mut all_failed) = (0_u32, false, 0_u32, true);
        let (mut evidence, mut most) = (0.0_f64, 0.0_f64);
        for end in ends {
            samples += 1;
            let failed = end == CallEnd::Failed;
            has_failed |= failed;
            if has_failed {
                all_failed &= failed;
                in_a_row += u32::from(all_failed);
                evidence += if failed { for_bad } else { for_usual };
                most = most.max(evidence);
            }
        }
        in_a_row >= run || (samples >= least && most >= SURE)
    }
}

/// The share of a target's calls that fail, as it usually is: over some hundreds of calls.
#[derive(Debug, Clone, Copy)]
struct UsualFailures {
    share: f64,
    calls: f64,
}

impl Default for UsualFailures {
    /// One in twenty, as if twenty calls had shown that.
    fn default() -> Self {
        Self { share: 0.05, calls: 20.0 }
    }
}

impl UsualFailures {
    const REMEMBERED: f64 = 500.0;
    /// Nobody is so good that one failure proves anything, or so bad that none does.
    const LEAST: f64 = 0.02;
    const MOST: f64 = 0.2;

    fn note(&mut self, failed: bool) {
        self.calls = (self.calls + 1.0).min(Self::REMEMBERED);
        self.share += (f64::from(u8::from(failed)) - self.share) / self.calls;
    }

    fn share(&self) -> f64 {
        self.share.clamp(Self::LEAST, Self::MOST)
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

    /// After `past` calls, of which one in `in_all` failed.
    fn usually(past: u64, in_all: u64) -> Started {
        let mut started = Started::default();
        for sequence in 1..=past {
            started.push(sequence, at(0.0));
            if sequence % in_all == 0 {
                started.failed(sequence);
            }
        }
        // Those that follow push the past out of what is latest.
        (past + 1..=past + 20).for_each(|sequence| started.push(sequence, at(1.0)));
        started
    }

    #[test]
    fn calls_that_are_waited_for_go_well_until_they_do_not() {
        let mut started = Started::default();
        (1..=8).for_each(|sequence| started.push(sequence, at(1.0)));
        let trips = |started: &Started, oldest: f64| started.fail_too_often(5, 7, 0.25, at(oldest));
        for sequence in [2, 4, 6] {
            started.failed(sequence);
            assert!(!trips(&started, 1.0), "three of six may be chance");
        }
        started.failed(8);
        assert!(!trips(&started, 1.0), "and four of seven");
        started.void(7);
        assert!(trips(&started, 1.0), "four of six are none, and one of the others says nothing");
        assert!(!started.fail_too_often(5, 8, 0.25, at(1.0)), "with more asked for than there are");
        assert!(!trips(&started, 2.0), "too long ago");
        (9..=12).for_each(|sequence| started.push(sequence, at(2.0)));
        assert!(trips(&started, 1.0), "those after the latest failure are not asked");
    }

    #[test]
    fn the_better_a_target_usually_is_the_sooner_it_is_seen_to_be_bad() {
        let needed = |in_all: u64| {
            let mut started = usually(5_000, in_all);
            let mut failures = 0;
            (5_001..=5_020).rev().step_by(2).find_map(|sequence| {
                started.failed(sequence);
                failures += 1;
                started.fail_too_often(20, 8, 0.25, at(1.0)).then_some(failures)
            })
        };
        assert_eq!(needed(1_000), Some(3));
        assert_eq!(needed(20), Some(5));
        assert_eq!(needed(10), Some(7));
        assert_eq!(needed(4), None);
    }

    #[test]
    fn the_latest_calls_are_not_yet_usual_and_an_outage_of_some_calls_does_not_become_it() {
        let share = |started: &Started| started.usual.share();
        let mut started = usually(100, 1_000);
        assert!((share(&started) - 0.02).abs() < 1e-9);
        (101..=120).for_each(|sequence| started.failed(sequence));
        assert!((share(&started) - 0.02).abs() < 1e-9, "they are judged, and by what was before");
        let outage = started;
        (121..=140).for_each(|sequence| started.push(sequence, at(2.0)));
        assert!(share(&started) > 0.1, "young as it is");
        let mut cleared = outage;
        cleared.clear();
        (121..=140).for_each(|sequence| cleared.push(sequence, at(2.0)));
        assert!((share(&cleared) - 0.02).abs() < 1e-9, "what opened a breaker is no part of it");
        assert!((share(&usually(5_000, 10)) - 0.1).abs() < 0.01);
    }

    #[test]
    fn a_run_is_one_of_calls_started_one_after_another() {
        let mut started = usually(5_000, 3);
        let trips = |started: &Started| started.fail_too_often(5, 8, 0.25, at(1.0));
        for sequence in [5_016, 5_017, 5_019, 5_020] {
            started.failed(sequence);
        }
        assert!(!trips(&started), "one between them is waited for");
        started.void(5_018);
        started.failed(5_015);
        assert!(trips(&started));
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
