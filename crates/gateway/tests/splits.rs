//! Splits that keep users and conversations to their arms, and experiments that are told: over the real gateway.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use bytes::Bytes;
use canon::DialectName;
use gateway::{Gateway, History, Tags};
use history::{Event, GatewayEvent, Memory};
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::memory::{Answer, Plan, World};
use support::{body, request, snapshot_over};

const BY_USER: &str = "strategy: { weighted: { sticky: user, experiment: tone } }";
const ARMS: &str = "[{ target: primary/m-1, label: short, weight: 7 }, { target: fallback/m-2, weight: 3 }]";

fn world(targets: &'static str, strategy: &str) -> World {
    Plan { targets, ..Plan::default() }.model(strategy).build()
}

/// A question of this user, where its dialect names users.
fn of_user(dialect: DialectName, user: &str, stream: bool) -> Request<Full<Bytes>> {
    let mut asked = body(dialect, "Hello");
    match dialect {
        DialectName::OpenaiChat => asked["user"] = json!(user),
        DialectName::AnthropicMessages => asked["metadata"] = json!({ "user_id": user }),
        DialectName::Gemini => {}
    }
    let mut request = request(dialect, asked, stream);
    if dialect == DialectName::Gemini {
        request.headers_mut().insert("x-mainstay-labels", HeaderValue::try_from(format!("user={user}")).unwrap());
    }
    request
}

fn arm(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-mainstay-experiment").expect("told").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_user_keeps_to_its_arm_in_every_dialect_over_reloads_and_a_change_of_weights_moves_only_who_has_to() {
    let world = world(ARMS, BY_USER);
    let mut arms = BTreeMap::new();
    for user in 0..40 {
        let user = format!("user-{user}");
        let mut told: Vec<String> = Vec::new();
        for dialect in DialectName::ALL {
            for stream in [false, true] {
                let answer = world.send(of_user(dialect, &user, stream)).await;
                told.push(arm(&answer));
                let provider = if arm(&answer) == "tone=short" { "primary" } else { "fallback" };
                answer.served_by(provider);
                assert_eq!(answer.header("x-mainstay-fallback"), Some("0"), "being drawn makes nobody a fallback");
            }
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{user}: {told:?}");
        arms.insert(user, told.remove(0));
    }
    let short = |arms: &BTreeMap<String, String>| arms.values().filter(|arm| *arm == "tone=short").count();
    assert!((20..36).contains(&short(&arms)), "{arms:?}");
    // The other way round in the list, and with another weight.
    let yaml = Plan {
        targets: "[{ target: fallback/m-2, weight: 3 }, { target: primary/m-1, label: short, weight: 3 }]",
        ..Plan::default()
    };
    let yaml = yaml.model(BY_USER).yaml("http://primary", "http://fallback");
    world.gateway.replace(snapshot_over(&yaml, &world.health, &Arc::default())).unwrap();
    let mut moved = 0;
    for (user, before) in &arms {
        let after = arm(&world.send(of_user(DialectName::OpenaiChat, user, false)).await);
        assert!(*before == after || before == "tone=short", "{user} left the arm that has grown");
        moved += usize::from(*before != after);
    }
    assert!((1..20).contains(&moved), "{moved}");
}

#[tokio::test(start_paused = true)]
async fn a_named_conversation_keeps_to_its_arm_and_one_without_a_name_is_drawn_anew() {
    let world = world(ARMS, "strategy: { weighted: { sticky: session, experiment: tone } }");
    let ask = |name: Option<&str>| {
        let mut asked = body(DialectName::OpenaiChat, "Hello");
        if let Some(name) = name {
            asked["session_id"] = json!(name);
        }
        request(DialectName::OpenaiChat, asked, false)
    };
    let mut seen = Vec::new();
    for name in 0..10 {
        let name = format!("s-{name}");
        let first = arm(&world.send(ask(Some(&name))).await);
        for _ in 0..3 {
            assert_eq!(arm(&world.send(ask(Some(&name))).await), first);
        }
        seen.push(first);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2);
    assert!(world.spy.sent().iter().all(|sent| !String::from_utf8_lossy(&sent.body).contains("session_id")));
    let mut drawn = Vec::new();
    for _ in 0..40 {
        drawn.push(arm(&world.send(ask(None)).await));
    }
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 2, "the same prompt again and again is no conversation");
}

