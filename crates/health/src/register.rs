//! The process-wide register of everything health knows, by stable ids.

use crate::{
    Bound, BreakerSettings, Concurrency, CredentialHealth, PanicGate, ProviderHealth, RetryBudget, TargetHealth, lock,
};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// Get-or-create by id. A reload of the configuration asks again for the same ids and finds the same state.
#[derive(Debug)]
pub struct Health {
    seed: u64,
    targets: Mutex<HashMap<String, Arc<TargetHealth>>>,
    credentials: Mutex<HashMap<String, Arc<CredentialHealth>>>,
    providers: Mutex<HashMap<String, Arc<ProviderHealth>>>,
    bounds: Mutex<HashMap<String, Arc<Bound>>>,
    budgets: Mutex<HashMap<String, Arc<RetryBudget>>>,
    gates: Mutex<HashMap<String, Arc<PanicGate>>>,
}

impl Health {
    /// An empty register. Every breaker's jitter follows from `seed` and its id.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            targets: Mutex::default(),
            credentials: Mutex::default(),
            providers: Mutex::default(),
            bounds: Mutex::default(),
            budgets: Mutex::default(),
            gates: Mutex::default(),
        }
    }

    /// The health of a target. New settings reach a target that is already known; its state stays.
    pub fn target(&self, id: &str, settings: &BreakerSettings) -> Arc<TargetHealth> {
        let mut targets = lock(&self.targets);
        if let Some(target) = targets.get(id) {
            target.configure(settings);
            return Arc::clone(target);
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, id).hash(&mut hasher);
        let target = Arc::new(TargetHealth::new(id, settings, hasher.finish()));
        targets.insert(id.to_owned(), Arc::clone(&target));
        target
    }

    /// The health of a credential. The id must not be the secret itself.
    pub fn credential(&self, id: &str) -> Arc<CredentialHealth> {
        get_or_default(&self.credentials, id)
    }

    /// The evidence about a provider as a whole.
    pub fn provider(&self, name: &str) -> Arc<ProviderHealth> {
        get_or_default(&self.providers, name)
    }

    /// What bounds the calls of a target in flight: what was found out stays as long as the same is stated.
    pub fn bound(&self, id: &str, stated: Concurrency) -> Arc<Bound> {
        let mut bounds = lock(&self.bounds);
        if let Some(known) = bounds.get(id).filter(|known| known.stated() == stated) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Bound::new(stated));
        bounds.insert(id.to_owned(), Arc::clone(&fresh));
        fresh
    }

    /// The retry budget of a logical model.
    pub fn budget(&self, model: &str) -> Arc<RetryBudget> {
        get_or_default(&self.budgets, model)
    }

    /// The panic gate of a logical model.
    pub fn panic_gate(&self, model: &str) -> Arc<PanicGate> {
        get_or_default(&self.gates, model)
    }
}

fn get_or_default<T: Default>(map: &Mutex<HashMap<String, Arc<T>>>, id: &str) -> Arc<T> {
    let mut map = lock(map);
    if let Some(known) = map.get(id) {
        return Arc::clone(known);
    }
    let fresh = Arc::new(T::default());
    map.insert(id.to_owned(), Arc::clone(&fresh));
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_finds_the_same_state() {
        let health = Health::new(1);
        let settings = BreakerSettings::default();
        assert!(Arc::ptr_eq(&health.target("p/m", &settings), &health.target("p/m", &settings)));
        assert!(Arc::ptr_eq(&health.credential("k"), &health.credential("k")));
        assert!(!Arc::ptr_eq(&health.budget("a"), &health.budget("b")));
    }
}
