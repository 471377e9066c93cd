//! The region of a target is one of its labels: in the trace, and in the history; where none is stated, nothing is said.

use crate::support::memory::{Plan, World, rule};
use crate::support::{body, hello, request};
use canon::DialectName;
use gateway::{Gateway, History, Tags};
use history::{Event, GatewayEvent, Memory};
use http::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;

const TARGETS: &str = "[{ target: primary/m-1, region: eu-central }, fallback/m-2]";

async fn story(world: &World) -> Value {
    let mut asked = request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false);
    asked.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
    world.send(asked).await.json()["mainstay"].clone()
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_what_was_called_off_and_what_was_left_out_are_told_with_their_region() {
    let world = Plan { targets: TARGETS, ..Plan::default() }.model("race: 2").build();
    world.primary.set_faults([rule("slow_first_token:by=9s")]);
    let raced = story(&world).await;
    let regions = |told: &Value, part: &str| -> Vec<Value> {
        told[part].as_array().unwrap().iter().map(|it| it["region"].clone()).collect()
    };
    assert_eq!(regions(&raced, "attempts"), [json!("eu-central"), Value::Null], "{raced}");
    assert_eq!(regions(&raced, "called_off"), [json!("eu-central")], "{raced}");

    let world = Plan { targets: TARGETS, ..Plan::default() }.build();
    world.open_primary().await;
    let diverted = story(&world).await;
    assert_eq!(diverted["excluded"][0]["target"], "primary/m-1", "{diverted}");
    assert_eq!(regions(&diverted, "excluded"), [json!("eu-central")], "{diverted}");
    assert_eq!(regions(&diverted, "attempts"), [Value::Null], "{diverted}");
}

#[tokio::test(start_paused = true)]
async fn the_history_tells_where_each_attempt_was_made() {
    let world = Plan { targets: TARGETS, ..Plan::default() }.build();
    world.break_primary("unavailable_503");
    let memory = Arc::new(Memory::new(|| 0));
    let history = History { recorder: memory.clone(), tags: Tags::Loopback };
    let gateway = Gateway::new(world.gateway.snapshot(), Arc::new(world.spy.clone()), 1).unwrap().with_history(history);
    let answer = Arc::new(gateway).handle(hello(DialectName::OpenaiChat, false)).await;
    assert_eq!(answer.status(), 200);
    let told: Vec<_> = memory.take().into_iter().filter_map(|it| begun(it.event)).collect();
    assert_eq!(told, [("primary/m-1".into(), Some("eu-central".into())), ("fallback/m-2".into(), None)]);
}

/// Where an attempt was made.
fn begun(event: Event) -> Option<(Box<str>, Option<Box<str>>)> {
    if let Event::Gateway(GatewayEvent::AttemptStarted { target, region, .. }) = event {
        return Some((target, region));
    }
    None
}
