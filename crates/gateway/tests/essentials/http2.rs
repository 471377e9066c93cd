//! Callers of HTTP/2: one stream of many stands still, hangs up or outlives the drain, and the others do not notice.

use crate::support::memory::Plan;
use crate::support::sockets::{PATIENCE, Site, holds};
use crate::support::{body, bytes, path};
use bytes::Bytes;
use canon::DialectName;
use gateway::server::ShutdownTimes;
use h2::client::{ResponseFuture, SendRequest};
use simulator::{Behaviour, Ended, FaultRule, Pace, Simulator};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use upstream::Settings;

const OPENAI: DialectName = DialectName::OpenaiChat;

fn is_cancelled(simulator: &Simulator) -> bool {
    simulator.journal().iter().any(|entry| matches!(entry.ended, Ended::Cancelled { .. }))
}

/// A connection, and whether it was told to go away.
async fn connect(address: SocketAddr) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    // Room on the connection for more than one stream's window: what stands still is the stream alone.
    let (client, connection) =
        h2::client::Builder::new().initial_connection_window_size(1 << 20).handshake(socket).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the driver of the test's own connection")]
    let driver = tokio::spawn(connection);
    (client, driver)
}

async fn ask(client: &mut SendRequest<Bytes>, stream: bool) -> ResponseFuture {
    let request = http::Request::post(format!("http://gateway{}", path(OPENAI, stream)))
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    *client = client.clone().ready().await.unwrap();
    let (response, mut body_of) = client.send_request(request, false).unwrap();
    body_of.send_data(bytes(OPENAI, body(OPENAI, "Talk"), stream), true).unwrap();
    response
}

async fn text(response: ResponseFuture) -> String {
    let response = tokio::time::timeout(PATIENCE, response).await.expect("in time");
    let mut body = response.unwrap().into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_caller_that_leaves_a_stream_unread_is_cut_off_and_its_other_streams_go_on() {
    let times = ShutdownTimes { slow_reader: Duration::from_millis(300), ..ShutdownTimes::default() };
    let site = Site::start_with(Plan::default(), times, Settings::default()).await;
    // Far more than a stream's window, and without end before the caller has read it.
    site.primary.simulator().set_behaviour(Behaviour {
        pace: Pace { interval: Duration::ZERO, tokens: 200_000, ..Pace::default() },
        ..Behaviour::default()
    });
    let (mut client, _driver) = connect(site.address).await;
    let unread = ask(&mut client, true).await.await.unwrap();
    let cut = || is_cancelled(site.primary.simulator());
    assert!(holds(PATIENCE, cut).await, "the provider's call is cancelled: {:?}", site.primary.simulator().journal());
    let model = site.gateway.snapshot().resolve("chat").unwrap();
    assert!(
        model.targets[0].health.standing(site.gateway.clock().now()).is_healthy(),
        "nothing counts against the target"
    );
    site.primary.simulator().set_behaviour(Behaviour::default());
    assert!(text(ask(&mut client, true).await).await.contains("[DONE]"), "another stream of the connection goes on");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_of_an_http2_stream_is_a_hang_up() {
    let site = Site::start(Plan::default()).await;
    site.primary.simulator().set_faults([FaultRule::new("stall:after=3".parse().unwrap())]);
    let (mut client, _driver) = connect(site.address).await;
    let stream = ask(&mut client, true).await.await.unwrap();
    drop(stream);
    assert!(holds(PATIENCE, || is_cancelled(site.primary.simulator())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_down_an_http2_connection_is_told_to_go_away_and_its_streams_end_whole() {
    let times = ShutdownTimes { accept: Duration::ZERO, ..ShutdownTimes::default() };
    let mut site = Site::start_with(Plan::default(), times, Settings::default()).await;
    let (mut client, driver) = connect(site.address).await;
    let response = ask(&mut client, true).await;
    assert!(holds(PATIENCE, || !site.primary.simulator().journal().is_empty()).await);
    site.stop();
    assert!(text(response).await.contains("[DONE]"), "what was under way ends whole");
    let closed = tokio::time::timeout(PATIENCE, driver).await.expect("the connection is closed").unwrap();
    assert!(closed.is_ok(), "GOAWAY without an error: {closed:?}");
    site.ended().await;
}
