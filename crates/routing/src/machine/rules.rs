//! The fault table: what follows from a class, before the operator's overrides and after them.

use crate::{FaultProfile, Model, Step};
use canon::{Fault, FaultClass, Phase, Scope};

/// Whether the same target is asked once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SameOnce {
    Never,
    /// After a short jitter.
    Jittered,
    /// At once, if a pooled connection had gone stale.
    IfStale,
}

/// What comes when the target itself is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Next,
    /// Another target of the same model first, as the limit is the credential's and not the model's.
    NextSameModelFirst,
    /// Only a target whose window is larger, or unknown.
    NextLarger,
    /// The caller gets this fault.
    Stop,
    /// The caller gets this fault, unless Mainstay altered the request.
    StopUnlessAltered,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Another credential of the same target may do better.
    pub(super) other_credential: bool,
    pub(super) same_once: SameOnce,
    /// Waiting for the hint may do.
    pub(super) waits: bool,
    pub(super) then: Then,
}

/// The table's default row.
fn default_rule(class: FaultClass) -> Rule {
    let next = Rule { other_credential: false, same_once: SameOnce::Never, waits: false, then: Then::Next };
    match class {
        FaultClass::RateLimited => Rule { other_credential: true, waits: true, then: Then::NextSameModelFirst, ..next },
        FaultClass::QuotaExhausted | FaultClass::AuthRejected => Rule { other_credential: true, ..next },
        FaultClass::ServerError => Rule { same_once: SameOnce::Jittered, ..next },
        FaultClass::Unreachable => Rule { same_once: SameOnce::IfStale, ..next },
        FaultClass::Overloaded
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::UnsupportedParameter
        // A caller who is gone is told apart, so this is a provider's word that Mainstay hung up, which it did not.
        | FaultClass::Cancelled => next,
        FaultClass::ContextExceeded => Rule { then: Then::NextLarger, ..next },
        FaultClass::ContentBlocked => Rule { then: Then::Stop, ..next },
        FaultClass::InvalidRequest => Rule { then: Then::StopUnlessAltered, ..next },
    }
}

/// The row for a fault under a model's `profile:` and `on:`; an explicit `on:` wins over the profile.
pub(super) fn rule(model: &Model, fault: &Fault, altered: bool) -> Rule {
    let mut rule = default_rule(fault.class);
    if is_wider_than_a_credential(fault.scope) {
        rule.other_credential = false;
    }
    let strict = model.settings.profile == FaultProfile::Strict;
    if strict && matches!(fault.class, FaultClass::AuthRejected | FaultClass::UnsupportedParameter) {
        rule.then = Then::Stop;
    }
    if rule.then == Then::StopUnlessAltered {
        rule.then = if altered { Then::Next } else { Then::Stop };
    }
    match model.settings.on.policy(fault.class).step {
        None => {}
        // The window still decides which targets make sense.
        Some(Step::Next) if rule.then == Then::NextLarger => {}
        Some(Step::Next) => {
            rule = Rule { same_once: SameOnce::Never, waits: false, then: Then::Next, ..rule };
        }
        Some(Step::Stop) => {
            rule = Rule { other_credential: false, same_once: SameOnce::Never, waits: false, then: Then::Stop };
        }
        Some(Step::SameThenNext) => {
            rule = Rule { other_credential: false, same_once: SameOnce::Jittered, waits: false, then: Then::Next };
        }
    }
    // Whatever an override says: a silent target is never asked again for the same exchange, nor a prompt that is too
    // long for it.
    if matches!(fault.class, FaultClass::TimedOut | FaultClass::ContextExceeded) {
        rule.same_once = SameOnce::Never;
    }
    rule
}

/// Whether the attempt reached a model's work, so that it counts. What is refused at the door costs the provider
/// nothing.
pub(super) fn reached_work(fault: &Fault) -> bool {
    match fault.class {
        FaultClass::ServerError | FaultClass::StreamBroken | FaultClass::BadAnswer | FaultClass::TooSlow => true,
        FaultClass::TimedOut => fault.phase != Some(Phase::Connect),
        FaultClass::Unreachable => fault.may_be_billed,
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => false,
    }
}

/// Whether another credential would meet the same limit.
fn is_wider_than_a_credential(scope: Scope) -> bool {
    match scope {
        Scope::CredentialModel | Scope::Credential => false,
        Scope::Target | Scope::Model | Scope::Provider | Scope::Request | Scope::Caller => true,
    }
}
