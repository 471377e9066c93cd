//! Identical requests in flight share one upstream call, and none of them can hurt another.

use crate::support::memory::{Answer, Plan, World, rule};
use crate::support::{body, request};
use crate::{asker, caller, fixed, with};
use canon::DialectName;
use http_body::Body;
use simulator::{Ended, Pace};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn coalescing(dialect: DialectName) -> World {
    Plan::of(dialect).model("coalesce: deterministic").build()
}

fn calls(world: &World) -> usize {
    world.primary.journal().len() + world.fallback.journal().len()
}

fn shared(answer: &Answer) -> bool {
    answer.header("x-mainstay-shared") == Some("true")
}

#[tokio::test(start_paused = true)]
async fn ten_callers_of_one_question_cost_one_call_streamed_or_not_in_every_dialect() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = coalescing(dialect);
            let callers: Vec<_> =
                (0..10).map(|_| caller(&world.gateway, request(dialect, fixed(dialect, "Hello"), stream))).collect();
            let mut answers = Vec::new();
            for caller in callers {
                answers.push(caller.await.unwrap());
            }
            assert_eq!(calls(&world), 1, "{dialect} {stream}");
            assert_eq!(answers.iter().filter(|answer| shared(answer)).count(), 9);
            for answer in &answers {
                assert_eq!((answer.status, &answer.body), (200, &answers[0].body), "{dialect} {stream}");
            }
            let ids: std::collections::HashSet<_> = answers.iter().map(|a| a.header("x-request-id").unwrap()).collect();
            assert_eq!(ids.len(), 10, "each has an id of its own");
            let alone = world.send(request(dialect, fixed(dialect, "Hello"), stream)).await;
            assert!(!shared(&alone) && calls(&world) == 2, "what is over is shared with nobody");
            assert_eq!(world.gateway.held_bytes(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_deterministic_requests_are_shared_unless_the_configuration_says_always() {
    for (rule, body, expected) in [
        ("coalesce: deterministic", body(DialectName::OpenaiChat, "Hello"), 2),
        ("coalesce: deterministic", fixed(DialectName::OpenaiChat, "Hello"), 1),
        ("coalesce: off", fixed(DialectName::OpenaiChat, "Hello"), 2),
        ("coalesce: always", body(DialectName::OpenaiChat, "Hello"), 1),
    ] {
        let world = Plan::default().model(rule).build();
        let ask = || request(DialectName::OpenaiChat, body.clone(), true);
        let (one, other) = (caller(&world.gateway, ask()), caller(&world.gateway, ask()));
        assert_eq!((one.await.unwrap().status, other.await.unwrap().status), (200, 200));
        assert_eq!(calls(&world), expected, "{rule} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_hang_up_of_whoever_came_first_hurts_nobody_in_any_phase() {
    for stream in [false, true] {
        for after in [1, 15, 25, 40, 60] {
            let world = coalescing(DialectName::OpenaiChat);
            let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), stream);
            let first = caller(&world.gateway, ask());
            tokio::time::sleep(MS).await;
            let others: Vec<_> = (0..3).map(|_| caller(&world.gateway, ask())).collect();
            tokio::time::sleep(after * MS).await;
            first.abort();
            let whole = Plan::default().build().send(ask()).await;
            for other in others {
                let answer = other.await.unwrap();
                assert_eq!((answer.status, answer.body.len()), (200, whole.body.len()), "{stream} {after}");
            }
            assert_eq!(calls(&world), 1, "{stream} {after}");
            assert!(matches!(world.primary.journal()[0].ended, Ended::Complete { .. }), "{stream} {after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_is_cancelled_when_the_last_one_hangs_up_and_not_before() {
    let world = coalescing(DialectName::OpenaiChat);
    world.break_primary("hang_before_headers");
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), true);
    let callers = [caller(&world.gateway, ask()), caller(&world.gateway, ask()), caller(&world.gateway, ask())];
    tokio::time::sleep(5 * MS).await;
    for caller in callers {
        assert!(matches!(world.primary.journal()[0].ended, Ended::Open));
        caller.abort();
        tokio::time::sleep(5 * MS).await;
    }
    assert!(matches!(world.primary.journal()[0].ended, Ended::Cancelled { .. }), "{:?}", world.primary.journal());
    assert_eq!((calls(&world), world.gateway.held_bytes()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_in_the_middle_of_a_stream_has_it_from_its_beginning() {
    let world = coalescing(DialectName::AnthropicMessages);
    let ask = || request(DialectName::AnthropicMessages, fixed(DialectName::AnthropicMessages, "Hello"), true);
    let first = caller(&world.gateway, ask());
    tokio::time::sleep(50 * MS).await;
    assert!(matches!(world.primary.journal()[0].ended, Ended::Open), "it is under way");
    let late = world.send(ask()).await;
    assert_eq!(late.body, first.await.unwrap().body);
    assert!(shared(&late) && calls(&world) == 1);
}

/// Everything a body gives without waiting.
fn at_once(body: &mut (impl Body<Data = bytes::Bytes, Error = std::convert::Infallible> + Unpin)) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
        out.extend_from_slice(&frame.into_data().unwrap());
    }
    out
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_read_delays_nobody_and_misses_nothing() {
    let world = coalescing(DialectName::OpenaiChat);
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), true);
    let (slow, quick) = (asker(&world.gateway, ask()), caller(&world.gateway, ask()));
    let mut slow = slow.await.unwrap();
    let quick = quick.await.unwrap();
    assert!(quick.text().ends_with("data: [DONE]\n\n"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(at_once(slow.body_mut()), quick.body, "and the idle limit never was its business");
}

#[tokio::test(start_paused = true)]
async fn one_who_falls_too_far_behind_is_told_so_and_memory_stays_bounded() {
    let dialect = DialectName::OpenaiChat;
    let plan = Plan::of(dialect).model("coalesce: deterministic");
    let world = plan.build();
    world.primary.set_behaviour(simulator::Behaviour {
        pace: Pace { tokens: 20_000, interval: Duration::from_micros(100), ..Pace::default() },
        ..simulator::Behaviour::default()
    });
    let gateway = world.with_byte_budget(64 << 10);
    let ask = || request(dialect, fixed(dialect, "Hello"), true);
    let (slow, quick) = (asker(&gateway, ask()), caller(&gateway, ask()));
    let mut slow = slow.await.unwrap();
    let quick = quick.await.unwrap();
    assert!(quick.body.len() > 1 << 20 && quick.text().ends_with("data: [DONE]\n\n"), "{}", quick.body.len());
    assert!(gateway.held_bytes() <= 64 << 10);
    let told = String::from_utf8(at_once(slow.body_mut())).unwrap();
    assert!(told.contains("read_too_slowly") && !told.contains("[DONE]"), "{told}");
    drop(slow);
    assert_eq!(gateway.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shared_as_an_answer_is() {
    let world = coalescing(DialectName::OpenaiChat);
    world.primary.set_faults([rule("slow_headers:by=1s"), rule("content_policy_400")]);
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), false);
    let (one, other) = (caller(&world.gateway, ask()), caller(&world.gateway, ask()));
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert_eq!((one.status, &one.body), (400, &other.body));
    assert_eq!(calls(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_each_callers_own() {
    let world = Plan::default().alone().model("coalesce: deterministic").build();
    world.primary.set_faults([rule("hang_before_headers").for_requests(1)]);
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), true);
    let began = tokio::time::Instant::now();
    let brief = caller(&world.gateway, with(ask(), "x-mainstay-timeout", "2"));
    tokio::time::sleep(MS).await;
    let patient = caller(&world.gateway, with(ask(), "x-mainstay-timeout", "20"));
    let briefer = caller(&world.gateway, with(ask(), "x-mainstay-timeout", "1"));
    assert_eq!((briefer.await.unwrap().status, began.elapsed().as_millis() / 100), (504, 10));
    assert_eq!(brief.await.unwrap().status, 504);
    assert_eq!(patient.await.unwrap().status, 200, "it goes on with an exchange of its own");
    assert_eq!(calls(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_timeout_is_each_callers_own() {
    let world = Plan::default().alone().model("coalesce: deterministic").build();
    world.primary.set_faults([rule("hang_before_headers").for_requests(1)]);
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), true);
    let began = tokio::time::Instant::now();
    let brief = caller(&world.gateway, with(ask(), "x-stainless-read-timeout", "2.0"));
    tokio::time::sleep(MS).await;
    let patient = caller(&world.gateway, ask());
    let briefer = caller(&world.gateway, with(ask(), "x-stainless-timeout", "1"));
    assert_eq!((briefer.await.unwrap().status, began.elapsed().as_millis() / 100), (504, 9));
    assert_eq!((brief.await.unwrap().status, began.elapsed().as_millis() / 100), (504, 18));
    assert_eq!(patient.await.unwrap().status, 200, "it goes on with an exchange of its own");
    assert_eq!(calls(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_shared_is_kept_once_and_whole() {
    let world = Plan::default().model("coalesce: deterministic").model("cache: { ttl: 1m }").build();
    let ask = || request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, "Hello"), true);
    let first = asker(&world.gateway, ask()).await.unwrap();
    let second = caller(&world.gateway, ask());
    tokio::time::sleep(MS).await;
    drop(first);
    let second = second.await.unwrap();
    let third = world.send(ask()).await;
    assert_eq!((third.header("x-mainstay-cache"), &third.body), (Some("hit"), &second.body));
    assert_eq!(calls(&world), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_on_many_threads_that_come_and_go_leave_nothing_behind() {
    let world = coalescing(DialectName::OpenaiChat);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut callers = Vec::new();
    for _ in 0..400 {
        let question = format!("question {}", rng.u8(0..4));
        let ask = request(DialectName::OpenaiChat, fixed(DialectName::OpenaiChat, &question), rng.bool());
        let leaves = rng.u8(0..3) == 0;
        callers.push((caller(&world.gateway, ask), leaves));
        if rng.u8(0..8) == 0 {
            tokio::time::sleep(MS).await;
        }
    }
    for (caller, leaves) in callers {
        if leaves {
            caller.abort();
            let _gone = caller.await;
        } else {
            assert_eq!(caller.await.unwrap().status, 200);
        }
    }
    assert_eq!(world.gateway.held_bytes(), 0);
    let open = world.primary.journal().iter().filter(|entry| matches!(entry.ended, Ended::Open)).count();
    assert_eq!(open, 0, "nothing goes on for nobody");
}
