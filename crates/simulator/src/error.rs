//! Refusals, in the shape, with the headers and in the words of the provider that speaks the dialect.

use crate::fault::{FaultKind, HintForm, RetryHint};
use bytes::Bytes;
use canon::DialectName;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// A refusal ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Refusal {
    /// A refusal that its provider gives as an answer, in the framing of a streamed one.
    pub(crate) fn into_stream(self, as_array: bool) -> Self {
        let framed = |before: &[u8], after: &[u8]| Bytes::from([before, &self.body, after].concat());
        if as_array {
            Self { body: framed(b"[", b"]"), ..self }
        } else {
            Self { body: framed(b"data: ", b"\r\n\r\n"), content_type: "text/event-stream", ..self }
        }
    }
}

/// What is wrong with a request, in the provider's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// The field, where the dialect's error has a place for it.
    pub(crate) field: Option<String>,
    /// The code, where the dialect has codes.
    pub(crate) code: Option<&'static str>,
    /// Mistral's type of error: its errors are not wrapped.
    pub(crate) flat: Option<&'static str>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), field: None, code: None, flat: None }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// In Mistral's envelope, as this type of error.
    pub(crate) fn flat(self, kind: &'static str) -> Self {
        Self { flat: Some(kind), ..self }
    }

    /// The refusal the dialect's provider would send.
    pub(crate) fn refusal(&self, dialect: DialectName) -> Refusal {
        if let Some(kind) = self.flat {
            let body = json!({
                "object": "error", "message": self.message, "type": kind, "param": self.field, "code": self.code,
            });
            return json_refusal(self.status, &body);
        }
        match dialect {
            DialectName::OpenaiChat => {
                openai(self.status, "invalid_request_error", self.code, self.field.as_deref(), &self.message)
            }
            DialectName::AnthropicMessages => anthropic(self.status, anthropic_type(self.status), &self.message),
            DialectName::Gemini => {
                let details = match (self.code, &self.field) {
                    (Some(reason), _) => vec![json!({
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
                        "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"},
                    })],
                    (None, Some(field)) => vec![json!({
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [{"field": field, "description": self.message}],
                    })],
                    (None, None) => vec![],
                };
                google(self.status, google_status(self.status), &self.message, &details)
            }
        }
    }
}

/// The refusal a fault is, if it is one. `now` is the provider's wall clock, for hints that are dates.
pub(crate) fn of_fault(dialect: DialectName, fault: FaultKind, model: &str, now: SystemTime) -> Option<Refusal> {
    match fault {
        FaultKind::HtmlIn200 => return Some(html(200, "Welcome")),
        FaultKind::BadGateway502Html => return Some(html(502, "502 Bad Gateway")),
        FaultKind::ErrorIn200 => {
            let failed = of_fault(dialect, FaultKind::ServerError500, model, now)?;
            return Some(Refusal { status: 200, ..failed });
        }
        FaultKind::EarlyResponse { status } => return Some(early(dialect, status)),
        _ => {}
    }
    let hint = match fault {
        FaultKind::RateLimited429 { retry } | FaultKind::Unavailable503 { retry } => retry,
        _ => None,
    };
    let refusal = match dialect {
        DialectName::OpenaiChat => of_fault_openai(fault, model, hint),
        DialectName::AnthropicMessages => of_fault_anthropic(fault, model, hint),
        DialectName::Gemini => of_fault_gemini(fault, model, hint),
    }?;
    Some(match hint {
        Some(hint) => with_hint(refusal, dialect, hint, now),
        None => refusal,
    })
}

