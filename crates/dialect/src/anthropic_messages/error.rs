//! Errors as the official SDKs read them: `{"type":"error","error":{"type","message",…}}`.

use bytes::Bytes;
use canon::CallerError;
use serde_json::{Map, Value, json};

/// The API's error type of a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The error body; in a stream it is the data of the `error` event.
pub(super) fn value(error: &CallerError) -> Value {
    let mut inner = Map::new();
    inner.insert("type".to_owned(), kind(error.status).into());
    inner.insert("message".to_owned(), error.message.as_str().into());
    inner.insert("code".to_owned(), error.code.as_str().into());
    if let Some(parameter) = &error.parameter {
        inner.insert("param".to_owned(), parameter.as_str().into());
    }
    inner.insert("metadata".to_owned(), error.metadata());
    json!({ "type": "error", "error": inner })
}

/// An error body.
pub(super) fn encode(error: &CallerError) -> Bytes {
    Bytes::from(value(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_type_by_status_and_carries_the_attempts() {
        let mut error = CallerError::new(529, "upstream_error", "every target is overloaded");
        error.fault = Some(canon::FaultClass::Overloaded);
        error.retryable = true;
        let body: Value = serde_json::from_slice(&encode(&error)).unwrap();
        assert_eq!(
            body,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "every target is overloaded",
                "code": "upstream_error",
                "metadata": {"fault": "overloaded", "retryable": true, "attempts": []}}})
        );
    }

    #[test]
    fn each_status_has_the_type_the_sdks_expect() {
        let expected = [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
        ];
        for (status, kind) in expected {
            assert_eq!(super::kind(status), kind, "{status}");
        }
    }
}
