//! The target that a share of a model's requests is copied to. Its answers go to nobody.
//!
//! It is a model of its own with one target: breaker, speeds, limits, credentials' parks and accounts are kept apart
//! from those that callers use, so that a copy can harm nobody's path, and its target is judged by copies alone.

use crate::{Model, Needs, Target, filter};
use canon::Instant;
use std::sync::Arc;

/// Shares are in millionths.
const ONE: u32 = 1_000_000;
/// Sets the draw apart from the others that are made with an exchange's seed.
const SALT: u64 = 0x6d69_7272_6f72;

/// Where copies of a model's requests go.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Its target, as the only one of a model.
    pub model: Arc<Model>,
    /// The same target as callers are served by: what is left of its limits is theirs.
    pub callers: Arc<Target>,
    /// The share that is copied, in millionths.
    pub share: u32,
    /// Most copies in flight; more are not made.
    pub in_flight: usize,
}

impl Mirror {
    /// Whether the exchange with this seed is copied.
    pub fn takes(&self, seed: u64) -> bool {
        fastrand::Rng::with_seed(seed ^ SALT).u32(0..ONE) < self.share
    }

    /// Whether a copy leaves callers what they need: a credential of theirs is neither parked nor about to be.
    pub fn leaves_room(&self, needs: &Needs, now: Instant) -> bool {
        filter::usable_credential(&self.callers, now).is_ok()
            && filter::has_room(&self.callers, &filter::load(&self.model, needs), now)
    }

    /// Why no copy can be sent now, as a short code; `None` = it can.
    pub fn obstacle(&self, needs: &Needs, now: Instant) -> Option<&'static str> {
        if !self.leaves_room(needs, now) {
            return Some("near_limit");
        }
        let plan = crate::plan(&self.model, needs, now, &mut fastrand::Rng::with_seed(0));
        let reason = plan.excluded.first().map_or("no_target_available", |exclusion| exclusion.reason.code());
        plan.candidates.is_empty().then_some(reason)
    }
}
