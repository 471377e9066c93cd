//! What routing has learned of money: how long answers are, how much of a prompt is read from a cache, and what a
//! target has cost; how quick it is; and where conversations stand.
//!
//! [`Ledger`] is the process-wide register, by stable ids, so that a reload of the configuration forgets nothing.

use crate::cost::Typical;
use crate::objectives::Judges;
use crate::speed::{Speed, Usual};
use crate::{HedgeBudget, Judge, Near, Objectives, Pins, Spending};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Samples a mean is an even mean of; from then on the latest has this share of it.
const SAMPLES: u64 = 16;
/// Samples before a mean means anything.
const KNOWN: u64 = 8;
/// Fractions a mean is kept in.
const SCALE: u64 = 256;
/// Bits of the count beside a mean.
const COUNT_BITS: u32 = 8;

/// Locks even after another thread panicked while holding the lock: the state is a set of sums, each valid alone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The register.
#[derive(Debug, Default)]
pub struct Ledger {
    targets: Mutex<HashMap<String, Arc<TargetLedger>>>,
    models: Mutex<HashMap<String, Arc<ModelLedger>>>,
    usual: Arc<Usual>,
}

impl Ledger {
    /// What is known of a target, by its id.
    pub fn target(&self, id: &str) -> Arc<TargetLedger> {
        let fresh = || TargetLedger { speed: Speed::beside(self.usual.clone()), ..TargetLedger::default() };
        get_or(&self.targets, id, fresh)
    }

    /// What is known of a logical model, by its name.
    pub fn model(&self, name: &str) -> Arc<ModelLedger> {
        get_or(&self.models, name, ModelLedger::default)
    }
}

fn get_or<T>(map: &Mutex<HashMap<String, Arc<T>>>, id: &str, fresh: impl FnOnce() -> T) -> Arc<T> {
    let mut map = lock(map);
    if let Some(known) = map.get(id) {
        return Arc::clone(known);
    }
    let fresh = Arc::new(fresh());
    map.insert(id.to_owned(), Arc::clone(&fresh));
    fresh
}

/// A mean of the latest samples, whole numbers alone. Count and mean are one word, so that neither is read without the
/// other.
#[derive(Debug, Default)]
pub(crate) struct Mean(AtomicU64);

impl Mean {
    fn add(&self, sample: u64) {
        self.add_over(sample, SAMPLES);
    }

    /// With this many samples it is an even mean; from then on the latest has this part of it. At most 255.
    pub(crate) fn add_over(&self, sample: u64, samples: u64) {
        let sample = sample.saturating_mul(SCALE).min(u64::MAX >> COUNT_BITS);
        let next = |word: u64| {
            let (mean, count) = (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1));
            let count = (count + 1).min(samples);
            let mean = if sample >= mean { mean + (sample - mean) / count } else { mean - (mean - sample) / count };
            Some(mean << COUNT_BITS | count)
        };
        let _changed = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    pub(crate) fn get(&self) -> Option<u64> {
        let word = self.0.load(Ordering::Relaxed);
        (word & ((1 << COUNT_BITS) - 1) >= KNOWN).then_some((word >> COUNT_BITS) / SCALE)
    }
}

/// What is known of a logical model.
#[derive(Debug, Default)]
pub struct ModelLedger {
    output: Mean,
    near: Arc<Near>,
    /// What its requests cost.
    pub(crate) typical: Typical,
    /// Where its conversations stand. A target is known by its books, which a reload leaves where they are.
    pub pins: Pins<Arc<TargetLedger>>,
    /// What its hedges may cost.
    pub hedges: HedgeBudget,
}

impl ModelLedger {
    /// Which region is the nearest.
    pub fn near(&self) -> Arc<Near> {
        Arc::clone(&self.near)
    }

    /// An answer was so many tokens long.
    pub fn observe_output(&self, tokens: u64) {
        self.output.add(tokens);
    }

    /// Tokens of its usual answer, reasoning included; `None` until enough answers were complete.
    pub fn usual_output(&self) -> Option<u64> {
        self.output.get()
    }
}

/// What is known of a target.
#[derive(Debug, Default)]
pub struct TargetLedger {
    cached_per_mille: Mean,
    /// How quick it is beside others.
    pub(crate) speed: Speed,
    /// Whether it meets what models ask of it.
    pub(crate) judges: Judges,
    /// What it has cost lately.
    pub spending: Arc<Spending>,
}

impl TargetLedger {
    /// Whether it meets these objectives is judged from now on, while somebody holds the judge.
    pub fn judge(&self, objectives: Objectives) -> Arc<Judge> {
        self.judges.of(objectives)
    }

    /// So much of a prompt was read from the cache.
    pub fn observe_cached(&self, cached: u64, input: u64) {
        if let Some(share) = cached.saturating_mul(1_000).checked_div(input) {
            self.cached_per_mille.add(share.min(1_000));
        }
    }

    /// How much of a prompt of so many tokens is usually read from the cache.
    pub fn usually_cached(&self, input: u64) -> u64 {
        self.cached_per_mille.get().map_or(0, |share| input.saturating_mul(share) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_unknown_until_there_are_samples_and_follows_the_latest_after() {
        let ledger = Ledger::default().model("chat");
        (0..7).for_each(|_| ledger.observe_output(100));
        assert_eq!(ledger.usual_output(), None);
        ledger.observe_output(100);
        assert_eq!(ledger.usual_output(), Some(100));
        (0..100).for_each(|_| ledger.observe_output(1_000));
        assert!(ledger.usual_output().unwrap() > 950);
    }

    #[test]
    fn the_same_id_finds_the_same_books() {
        let ledger = Ledger::default();
        (0..8).for_each(|_| ledger.target("p/m").observe_cached(900, 1_000));
        assert_eq!(ledger.target("p/m").usually_cached(10_000), 9_000);
        assert_eq!(ledger.target("p/n").usually_cached(10_000), 0);
    }
}
