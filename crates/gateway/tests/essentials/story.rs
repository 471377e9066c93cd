//! What every response says of its own making: headers always, the story when it is asked for.

use crate::support::memory::{Answer, Plan};
use crate::support::{body, hello, request};
use bytes::Bytes;
use canon::DialectName;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::json;

const ALWAYS: [&str; 8] = [
    "x-request-id",
    "x-mainstay-provider",
    "x-mainstay-model",
    "x-mainstay-attempts",
    "x-mainstay-fallback",
    "x-mainstay-reason",
    "x-mainstay-cache",
    "x-mainstay-dropped",
];

fn traced(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    request
}

fn of_model(dialect: DialectName, model: &str) -> Request<Full<Bytes>> {
    let mut request = hello(dialect, false);
    let text = match dialect {
        DialectName::Gemini => {
            *request.uri_mut() = format!("/v1beta/models/{model}:generateContent").parse().unwrap();
            return request;
        }
        DialectName::OpenaiChat | DialectName::AnthropicMessages => {
            let mut body = body(dialect, "Hello");
            body["model"] = json!(model);
            body.to_string()
        }
    };
    *request.body_mut() = Full::new(text.into());
    request
}

fn with_body(dialect: DialectName, text: &str) -> Request<Full<Bytes>> {
    let mut request = hello(dialect, false);
    *request.body_mut() = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    request
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::new(Bytes::new())).unwrap()
}

fn says_all(what: &str, answer: &Answer) {
    for name in ALWAYS {
        assert!(answer.header(name).is_some_and(|value| !value.is_empty()), "{what}: no {name}: {:?}", answer.headers);
    }
}

#[tokio::test(start_paused = true)]
async fn every_response_carries_every_header_whoever_made_it() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        for streamed in [true, false] {
            let answer = world.send(hello(dialect, streamed)).await;
            answer.served_by("primary");
            says_all("an answer", &answer);
            assert_eq!(answer.header("x-mainstay-cost").is_some(), !streamed, "known before the head or not at all");
        }
        let refused = [
            (404, "an unknown model", of_model(dialect, "nobody")),
            (400, "broken JSON", with_body(dialect, "{")),
            (404, "an unknown path", get("/v1/nothing")),
            (405, "a wrong method", get("/v1/chat/completions")),
            (200, "a model list", get("/v1/models")),
            (200, "health", get("/health/live")),
        ];
        for (status, what, request) in refused {
            let answer = world.send(request).await;
            assert_eq!(answer.status, status, "{what}");
            says_all(what, &answer);
            assert_eq!(answer.header("x-mainstay-attempts"), Some("0"), "{what}");
            assert_eq!(answer.header("x-mainstay-provider"), Some("none"), "{what}");
        }
        world.break_primary("unavailable_503");
        world.break_fallback("unavailable_503");
        let answer = world.send(hello(dialect, true)).await;
        says_all("an error after two attempts", &answer);
        assert_eq!((answer.status, answer.header("x-mainstay-attempts")), (502, Some("2")));
        assert_eq!(answer.header("x-mainstay-reason"), Some("overloaded"));
        assert_eq!(
            (answer.header("x-mainstay-provider"), answer.header("x-mainstay-fallback")),
            (Some("primary"), Some("0"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_carries_every_header_too() {
    let world = Plan::default().top("keys: [{ name: app, key: sk-app }]").build();
    let answer = world.send(traced(hello(DialectName::OpenaiChat, false))).await;
    assert_eq!(answer.status, 401);
    says_all("a refused key", &answer);
    assert_eq!(answer.json()["mainstay"]["attempts"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_the_whole_story_when_it_is_asked_for() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        world.open_primary().await;
        world.break_fallback("unavailable_503");
        for streamed in [true, false] {
            let answer = world.send(traced(hello(dialect, streamed))).await;
            assert_eq!(answer.status, 502);
            let story = &answer.json()["mainstay"];
            assert_eq!(story["request_id"].as_str(), answer.header("x-request-id"), "{story}");
            assert_eq!(story["attempts"][0]["target"], "fallback/m-2", "{story}");
            assert_eq!(story["attempts"][0]["fault"], "overloaded", "{story}");
            assert_eq!(story["excluded"][0]["target"], "primary/m-1", "{story}");
            assert_eq!(story["excluded"][0]["code"], "breaker_open", "{story}");
            assert!(story["excluded"][0]["reason"].as_str().unwrap().starts_with("breaker open, probed in"), "{story}");
            assert!(answer.json()["error"].is_object(), "the dialect's error is still there");
        }
        let refused = world.send(traced(of_model(dialect, "nobody"))).await;
        assert_eq!(refused.json()["mainstay"]["attempts"], json!([]), "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_an_error_name_whose_error_it_is() {
    let world = Plan::default().build();
    world.break_primary("unavailable_503");
    world.break_fallback("content_policy_400");
    let answer = world.send(hello(DialectName::OpenaiChat, false)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-provider"), Some("fallback"));
    assert_eq!(answer.header("x-mainstay-fallback"), Some("1"));
    assert_eq!(answer.header("x-mainstay-reason"), Some("content_blocked"));
}

#[tokio::test(start_paused = true)]
async fn an_error_names_what_its_target_could_not_take() {
    let world = Plan::of(DialectName::AnthropicMessages).build();
    world.break_primary("unavailable_503");
    world.break_fallback("unavailable_503");
    let mut asked = body(DialectName::OpenaiChat, "Hello");
    asked["logit_bias"] = json!({ "50256": -100 });
    let answer = world.send(request(DialectName::OpenaiChat, asked, false)).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("x-mainstay-dropped"), Some("logit_bias"));
}

#[tokio::test(start_paused = true)]
async fn the_cost_is_told_where_the_prices_are_known_and_said_to_be_unknown_elsewhere() {
    let keys = "[sk-1], models: [{ id: m-1, prices: { input: 2, output: 10 } }]";
    let world = Plan { keys, ..Plan::default() }.build();
    let answer = world.send(traced(hello(DialectName::OpenaiChat, false))).await;
    let usage = &answer.json()["usage"];
    let (input, output) = (usage["prompt_tokens"].as_f64().unwrap(), usage["completion_tokens"].as_f64().unwrap());
    let cost: f64 = answer.header("x-mainstay-cost").unwrap().parse().unwrap();
    assert!((cost - (input * 2.0 + output * 10.0) / 1e6).abs() < 1e-9, "{cost}: {usage}");
    assert!((answer.json()["mainstay"]["cost"].as_f64().unwrap() - cost).abs() < 1e-9);
    world.break_primary("unavailable_503");
    let answer = world.hello().await;
    assert_eq!(answer.header("x-mainstay-cost"), Some("unknown"), "the fallback's prices are nowhere");
}
