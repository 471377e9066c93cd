//! What a rule remembers of what it measures, so that it does not flap once it has moved the traffic it measures.
//!
//! ```text
//!          true for `for`                   not true (or `until`) for `for`,
//!   off ────────────────────▶ on ────────────or nothing measured for a minute──▶ returning ──60 s──▶ off
//!    ▲                        ▲                                                     │
//!    │                        └──────────── true again on fresh evidence ───────────┘
//! ```
//!
//! A rule that moved the traffic away from what it measures sees no more of it. It cannot stay on for ever on old
//! numbers, and cannot give everything back at once on none. So it returns by a ramp: a growing share of the requests
//! is exempt from it, and what becomes of them is the fresh evidence that puts it back on or lets it go. The ramp's
//! clock stands still while the condition is true, and old evidence never puts a rule back on.
//!
//! A rule that measures nothing (the time of day) has no ramp.

use canon::Instant;
use std::time::Duration;

/// How long a return takes: that of a target's own ramp, as it is the same question that is asked of the target.
const RAMP: Duration = Duration::from_secs(60);
/// The share of requests a return begins with.
const FIRST_SHARE: f64 = 0.05;
/// Without a call to anything it measures for so long, a rule that is on begins to return.
const STALE: Duration = Duration::from_secs(60);

/// What a condition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is true.
    True,
    /// It is false.
    False,
    /// It cannot be told: too few samples, or an evaluation that failed.
    Unknown,
}

/// What is fixed of a latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatchSettings {
    /// How long the condition must hold before the rule is on, and must not hold before it is off again.
    pub hold: Duration,
    /// The rule measures targets, so that it returns by a ramp.
    pub measures: bool,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The condition.
    pub condition: Verdict,
    /// What ends it, where the rule says so.
    pub until: Option<Verdict>,
    /// When something was last heard of a call to anything that is measured.
    pub last_heard: Option<Instant>,
}

/// Whether the rule is on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hold {
    /// It is not.
    Off,
    /// For every request.
    On,
    /// It returns: for all but this share of the requests.
    Returning {
        /// From 0.05 to 1.
        exempt: f64,
    },
}

/// The memory of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latch {
    state: State,
    /// Evidence from before this was weighed already.
    weighed: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Off { true_since: Option<Instant> },
    On { since: Instant, over_since: Option<Instant> },
    Returning { progress: Duration, last: Instant, true_since: Option<Instant> },
}

impl Default for State {
    fn default() -> Self {
        Self::Off { true_since: None }
    }
}

impl Latch {
    /// Takes what is seen now, and says whether the rule is on.
    pub fn step(&mut self, settings: LatchSettings, seen: Seen, now: Instant) -> Hold {
        let is_fresh = !settings.measures
            || self.weighed.is_none_or(|weighed| seen.last_heard.is_some_and(|ended| ended > weighed));
        let is_true = seen.condition == Verdict::True && is_fresh;
        self.state = match self.state {
            State::Off { true_since } => match lasted(is_true, true_since, settings.hold, now) {
                Ok(()) => State::On { since: now, over_since: None },
                Err(true_since) => State::Off { true_since },
            },
            State::On { since, over_since } => {
                let is_over = is_over(seen, settings.measures, since, now);
                match lasted(is_over, over_since, settings.hold, now) {
                    Ok(()) if settings.measures => {
                        self.weighed = Some(now);
                        State::Returning { progress: Duration::ZERO, last: now, true_since: None }
                    }
                    Ok(()) => State::Off { true_since: None },
                    Err(over_since) => State::On { since, over_since },
                }
            }
            State::Returning { progress, last, true_since } => match lasted(is_true, true_since, settings.hold, now) {
                Ok(()) => State::On { since: now, over_since: None },
                Err(true_since) => {
                    let healthy = if is_true { Duration::ZERO } else { now.saturating_since(last) };
                    let progress = progress + healthy;
                    if progress >= RAMP {
                        State::Off { true_since: None }
                    } else {
                        State::Returning { progress, last: now.max(last), true_since }
                    }
                }
            },
        };
        self.hold()
    }

    /// Whether the rule is on, as of the last step.
    pub fn hold(&self) -> Hold {
        match self.state {
            State::Off { .. } => Hold::Off,
            State::On { .. } => Hold::On,
            State::Returning { progress, .. } => {
                let share = progress.as_secs_f64() / RAMP.as_secs_f64();
                Hold::Returning { exempt: share.clamp(FIRST_SHARE, 1.0) }
            }
        }
    }
}

/// Whether something has been so for `hold` now; else since when it is.
fn lasted(is_so: bool, since: Option<Instant>, hold: Duration, now: Instant) -> Result<(), Option<Instant>> {
    if !is_so {
        return Err(None);
    }
    let since = since.unwrap_or(now);
    if now.saturating_since(since) >= hold { Ok(()) } else { Err(Some(since)) }
}

