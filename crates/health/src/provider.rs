//! The evidence that a whole provider cannot be reached.
//!
//! One target that cannot be reached says nothing about the others. Only when at least two of a provider's targets
//! fail so, and none has answered since, are the others ranked below the targets of other providers; they are not
//! excluded, because a verdict over several targets rests on few samples.

use crate::lock;
use canon::Instant;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Evidence older than this is forgotten.
const MEMORY: Duration = Duration::from_secs(30);
/// One target may have its own trouble.
const SEVERAL: usize = 2;

/// One provider's.
#[derive(Debug, Default)]
pub struct ProviderHealth {
    /// Which targets could not be reached, and when last; emptied by the first answer from any of them.
    unreachable: Mutex<Vec<(String, Instant)>>,
    /// How many those are, so that who plans takes no lock where they are too few to say anything.
    count: AtomicUsize,
}

impl ProviderHealth {
    /// This target could not be reached.
    pub fn unreachable(&self, target: &str, now: Instant) {
        let mut targets = lock(&self.unreachable);
        match targets.iter_mut().find(|(id, _)| id == target) {
            Some((_, last)) => *last = now,
            None => targets.push((target.to_owned(), now)),
        }
        self.count.store(targets.len(), Ordering::Release);
    }

    /// Some target answered, whatever it said.
    pub fn answered(&self) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut targets = lock(&self.unreachable);
            targets.clear();
            self.count.store(0, Ordering::Release);
        }
    }

    /// Whether the provider as a whole seems unreachable.
    #[inline]
    pub fn is_unreachable(&self, now: Instant) -> bool {
        self.count.load(Ordering::Acquire) >= SEVERAL && self.are_several(now)
    }

    /// Whether that many are, of late.
    fn are_several(&self, now: Instant) -> bool {
        let mut targets = lock(&self.unreachable);
        targets.retain(|(_, last)| now.saturating_since(*last) < MEMORY);
        self.count.store(targets.len(), Ordering::Release);
        targets.len() >= SEVERAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn one_unreachable_target_does_not_condemn_its_provider() {
        let provider = ProviderHealth::default();
        (0..10).for_each(|i| provider.unreachable("p/a", at(i)));
        assert!(!provider.is_unreachable(at(10)));
    }

    #[test]
    fn two_do_until_one_answers_or_half_a_minute_passes() {
        let provider = ProviderHealth::default();
        provider.unreachable("p/a", at(0));
        provider.unreachable("p/b", at(1));
        assert!(provider.is_unreachable(at(2)));
        assert!(!provider.is_unreachable(at(31)));
        provider.unreachable("p/a", at(40));
        provider.unreachable("p/b", at(41));
        provider.answered();
        assert!(!provider.is_unreachable(at(41)));
    }
}
