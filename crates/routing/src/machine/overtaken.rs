//! A probe whose hedge served the caller.
//!
//! It goes on alone to its own end: cancelled, a target that is slower than its peer would never prove that it has
//! recovered, and given a head start it would keep callers waiting.

use super::record::Running;
use super::{AttemptId, Machine};
use crate::Target;
use canon::{Fault, FaultClass, Instant};
use health::{BoundPlace, LimitReservation, Permit};
use std::sync::Arc;

/// The right to judge a target by a call that no exchange waits for. Dropping it frees the half-open slot unjudged.
#[derive(Debug)]
pub struct Overtaken {
    attempt: AttemptId,
    target: Arc<Target>,
    credential: usize,
    permit: Permit,
    /// The call goes on, and so does what it takes.
    _taken: (Option<LimitReservation>, Option<BoundPlace>),
}

impl Overtaken {
    pub(super) fn new(target: Arc<Target>, running: Running) -> Self {
        let Running { attempt, credential, permit, taken, place, .. } = running;
        Self { attempt, target, credential, permit, _taken: (taken, place) }
    }

    /// Which attempt of its exchange it is.
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// Content came.
    pub fn succeeded(mut self, now: Instant) {
        self.permit.first_token(now);
        self.permit.succeeded(now);
        self.target.ended(self.credential, None, now);
        self.target.provider_health.answered();
        if let Some(credential) = self.target.credentials.get(self.credential) {
            credential.answered(&self.target.model, now);
        }
    }

    /// It failed, or stayed silent to its limit.
    pub fn failed(self, fault: &Fault, now: Instant) {
        let _is_of_size = self.permit.failed(fault, now);
        self.target.ended(self.credential, Some(fault), now);
        learn(&self.target, self.credential, fault, now);
    }
}

impl Machine {
    /// The probe that the commit has just left running, once: its call is to be read on until content or its limit.
    pub fn take_overtaken(&mut self) -> Option<Overtaken> {
        self.overtaken.take()
    }
}

/// What a fault teaches about a credential and a provider.
pub(crate) fn learn(target: &Target, credential: usize, fault: &Fault, now: Instant) {
    if let Some(credential) = target.credentials.get(credential) {
        credential.health.learn(&target.model, fault, now);
    }
    if fault.class == FaultClass::Unreachable {
        target.provider_health.unreachable(&target.id, now);
    } else if fault.status.is_some() {
        target.provider_health.answered();
    }
}
