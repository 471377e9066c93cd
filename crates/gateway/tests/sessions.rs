//! Conversations stay with their target, over the real gateway, in every dialect and under every name they may have.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use canon::DialectName;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::memory::{Answer, Plan, World};
use support::{body, request, snapshot_over};

/// Where a conversation's name stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Field(&'static str),
    Header(&'static str),
    /// Nowhere: what it begins with tells.
    Opening,
}

const PLACES: [Place; 6] = [
    Place::Field("session_id"),
    Place::Header("x-session-id"),
    Place::Field("prompt_cache_key"),
    Place::Header("x-claude-code-session-id"),
    Place::Header("session_id"),
    Place::Opening,
];

fn world(dialect: DialectName, line: &str) -> World {
    Plan::of(dialect).model(line).build()
}

/// The turn of a conversation with so many answers in its history.
fn turn(dialect: DialectName, answers: usize) -> Value {
    let mut asked = body(dialect, "Hello");
    let says = |who: &str, text: &str| match dialect {
        DialectName::OpenaiChat | DialectName::AnthropicMessages => json!({"role": who, "content": text}),
        DialectName::Gemini => json!({"role": who, "parts": [{"text": text}]}),
    };
    let (turns, model) = match dialect {
        DialectName::OpenaiChat | DialectName::AnthropicMessages => ("messages", "assistant"),
        DialectName::Gemini => ("contents", "model"),
    };
    let turns = asked[turns].as_array_mut().unwrap();
    for _ in 0..answers {
        turns.push(says(model, "Hello to you."));
        turns.push(says("user", "And then?"));
    }
    asked
}

async fn ask(world: &World, dialect: DialectName, place: Place, name: &str, answers: usize) -> Answer {
    let mut asked = turn(dialect, answers);
    if let Place::Field(field) = place {
        asked[field] = json!(name);
    }
    let stream = answers % 2 == 1;
    let mut request = request(dialect, asked, stream);
    if let Place::Header(header) = place {
        request.headers_mut().insert(header, name.parse().unwrap());
    }
    world.send(request).await
}

