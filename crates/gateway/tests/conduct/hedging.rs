//! A second attempt beside the first, over the whole gateway: whose answer the caller gets, what it is told, and what
//! is left of the one that lost.

use crate::support::memory::{Answer as Told, Plan, World, read, rule};
use crate::support::{body, hello, request};
use bytes::Bytes;
use canon::DialectName;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use simulator::{Answer, Behaviour, Chunks, Ended, Pace};
use std::time::Duration;

const HEDGED: &str = "hedge: { after: 1s, budget: 50% }";
const RACING: &str = "race: 2";

/// Two providers of which one says only `p` and the other only `f`.
fn world(dialects: [DialectName; 2], line: &str) -> World {
    let [primary, fallback] = dialects;
    let world = Plan { primary, fallback, ..Plan::default() }.model(line).build();
    let says = |letter: &str| {
        let answer = Answer::exactly(letter.repeat(90)).in_chunks(Chunks::Characters(9));
        Behaviour { answer, pace: Pace::default(), ..Behaviour::default() }
    };
    world.primary.set_behaviour(says("p"));
    world.fallback.set_behaviour(says("f"));
    world
}

fn traced(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    request
}

/// How often each provider's letter stands in a row of them: none of its own is in the words around them.
fn letters(answer: &Told) -> (usize, usize) {
    let text = answer.text();
    (text.matches("ppppppppp").count(), text.matches("fffffffff").count())
}

/// How the last call of a provider ended.
fn was_cancelled(simulator: &simulator::Simulator) -> bool {
    matches!(simulator.journal().last().unwrap().ended, Ended::Cancelled { .. })
}

