//! Errors as Google writes them: `{"error": {"code", "message", "status", "details"}}`.
//!
//! `google-genai` reads `code`, `message` and `status` and keeps the rest as it is. In a stream it raises on an event
//! whose JSON begins with `{"error":`, so that key stands first and alone.

use bytes::Bytes;
use canon::CallerError;
use serde_json::{Value, json};

/// An error body.
pub(super) fn encode(error: &CallerError) -> Bytes {
    Bytes::from(to_value(error).to_string())
}

/// The same as a JSON value. `metadata` holds the whole story; `details` what typed Google clients read, where metadata
/// is a map of strings.
pub(super) fn to_value(error: &CallerError) -> Value {
    let mut metadata = serde_json::Map::new();
    if let Some(fault) = error.fault {
        metadata.insert("fault".to_owned(), json!(fault.as_str()));
    }
    metadata.insert("retryable".to_owned(), json!(error.retryable.to_string()));
    metadata.insert("attempts".to_owned(), json!(error.attempts.len().to_string()));
    if let Some(parameter) = &error.parameter {
        metadata.insert("parameter".to_owned(), json!(parameter));
    }
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code.to_ascii_uppercase(),
        "domain": "mainstay",
        "metadata": metadata,
    })];
    if let Some(wait) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", wait.as_secs_f64()),
        }));
    }
    json!({ "error": {
        "code": error.status,
        "message": error.message,
        "status": status(error.status),
        "details": details,
        "metadata": error.metadata(),
    } })
}

/// Google's canonical code for an HTTP status.
fn status(http: u16) -> &'static str {
    match http {
        401 => "UNAUTHENTICATED",
        402 | 412 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 | 410 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        405 | 501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::{AttemptReport, FaultClass};
    use std::time::Duration;

    #[test]
    fn an_error_says_code_message_and_status_and_carries_the_story() {
        let mut error = CallerError::new(503, "no_candidate", "every target is resting");
        error.fault = Some(FaultClass::Overloaded);
        error.retryable = true;
        error.retry_after = Some(Duration::from_millis(1500));
        error.attempts = vec![AttemptReport {
            region: None,
            target: "gemini/flash".into(),
            fault: Some(FaultClass::Overloaded),
            status: Some(503),
            code: None,
            message: None,
            ms: 12,
            first_token_ms: None,
            rescue: false,
            beside: None,
            may_be_billed: false,
        }];
        let body = encode(&error);
        assert!(body.starts_with(b"{\"error\":"), "google-genai looks for this beginning");
        let value: Value = serde_json::from_slice(&body).unwrap();
        let inner = &value["error"];
        assert_eq!((inner["code"].as_u64(), inner["status"].as_str()), (Some(503), Some("UNAVAILABLE")));
        assert_eq!(inner["details"][0]["reason"], "NO_CANDIDATE");
        assert_eq!(inner["details"][0]["metadata"]["fault"], "overloaded");
        assert_eq!(inner["details"][1]["retryDelay"], "1.5s");
        assert_eq!(inner["metadata"]["attempts"][0]["target"], "gemini/flash");
    }

    #[test]
    fn every_status_has_googles_word() {
        for (http, word) in [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (413, "INVALID_ARGUMENT"),
            (422, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (500, "INTERNAL"),
            (502, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ] {
            assert_eq!(status(http), word);
        }
    }
}
