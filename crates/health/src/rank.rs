//! Whether a target keeps its rank: slowness costs it that, and nothing else.
//!
//! ```text
//!          surely slow                 dwell is over              as usual, three times
//!  Usual ─────────────▶ Slow ─────────────────────────▶ OnTrial ───────────────────────▶ Usual
//!                        ▲              slow again         │
//!                        └─────────────────────────────────┘  dwell doubled
//! ```
//!
//! What leads in differs from what leads out, by margin (three times the median and twice) and by dwell, so that a
//! target near the line does not go to and fro. On trial it has its rank for one call at a time. Slowness never opens
//! a breaker: a slow answer is an answer.

use canon::Instant;
use std::time::Duration;

/// The first time without rank; it doubles with every trial that fails.
const DWELL: Duration = Duration::from_secs(30);
const DWELL_CAP: Duration = Duration::from_secs(5 * 60);
/// Late calls alone are little evidence: a short time, and one answer ends it.
const SHORT_DWELL: Duration = Duration::from_secs(5);
/// A target that is slow again this soon after its return was never well.
const RELAPSE: Duration = Duration::from_secs(5 * 60);
/// Answers as usual that end a trial.
const GOOD_ANSWERS: u32 = 3;
/// What has been so for this long is usual now, and the baseline is learned anew.
const USUAL_NOW: Duration = Duration::from_secs(60 * 60);

/// What was slow, and so what a trial looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slowness {
    /// First tokens.
    FirstToken,
    /// Calls in flight have all outlived the usual answer.
    Outlived,
    /// Output speed.
    Pace,
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Nothing, yet.
    No,
    /// It has its rank again.
    Regained,
    /// It is slow still.
    Slow {
        /// Until its next trial.
        until: Instant,
    },
    /// It has been so for so long that it is usual, and the baseline is to be forgotten.
    UsualNow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Usual,
    Slow { until: Instant },
    OnTrial { good: u32, call: Option<u64> },
}

/// The rank of one target.
#[derive(Debug)]
pub(crate) struct Rank {
    state: State,
    slowness: Slowness,
    dwell: Duration,
    /// Since when it has not been as usual.
    since: Instant,
    returned: Option<Instant>,
}

