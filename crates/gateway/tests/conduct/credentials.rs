//! Pools of keys: a rejected one is passed over, a parked one is skipped.

use crate::support::memory::{Plan, World, read};
use crate::support::transports::{Scripted, openai_answer, reply};
use crate::support::{hello, snapshot};
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::HeaderMap;
use std::sync::{Arc, Mutex};

/// The keys the primary was called with, in order.
fn keys(world: &World) -> Vec<String> {
    let of = |headers: &HeaderMap| {
        let named = ["authorization", "x-api-key", "x-goog-api-key"].iter().find_map(|name| headers.get(*name));
        named.unwrap().to_str().unwrap().trim_start_matches("Bearer ").to_owned()
    };
    world.spy.sent().iter().filter(|sent| sent.host == "primary").map(|sent| of(&sent.headers)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_credential_moves_to_the_second_key_of_the_pool() {
    for dialect in DialectName::ALL {
        let world = Plan { keys: "[bad-1, sk-2]", ..Plan::of(dialect) }.build();
        let answer = world.send(hello(dialect, false)).await;
        answer.served_by("primary");
        assert_eq!(keys(&world), ["bad-1", "sk-2"], "{dialect}");
        assert_eq!(answer.header("x-mainstay-attempts"), Some("2"));
        assert_eq!(answer.header("x-mainstay-fallback"), Some("0"), "another key of the primary is no fallback");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_credential_is_skipped_not_tried() {
    let world = Plan { keys: "[bad-1, sk-2]", ..Plan::default() }.build();
    for _ in 0..5 {
        world.hello().await.served_by("primary");
    }
    assert_eq!(keys(&world), ["bad-1", "sk-2", "sk-2", "sk-2", "sk-2", "sk-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_credentials_are_all_parked_is_skipped() {
    let world = Plan { keys: "[bad-1, bad-2]", ..Plan::default() }.build();
    for _ in 0..5 {
        world.hello().await.served_by("fallback");
    }
    assert_eq!(keys(&world), ["bad-1", "bad-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_account_is_passed_over_for_every_model_until_its_reset() {
    let called = Arc::new(Mutex::new(Vec::new()));
    let log = called.clone();
    let transport = Scripted(move |call: upstream::Call| {
        let key = call.headers["authorization"].to_str().unwrap().to_owned();
        log.lock().unwrap().push(key.clone());
        Ok(if key.ends_with("sk-1") {
            let body = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
            reply(429, &[("content-type", "application/json")], body)
        } else {
            reply(200, &[("content-type", "application/json")], &openai_answer("Hi"))
        })
    });
    let plan = Plan { keys: "[sk-1, sk-2]", targets: "[primary/m-1]", ..Plan::default() };
    let snapshot = snapshot(&plan.yaml("http://primary", "http://fallback"), &Arc::new(Health::new(1)));
    let gateway = Gateway::new(snapshot, Arc::new(transport), 1).unwrap();
    for _ in 0..3 {
        read(gateway.handle(hello(DialectName::OpenaiChat, false)).await).await.served_by("primary");
    }
    let other = crate::support::body(DialectName::OpenaiChat, "Hello").to_string().replace("chat", "primary/m-9");
    let other = serde_json::from_str(&other).unwrap();
    read(gateway.handle(crate::support::request(DialectName::OpenaiChat, other, false)).await)
        .await
        .served_by("primary");
    let called = called.lock().unwrap().clone();
    assert_eq!(called, ["Bearer sk-1", "Bearer sk-2", "Bearer sk-2", "Bearer sk-2", "Bearer sk-2"]);
}
