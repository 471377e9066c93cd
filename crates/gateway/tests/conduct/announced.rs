//! SDKs announce when they hang up: by then they have the beginning of an answer, or an honest error.

use crate::hedging::story_of;
use crate::support::memory::{Answer as Told, Plan, World, rule};
use crate::support::{hello, is_error_of};
use bytes::Bytes;
use canon::DialectName;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use simulator::{Answer, Behaviour, Chunks, Pace};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// How Python's SDKs and JavaScript's say four seconds.
const FOUR: [(&str, &str); 2] = [("x-stainless-read-timeout", "4.0"), ("x-stainless-timeout", "4")];
/// That less a tenth.
const HEARD_BY: Duration = Duration::from_millis(3_600);
const TEXT: &str = "The harbour is quiet, seven lanterns swing above the quay, and nobody counts the boats that \
                    went out before dawn.";

fn announcing(mut request: Request<Full<Bytes>>, (name, value): (&'static str, &'static str)) -> Request<Full<Bytes>> {
    request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    request
}

/// Sends it as an SDK does that hangs up after four seconds without a head; the time to the head, and the answer.
async fn send(world: &World, request: Request<Full<Bytes>>) -> (Duration, Told) {
    let began = Instant::now();
    let head = tokio::time::timeout(4 * SECOND, world.gateway.handle(request)).await.expect("it has not hung up");
    (began.elapsed(), crate::support::memory::read(head).await)
}

#[tokio::test(start_paused = true)]
async fn while_the_first_target_hangs_the_caller_has_its_answer_before_it_hangs_up() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            for announced in FOUR {
                let world = Plan::of(dialect).build();
                world.break_primary("hang_before_headers");
                let (after, answer) = send(&world, announcing(hello(dialect, stream), announced)).await;
                answer.served_by("fallback");
                assert!(after > 2 * SECOND && after < HEARD_BY, "{dialect} {stream}: {after:?}");
                assert_eq!(answer.header("x-mainstay-reason"), Some("read_timeout"));
                let story = if stream { story_of(&answer) } else { answer.json()["mainstay"].clone() };
                assert_eq!(story["first_byte"]["within_ms"], 3_600, "{story}");
                assert_eq!(story["first_byte"]["announced_in"], announced.0, "{story}");
                assert_eq!(story["attempts"][1]["beside"], "read_timeout", "{story}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_answers_in_time_the_error_comes_before_the_caller_hangs_up_and_says_whose_limit_it_was() {
    for dialect in DialectName::ALL {
        for plan in [Plan::of(dialect), Plan::of(dialect).alone()] {
            for announced in FOUR {
                let world = plan.clone().build();
                world.break_primary("hang_before_headers");
                world.break_fallback("slow_first_token:by=9s");
                let (after, answer) = send(&world, announcing(hello(dialect, true), announced)).await;
                assert_eq!((answer.status, after), (504, HEARD_BY), "{dialect}: {}", answer.text());
                assert!(is_error_of(dialect, &answer.json()), "{}", answer.text());
                assert!(answer.text().contains("no answer in the 3600 ms"), "{}", answer.text());
                assert!(answer.text().contains(announced.0), "{}", answer.text());
                assert_eq!(answer.header("x-should-retry"), Some("false"));
                assert_eq!(world.gateway.held_bytes(), 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_begun_goes_on_and_is_rescued_after_the_announced_time() {
    for fault in [None, Some("cut_after_text:bytes=45,by=reset")] {
        let world = Plan::default().build();
        let answer = || Answer::exactly(TEXT).in_chunks(Chunks::Characters(9));
        let pace = Pace { interval: SECOND, ..Pace::default() };
        let faults = fault.map(rule).into_iter().collect();
        world.primary.set_behaviour(Behaviour { answer: answer(), pace: pace.clone(), faults, ..Behaviour::default() });
        world.fallback.set_behaviour(Behaviour { answer: answer(), pace, ..Behaviour::default() });
        let began = Instant::now();
        let (after, answer) = send(&world, announcing(hello(DialectName::OpenaiChat, true), FOUR[0])).await;
        answer.served_by("primary");
        assert!(after < SECOND && began.elapsed() > 8 * SECOND, "{after:?} {:?}", began.elapsed());
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        assert_eq!(story_of(&answer)["attempts"].as_array().unwrap().len(), if fault.is_some() { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_time_or_more_than_the_deadline_changes_nothing() {
    for announced in [
        ("x-stainless-read-timeout", "600.0"),
        ("x-stainless-timeout", "600"),
        ("x-stainless-timeout", "3"),
        ("x-stainless-read-timeout", "nan"),
        ("x-stainless-read-timeout", "-4"),
        ("x-stainless-timeout", "NOT_GIVEN"),
    ] {
        let world = Plan::default().model("timeouts: { deadline: 3s }").build();
        world.break_primary("hang_before_headers");
        let (after, answer) = send(&world, announcing(hello(DialectName::OpenaiChat, false), announced)).await;
        answer.served_by("fallback");
        assert!(after > Duration::from_millis(1_800) && after < 2 * SECOND, "{after:?}");
        assert_eq!(answer.header("x-mainstay-reason"), Some("timed_out"), "three fifths of the deadline");
        assert!(answer.json()["mainstay"]["first_byte"].is_null());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_queue_hears_in_time_and_who_is_kept_company_waits_for_longer() {
    for (company, kept) in [("", false), ("queue: { keep_alive: 9s }", false), ("queue: { keep_alive: 3s }", true)] {
        let plan = Plan::default().alone().model("when_exhausted: [queue]");
        let world = if company.is_empty() { plan } else { plan.model(company) }.build();
        world.primary.set_faults([rule("rate_limited_429:retry_after=12").for_requests(1)]);
        let (after, answer) = send(&world, announcing(hello(DialectName::OpenaiChat, true), FOUR[0])).await;
        assert!(after < HEARD_BY, "{company}: {after:?}");
        if kept {
            assert_eq!((answer.status, after), (200, 3 * SECOND), "{}", answer.text());
            assert_eq!(answer.text().matches(": mainstay: waiting").count(), 4, "so that no read takes four seconds");
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        } else {
            assert_eq!(answer.status, 429, "{company}: {}", answer.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_the_door_is_let_in_or_told_in_time() {
    let world = Plan::default().model("overload: { max_in_flight: 1, queue: { max_wait: 1m } }").build();
    world.primary.set_behaviour(Behaviour {
        pace: Pace { first_token: 20 * SECOND, ..Pace::default() },
        ..Behaviour::default()
    });
    let first = world.send(hello(DialectName::OpenaiChat, false));
    let second = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        send(&world, announcing(hello(DialectName::OpenaiChat, false), FOUR[1])).await
    };
    let (first, (after, answer)) = tokio::join!(first, second);
    assert!(answer.status == 503 && after <= HEARD_BY, "{after:?}: {}", answer.text());
    assert_eq!(first.status, 200);
}
