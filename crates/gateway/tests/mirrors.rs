//! Copies for a mirror change nothing for the caller, whatever becomes of them.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use canon::DialectName;
use gateway::MirrorCounts;
use gateway::drain::Life;
use http::HeaderValue;
use serde_json::Value;
use std::time::Duration;
use support::memory::{Answer, Plan, World};
use support::{body, request};

fn world(dialect: DialectName, mirror: DialectName, options: &str) -> World {
    let plan = Plan { primary: dialect, fallback: mirror, ..Plan::default() }.alone();
    plan.model(&format!("mirror: {{ target: fallback/m-2, {options} }}")).build()
}

fn counts(world: &World) -> MirrorCounts {
    world.gateway.mirrors().into_iter().find(|(model, _)| model == "chat").expect("counted").1
}

async fn ask(world: &World, dialect: DialectName, stream: bool) -> Answer {
    world.send(request(dialect, body(dialect, "Hello"), stream)).await
}

/// Lets copies run that need no time.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// The answer without what names its exchange.
fn shown(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let is_its_own = |name: &str| matches!(name, "x-request-id" | "request-id");
    let headers = answer.headers.iter().filter(|(name, _)| !is_its_own(name.as_str()));
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.text())
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_sent_as_a_request_of_its_own_would_be_and_the_caller_sees_none_of_it() {
    for dialect in DialectName::ALL {
        for other in DialectName::ALL {
            for stream in [false, true] {
                let mirrored = world(dialect, other, "share: 100%");
                let plain = Plan { primary: dialect, fallback: other, ..Plan::default() }.alone().build();
                let (with, without) = (ask(&mirrored, dialect, stream).await, ask(&plain, dialect, stream).await);
                assert_eq!(shown(&with), shown(&without), "{dialect} {other} {stream}");
                settle().await;
                let alone =
                    Plan { primary: dialect, fallback: other, targets: "[fallback/m-2]", ..Plan::default() }.build();
                ask(&alone, dialect, stream).await.served_by("fallback");
                let sent = |world: &World| -> Vec<_> {
                    let sent = world.spy.sent().into_iter().filter(|sent| sent.host == "fallback");
                    sent.map(|sent| sent.body).collect()
                };
                assert_eq!(sent(&mirrored), sent(&alone), "{dialect} {other} {stream}");
                let counts = counts(&mirrored);
                assert_eq!((counts.sent, counts.answered, counts.failed, counts.in_flight), (1, 1, 0, 0));
                assert!(counts.output_tokens > 0, "read to its end");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_fails_or_is_slow_changes_neither_a_byte_nor_a_moment() {
    let dialect = DialectName::OpenaiChat;
    for stream in [false, true] {
        let plain = Plan::default().alone().build();
        let began = tokio::time::Instant::now();
        let expected = shown(&ask(&plain, dialect, stream).await);
        let took = began.elapsed();
        for fault in [
            "hang_before_headers",
            "unavailable_503",
            "rate_limited_429:retry_after=30",
            "unauthorized_401",
            "stall:after=2",
            "cut_mid_text:after=2",
        ] {
            let world = world(dialect, dialect, "share: 100%");
            world.break_fallback(fault);
            for _ in 0..5 {
                let began = tokio::time::Instant::now();
                assert_eq!(shown(&ask(&world, dialect, stream).await), expected, "{fault}");
                assert_eq!(began.elapsed(), took, "{fault}");
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let counts = counts(&world);
            assert_eq!((counts.answered, counts.in_flight), (0, 0), "{fault} {counts:?}");
            assert!(counts.failed >= 1 && counts.sent == counts.failed, "{fault} {counts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn copies_beyond_those_in_flight_are_not_made_and_counted() {
    let world = world(DialectName::OpenaiChat, DialectName::OpenaiChat, "share: 100%, in_flight: 2");
    world.break_fallback("hang_before_headers");
    for _ in 0..5 {
        ask(&world, DialectName::OpenaiChat, false).await.served_by("primary");
    }
    let counts = counts(&world);
    assert_eq!((counts.in_flight, counts.full), (2, 3));
    let mut traced = request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false);
    traced.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    let told: Value = world.send(traced).await.json()["mainstay"]["mirror"].clone();
    assert_eq!((told["copy"].as_str(), told["so_far"]["full"].as_u64()), (Some("full"), Some(4)), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_what_is_copied() {
    let world = world(DialectName::OpenaiChat, DialectName::OpenaiChat, "share: 100%");
    world.break_fallback("hang_before_headers");
    ask(&world, DialectName::OpenaiChat, false).await;
    settle().await;
    assert_eq!(counts(&world).in_flight, 1);
    world.gateway.drain().advance(Life::Draining);
    settle().await;
    ask(&world, DialectName::OpenaiChat, false).await.served_by("primary");
    let counts = counts(&world);
    assert_eq!((counts.in_flight, counts.sent), (0, 1), "nor is another one begun");
}

#[tokio::test(start_paused = true)]
async fn what_copies_teach_of_a_target_is_kept_from_those_who_are_served_by_it() {
    let plan = Plan::default().model("mirror: { target: fallback/m-2, share: 100% }");
    for fault in ["unavailable_503", "rate_limited_429:retry_after=600", "unauthorized_401", "model_404"] {
        let world = plan.clone().build();
        world.break_fallback(fault);
        for _ in 0..20 {
            world.hello().await.served_by("primary");
            settle().await;
        }
        assert!(counts(&world).held_back > 0, "a mirror that fails is left alone: {:?}", counts(&world));
        world.fallback.set_faults([]);
        world.break_primary("unavailable_503");
        let answer = world.hello().await;
        answer.served_by("fallback");
        assert_eq!(answer.header("x-mainstay-attempts"), Some("2"), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_is_the_share_and_its_cost_is_counted_apart() {
    let options = "share: 5%, in_flight: 64";
    let plan = Plan::default().alone().model(&format!(
        "mirror: {{ target: {{ target: fallback/m-2, prices: {{ input: 1, output: 2 }} }}, {options} }}"
    ));
    let world = plan.build();
    for _ in 0..1000 {
        assert_eq!(world.hello().await.header("x-mainstay-cost"), Some("unknown"), "the primary has no price");
    }
    settle().await;
    let counts = counts(&world);
    assert!((30..=75).contains(&counts.answered), "{counts:?}");
    assert!(counts.cost > catalog::Usd::ZERO, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_keeps_to_what_may_be_spent_on_it() {
    let target = "{ target: fallback/m-2, prices: { input: 1, output: 1000 }, spend: { limit: $1, window: 1h } }";
    let world = Plan::default().alone().model(&format!("mirror: {{ target: {target}, share: 100% }}")).build();
    for _ in 0..50 {
        world.hello().await.served_by("primary");
        settle().await;
    }
    let counts = counts(&world);
    assert!(counts.sent > 0 && counts.held_back > 0, "{counts:?}");
    assert!(counts.cost <= catalog::Usd::parse("1").unwrap(), "{counts:?}");
}
