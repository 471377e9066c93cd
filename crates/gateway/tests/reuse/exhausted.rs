//! When nothing can serve: the queue, the stale answer, the error, in the operator's order.

use crate::support::memory::{Answer, Plan, World, rule};
use crate::support::{body, is_error_of, request};
use crate::{caller, with};
use bytes::Bytes;
use canon::DialectName;
use http::Request;
use http_body_util::Full;
use simulator::{Behaviour, Ended, Pace};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const DIALECT: DialectName = DialectName::OpenaiChat;

fn ask(text: &str) -> Request<Full<Bytes>> {
    request(DIALECT, body(DIALECT, text), false)
}

/// Both providers are down from here on, for this long.
fn take_down(world: &World, fault: &str, lasting: Duration) {
    for simulator in [&world.primary, &world.fallback] {
        simulator.set_behaviour(Behaviour {
            pace: Pace { tokens: 1, ..Pace::default() },
            faults: vec![rule(fault).between(Duration::ZERO, lasting)],
            ..Behaviour::default()
        });
    }
}

fn calls(world: &World) -> usize {
    world.primary.journal().len() + world.fallback.journal().len()
}

/// What became of each request: when it came, when it was answered, and how.
async fn load(world: &World, per_second: u32, lasting: Duration) -> Vec<(Duration, Duration, Answer)> {
    let began = Instant::now();
    let mut callers = Vec::new();
    let mut i = 0;
    while began.elapsed() < lasting {
        let at = began.elapsed();
        let gateway = world.gateway.clone();
        let asked = ask(&format!("request {i}"));
        #[expect(clippy::disallowed_methods, reason = "callers are tasks of their own")]
        callers.push(tokio::spawn(async move {
            let answer = crate::read(gateway.handle(asked).await).await;
            (at, began.elapsed(), answer)
        }));
        i += 1;
        tokio::time::sleep_until(began + SECOND * i / per_second).await;
    }
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn everything_down_for_a_minute_at_50_a_second_and_every_request_is_answered_in_order_without_a_stampede() {
    for (seed, fault) in
        ["unavailable_503", "refuse", "server_error_500", "reset_before_headers"].into_iter().enumerate()
    {
        let plan = Plan { seed: seed as u64 + 1, ..Plan::default() };
        let world = plan.model("timeouts: { deadline: 90s }").model("when_exhausted: [queue, error]").build();
        for i in 0..300 {
            world.send(ask(&format!("before {i}"))).await;
        }
        take_down(&world, fault, 60 * SECOND);
        let down_at = world.primary.journal().last().unwrap().at;
        let outcomes = load(&world, 50, 75 * SECOND).await;
        let refused: Vec<_> = outcomes.iter().filter(|(_, _, answer)| answer.status != 200).collect();
        let first = refused.first().map(|(at, done, answer)| (at, done, answer.text()));
        assert!(refused.is_empty(), "{fault}: {} of {}: {first:?}", refused.len(), outcomes.len());

        // Served from the queue: in the order in which they came, as all have the same time.
        let back = outcomes.iter().map(|(_, done, _)| *done).min().unwrap();
        assert!(back >= 60 * SECOND && back < 76 * SECOND, "{fault}: {back:?}");
        let late = outcomes.windows(2).filter(|pair| pair[0].1 > pair[1].1 + 50 * MS).count();
        assert!(late <= 3, "{fault}: {late} out of order; those that were probes when the targets were down");

        // The calls of each second, at both targets together, from the first that was answered.
        let mut per_second = vec![0_u32; 120];
        let (mut during, mut all) = (0, 0);
        for entry in world.primary.journal().iter().chain(&world.fallback.journal()) {
            let Some(at) = entry.at.checked_sub(down_at) else { continue };
            all += 1;
            match at.checked_sub(back) {
                Some(since) => per_second[usize::try_from(since.as_secs()).unwrap()] += 1,
                None => during += 1,
            }
        }
        assert!(during <= 200, "{fault}: {during} calls while everything was down");
        assert!(all <= 3_750 + 400, "{fault}: {all} calls for 3750 requests");
        for (second, calls) in per_second.iter().enumerate().take(30) {
            // The ramp's share of four times the usual load; the target that ramps first leads.
            let share = (0.05 + 0.95 * (second as f64 + 1.0) / 60.0).min(1.0);
            let most = 4.0 * 50.0 * share + 10.0;
            assert!(f64::from(*calls) <= most, "{fault}: {calls} in second {second}, at most {most}: {per_second:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_within_5_ms_when_everything_is_down_and_says_so() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = Plan::of(dialect).model("when_exhausted: [stale_cache, error]").build();
            let ask = |text: &str| request(dialect, body(dialect, text), stream);
            let fresh = world.send(ask("Hello")).await;
            assert_eq!(fresh.header("x-mainstay-cache"), Some("none"), "{dialect}: it is kept for this alone");
            tokio::time::sleep(7 * SECOND).await;
            world.break_primary("unavailable_503");
            world.break_fallback("refuse");
            for _ in 0..40 {
                let began = Instant::now();
                let stale = world.send(ask("Hello")).await;
                assert!(began.elapsed() <= 55 * MS, "{:?}: one at most is tried again", began.elapsed());
                assert_eq!((stale.status, stale.header("x-mainstay-cache")), (200, Some("stale")), "{}", stale.text());
                assert!(stale.header("age").unwrap().parse::<u64>().unwrap() >= 7);
                assert_ne!(stale.header("x-mainstay-reason"), Some("none"));
                let room = dialect != DialectName::Gemini;
                assert_eq!(stale.text().contains("stale"), room, "{dialect}: {}", stale.text());
                if stream {
                    assert!(stale.text().ends_with(&fresh.text()), "{dialect}: the events are the same");
                } else if room {
                    assert_eq!(stale.json()["mainstay"]["cache"], "stale");
                }
                tokio::time::sleep(10 * MS).await;
            }
            let other = world.send(ask("never asked")).await;
            assert!(other.status >= 500, "{dialect}: there is none to this one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_breakers_open_stale_answers_and_errors_take_no_time_and_no_calls() {
    for (steps, status) in [("[stale_cache, error]", 200), ("[error]", 503), ("[queue, stale_cache]", 200)] {
        let world = Plan::default().model(&format!("when_exhausted: {steps}")).build();
        world.send(ask("Hello")).await;
        take_down(&world, "unavailable_503", 3600 * SECOND);
        let brief = |text: &str| with(ask(text), "x-mainstay-timeout", "1");
        for _ in 0..8 {
            world.send(brief("open the breakers")).await;
        }
        let before = calls(&world);
        let mut slow = 0;
        for _ in 0..100 {
            let began = Instant::now();
            let timeout = if steps.contains("queue") { "0.09" } else { "60" };
            let answer = world.send(with(ask("Hello"), "x-mainstay-timeout", timeout)).await;
            slow += usize::from(answer.status != status || began.elapsed() > 5 * MS);
            if answer.status == 503 {
                assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                assert_eq!(answer.header("x-should-retry"), Some("false"));
            }
            tokio::time::sleep(3 * MS).await;
        }
        assert!(slow <= 6, "{steps}: {slow}; one in twenty may be tried");
        assert!(calls(&world) - before <= 12, "{steps}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_for_nothing_else_than_an_outage() {
    let world =
        Plan::default().model("cache: { ttl: 1s, stale_for: 1h }").model("when_exhausted: [stale_cache]").build();
    world.send(ask("Hello")).await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.send(ask("Hello")).await.header("x-mainstay-cache"), Some("miss"), "past its time is asked again");
    world.break_primary("content_policy_400");
    world.break_fallback("content_policy_400");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.send(ask("Hello")).await.status, 400, "what the caller can change is told to the caller");
    world.break_primary("unavailable_503");
    world.break_fallback("unavailable_503");
    let no_cache = world.send(with(ask("Hello"), "cache-control", "no-cache")).await;
    assert!(no_cache.status >= 500, "a caller that wants a new one gets no old one");
    assert_eq!(world.send(ask("Hello")).await.header("x-mainstay-cache"), Some("stale"));
    tokio::time::sleep(3601 * SECOND).await;
    assert!(world.send(ask("Hello")).await.status >= 500, "and not for ever");
}

#[tokio::test(start_paused = true)]
async fn the_queue_yields_to_the_stale_answer_at_least_100_ms_before_the_deadline() {
    let world = Plan::default().model("when_exhausted: [queue, stale_cache]").build();
    world.send(ask("Hello")).await;
    take_down(&world, "unavailable_503", 3600 * SECOND);
    for _ in 0..3 {
        world.send(with(ask("open the breakers"), "x-mainstay-timeout", "1")).await;
    }
    let began = Instant::now();
    let answer = world.send(with(ask("Hello"), "x-mainstay-timeout", "30")).await;
    assert_eq!((answer.status, answer.header("x-mainstay-cache")), (200, Some("stale")));
    let took = began.elapsed();
    // Sooner if nothing is due any more before that.
    assert!(took >= 20 * SECOND && took <= 29_901 * MS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_is_not_due_before_the_deadline() {
    let world = Plan::default().model("when_exhausted: [queue]").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=120")]);
    world.fallback.set_faults([rule("rate_limited_429:retry_after=120")]);
    world.hello().await;
    let began = Instant::now();
    let refused = world.send(with(ask("Hello"), "x-mainstay-timeout", "60")).await;
    assert_eq!((refused.status, began.elapsed().as_millis()), (429, 0), "{}", refused.text());
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((100..=120).contains(&after), "{after}");
    world.primary.set_faults([]);
    let waited = world.send(with(ask("Hello"), "x-mainstay-timeout", "300")).await;
    assert_eq!(waited.status, 200);
    assert!(began.elapsed() >= 110 * SECOND && began.elapsed() < 122 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_leaves_the_queue_at_once_and_the_next_one_looks_after_it() {
    let world = Plan::default().model("when_exhausted: [queue]").model("timeouts: { deadline: 60s }").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=10")]);
    world.fallback.set_faults([rule("rate_limited_429:retry_after=10")]);
    let callers: Vec<_> = (0..5).map(|i| caller(&world.gateway, ask(&format!("{i}")))).collect();
    tokio::time::sleep(SECOND).await;
    world.primary.set_faults([]);
    world.fallback.set_faults([]);
    let before = calls(&world);
    let mut callers = callers.into_iter();
    for first in callers.by_ref().take(3) {
        first.abort();
        let _gone = first.await;
    }
    for left in callers {
        assert_eq!(left.await.unwrap().status, 200);
    }
    assert_eq!(calls(&world) - before, 2, "nothing is asked for those who left");
    assert_eq!(world.gateway.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn priority_comes_before_the_deadline_and_a_full_queue_refuses_at_once() {
    let keys = "keys: [{ name: batch, key: sk-b, priority: low }, { name: app, key: sk-a, priority: high }]";
    let plan = Plan::default().alone().top(keys).model("timeouts: { deadline: 60s }");
    let world = plan.model("when_exhausted: [queue]").model("queue: { size: 4 }").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=10")]);
    let ask = |text: &str, key: &str| with(ask(text), "authorization", &format!("Bearer {key}"));
    let mut low = Vec::new();
    for i in 0..4 {
        low.push(caller(&world.gateway, ask(&format!("low {i}"), "sk-b")));
        tokio::time::sleep(10 * MS).await;
    }
    let refused = world.send(ask("low 4", "sk-b")).await;
    assert_eq!(refused.status, 429, "full");
    let high = caller(&world.gateway, ask("high", "sk-a"));
    tokio::time::sleep(10 * MS).await;
    let pushed_out = low.pop().unwrap().await.unwrap();
    assert_eq!(pushed_out.status, 429, "the last of the lowest gives way");
    world.primary.set_faults([]);
    assert_eq!(high.await.unwrap().status, 200);
    for low in low {
        assert_eq!(low.await.unwrap().status, 200);
    }
    let served: Vec<String> =
        world.spy.sent().iter().map(|sent| String::from_utf8_lossy(&sent.body).into_owned()).collect();
    let of = |text: &str| served.iter().rposition(|body| body.contains(text)).unwrap();
    assert!(of("high") < of("low 0") && of("low 0") < of("low 1") && of("low 1") < of("low 2"), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_healthy_targets_does_not_come_back_for_ever() {
    let world = Plan::default().alone().model("when_exhausted: [queue]").build();
    for i in 0..30 {
        world.send(ask(&format!("well {i}"))).await;
    }
    world.primary.set_faults([rule("server_error_500")]);
    let before = calls(&world);
    let began = Instant::now();
    let refused = world.send(with(ask("poison"), "x-mainstay-timeout", "20")).await;
    assert!(refused.status >= 500);
    assert!(calls(&world) - before <= 16, "{} calls in {:?}", calls(&world) - before, began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_wait_is_told_with_the_rest() {
    let world = Plan::default().alone().model("when_exhausted: [queue]").build();
    world.primary.set_faults([rule("rate_limited_429:retry_after=5").for_requests(1)]);
    let answer = world.send(with(with(ask("Hello"), "x-mainstay-trace", "1"), "idempotency-key", "k")).await;
    assert_eq!((answer.status, answer.header("x-mainstay-attempts")), (200, Some("2")));
    let story = &answer.json()["mainstay"];
    assert_eq!(story["attempts"].as_array().unwrap().len(), 2, "{story}");
    assert!(story["queued_ms"].as_u64().unwrap() >= 4_900, "{story}");
    let keys: Vec<_> = world.spy.sent().iter().map(|sent| sent.headers["idempotency-key"].clone()).collect();
    assert_ne!(keys[0], keys[1], "no provider takes the second attempt for the first");
}

#[tokio::test(start_paused = true)]
async fn errors_stay_as_they_are_without_when_exhausted() {
    let world = Plan::default().build();
    take_down(&world, "unavailable_503", 60 * SECOND);
    for _ in 0..6 {
        world.hello().await;
    }
    let began = Instant::now();
    let refused = world.hello().await;
    assert!(refused.status >= 500 && began.elapsed() <= 5 * MS);
    assert!(is_error_of(DIALECT, &refused.json()));
    assert!(world.primary.journal().iter().all(|entry| !matches!(entry.ended, Ended::Open)));
}

#[tokio::test(start_paused = true)]
async fn streams_that_wait_are_kept_company_where_that_is_asked_for_and_errors_are_told_in_the_stream() {
    for dialect in DialectName::ALL {
        let plan = Plan::of(dialect).alone().model("when_exhausted: [queue]").model("cache: { ttl: 1h }");
        let world = plan.model("queue: { keep_alive: 5s }").build();
        let ask = |seconds: &str| with(request(dialect, body(dialect, "Hello"), true), "x-mainstay-timeout", seconds);
        world.primary.set_faults([rule("rate_limited_429:retry_after=12").for_requests(1)]);
        let began = Instant::now();
        let answer = world.send(ask("60")).await;
        let company = answer.text().matches(": mainstay: waiting").count();
        assert_eq!((answer.status, company), (200, if dialect == DialectName::Gemini { 0 } else { 2 }), "{dialect}");
        assert!(began.elapsed() > 11 * SECOND);
        let bare = world.send(ask("60")).await;
        assert!(answer.text().ends_with(&bare.text()), "{dialect}: the answer is the same: {}", answer.text());
        assert!(!bare.text().contains("waiting"), "{dialect}: and nobody is given another's company again");

        let world =
            Plan::of(dialect).alone().model("when_exhausted: [queue]").model("queue: { keep_alive: 5s }").build();
        world.primary.set_faults([rule("rate_limited_429:retry_after=7")]);
        let refused = world.send(ask("20")).await;
        if dialect == DialectName::Gemini {
            assert_eq!(refused.status, 429, "{}", refused.text());
        } else {
            let text = refused.text();
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            assert!(is_error_of(dialect, &serde_json::from_str(data).unwrap()), "{text}");
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        }
        assert_eq!(world.gateway.held_bytes(), 0);
    }
}