/// Whether a rule that is on has no reason to stay so.
fn is_over(seen: Seen, measures: bool, since: Instant, now: Instant) -> bool {
    let last = seen.last_heard.unwrap_or(since).max(since);
    let is_stale = measures && now.saturating_since(last) >= STALE;
    let ended = match seen.until {
        Some(Verdict::True) => true,
        Some(Verdict::False) => false,
        // What ends it cannot be told any longer, and neither can what it is on for.
        Some(Verdict::Unknown) | None => seen.condition != Verdict::True,
    };
    ended || is_stale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    const MEASURING: LatchSettings = LatchSettings { hold: Duration::ZERO, measures: true };

    fn seen(condition: Verdict, last_heard: f64) -> Seen {
        Seen { condition, until: None, last_heard: Some(at(last_heard)) }
    }

    #[test]
    fn a_condition_must_hold_for_its_time_without_a_break() {
        let settings = LatchSettings { hold: Duration::from_secs(10), measures: true };
        let mut latch = Latch::default();
        assert_eq!(latch.step(settings, seen(Verdict::True, 0.0), at(0.0)), Hold::Off);
        assert_eq!(latch.step(settings, seen(Verdict::False, 9.0), at(9.0)), Hold::Off);
        assert_eq!(latch.step(settings, seen(Verdict::True, 10.0), at(10.0)), Hold::Off);
        assert_eq!(latch.step(settings, seen(Verdict::True, 19.9), at(19.9)), Hold::Off);
        assert_eq!(latch.step(settings, seen(Verdict::True, 20.0), at(20.0)), Hold::On);
    }

    #[test]
    fn a_return_begins_with_a_twentieth_and_takes_a_minute() {
        let mut latch = Latch::default();
        latch.step(MEASURING, seen(Verdict::True, 0.0), at(0.0));
        assert_eq!(latch.step(MEASURING, seen(Verdict::False, 1.0), at(1.0)), Hold::Returning { exempt: 0.05 });
        assert_eq!(latch.step(MEASURING, seen(Verdict::False, 30.0), at(31.0)), Hold::Returning { exempt: 0.5 });
        assert_eq!(latch.step(MEASURING, seen(Verdict::False, 60.0), at(61.0)), Hold::Off);
    }

    #[test]
    fn until_keeps_a_rule_on_although_its_condition_is_no_longer_true() {
        let mut latch = Latch::default();
        let with = |condition, until, now| Seen { until: Some(until), ..seen(condition, now) };
        latch.step(MEASURING, with(Verdict::True, Verdict::False, 0.0), at(0.0));
        assert_eq!(latch.step(MEASURING, with(Verdict::False, Verdict::False, 30.0), at(30.0)), Hold::On);
        let returning = latch.step(MEASURING, with(Verdict::False, Verdict::True, 31.0), at(31.0));
        assert!(matches!(returning, Hold::Returning { .. }));
    }

    #[test]
    fn a_rule_that_sees_nothing_more_of_what_it_measures_returns_and_is_not_put_back_on_by_old_numbers() {
        let mut latch = Latch::default();
        latch.step(MEASURING, seen(Verdict::True, 0.0), at(0.0));
        assert_eq!(latch.step(MEASURING, seen(Verdict::True, 0.0), at(59.0)), Hold::On);
        assert!(matches!(latch.step(MEASURING, seen(Verdict::True, 0.0), at(60.0)), Hold::Returning { .. }));
        assert!(matches!(latch.step(MEASURING, seen(Verdict::True, 0.0), at(90.0)), Hold::Returning { .. }));
        assert_eq!(latch.step(MEASURING, seen(Verdict::True, 90.5), at(91.0)), Hold::On, "fresh evidence");
    }

    #[test]
    fn old_numbers_do_not_put_it_back_on_after_the_return_either() {
        let mut latch = Latch::default();
        for now in [0.0, 60.0, 121.0, 122.0] {
            latch.step(MEASURING, seen(Verdict::True, 0.0), at(now));
        }
        assert_eq!(latch.hold(), Hold::Off);
    }

    #[test]
    fn a_return_stands_still_while_the_condition_is_true_again() {
        let settings = LatchSettings { hold: Duration::from_secs(10), measures: true };
        let mut latch = Latch::default();
        latch.step(settings, seen(Verdict::True, 0.0), at(0.0));
        latch.step(settings, seen(Verdict::True, 10.0), at(10.0));
        latch.step(settings, seen(Verdict::False, 20.0), at(20.0));
        latch.step(settings, seen(Verdict::False, 30.0), at(30.0));
        let before = latch.step(settings, seen(Verdict::False, 45.0), at(45.0));
        assert_eq!(latch.step(settings, seen(Verdict::True, 54.0), at(54.0)), before);
        assert_eq!(latch.step(settings, seen(Verdict::True, 64.0), at(64.0)), Hold::On);
    }

    #[test]
    fn a_rule_that_measures_nothing_goes_off_at_once() {
        let settings = LatchSettings { hold: Duration::ZERO, measures: false };
        let mut latch = Latch::default();
        let seen = |condition| Seen { condition, until: None, last_heard: None };
        assert_eq!(latch.step(settings, seen(Verdict::True), at(0.0)), Hold::On);
        assert_eq!(latch.step(settings, seen(Verdict::True), at(600.0)), Hold::On);
        assert_eq!(latch.step(settings, seen(Verdict::False), at(601.0)), Hold::Off);
        assert_eq!(latch.step(settings, seen(Verdict::True), at(602.0)), Hold::On);
    }
}
