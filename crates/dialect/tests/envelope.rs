//! Every family of error envelope, and the scrubbing of credentials.

use dialect::envelope::{ErrorFields, scrub};
use proptest::prelude::*;
use serde_json::json;

fn read(status: u16, body: &str) -> ErrorFields {
    ErrorFields::from_body(status, body.as_bytes())
}

#[expect(clippy::unnecessary_wraps, reason = "what a table compares with")]
fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn an_openai_error_is_read() {
    let fields = read(
        400,
        r#"{"error":{"message":"Unsupported parameter","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
    );
    assert_eq!(fields.status, Some(400));
    assert_eq!(fields.code, text("unsupported_parameter"));
    assert_eq!(fields.kind, text("invalid_request_error"));
    assert_eq!(fields.parameter, text("max_tokens"));
    assert_eq!(fields.message, "Unsupported parameter");
    assert!(!fields.not_json);
}

#[test]
fn an_azure_error_keeps_its_inner_code() {
    let fields = read(
        400,
        r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,
            "innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true}}}}}"#,
    );
    assert_eq!(fields.code, text("content_filter"));
    assert_eq!(fields.reasons, ["ResponsibleAIPolicyViolation"]);
}

#[test]
fn an_anthropic_error_s_kind_is_not_the_envelope_s() {
    let fields = read(
        429,
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"no","details":{"error_code":"contract_spend_limit_reached"}},"request_id":null}"#,
    );
    assert_eq!(fields.kind, text("rate_limit_error"));
    assert_eq!(fields.reasons, ["contract_spend_limit_reached"]);
    assert_eq!(fields.message, "no");
}

