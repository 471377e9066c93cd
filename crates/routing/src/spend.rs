//! What a target has cost lately, against what it may cost.
//!
//! Money is taken in two steps: an attempt reserves the most it may cost when it starts, in one step with the check of
//! the limit, and settles it when the cost is known. So requests in flight together cannot exceed a limit that each of
//! them alone keeps. What never becomes known (a hang-up, a broken stream that may be billed) counts as what was
//! expected.

use canon::Instant;
use catalog::Usd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Slices of a window. It is covered by these and the one begun, so never less of it is summed up than it is long.
const SLICES: usize = 60;
/// Most windows of one target: every reload may bring another length, and the oldest are given up.
const MOST_WINDOWS: usize = 8;

/// At most so much within any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendLimit {
    /// The most.
    pub limit: Usd,
    /// The length.
    pub window: Duration,
}

/// What was spent on one target. Nothing is kept until somebody sets a limit.
#[derive(Debug, Default)]
pub struct Spending {
    is_watched: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    windows: Vec<SpendWindow>,
    /// The most that what is in flight may cost.
    reserved: Usd,
}

impl Spending {
    /// Sums up what is spent within this length of time from now on.
    pub fn watch(&self, window: Duration) {
        let mut books = self.lock();
        // Whoever asked last is the last to be given up.
        if let Some(place) = books.windows.iter().position(|known| known.length == window) {
            let known = books.windows.remove(place);
            books.windows.push(known);
            return;
        }
        if books.windows.len() >= MOST_WINDOWS {
            books.windows.remove(0);
        }
        books.windows.push(SpendWindow::new(window));
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// What was spent within the last such length of time, with what is in flight at the most it may cost.
    pub fn spent(&self, window: Duration, now: Instant) -> Usd {
        self.lock().spent(window, now)
    }

    /// Takes `amount` for an attempt that starts.
    ///
    /// # Errors
    /// What was spent already, where the limit does not allow it.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        amount: Usd,
        limit: Option<SpendLimit>,
        now: Instant,
    ) -> Result<Reservation, Usd> {
        let kept = self.is_watched.load(Ordering::Relaxed);
        if kept {
            let mut books = self.lock();
            if let Some(SpendLimit { limit, window }) = limit {
                let spent = books.spent(window, now);
                if spent.plus(amount) > limit {
                    return Err(spent);
                }
            }
            books.reserved = books.reserved.plus(amount);
        }
        let spending = kept.then(|| Arc::clone(self));
        Ok(Reservation { open: Mutex::new(spending), amount, expected: amount, started: now, has_begun: false })
    }

    /// Locks even after another thread panicked while holding the lock: the books are sums, each valid alone.
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn spent(&mut self, window: Duration, now: Instant) -> Usd {
        let known = self.windows.iter_mut().find(|known| known.length == window);
        known.map_or(Usd::ZERO, |known| known.spent(now)).plus(self.reserved)
    }
}

/// The most an attempt may cost. Dropped before the attempt has begun it is given back, dropped later what was expected
/// is spent.
#[derive(Debug)]
pub(crate) struct Reservation {
    open: Mutex<Option<Arc<Spending>>>,
    amount: Usd,
    expected: Usd,
    started: Instant,
    has_begun: bool,
}

impl Reservation {
    /// So much counts where the cost never becomes known, rather than the most it may be.
    pub(crate) fn expected(mut self, expected: Usd) -> Self {
        self.expected = expected;
        self
    }

    /// The attempt was started.
    pub(crate) fn begun(mut self) -> Self {
        self.has_begun = true;
        self
    }

    /// The cost is known; unknown it is what was expected.
    pub(crate) fn settle(&self, cost: Option<Usd>, now: Instant) {
        self.close(cost.unwrap_or(self.expected), now);
    }

    /// It cost nothing.
    pub(crate) fn release(&self) {
        self.close(Usd::ZERO, self.started);
    }

    fn close(&self, cost: Usd, now: Instant) {
        let Some(spending) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut books = spending.lock();
        books.reserved = books.reserved.minus(self.amount);
        for window in &mut books.windows {
            window.add(cost, now);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.has_begun {
            self.settle(None, self.started);
        } else {
            self.release();
        }
    }
}

/// What was spent in the slices of a window, and their sum.
#[derive(Debug)]
struct SpendWindow {
    length: Duration,
    slices: [Usd; SLICES + 1],
    /// Number of the latest slice, from the origin of time.
    latest: u64,
    sum: Usd,
}

impl SpendWindow {
    fn new(length: Duration) -> Self {
        Self { length, slices: [Usd::ZERO; SLICES + 1], latest: 0, sum: Usd::ZERO }
    }

    fn number(&self, at: Instant) -> u64 {
        let slice = (self.length.as_nanos() / SLICES as u128).max(1);
        u64::try_from(at.since_origin().as_nanos() / slice).unwrap_or(u64::MAX)
    }

    fn slot(&mut self, number: u64) -> Option<&mut Usd> {
        self.slices.get_mut(usize::try_from(number % (SLICES as u64 + 1)).ok()?)
    }

