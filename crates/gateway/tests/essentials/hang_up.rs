//! A hang-up is noticed in every phase, over real sockets, and cancels the upstream call within 100 ms.

use crate::support::memory::Plan;
use crate::support::sockets::{PATIENCE, Site, Wire, holds};
use crate::support::{body, bytes};
use canon::DialectName;
use simulator::{Ended, FaultRule, Simulator};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a cancellation may take.
const SOON: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// The connection is closed.
    Closes,
    /// Only the sending half is.
    HalfCloses,
}

async fn leave(mut wire: Wire, how: Leaving) -> Option<Wire> {
    match how {
        Leaving::Closes => None,
        Leaving::HalfCloses => {
            wire.socket.shutdown().await.unwrap();
            Some(wire)
        }
    }
}

async fn ask(site: &Site, stream: bool) -> Wire {
    let mut wire = site.connect().await;
    let dialect = DialectName::OpenaiChat;
    wire.ask(dialect, stream, &bytes(dialect, body(dialect, "Hello"), stream), "").await;
    wire
}

async fn called(simulator: &Simulator) {
    assert!(holds(PATIENCE, || !simulator.journal().is_empty()).await, "the provider was called");
}

async fn cancelled(site: &Site, phase: &str) {
    let primary = site.primary.simulator();
    let is_cancelled = || primary.journal().last().is_some_and(|it| matches!(it.ended, Ended::Cancelled { .. }));
    assert!(holds(SOON, is_cancelled).await, "{phase}: {:?}", primary.journal());
    assert!(holds(SOON, || site.gateway.held_bytes() == 0).await, "{phase}: the exchange is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_is_noticed_while_the_head_of_the_answer_is_waited_for() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        for stream in [false, true] {
            let site = Site::start(Plan::default()).await;
            site.primary.simulator().set_faults([FaultRule::new("hang_before_headers".parse().unwrap())]);
            let wire = ask(&site, stream).await;
            called(site.primary.simulator()).await;
            let kept = leave(wire, how).await;
            cancelled(&site, &format!("{how:?}, stream {stream}")).await;
            drop(kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_ends_both_attempts_of_a_race() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        for stream in [false, true] {
            let site = Site::start(Plan::default().model("race: 2")).await;
            let both = [site.primary.simulator(), site.fallback.simulator()];
            for simulator in both {
                simulator.set_faults([FaultRule::new("hang_before_headers".parse().unwrap())]);
            }
            let wire = ask(&site, stream).await;
            called(both[0]).await;
            called(both[1]).await;
            let kept = leave(wire, how).await;
            cancelled(&site, &format!("{how:?}, stream {stream}")).await;
            let other = || matches!(both[1].journal().last().unwrap().ended, Ended::Cancelled { .. });
            assert!(holds(SOON, other).await, "{how:?}: {:?}", both[1].journal());
            drop(kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_is_noticed_in_the_middle_of_a_stream() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        for fault in ["stall:after=3", "stall_with_keepalives:after=3,every=20ms"] {
            let site = Site::start(Plan::default()).await;
            site.primary.simulator().set_faults([FaultRule::new(fault.parse().unwrap())]);
            let mut wire = ask(&site, true).await;
            wire.until(|text| text.contains("data: ")).await;
            let kept = leave(wire, how).await;
            cancelled(&site, &format!("{how:?}, {fault}")).await;
            drop(kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_is_noticed_while_a_whole_answer_is_on_its_way() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        let site = Site::start(Plan::default()).await;
        site.primary.simulator().set_faults([FaultRule::new("stall:after=1".parse().unwrap())]);
        let wire = ask(&site, false).await;
        called(site.primary.simulator()).await;
        let primary = site.primary.simulator();
        assert!(holds(PATIENCE, || primary.journal()[0].status == Some(200)).await);
        let kept = leave(wire, how).await;
        cancelled(&site, &format!("{how:?}")).await;
        drop(kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_is_noticed_while_a_rate_limits_hint_is_waited_for() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        let plan = Plan::default().model("on: { rate_limited: { max_wait: 30s } }").alone();
        let site = Site::start(plan).await;
        let limited = FaultRule::new("rate_limited_429:retry_after=2s".parse().unwrap());
        site.primary.simulator().set_faults([limited.for_requests(1)]);
        let wire = ask(&site, true).await;
        called(site.primary.simulator()).await;
        assert!(holds(PATIENCE, || site.primary.simulator().journal()[0].status == Some(429)).await);
        assert!(site.gateway.held_bytes() > 0, "the exchange waits");
        let kept = leave(wire, how).await;
        assert!(holds(SOON, || site.gateway.held_bytes() == 0).await, "{how:?}: the exchange is over");
        let again = holds(Duration::from_millis(2500), || site.primary.simulator().journal().len() > 1).await;
        assert!(!again, "{how:?}: nobody is asked for a caller who is gone");
        drop(kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_is_noticed_while_the_request_arrives() {
    for how in [Leaving::Closes, Leaving::HalfCloses] {
        let site = Site::start(Plan::default()).await;
        let mut wire = site.connect().await;
        let head = crate::support::sockets::head(DialectName::OpenaiChat, false, 100_000, "");
        assert!(wire.write(head.as_bytes()).await && wire.write(&[b' '; 1000]).await);
        assert!(holds(PATIENCE, || site.gateway.held_bytes() > 0).await);
        let kept = leave(wire, how).await;
        assert!(holds(SOON, || site.gateway.held_bytes() == 0).await, "{how:?}: the exchange is over");
        assert!(site.primary.simulator().journal().is_empty());
        drop(kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hang_ups_teach_nothing_about_the_target() {
    let site = Site::start(Plan::default()).await;
    site.primary.simulator().set_faults([FaultRule::new("hang_before_headers".parse().unwrap())]);
    for n in 1..=6 {
        let wire = ask(&site, true).await;
        assert!(holds(PATIENCE, || site.primary.simulator().journal().len() == n).await, "the primary is still asked");
        drop(wire);
        cancelled(&site, "streak").await;
    }
}
