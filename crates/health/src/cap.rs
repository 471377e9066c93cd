//! A number of calls in flight that is felt: each 429 and 529 lowers it by three tenths, answers raise it by one at a
//! time (additive increase, multiplicative decrease), and without either for ten minutes it is nobody's concern.

use canon::Instant;
use std::time::Duration;

/// What is left of the number in flight after a 429 or 529.
const BACK_OFF: f64 = 0.7;
/// News of the same overload: calls that were in flight together are answered within this.
const SAME_NEWS: Duration = Duration::from_secs(2);
/// Without a 429 or 529 for this long the number in flight is nobody's concern.
const LIFTED: Duration = Duration::from_secs(10 * 60);

/// How many calls may be in flight, as far as that was felt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cap(Option<Felt>);

#[derive(Debug, Clone, Copy)]
struct Felt {
    most: f64,
    lowered: Instant,
}

impl Cap {
    fn felt(self, now: Instant) -> Option<Felt> {
        self.0.filter(|felt| now.saturating_since(felt.lowered) < LIFTED)
    }

    /// Most that may be in flight now; `None` = nothing was felt lately.
    pub(crate) fn most(self, now: Instant) -> Option<f64> {
        self.felt(now).map(|felt| felt.most.max(1.0))
    }

    /// A 429 or a 529: so many at once were too many, the one that says so included.
    pub(crate) fn overloaded(&mut self, in_flight: u32, now: Instant) {
        let known = self.felt(now);
        if known.is_some_and(|felt| now.saturating_since(felt.lowered) < SAME_NEWS) {
            return;
        }
        let in_flight = f64::from(in_flight);
        let most = known.map_or(in_flight, |felt| felt.most.min(in_flight));
        self.0 = Some(Felt { most: (most * BACK_OFF).max(1.0), lowered: now });
    }

    /// An answer, with so many in flight.
    pub(crate) fn answered(&mut self, in_flight: u32) {
        // A number that is not used says nothing about whether it could be higher.
        if let Some(felt) = self.0.as_mut().filter(|felt| f64::from(in_flight) >= felt.most / 2.0) {
            felt.most += 1.0 / felt.most;
        }
    }
}
