//! Errors by the size of the prompt: a target that fails long prompts alone is left for long prompts alone.
//!
//! A failure is the target's, unless the smallest prompts that it was lately sent are answered: then it is its size's,
//! which gets a breaker of its own, and a rank. The breaker of the whole target hears nothing of it, so that short
//! prompts stay. An outage of everything that begins with a long prompt costs no time: the first small one that fails
//! brings what was put down to size since the last small answer back to the target.
//!
//! What belongs to a size is made when it is needed: most targets never fail by size.

use crate::BreakerSettings;
use crate::breaker::Breaker;
use crate::rank::Rank;
use crate::size::PromptSize;
use canon::Instant;
use std::time::Duration;

/// Latest ends of a size that say how it is.
const LATEST: u8 = 4;
/// Older ends say nothing.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// How the latest calls of one size ended.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// The newest is the lowest bit; set = failed.
    failed: u8,
    known: u8,
    at: Instant,
}

/// What a size of prompts has of its own.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) breaker: Breaker,
    pub(crate) rank: Rank,
}

/// The sizes of prompts of one target.
#[derive(Debug)]
pub(crate) struct Sizes {
    ends: [Ends; PromptSize::CLASSES],
    own: [Option<Box<Own>>; PromptSize::CLASSES],
    /// Failures that were put down to size since the smallest prompts were last answered.
    held: u32,
}

impl Sizes {
    pub(crate) fn new() -> Self {
        let ends = Ends { failed: 0, known: 0, at: Instant::ORIGIN };
        Self { ends: [ends; PromptSize::CLASSES], own: [const { None }; PromptSize::CLASSES], held: 0 }
    }

    /// What the size has of its own, if anything.
    pub(crate) fn get(&mut self, size: PromptSize) -> Option<&mut Own> {
        self.own.get_mut(size.index())?.as_deref_mut()
    }

    /// What the size has of its own, made like the target's if need be.
    pub(crate) fn make(&mut self, size: PromptSize, like: &mut Breaker) -> Option<&mut Own> {
        let own = self.own.get_mut(size.index())?;
        Some(own.get_or_insert_with(|| Box::new(Own { breaker: like.sibling(), rank: Rank::new() })))
    }

    fn all(&self) -> impl Iterator<Item = &Own> {
        self.own.iter().flatten().map(Box::as_ref)
    }

    /// Nothing is wrong with any size.
    pub(crate) fn are_well(&self) -> bool {
        self.all().all(|own| own.breaker.is_well() && own.rank.is_usual())
    }

    pub(crate) fn configure(&mut self, settings: &BreakerSettings) {
        self.own.iter_mut().flatten().for_each(|own| own.breaker.configure(settings));
    }

    /// The smallest prompts that it was lately sent.
    fn smallest(&self, now: Instant) -> Option<usize> {
        self.ends.iter().position(|ends| ends.known > 0 && now.saturating_since(ends.at) < MEMORY)
    }

    /// A call was answered.
    pub(crate) fn answered(&mut self, size: PromptSize, now: Instant) {
        self.push(size, false, now);
        if self.smallest(now) == Some(size.index()) {
            self.held = 0;
        }
    }

    /// A call failed. Whether that is put down to its size.
    pub(crate) fn failed(&mut self, size: PromptSize, now: Instant) -> bool {
        let smaller = self.smallest(now).filter(|smallest| *smallest < size.index());
        let is_of_size = smaller.and_then(|smaller| self.ends.get(smaller)).is_some_and(|ends| ends.failed == 0);
        self.push(size, true, now);
        self.held = if is_of_size { self.held.saturating_add(1) } else { self.held };
        is_of_size
    }

    /// What was put down to size, and is not any more.
    pub(crate) fn take_held(&mut self) -> u32 {
        std::mem::take(&mut self.held)
    }

    fn push(&mut self, size: PromptSize, failed: bool, now: Instant) {
        if let Some(ends) = self.ends.get_mut(size.index()) {
            let failed = ends.failed << 1 | u8::from(failed);
            *ends = Ends { failed: failed & ((1 << LATEST) - 1), known: (ends.known + 1).min(LATEST), at: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_targets_that_fail_by_every_size_take_less_than_sixteen_megabytes_for_it() {
        let of_one = size_of::<Sizes>() + (PromptSize::CLASSES - 1) * size_of::<Own>();
        assert!(of_one * 1_000 < 16 << 20, "{of_one} bytes each");
        assert!(size_of::<Sizes>() <= 256, "{} bytes where none fails", size_of::<Sizes>());
    }
}
