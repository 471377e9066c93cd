//! How fast waiting requests are let go: at most as fast as a recovering target may be loaded.
//!
//! The unit is the model's usual load, the requests a second that came for it lately, outage included. A backlog that
//! grew at that rate drains only faster than it: full speed is four times the usual load. Of it a ramping target gets
//! its share, as its breaker says. A target that is back without a ramp (a parked key, a slot) begins at a twentieth,
//! doubled each second, so that what parked it is not repeated at once.

use canon::Instant;
use std::time::Duration;

/// Full speed, in usual loads.
const FULL: f64 = 4.0;
/// What a target without a ramp begins with.
const FIRST_SHARE: f64 = 0.05;
/// How long its share takes to double.
const DOUBLES: f64 = 1.0;
/// Requests a second, however little the usual load is.
const SLOWEST: f64 = 2.0;
/// How long an arrival counts towards the usual load.
const MEMORY: f64 = 30.0;
/// What is saved up while nobody is let go, in seconds of the pace.
const BURST: f64 = 0.01;

/// The pace of one model's queue.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Requests a second, decayed.
    load: f64,
    seen: Option<Instant>,
    /// Since when somebody can be let go without a break.
    open_since: Option<Instant>,
    saved: f64,
    counted: Option<Instant>,
}

impl Pace {
    /// A request came for the model.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.load = self.decayed(now) + 1.0 / MEMORY;
        self.seen = Some(now);
    }

    fn decayed(&self, now: Instant) -> f64 {
        let since = self.seen.map_or(0.0, |seen| now.saturating_since(seen).as_secs_f64());
        self.load * (-since / MEMORY).exp()
    }

    /// Nobody can be let go.
    pub(super) fn stuck(&mut self) {
        (self.open_since, self.counted, self.saved) = (None, None, 0.0);
    }

    /// Takes the right to let one go; else says how long it takes to come. `share` is the ramp's, 1 = no ramp.
    pub(super) fn take(&mut self, share: f64, now: Instant) -> Result<(), Duration> {
        let rate = self.rate(share, now);
        let since = self.counted.map_or(Duration::ZERO, |counted| now.saturating_since(counted));
        // The first is let go at once; what is saved up is bounded from there on.
        let most = (rate * BURST).max(1.0);
        self.saved = if self.counted.is_none() { 1.0 } else { (self.saved + since.as_secs_f64() * rate).min(most) };
        self.counted = Some(now);
        if self.saved >= 1.0 {
            self.saved -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.saved) / rate))
    }

    /// Requests a second that may go now.
    fn rate(&mut self, share: f64, now: Instant) -> f64 {
        let open_since = *self.open_since.get_or_insert(now);
        let share = if share < 1.0 {
            share
        } else {
            let open = now.saturating_since(open_since).as_secs_f64();
            (FIRST_SHARE * (open / DOUBLES).exp2()).min(1.0)
        };
        (self.decayed(now) * FULL * share).max(SLOWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    /// A minute of 50 requests a second.
    fn loaded() -> Pace {
        let mut pace = Pace::default();
        (0..3_000).for_each(|i| pace.arrived(at(i * 20)));
        pace
    }

    /// How many go in each second from 60 s on, at this share.
    fn let_go(pace: &mut Pace, seconds: u64, share: impl Fn(u64) -> f64) -> Vec<u32> {
        let mut per_second = vec![0; usize::try_from(seconds).unwrap()];
        for ms in 0..seconds * 1_000 {
            while pace.take(share(ms), at(60_000 + ms)).is_ok() {
                per_second[usize::try_from(ms / 1_000).unwrap()] += 1;
            }
        }
        per_second
    }

    #[test]
    fn a_ramping_target_gets_its_share_of_four_times_the_usual_load() {
        let mut pace = loaded();
        let went = let_go(&mut pace, 2, |_| 0.05);
        assert!((7..=10).contains(&went[1]), "{went:?}: a twentieth of four times 43");
        let went = let_go(&mut loaded(), 2, |_| 0.5);
        assert!((75..=90).contains(&went[1]), "{went:?}");
    }

    #[test]
    fn a_target_that_is_back_without_a_ramp_is_not_overrun_either() {
        let mut pace = loaded();
        let went = let_go(&mut pace, 6, |_| 1.0);
        assert!(went[0] < 20 && went[0] < went[1] && went[1] < went[2] && went[2] < went[3], "{went:?}");
        pace.stuck();
        let again = let_go(&mut pace, 1, |_| 1.0);
        assert!(again[0] < 20, "{again:?}: from the beginning");
    }

    #[test]
    fn little_load_is_let_go_at_two_a_second() {
        let went = let_go(&mut Pace::default(), 4, |_| 0.05);
        assert_eq!(went, [2, 2, 2, 2]);
    }

    #[test]
    fn the_usual_load_fades_when_nobody_comes() {
        let mut pace = loaded();
        assert!(pace.decayed(at(60_000)) > 40.0);
        assert!(pace.decayed(at(360_000)) < 0.01);
        pace.arrived(at(360_000));
        assert!(pace.load < 0.1);
    }
}
