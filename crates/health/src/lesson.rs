//! What health learns from a fault: the third column of the fault table, as one exhaustive `match`.

use canon::FaultClass;

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

/// What a fault of this class teaches.
pub fn lesson(class: FaultClass) -> Lesson {
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
