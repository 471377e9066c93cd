//! The response cache: what is given again, what is not, and what the caller is told.

use crate::support::memory::{Plan, World, read};
use crate::support::transports::{Scripted, openai_answer, reply};
use crate::support::{body, request, snapshot};
use crate::with;
use bytes::Bytes;
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CACHE: &str = "cache: { ttl: 10m }";

fn cached(dialect: DialectName) -> World {
    Plan::of(dialect).model(CACHE).build()
}

fn calls(world: &World) -> usize {
    world.primary.journal().len() + world.fallback.journal().len()
}

fn ask(dialect: DialectName, text: &str, stream: bool) -> Request<Full<Bytes>> {
    request(dialect, body(dialect, text), stream)
}

#[tokio::test(start_paused = true)]
async fn an_equal_question_gets_the_same_bytes_without_a_call_streamed_or_not_in_every_dialect() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = cached(dialect);
            let first = world.send(ask(dialect, "Hello", stream)).await;
            assert_eq!((first.status, first.header("x-mainstay-cache")), (200, Some("miss")), "{}", first.text());
            assert_eq!(first.header("age"), None);
            tokio::time::sleep(Duration::from_secs(7)).await;
            let again = world.send(ask(dialect, "Hello", stream)).await;
            assert_eq!((again.status, again.header("x-mainstay-cache")), (200, Some("hit")), "{dialect} {stream}");
            assert_eq!(again.header("age"), Some("7"));
            assert_eq!(again.header("x-mainstay-attempts"), Some("0"));
            assert_eq!(again.body, first.body, "{dialect} {stream}");
            for name in ["content-type", "x-mainstay-provider", "x-mainstay-model", "x-mainstay-fallback"] {
                assert_eq!(again.header(name), first.header(name), "{name}");
            }
            assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
            assert_eq!(calls(&world), 1, "{dialect} {stream}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_translated_from_another_dialect_is_given_again_as_it_was() {
    let world = Plan { primary: DialectName::Gemini, ..Plan::default() }.model(CACHE).build();
    let first = world.send(ask(DialectName::AnthropicMessages, "Hello", true)).await;
    let again = world.send(ask(DialectName::AnthropicMessages, "Hello", true)).await;
    assert_eq!((again.header("x-mainstay-cache"), &again.body), (Some("hit"), &first.body));
}

