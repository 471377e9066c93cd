//! Permits, clocks and the ledger.

use crate::support::memory::{Plan, read, times};
use crate::support::transports::{Scripted, openai_answer, reply};
use crate::support::{hello, snapshot};
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::HeaderValue;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn half_open_slots_are_permits_taken_atomically_when_an_attempt_starts() {
    let world = Arc::new(Plan::default().build());
    world.open_primary().await;
    world.break_primary("hang_before_headers");
    let calls = world.primary.journal().len();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut together = JoinSet::new();
    for _ in 0..50 {
        let world = world.clone();
        together.spawn(async move { world.send(hello(DialectName::OpenaiChat, true)).await });
    }
    while let Some(answer) = together.join_next().await {
        answer.unwrap().served_by("fallback");
    }
    assert_eq!(world.primary.journal().len() - calls, 1, "one probe, whoever asks at the same moment");
}

#[tokio::test(start_paused = true)]
async fn the_caller_of_a_probe_does_not_wait_for_it() {
    let world = Plan::default().build();
    world.open_primary().await;
    world.break_primary("hang_before_headers");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let began = tokio::time::Instant::now();
    world.send(hello(DialectName::OpenaiChat, true)).await.served_by("fallback");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_its_hedge_has_overtaken_goes_on_and_judges_its_target() {
    for streamed in [true, false] {
        let world = Plan::default().build();
        world.open_primary().await;
        world.break_primary("slow_first_token:by=3s");
        tokio::time::sleep(Duration::from_secs(4)).await;
        for _ in 0..2 {
            let began = tokio::time::Instant::now();
            world.send(hello(DialectName::OpenaiChat, streamed)).await.served_by("fallback");
            assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for it: {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let model = world.gateway.snapshot().resolve("chat").unwrap();
        let standing = model.targets[0].health.standing(world.gateway.clock().now());
        assert!(
            standing.is_healthy() || matches!(standing.breaker, health::BreakerStanding::Ramping { .. }),
            "{standing:?}"
        );
        assert_eq!(world.gateway.held_bytes(), 0, "nothing is left of them");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overtaken_probe_that_stays_silent_is_a_failed_one() {
    let world = Plan::default().build();
    world.open_primary().await;
    world.break_primary("hang_before_headers");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let calls = world.primary.journal().len();
    world.send(hello(DialectName::OpenaiChat, true)).await.served_by("fallback");
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.send(hello(DialectName::OpenaiChat, true)).await.served_by("fallback");
    assert_eq!(world.primary.journal().len() - calls, 1, "the one probe is still waited for");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let model = world.gateway.snapshot().resolve("chat").unwrap();
    let standing = model.targets[0].health.standing(world.gateway.clock().now());
    assert!(matches!(standing.breaker, health::BreakerStanding::Open { .. }), "{standing:?}");
}

#[tokio::test(start_paused = true)]
async fn dates_in_hints_are_read_against_the_responses_own_date() {
    // Both dates are far from this machine's clock.
    let called = Arc::new(Mutex::new(Vec::new()));
    let log = called.clone();
    let began = tokio::time::Instant::now();
    let transport = Scripted(move |call: upstream::Call| {
        if call.endpoint.host == "fallback" {
            return Ok(reply(200, &[("content-type", "application/json")], &openai_answer("Hi")));
        }
        log.lock().unwrap().push(began.elapsed());
        let headers = [
            ("content-type", "application/json"),
            ("date", "Fri, 01 Jan 2010 00:00:00 GMT"),
            ("retry-after", "Fri, 01 Jan 2010 00:00:20 GMT"),
        ];
        Ok(reply(
            429,
            &headers,
            r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        ))
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    for _ in 0..30 {
        read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await.served_by("fallback");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let called = called.lock().unwrap().clone();
    assert_eq!(called.len(), 2, "{called:?}");
    assert!((20..=21).contains(&called[1].as_secs()), "{called:?}");
}

#[tokio::test(start_paused = true)]
async fn hints_are_clamped_to_an_hour() {
    for hint in ["86400", "Fri, 01 Jan 2038 00:00:00 GMT", "-5"] {
        let called = Arc::new(Mutex::new(Vec::new()));
        let log = called.clone();
        let began = tokio::time::Instant::now();
        let transport = Scripted(move |call: upstream::Call| {
            if call.endpoint.host == "fallback" {
                return Ok(reply(200, &[("content-type", "application/json")], &openai_answer("Hi")));
            }
            log.lock().unwrap().push(began.elapsed());
            let headers = [("content-type", "application/json"), ("retry-after", hint)];
            Ok(reply(
                429,
                &headers,
                r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            ))
        });
        let yaml = Plan::default().yaml("http://primary", "http://fallback");
        let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
        for _ in 0..70 {
            read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await.served_by("fallback");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let called = called.lock().unwrap().clone();
        assert!(called.len() >= 2, "{hint}: asked again within 70 minutes: {called:?}");
        if hint != "-5" {
            assert!((3600..=3660).contains(&called[1].as_secs()), "{hint}: {called:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn intervals_use_the_monotonic_clock() {
    // Virtual time moves the monotonic clock alone: a rest that ends with it does not ask the wall clock.
    let world = Plan::default().build();
    world.open_primary().await;
    world.primary.set_faults([]);
    let calls = world.primary.journal().len();
    tokio::time::sleep(Duration::from_secs(16)).await;
    world.hello().await;
    assert_eq!(world.primary.journal().len(), calls + 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_lost_after_its_request_was_fully_sent_is_ledgered_as_may_be_billed() {
    for (fault, expected) in [
        ("reset_before_headers", true),
        ("hang_before_headers", true),
        ("empty_stream", true),
        ("refuse", false),
        ("unavailable_503", false),
    ] {
        let world = Plan::default().build();
        world.break_primary(fault);
        let mut request = hello(DialectName::OpenaiChat, false);
        request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
        let answer = world.send(request).await;
        answer.served_by("fallback");
        let first = &answer.json()["mainstay"]["attempts"][0];
        assert_eq!(first["may_be_billed"].as_bool().unwrap_or(false), expected, "{fault}: {first}");
    }
}

#[test]
fn health_state_is_shared_by_the_whole_process_whatever_the_number_of_runtimes() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (one, other) = (runtime(), runtime());
    let world = one.block_on(async {
        let world = Plan::default().build();
        world.open_primary().await;
        world
    });
    let calls = times(&world.primary).len();
    other.block_on(async {
        let snapshot = world.gateway.snapshot();
        let model = snapshot.resolve("chat").unwrap();
        let standing = model.targets[0].health.standing(world.gateway.clock().now());
        assert!(!standing.is_healthy(), "{standing:?}");
    });
    assert_eq!(times(&world.primary).len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_what_the_change_of_a_providers_row_made_void_and_nothing_else() {
    let plan = Plan::default();
    let world = plan.clone().build();
    world.break_primary("model_404");
    world.hello().await.served_by("fallback");
    world.primary.set_faults([]);
    let reload = |yaml: &str| {
        // The same register, as a process has it: targets are found again by their ids.
        world.gateway.replace(snapshot(yaml, &world.health)).unwrap();
    };
    let yaml = plan.yaml("http://primary", "http://fallback");
    reload(&yaml.replace("  chat:", "  more:\n    targets: [fallback/m-2]\n  chat:"));
    world.hello().await.served_by("fallback");
    reload(&yaml.replace("keys: [sk-1]", "keys: [sk-1], headers: { x-team: a }"));
    world.hello().await.served_by("primary");
}
