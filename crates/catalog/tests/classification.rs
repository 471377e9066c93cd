//! What holds for every provider: statuses, overflow texts, and the words that mean two things.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use canon::{Fault, FaultClass, FinishReason, Origin, PromptBlock, Scope};
use catalog::{Catalog, Provider, RawProvider, classify};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000)
}

fn shipped(name: &str) -> Arc<Provider> {
    Arc::clone(&Catalog::builtin().unwrap().providers[name])
}

/// A provider that nobody described: its dialect and the common rules are all there is.
fn undescribed() -> Provider {
    let row: RawProvider =
        serde_json::from_value(json!({"dialect": "openai-chat", "base_url": "http://10.0.0.7:8000/v1"})).unwrap();
    Catalog::builtin().unwrap().with_overrides("in-house", row).unwrap()
}

fn head(provider: &Provider, status: u16, body: &str) -> Fault {
    classify::head(provider, status, &|_| None, body.as_bytes(), now())
}

#[test]
fn a_status_alone_has_a_meaning() {
    let provider = undescribed();
    for (statuses, class) in [
        (vec![400, 405, 406, 413, 415, 418, 422, 431, 451], FaultClass::InvalidRequest),
        (vec![401, 403, 412], FaultClass::AuthRejected),
        (vec![402], FaultClass::QuotaExhausted),
        (vec![404, 410], FaultClass::ModelMissing),
        (vec![408, 409, 424, 425, 500, 501, 502, 504, 505, 599], FaultClass::ServerError),
        (vec![429], FaultClass::RateLimited),
        (vec![498, 503, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530], FaultClass::Overloaded),
        (vec![499], FaultClass::Cancelled),
        (vec![301, 302, 307, 308], FaultClass::Unreachable),
    ] {
        for status in statuses {
            let fault = head(&provider, status, r#"{"error":{"message":"m"}}"#);
            assert_eq!(fault.class, class, "{status}");
            assert_eq!((fault.status, fault.origin), (Some(status), Origin::Head));
            assert_eq!(fault.scope, class.default_scope());
        }
    }
}

#[test]
fn every_text_for_too_long_a_prompt_is_known_at_every_provider() {
    for name in Catalog::builtin().unwrap().providers.keys() {
        for text in [
            "context_length_exceeded",
            "This model's Maximum context length is 8192 tokens",
            "input length and max_tokens exceed context limit: 1 + 2 > 2",
            "prompt is too long: 3 tokens > 2 maximum",
            "Input is too long for requested model",
            "too many tokens: 5",
            "The input token count (3) exceeds the maximum number of tokens allowed (2)",
            "The prompt is longer than the model's context length",
            "Input tokens exceed the configured limit of 272000 tokens",
            "the request exceeds the available context size",
            "Current length is 9000 while limit is 8192",
            "Requested token count exceeds the model's maximum",
            "Your request exceeded model token limit: 8192 (requested: 9000)",
            "Prompt contains 9 tokens, too large for model with 8 maximum context length",
            "Range of input length should be [1, 6144]",
        ] {
            let body = json!({"error": {"message": text, "type": "invalid_request_error"}}).to_string();
            let fault = head(&shipped(name), 400, &body);
            assert_eq!(fault.class, FaultClass::ContextExceeded, "{name}: {text}");
            assert_eq!((fault.scope, fault.retry_after), (Scope::Request, None));
        }
    }
}

#[test]
fn a_body_too_large_is_the_prompt_s_fault_only_if_tokens_are_named() {
    let provider = undescribed();
    assert_eq!(head(&provider, 413, "Request has too many input tokens").class, FaultClass::ContextExceeded);
    assert_eq!(head(&provider, 413, "length limit exceeded").class, FaultClass::InvalidRequest);
}

#[test]
fn the_same_words_mean_different_things_at_different_providers() {
    let money = r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    assert_eq!(head(&shipped("openai"), 429, money).class, FaultClass::QuotaExhausted);
    assert_eq!(head(&shipped("dashscope"), 429, money).class, FaultClass::RateLimited);

    let moderated = r#"{"code":"x","error":"Content violates usage guidelines. SAFETY_CHECK_TYPE_BIO"}"#;
    assert_eq!(head(&shipped("xai"), 403, moderated).class, FaultClass::ContentBlocked);
    assert_eq!(head(&shipped("openai"), 403, r#"{"error":{"message":"no"}}"#).class, FaultClass::AuthRejected);
    assert_eq!(head(&shipped("groq"), 403, r#"{"error":{"message":"no"}}"#).class, FaultClass::ModelMissing);

    let bad_request = r#"{"error":{"message":"m","type":"authentication_error","code":"invalid_request_error"}}"#;
    assert_eq!(head(&shipped("deepseek"), 401, bad_request).class, FaultClass::AuthRejected);
    let full = r#"{"object":"error","message":"m","type":"invalid_request_error","code":"3505"}"#;
    assert_eq!(head(&shipped("mistral"), 429, full).class, FaultClass::Overloaded);

    for (name, body, class) in [
        ("openai", r#"{"error":{"message":"m"}}"#, FaultClass::InvalidRequest),
        (
            "gemini",
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}"#,
            FaultClass::AuthRejected,
        ),
        ("xai", r#"{"code":"c","error":"Incorrect API key provided: x"}"#, FaultClass::AuthRejected),
        (
            "anthropic",
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            FaultClass::QuotaExhausted,
        ),
        ("dashscope", r#"{"code":"Arrearage","message":"m"}"#, FaultClass::QuotaExhausted),
        ("groq", r#"{"error":{"message":"m","code":"tool_use_failed"}}"#, FaultClass::BadAnswer),
    ] {
        assert_eq!(head(&shipped(name), 400, body).class, class, "{name}");
    }
    let filtered =
        r#"{"error":{"message":"m","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    assert_eq!(head(&undescribed(), 400, filtered).class, FaultClass::ContentBlocked);
    assert_eq!(head(&shipped("groq"), 498, "").class, FaultClass::Overloaded);
    assert_eq!(
        head(&undescribed(), 404, r#"{"error":{"code":"DeploymentNotFound","message":"m"}}"#).class,
        FaultClass::ModelMissing
    );
}

#[test]
fn a_429_that_must_not_be_retried_is_no_rate_limit_unless_a_limit_is_used_up() {
    let provider = undescribed();
    let with = |headers: &[(&str, &str)]| {
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        classify::head(&provider, 429, &header, b"{}", now())
    };
    let hopeless = with(&[("x-should-retry", "false"), ("x-ratelimit-remaining-tokens", "5000")]);
    assert_eq!((hopeless.class, hopeless.scope), (FaultClass::Overloaded, Scope::Request));
    assert_eq!(with(&[("x-should-retry", "false")]).class, FaultClass::Overloaded);
    let spent = with(&[("x-should-retry", "false"), ("x-ratelimit-remaining-tokens", "0")]);
    assert_eq!(spent.class, FaultClass::RateLimited);
    assert_eq!(with(&[("x-should-retry", "true")]).class, FaultClass::RateLimited);
}

#[test]
fn a_hint_is_kept_only_where_waiting_can_help() {
    let provider = undescribed();
    let header = |name: &str| match name {
        "retry-after" => Some("7"),
        "x-ratelimit-reset-tokens" => Some("9s"),
        _ => None,
    };
    let wait = |status: u16| classify::head(&provider, status, &header, b"", now()).retry_after;
    for status in [402, 429, 500, 503, 529] {
        assert_eq!(wait(status), Some(Duration::from_secs(7)), "{status}");
    }
    for status in [400, 401, 404, 422] {
        assert_eq!(wait(status), None, "{status}");
    }
    let reset = |name: &str| (name == "x-ratelimit-reset-tokens").then_some("9s");
    assert_eq!(classify::head(&provider, 429, &reset, b"", now()).retry_after, Some(Duration::from_secs(9)));
    assert_eq!(classify::head(&provider, 503, &reset, b"", now()).retry_after, None);
}

#[test]
fn a_200_that_is_no_answer_is_a_bad_answer() {
    let provider = undescribed();
    let page = classify::unreadable(&provider, b"<html><title>Sign in</title></html>");
    assert_eq!((page.class, page.scope, page.origin), (FaultClass::BadAnswer, Scope::Model, Origin::Body));
    assert!(page.message.contains("Sign in") && !page.message.contains('<'), "{}", page.message);
    assert_eq!(classify::unreadable(&provider, br#"{"object": "list"}"#).class, FaultClass::BadAnswer);
    assert_eq!(classify::unreadable(&provider, br#"{"error": null}"#).class, FaultClass::BadAnswer);
    assert_eq!(classify::empty_answer(&provider).class, FaultClass::BadAnswer);
}

#[test]
fn a_200_that_is_an_error_object_is_that_error() {
    let at_capacity = br#"{"code":"The service is currently unavailable","error":"The model is at capacity"}"#;
    assert_eq!(classify::unreadable(&shipped("xai"), at_capacity).class, FaultClass::Overloaded);
    let limited = br#"{"error":{"code":429,"message":"slow down, retry in 2s"}}"#;
    let fault = classify::unreadable(&undescribed(), limited);
    assert_eq!((fault.class, fault.retry_after), (FaultClass::RateLimited, Some(Duration::from_secs(2))));
}

#[test]
fn a_blocked_prompt_says_why() {
    let block = PromptBlock { reason: "PROHIBITED_CONTENT".into(), message: None };
    let fault = classify::prompt_blocked(&shipped("gemini"), &block);
    assert_eq!((fault.class, fault.code.as_deref()), (FaultClass::ContentBlocked, Some("PROHIBITED_CONTENT")));
}

#[test]
fn a_finish_reason_is_a_fault_only_if_it_leaves_no_answer() {
    let provider = undescribed();
    let class =
        |reason, native: &str, content| classify::finish(&provider, reason, native, content).map(|fault| fault.class);
    for reason in
        [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls, FinishReason::Pause, FinishReason::Other]
    {
        assert_eq!(class(reason, "x", false), None, "{reason:?}");
    }
    assert_eq!(class(FinishReason::ContentFilter, "content_filter", true), None);
    assert_eq!(class(FinishReason::ContentFilter, "content_filter", false), Some(FaultClass::ContentBlocked));
    assert_eq!(class(FinishReason::ProviderError, "error", true), Some(FaultClass::ServerError));
    assert_eq!(class(FinishReason::BrokenOutput, "x", true), Some(FaultClass::BadAnswer));
}

#[test]
fn an_error_inside_a_200_takes_the_status_it_states() {
    let fault = classify::in_body(&undescribed(), &json!({"error": {"code": 429, "message": "retry in 2s"}}), now());
    assert_eq!((fault.class, fault.status), (FaultClass::RateLimited, Some(429)));
    assert_eq!(fault.retry_after, Some(Duration::from_secs(2)));
    assert!(fault.may_be_billed);
    let silent = classify::in_body(&undescribed(), &json!({"error": {"message": "oh"}}), now());
    assert_eq!((silent.class, silent.status), (FaultClass::StreamBroken, None));
}

#[test]
fn a_provider_s_text_reaches_nobody_unscrubbed_or_unbounded() {
    let key = "sk-proj-abcdefghijklmnopqrstuvwxyz";
    let body = json!({"error": {"message": format!("Bad key {key} {}", "x".repeat(100_000)), "code": key}}).to_string();
    let fault = head(&undescribed(), 401, &body);
    assert!(!fault.message.contains(key) && fault.message.len() <= 2100);
    assert!(!fault.code.unwrap().contains(key));
}

proptest! {
    #[test]
    fn any_answer_becomes_a_fault(status in 300_u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        for provider in Catalog::builtin().unwrap().providers.values() {
            let fault = classify::head(provider, status, &|_| None, &body, now());
            prop_assert!(!fault.message.is_empty());
            prop_assert_eq!(fault.status, Some(status));
        }
    }

    #[test]
    fn bytes_that_say_nothing_leave_the_status_to_decide(status in 400_u16..600, noise in "[0-9 ]{0,40}") {
        let provider = undescribed();
        prop_assert_eq!(head(&provider, status, &noise).class, head(&provider, status, "").class);
    }
}