/// A conversation has its first two answers, the second from the fallback, as the primary failed.
async fn moved(world: &World, dialect: DialectName, place: Place) {
    ask(world, dialect, place, "s-1", 0).await.served_by("primary");
    world.break_primary("unavailable_503");
    let answer = ask(world, dialect, place, "s-1", 1).await;
    answer.served_by("fallback");
    assert_eq!(
        (answer.header("x-mainstay-fallback"), answer.header("x-mainstay-reason")),
        (Some("1"), Some("overloaded"))
    );
    world.primary.set_faults([]);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_stays_where_it_moved_to_whatever_names_it() {
    for dialect in DialectName::ALL {
        for place in PLACES {
            // A key for prompt caches is a word of one dialect.
            if matches!(place, Place::Field("prompt_cache_key")) && dialect != DialectName::OpenaiChat {
                continue;
            }
            let world = world(dialect, "sessions: on");
            moved(&world, dialect, place).await;
            let answer = ask(&world, dialect, place, "s-1", 2).await;
            assert_eq!(
                answer.header("x-mainstay-provider"),
                Some("fallback"),
                "{dialect} {place:?}: {}",
                answer.text()
            );
            let told = ["x-mainstay-fallback", "x-mainstay-reason", "x-mainstay-dropped"].map(|it| answer.header(it));
            assert_eq!(told, [Some("0"), Some("session"), Some("none")], "{dialect} {place:?}");
            if !matches!(place, Place::Opening) {
                ask(&world, dialect, place, "s-2", 0).await.served_by("primary");
            }
            tokio::time::advance(Duration::from_secs(301)).await;
            ask(&world, dialect, place, "s-1", 3).await.served_by("primary");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_sessions_every_request_goes_where_the_plan_says() {
    for line in ["sessions: off", "max_targets: 4"] {
        let world = world(DialectName::OpenaiChat, line);
        moved(&world, DialectName::OpenaiChat, Place::Header("x-session-id")).await;
        let answer = ask(&world, DialectName::OpenaiChat, Place::Header("x-session-id"), "s-1", 2).await;
        answer.served_by("primary");
        assert_eq!(answer.header("x-mainstay-reason"), Some("none"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_stays_comes_back_with_the_next_turn() {
    let world = world(DialectName::OpenaiChat, "sessions: { on_fault: stay, ttl: 1h }");
    moved(&world, DialectName::OpenaiChat, Place::Header("x-session-id")).await;
    ask(&world, DialectName::OpenaiChat, Place::Header("x-session-id"), "s-1", 2).await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn a_name_of_another_tenant_s_conversation_is_nothing() {
    let keys = "keys: [{ name: one, key: k-1 }, { name: two, key: k-2 }]";
    let world = Plan::default().model("sessions: on").top(keys).build();
    let ask = async |key: &str| {
        let mut asked = request(DialectName::OpenaiChat, turn(DialectName::OpenaiChat, 0), false);
        asked.headers_mut().insert("x-session-id", "s-1".parse().unwrap());
        asked.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        world.send(asked).await
    };
    world.break_primary("unavailable_503");
    ask("k-1").await.served_by("fallback");
    world.primary.set_faults([]);
    ask("k-1").await.served_by("fallback");
    ask("k-2").await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn the_trace_tells_where_a_conversation_stands() {
    let world = world(DialectName::OpenaiChat, "sessions: on");
    moved(&world, DialectName::OpenaiChat, Place::Header("x-session-id")).await;
    let mut asked = request(DialectName::OpenaiChat, turn(DialectName::OpenaiChat, 2), false);
    asked.headers_mut().insert("x-session-id", "s-1".parse().unwrap());
    asked.headers_mut().insert("x-mainstay-trace", "1".parse().unwrap());
    let story = world.send(asked).await.json()["mainstay"].clone();
    assert_eq!(story["reason"], "session");
    assert_eq!(story["session"], json!({"target": "fallback/m-2", "instead_of_the_primary": true}));
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_prefers_goes_before_a_pin() {
    let rules = "rules:\n  - { if: 'request.labels.team == \"legal\"', prefer: primary/m-1 }";
    let world = Plan::default().model("sessions: on").top(rules).build();
    moved(&world, DialectName::OpenaiChat, Place::Header("x-session-id")).await;
    for (team, provider, reason) in [("sales", "fallback", "session"), ("legal", "primary", "none")] {
        let mut asked = request(DialectName::OpenaiChat, turn(DialectName::OpenaiChat, 2), false);
        asked.headers_mut().insert("x-session-id", "s-1".parse().unwrap());
        asked.headers_mut().insert("x-mainstay-labels", format!("team={team}").parse().unwrap());
        let answer = world.send(asked).await;
        answer.served_by(provider);
        assert_eq!(
            (answer.header("x-mainstay-fallback"), answer.header("x-mainstay-reason")),
            (Some("0"), Some(reason))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_conversations_stand_where_they_stood() {
    let plan = Plan::default().model("sessions: on");
    let yaml = plan.yaml("http://primary", "http://fallback");
    let world = plan.build();
    let ledger = Arc::default();
    world.gateway.replace(snapshot_over(&yaml, &world.health, &ledger)).unwrap();
    moved(&world, DialectName::OpenaiChat, Place::Header("x-session-id")).await;
    let turned = yaml.replace("[primary/m-1, fallback/m-2]", "[primary/m-1, primary/m-3, fallback/m-2]");
    assert_ne!(turned, yaml);
    world.gateway.replace(snapshot_over(&turned, &world.health, &ledger)).unwrap();
    let answer = ask(&world, DialectName::OpenaiChat, Place::Header("x-session-id"), "s-1", 2).await;
    answer.served_by("fallback");
    assert_eq!(answer.header("x-mainstay-reason"), Some("session"));
}
