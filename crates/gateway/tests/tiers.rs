//! Tiers over the whole gateway: how a request says its tier, and what is told of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use canon::DialectName;
use http::HeaderValue;
use serde_json::{Value, json};
use support::memory::{Answer, Plan, World};
use support::{body, request};

const TARGETS: &str = "[{ target: primary/m-1, tier: premium }, { target: fallback/m-2, tier: bulk }]";

/// The primary is premium and the fallback bulk, with these lines in the model.
fn world(lines: &[&str]) -> World {
    let plan = Plan { targets: TARGETS, ..Plan::default() };
    lines.iter().fold(plan, |plan, line| plan.model(line)).build()
}

/// What a request says of its tier.
#[derive(Default)]
struct Asks {
    header: Option<&'static str>,
    metadata: Option<Value>,
    model: Option<&'static str>,
    text: Option<String>,
}

impl World {
    async fn ask(&self, dialect: DialectName, asks: Asks) -> Answer {
        let mut asked = body(dialect, asks.text.as_deref().unwrap_or("Hello"));
        if let Some(metadata) = asks.metadata {
            asked["metadata"] = metadata;
        }
        if let Some(model) = asks.model {
            asked["model"] = json!(model);
        }
        let mut request = request(dialect, asked, false);
        if let Some(header) = asks.header {
            request.headers_mut().insert("x-mainstay-tier", HeaderValue::from_static(header));
        }
        request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
        self.send(request).await
    }
}

fn served(answer: &Answer, provider: &str, tier: &str) {
    answer.served_by(provider);
    assert_eq!(answer.header("x-mainstay-tier"), Some(tier));
}