const GOOGLE: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 3.9s.","status":"RESOURCE_EXHAUSTED","details":[
    {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProject","quotaValue":"2"}]},
    {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.957525076s"}]}}"#;

#[test]
fn a_google_error_gives_its_quota_and_its_delay_plain_and_in_an_array() {
    for body in [GOOGLE.to_owned(), format!("[{GOOGLE}]")] {
        let fields = read(429, &body);
        assert_eq!(fields.code, text("429"));
        assert_eq!(fields.kind, text("RESOURCE_EXHAUSTED"));
        assert_eq!(fields.retry_delay, text("3.957525076s"));
        assert!(fields.reasons.contains(&"GenerateRequestsPerMinutePerProject".to_owned()), "{:?}", fields.reasons);
    }
    let fields = read(
        400,
        r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
    );
    assert_eq!(fields.reasons, ["API_KEY_INVALID"]);
}

#[test]
fn a_google_bad_request_names_its_field() {
    let fields = read(
        400,
        r#"{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"foo\": Cannot find field.","status":"INVALID_ARGUMENT"}}"#,
    );
    assert_eq!(fields.parameter, text("foo"));
}

#[test]
fn flat_errors_are_read() {
    let mistral = read(
        400,
        r#"{"object":"error","message":"too large","type":"invalid_request_error","param":null,"code":"3051"}"#,
    );
    assert_eq!((mistral.code, mistral.kind), (text("3051"), text("invalid_request_error")));
    let dashscope = read(429, r#"{"code":"Throttling.RateQuota","message":"slow","request_id":"r"}"#);
    assert_eq!((dashscope.code, dashscope.message.as_str()), (text("Throttling.RateQuota"), "slow"));
    let cohere = read(400, r#"{"id":"x","message":"too many tokens: 5","error_type":"bad"}"#);
    assert_eq!((cohere.kind, cohere.message.as_str()), (text("bad"), "too many tokens: 5"));
    let aws = read(403, r#"{"Message":"no access"}"#);
    assert_eq!(aws.message, "no access");
    let cerebras =
        read(400, r#"{"message":"m","type":"too_many_requests_error","param":"quota","code":"queue_exceeded"}"#);
    assert_eq!((cerebras.code, cerebras.parameter), (text("queue_exceeded"), text("quota")));
}

#[test]
fn a_string_is_an_error_too() {
    let xai =
        read(400, r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: in***ey."}"#);
    assert_eq!(xai.code, text("Client specified an invalid argument"));
    assert_eq!(xai.message, "Incorrect API key provided: in***ey.");
    assert_eq!(read(401, r#"{"error":"Unauthorized"}"#).message, "Unauthorized");
    assert_eq!(read(401, r#""Unauthorized""#).message, "Unauthorized");
}

#[test]
fn details_of_a_validation_name_the_parameter() {
    let fields = read(
        422,
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":5}]}"#,
    );
    assert_eq!(fields.parameter, text("seed"));
    assert_eq!(fields.reasons, ["extra_forbidden"]);
    assert_eq!(fields.message, "seed: Extra inputs are not permitted");
    assert_eq!(read(401, r#"{"detail":"Unauthorized"}"#).message, "Unauthorized");
}

#[test]
fn an_openrouter_error_shows_the_cause_behind_it() {
    let fields = read(
        429,
        r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"error_type":"rate_limit_exceeded","provider_name":"X",
            "raw":"{\"error\":{\"message\":\"slow down\",\"type\":\"requests\",\"code\":\"rpm\"}}"}},"user_id":"u"}"#,
    );
    assert_eq!(fields.code, text("429"));
    assert_eq!(fields.message, "slow down: Provider returned error");
    for word in ["rate_limit_exceeded", "rpm", "requests"] {
        assert!(fields.reasons.iter().any(|reason| reason == word), "{word}");
    }
    let plain = read(
        429,
        r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"k2 is temporarily rate-limited"}}}"#,
    );
    assert_eq!(plain.message, "k2 is temporarily rate-limited: Provider returned error");
}

#[test]
fn what_is_not_json_is_kept_as_text_without_tags() {
    let html = read(
        502,
        "<html><head><title>502 Bad Gateway</title><style>a{b}</style></head><body><h1>502</h1></body></html>",
    );
    assert!(html.not_json);
    assert_eq!(html.message, "502 Bad Gateway 502");
    let plain = read(408, "upstream request timeout\nPlease check");
    assert_eq!((plain.not_json, plain.message.as_str()), (true, "upstream request timeout Please check"));
    assert_eq!(read(500, &"x".repeat(5000)).message.len(), 200);
    assert_eq!(read(500, "").message, "");
    assert_eq!(read(500, "a < b and b > c").message, "a c");
}

#[test]
fn comments_blank_lines_and_events_before_the_json_are_passed_over() {
    for body in [
        "\n\n{\"error\":{\"message\":\"late\"}}",
        ": OPENROUTER PROCESSING\n\n{\"error\":{\"message\":\"late\"}}",
        "event: error\ndata: {\"error\":{\"message\":\"late\"}}\n\n",
    ] {
        assert_eq!(read(503, body).message, "late", "{body:?}");
    }
}

#[test]
fn an_error_inside_a_200_is_found_wherever_it_is() {
    let of = |value: serde_json::Value| ErrorFields::from_value(&value);
    let inner = json!({"message": "m", "type": "t", "code": 502});
    for whole in [
        inner.clone(),
        json!({"error": inner.clone()}),
        json!({"choices": [{"index": 0, "error": inner.clone()}]}),
        json!({"id": "c", "choices": [], "x_groq": {"error": inner.clone()}}),
        json!({"type": "response.failed", "response": {"status": "failed", "error": inner.clone()}}),
    ] {
        let fields = of(whole.clone());
        assert_eq!((fields.message.as_str(), fields.code), ("m", text("502")), "{whole}");
        assert_eq!(fields.status, Some(502), "{whole}");
    }
    let groq = of(json!({"error": {"message": "m", "code": "tool_use_failed", "status_code": 400}}));
    assert_eq!((groq.code, groq.status), (text("tool_use_failed"), Some(400)));
    let anthropic =
        of(json!({"type": "error", "error": {"details": null, "type": "overloaded_error", "message": "Overloaded"}}));
    assert_eq!((anthropic.kind, anthropic.status), (text("overloaded_error"), None));
}

#[test]
fn credentials_are_removed_and_words_are_kept() {
    for (dirty, clean) in [
        (
            "Incorrect API key provided: sk-inval**************-key. You can",
            "Incorrect API key provided: [redacted]. You can",
        ),
        ("Incorrect API key provided: invalid-key. See", "Incorrect API key provided: [redacted]. See"),
        ("Your api key: ****-key is invalid", "Your api key: [redacted] is invalid"),
        ("key sk-proj-abcdefghijklmnop1234 failed", "key [redacted] failed"),
        ("'sk-ant-api03-abc_DEF-123'", "'[redacted]'"),
        ("AIzaSyA1234567890abcdefg", "[redacted]"),
        ("Authorization: Bearer abc.def.ghi!", "Authorization: Bearer [redacted]!"),
        ("https://g.example/v1/models/m?key=abc123&alt=sse", "https://g.example/v1/models/m?key=[redacted]&alt=sse"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.abc", "[redacted]"),
        ("gsk_1234567890abcdef", "[redacted]"),
        (r#"{"api_key": "hunter22", "model": "m"}"#, r#"{"api_key": "[redacted]", "model": "m"}"#),
        ("Expected a bearer: none was sent", "Expected a bearer: none was sent"),
        ("use sk-learn for the task-force", "use sk-learn for the task-force"),
        ("prompt is too long: 5 > 4", "prompt is too long: 5 > 4"),
        ("**bold** and gpt-5.1/chat", "**bold** and gpt-5.1/chat"),
        ("", ""),
    ] {
        assert_eq!(scrub(dirty), clean);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let fields = ErrorFields::from_body(500, &body);
        prop_assert_eq!(fields.status, Some(500));
    }

    #[test]
    fn a_key_never_survives(before in "[a-z ,:]{0,20}", key in "[A-Za-z0-9]{20,40}", after in "[ ,'\"!]\\PC{0,20}") {
        for prefix in ["sk-", "sk-ant-", "AIza", "gsk_", "xai-"] {
            let dirty = format!("{before} {prefix}{key}{after}");
            prop_assert!(!scrub(&dirty).contains(&key), "{}", dirty);
        }
        for marker in ["Bearer ", "https://x?key=", "x&key="] {
            let dirty = format!("{marker}{key}{after}");
            prop_assert!(!scrub(&dirty).contains(&key), "{}", dirty);
        }
    }

    #[test]
    fn scrubbing_twice_is_scrubbing_once(text in "\\PC{0,80}") {
        let once = scrub(&text);
        prop_assert_eq!(scrub(&once), once);
    }
}
