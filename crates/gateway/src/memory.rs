//! One byte budget for everything the gateway holds: request bodies, transcripts, held events.
//!
//! Beyond it admission answers 503 with `retry-after`, so that a flood of large prompts sheds load instead of being
//! killed by the operating system.

use canon::{Fault, FaultClass, Origin, Scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    held: Arc<AtomicUsize>,
    limit: usize,
    /// The budget this one is a part of.
    whole: Option<Arc<ByteBudget>>,
    /// How often something did not fit.
    refused: Arc<AtomicUsize>,
}

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Held {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { held: Arc::new(AtomicUsize::new(0)), limit, whole: None, refused: Arc::default() }
    }

    /// A part of this budget that may hold at most `limit` bytes of it.
    pub fn part(&self, limit: usize) -> Self {
        Self { whole: Some(Arc::new(self.clone())), ..Self::new(limit) }
    }

    /// Bytes it may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How often something did not fit.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    fn try_hold(&self, more: usize) -> bool {
        let fits = |held: usize| held.checked_add(more).filter(|sum| *sum <= self.limit);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if self.whole.as_ref().is_none_or(|whole| whole.try_hold(more)) {
            return true;
        }
        self.held.fetch_sub(more, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }

    /// Takes `bytes`, or nothing when they do not fit.
    pub fn take(&self, bytes: usize) -> Option<Held> {
        let mut held = Held { budget: self.clone(), bytes: 0 };
        held.grow(bytes).then_some(held)
    }

    /// A share of nothing yet, to grow.
    pub fn nothing(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }

    /// Bytes held at the moment.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Takes `more` bytes; `false` = they do not fit and nothing was taken.
    pub fn grow(&mut self, more: usize) -> bool {
        let fits = self.budget.try_hold(more);
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Held {
    /// Gives back what is no longer held.
    pub fn give_back(&mut self, fewer: usize) {
        let fewer = fewer.min(self.bytes);
        self.bytes -= fewer;
        self.budget.give_back(fewer);
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives everything back.
    pub fn release(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.bytes));
    }

    /// Takes what is missing to `bytes` in all; `false` = it does not fit.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        match bytes.checked_sub(self.bytes) {
            Some(more) if more > 0 => self.grow(more),
            Some(_) | None => true,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The fault of an answer that the budget has no room for. It says nothing about the target.
pub(crate) fn no_room(class: FaultClass) -> Fault {
    let scope = Scope::Request;
    Fault { scope, ..Fault::new(class, Origin::Mainstay, "the gateway holds as many bytes as it may") }
}

/// A quarter of the memory this process may use: the smaller of the machine's and the control group's.
pub fn default_limit() -> usize {
    const FALLBACK: usize = 4 << 30;
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib.saturating_mul(1024))
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse::<usize>().ok());
    machine.unwrap_or(FALLBACK).min(group.unwrap_or(usize::MAX)) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_dropped_comes_back() {
        let budget = ByteBudget::new(10);
        let mut first = budget.take(6).expect("fits");
        assert!(budget.take(5).is_none());
        assert!(first.grow(4));
        assert!(!first.grow(1));
        drop(first);
        assert_eq!(budget.held(), 0);
        assert!(budget.take(10).is_some());
    }
}