impl Rank {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Usual,
            slowness: Slowness::FirstToken,
            dwell: DWELL,
            since: Instant::ORIGIN,
            returned: None,
        }
    }

    pub(crate) fn is_usual(&self) -> bool {
        self.state == State::Usual
    }

    /// Whether it stands behind the next healthy target.
    pub(crate) fn is_lost(&mut self, now: Instant) -> bool {
        self.advance(now);
        match self.state {
            State::Usual => false,
            State::Slow { .. } => true,
            State::OnTrial { call, .. } => call.is_some(),
        }
    }

    /// It is slow: surely, or by its own stream's word. Returns until when it is without rank.
    pub(crate) fn lose(&mut self, slowness: Slowness, now: Instant) -> Instant {
        self.advance(now);
        match self.state {
            State::Slow { until } => return until,
            State::OnTrial { .. } => self.dwell = (self.dwell * 2).min(DWELL_CAP),
            State::Usual => {
                let relapsed = self.returned.is_some_and(|at| now.saturating_since(at) < RELAPSE);
                self.dwell = match slowness {
                    Slowness::Outlived => SHORT_DWELL,
                    Slowness::FirstToken | Slowness::Pace if relapsed => (self.dwell * 2).clamp(DWELL, DWELL_CAP),
                    Slowness::FirstToken | Slowness::Pace => DWELL,
                };
                self.since = now;
                self.slowness = slowness;
            }
        }
        let until = now + self.dwell;
        self.state = State::Slow { until };
        until
    }

    /// A call starts; it may be the one on trial.
    pub(crate) fn start(&mut self, sequence: u64, now: Instant) {
        self.advance(now);
        if let State::OnTrial { call: call @ None, .. } = &mut self.state {
            *call = Some(sequence);
        }
    }

    /// An answer; `pace` says whether by its output speed. Judged on trial alone, and by what was slow.
    pub(crate) fn judge(&mut self, is_back: bool, pace: bool, now: Instant) -> Judged {
        self.advance(now);
        let State::OnTrial { good, .. } = self.state else { return Judged::No };
        if (self.slowness == Slowness::Pace) != pace {
            return Judged::No;
        }
        if !is_back {
            if now.saturating_since(self.since) >= USUAL_NOW {
                self.regain(now);
                return Judged::UsualNow;
            }
            return Judged::Slow { until: self.lose(self.slowness, now) };
        }
        let needed = if self.slowness == Slowness::Outlived { 1 } else { GOOD_ANSWERS };
        if good + 1 >= needed {
            self.regain(now);
            return Judged::Regained;
        }
        self.state = State::OnTrial { good: good + 1, call: None };
        Judged::No
    }

    /// The call is over; if it was on trial, another may be.
    pub(crate) fn release(&mut self, sequence: u64) {
        if let State::OnTrial { call, .. } = &mut self.state
            && *call == Some(sequence)
        {
            *call = None;
        }
    }

    fn regain(&mut self, now: Instant) {
        self.state = State::Usual;
        self.returned = Some(now);
    }

    fn advance(&mut self, now: Instant) {
        if let State::Slow { until } = self.state
            && now >= until
        {
            self.state = State::OnTrial { good: 0, call: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn rank_is_lost_for_the_dwell_and_regained_by_three_answers_one_at_a_time() {
        let mut rank = Rank::new();
        rank.lose(Slowness::FirstToken, at(10.0));
        assert!(rank.is_lost(at(39.9)));
        assert!(!rank.is_lost(at(40.0)), "on trial");
        for call in 1..=3 {
            rank.start(call, at(41.0));
            assert!(rank.is_lost(at(41.0)), "one at a time");
            assert_eq!(rank.judge(false, true, at(42.0)), Judged::No, "its speed was not the matter");
            let judged = rank.judge(true, false, at(42.0));
            assert_eq!(judged, if call == 3 { Judged::Regained } else { Judged::No });
        }
        assert!(rank.is_usual());
    }

    #[test]
    fn a_trial_that_fails_doubles_the_dwell_up_to_five_minutes() {
        let mut rank = Rank::new();
        let mut now = 10.0;
        rank.lose(Slowness::Pace, at(now));
        for dwell in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
            assert!(rank.is_lost(at(now + dwell - 0.1)), "{dwell}");
            now += dwell;
            assert!(!rank.is_lost(at(now)), "{dwell}");
            assert!(matches!(rank.judge(false, true, at(now)), Judged::Slow { .. }));
        }
    }

    #[test]
    fn who_relapses_soon_dwells_longer_and_who_stays_well_does_not() {
        for (after, dwell) in [(60.0, 60.0), (600.0, 30.0)] {
            let mut rank = Rank::new();
            rank.lose(Slowness::FirstToken, at(0.0));
            assert!(!rank.is_lost(at(30.0)));
            assert!((0..3).any(|_| rank.judge(true, false, at(30.0)) == Judged::Regained));
            rank.lose(Slowness::FirstToken, at(30.0 + after));
            assert!(rank.is_lost(at(30.0 + after + dwell - 0.1)), "{after}");
            assert!(!rank.is_lost(at(30.0 + after + dwell)), "{after}");
        }
    }

    #[test]
    fn late_calls_alone_cost_five_seconds_and_one_answer_ends_it() {
        let mut rank = Rank::new();
        rank.lose(Slowness::Outlived, at(0.0));
        assert!(rank.is_lost(at(4.9)) && !rank.is_lost(at(5.0)));
        rank.start(1, at(5.0));
        assert_eq!(rank.judge(true, false, at(5.5)), Judged::Regained);
    }

    #[test]
    fn a_call_that_ends_without_a_verdict_leaves_the_trial_to_another() {
        let mut rank = Rank::new();
        rank.lose(Slowness::FirstToken, at(0.0));
        rank.start(1, at(31.0));
        assert!(rank.is_lost(at(32.0)));
        rank.release(2);
        assert!(rank.is_lost(at(32.0)));
        rank.release(1);
        assert!(!rank.is_lost(at(32.0)));
    }

    #[test]
    fn after_an_hour_what_was_slow_is_usual() {
        let mut rank = Rank::new();
        rank.lose(Slowness::FirstToken, at(0.0));
        let mut now = 0.0;
        let forgotten = (0..100).find(|_| {
            now += 300.0;
            assert!(!rank.is_lost(at(now)));
            rank.judge(false, false, at(now)) == Judged::UsualNow
        });
        assert!(forgotten.is_some() && rank.is_usual());
        assert!((3_600.0..4_200.0).contains(&now), "{now}");
    }
}
