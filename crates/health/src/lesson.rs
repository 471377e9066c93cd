//! What health learns from a fault: the third column of the fault table, as one exhaustive `match`.

use canon::{Fault, FaultClass, Scope};

/// What follows from a fault for the health of target and credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lesson {
    /// The target failed: counts in the breaker's run and ratio.
    Failure,
    /// The credential is parked for this model until the hint; says nothing about the target.
    RateParked,
    /// The credential is parked for every model until its quota resets.
    QuotaParked,
    /// The credential is off until it is rechecked.
    CredentialOff,
    /// The target is off until its model is listed again.
    TargetOff,
    /// The target loses rank, and is never opened for it.
    Soft,
    /// A matter of quality, not of outage.
    Quality,
    /// Nothing: the request or the caller was at fault.
    Nothing,
}

/// What a fault teaches: what its class teaches, unless it concerns the request or the caller alone (a request larger
/// than a whole limit comes as `overloaded` or `rate_limited`, and says nothing about anybody else's).
pub fn lesson(fault: &Fault) -> Lesson {
    match fault.scope {
        Scope::Request | Scope::Caller => Lesson::Nothing,
        Scope::CredentialModel | Scope::Credential | Scope::Target | Scope::Model | Scope::Provider => {
            lesson_of_class(fault.class)
        }
    }
}

fn lesson_of_class(class: FaultClass) -> Lesson {
    match class {
        FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::StreamBroken => Lesson::Failure,
        FaultClass::RateLimited => Lesson::RateParked,
        FaultClass::QuotaExhausted => Lesson::QuotaParked,
        FaultClass::AuthRejected => Lesson::CredentialOff,
        FaultClass::ModelMissing => Lesson::TargetOff,
        FaultClass::TooSlow => Lesson::Soft,
        FaultClass::BadAnswer => Lesson::Quality,
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => Lesson::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::Origin;

    #[test]
    fn a_fault_of_the_request_or_the_caller_teaches_nothing_whatever_its_class() {
        for class in FaultClass::ALL {
            for scope in [Scope::Request, Scope::Caller] {
                let fault = Fault { scope, ..Fault::new(class, Origin::Head, "") };
                assert_eq!(lesson(&fault), Lesson::Nothing, "{class}");
            }
        }
    }

    #[test]
    fn with_its_usual_scope_a_hard_fault_counts_against_the_target() {
        let fault = Fault::new(FaultClass::Overloaded, Origin::Head, "");
        assert_eq!(lesson(&fault), Lesson::Failure);
    }
}
