//! Rules over the whole gateway: what they do to requests, and what is told of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use canon::DialectName;
use http::HeaderValue;
use serde_json::{Value, json};
use simulator::Behaviour;
use std::time::Duration;
use support::memory::{Answer, Plan, World, rule};
use support::{body, hello, request, snapshot};

/// A world with these lines as its rules.
fn world(rules: &str) -> World {
    Plan::default().top(&format!("rules:\n{rules}")).build()
}

impl World {
    /// `Hello`, with the story in the answer.
    async fn story(&self) -> (Answer, Value) {
        let mut request = hello(DialectName::OpenaiChat, false);
        request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
        let answer = self.send(request).await;
        let story = answer.json()["mainstay"].clone();
        (answer, story)
    }

    async fn labelled(&self, dialect: DialectName, metadata: Option<Value>, header: Option<&'static str>) -> Answer {
        let mut asked = body(dialect, "Hello");
        if let Some(metadata) = metadata {
            asked["metadata"] = metadata;
        }
        let mut request = request(dialect, asked, false);
        if let Some(header) = header {
            request.headers_mut().insert("x-mainstay-labels", HeaderValue::from_static(header));
        }
        self.send(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_labelled_request_goes_to_the_specialist_as_its_primary_in_every_dialect() {
    let world =
        world("  - { name: legal, if: 'request.labels.team in [\"legal\", \"medical\"]', only: fallback/m-2 }\n");
    for dialect in DialectName::ALL {
        let answer = world.labelled(dialect, None, Some("tier=x, team=legal")).await;
        answer.served_by("fallback");
        assert_eq!(answer.header("x-mainstay-fallback"), Some("0"), "it is what the request is for");
        world.labelled(dialect, None, Some("team=sales")).await.served_by("primary");
        world.labelled(dialect, None, None).await.served_by("primary");
    }
    world.labelled(DialectName::OpenaiChat, Some(json!({"team": "medical"})), None).await.served_by("fallback");
    world.break_fallback("unavailable_503");
    let answer = world.labelled(DialectName::OpenaiChat, None, Some("team=legal")).await;
    assert_eq!(answer.status, 502, "nobody else may serve it: {}", answer.text());
    assert_eq!(answer.header("x-mainstay-attempts"), Some("1"));
    world.break_fallback("unavailable_503");
    for _ in 0..3 {
        world.labelled(DialectName::OpenaiChat, None, Some("team=legal")).await;
    }
    let answer = world.labelled(DialectName::OpenaiChat, None, Some("team=legal")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("primary/m-1 (left out by rule `legal`)"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_excludes_everybody_is_told_as_the_reason() {
    let world = world("  - { name: freeze, if: 'request.tools == false', exclude: ['primary/*', fallback/m-2] }\n");
    let (answer, story) = world.story().await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(story["excluded"][0]["code"], "rule", "{story}");
    assert_eq!(story["excluded"][1]["reason"], "left out by rule `freeze`", "{story}");
    assert_eq!(story["rules"], json!([{ "rule": "freeze" }]));
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_excludes_is_not_called_while_everything_is_down() {
    for condition in [r#"request.labels.team == "legal""#, r#"target("primary/m-1").breaker != "closed""#] {
        let world = world(&format!("  - {{ if: '{condition}', exclude: primary/m-1 }}\n"));
        world.open_primary().await;
        world.break_fallback("unavailable_503");
        let calls = world.primary.journal().len();
        let mut refused = 0;
        for _ in 0..40 {
            let answer = world.labelled(DialectName::OpenaiChat, None, Some("team=legal")).await;
            refused += u32::from(answer.status == 503);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(world.primary.journal().len(), calls, "{condition}");
        assert!(refused > 10, "{condition}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn four_hundred_and_twenty_nines_demote_a_provider_until_its_return_by_a_ramp() {
    let world = world(
        "  - name: limited\n    if: 'rate(\"primary/m-1\", \"rate_limited\", duration(\"1m\")) > 0.2'\n    \
         until: 'rate(\"primary/m-1\", \"rate_limited\", duration(\"1m\")) < 0.05'\n    min_samples: 10\n    \
         avoid: primary/m-1\n",
    );
    let shares = async |seconds: u64| {
        let (mut primary, mut all) = (0.0, 0.0);
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let answer = world.hello().await;
            all += 1.0;
            primary += f64::from(answer.header("x-mainstay-provider") == Some("primary"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        primary / all
    };
    assert!(shares(5).await > 0.999);
    world.primary.set_faults([rule("rate_limited_429:retry_after=100ms").percent(60.0)]);
    shares(10).await;
    let (answer, story) = world.story().await;
    answer.served_by("fallback");
    assert_eq!(answer.header("x-mainstay-reason"), Some("rule"), "a diversion, with its reason");
    assert_eq!(answer.header("x-mainstay-fallback"), Some("1"));
    assert_eq!(story["rules"], json!([{ "rule": "limited" }]), "{story}");
    assert!(shares(30).await < 0.001, "it does not flap");
    world.primary.set_faults([]);
    let first = shares(70).await;
    assert!((0.1..0.5).contains(&first), "it begins to return when what it measured is a minute old: {first}");
    let second = shares(60).await;
    assert!((0.8..1.0).contains(&second), "gently: {second} after {first}");
    assert!(shares(5).await > 0.999, "and whole");
}

#[tokio::test(start_paused = true)]
async fn short_prompts_leave_a_provider_that_is_rate_limited_for_more_than_200_ms() {
    let world = world(
        "  - name: elsewhere\n    if: 'target(\"primary/m-1\").rate_limited_for > duration(\"200ms\") && \
         request.tokens < 1000'\n    prefer: fallback/m-2\n",
    );
    world.break_primary("rate_limited_429:retry_after=10ms");
    world.hello().await.served_by("fallback");
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.hello().await.served_by("fallback");
    assert_eq!(world.primary.journal().len(), 2, "limited for 100 ms: still tried first");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (answer, story) = world.story().await;
    answer.served_by("fallback");
    assert_eq!(answer.header("x-mainstay-reason"), Some("rule"));
    assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "it is not tried any longer: {story}");
    let long =
        world.send(request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, &"word ".repeat(4000)), false));
    assert_eq!(long.await.header("x-mainstay-attempts"), Some("2"), "a long prompt stays");
}

#[tokio::test(start_paused = true)]
async fn a_rule_sets_timeouts_for_the_requests_it_is_for() {
    let world = world("  - { if: 'request.stream', set: { timeouts: { first_token: 2s } } }\n");
    world.break_primary("hang_before_headers");
    let began = tokio::time::Instant::now();
    world.send(hello(DialectName::OpenaiChat, true)).await.served_by("fallback");
    assert_eq!(began.elapsed().as_secs(), 2);
    let began = tokio::time::Instant::now();
    world.send(hello(DialectName::OpenaiChat, false)).await.served_by("fallback");
    assert!(began.elapsed().as_secs() > 10, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rule_sets_what_becomes_of_a_stream_that_breaks() {
    let world = world("  - { if: 'request.user == \"strict\"', set: { rescue: error } }\n");
    for simulator in [&world.primary, &world.fallback] {
        simulator.set_behaviour(Behaviour { answer: simulator::Answer::of_prompt(), ..Behaviour::default() });
    }
    world.break_primary("cut_mid_text:after=3");
    for (user, is_rescued) in [("strict", false), ("lenient", true)] {
        let mut asked = body(DialectName::OpenaiChat, "Hello");
        asked["user"] = json!(user);
        let answer = world.send(request(DialectName::OpenaiChat, asked, true)).await;
        assert_eq!(answer.text().contains("[DONE]"), is_rescued, "{user}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_has_cost_today_sends_the_rest_elsewhere_until_the_window_has_passed() {
    let rules =
        "rules:\n  - { name: enough, if: 'spent(\"primary/m-1\", duration(\"1h\")) > 0.001', avoid: primary/m-1 }";
    let keys = "[sk-1], models: [{ id: m-1, prices: { input: 2, output: 10 } }]";
    let world = Plan { keys, ..Plan::default() }.top(rules).build();
    let mut cost = 0.0;
    while cost <= 0.001 {
        let answer = world.hello().await;
        answer.served_by("primary");
        cost += answer.header("x-mainstay-cost").unwrap().parse::<f64>().unwrap();
    }
    for _ in 0..30 {
        let answer = world.hello().await;
        answer.served_by("fallback");
        assert_eq!(answer.header("x-mainstay-reason"), Some("rule"));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    tokio::time::sleep(Duration::from_secs(1900)).await;
    world.hello().await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_fails_is_skipped_and_the_request_served() {
    let world =
        world("  - { if: '1 / (request.tokens - request.tokens) == 1', exclude: ['primary/*', 'fallback/*'] }\n");
    world.hello().await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_shared_with_a_request_that_rules_send_elsewhere() {
    let rules = "rules:\n  - { if: 'request.labels.team == \"legal\" || request.headers[\"x-org\"] == \"legal\"', only: \
                 fallback/m-2 }";
    let world = Plan::default().top(rules).model("cache: { ttl: 10m }").build();
    world.hello().await.served_by("primary");
    assert_eq!(world.hello().await.header("x-mainstay-cache"), Some("hit"));
    world.labelled(DialectName::OpenaiChat, Some(json!({"team": "legal"})), None).await.served_by("fallback");
    world.labelled(DialectName::OpenaiChat, None, Some("team=legal")).await.served_by("fallback");
    let mut request = hello(DialectName::OpenaiChat, false);
    request.headers_mut().insert("x-org", HeaderValue::from_static("legal"));
    world.send(request).await.served_by("fallback");
    let other = world.labelled(DialectName::OpenaiChat, Some(json!({"trace": "7"})), None).await;
    assert_eq!(other.header("x-mainstay-cache"), Some("hit"), "a label no rule reads changes nothing");
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_a_rule_remembers_what_it_measured() {
    let rules = "rules:\n  - { if: 'rate(\"primary/m-1\", \"any\", duration(\"10m\")) > 0.5', min_samples: 3, exclude: \
                 primary/m-1 }";
    let plan = Plan { seed: 3, ..Plan::default().top(rules) };
    let yaml = plan.yaml("http://primary", "http://fallback");
    let world = plan.build();
    world.break_primary("bad_gateway_502_html");
    for _ in 0..4 {
        world.hello().await;
    }
    let (_, story) = world.story().await;
    assert_eq!(story["excluded"][0]["code"], "rule", "{story}");
    for _ in 0..2 {
        world.gateway.replace(snapshot(&yaml, &world.health)).unwrap();
        let (_, story) = world.story().await;
        assert_eq!(story["excluded"][0]["code"], "rule", "{story}");
    }
}
