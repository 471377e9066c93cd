//! Headers cross by allow-list, both ways.

use crate::support::memory::{Plan, read};
use crate::support::transports::{Scripted, openai_answer, reply};
use crate::support::{hello, snapshot};
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

const CALLERS: [(&str, &str); 14] = [
    ("authorization", "Bearer sk-caller"),
    ("x-api-key", "sk-caller"),
    ("x-goog-api-key", "sk-caller"),
    ("cookie", "session=1"),
    ("connection", "keep-alive, x-secret"),
    ("x-secret", "1"),
    ("proxy-authorization", "Basic x"),
    ("te", "trailers"),
    ("upgrade", "h2c"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-stainless-lang", "python"),
    ("openai-organization", "org-caller"),
    ("openai-project", "proj-caller"),
    ("accept-encoding", "gzip, br"),
];

#[tokio::test(start_paused = true)]
async fn credentials_cookies_and_hop_by_hop_headers_never_cross_upstream() {
    for upstream in DialectName::ALL {
        for caller in DialectName::ALL {
            let world = Plan::of(upstream).build();
            let mut request = hello(caller, true);
            for (name, value) in CALLERS {
                request.headers_mut().append(name, HeaderValue::from_static(value));
            }
            world.send(request).await.served_by("primary");
            let sent = &world.spy.sent()[0].headers;
            for (name, value) in sent {
                let value = value.to_str().unwrap();
                assert!(
                    !value.contains("caller") && !value.contains("session"),
                    "{caller} to {upstream}: {name}: {value}"
                );
                let is_own = ["authorization", "x-api-key", "x-goog-api-key"].contains(&name.as_str());
                let is_listed = CALLERS.iter().any(|(listed, _)| listed == name);
                assert!(is_own || !is_listed, "{caller} to {upstream}: {name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operators_own_allow_list_cannot_open_credentials_or_hop_by_hop_headers() {
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let yaml = yaml.replace("keys: [sk-1]", "keys: [sk-1], request_headers: [\"*\"], response_headers: [\"*\"]");
    let seen = Arc::new(std::sync::Mutex::new(None));
    let log = seen.clone();
    let transport = Scripted(move |call: upstream::Call| {
        *log.lock().unwrap() = Some(call.headers);
        let headers = [
            ("content-type", "application/json"),
            ("set-cookie", "a=b"),
            ("transfer-encoding", "chunked"),
            ("x-request-id", "theirs"),
            ("x-mainstay-provider", "theirs"),
            ("x-anything", "1"),
        ];
        Ok(reply(200, &headers, &openai_answer("Hi")))
    });
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let mut request = hello(DialectName::OpenaiChat, false);
    for (name, value) in CALLERS {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let answer = read(gateway.handle(request).await).await;
    let sent = seen.lock().unwrap().take().unwrap();
    assert_eq!(sent["authorization"], "Bearer sk-1");
    assert_eq!(sent["x-stainless-lang"], "python", "what the operator opened does cross");
    for name in ["cookie", "x-api-key", "te", "upgrade", "connection", "proxy-authorization", "accept-encoding"] {
        assert!(!sent.contains_key(name), "{name}");
    }
    assert_eq!(answer.header("x-anything"), Some("1"), "what the operator opened does cross");
    answer.served_by("primary");
    for name in ["set-cookie", "transfer-encoding"] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    assert_ne!(answer.header("x-request-id"), Some("theirs"));
}

#[tokio::test(start_paused = true)]
async fn answers_cross_by_allow_list_and_organisation_headers_do_not_come_back() {
    let transport = Scripted(|_| {
        let headers = [
            ("content-type", "application/json"),
            ("x-ratelimit-remaining-requests", "9"),
            ("openai-processing-ms", "12"),
            ("openai-organization", "org-1"),
            ("openai-project", "proj-1"),
            ("set-cookie", "__cf_bm=1"),
            ("server", "cloudflare"),
            ("cf-ray", "1"),
            ("alt-svc", "h3"),
            ("connection", "keep-alive"),
        ];
        Ok(reply(200, &headers, &openai_answer("Hi")))
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let answer = read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("9"));
    assert_eq!(answer.header("openai-processing-ms"), Some("12"));
    for name in ["openai-organization", "openai-project", "set-cookie", "server", "cf-ray", "alt-svc", "connection"] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    let translated = read(gateway.handle(hello(DialectName::AnthropicMessages, false)).await).await;
    assert!(translated.header("openai-processing-ms").is_none(), "another dialect's headers mean nothing here");
}

#[tokio::test(start_paused = true)]
async fn the_headers_a_configured_provider_opens_do_cross() {
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let yaml = yaml.replace("keys: [sk-1]", "keys: [sk-1], response_headers: [x-correlation]");
    let transport = Scripted(|_| {
        let headers = [("content-type", "application/json"), ("x-correlation", "7")];
        Ok(reply(200, &headers, &openai_answer("Hi")))
    });
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let answer = read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await;
    assert_eq!(answer.header("x-correlation"), Some("7"));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_sent_twice_crosses_twice() {
    let world = Plan::of(DialectName::AnthropicMessages).build();
    let mut request = hello(DialectName::AnthropicMessages, false);
    for beta in ["one-2025-01-01", "two-2025-01-01"] {
        request.headers_mut().append(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static(beta));
    }
    world.send(request).await;
    let sent = &world.spy.sent()[0].headers;
    assert_eq!(sent.get_all("anthropic-beta").iter().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn routing_is_decided_on_the_parsed_path_alone_never_host() {
    let world = Plan::default().build();
    let mut request = hello(DialectName::OpenaiChat, false);
    request.headers_mut().insert("host", HeaderValue::from_static("admin.internal"));
    request.headers_mut().insert("x-forwarded-host", HeaderValue::from_static("fallback"));
    *request.uri_mut() = "http://fallback/v1/chat/completions".parse().unwrap();
    world.send(request).await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn idempotency_keys_go_upstream_only_with_an_attempt_suffix() {
    let world = Plan::default().build();
    world.break_primary("server_error_500");
    let mut request = hello(DialectName::OpenaiChat, false);
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("abc"));
    world.send(request).await.served_by("fallback");
    let keys: Vec<String> =
        world.spy.sent().iter().map(|sent| sent.headers["idempotency-key"].to_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["abc-0", "abc-1", "abc-2"]);
}

#[tokio::test(start_paused = true)]
async fn every_final_error_after_exhaustion_carries_x_should_retry_false() {
    for fault in [
        "unavailable_503",
        "rate_limited_429:retry_after=9s",
        "model_404",
        "unauthorized_401",
        "payment_402",
        "timeout_408",
        "too_large_413",
        "bad_request_context_length",
        "content_policy_400",
        "hang_before_headers",
        "html_in_200",
        "refuse",
    ] {
        for stream in [false, true] {
            let world = Plan::default().build();
            world.break_primary(fault);
            world.break_fallback(fault);
            let answer = world.send(hello(DialectName::OpenaiChat, stream)).await;
            assert!(answer.status >= 400, "{fault}");
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{fault}: {}", answer.status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn provider_error_texts_are_scrubbed_before_they_are_shown() {
    let transport = Scripted(|_| {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-proj-abcdefghijklmnopqrstuvwxyz0123456789.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
        Ok(reply(401, &[("content-type", "application/json")], body))
    });
    let yaml = Plan::default().alone().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let answer = read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(!answer.text().contains("abcdefghijkl"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_headers_say_that_its_limit_is_nearly_used_up_is_passed_over_before_it_refuses() {
    let transport = Scripted(|call: upstream::Call| {
        let left = if call.endpoint.host == "primary" { "5" } else { "99" };
        let headers = [
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "100"),
            ("x-ratelimit-remaining-requests", left),
            ("x-ratelimit-reset-requests", "57s"),
        ];
        Ok(reply(200, &headers, &openai_answer("Hi")))
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let ask = async || read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await;
    ask().await.served_by("primary");
    let diverted = ask().await;
    diverted.served_by("fallback");
    assert_eq!(diverted.header("x-mainstay-reason"), Some("near_limit"));
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    ask().await.served_by("primary");
}