/// The budget of hedges fills up.
async fn save(world: &World) {
    for _ in 0..4 {
        world.send(hello(DialectName::OpenaiChat, true)).await.served_by("primary");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_first_token_is_hedged_after_two_hundred_usual_ones_and_not_before() {
    let world = world([DialectName::OpenaiChat; 2], "hedge: on");
    let late = || world.primary.set_faults([rule("slow_first_token:by=9s").for_requests(1)]);
    for request in 0..240 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if request == 100 {
            late();
        }
        world.send(hello(DialectName::OpenaiChat, true)).await.served_by("primary");
    }
    assert!(world.fallback.journal().is_empty(), "nobody knew yet what is late");
    late();
    let began = tokio::time::Instant::now();
    let answer = world.send(traced(hello(DialectName::OpenaiChat, true))).await;
    answer.served_by("fallback");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(answer.header("x-mainstay-attempts"), Some("2"));
    assert_eq!(answer.header("x-mainstay-fallback"), Some("1"));
    assert_eq!(answer.header("x-mainstay-reason"), Some("hedge"));
    assert_eq!(letters(&answer).0, 0);
    assert!(was_cancelled(&world.primary));
    let story = story_of(&answer);
    assert_eq!(story["attempts"][0]["fault"], "cancelled", "{story}");
    assert_eq!(story["attempts"][0]["may_be_billed"], true, "{story}");
    assert_eq!(story["attempts"][1]["beside"], "hedge", "{story}");
    assert_eq!(story["called_off"][0]["target"], "primary/m-1", "{story}");
    assert!(story["called_off"][0]["estimated_input_tokens"].as_u64().unwrap() > 0, "{story}");
}

/// The story in a stream.
pub(crate) fn story_of(answer: &Told) -> Value {
    let events = answer.events();
    let mut stories =
        events.iter().rev().filter_map(|event| serde_json::from_str::<Value>(event).ok()?.get("mainstay").cloned());
    stories.next().unwrap_or_else(|| panic!("no story: {}", answer.text()))
}

#[tokio::test(start_paused = true)]
async fn a_race_asks_both_at_once_in_every_dialect_streamed_or_not_and_the_quicker_one_serves() {
    for primary in DialectName::ALL {
        for fallback in DialectName::ALL {
            for stream in [false, true] {
                let world = world([primary, fallback], RACING);
                world.primary.set_faults([rule("slow_first_token:by=9s")]);
                let answer = world.send(traced(hello(primary, stream))).await;
                answer.served_by("fallback");
                assert_eq!(answer.header("x-mainstay-reason"), Some("race"), "{primary} {fallback} {stream}");
                assert_eq!(letters(&answer), (0, 10), "{}", answer.text());
                assert_eq!((world.primary.journal().len(), world.fallback.journal().len()), (1, 1));
                assert!(was_cancelled(&world.primary), "{primary} {fallback} {stream}");
                if stream && primary == DialectName::OpenaiChat {
                    assert_eq!(story_of(&answer)["called_off"][0]["target"], "primary/m-1");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_one_attempts_bytes_are_delivered_whoever_is_quicker_and_whatever_fails() {
    const FAULTS: [&str; 7] = [
        "slow_first_token:by=1s",
        "slow_first_token:by=3s",
        "slow_headers:by=1500ms",
        "unavailable_503",
        "hang_before_headers",
        "empty_stream",
        "error_in_200",
    ];
    let mut rng = fastrand::Rng::with_seed(11);
    let mut seen = [0; 3];
    for turn in 0..300 {
        let [caller, primary, fallback] = [(); 3].map(|()| DialectName::ALL[rng.usize(0..3)]);
        let world = world([primary, fallback], if rng.bool() { RACING } else { HEDGED });
        save(&world).await;
        for simulator in [&world.primary, &world.fallback] {
            simulator.set_faults(FAULTS.get(rng.usize(0..FAULTS.len() + 2)).map(|fault| rule(fault)));
        }
        let answer = world.send(hello(caller, rng.bool())).await;
        let (of_primary, of_fallback) = letters(&answer);
        let who = answer.header("x-mainstay-provider").map(str::to_owned);
        match (answer.status, who.as_deref()) {
            (200, Some("primary")) => assert!(of_primary == 10 && of_fallback == 0, "{turn}: {}", answer.text()),
            (200, Some("fallback")) => assert!(of_fallback == 10 && of_primary == 0, "{turn}: {}", answer.text()),
            _ => assert_eq!((of_primary, of_fallback), (0, 0), "{turn}: {}", answer.text()),
        }
        seen[if answer.status == 200 { usize::from(of_primary == 0) } else { 2 }] += 1;
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_cancels_both() {
    for line in [HEDGED, RACING] {
        let world = world([DialectName::OpenaiChat; 2], line);
        save(&world).await;
        world.break_primary("hang_before_headers");
        world.break_fallback("hang_before_headers");
        let gone = tokio::time::timeout(Duration::from_secs(5), world.send(hello(DialectName::OpenaiChat, true))).await;
        assert!(gone.is_err());
        tokio::task::yield_now().await;
        assert!(was_cancelled(&world.primary) && was_cancelled(&world.fallback), "{line}");
        for target in ["primary/m-1", "fallback/m-2"] {
            let health = world.health.target(target, &health::BreakerSettings::default());
            assert_eq!(health.in_flight(), 0, "{line}: {target}");
        }
        assert_eq!(world.gateway.held_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_caller_reads_the_primarys_fault_and_both_attempts() {
    for line in [HEDGED, RACING] {
        for stream in [false, true] {
            let world = world([DialectName::OpenaiChat; 2], line);
            save(&world).await;
            world.primary.set_faults([rule("slow_headers:by=2s"), rule("unavailable_503")]);
            world.break_fallback("unauthorized_401");
            let answer = world.send(hello(DialectName::OpenaiChat, stream)).await;
            assert_eq!(answer.status, 502, "{}", answer.text());
            assert_eq!(answer.header("x-mainstay-reason"), Some("overloaded"), "{line}");
            assert_eq!(answer.header("x-mainstay-attempts"), Some("2"), "{line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_won_and_then_breaks_goes_on_at_the_one_that_lost() {
    for line in [HEDGED, RACING] {
        let world = world([DialectName::OpenaiChat; 2], line);
        save(&world).await;
        world.primary.set_faults([rule("slow_first_token:by=9s").for_requests(1)]);
        world.fallback.set_faults([rule("cut_after_text:bytes=45,by=reset").for_requests(1)]);
        let answer = world.send(traced(hello(DialectName::OpenaiChat, true))).await;
        assert_eq!(answer.status, 200);
        let story = story_of(&answer);
        assert_eq!(story["attempts"][2]["rescue"], true, "{line}: {story}");
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{line}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_something_elsewhere_or_is_sent_again_by_an_sdk_is_asked_once() {
    let world = world([DialectName::AnthropicMessages; 2], RACING);
    let dialect = DialectName::AnthropicMessages;
    let mut tools = body(dialect, "Hello");
    tools["mcp_servers"] = json!([{"type": "url", "url": "https://example.com", "name": "x"}]);
    let mut again = request(dialect, body(dialect, "Hello"), true);
    again.headers_mut().insert("x-stainless-retry-count", HeaderValue::from_static("1"));
    for once in [request(dialect, tools, true), again] {
        world.send(once).await.served_by("primary");
        assert!(world.fallback.journal().is_empty());
    }
    read(world.gateway.handle(hello(dialect, true)).await).await;
    assert_eq!(world.fallback.journal().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_starts_a_race_and_another_ends_it() {
    let rules = "rules:\n  - { if: 'request.labels.kind == \"voice\"', set: { race: 2 } }\n  \
                 - { if: 'request.labels.kind == \"batch\"', set: { race: 1 } }\n";
    for (line, raced) in [("rescue: resume", [false, true, false]), (RACING, [true, true, false])] {
        for (kind, raced) in ["kind=chat", "kind=voice", "kind=batch"].into_iter().zip(raced) {
            let world = Plan::default().model(line).top(rules).build();
            let mut asked = hello(DialectName::OpenaiChat, true);
            asked.headers_mut().insert("x-mainstay-labels", HeaderValue::from_static(kind));
            assert_eq!(world.send(asked).await.status, 200);
            assert_eq!(world.fallback.journal().len(), usize::from(raced), "{line} {kind}");
        }
    }
}