    /// Forgets the slices that have left the window.
    fn advance(&mut self, now: Instant) {
        let number = self.number(now);
        let gone = number.saturating_sub(self.latest).min(SLICES as u64 + 1);
        for step in 1..=gone {
            let emptied = self.slot(number - gone + step).map(std::mem::take).unwrap_or_default();
            self.sum = self.sum.minus(emptied);
        }
        self.latest = self.latest.max(number);
    }

    fn spent(&mut self, now: Instant) -> Usd {
        self.advance(now);
        self.sum
    }

    /// What is older than the window is not counted any more.
    fn add(&mut self, cost: Usd, at: Instant) {
        self.advance(at);
        let number = self.number(at);
        if self.latest - number > SLICES as u64 {
            return;
        }
        if let Some(slot) = self.slot(number) {
            *slot = slot.plus(cost);
            self.sum = self.sum.plus(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    /// Takes it under a limit of five dollars an hour.
    fn reserve(spending: &Arc<Spending>, amount: &str, now: Instant) -> Result<Reservation, Usd> {
        let limit = SpendLimit { limit: usd("5"), window: HOUR };
        spending.reserve(usd(amount), Some(limit), now)
    }

    fn usd(text: &str) -> Usd {
        Usd::parse(text).unwrap()
    }

    fn watched() -> Arc<Spending> {
        let spending = Arc::new(Spending::default());
        spending.watch(HOUR);
        spending
    }

    #[test]
    fn a_window_that_is_asked_for_again_outlives_those_that_are_not() {
        let spending = watched();
        for reload in 1..100 {
            spending.watch(HOUR);
            (1..4).for_each(|rule| spending.watch(Duration::from_secs(reload * 10 + rule)));
        }
        reserve(&spending, "3", at(0)).unwrap().begun().settle(None, at(0));
        assert_eq!(spending.spent(HOUR, at(0)), usd("3"));
    }

    #[test]
    fn what_is_in_flight_counts_before_it_is_paid() {
        let spending = watched();
        let first = reserve(&spending, "3", at(0)).unwrap().begun();
        assert_eq!(reserve(&spending, "3", at(0)).err(), Some(usd("3")));
        first.settle(Some(usd("1")), at(10));
        first.settle(Some(usd("1")), at(10));
        assert_eq!(spending.spent(HOUR, at(10)), usd("1"), "once");
        assert!(reserve(&spending, "4", at(10)).is_ok(), "to the last cent");
    }

    #[test]
    fn what_cost_nothing_is_given_back_and_what_nobody_knows_the_cost_of_is_spent() {
        let spending = watched();
        reserve(&spending, "3", at(0)).unwrap().begun().release();
        drop(reserve(&spending, "3", at(0)).unwrap());
        assert_eq!(spending.spent(HOUR, at(0)), Usd::ZERO);
        drop(reserve(&spending, "3", at(0)).unwrap().begun());
        assert_eq!(spending.spent(HOUR, at(3_599)), usd("3"));
        assert_eq!(spending.spent(HOUR, at(3_600 + 60)), Usd::ZERO);
    }

    #[test]
    fn what_is_in_flight_counts_at_the_most_it_may_cost_and_later_as_what_was_expected() {
        let spending = watched();
        let first = reserve(&spending, "3", at(0)).unwrap().expected(usd("1")).begun();
        assert_eq!(spending.spent(HOUR, at(0)), usd("3"));
        drop(first);
        assert_eq!(spending.spent(HOUR, at(0)), usd("1"));
    }

    #[test]
    fn an_idle_window_is_empty_whenever_it_is_read_again() {
        let spending = watched();
        for hours in [1, 2, 30, 31, 1_000] {
            drop(reserve(&spending, "3", at(hours * 3_661)).unwrap().begun());
            assert_eq!(spending.spent(HOUR, at(hours * 3_661)), usd("3"), "{hours}");
        }
    }

    proptest! {
        /// Whatever is spent when, no stretch of the window's length ever holds more than the limit.
        #[test]
        fn a_limit_is_never_exceeded(
            asked in proptest::collection::vec((0_u64..900, 1_u64..3_000, 0_u64..120, any::<bool>()), 1..80)
        ) {
            let spending = watched();
            let limit = SpendLimit { limit: Usd::from_pico(5_000), window: HOUR };
            let mut paid: Vec<(u64, u64)> = Vec::new();
            let mut clock = 0;
            for (pause, amount, lasts, is_known) in asked {
                clock += pause;
                let Ok(reserved) = spending.reserve(Usd::from_pico(amount), Some(limit), at(clock)) else { continue };
                clock += lasts;
                // Half of the most was expected, and what becomes known is the most.
                let cost = if is_known { amount } else { amount / 2 };
                let reserved = reserved.expected(Usd::from_pico(amount / 2)).begun();
                reserved.settle(is_known.then_some(Usd::from_pico(cost)), at(clock));
                paid.push((clock, cost));
                let within: u64 = paid.iter().filter(|(when, _)| *when + 3_600 > clock).map(|(_, cost)| cost).sum();
                prop_assert!(within <= 5_000, "{within} within an hour of {clock}");
            }
        }
    }
}
