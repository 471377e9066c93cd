//! The doors: who waits, who is refused, and that every place comes back.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use bytes::Bytes;
use canon::DialectName;
use health::Health;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::json;
use simulator::{Behaviour, Pace};
use std::sync::Arc;
use std::time::Duration;
use support::memory::{Answer, Plan, World, read};
use support::{body, hello, is_error_of, request, snapshot};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const CHAT: DialectName = DialectName::OpenaiChat;

/// Every answer takes a second: half of it to the first token.
fn slow(plan: Plan) -> World {
    let world = plan.build();
    let pace = Pace { first_token: 500 * MS, interval: 25 * MS, tokens: 21 };
    for simulator in [&world.primary, &world.fallback] {
        simulator.set_behaviour(Behaviour { pace: pace.clone(), ..Behaviour::default() });
    }
    world
}

/// What came of a request, and how long after `began`.
struct Outcome {
    at: Duration,
    answer: Answer,
}

/// Sends it now, without waiting for what comes of it.
fn send(world: &World, began: Instant, request: Request<Full<Bytes>>) -> tokio::task::JoinHandle<Outcome> {
    let gateway = world.gateway.clone();
    #[expect(clippy::disallowed_methods, reason = "callers are tasks of their own")]
    tokio::spawn(async move {
        let answer = read(gateway.handle(request).await).await;
        Outcome { at: began.elapsed(), answer }
    })
}

fn traced(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    request
}

