//! Errors as `OpenAI`'s SDKs read them: `{"error": {message, type, param, code}}`, with `metadata` beside.

use canon::{CallerError, FaultClass};
use serde_json::{Value, json};

/// The error body, the same for a response and for the last event of a broken stream.
pub(super) fn body(error: &CallerError) -> Value {
    json!({
        "error": {
            "message": error.message,
            "type": kind(error.status),
            "param": error.parameter,
            "code": code(error),
            "metadata": error.metadata(),
        }
    })
}

/// The code callers act on. A prompt that is too long has one name here, whatever the provider that served called it:
/// clients compact the conversation when they read it. The provider's own code is in the attempts.
fn code(error: &CallerError) -> &str {
    if error.fault == Some(FaultClass::ContextExceeded) { "context_length_exceeded" } else { &error.code }
}

/// The `type` that goes with a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        503 | 529 => "service_unavailable_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_happened_in_the_shape_the_sdks_read() {
        let mut error = CallerError::new(400, "invalid_type", "`n` is the string \"two\"; expected an integer");
        error.parameter = Some("n".to_owned());
        let body = body(&error);
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "n");
        assert_eq!(body["error"]["code"], "invalid_type");
        assert_eq!(body["error"]["metadata"]["attempts"], json!([]));
    }

    #[test]
    fn a_prompt_that_is_too_long_has_openais_code_whoever_found_it_so() {
        let mut error = CallerError::new(400, "invalid_request_error", "prompt is too long");
        assert_eq!(body(&error)["error"]["code"], "invalid_request_error");
        error.fault = Some(FaultClass::ContextExceeded);
        assert_eq!(body(&error)["error"]["code"], "context_length_exceeded");
    }

    #[test]
    fn the_type_follows_the_status_and_the_metadata_names_the_fault() {
        let mut error = CallerError::new(429, "rate_limited", "Every candidate is limited.");
        error.fault = Some(FaultClass::RateLimited);
        error.retryable = true;
        let body = body(&error);
        assert_eq!(body["error"]["type"], "rate_limit_error");
        assert_eq!(body["error"]["metadata"]["fault"], "rate_limited");
        assert_eq!(body["error"]["metadata"]["retryable"], true);
        assert_eq!(kind(502), "server_error");
        assert_eq!(kind(404), "invalid_request_error");
    }
}
