//! 429s: never called again before the hint; the fallback at once, or a wait where the operator wants one.

use crate::support::memory::{Plan, World, rule, times};
use canon::DialectName;
use std::time::Duration;

const FORMS: [&str; 7] = ["native", "seconds", "ms", "date", "reset", "body", "text"];

/// Requests every 100 ms for this long; everybody must be answered.
async fn traffic(world: &World, lasting: Duration) {
    for _ in 0..lasting.as_millis() / 100 {
        let answer = world.hello().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limited_target_is_never_called_again_before_its_hint_whatever_its_form() {
    for dialect in DialectName::ALL {
        for form in FORMS {
            let world = Plan::of(dialect).build();
            world.primary.set_faults([rule(&format!("rate_limited_429:retry_after=5s,form={form}")).for_requests(1)]);
            traffic(&world, Duration::from_secs(9)).await;
            let called = times(&world.primary);
            assert_eq!(world.primary.journal()[0].status, Some(429), "{dialect} {form}");
            let again = called[1] - called[0];
            assert!(again >= Duration::from_secs(5), "{dialect} {form}: called again after {again:?}");
            assert!(again <= Duration::from_secs(7), "{dialect} {form}: used again late, after {again:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_rest_begins_at_a_second_and_doubles_to_twenty() {
    let world = Plan::default().build();
    world.break_primary("rate_limited_429");
    traffic(&world, Duration::from_secs(90)).await;
    let called = times(&world.primary);
    let gaps: Vec<f64> = called.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (gap, least) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 20.0]) {
        assert!((least..least + 0.5).contains(gap), "{gaps:?}");
    }
    assert!(gaps.len() >= 6, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn by_default_a_429_goes_to_the_fallback_at_once() {
    for stream in [false, true] {
        let world = Plan::default().build();
        world.break_primary("rate_limited_429:retry_after=1s");
        let began = tokio::time::Instant::now();
        let answer = world.send(crate::support::hello(DialectName::OpenaiChat, stream)).await;
        answer.served_by("fallback");
        let first = world.fallback.journal()[0].at;
        assert!(first <= Duration::from_millis(5), "the fallback was called after {first:?}");
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(world.primary.journal().len(), 1);
        assert_eq!(answer.header("x-mainstay-reason"), Some("rate_limited"));
    }
}

#[tokio::test(start_paused = true)]
async fn with_max_wait_the_hint_is_waited_for_and_the_primary_serves() {
    let world = Plan::default().model("on: { rate_limited: { max_wait: 2s } }").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=1.5s,form=ms").for_requests(1)]);
    let answer = world.hello().await;
    answer.served_by("primary");
    let called = times(&world.primary);
    assert_eq!(called.len(), 2);
    assert!(called[1] - called[0] >= Duration::from_millis(1500), "{called:?}");
    assert!(called[1] - called[0] <= Duration::from_millis(1700), "{called:?}");
    assert!(world.fallback.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_during_the_wait_waits_as_well_and_stays_on_the_primary() {
    let world = Plan::default().model("on: { rate_limited: { max_wait: 2s } }").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=1.5s,form=ms").for_requests(1)]);
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.hello().await
    };
    let (first, late) = tokio::join!(world.hello(), late);
    first.served_by("primary");
    late.served_by("primary");
    let called = times(&world.primary);
    assert!(called[1..].iter().all(|at| *at - called[0] >= Duration::from_millis(1500)), "{called:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_beyond_max_wait_goes_to_the_fallback_at_once() {
    let world = Plan::default().model("on: { rate_limited: { max_wait: 2s } }").build();
    world.break_primary("rate_limited_429:retry_after=3s");
    let began = tokio::time::Instant::now();
    world.hello().await.served_by("fallback");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_persistent_429_sees_at_most_two_attempts_of_one_request() {
    for (line, keys) in [
        ("max_targets: 4", "[sk-1, sk-2, sk-3]"),
        ("on: { rate_limited: { max_wait: 2s } }", "[sk-1]"),
        ("on: { rate_limited: { max_wait: 2s } }", "[sk-1, sk-2, sk-3]"),
        ("on: { rate_limited: same }", "[sk-1]"),
    ] {
        for fault in ["rate_limited_429:retry_after=0.5s,form=ms", "rate_limited_429"] {
            for alone in [false, true] {
                let plan = Plan { keys, ..Plan::default() }.model(line);
                let world = if alone { plan.alone() } else { plan }.build();
                world.break_primary(fault);
                let answer = world.hello().await;
                let calls = world.primary.journal().len();
                assert!((1..=2).contains(&calls), "{line} {keys} {fault}: {calls} calls");
                assert_eq!(answer.status, if alone { 429 } else { 200 }, "{line} {keys} {fault}: {}", answer.text());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_target_is_limited_the_caller_gets_a_429_with_the_smallest_retry_after() {
    let world = Plan::default().build();
    world.break_primary("rate_limited_429:retry_after=30s");
    world.break_fallback("rate_limited_429:retry_after=7s");
    for _ in 0..2 {
        let answer = world.hello().await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")), "{}", answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert_eq!((world.primary.journal().len(), world.fallback.journal().len()), (1, 1), "parked is skipped, not tried");
}

#[tokio::test(start_paused = true)]
async fn a_429_parks_and_never_opens_the_breaker() {
    let world = Plan::default().build();
    for _ in 0..20 {
        world.primary.set_faults([rule("rate_limited_429:retry_after=1s").for_requests(1)]);
        world.hello().await.served_by("fallback");
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    world.primary.set_faults([]);
    world.hello().await.served_by("primary");
}