/// The error a stream carries when the provider fails behind a 200.
pub(crate) fn in_stream(dialect: DialectName) -> Bytes {
    let failed = |message| openai(500, "server_error", None, None, message);
    match dialect {
        DialectName::OpenaiChat => {
            let refusal = failed("The server had an error while processing your request. Sorry about that!");
            [b"data: ", refusal.body.as_ref(), b"\n\n"].concat().into()
        }
        DialectName::AnthropicMessages => {
            Bytes::from_static(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n")
        }
        // Google writes the error over several lines and without `data:`.
        DialectName::Gemini => Bytes::from_static(
            b"{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded. Please try again later.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n",
        ),
    }
}

fn early(dialect: DialectName, status: u16) -> Refusal {
    let message = "The request was refused before its body was read.";
    match dialect {
        DialectName::OpenaiChat if status >= 500 => openai(status, "server_error", None, None, message),
        DialectName::OpenaiChat => openai(status, "invalid_request_error", None, None, message),
        DialectName::AnthropicMessages => anthropic(status, anthropic_type(status), message),
        DialectName::Gemini => google(status, google_status(status), message, &[]),
    }
}

fn of_fault_openai(fault: FaultKind, model: &str, hint: Option<RetryHint>) -> Option<Refusal> {
    const INVALID: &str = "invalid_request_error";
    Some(match fault {
        FaultKind::BadRequestContextLength => openai(
            400,
            INVALID,
            Some("context_length_exceeded"),
            Some("messages"),
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages.",
        ),
        FaultKind::ContentPolicy400 => openai(
            400,
            INVALID,
            Some("content_policy_violation"),
            None,
            "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system.",
        ),
        FaultKind::Unauthorized401 => openai(
            401,
            INVALID,
            Some("invalid_api_key"),
            None,
            "Incorrect API key provided: sk-sim**********cret. You can find your API key at https://platform.openai.com/account/api-keys.",
        ),
        FaultKind::Payment402 => {
            openai(402, "insufficient_balance", Some("insufficient_balance"), None, "Insufficient Balance")
        }
        FaultKind::Forbidden403 => openai(
            403,
            "request_forbidden",
            Some("unsupported_country_region_territory"),
            None,
            "Country, region, or territory not supported",
        ),
        FaultKind::Model404 => openai(
            404,
            INVALID,
            Some("model_not_found"),
            None,
            &format!("The model `{model}` does not exist or you do not have access to it."),
        ),
        FaultKind::Timeout408 => openai(408, "timeout", None, None, "Request timed out."),
        FaultKind::TooLarge413 => openai(413, INVALID, None, None, "Maximum content size limit (26214400) exceeded"),
        FaultKind::RateLimited429 { .. } => {
            let again = native_text(hint, "Please try again in");
            let message = format!(
                "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): Limit 3, Used 3, Requested 1.{again}"
            );
            openai(429, "requests", Some("rate_limit_exceeded"), None, &message)
        }
        FaultKind::QuotaExhausted429 => openai(
            429,
            "insufficient_quota",
            Some("insufficient_quota"),
            None,
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        FaultKind::ServerError500 => openai(
            500,
            "server_error",
            None,
            None,
            "The server had an error while processing your request. Sorry about that!",
        ),
        FaultKind::Unavailable503 { .. } | FaultKind::Overloaded529 => openai(
            if fault == FaultKind::Overloaded529 { 529 } else { 503 },
            "service_unavailable_error",
            Some("server_is_overloaded"),
            None,
            "Our servers are currently overloaded. Please try again later.",
        ),
        FaultKind::GatewayTimeout504 => openai(504, "server_error", None, None, "The upstream server timed out."),
        _ => return None,
    })
}

fn of_fault_anthropic(fault: FaultKind, model: &str, hint: Option<RetryHint>) -> Option<Refusal> {
    let (status, message) = match fault {
        FaultKind::BadRequestContextLength => (400, "prompt is too long: 209001 tokens > 200000 maximum".to_owned()),
        FaultKind::ContentPolicy400 => (400, "Output blocked by content filtering policy".to_owned()),
        FaultKind::Unauthorized401 => (401, "invalid x-api-key".to_owned()),
        FaultKind::Payment402 => (402, "There is an issue with your organization's billing.".to_owned()),
        FaultKind::Forbidden403 => {
            (403, "Your API key does not have permission to use the specified resource.".to_owned())
        }
        FaultKind::Model404 => (404, format!("model: {model}")),
        FaultKind::Timeout408 => (408, "Request timed out".to_owned()),
        FaultKind::TooLarge413 => (413, "Request exceeds the maximum size".to_owned()),
        FaultKind::RateLimited429 { .. } => (
            429,
            format!(
                "This request would exceed your organization's rate limit of 50 requests per minute.{}",
                native_text(
                    hint.filter(|hint| matches!(hint.form, HintForm::Text | HintForm::Body)),
                    "Please try again in"
                )
            ),
        ),
        FaultKind::QuotaExhausted429 => {
            let body = json!({"type": "error", "error": {
                "type": "rate_limit_error",
                "message": "You have reached your enforced spend limit.",
                "details": {"error_code": "enforced_spend_limit_reached"},
            }, "request_id": "req_simulated"});
            return Some(Refusal { body: body.to_string().into(), ..anthropic(429, "rate_limit_error", "") });
        }
        FaultKind::ServerError500 => (500, "Internal server error".to_owned()),
        FaultKind::Unavailable503 { .. } => (503, "Service temporarily unavailable".to_owned()),
        FaultKind::GatewayTimeout504 => (504, "Request timed out while being processed".to_owned()),
        FaultKind::Overloaded529 => (529, "Overloaded".to_owned()),
        _ => return None,
    };
    Some(anthropic(status, anthropic_type(status), &message))
}

fn of_fault_gemini(fault: FaultKind, model: &str, hint: Option<RetryHint>) -> Option<Refusal> {
    let (status, message) = match fault {
        FaultKind::BadRequestContextLength => {
            (400, "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).".to_owned())
        }
        FaultKind::ContentPolicy400 => {
            let body = json!({
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
                "modelVersion": model, "responseId": "simulated",
            });
            return Some(Refusal { status: 200, body: body.to_string().into(), ..google(400, "", "", &[]) });
        }
        FaultKind::Unauthorized401 => (
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.".to_owned(),
        ),
        FaultKind::Payment402 => (402, "Your prepayment credits are depleted.".to_owned()),
        FaultKind::Forbidden403 => (403, "The caller does not have permission".to_owned()),
        FaultKind::Model404 => (
            404,
            format!("models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."),
        ),
        FaultKind::Timeout408 => (408, "The request timed out.".to_owned()),
        FaultKind::TooLarge413 => (413, "Request payload size exceeds the limit: 20971520 bytes.".to_owned()),
        FaultKind::RateLimited429 { .. } => {
            let message = format!(
                "You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 10{}",
                native_text(hint, "\nPlease retry in")
            );
            return Some(google(429, google_status(429), &message, &quota_details("PerMinute", hint)));
        }
        FaultKind::QuotaExhausted429 => {
            let message = "You exceeded your current quota, please check your plan and billing details.";
            return Some(google(429, google_status(429), message, &quota_details("PerDay", None)));
        }
        FaultKind::ServerError500 => {
            (500, "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting".to_owned())
        }
        FaultKind::Unavailable503 { .. } => (503, "The model is overloaded. Please try again later.".to_owned()),
        FaultKind::GatewayTimeout504 => (504, "Deadline expired before operation could complete.".to_owned()),
        FaultKind::Overloaded529 => (529, "The model is overloaded. Please try again later.".to_owned()),
        _ => return None,
    };
    Some(google(status, google_status(status), &message, &[]))
}

fn quota_details(per: &str, hint: Option<RetryHint>) -> Vec<Value> {
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": format!("GenerateRequests{per}PerProjectPerModel-FreeTier"), "quotaValue": "10",
        }],
    })];
    if let Some(hint) = hint.filter(|hint| matches!(hint.form, HintForm::Native | HintForm::Body)) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", hint.after.as_secs_f64()),
        }));
    }
    details
}

