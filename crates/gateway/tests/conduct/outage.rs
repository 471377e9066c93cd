//! Minutes of outage: who serves meanwhile, what it costs, and how soon the primary is used again.

use crate::support::hello;
use crate::support::memory::{Plan, rule};
use canon::DialectName;
use simulator::{Behaviour, Pace};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_primary_down_for_a_minute_is_used_again_within_sixteen_seconds_for_1000_seeds() {
    let faults = ["unavailable_503", "server_error_500", "refuse", "reset_before_headers", "overloaded_529"];
    for seed in 0..1_000 {
        let dialect = DialectName::ALL[usize::try_from(seed % 3).unwrap()];
        let world = Plan { seed, ..Plan::of(dialect) }.build();
        let phase = Duration::from_secs_f64(fastrand::Rng::with_seed(seed).f64() * 4.0);
        let (down, up) = (8 * SECOND + phase, 68 * SECOND + phase);
        let fault = faults[usize::try_from(seed % 5).unwrap()];
        let brief = Pace { tokens: 1, ..Pace::default() };
        let faults = vec![rule(fault).between(down, up)];
        world.primary.set_behaviour(Behaviour { seed, pace: brief.clone(), faults, ..Behaviour::default() });
        world.fallback.set_behaviour(Behaviour { seed, pace: brief, ..Behaviour::default() });
        let began = tokio::time::Instant::now();
        let mut back = None;
        for i in 0..24 {
            tokio::time::sleep_until(began + 4 * i * SECOND).await;
            let at = began.elapsed();
            let answer = world.send(hello(dialect, seed % 2 == 0)).await;
            assert_eq!(answer.status, 200, "seed {seed}, {fault}, at {at:?}: {}", answer.text());
            let by_primary = answer.header("x-mainstay-provider") == Some("primary");
            if at >= down && at < up {
                assert!(!by_primary, "seed {seed}, {fault}, at {at:?}: the fallback serves the outage");
            }
            if at >= up && by_primary {
                back.get_or_insert(at - up);
            }
        }
        let back = back.expect("the primary is used again");
        assert!(back <= 16 * SECOND, "seed {seed}, {fault}: used again after {back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_excludes_every_candidate_is_an_honest_503_at_once() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        world.break_primary("unavailable_503");
        world.break_fallback("refuse");
        for _ in 0..6 {
            world.send(hello(dialect, false)).await;
        }
        let calls = world.primary.journal().len() + world.fallback.journal().len();
        let began = tokio::time::Instant::now();
        let mut refused = 0;
        for _ in 0..10 {
            let answer = world.send(hello(dialect, true)).await;
            if answer.status == 503 {
                refused += 1;
                let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=15).contains(&after), "{dialect}: {after}");
                assert_eq!(answer.header("x-should-retry"), Some("false"));
                assert!(crate::support::is_error_of(dialect, &answer.json()), "{dialect}: {}", answer.text());
                assert_eq!(answer.header("x-mainstay-attempts"), Some("0"));
            }
        }
        assert!(began.elapsed() < Duration::from_millis(100), "{dialect}: at once, not after {:?}", began.elapsed());
        assert!(refused >= 9, "{dialect}: {refused} of 10; at most one goes to the target nearest its probe");
        let more = world.primary.journal().len() + world.fallback.journal().len() - calls;
        assert!(more <= 1, "{dialect}: {more} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn with_every_model_gone_the_caller_is_told_who_was_left_out() {
    let world = Plan::default().build();
    world.break_primary("model_404");
    world.break_fallback("model_404");
    world.hello().await;
    let answer = world.hello().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let text = answer.text();
    assert!(text.contains("primary/m-1") && text.contains("fallback/m-2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_full_outage_at_five_a_second_costs_at_most_1_1_upstream_calls_a_request() {
    for (primary, fallback) in [
        ("unavailable_503", "unavailable_503"),
        ("server_error_500", "server_error_500"),
        ("refuse", "overloaded_529"),
        ("error_in_200", "empty_stream"),
    ] {
        for stream in [false, true] {
            let world = Plan::default().build();
            world.break_primary(primary);
            world.break_fallback(fallback);
            for _ in 0..6 {
                world.send(hello(DialectName::OpenaiChat, stream)).await;
            }
            let before = world.primary.journal().len() + world.fallback.journal().len();
            let began = tokio::time::Instant::now();
            for i in 0..300 {
                tokio::time::sleep_until(began + Duration::from_millis(200) * i).await;
                let answer = world.send(hello(DialectName::OpenaiChat, stream)).await;
                assert!(answer.status >= 500, "{}", answer.text());
                assert_eq!(answer.header("x-should-retry"), Some("false"));
            }
            let calls = world.primary.journal().len() + world.fallback.journal().len() - before;
            assert!(calls <= 330, "{primary} and {fallback}, stream {stream}: {calls} calls for 300 requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_primary_holds_few_callers_and_none_beyond_its_limit() {
    let world = Plan::default().build();
    world.break_primary("hang_before_headers");
    let mut held = 0;
    for _ in 0..120 {
        tokio::time::sleep(SECOND).await;
        let began = tokio::time::Instant::now();
        world.send(hello(DialectName::OpenaiChat, true)).await.served_by("fallback");
        assert!(began.elapsed() < 11 * SECOND, "{:?}", began.elapsed());
        held += usize::from(began.elapsed() > SECOND);
    }
    assert!(held <= 3, "{held}: those before the breaker opened; the caller of a probe is served by its hedge");
}
