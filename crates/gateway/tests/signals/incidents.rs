//! Incidents that others report: feeds that are read, and the webhook.

use crate::desk::HOST;
use crate::pages::{World, pass, yaml};
use crate::support::memory::read;
use crate::support::snapshot;
use crate::tend;
use health::BreakerStanding;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

const TARGETS: &str = "[{ target: primary/m-1, region: eu-west }, fallback/m-2]";
const HOOK: &str = "incident_webhook: { secret: a-secret-of-some-length }";

fn with_feed(more: &str) -> World {
    World::new(&format!("incident_feeds:\n  - {{ url: \"http://{HOST}/feed?key=k\", {more} }}"), "", TARGETS)
}

async fn post(world: &World, secret: &str, body: &str) -> (u16, Value) {
    let request = Request::post("/mainstay/incidents").header("authorization", format!("Bearer {secret}"));
    let answer = read(world.gateway.handle(request.body(Full::new(body.to_owned().into())).unwrap()).await).await;
    (answer.status, answer.json())
}

#[tokio::test(start_paused = true)]
async fn a_feed_tells_of_a_region_and_what_it_says_is_a_prior_and_no_verdict() {
    let world = with_feed("format: json");
    world.desk.says(200, r#"{"incidents":[{"id":"1","state":"active","region":"eu*","title":"cables"}]}"#);
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert_eq!(world.reported().as_deref(), Some("incident feed 1 (desk): cables"), "and nothing of the address");
    assert_eq!(world.desk.document().path, "/feed?key=k");
    for _ in 0..20 {
        assert_eq!(world.hello().await.headers()["x-mainstay-provider"], "primary");
    }
    assert_eq!(world.breaker(), BreakerStanding::Closed);
    assert_eq!(world.faults_to_open().await, 2);
    world.desk.says(200, r#"[{"id":"1","state":"resolved","region":"eu*"}]"#);
    pass(70).await;
    assert_eq!(world.reported(), None);
}

#[tokio::test(start_paused = true)]
async fn an_rss_feed_is_for_whom_the_configuration_says_and_nonsense_is_no_opinion() {
    let world = with_feed("format: rss, provider: primary, active_for: 24h");
    let item = "<item><title>Chat is slow</title><pubDate>Thu, 01 Jan 2099 00:00:00 GMT</pubDate></item>";
    world.desk.says(200, &format!("<rss><channel>{item}</channel></rss>"));
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert_eq!(world.reported().as_deref(), Some("incident feed 1 (desk): Chat is slow"));
    world.desk.says(200, "<rss><item>");
    pass(600).await;
    assert_eq!((world.reported(), world.gateway.unread_signals().len()), (None, 1));
    assert_eq!(world.faults_to_open().await, 3);
}

#[tokio::test(start_paused = true)]
async fn the_webhook_is_off_unless_it_is_configured_and_takes_nothing_without_its_secret() {
    let off = World::new("", "", TARGETS);
    assert_eq!(post(&off, "a-secret-of-some-length", "{}").await.0, 404);
    let world = World::new(HOOK, "", TARGETS);
    let report = json!({"state": "active", "provider": "primary"}).to_string();
    for wrong in ["", "a-secret-of-some-lengti", "a-secret-of-some-length-and-more"] {
        let (status, answer) = post(&world, wrong, &report).await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!("invalid_secret")), "{wrong}");
    }
    let get = Request::get("/mainstay/incidents").body(Full::new(Vec::new().into())).unwrap();
    assert_eq!(read(world.gateway.handle(get).await).await.status, 405);
    assert_eq!(world.reported(), None);
    let (status, answer) = post(&world, "a-secret-of-some-length", &report).await;
    assert_eq!((status, answer), (200, json!({"taken": 1})));
    assert_eq!(world.reported().as_deref(), Some("webhook: an incident"));
}

#[tokio::test(start_paused = true)]
async fn what_the_webhook_was_told_ends_when_it_is_resolved_or_was_said_to_end() {
    let world = World::new(&HOOK.replace(" }", ", believed_for: 10m }"), "", TARGETS);
    let secret = "a-secret-of-some-length";
    post(&world, secret, r#"{"id":"a","state":"active","target":"primary/*","title":"down"}"#).await;
    assert_eq!(world.faults_to_open().await, 2);
    pass(599).await;
    assert!(world.reported().is_some());
    pass(2).await;
    assert_eq!(world.reported(), None, "nobody said it again");
    post(&world, secret, r#"{"id":"a","state":"active","target":"primary/*"}"#).await;
    assert!(world.reported().is_some());
    post(&world, secret, r#"{"id":"a","state":"resolved","target":"primary/*"}"#).await;
    assert_eq!(world.reported(), None);
    for (body, status) in [("{", 400), (r#"{"state":"active"}"#, 400), (&*"x".repeat(70_000), 413)] {
        assert_eq!(post(&world, secret, body).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_the_webhook_was_told_for_as_long_as_there_is_one() {
    let world = World::new(HOOK, "", TARGETS);
    let _tending = tend(&world.gateway);
    post(&world, "a-secret-of-some-length", r#"{"state":"active","provider":"primary"}"#).await;
    world.gateway.replace(snapshot(&yaml(HOOK, "", TARGETS), &world.health)).unwrap();
    pass(1).await;
    assert!(world.reported().is_some());
    world.gateway.replace(snapshot(&yaml("", "", TARGETS), &world.health)).unwrap();
    pass(1).await;
    assert_eq!(world.reported(), None);
}