/// The hint as a sentence, in the forms that write one.
fn native_text(hint: Option<RetryHint>, words: &str) -> String {
    match hint {
        Some(RetryHint { after, form: HintForm::Text | HintForm::Body }) => {
            let space = if words.starts_with('\n') { "" } else { " " };
            format!("{space}{words} {}s.", after.as_secs_f64())
        }
        _ => String::new(),
    }
}

fn with_hint(mut refusal: Refusal, dialect: DialectName, hint: RetryHint, now: SystemTime) -> Refusal {
    let seconds = hint.after.as_secs_f64();
    match (hint.form, dialect) {
        (HintForm::Native | HintForm::Body, DialectName::Gemini) | (HintForm::Body | HintForm::Text, _) => {}
        (HintForm::Native | HintForm::Seconds, _) => refusal.headers.push(("retry-after", seconds.to_string())),
        (HintForm::Milliseconds, _) => refusal.headers.push(("retry-after-ms", (seconds * 1000.0).to_string())),
        (HintForm::Date, _) => {
            // A date has whole seconds: round up, so that it never says too early.
            let until = now + hint.after + Duration::from_millis(999);
            refusal.headers.push(("retry-after", httpdate::fmt_http_date(until)));
        }
        (HintForm::Reset, DialectName::AnthropicMessages) => {
            refusal.headers.push(("anthropic-ratelimit-requests-limit", "50".to_owned()));
            refusal.headers.push(("anthropic-ratelimit-requests-remaining", "0".to_owned()));
            refusal.headers.push(("anthropic-ratelimit-requests-reset", rfc3339(now + hint.after)));
        }
        (HintForm::Reset, DialectName::OpenaiChat | DialectName::Gemini) => {
            refusal.headers.push(("x-ratelimit-limit-requests", "3".to_owned()));
            refusal.headers.push(("x-ratelimit-remaining-requests", "0".to_owned()));
            refusal.headers.push(("x-ratelimit-reset-requests", format!("{}ms", hint.after.as_millis())));
        }
    }
    refusal
}

