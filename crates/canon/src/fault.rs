//! Why an attempt failed: class × scope × origin × retry-after.
//!
//! The classes and what follows from each are the table of `docs/FAILOVER.md`. Every `match` on a class is
//! exhaustive, so that a new class does not slip past a decision.

use std::time::Duration;

/// What kind of failure it was. Decides the next step of the attempt machine and what health learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// 429 for rate: the credential is parked until the hint.
    RateLimited,
    /// Out of money or of a long quota: the credential is parked until its real reset.
    QuotaExhausted,
    /// 503, 529: the target is short of capacity.
    Overloaded,
    /// 500, 502, 504: the target failed, once more may do.
    ServerError,
    /// Refused, DNS, TLS, reset before the answer's head.
    Unreachable,
    /// A phase timeout: connect, first token, response, idle.
    TimedOut,
    /// Slower than its own baseline; a soft fault.
    TooSlow,
    /// Cut, stalled, without terminator, or an error event inside a 200.
    StreamBroken,
    /// Empty, HTML in a 200, unparsable, invalid output of the model.
    BadAnswer,
    /// The prompt does not fit the model.
    ContextExceeded,
    /// Safety or policy.
    ContentBlocked,
    /// 404, retired, not entitled.
    ModelMissing,
    /// The provider rejects the credential.
    AuthRejected,
    /// This provider rejects a parameter that others take.
    UnsupportedParameter,
    /// Any other 400 or 422: the caller's own mistake.
    InvalidRequest,
    /// The caller hung up.
    Cancelled,
}

impl FaultClass {
    /// Every class, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Overloaded,
        Self::ServerError,
        Self::Unreachable,
        Self::TimedOut,
        Self::TooSlow,
        Self::StreamBroken,
        Self::BadAnswer,
        Self::ContextExceeded,
        Self::ContentBlocked,
        Self::ModelMissing,
        Self::AuthRejected,
        Self::UnsupportedParameter,
        Self::InvalidRequest,
        Self::Cancelled,
    ];

    /// The name in configuration, logs, metrics and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::TooSlow => "too_slow",
            Self::StreamBroken => "stream_broken",
            Self::BadAnswer => "bad_answer",
            Self::ContextExceeded => "context_exceeded",
            Self::ContentBlocked => "content_blocked",
            Self::ModelMissing => "model_missing",
            Self::AuthRejected => "auth_rejected",
            Self::UnsupportedParameter => "unsupported_parameter",
            Self::InvalidRequest => "invalid_request",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a fault of this class concerns when the catalogue does not say otherwise.
    pub fn default_scope(self) -> Scope {
        match self {
            Self::RateLimited => Scope::CredentialModel,
            Self::QuotaExhausted | Self::AuthRejected => Scope::Credential,
            Self::Overloaded
            | Self::ServerError
            | Self::Unreachable
            | Self::TimedOut
            | Self::TooSlow
            | Self::StreamBroken => Scope::Target,
            Self::BadAnswer | Self::ModelMissing => Scope::Model,
            Self::ContextExceeded | Self::ContentBlocked | Self::UnsupportedParameter => Scope::Request,
            Self::InvalidRequest | Self::Cancelled => Scope::Caller,
        }
    }
}

impl std::fmt::Display for FaultClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a fault tells something about, and so what is spared after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One credential on one model.
    CredentialModel,
    /// One credential, whatever the model.
    Credential,
    /// One target.
    Target,
    /// One model of one provider.
    Model,
    /// The whole provider; only by catalogue data or by evidence from two targets.
    Provider,
    /// This request; nothing is learned about the target.
    Request,
    /// The caller; nothing is learned at all.
    Caller,
}

/// Who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The provider's HTTP head and error body.
    Head,
    /// An event, a finish reason or the end of the provider's stream or answer.
    Body,
    /// The connection.
    Transport,
    /// Mainstay: a timer, a limit, a check of the answer.
    Mainstay,
}

/// The phase whose limit fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// DNS, TCP and TLS.
    Connect,
    /// From the request sent to the first token of a streamed call.
    FirstToken,
    /// From the request sent to the whole answer of a call not streamed.
    Response,
    /// Between two tokens; comments do not count.
    Idle,
    /// One attempt in all.
    Attempt,
    /// The exchange in all.
    Deadline,
}

impl Phase {
    /// The name as configuration and error texts write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::FirstToken => "first_token",
            Self::Response => "response",
            Self::Idle => "idle",
            Self::Attempt => "attempt",
            Self::Deadline => "deadline",
        }
    }
}

/// One classified failure of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub class: FaultClass,
    /// What it concerns.
    pub scope: Scope,
    /// Who said so.
    pub origin: Origin,
    /// Not before this long from now; the provider's hint, clamped. `None` = no hint.
    pub retry_after: Option<Duration>,
    /// The provider's HTTP status, where there was one.
    pub status: Option<u16>,
    /// The provider's own code or type, unaltered.
    pub code: Option<String>,
    /// The provider's own text, scrubbed of credentials; or Mainstay's words where the provider said nothing.
    pub message: String,
    /// The parameter a provider named.
    pub parameter: Option<String>,
    /// The limit that fired, for `timed_out`.
    pub phase: Option<Phase>,
    /// The connection was taken from the pool and had gone stale: once more on the same target costs nothing.
    pub stale_connection: bool,
    /// The request had been sent in full: the provider may bill it.
    pub may_be_billed: bool,
}

impl Fault {
    /// A fault with the class's usual scope and nothing else known.
    pub fn new(class: FaultClass, origin: Origin, message: impl Into<String>) -> Self {
        Self {
            class,
            scope: class.default_scope(),
            origin,
            retry_after: None,
            status: None,
            code: None,
            message: message.into(),
            parameter: None,
            phase: None,
            stale_connection: false,
            may_be_billed: false,
        }
    }

    /// A `timed_out` fault that names the phase.
    pub fn timed_out(phase: Phase, limit: Duration) -> Self {
        Self {
            phase: Some(phase),
            ..Self::new(
                FaultClass::TimedOut,
                Origin::Mainstay,
                format!("{} limit of {} ms passed", phase.as_str(), limit.as_millis()),
            )
        }
    }
}
