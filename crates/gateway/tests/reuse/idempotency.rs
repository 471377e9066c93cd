//! The same request sent twice under one `Idempotency-Key`.

use crate::support::memory::{Plan, World, rule};
use crate::support::{body, is_error_of, request};
use crate::{caller, fixed, with};
use bytes::Bytes;
use canon::DialectName;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use std::time::Duration;

fn ask(dialect: DialectName, text: &str, stream: bool, key: &str) -> Request<Full<Bytes>> {
    with(request(dialect, body(dialect, text), stream), "idempotency-key", key)
}

fn calls(world: &World) -> usize {
    world.primary.journal().len() + world.fallback.journal().len()
}

#[tokio::test(start_paused = true)]
async fn the_same_request_gets_the_same_answer_on_every_surface_streamed_or_not() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = Plan::of(dialect).build();
            let first = world.send(ask(dialect, "Hello", stream, "k-1")).await;
            assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let again = world.send(ask(dialect, "Hello", stream, "k-1")).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
            assert_eq!((&again.body, again.header("x-mainstay-cache")), (&first.body, Some("none")));
            assert_eq!(calls(&world), 1, "{dialect} {stream}");
            world.send(ask(dialect, "Hello", stream, "k-2")).await;
            world.send(request(dialect, body(dialect, "Hello"), stream)).await;
            assert_eq!(calls(&world), 3, "another key, or none, is another request");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_request_under_the_same_key_is_a_409_in_the_callers_dialect() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        world.send(ask(dialect, "Hello", false, "k")).await;
        for other in [ask(dialect, "Hello!", false, "k"), ask(dialect, "Hello", true, "k")] {
            let refused = world.send(other).await;
            assert_eq!(refused.status, 409, "{}", refused.text());
            assert!(is_error_of(dialect, &refused.json()), "{}", refused.text());
            assert!(refused.text().contains("send a new key"), "it says what to change: {}", refused.text());
        }
        let mut for_another = body(dialect, "Hello");
        for_another["user"] = json!("u-2");
        let refused = world.send(with(request(dialect, for_another, false), "idempotency-key", "k")).await;
        assert_eq!(refused.status, 409, "a member that the cache leaves out counts here");
        assert_eq!(calls(&world), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_request_while_the_first_is_under_way_shares_it() {
    let world = Plan::default().build();
    let first = caller(&world.gateway, ask(DialectName::OpenaiChat, "Hello", true, "k"));
    tokio::time::sleep(Duration::from_millis(40)).await;
    let conflict = world.send(ask(DialectName::OpenaiChat, "Other", true, "k")).await;
    assert_eq!(conflict.status, 409);
    let again = world.send(ask(DialectName::OpenaiChat, "Hello", true, "k")).await;
    let first = first.await.unwrap();
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));
    assert_eq!(calls(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn an_sdk_that_gave_up_and_asks_again_takes_over_its_own_exchange() {
    let world = Plan::default().build();
    let first = caller(&world.gateway, ask(DialectName::OpenaiChat, "Hello", false, "k"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let again = caller(&world.gateway, ask(DialectName::OpenaiChat, "Hello", false, "k"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    first.abort();
    assert_eq!(again.await.unwrap().status, 200);
    assert_eq!(calls(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_without_an_answer_binds_nobody() {
    let world = Plan::default().alone().build();
    world.primary.set_faults([rule("unavailable_503").for_requests(2)]);
    let failed = world.send(ask(DialectName::OpenaiChat, "Hello", false, "k")).await;
    assert_eq!(failed.status, 502);
    world.primary.set_faults([]);
    let other = world.send(ask(DialectName::OpenaiChat, "Other", false, "k")).await;
    assert_eq!(other.status, 200, "{}", other.text());
    // One that everybody hung up on neither.
    let dropped = caller(&world.gateway, ask(DialectName::OpenaiChat, "Hello", false, "k-2"));
    tokio::time::sleep(Duration::from_millis(5)).await;
    dropped.abort();
    let _gone = dropped.await;
    assert_eq!(world.send(ask(DialectName::OpenaiChat, "Other", false, "k-2")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_its_callers_own_and_bound_for_its_window_alone() {
    let top = "keys: [{ name: a, key: sk-a }, { name: b, key: sk-b }]\nidempotency: { window: 1h }";
    let world = Plan::default().top(top).build();
    let ask = |text: &str, key: &str| {
        with(ask(DialectName::OpenaiChat, text, false, "k"), "authorization", &format!("Bearer {key}"))
    };
    assert_eq!(world.send(ask("one", "sk-a")).await.status, 200);
    assert_eq!(world.send(ask("two", "sk-b")).await.status, 200);
    assert_eq!(world.send(ask("two", "sk-a")).await.status, 409);
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert_eq!(world.send(ask("two", "sk-a")).await.status, 200);
    assert_eq!(calls(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_nothing_looks_at_no_keys() {
    let world = Plan::default().top("idempotency: { window: 0s }").build();
    for text in ["one", "one", "two"] {
        assert_eq!(world.send(ask(DialectName::OpenaiChat, text, false, "k")).await.status, 200);
    }
    assert_eq!(calls(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_the_cache_and_shared_exchanges_go_together() {
    let world = Plan::default().model("cache: { ttl: 1m }").model("coalesce: deterministic").build();
    let ask = |key: &str| {
        let dialect = DialectName::OpenaiChat;
        with(request(dialect, fixed(dialect, "Hello"), true), "idempotency-key", key)
    };
    let (one, other) = (caller(&world.gateway, ask("k-1")), caller(&world.gateway, ask("k-2")));
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert_eq!((calls(&world), &one.body), (1, &other.body), "two keys share one question's exchange");
    let hit = world.send(ask("k-3")).await;
    assert_eq!((hit.header("x-mainstay-cache"), &hit.body), (Some("hit"), &one.body));
    tokio::time::sleep(Duration::from_secs(120)).await;
    for key in ["k-1", "k-2", "k-3"] {
        let again = world.send(ask(key)).await;
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &one.body), "{key}");
    }
    assert_eq!(calls(&world), 1, "each key has its answer although the cache's time is over");
}