fn with_priority(word: &'static str) -> Request<Full<Bytes>> {
    let mut request = hello(CHAT, false);
    request.headers_mut().insert("x-mainstay-priority", HeaderValue::from_static(word));
    request
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_a_full_house_waits_until_the_last_byte_of_another_and_says_for_how_long() {
    for line in ["overload: { max_in_flight: 1 }", ""] {
        let top = if line.is_empty() { "overload: { max_in_flight: 1 }" } else { "" };
        let world = slow(Plan::default().model(line).top(top));
        let began = Instant::now();
        let first = send(&world, began, hello(CHAT, true));
        tokio::time::sleep(MS).await;
        let second = send(&world, began, traced(hello(CHAT, false)));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        first.answer.served_by("primary");
        second.answer.served_by("primary");
        assert!(second.at >= first.at + 900 * MS, "{:?} {:?}", first.at, second.at);
        let queued = second.answer.json()["mainstay"]["queued_ms"].as_u64().unwrap();
        assert!((900..1_100).contains(&queued), "{queued}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_let_in_in_time_gets_an_immediate_503_in_its_dialect_and_its_sdk_does_not_retry() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = slow(Plan::of(dialect).model("overload: { max_in_flight: 1, queue: { size: 1 } }"));
            let began = Instant::now();
            let in_house = [0, 1].map(|_| send(&world, began, hello(dialect, stream)));
            tokio::time::sleep(10 * MS).await;
            let refused = send(&world, began, traced(hello(dialect, stream))).await.unwrap();
            assert!(refused.at <= 15 * MS, "{:?}", refused.at);
            let answer = refused.answer;
            assert_eq!(answer.status, 503, "{dialect}: {}", answer.text());
            assert!(is_error_of(dialect, &answer.json()), "{dialect}: {}", answer.text());
            assert_eq!(answer.header("x-should-retry"), Some("false"));
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            assert_eq!(
                (answer.header("x-mainstay-reason"), answer.header("x-mainstay-attempts")),
                (Some("overloaded"), Some("0"))
            );
            assert_eq!(answer.json()["mainstay"]["attempts"], json!([]));
            for caller in in_house {
                assert_eq!(caller.await.unwrap().answer.status, 200);
            }
            assert_eq!(world.primary.journal().len(), 2, "{dialect}: nothing was spent on it");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_ends_in_a_refusal() {
    let world = slow(Plan::default().model("overload: { max_in_flight: 1, queue: { max_wait: 300ms } }"));
    let began = Instant::now();
    let first = send(&world, began, hello(CHAT, false));
    tokio::time::sleep(MS).await;
    let waited = send(&world, began, hello(CHAT, false)).await.unwrap();
    assert_eq!(waited.answer.status, 503, "{}", waited.answer.text());
    assert!(waited.at >= 300 * MS && waited.at <= 310 * MS, "{:?}", waited.at);
    assert_eq!(first.await.unwrap().answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_higher_priority_goes_first_by_header_or_label_and_a_key_allows_no_more_than_it_says() {
    let label = |word: &str| {
        let mut asked = body(CHAT, "Hello");
        asked["metadata"] = json!({ "priority": word });
        request(CHAT, asked, false)
    };
    let keys = "keys: [{ name: all, key: k-all, priority: high }, { name: some, key: k-some }]";
    let plan = || Plan::default().model("overload: { max_in_flight: 1, queue: { size: 9, max_wait: 30s } }");
    for (plan, key, requests, expected) in [
        (plan(), None, [with_priority("low"), label("high"), hello(CHAT, false)], [3, 1, 2]),
        (plan(), None, [label("low"), hello(CHAT, false), with_priority("high")], [3, 2, 1]),
        (plan().top(keys), Some("Bearer k-some"), [hello(CHAT, false), with_priority("high"), label("low")], [1, 2, 3]),
        (
            plan().top(keys),
            Some("Bearer k-all"),
            [with_priority("normal"), hello(CHAT, false), label("low")],
            [2, 1, 3],
        ),
    ] {
        let world = slow(plan);
        let with_key = |mut request: Request<Full<Bytes>>| {
            if let Some(key) = key {
                request.headers_mut().insert("authorization", HeaderValue::from_static(key));
            }
            request
        };
        let began = Instant::now();
        let first = send(&world, began, with_key(hello(CHAT, false)));
        tokio::time::sleep(MS).await;
        let mut callers = Vec::new();
        for request in requests {
            callers.push(send(&world, began, with_key(request)));
            tokio::time::sleep(MS).await;
        }
        assert_eq!(first.await.unwrap().answer.status, 200);
        for (caller, place) in callers.into_iter().zip(expected) {
            let Outcome { at, answer } = caller.await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seconds = (at.as_secs_f64() / 1.02).round();
            assert!((seconds - f64::from(place) - 1.0).abs() < 0.1, "{at:?}, expected place {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_in_the_line_or_in_the_house_gives_its_place_back() {
    let world = slow(Plan::default().model("overload: { max_in_flight: 1, queue: { size: 1 } }"));
    let began = Instant::now();
    let first = send(&world, began, hello(CHAT, true));
    tokio::time::sleep(MS).await;
    let second = send(&world, began, hello(CHAT, true));
    tokio::time::sleep(MS).await;
    second.abort();
    tokio::time::sleep(MS).await;
    let third = send(&world, began, hello(CHAT, true));
    tokio::time::sleep(MS).await;
    assert!(!third.is_finished(), "it waits in the place of the second");
    first.abort();
    let third = third.await.unwrap();
    third.answer.served_by("primary");
    assert!(third.at < 1_200 * MS, "{:?}", third.at);
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_its_place_until_it_ends_and_every_way_to_fail_gives_it_back() {
    let line = "overload: { max_in_flight: 1, queue: { size: 0 } }";
    for fault in ["unavailable_503", "cut_mid_text:after=3", "content_policy_400", "hang_before_headers"] {
        let world = slow(Plan::default().model(line).model("timeouts: { first_token: 1s, deadline: 5s }"));
        for (fault, simulator) in [(fault, &world.primary), (fault, &world.fallback)] {
            simulator.set_faults([support::memory::rule(fault)]);
        }
        let failed = world.send(hello(CHAT, true)).await;
        assert!(failed.status >= 400 || failed.text().contains("error"), "{fault}: {}", failed.text());
        world.primary.set_faults([]);
        world.fallback.set_faults([]);
        tokio::time::sleep(60_000 * MS).await;
        assert_eq!(world.hello().await.status, 200, "{fault}");
        assert_eq!(world.hello().await.status, 200, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_needs_nobody_passes_no_door() {
    let world = slow(Plan::default().model("overload: { max_in_flight: 1, queue: { size: 0 } }").model("cache: {}"));
    let began = Instant::now();
    let asked = |text: &str| request(CHAT, body(CHAT, text), false);
    send(&world, began, asked("known")).await.unwrap().answer.served_by("primary");
    let in_house = send(&world, began, asked("new"));
    tokio::time::sleep(MS).await;
    let known = send(&world, began, asked("known")).await.unwrap().answer;
    assert_eq!((known.status, known.header("x-mainstay-cache")), (200, Some("hit")));
    let other = send(&world, began, asked("other")).await.unwrap().answer;
    assert_eq!(other.status, 503);
    assert_eq!(in_house.await.unwrap().answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_door_and_counts_on() {
    let plan =
        |most: u32| Plan::default().model(&format!("overload: {{ max_in_flight: {most}, queue: {{ size: 0 }} }}"));
    let world = slow(plan(2));
    let began = Instant::now();
    let in_house = [0, 1].map(|_| send(&world, began, hello(CHAT, false)));
    tokio::time::sleep(MS).await;
    let reload = |most: u32| {
        let yaml = plan(most).yaml("http://primary", "http://fallback");
        world.gateway.replace(snapshot(&yaml, &Arc::new(Health::new(1)))).unwrap();
    };
    reload(1);
    assert_eq!(send(&world, began, hello(CHAT, false)).await.unwrap().answer.status, 503);
    reload(3);
    assert_eq!(send(&world, began, hello(CHAT, false)).await.unwrap().answer.status, 200);
    for caller in in_house {
        assert_eq!(caller.await.unwrap().answer.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_at_its_number_is_passed_over_and_the_reason_is_told() {
    let targets = "[{ target: primary/m-1, concurrency: 1 }, fallback/m-2]";
    let world = slow(Plan { targets, ..Plan::default() });
    let began = Instant::now();
    let first = send(&world, began, hello(CHAT, true));
    tokio::time::sleep(MS).await;
    let second = send(&world, began, traced(hello(CHAT, false))).await.unwrap().answer;
    second.served_by("fallback");
    assert_eq!(
        (second.header("x-mainstay-reason"), second.header("x-mainstay-fallback")),
        (Some("at_limit"), Some("1"))
    );
    assert_eq!(second.json()["mainstay"]["excluded"][0]["code"], "at_limit");
    first.await.unwrap().answer.served_by("primary");
    world.hello().await.served_by("primary");
}
