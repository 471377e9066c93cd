//! How fast a stream comes, against how fast its target usually answers.

use routing::Target;
use std::time::Duration;

/// Slower than this part of the usual speed for [`WINDOW`] is a fault.
const HALF: u32 = 2;
/// Time spent waiting for the provider over which speed is measured.
const WINDOW: Duration = Duration::from_secs(10);
/// The window moves in steps of this length.
const STEP: Duration = Duration::from_secs(1);
const STEPS: usize = 10;
/// A stream shorter than this says nothing about a pace.
const TELLING: u64 = 16;

/// About a second of waiting. Small, as every open stream has ten.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    waited_us: u32,
    events: u32,
}

impl Step {
    fn waited(self) -> Duration {
        Duration::from_micros(u64::from(self.waited_us))
    }
}

/// Measures one stream. Time in which the caller was waited for is not in it.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The usual time between two events; `None` = unknown, nothing is too slow.
    usual: Option<Duration>,
    steps: [Step; STEPS],
    at: usize,
    waited: Duration,
    events: u64,
    first: Option<u64>,
}

impl Pace {
    /// For a stream of this target.
    pub(crate) fn of(target: Option<&Target>) -> Self {
        Self {
            usual: target.and_then(|target| target.health.usual_pace()),
            steps: [Step::default(); STEPS],
            at: 0,
            waited: Duration::ZERO,
            events: 0,
            first: None,
        }
    }

    /// A token came after waiting `gap` for it; `events` = events so far. Returns whether the stream is too slow.
    pub(crate) fn token(&mut self, gap: Duration, events: u64) -> bool {
        let new = events.saturating_sub(self.events);
        self.events = events;
        self.first.get_or_insert(events);
        self.waited += gap;
        let Some(step) = self.steps.get_mut(self.at) else { return false };
        step.waited_us = step.waited_us.saturating_add(u32::try_from(gap.as_micros()).unwrap_or(u32::MAX));
        step.events = step.events.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        if step.waited() < STEP {
            return false;
        }
        let slow = self.is_slow();
        self.at = (self.at + 1) % STEPS;
        if let Some(next) = self.steps.get_mut(self.at) {
            *next = Step::default();
        }
        slow
    }

    fn is_slow(&self) -> bool {
        let Some(usual) = self.usual else { return false };
        let (waited, events) = self.steps.iter().fold((Duration::ZERO, 0.0), |(waited, events), step| {
            (waited + step.waited(), events + f64::from(step.events))
        });
        waited >= WINDOW && usual.saturating_mul(HALF).as_secs_f64() * events < waited.as_secs_f64()
    }

    /// The mean time between two events of a stream that has ended after `events`; `None` = too short to tell.
    pub(crate) fn mean(&self, events: u64) -> Option<Duration> {
        let counted = events.saturating_sub(self.first?);
        (counted >= TELLING).then(|| self.waited.div_f64(counted as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(usual_ms: u64) -> Pace {
        Pace { usual: Some(Duration::from_millis(usual_ms)), ..Pace::of(None) }
    }

    /// Seconds until a stream with this gap is found too slow.
    fn found(pace: &mut Pace, gap_ms: u64, limit: Duration) -> Option<Duration> {
        let gap = Duration::from_millis(gap_ms);
        let mut passed = Duration::ZERO;
        for events in 1.. {
            passed += gap;
            if pace.token(gap, events) {
                return Some(passed);
            }
            if passed >= limit {
                break;
            }
        }
        None
    }

    #[test]
    fn less_than_half_speed_for_ten_seconds_is_too_slow() {
        let minute = Duration::from_secs(60);
        let found_after = found(&mut pace(50), 120, minute).expect("too slow");
        assert!((10.0..11.5).contains(&found_after.as_secs_f64()), "{found_after:?}");
        assert_eq!(found(&mut pace(50), 90, minute), None);
        assert_eq!(found(&mut Pace::of(None), 5_000, minute), None, "nothing is known of its speed");
    }

    #[test]
    fn a_stream_that_slows_down_is_found_within_the_window() {
        let mut pace = pace(50);
        assert_eq!(found(&mut pace, 50, Duration::from_secs(30)), None);
        let slow = found(&mut pace, 200, Duration::from_secs(60)).expect("too slow");
        assert!(slow < Duration::from_secs(11), "{slow:?}");
    }

    #[test]
    fn what_a_stream_took_a_token_is_its_pace() {
        let mut pace = Pace::of(None);
        found(&mut pace, 40, Duration::from_secs(2));
        assert_eq!(pace.mean(50).map(|mean| mean.as_millis() / 10), Some(4));
        assert_eq!(pace.mean(10), None, "too short to tell");
    }
}
