//! Status pages: a prior, and never a verdict.

use crate::desk::{Desk, HOST};
use crate::support::{body, request, row, snapshot};
use crate::tend;
use canon::DialectName;
use gateway::{Gateway, GatewayBody};
use health::{BreakerStanding, Health, TargetHealth};
use http::Response;
use simulator::{InMemory, Pace, Provider, Simulator};
use std::sync::Arc;
use std::time::Duration;

const WELL: &str = r#"{"page":{},"components":[{"name":"Chat","status":"operational"}],"incidents":[]}"#;
const ILL: &str = r#"{"page":{},"components":[{"name":"Chat","status":"operational"},{"name":"Console","status":"major_outage"}],
    "incidents":[{"id":"1","name":"Elevated errors","status":"investigating","impact":"minor","components":[{"name":"Chat"}]}]}"#;

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) primary: Simulator,
    pub(crate) desk: Desk,
    pub(crate) health: Arc<Health>,
}

/// The lines of a configuration with two providers, `primary/m-1` and `fallback/m-2` under `chat`.
pub(crate) fn yaml(top: &str, of_primary: &str, targets: &str) -> String {
    let primary =
        row("primary", DialectName::OpenaiChat, "http://primary", "[k]").replace(" }\n", &format!("{of_primary} }}\n"));
    let fallback = row("fallback", DialectName::OpenaiChat, "http://fallback", "[k]");
    format!("{top}\nproviders:\n{primary}{fallback}models:\n  chat:\n    targets: {targets}\n")
}

impl World {
    pub(crate) fn new(top: &str, of_primary: &str, targets: &str) -> Self {
        let simulator =
            |name: &str| Simulator::new(Provider::new(name, DialectName::OpenaiChat).at_pace(Pace::default()));
        let (primary, fallback) = (simulator("primary"), simulator("fallback"));
        let desk = Desk::over(InMemory::new().with(&primary).with(&fallback));
        let health = Arc::new(Health::new(1));
        let snapshot = snapshot(&yaml(top, of_primary, targets), &health);
        let gateway = Arc::new(Gateway::new(snapshot, Arc::new(desk.clone()), 1).unwrap());
        Self { gateway, primary, desk, health }
    }

    /// With a status page that says so.
    fn with_page(says: &str) -> Self {
        let page = format!(
            ", status_page: {{ url: \"http://{HOST}/api/v2/summary.json\", components: {{ Chat: [\"m-*\"] }} }}"
        );
        let world = Self::new("status_pages: on", &page, "[primary/m-1, fallback/m-2]");
        world.desk.says(200, says);
        world
    }

    pub(crate) async fn hello(&self) -> Response<GatewayBody> {
        self.gateway.handle(request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false)).await
    }

    pub(crate) fn target(&self) -> Arc<TargetHealth> {
        self.gateway.snapshot().resolve("chat").unwrap().targets[0].health.clone()
    }

    pub(crate) fn reported(&self) -> Option<String> {
        self.target().suspicion(self.gateway.clock().now()).map(|suspicion| suspicion.why.clone())
    }

    pub(crate) fn breaker(&self) -> BreakerStanding {
        self.target().standing(self.gateway.clock().now()).breaker
    }

    /// How many calls that fail open the primary.
    pub(crate) async fn faults_to_open(&self) -> usize {
        self.primary.set_faults([crate::support::memory::rule("overloaded_529")]);
        let before = self.primary.journal().len();
        for _ in 0..8 {
            let _answer = self.hello().await;
        }
        self.primary.journal().len() - before
    }
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_incident_opens_nothing_by_itself_and_traffic_that_works_goes_on() {
    let world = World::with_page(ILL);
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert_eq!(
        world.reported().as_deref(),
        Some("status page of primary: Elevated errors"),
        "and the console's is not"
    );
    for _ in 0..200 {
        assert_eq!(world.hello().await.headers()["x-mainstay-provider"], "primary");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(world.breaker(), BreakerStanding::Closed);
}

#[tokio::test(start_paused = true)]
async fn while_an_incident_is_reported_a_fault_fewer_opens_a_target() {
    let (ill, well) = (World::with_page(ILL), World::with_page(WELL));
    let _tending = (tend(&ill.gateway), tend(&well.gateway));
    pass(2).await;
    assert_eq!((ill.faults_to_open().await, well.faults_to_open().await), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_read_any_more_has_no_opinion() {
    let world = World::with_page(ILL);
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert!(world.reported().is_some());
    for (status, body) in [(500, "no"), (200, "<html>no</html>"), (301, "")] {
        world.desk.says(status, body);
        pass(70).await;
        assert!(world.reported().is_some(), "{status}: it is believed for a while");
        pass(600).await;
        assert_eq!(world.reported(), None, "{status}");
        assert_eq!(world.gateway.unread_signals().len(), 1, "{status}");
        world.desk.says(200, ILL);
        pass(2_000).await;
        assert!(world.reported().is_some(), "{status}: it is read again");
    }
    world.desk.set(|document| document.hangs = true);
    pass(600).await;
    assert_eq!(world.reported(), None);
    assert_eq!(world.faults_to_open().await, 3, "nobody waits for it, and health is as ever");
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_is_not_sent_again_and_what_is_over_is_over() {
    let world = World::with_page(ILL);
    world.desk.set(|document| document.etag = Some("\"1\""));
    let _tending = tend(&world.gateway);
    pass(1_000).await;
    let document = world.desk.document();
    assert!((14..=20).contains(&document.asked) && document.unchanged == document.asked - 1, "{document:?}");
    assert_eq!(document.path, "/api/v2/summary.json");
    assert!(world.reported().is_some(), "unchanged is still so");
    world.desk.says(200, WELL);
    pass(70).await;
    assert_eq!(world.reported(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_pages_that_are_not_read_any_more() {
    let world = World::with_page(ILL);
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert!(world.reported().is_some());
    let asked = world.desk.document().asked;
    let without = snapshot(&yaml("", "", "[primary/m-1, fallback/m-2]"), &world.health);
    world.gateway.replace(without).unwrap();
    pass(300).await;
    assert_eq!((world.reported(), world.desk.document().asked), (None, asked));
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_a_request_tells_what_is_reported_of_its_targets() {
    let world = World::with_page(ILL);
    let _tending = tend(&world.gateway);
    pass(2).await;
    let mut asked = request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false);
    asked.headers_mut().insert("x-mainstay-trace", "1".parse().unwrap());
    let answer = crate::support::memory::read(world.gateway.handle(asked).await).await;
    let incidents = &answer.json()["mainstay"]["incidents"];
    assert_eq!(incidents[0]["target"], "primary/m-1");
    assert_eq!(incidents[0]["reported"], "status page of primary: Elevated errors");
}
