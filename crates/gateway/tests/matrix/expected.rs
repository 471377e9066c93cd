//! What each fault must come to, written down: the other half of the fault matrix.

use canon::{DialectName, FaultClass};
use simulator::FaultKind;
use std::time::Duration;

/// Every phase limit of the matrix.
pub(crate) const LIMIT: Duration = Duration::from_millis(300);

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) streamed: bool,
    /// Gemini's caller wants one JSON array instead of events.
    pub(crate) as_array: bool,
    pub(crate) caller: DialectName,
    pub(crate) primary: DialectName,
}

impl Setting {
    /// Mainstay writes the request and the answer itself.
    fn is_translated(self) -> bool {
        self.caller != self.primary
    }
}

/// How an exchange ends for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The primary's complete answer.
    Primary,
    /// The fallback's complete answer, because of this.
    Fallback(FaultClass),
    /// The provider's reason, with this status, in its own words (a part of them).
    Caller(u16, FaultClass, &'static str),
    /// A complete answer that says why there is none, as the caller's dialect says it.
    Blocked,
    /// The beginning of the primary's answer, an error event that names this class, and no terminator.
    HonestEnd(FaultClass),
}

/// An outcome and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) outcome: Outcome,
    /// Attempts at the primary.
    pub(crate) attempts: usize,
    /// Requests the primary has seen: fewer where no connection was made.
    pub(crate) arrived: usize,
}

const fn once(outcome: Outcome) -> Expected {
    Expected { outcome, attempts: 1, arrived: 1 }
}

const fn fallback(class: FaultClass) -> Expected {
    once(Outcome::Fallback(class))
}

/// The same target is asked once more before the next one.
const fn fallback_after_two(class: FaultClass) -> Expected {
    Expected { outcome: Outcome::Fallback(class), attempts: 2, arrived: 2 }
}

const fn never_arrived(class: FaultClass) -> Expected {
    Expected { outcome: Outcome::Fallback(class), attempts: 1, arrived: 0 }
}

const PRIMARY: Expected = once(Outcome::Primary);

/// After the first content of a stream there is no way back; before it, and in a whole answer, there is.
fn broken(setting: Setting, class: FaultClass, whole: Expected) -> Expected {
    if setting.streamed { once(Outcome::HonestEnd(class)) } else { whole }
}

/// The expectation for a cell.
#[expect(clippy::match_same_arms, reason = "the order of the faults reads better than the order of their outcomes")]
pub(crate) fn expected(fault: FaultKind, at: Setting) -> Expected {
    use FaultClass as Class;
    match fault {
        FaultKind::Refuse | FaultKind::TlsFailure => never_arrived(Class::Unreachable),
        FaultKind::ResetBeforeHeaders => fallback(Class::Unreachable),
        // Over sockets the connection is made, and nothing comes.
        FaultKind::Unroutable | FaultKind::HangBeforeHeaders => fallback(Class::TimedOut),
        FaultKind::SlowHeaders { by } | FaultKind::SlowFirstToken { by } => {
            if by < LIMIT {
                PRIMARY
            } else {
                fallback(Class::TimedOut)
            }
        }
        FaultKind::BadRequestContextLength => fallback(Class::ContextExceeded),
        FaultKind::ContentPolicy400 => match at.primary {
            DialectName::OpenaiChat => once(Outcome::Caller(400, Class::ContentBlocked, "safety system")),
            DialectName::AnthropicMessages => once(Outcome::Caller(400, Class::ContentBlocked, "content filtering")),
            // Gemini blocks a prompt with a 200.
            DialectName::Gemini => once(Outcome::Blocked),
        },
        FaultKind::Unauthorized401 | FaultKind::Forbidden403 => fallback(Class::AuthRejected),
        FaultKind::Payment402 | FaultKind::QuotaExhausted429 => fallback(Class::QuotaExhausted),
        FaultKind::Model404 => fallback(Class::ModelMissing),
        FaultKind::Timeout408 | FaultKind::ServerError500 | FaultKind::BadGateway502Html => {
            fallback_after_two(Class::ServerError)
        }
        // What Mainstay wrote itself is not the caller's fault.
        FaultKind::TooLarge413 if at.is_translated() => fallback(Class::InvalidRequest),
        FaultKind::TooLarge413 => once(Outcome::Caller(
            413,
            Class::InvalidRequest,
            match at.primary {
                DialectName::OpenaiChat => "Maximum content size limit",
                DialectName::AnthropicMessages => "exceeds the maximum size",
                DialectName::Gemini => "payload size exceeds the limit",
            },
        )),
        FaultKind::RateLimited429 { .. } => fallback(Class::RateLimited),
        FaultKind::Unavailable503 { .. } | FaultKind::Overloaded529 => fallback(Class::Overloaded),
        FaultKind::GatewayTimeout504 => match at.primary {
            DialectName::OpenaiChat => fallback_after_two(Class::ServerError),
            // Both say so of a prompt that takes too long; the same target would take as long again.
            DialectName::AnthropicMessages | DialectName::Gemini => fallback(Class::Overloaded),
        },
        FaultKind::ErrorIn200 => fallback_after_two(Class::ServerError),
        FaultKind::HtmlIn200 => fallback(Class::BadAnswer),
        FaultKind::EmptyStream if at.streamed => fallback(Class::StreamBroken),
        FaultKind::EmptyStream => fallback(Class::BadAnswer),
        // Streamed, Anthropic and Gemini say that they are overloaded and OpenAI that it failed; whole, all say the
        // latter.
        FaultKind::ErrorBeforeContent | FaultKind::ErrorAfterPrelude => match at.primary {
            DialectName::AnthropicMessages | DialectName::Gemini if at.streamed => fallback(Class::Overloaded),
            DialectName::OpenaiChat | DialectName::AnthropicMessages | DialectName::Gemini => {
                fallback_after_two(Class::ServerError)
            }
        },
        FaultKind::CutMidText { .. } | FaultKind::CutInsideEvent { .. } => {
            broken(at, Class::StreamBroken, fallback(Class::StreamBroken))
        }
        FaultKind::CutMidToolCall => match (at.primary, at.caller) {
            // Gemini's calls are one event each, so half a call is no content: neither from it nor to it.
            (DialectName::Gemini, _) | (_, DialectName::Gemini) => fallback(Class::StreamBroken),
            _ => broken(at, Class::StreamBroken, fallback(Class::StreamBroken)),
        },
        FaultKind::Stall { .. } | FaultKind::StallWithKeepalives { .. } => {
            broken(at, Class::TimedOut, fallback(Class::TimedOut))
        }
        FaultKind::MalformedEvent { .. } if !at.streamed => fallback(Class::BadAnswer),
        FaultKind::MissingTerminator => broken(at, Class::StreamBroken, fallback(Class::BadAnswer)),
        FaultKind::HalfSpeed
        | FaultKind::MalformedEvent { .. }
        | FaultKind::DuplicateFinish
        | FaultKind::SplitUtf8
        | FaultKind::HugeEvent { .. }
        | FaultKind::Gzip
        | FaultKind::Goaway
        | FaultKind::OneStreamPerConnection => PRIMARY,
        FaultKind::EarlyResponse { status: 503 } => fallback(Class::Overloaded),
        FaultKind::EarlyResponse { .. } if at.is_translated() => fallback(Class::InvalidRequest),
        FaultKind::EarlyResponse { status } => {
            once(Outcome::Caller(status, Class::InvalidRequest, "refused before its body was read"))
        }
    }
}