/// `2026-01-01T00:00:02Z`, rounded up to a second, from the same calendar as an HTTP date.
fn rfc3339(time: SystemTime) -> String {
    let date = httpdate::fmt_http_date(time + Duration::from_millis(999));
    let words: Vec<&str> = date.split(' ').collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    match words.as_slice() {
        [_, day, month, year, clock, _] => {
            let month = months.iter().position(|name| name == month).unwrap_or(0) + 1;
            format!("{year}-{month:02}-{day}T{clock}Z")
        }
        _ => date,
    }
}

fn json_refusal(status: u16, body: &Value) -> Refusal {
    Refusal { status, headers: Vec::new(), content_type: "application/json", body: body.to_string().into() }
}

fn openai(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Refusal {
    json_refusal(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

fn anthropic(status: u16, kind: &str, message: &str) -> Refusal {
    let error = json!({"type": kind, "message": message});
    json_refusal(status, &json!({"type": "error", "error": error, "request_id": "req_simulated"}))
}

fn google(status: u16, name: &str, message: &str, details: &[Value]) -> Refusal {
    let mut error = json!({"code": status, "message": message, "status": name});
    if let (false, Some(fields)) = (details.is_empty(), error.as_object_mut()) {
        fields.insert("details".to_owned(), details.into());
    }
    json_refusal(status, &json!({"error": error}))
}

fn html(status: u16, title: &str) -> Refusal {
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    );
    Refusal { status, headers: Vec::new(), content_type: "text/html", body: page.into() }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        503 | 529 => "UNAVAILABLE",
        500..=599 => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusing_fault_has_the_shape_of_its_dialect() {
        for fault in FaultKind::all() {
            for dialect in DialectName::ALL {
                let Some(refusal) = of_fault(dialect, fault, "m", SystemTime::UNIX_EPOCH) else { continue };
                if refusal.content_type == "text/html" || (refusal.status == 200 && fault != FaultKind::ErrorIn200) {
                    continue;
                }
                let body: Value = serde_json::from_slice(&refusal.body).unwrap();
                let place = match dialect {
                    DialectName::OpenaiChat | DialectName::AnthropicMessages => "/error/type",
                    DialectName::Gemini => "/error/status",
                };
                assert!(body.pointer(place).is_some_and(Value::is_string), "{fault} {dialect}: {body}");
                assert!(body.pointer("/error/message").is_some_and(|m| m != ""), "{fault} {dialect}: {body}");
            }
        }
    }

    #[test]
    fn each_hint_form_is_said_once() {
        let after = Duration::from_secs(2);
        let said = |dialect, form| {
            let fault = FaultKind::RateLimited429 { retry: Some(RetryHint { after, form }) };
            of_fault(dialect, fault, "m", SystemTime::UNIX_EPOCH).unwrap()
        };
        let header = |refusal: Refusal| refusal.headers.last().cloned().unwrap();
        let openai = DialectName::OpenaiChat;
        assert_eq!(header(said(openai, HintForm::Native)), ("retry-after", "2".to_owned()));
        assert_eq!(header(said(openai, HintForm::Milliseconds)), ("retry-after-ms", "2000".to_owned()));
        assert_eq!(header(said(openai, HintForm::Date)).1, "Thu, 01 Jan 1970 00:00:02 GMT");
        assert_eq!(header(said(openai, HintForm::Reset)), ("x-ratelimit-reset-requests", "2000ms".to_owned()));
        assert_eq!(header(said(DialectName::AnthropicMessages, HintForm::Reset)).1, "1970-01-01T00:00:02Z");
        let text = said(openai, HintForm::Text);
        assert!(text.headers.is_empty());
        assert!(String::from_utf8_lossy(&text.body).contains("Please try again in 2s."));
        let google = said(DialectName::Gemini, HintForm::Native);
        assert!(google.headers.is_empty());
        assert!(String::from_utf8_lossy(&google.body).contains("\"retryDelay\":\"2s\""));
    }
}
