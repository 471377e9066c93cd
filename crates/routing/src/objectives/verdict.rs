//! Whether one objective is met: from single answers, each of which meets it or misses it.
//!
//! ```text
//!          surely missed             dwell is over             as few misses as allowed in 20
//!  Meets ────────────────▶ Dwells ────────────────▶ OnTrial ─────────────────────────────────────▶ Meets, by a ramp
//!                            ▲    missed again         │
//!                            └─────────────────────────┘  dwell doubled
//! ```
//!
//! What leads out differs from what leads back. Out: six misses at least, so close together that the share of misses is
//! surely above what is allowed, whatever went well before them. Back: a trial, and a share that grows. What is not
//! known to be missed counts as met: nobody could prove 99.9 % of a target that is asked for the first time.

use canon::Instant;
use health::lower_bound;
use std::time::Duration;

/// Misses that are remembered: their closeness is the evidence.
const REMEMBERED: usize = 16;
/// One miss, or five, may be chance.
const FEWEST: usize = 6;
/// Standard deviations: it is asked after every miss, and a target that misses half of what is allowed must not be left
/// for chance.
const SURE: f64 = 4.0;
/// The first time without a trial; it doubles with every trial that fails, and with a relapse.
const DWELL: Duration = Duration::from_secs(30);
/// A trial is a fiftieth of the requests: longer rests would spare little.
const DWELL_CAP: Duration = Duration::from_secs(120);
/// A target that misses again this soon after its return was never well.
const RELAPSE: Duration = Duration::from_secs(600);
/// Answers of a trial, at least.
const TRIAL: u64 = 20;
/// And at most.
const LONGEST_TRIAL: u64 = 120;
/// A trial that nobody's requests decide ends: what was so long ago is not known any more.
const UNDECIDED: Duration = Duration::from_secs(600);
/// How long the share of a target grows that has returned.
const RAMP: Duration = Duration::from_secs(60);
/// And from what.
const RAMP_START: f64 = 0.1;

/// Where an objective of a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// It is not known to be missed.
    Met,
    /// It is missed, and was a moment ago.
    Missed { until: Instant },
    /// It was missed, and is looked at anew.
    OnTrial,
}

/// One objective of one target.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Since the evidence began.
    answers: u64,
    missed: usize,
    /// Which answers the latest misses were.
    latest: [u64; REMEMBERED],
    /// Until when it dwells; `None` = it was not missed.
    until: Option<Instant>,
    dwell: Duration,
    returned: Option<Instant>,
    /// By what factor it was missed when that was last told.
    short: f32,
}

impl Verdict {
    pub(super) fn new() -> Self {
        Self { answers: 0, missed: 0, latest: [0; REMEMBERED], until: None, dwell: DWELL, returned: None, short: 1.0 }
    }

    pub(super) fn stands(&self, now: Instant) -> Stands {
        match self.until {
            Some(until) if now < until => Stands::Missed { until },
            Some(until) if now < until + UNDECIDED => Stands::OnTrial,
            Some(_) | None => Stands::Met,
        }
    }

    /// How much of its load a target has that has returned, 0 to 1.
    pub(super) fn share(&self, now: Instant) -> f64 {
        let since = match self.until {
            Some(until) => Some(until + UNDECIDED).filter(|ended| now >= *ended),
            None => self.returned,
        };
        let grown = since.map(|at| now.saturating_since(at).as_secs_f64() / RAMP.as_secs_f64());
        grown.map_or(1.0, |grown| grown.clamp(RAMP_START, 1.0))
    }

    /// It is met and was never left, or has all its load again: as long as nothing is recorded, time changes nothing.
    pub(super) fn is_usual(&self, now: Instant) -> bool {
        self.until.is_none() && self.share(now) >= 1.0
    }

    /// By what factor it is missed.
    pub(super) fn short(&self) -> f32 {
        self.short
    }

    /// The share of misses among the latest answers; `None` before there are any.
    pub(super) fn share_missed(&self) -> Option<f64> {
        if self.answers == 0 {
            return None;
        }
        let known = self.missed.min(REMEMBERED);
        let span = match self.number(known) {
            Some(oldest) if self.missed > REMEMBERED => self.answers - oldest + 1,
            _ => self.answers,
        };
        Some(known as f64 / span.max(1) as f64)
    }