#[tokio::test(start_paused = true)]
async fn whoever_serves_in_the_place_of_an_arm_is_told_beside_it_in_header_story_and_error() {
    let world =
        world("[{ target: primary/m-1, label: short }, { target: fallback/m-2, label: long, weight: 0 }]", BY_USER);
    world.break_primary("unavailable_503");
    let mut request = of_user(DialectName::OpenaiChat, "u", false);
    request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    let answer = world.send(request).await;
    answer.served_by("fallback");
    assert_eq!(arm(&answer), "tone=short;served=long");
    let told = answer.json()["mainstay"]["experiments"].clone();
    assert_eq!(told, json!([{ "experiment": "tone", "arm": "short", "served": "long" }]));
    world.break_fallback("unavailable_503");
    let refused = world.send(of_user(DialectName::OpenaiChat, "u", false)).await;
    assert_eq!((refused.status, refused.header("x-mainstay-experiment")), (502, Some("tone=short")));
}

#[tokio::test(start_paused = true)]
async fn a_split_without_an_experiment_tells_of_none() {
    for strategy in ["strategy: weighted", "strategy: { weighted: { sticky: user } }", "strategy: priority"] {
        let answer = world(ARMS, strategy).send(of_user(DialectName::OpenaiChat, "u", false)).await;
        assert_eq!((answer.status, answer.header("x-mainstay-experiment")), (200, None), "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_kept_is_not_given_to_users_of_another_arm() {
    let cached = Plan { targets: ARMS, ..Plan::default() }.model(BY_USER).model("cache: { ttl: 10m }").build();
    let plain = world(ARMS, BY_USER);
    let mut hits = 0;
    for user in 0..20 {
        let user = format!("user-{user}");
        let drawn = arm(&plain.send(of_user(DialectName::OpenaiChat, &user, false)).await);
        let answer = cached.send(of_user(DialectName::OpenaiChat, &user, false)).await;
        assert_eq!(arm(&answer), drawn, "{user}");
        hits += usize::from(answer.header("x-mainstay-cache") == Some("hit"));
    }
    assert_eq!(hits, 18, "one answer for each arm");
}

#[tokio::test(start_paused = true)]
async fn the_history_tells_the_arm_that_was_drawn_the_one_that_served_and_what_that_cost() {
    const PRICED: &str = "[{ target: primary/m-1, label: short }, \
                          { target: fallback/m-2, label: long, weight: 0, prices: { input: 1, output: 2 } }]";
    let world = world(PRICED, BY_USER);
    let memory = Arc::new(Memory::new(|| 0));
    let history = History { recorder: memory.clone(), tags: Tags::Loopback };
    let gateway = Gateway::new(world.gateway.snapshot(), Arc::new(world.spy.clone()), 1).unwrap().with_history(history);
    let gateway = Arc::new(gateway);
    for (fault, stream, paid) in [(None, false, false), (Some("unavailable_503"), false, true), (None, true, true)] {
        if let Some(fault) = fault {
            world.break_primary(fault);
        }
        let answer = support::memory::read(gateway.handle(of_user(DialectName::OpenaiChat, "u", stream)).await).await;
        assert_eq!(answer.status, 200);
        let settled = memory.take().into_iter().find_map(|it| match it.event {
            Event::Gateway(GatewayEvent::Settled { picodollars, elsewhere, .. }) => Some((picodollars, elsewhere)),
            _ => None,
        });
        let (picodollars, elsewhere) = settled.unwrap();
        assert_eq!(picodollars.is_some_and(|cost| cost > 0), paid, "the price of one of them is unknown");
        let other: Box<[Box<str>]> = if paid { ["tone=short;served=long".into()].into() } else { [].into() };
        assert_eq!(elsewhere, other.to_vec());
    }
}
