//! Probes: targets that are asked by the gateway itself.

use crate::support::memory::{Plan, World};
use crate::tend;
use canon::DialectName;
use health::{BreakerStanding, Standing};
use std::time::Duration;

const PRICED: &str = "[{ target: primary/m-1, prices: { input: 1, output: 10 } }, fallback/m-2]";

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn standing(world: &World) -> Standing {
    let model = world.gateway.snapshot().resolve("chat").unwrap();
    model.targets[0].health.standing(world.gateway.clock().now())
}

fn is_serving(world: &World) -> bool {
    matches!(standing(world).breaker, BreakerStanding::Ramping { .. } | BreakerStanding::Closed)
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_whom_the_configuration_does_not_name() {
    let world = Plan::default().build();
    let _tending = tend(&world.gateway);
    world.open_primary().await;
    let calls = world.primary.journal().len();
    pass(3_600).await;
    assert_eq!(world.primary.journal().len(), calls);
    let other = Plan::default().top("health: { probe: { targets: [fallback/*], idle: 10s } }").build();
    let _tending = tend(&other.gateway);
    pass(60).await;
    assert!(other.primary.journal().is_empty() && !other.fallback.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_callers_pass_over_recovers_by_tokens_and_what_they_cost_is_told() {
    for dialect in DialectName::ALL {
        let world = Plan { targets: PRICED, ..Plan::of(dialect) }.model("probe: synthetic").build();
        let _tending = tend(&world.gateway);
        world.open_primary().await;
        pass(4).await;
        let calls = world.primary.journal().len();
        world.hello().await.served_by("fallback");
        assert_eq!(world.primary.journal().len(), calls, "{dialect}: a caller's request is no probe here");
        pass(60).await;
        assert!(!is_serving(&world), "{dialect}: {:?}", standing(&world));
        world.primary.set_faults([]);
        pass(40).await;
        assert!(is_serving(&world), "{dialect}: {:?}", standing(&world));
        let report = &world.gateway.probes()[0];
        assert_eq!(report.target, "primary/m-1");
        assert!(report.failed > 2 && report.made >= report.failed + 2, "{dialect}: {report:?}");
        assert!(report.cost.pico() > 0 && report.unpriced == 0, "{dialect}: {report:?}");
        let asked = world.primary.journal().last().unwrap().clone();
        assert!(asked.output_tokens <= 1, "{dialect}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_rests_is_left_alone_and_two_probes_keep_their_distance() {
    let world = Plan::default().top("health: { probe: { every: 7s } }").model("probe: synthetic").build();
    let _tending = tend(&world.gateway);
    world.open_primary().await;
    let before = world.primary.journal().len();
    pass(300).await;
    let times: Vec<Duration> = world.primary.journal().iter().skip(before).map(|entry| entry.at).collect();
    assert!(times.len() >= 10, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1].saturating_sub(pair[0]) >= Duration::from_secs(7)), "{times:?}");
    let late = &times[times.len() - 3..];
    assert!(
        late.windows(2).all(|pair| pair[1].saturating_sub(pair[0]) <= Duration::from_secs(17)),
        "the rest is 15s: {late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_models_never_closes_a_breaker_and_one_that_fails_keeps_it_open() {
    let world = Plan::default().top("health: { probe: { call: model_list, every: 2s } }").build();
    let _tending = tend(&world.gateway);
    world.open_primary().await;
    world.primary.set_faults([]);
    let calls = world.primary.journal().len();
    pass(120).await;
    assert!(world.primary.journal().len() > calls + 20, "it is asked");
    assert_eq!(
        standing(&world).breaker,
        BreakerStanding::HalfOpen { ready: true, promising: false },
        "and proves nothing of the model"
    );
    assert_eq!(world.gateway.probes()[0].cost.pico(), 0);
    world.break_primary("unavailable_503");
    pass(5).await;
    assert!(matches!(standing(&world).breaker, BreakerStanding::Open { .. }), "{:?}", standing(&world));
    world.primary.set_faults([]);
    pass(60).await;
    world.hello().await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn an_idle_target_that_has_died_is_found_before_a_caller_meets_it() {
    let world = Plan::default().top("health: { probe: { every: 10s, idle: 30s } }").build();
    let _tending = tend(&world.gateway);
    world.hello().await.served_by("primary");
    pass(20).await;
    assert_eq!(world.primary.journal().len(), 1, "it is not idle yet");
    world.break_primary("unavailable_503");
    pass(120).await;
    let calls = world.primary.journal().len();
    assert!(matches!(standing(&world).breaker, BreakerStanding::Open { .. }), "{:?}", standing(&world));
    world.hello().await.served_by("fallback");
    assert_eq!(world.primary.journal().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_rejected_is_found_by_the_list_of_models() {
    let world = Plan::default().top("health: { probe: { call: model_list, idle: 30s } }").build();
    let _tending = tend(&world.gateway);
    world.break_primary("unauthorized_401");
    pass(60).await;
    let calls = world.primary.journal().len();
    world.hello().await.served_by("fallback");
    assert_eq!(world.primary.journal().len(), calls, "no caller meets the rejected key");
    assert!(matches!(standing(&world).breaker, BreakerStanding::Closed), "the target did nothing wrong");
}

#[tokio::test(start_paused = true)]
async fn probes_keep_to_what_may_be_spent_on_their_target() {
    let targets = "[{ target: primary/m-1, prices: { input: 1000, output: 10000 }, \
                      spend: { limit: 0.1, window: 1h } }, fallback/m-2]";
    let plan = Plan { targets, ..Plan::default() };
    let world = plan.top("health: { probe: { every: 1s, idle: 1s, targets: [primary/*] } }").build();
    let _tending = tend(&world.gateway);
    pass(600).await;
    let report = &world.gateway.probes()[0];
    assert!((2..10).contains(&report.made), "{report:?}");
    assert!(report.cost.as_dollars() <= 0.1, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_a_probe_that_hangs() {
    let world = Plan::default().top("health: { probe: { every: 1s, idle: 1s } }").build();
    let _tending = tend(&world.gateway);
    world.break_primary("hang_before_headers");
    pass(3).await;
    let began = tokio::time::Instant::now();
    world.break_primary("slow_headers:by=10ms");
    world.hello().await.served_by("primary");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_probe_has_its_targets_own_keys_and_what_its_patch_says_of_who_serves_and_no_more_of_it() {
    const WHO: [(DialectName, &str, &str, &str); 3] = [
        (DialectName::OpenaiChat, "service_tier: flex", "service_tier", "reasoning_effort: low"),
        (
            DialectName::AnthropicMessages,
            "service_tier: standard_only",
            "service_tier",
            "thinking: { type: enabled, budget_tokens: 2000 }",
        ),
        (
            DialectName::Gemini,
            "safetySettings: [{ category: HARM_CATEGORY_HARASSMENT, threshold: BLOCK_NONE }]",
            "safetySettings",
            "generationConfig.thinkingConfig: { thinkingBudget: 2000 }",
        ),
    ];
    for (dialect, set, field, thought) in WHO {
        let targets = format!(
            "[{{ target: primary/m-1, keys: [sk-own], prompt: {{ append_system: \"Be brief.\" }}, parameters: {{ set: {{ \
             {set}, temperature: 0.3, {thought} }}, at_least: {{ max_tokens: 5000 }} }} }}]"
        );
        let top = "health: { probe: { every: 10s, idle: 10s } }";
        let world = Plan { targets: targets.leak(), ..Plan::of(dialect) }.top(top).build();
        let _tending = tend(&world.gateway);
        pass(60).await;
        let report = &world.gateway.probes()[0];
        assert!(report.made > 0 && report.failed == 0, "{dialect}: {report:?}");
        let sent = world.spy.sent().pop().unwrap();
        let keys = ["authorization", "x-api-key", "x-goog-api-key"];
        let key = keys.iter().find_map(|name| sent.headers.get(*name)).unwrap().to_str().unwrap();
        assert!(key.ends_with("sk-own"), "{dialect}: {key}");
        let text = String::from_utf8_lossy(&sent.body).into_owned();
        assert!(text.contains(field), "{dialect}: {text}");
        let unwanted = ["temperature", "reasoning", "thinking", "Be brief.", "5000"];
        assert!(unwanted.iter().all(|part| !text.contains(part)), "{dialect}: {text}");
    }
}