#[tokio::test(start_paused = true)]
async fn a_header_a_label_or_a_suffix_names_the_tier_and_none_of_them_is_a_fallback() {
    let world = world(&["tiers: [{ name: bulk }, { name: premium }]"]);
    for dialect in DialectName::ALL {
        let answer = world.ask(dialect, Asks { header: Some("bulk"), ..Asks::default() }).await;
        served(&answer, "fallback", "bulk");
        assert_eq!(answer.header("x-mainstay-fallback"), Some("0"), "it is what the request is for");
        served(&world.ask(dialect, Asks::default()).await, "primary", "premium");
    }
    let chat = DialectName::OpenaiChat;
    let labelled = Asks { metadata: Some(json!({ "tier": "bulk" })), ..Asks::default() };
    let answer = world.ask(chat, labelled).await;
    served(&answer, "fallback", "bulk");
    assert_eq!(answer.json()["mainstay"]["tier"], json!({ "tier": "bulk", "floor": "bulk", "by": "label" }));
    let suffixed = Asks { model: Some("chat:bulk"), ..Asks::default() };
    let answer = world.ask(chat, suffixed).await;
    served(&answer, "fallback", "bulk");
    assert_eq!(answer.json()["model"], "m-2", "the suffix goes nowhere");
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_none_is_refused_with_those_there_are() {
    let world = world(&["tiers: [{ name: bulk }, { name: premium }]"]);
    let answer = world.ask(DialectName::OpenaiChat, Asks { header: Some("gold"), ..Asks::default() }).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "unknown_tier");
    assert!(answer.text().contains("there is no tier `gold`: known are bulk, premium"), "{}", answer.text());
    let answer = world.ask(DialectName::OpenaiChat, Asks { model: Some("chat:gold"), ..Asks::default() }).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.text().contains("known are chat:bulk, chat:premium"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn bulk_escalates_and_premium_falls_only_where_that_is_allowed() {
    let strict = world(&["tiers: [{ name: bulk }, { name: premium }]"]);
    strict.break_fallback("unavailable_503");
    let answer = strict.ask(DialectName::OpenaiChat, Asks { header: Some("bulk"), ..Asks::default() }).await;
    served(&answer, "primary", "premium");
    assert_eq!(answer.header("x-mainstay-reason"), Some("overloaded"));
    strict.break_primary("unavailable_503");
    strict.fallback.set_faults([]);
    for _ in 0..6 {
        let answer = strict.ask(DialectName::OpenaiChat, Asks::default()).await;
        assert!(answer.status >= 500, "bulk is no answer for premium: {}", answer.text());
    }

    let lenient = world(&["tiers: [{ name: bulk }, { name: premium, allow_downgrade: bulk }]"]);
    lenient.break_primary("rate_limited_429");
    let answer = lenient.ask(DialectName::OpenaiChat, Asks::default()).await;
    served(&answer, "fallback", "bulk");
    assert_eq!(answer.header("x-mainstay-fallback"), Some("1"), "a downgrade is told");
    assert_eq!(answer.json()["mainstay"]["tier"]["floor"], "bulk");
}

#[tokio::test(start_paused = true)]
async fn without_a_label_length_or_complexity_decides_and_the_story_has_every_part() {
    let long = Asks { text: Some("Tell me more. ".repeat(100)), ..Asks::default() };
    let by_length = world(&["tiers: [{ name: bulk }, { name: premium, from: 200 }]"]);
    served(&by_length.ask(DialectName::OpenaiChat, Asks::default()).await, "fallback", "bulk");
    served(&by_length.ask(DialectName::OpenaiChat, long).await, "primary", "premium");

    let by_complexity = world(&["tiers: [{ name: bulk }, { name: premium, from: 10 }]", "tier_score: complexity"]);
    served(&by_complexity.ask(DialectName::OpenaiChat, Asks::default()).await, "fallback", "bulk");
    let hard =
        Asks { text: Some("Prove that x^2 = 5 has no whole solution, and explain why.".to_owned()), ..Asks::default() };
    let answer = by_complexity.ask(DialectName::OpenaiChat, hard).await;
    served(&answer, "primary", "premium");
    let told = answer.json()["mainstay"]["tier"].clone();
    let parts = told["complexity"]["parts"].as_array().expect("parts").clone();
    let sum: f64 = parts.iter().map(|part| part["points"].as_f64().unwrap()).sum();
    assert!((sum - told["complexity"]["points"].as_f64().unwrap()).abs() < 1e-6, "{told}");
    assert_eq!(parts[0]["feature"], "numbers", "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_lower_tier_is_not_given_again_to_a_higher_one() {
    let world = world(&["tiers: [{ name: bulk }, { name: premium }]", "cache: { ttl: 10m }"]);
    let ask = |tier| {
        let mut request = request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false);
        request.headers_mut().insert("x-mainstay-tier", HeaderValue::from_static(tier));
        world.send(request)
    };
    ask("bulk").await.served_by("fallback");
    let again = ask("bulk").await;
    assert_eq!(again.header("x-mainstay-cache"), Some("hit"));
    assert_eq!(again.header("x-mainstay-tier"), Some("bulk"), "a kept answer says whose it is, as others do");
    ask("premium").await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn a_rule_raises_a_request_to_a_tier_and_lowers_none_below_its_floor() {
    let rules = "rules:\n  - { name: long, if: request.tokens > 400, tier: premium }\n  - { name: short, if: request.tokens < 400, tier: bulk }\n";
    let plan =
        Plan { targets: TARGETS, ..Plan::default() }.model("tiers: [{ name: bulk }, { name: premium }]").top(rules);
    let world = plan.build();
    let bulk = || Some("bulk");
    let long = Asks { header: bulk(), text: Some("word ".repeat(1_000)), ..Asks::default() };
    let answer = world.ask(DialectName::OpenaiChat, long).await;
    served(&answer, "primary", "premium");
    assert_eq!(answer.header("x-mainstay-fallback"), Some("0"), "a tier is no fallback");
    assert_eq!(answer.json()["mainstay"]["tier"], json!({ "tier": "premium", "floor": "premium", "by": "rule" }));
    served(&world.ask(DialectName::OpenaiChat, Asks { header: bulk(), ..Asks::default() }).await, "fallback", "bulk");
    let answer = world.ask(DialectName::OpenaiChat, Asks { header: Some("premium"), ..Asks::default() }).await;
    served(&answer, "primary", "premium");
    assert_eq!(answer.json()["mainstay"]["tier"]["by"], "header", "its floor is premium itself");
}

#[tokio::test(start_paused = true)]
async fn model_lists_have_the_names_of_tiers() {
    let world = world(&["tiers: [{ name: bulk }, { name: premium }]"]);
    let get = |path: &str| http::Request::get(path).body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
    let list = world.send(get("/v1/models")).await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(names.contains(&"chat") && names.contains(&"chat:bulk") && names.contains(&"chat:premium"), "{names:?}");
    let one = world.send(get("/v1/models/chat:bulk")).await.json();
    assert_eq!(one["id"], "chat:bulk");
    assert_eq!(world.send(get("/v1/models/chat:gold")).await.status, 404);
}