    /// An answer met the objective or missed it; `allowed` = the share that may miss it. `short` says by what factor
    /// answers miss it lately, should that be asked.
    pub(super) fn record(&mut self, missed: bool, allowed: f64, short: impl FnOnce(&Self) -> f64, now: Instant) {
        let stands = self.stands(now);
        if matches!(stands, Stands::Missed { .. }) {
            return;
        }
        if stands == Stands::Met && self.until.is_some() {
            self.regain(now);
        }
        self.answers += 1;
        if missed {
            if let Some(place) = self.latest.get_mut(self.missed % REMEMBERED) {
                *place = self.answers;
            }
            self.missed += 1;
        }
        let surely = missed && self.is_surely_missed(allowed);
        let lost = match stands {
            Stands::OnTrial => {
                if self.passes(allowed) {
                    self.regain(now);
                    return;
                }
                let is_hopeless = self.missed as f64 > allowed * LONGEST_TRIAL as f64;
                surely || is_hopeless || self.answers >= LONGEST_TRIAL
            }
            Stands::Met | Stands::Missed { .. } => surely,
        };
        if lost {
            #[expect(clippy::cast_possible_truncation, reason = "a factor needs no more than seven digits")]
            let short = short(self).max(1.0) as f32;
            self.short = short;
            self.lose(stands == Stands::OnTrial, now);
        }
    }

    /// Whether of the latest answers of a trial no more missed than are allowed: what was before the target healed does
    /// not prolong it.
    fn passes(&self, allowed: f64) -> bool {
        let too_many = (1..=REMEMBERED).find(|k| *k as f64 > allowed * TRIAL as f64);
        let since = too_many.and_then(|k| self.number(k)).unwrap_or(0);
        self.answers - since >= TRIAL
    }

    fn lose(&mut self, failed_trial: bool, now: Instant) {
        let relapsed = self.returned.is_some_and(|at| now.saturating_since(at) < RELAPSE);
        self.dwell = if failed_trial || relapsed { (self.dwell * 2).min(DWELL_CAP) } else { DWELL };
        self.until = Some(now + self.dwell);
        self.begin_anew();
    }

    fn regain(&mut self, now: Instant) {
        self.until = None;
        self.returned = Some(now);
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.answers = 0;
        self.missed = 0;
    }

    /// Which answer the `k`th latest miss was, the latest being the first; those remembered alone.
    fn number(&self, k: usize) -> Option<u64> {
        if k == 0 || k > REMEMBERED {
            return None;
        }
        self.latest.get(self.missed.checked_sub(k)? % REMEMBERED).copied()
    }