#[tokio::test(start_paused = true)]
async fn white_space_the_order_of_keys_and_whom_the_request_is_for_make_no_difference() {
    let world = cached(DialectName::OpenaiChat);
    let texts = [
        r#"{"model":"chat","temperature":0.5,"messages":[{"role":"user","content":"Hello"}]}"#,
        r#"{ "user":"u-1", "messages" : [ {"content":"Hello","role":"user"} ], "temperature":0.5, "model":"chat" }"#,
    ];
    for (text, expected) in texts.into_iter().zip(["miss", "hit"]) {
        let request = Request::post("/v1/chat/completions").body(Full::from(text)).unwrap();
        assert_eq!(world.send(request).await.header("x-mainstay-cache"), Some(expected));
    }
    for (i, other) in [
        json!({"model": "chat", "temperature": 0.6, "messages": [{"role": "user", "content": "Hello"}]}),
        json!({"model": "chat", "temperature": 0.5, "messages": [{"role": "user", "content": "hello"}]}),
        json!({"model": "chat", "temperature": 0.5, "messages": [{"role": "user", "content": "Hello"}], "top_p": 1}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = world.send(request(DialectName::OpenaiChat, other, false)).await;
        assert_eq!(answer.header("x-mainstay-cache"), Some("miss"), "{i}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_a_whole_answer_and_one_with_usage_are_three_answers() {
    let world = cached(DialectName::OpenaiChat);
    let mut with_usage = body(DialectName::OpenaiChat, "Hello");
    with_usage["stream_options"] = json!({"include_usage": true});
    for expected in ["miss", "hit"] {
        let whole = world.send(ask(DialectName::OpenaiChat, "Hello", false)).await;
        let stream = world.send(ask(DialectName::OpenaiChat, "Hello", true)).await;
        let usage = world.send(request(DialectName::OpenaiChat, with_usage.clone(), true)).await;
        for answer in [&whole, &stream, &usage] {
            assert_eq!(answer.header("x-mainstay-cache"), Some(expected));
        }
        assert!(whole.json()["choices"].is_array());
        assert!(!stream.text().contains("prompt_tokens") && usage.text().contains("prompt_tokens"));
    }
    assert_eq!(calls(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_past_its_time_is_asked_for_again() {
    let world = cached(DialectName::OpenaiChat);
    world.hello().await;
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert_eq!(world.hello().await.header("x-mainstay-cache"), Some("hit"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.hello().await.header("x-mainstay-cache"), Some("miss"));
    assert_eq!(world.hello().await.header("x-mainstay-cache"), Some("hit"), "and is kept again");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_the_configuration_does_not_say_so() {
    let world = Plan::default().build();
    for _ in 0..2 {
        assert_eq!(world.hello().await.header("x-mainstay-cache"), Some("none"));
    }
    assert_eq!(calls(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_callers_cache_control_says_is_respected() {
    let world = cached(DialectName::OpenaiChat);
    let ask = |text: &str| ask(DialectName::OpenaiChat, text, false);
    world.send(with(ask("a"), "cache-control", "no-store")).await;
    assert_eq!(world.send(ask("a")).await.header("x-mainstay-cache"), Some("miss"), "no-store keeps nothing");
    let before = world.send(ask("a")).await;
    assert_eq!(before.header("x-mainstay-cache"), Some("hit"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let aged = world.send(with(ask("a"), "cache-control", "max-age=60")).await;
    assert_eq!(aged.header("x-mainstay-cache"), Some("hit"));
    let anew = world.send(with(ask("a"), "cache-control", "no-cache")).await;
    assert_eq!(anew.header("x-mainstay-cache"), Some("miss"), "no-cache asks for a new one");
    let after = world.send(ask("a")).await;
    assert_eq!((after.header("x-mainstay-cache"), after.header("age")), (Some("hit"), Some("0")), "which is kept");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let younger = world.send(with(ask("a"), "cache-control", "max-age=1")).await;
    assert_eq!(younger.header("x-mainstay-cache"), Some("miss"));
}

#[tokio::test(start_paused = true)]
async fn answers_never_cross_from_one_caller_to_another() {
    let keys = "keys: [{ name: a, key: sk-a }, { name: b, key: sk-b }]";
    let world = Plan::default().model(CACHE).top(keys).build();
    let ask = |key: &str| with(ask(DialectName::OpenaiChat, "Hello", false), "authorization", &format!("Bearer {key}"));
    for (key, expected) in [("sk-a", "miss"), ("sk-b", "miss"), ("sk-a", "hit"), ("sk-b", "hit")] {
        assert_eq!(world.send(ask(key)).await.header("x-mainstay-cache"), Some(expected), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_cross_to_the_provider_are_a_part_of_the_question() {
    let world = cached(DialectName::AnthropicMessages);
    let ask = || ask(DialectName::AnthropicMessages, "Hello", false);
    world.send(ask()).await;
    let beta = world.send(with(ask(), "anthropic-beta", "context-1m-2025-08-07")).await;
    assert_eq!(beta.header("x-mainstay-cache"), Some("miss"));
    let traced =
        world.send(with(ask(), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).await;
    assert_eq!(traced.header("x-mainstay-cache"), Some("hit"), "but not the caller's tracing");
}

#[tokio::test(start_paused = true)]
async fn only_complete_answers_are_kept() {
    for (fault, stream) in [
        ("unavailable_503", false),
        ("unavailable_503", true),
        ("cut_mid_text:after=3", true),
        ("stall:after=3", true),
        ("cut_inside_event:after=3", true),
    ] {
        let world = Plan::default().alone().model(CACHE).build();
        world.break_primary(fault);
        world.send(ask(DialectName::OpenaiChat, "Hello", stream)).await;
        world.primary.set_faults([]);
        let after = world.send(ask(DialectName::OpenaiChat, "Hello", stream)).await;
        assert_eq!((after.status, after.header("x-mainstay-cache")), (200, Some("miss")), "{fault} {stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_answer_is_not_kept() {
    let blocked = openai_answer("I").replace("\"stop\"", "\"content_filter\"");
    let answers = [blocked, openai_answer("fine"), openai_answer("never asked")];
    let asked = AtomicUsize::new(0);
    let transport = Scripted(move |_| {
        let body = &answers[asked.fetch_add(1, Ordering::Relaxed)];
        Ok(reply(200, &[("content-type", "application/json")], body))
    });
    let yaml = Plan::default().alone().model(CACHE).yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    for expected in ["miss", "miss", "hit"] {
        let answer = read(gateway.handle(ask(DialectName::OpenaiChat, "Hello", false)).await).await;
        assert_eq!((answer.status, answer.header("x-mainstay-cache")), (200, Some(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_caller_hung_up_is_not_kept() {
    let world = cached(DialectName::OpenaiChat);
    let response = world.gateway.handle(ask(DialectName::OpenaiChat, "Hello", true)).await;
    drop(response);
    let after = world.send(ask(DialectName::OpenaiChat, "Hello", true)).await;
    assert_eq!(after.header("x-mainstay-cache"), Some("miss"));
    assert_eq!(world.gateway.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_trace_is_told_of_the_hit_and_fills_nothing() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = cached(dialect);
            let traced = || with(ask(dialect, "Hello", stream), "x-mainstay-trace", "1");
            let missed = world.send(traced()).await;
            assert_eq!(missed.header("x-mainstay-cache"), Some("miss"));
            assert!(missed.text().contains("\"cache\":\"miss\""), "{dialect} {stream}: {}", missed.text());
            let first = world.send(ask(dialect, "Hello", stream)).await;
            assert_eq!(first.header("x-mainstay-cache"), Some("miss"), "{dialect} {stream}");
            let told = world.send(traced()).await;
            assert_eq!(told.header("x-mainstay-cache"), Some("hit"), "{dialect} {stream}");
            let stories: Vec<serde_json::Value> = if stream {
                let read = |event: &String| serde_json::from_str(event).unwrap_or_default();
                told.events()
                    .iter()
                    .map(read)
                    .filter(|event: &serde_json::Value| event["mainstay"].is_object())
                    .collect()
            } else {
                vec![told.json()]
            };
            assert_eq!(stories.len(), 1, "{dialect} {stream}: {}", told.text());
            assert_eq!(stories[0]["mainstay"]["cache"], "hit");
            assert_eq!(stories[0]["mainstay"]["served_by"], "primary/m-1");
            if stream {
                let last = first.events().last().cloned();
                if dialect != DialectName::Gemini {
                    assert_eq!(told.events().last().cloned(), last, "{dialect}: the terminator is the last");
                }
            }
        }
    }
}
