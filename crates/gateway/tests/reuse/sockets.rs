//! The same over real sockets, where bodies are polled by their connections.

use crate::fixed;
use crate::support::bytes;
use crate::support::memory::Plan;
use crate::support::sockets::{PATIENCE, Site, Wire, holds, status};
use canon::DialectName;
use simulator::{Ended, Pace};
use std::time::Duration;

const DIALECT: DialectName = DialectName::OpenaiChat;

async fn ask(site: &Site, stream: bool) -> Wire {
    let mut wire = site.connect().await;
    wire.ask(DIALECT, stream, &bytes(DIALECT, fixed(DIALECT, "Hello"), stream), "").await;
    wire
}

/// The events of a chunked or whole body, without the framing.
fn events(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("data: ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_shared_kept_and_given_again_on_the_wire() {
    let site = Site::start(Plan::default().model("coalesce: deterministic").model("cache: { ttl: 1m }")).await;
    let slowly = Pace { interval: Duration::from_millis(10), ..Pace::default() };
    site.primary.simulator().set_behaviour(simulator::Behaviour { pace: slowly, ..simulator::Behaviour::default() });
    let mut first = ask(&site, true).await;
    first.until(|text| text.contains("data: ")).await;
    let mut second = ask(&site, true).await;
    second.until(|text| text.contains("data: ")).await;
    // The one the exchange began with goes; the other reads on, from the beginning to the end.
    drop(first);
    let shared = second.answer().await;
    assert!(shared.contains("x-mainstay-shared: true") && shared.contains("data: [DONE]"), "{shared}");
    let mut third = ask(&site, true).await;
    let kept = third.answer().await;
    assert!(kept.contains("x-mainstay-cache: hit") && kept.contains("content-length: "), "{kept}");
    assert_eq!(events(&kept), events(&shared));
    let journal = site.primary.simulator().journal();
    assert_eq!(journal.len(), 1);
    assert!(matches!(journal[0].ended, Ended::Complete { .. }), "{journal:?}");
    assert!(holds(PATIENCE, || site.gateway.held_bytes() == 0).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_that_is_shared_has_its_length_and_leaves_the_connection_open() {
    let site = Site::start(Plan::default().model("coalesce: deterministic")).await;
    let (mut one, mut other) = (ask(&site, false).await, ask(&site, false).await);
    for wire in [&mut one, &mut other] {
        let answer = wire.answer().await;
        assert!(status(&answer) == 200 && answer.contains("content-length: "), "{answer}");
    }
    one.ask(DIALECT, false, &bytes(DIALECT, fixed(DIALECT, "again"), false), "").await;
    let both = one.until(|text| text.matches("HTTP/1.1 200").count() == 2 && text.ends_with('}')).await;
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "{both}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_leaves_the_queue_at_once() {
    let site = Site::start(Plan::default().alone().model("when_exhausted: [queue]")).await;
    site.primary
        .simulator()
        .set_faults(["rate_limited_429:retry_after=30".parse::<simulator::FaultKind>().unwrap().into()]);
    let waiting = ask(&site, true).await;
    assert!(holds(PATIENCE, || site.primary.simulator().journal().len() == 1).await);
    assert!(holds(PATIENCE, || site.gateway.held_bytes() > 0).await);
    drop(waiting);
    assert!(holds(Duration::from_millis(500), || site.gateway.held_bytes() == 0).await, "its request is let go of");
}