    /// Whether since some miss that is remembered surely more than `allowed` of the answers missed. That miss itself
    /// does not count, as it was chosen for being one.
    fn is_surely_missed(&self, allowed: f64) -> bool {
        (FEWEST..=self.missed.min(REMEMBERED)).any(|k| {
            let Some(since) = self.number(k) else { return false };
            let misses = u32::try_from(k - 1).unwrap_or(u32::MAX);
            let answers = u32::try_from(self.answers - since).unwrap_or(u32::MAX);
            lower_bound(misses, answers, SURE) > allowed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    /// Ten answers a second from `from` on, of which every `nth` misses, until it stands as wanted; how many it took.
    fn until(verdict: &mut Verdict, nth: u64, allowed: f64, from: f64, wanted: impl Fn(Stands) -> bool) -> Option<u64> {
        (1..=20_000).find(|i| {
            let now = at(from + *i as f64 / 10.0);
            verdict.record(i % nth == 0, allowed, |_| 2.0, now);
            wanted(verdict.stands(now))
        })
    }

    fn is_missed(stands: Stands) -> bool {
        matches!(stands, Stands::Missed { .. })
    }

    #[test]
    fn two_per_cent_of_failures_are_found_where_one_in_a_thousand_is_allowed_and_half_of_that_is_not() {
        let mut verdict = Verdict::new();
        assert_eq!(until(&mut verdict, 2_000, 0.001, 0.0, is_missed), None, "half of what is allowed");
        let found = until(&mut verdict, 50, 0.001, 3_000.0, is_missed).unwrap();
        assert!((250..=350).contains(&found), "{found}: a good past does not water it down");
    }

    #[test]
    fn late_answers_are_found_within_a_handful_and_five_per_cent_are_allowed() {
        let mut verdict = Verdict::new();
        assert_eq!(until(&mut verdict, 21, 0.05, 0.0, is_missed), None);
        let found = until(&mut verdict, 1, 0.05, 3_000.0, is_missed);
        assert!(matches!(found, Some(5 | 6)), "{found:?}: one late answer may have been there before");
    }

    #[test]
    fn it_comes_back_by_a_trial_of_twenty_answers_and_a_ramp() {
        let mut verdict = Verdict::new();
        until(&mut verdict, 1, 0.05, 0.0, is_missed).unwrap();
        assert!(is_missed(verdict.stands(at(30.0))), "it dwells");
        verdict.record(false, 0.05, |_| 1.0, at(30.0));
        assert_eq!(verdict.stands(at(31.0)), Stands::OnTrial);
        assert_eq!(until(&mut verdict, 100, 0.05, 31.0, |stands| stands == Stands::Met), Some(20));
        let shares = [33.0, 63.0, 93.1].map(|now| verdict.share(at(now)));
        assert!((shares[0] - 0.1).abs() < 1e-9 && (shares[1] - 0.5).abs() < 1e-9 && shares[2] >= 1.0, "{shares:?}");
    }

    #[test]
    fn a_trial_that_fails_and_a_relapse_double_the_dwell_up_to_two_minutes() {
        let mut verdict = Verdict::new();
        let mut now = 0.0;
        for dwell in [30.0, 60.0, 120.0, 120.0] {
            now += until(&mut verdict, 1, 0.05, now, is_missed).unwrap() as f64 / 10.0;
            assert!(is_missed(verdict.stands(at(now + dwell - 0.1))), "{dwell}");
            now += dwell;
            assert_eq!(verdict.stands(at(now)), Stands::OnTrial, "{dwell}");
        }
        now += until(&mut verdict, 100, 0.05, now, |stands| stands == Stands::Met).unwrap() as f64 / 10.0;
        now += until(&mut verdict, 1, 0.05, now + 100.0, is_missed).unwrap() as f64 / 10.0 + 100.0;
        assert!(is_missed(verdict.stands(at(now + 119.0))), "a relapse");
    }

    #[test]
    fn one_failure_ends_the_trial_of_an_objective_that_allows_one_in_a_thousand() {
        let mut verdict = Verdict::new();
        until(&mut verdict, 1, 0.001, 0.0, is_missed).unwrap();
        assert_eq!(until(&mut verdict, 7, 0.001, 40.0, is_missed), Some(7));
    }

    #[test]
    fn a_trial_that_nobody_decides_ends() {
        let mut verdict = Verdict::new();
        until(&mut verdict, 1, 0.05, 0.0, is_missed).unwrap();
        assert_eq!(verdict.stands(at(600.0)), Stands::OnTrial);
        assert_eq!(verdict.stands(at(700.0)), Stands::Met);
        assert!(verdict.share(at(632.0)) < 0.2, "by the same ramp");
        assert!(verdict.share(at(600.0)) >= 1.0, "whoever has not returned has none");
        verdict.record(true, 0.05, |_| 1.0, at(700.0));
        assert_eq!(verdict.stands(at(700.0)), Stands::Met, "and one miss is none");
    }

    proptest! {
        #[test]
        fn five_misses_are_never_a_verdict_and_evidence_is_never_of_the_future(
            allowed in 0.000_001_f64..0.9,
            good in 0_u64..2_000,
            shuffle in any::<u64>(),
        ) {
            let mut verdict = Verdict::new();
            let mut rng = fastrand::Rng::with_seed(shuffle);
            let mut left = 5;
            for i in 0..good + 5 {
                let missed = left > 0 && rng.u64(0..good + 5 - i) < left;
                left -= u64::from(missed);
                verdict.record(missed, allowed, |_| 1.0, at(i as f64));
            }
            prop_assert!(verdict.stands(at(3_000.0)) == Stands::Met);
            let share = verdict.share_missed().unwrap();
            prop_assert!((share - 5.0 / (good + 5) as f64).abs() < 1e-9, "{share}");
        }
    }
}
