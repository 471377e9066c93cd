//! A call of the gateway's own to a target, beside the traffic: what it takes, and what its end teaches.
//!
//! A probe for a token is judged as an answer is: it takes the half-open slot where there is one, its end moves the
//! breaker, and what it costs counts in the target's spend windows. A probe by the list of models proves less. Its
//! failure is the target's failure; its success gives back what it took and shows that the provider is reached, nothing
//! of the model.
//!
//! No retry budget is charged: that one is the callers', and a probe's own interval bounds it.

use crate::filter::best_credential;
use crate::machine::overtaken::learn;
use crate::spend::Reservation;
use crate::{Credential, Target};
use canon::{Fault, Instant, Load, Usage};
use catalog::{Moment, Usd};
use health::{Lesson, Permit, StartKind, lesson};
use std::sync::Arc;

/// Tokens of the prompt of a probe, with what a provider puts around it: more than it will be.
const PROMPT: u64 = 32;
/// Output that is asked for.
const TOKENS: u64 = 1;
/// The same of a model that reasons first: some take no smaller cap.
const REASONING_TOKENS: u64 = 16;

/// A probe in flight. Dropped before its end it has taught nothing.
#[derive(Debug)]
#[must_use = "a probe that is dropped teaches nothing"]
pub struct Probe {
    target: Arc<Target>,
    credential: usize,
    /// Of a target whose model is missing there is none to be had.
    permit: Option<Permit>,
    reservation: Option<Reservation>,
}

impl Probe {
    /// Begins a probe by the list of models; `None` = not now.
    pub fn list(target: &Arc<Target>, now: Instant) -> Option<Self> {
        let credential = credential(target, now)?;
        let permit = target.health.start(StartKind::Probe, now);
        let is_missing = matches!(permit, Err(health::Refused::Off { .. }));
        let permit = permit.ok();
        let may = permit.is_some() || is_missing;
        may.then(|| Self { target: Arc::clone(target), credential, permit, reservation: None })
    }

    /// Begins a probe for a token; `None` = not now, or the target has spent what it may.
    pub fn token(target: &Arc<Target>, asked_at: Option<Moment>, now: Instant) -> Option<Self> {
        let credential = credential(target, now)?;
        let price = probe_price(target, asked_at).unwrap_or_default();
        let reservation = target.ledger.spending.reserve(price, target.guards.spend, now).ok()?;
        let permit = target.health.start(StartKind::Probe, now).ok()?;
        let (permit, reservation) = (Some(permit), Some(reservation.begun()));
        Some(Self { target: Arc::clone(target), credential, permit, reservation })
    }

    /// The target that is asked.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// With which credential.
    pub fn credential(&self) -> Option<&Credential> {
        self.target.credentials.get(self.credential)
    }

    /// The list of models came; `has_model` = the target's own is on it.
    pub fn listed(self, has_model: bool) {
        self.target.provider_health.answered();
        if has_model && self.permit.is_none() {
            self.target.health.relisted();
        }
        if let Some(permit) = self.permit {
            permit.cancelled();
        }
    }

    /// An answer came. What it cost; `None` where a price or a count is unknown.
    pub fn answered(self, usage: &Usage, asked_at: Option<Moment>, now: Instant) -> Option<Usd> {
        let cost = self.target.facts.prices.as_ref().and_then(|prices| prices.cost(usage, asked_at));
        if let Some(reservation) = &self.reservation {
            reservation.settle(cost, now);
        }
        self.target.provider_health.answered();
        self.target.heard(self.credential, now);
        self.target.ended(self.credential, None, now);
        if let Some(credential) = self.credential() {
            credential.answered(&self.target.model, now);
        }
        if let Some(permit) = self.permit {
            permit.succeeded(now);
        }
        cost
    }

    /// It came to nothing. What it may have cost all the same.
    pub fn failed(self, fault: &Fault, asked_at: Option<Moment>, now: Instant) -> Option<Usd> {
        let mut cost = None;
        if let Some(reservation) = &self.reservation {
            if fault.may_be_billed {
                cost = probe_price(&self.target, asked_at);
                reservation.settle(cost, now);
            } else {
                reservation.release();
            }
            // What rules measure are answers, which a list is not.
            self.target.ended(self.credential, Some(fault), now);
        } else if !concerns_more_than_the_list(fault) {
            return None;
        }
        learn(&self.target, self.credential, fault, now);
        if let Some(permit) = self.permit {
            let _is_of_size = permit.failed(fault, now);
        }
        cost
    }
}

/// Whether what befell a list of models would befall a request for an answer. A provider without a list, and a limit on
/// asking for it, say nothing of the models.
fn concerns_more_than_the_list(fault: &Fault) -> bool {
    match lesson(fault) {
        Lesson::Failure | Lesson::CredentialOff | Lesson::QuotaParked => true,
        Lesson::RateParked | Lesson::TargetOff | Lesson::Soft | Lesson::Quality | Lesson::Nothing => false,
    }
}

/// The cap on the output of a probe for a token.
pub fn probe_tokens(target: &Target) -> u64 {
    if target.facts.reasoning_model { REASONING_TOKENS } else { TOKENS }
}

/// What a probe for a token costs at most; `None` where the target's price is unknown.
pub fn probe_price(target: &Target, asked_at: Option<Moment>) -> Option<Usd> {
    let rates = target.facts.prices.as_ref()?.at(asked_at, PROMPT);
    Some(rates.input.of(PROMPT).plus(rates.output.of(probe_tokens(target))))
}

fn credential(target: &Target, now: Instant) -> Option<usize> {
    let load = Load { input_tokens: PROMPT, output_tokens: probe_tokens(target) };
    best_credential(target, &load, now, |_| true)
}
