//! What a caller is told when an exchange cannot be answered.

use crate::FaultClass;
use std::time::Duration;

/// One attempt, as errors and traces list it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AttemptReport {
    /// `provider/model`.
    pub target: String,
    /// Where it runs, where the configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What went wrong; `None` = it served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultClass>,
    /// The provider's status, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's own code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's own text, scrubbed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long the attempt took, in milliseconds.
    pub ms: u64,
    /// From its start to its first token, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// It was made to go on with a stream that had broken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rescue: bool,
    /// It was started beside another: `hedge`, `race`, or `half_open` for the hedge of a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<&'static str>,
    /// Whether the provider may bill it although it failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_be_billed: bool,
}

/// An error in no dialect yet; each dialect's encoder gives it the shape its SDKs read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerError {
    /// HTTP status.
    pub status: u16,
    /// A string code: `invalid_json`, `model_not_found`, `upstream_error`, …
    pub code: String,
    /// One sentence that names what to change.
    pub message: String,
    /// The parameter at fault, where one can be named.
    pub parameter: Option<String>,
    /// The class, when a provider's fault led here.
    pub fault: Option<FaultClass>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// Everything that was tried.
    pub attempts: Vec<AttemptReport>,
    /// What the caller has of the answer, when its stream broke.
    pub delivered: Option<Box<Delivered>>,
}

/// What a caller has of an answer whose stream broke.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Delivered {
    /// Events of the stream, whole.
    pub events: u64,
    /// Characters of text; absent where no record of it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_characters: Option<u64>,
    /// Why nobody went on with it: an obstacle, or what became of the last that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_rescued: Option<String>,
}

/// What a caller can do with a part of an answer.
const RESUME: &str = "keep what was delivered, send the request again with it as the last turn of the assistant, and ask \
                      for the rest in a turn of the user";

impl CallerError {
    /// An error that no attempt led to.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            parameter: None,
            fault: None,
            retryable: false,
            retry_after: None,
            attempts: Vec::new(),
            delivered: None,
        }
    }

    /// `metadata` of the error body: `{fault, retryable, attempts[]}`, and `delivered` with `resume` where a part of
    /// the answer was.
    pub fn metadata(&self) -> serde_json::Value {
        let mut metadata =
            serde_json::json!({ "fault": self.fault, "retryable": self.retryable, "attempts": self.attempts });
        if let (Some(delivered), Some(members)) = (&self.delivered, metadata.as_object_mut()) {
            members.insert("delivered".to_owned(), serde_json::json!(delivered));
            members.insert("resume".to_owned(), RESUME.into());
        }
        metadata
    }
}
