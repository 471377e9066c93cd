//! What rules know of one target's ended calls: how many ended how, when the last did, and since when its credentials
//! are rate limited. Kept only of targets that a rule reads.
//!
//! A call counts when it ends: a stream at its end, a refusal at once. A call that its caller gave up does not count.

use crate::class_window::{ClassWindow, is_about_target};
use crate::eval::Counts;
use canon::{Fault, FaultClass, Instant};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Most credentials of a target that are told apart; a pool has a handful.
const MOST_CREDENTIALS: usize = 256;

/// One target's ended calls. After a reload the tally of the same target goes on: see [`Tally::adopt`].
#[derive(Debug, Default)]
pub struct Tally {
    inner: OnceLock<Arc<Mutex<Inner>>>,
}

#[derive(Debug, Default)]
struct Inner {
    window: Box<ClassWindow>,
    last_heard: Option<Instant>,
    /// First 429 without a success since, by credential.
    limited: Vec<(String, Instant)>,
}

impl Inner {
    /// The credential is not limited any longer.
    fn free(&mut self, credential: &str) {
        self.limited.retain(|(id, _)| id != credential);
    }
}

impl Tally {
    /// Goes on with what another one knows, and shares it from now on. Only before anything was added.
    pub fn adopt(&self, known: &Self) {
        let _first = self.inner.set(Arc::clone(known.get()));
    }

    /// A call with this credential ended; `None` = with its whole answer.
    pub fn ended(&self, credential: &str, fault: Option<&Fault>, now: Instant) {
        let mut inner = self.lock();
        inner.window.add(fault, now);
        inner.last_heard = Some(now);
        match fault {
            None => inner.free(credential),
            Some(fault) if fault.class == FaultClass::RateLimited && is_about_target(fault) => {
                let is_known = inner.limited.iter().any(|(id, _)| id == credential);
                if !is_known && inner.limited.len() < MOST_CREDENTIALS {
                    inner.limited.push((credential.to_owned(), now));
                }
            }
            Some(_) => {}
        }
    }

    /// A call with this credential got the first of its answer.
    pub fn answered(&self, credential: &str, now: Instant) {
        let mut inner = self.lock();
        inner.last_heard = Some(now);
        inner.free(credential);
    }

    /// When a call ended last, or got the first of its answer.
    pub fn last_heard(&self) -> Option<Instant> {
        self.lock().last_heard
    }

    /// Calls that ended within `window` (1 s to 1 h, right to an eighth) before `now`, and how many of them with a
    /// fault of this class (`None` = any but the caller's and the request's own).
    pub fn within(&self, class: Option<FaultClass>, window: Duration, now: Instant) -> Counts {
        self.lock().window.within(class, window, now)
    }

    /// For how long every one of these credentials has been rate limited: since the first 429 that no success has
    /// followed. Zero while one of them is free of it; `None` without a credential.
    pub fn rate_limited_for<'c>(&self, credentials: impl Iterator<Item = &'c str>, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let of_one = |credential: &str| {
            let known = inner.limited.iter().find(|(id, _)| id == credential);
            known.map_or(Duration::ZERO, |(_, since)| now.saturating_since(*since))
        };
        credentials.map(of_one).min()
    }

    fn get(&self) -> &Arc<Mutex<Inner>> {
        self.inner.get_or_init(Arc::default)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::{Origin, Scope};

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn limit() -> Fault {
        Fault::new(FaultClass::RateLimited, Origin::Head, "")
    }

    fn limited_for(tally: &Tally, credentials: &[&str], now: u64) -> Option<u64> {
        tally.rate_limited_for(credentials.iter().copied(), at(now)).map(|it| it.as_secs())
    }

    #[test]
    fn a_target_is_rate_limited_since_the_first_429_until_a_success() {
        let tally = Tally::default();
        assert_eq!(limited_for(&tally, &["a"], 1), Some(0));
        tally.ended("a", Some(&limit()), at(5));
        tally.ended("a", Some(&limit()), at(9));
        assert_eq!(limited_for(&tally, &["a"], 10), Some(5));
        tally.ended("a", None, at(11));
        assert_eq!(limited_for(&tally, &["a"], 12), Some(0));
    }

    #[test]
    fn it_is_limited_as_long_as_the_least_limited_of_its_usable_credentials() {
        let tally = Tally::default();
        tally.ended("a", Some(&limit()), at(5));
        assert_eq!(limited_for(&tally, &["a", "b"], 10), Some(0), "b is free");
        tally.ended("b", Some(&limit()), at(8));
        assert_eq!(limited_for(&tally, &["a", "b"], 10), Some(2));
        assert_eq!(limited_for(&tally, &["a"], 10), Some(5), "b is not usable");
        assert_eq!(limited_for(&tally, &[], 10), None);
    }

    #[test]
    fn a_limit_that_one_request_is_too_large_for_limits_nobody_else() {
        let tally = Tally::default();
        tally.ended("a", Some(&Fault { scope: Scope::Request, ..limit() }), at(5));
        assert_eq!(limited_for(&tally, &["a"], 10), Some(0));
    }

    #[test]
    fn a_tally_that_adopts_another_shares_what_either_learns() {
        let (old, new) = (Tally::default(), Tally::default());
        old.ended("a", Some(&limit()), at(1));
        new.adopt(&old);
        old.ended("a", Some(&limit()), at(2));
        let counts = new.within(Some(FaultClass::RateLimited), Duration::from_secs(60), at(3));
        assert_eq!(counts, Counts { all: 2, of_class: 2 });
        assert_eq!(new.last_heard(), Some(at(2)));
    }
}
