//! The faults of connections, over real sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod common;

use bytes::Bytes;
use canon::DialectName;
use common::{ask, failing, is_finished, provider, streamed_text};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use simulator::{
    Ended, Entry, FaultRule, InMemory, Injection, Pace, Provider, ProxyOptions, ServeOptions, Server, Simulator, proxy,
    serve,
};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use upstream::Endpoint;

const OPENAI: DialectName = DialectName::OpenaiChat;
const LIMIT: Duration = Duration::from_secs(10);

async fn server(fault: &str) -> Server {
    Server::start(failing(OPENAI, fault)).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the client's connection driver")]
async fn client1(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[expect(clippy::disallowed_methods, reason = "the client's connection driver")]
async fn client2(address: SocketAddr) -> (http2::SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn asked(stream: bool) -> Request<Full<Bytes>> {
    ask(OPENAI, "hello", stream).map(Full::new)
}

/// With an absolute address, as HTTP/2 has it.
fn asked2(stream: bool) -> Request<Full<Bytes>> {
    let mut request = asked(stream);
    *request.uri_mut() = "http://sim-a/v1/chat/completions".parse().unwrap();
    request
}

async fn text(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let bytes = tokio::time::timeout(LIMIT, response.into_body().collect()).await.unwrap()?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Sends a request by hand, with `connection: close`, and reads to the end.
async fn raw(address: SocketAddr) -> (Vec<u8>, Option<ErrorKind>) {
    let (parts, body) = ask(OPENAI, "hello", true).into_parts();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: sim-a\r\nauthorization: Bearer k\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        parts.uri,
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut all = Vec::new();
    let error = tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.unwrap().err();
    (all, error.map(|error| error.kind()))
}

async fn until(simulator: &Simulator, is_met: impl Fn(&[Entry]) -> bool) {
    let watch = async {
        while !is_met(&simulator.journal()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, watch).await.unwrap();
}

#[tokio::test]
async fn both_versions_of_http_are_served_on_one_port() {
    let server = Server::start(Simulator::new(provider(OPENAI))).await.unwrap();
    let mut first = client1(server.address()).await;
    let over1 = text(first.send_request(asked(true)).await.unwrap()).await.unwrap();
    let (mut second, _driver) = client2(server.address()).await;
    let over2 = text(second.send_request(asked2(true)).await.unwrap()).await.unwrap();
    assert_eq!(over1, over2);
    assert!(is_finished(OPENAI, &over1));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_refusing_provider_closes_its_listener_and_recovers_on_the_same_port() {
    let server = server("refuse").await;
    let refused = async {
        while let Ok(mut stream) = TcpStream::connect(server.address()).await {
            // Accepted before the listener was closed: it will be gone at once.
            let _ = stream.read(&mut [0]).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    assert_eq!(TcpStream::connect(server.address()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.simulator().set_faults([]);
    let recovered = async {
        while TcpStream::connect(server.address()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, recovered).await.unwrap();
    assert_eq!(client1(server.address()).await.send_request(asked(false)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let server = server("reset_before_headers").await;
    assert_eq!(raw(server.address()).await, (vec![], Some(ErrorKind::ConnectionReset)));
    let (mut client, driver) = client2(server.address()).await;
    assert!(client.send_request(asked2(true)).await.is_err());
    assert!(driver.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_hello_is_answered_with_garbage() {
    let server = server("tls_failure").await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert!(!all.is_empty() && all[0] != 0x16);
}

#[tokio::test]
async fn a_cut_ends_the_connection_without_the_end_of_the_body() {
    for fault in ["cut_mid_text:after=4", "cut_inside_event:after=4"] {
        let server = server(fault).await;
        let (bytes, _) = raw(server.address()).await;
        let sent = String::from_utf8_lossy(&bytes);
        assert!(sent.contains("speaking") && !sent.ends_with("0\r\n\r\n"), "{fault}: {sent}");
        let response = client1(server.address()).await.send_request(asked(true)).await.unwrap();
        assert!(text(response).await.is_err());
        let (mut client, _driver) = client2(server.address()).await;
        let response = client.send_request(asked2(true)).await.unwrap();
        assert!(text(response).await.is_err());
        assert!(server.simulator().journal().iter().all(|entry| matches!(entry.ended, Ended::Broken { .. })));
    }
}

#[tokio::test]
async fn a_missing_terminator_is_a_clean_end() {
    let server = server("missing_terminator").await;
    let (bytes, error) = raw(server.address()).await;
    assert!(error.is_none() && bytes.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn goaway_lets_the_answer_finish_and_ends_the_connection() {
    let server = server("goaway").await;
    let (mut client, driver) = client2(server.address()).await;
    let response = client.send_request(asked2(true)).await.unwrap();
    assert!(is_finished(OPENAI, &text(response).await.unwrap()));
    tokio::time::timeout(LIMIT, driver).await.unwrap().unwrap().unwrap();
    let response = client1(server.address()).await.send_request(asked(true)).await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn one_stream_per_connection_makes_the_second_wait() {
    let rules = ["one_stream_per_connection", "stall"].map(|text| FaultRule::new(text.parse().unwrap()));
    let server = Server::start(Simulator::new(provider(OPENAI).failing(rules))).await.unwrap();
    let (mut client, _driver) = client2(server.address()).await;
    let mut first = client.send_request(asked2(true)).await.unwrap().into_body();
    first.frame().await.unwrap().unwrap();
    let second = client.send_request(asked2(true));
    tokio::pin!(second);
    for _ in 0..1000 {
        tokio::select! {
            biased;
            _ = &mut second => panic!("the second stream began beside the first"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(server.simulator().journal().len(), 1);
    drop(first);
    assert_eq!(tokio::time::timeout(LIMIT, second).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_early_response_can_be_read_while_the_body_is_still_sent() {
    let server = server("early_response:status=413").await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    stream.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("before its body was read"));
}

#[tokio::test]
async fn a_hang_up_is_noticed_on_both_versions_of_http() {
    let pace = Pace { interval: Duration::from_millis(20), tokens: 5000, ..Pace::instant() };
    let server = Server::start(Simulator::new(provider(OPENAI).at_pace(pace))).await.unwrap();
    let is_cancelled = |entry: &Entry| matches!(entry.ended, Ended::Cancelled { .. });

    let mut client = client1(server.address()).await;
    let mut body = client.send_request(asked(true)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop((body, client));
    until(server.simulator(), |journal| is_cancelled(&journal[0])).await;

    let (mut client, _driver) = client2(server.address()).await;
    let mut body = client.send_request(asked2(true)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    until(server.simulator(), |journal| is_cancelled(&journal[1])).await;
}

#[tokio::test]
async fn a_hang_up_is_noticed_while_nothing_was_answered() {
    let server = server("hang_before_headers").await;
    let mut client = client1(server.address()).await;
    let waiting = client.send_request(asked(true));
    let heard = until(server.simulator(), |journal| journal.first().is_some_and(|entry| entry.received > 0));
    tokio::select! {
        _ = waiting => panic!("a hanging provider answered"),
        () = heard => {}
    }
    drop(client);
    until(server.simulator(), |journal| matches!(journal[0].ended, Ended::Cancelled { .. })).await;
}

#[tokio::test]
async fn the_control_route_sets_faults_and_shows_the_journal() {
    let server = Server::start(Simulator::new(provider(OPENAI))).await.unwrap();
    let mut client = client1(server.address()).await;
    let set = |rules: &'static str| Request::post("/__sim/faults").body(Full::new(Bytes::from(rules))).unwrap();
    assert_eq!(client.send_request(set("[\"unavailable_503\"]")).await.unwrap().status(), 200);
    let response = client.send_request(asked(false)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    text(response).await.unwrap();
    let response = client.send_request(set("[\"nonsense\"]")).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    text(response).await.unwrap();
    let journal = client.send_request(Request::get("/__sim/journal").body(Full::default()).unwrap()).await.unwrap();
    assert!(text(journal).await.unwrap().contains("unavailable_503"));
}

#[tokio::test]
async fn several_providers_are_served_each_on_its_port() {
    let providers = DialectName::ALL.map(|dialect| Provider::new(dialect.as_str(), dialect)).to_vec();
    let serving = serve(ServeOptions::local(providers)).await.unwrap();
    assert_eq!(serving.servers.len(), 3);
    let address = serving.named("openai-chat").unwrap().address();
    assert_eq!(client1(address).await.send_request(asked(false)).await.unwrap().status(), 200);
}

async fn proxied(injection: Option<&str>, behind: &Simulator) -> simulator::Proxying {
    let options = ProxyOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        upstream: Endpoint { https: true, host: "sim-a".to_owned(), port: 443, path: String::new() },
        dialect: OPENAI,
        injection: injection.map(|text| Injection::new(text.parse().unwrap())),
        connect: Duration::from_secs(1),
    };
    proxy(options, Arc::new(InMemory::new().with(behind))).await.unwrap()
}

#[tokio::test]
async fn a_proxy_passes_streams_through_and_breaks_those_it_is_told_to() {
    let behind = Simulator::new(provider(OPENAI));
    let clear = proxied(None, &behind).await;
    let response = client1(clear.address()).await.send_request(asked(true)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(is_finished(OPENAI, &text(response).await.unwrap()));

    let limited = proxied(Some("429:retry_after=3"), &behind).await;
    let response = client1(limited.address()).await.send_request(asked(true)).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "3"));

    let cutting = proxied(Some("cut_mid_text"), &behind).await;
    let response = client1(cutting.address()).await.send_request(asked(true)).await.unwrap();
    assert!(text(response).await.is_err());

    let refusing = proxied(Some("refuse"), &behind).await;
    assert_eq!(raw(refusing.address()).await, (vec![], Some(ErrorKind::ConnectionReset)));
    assert_eq!(behind.journal().len(), 2, "only what was passed through reached the provider");
}

#[tokio::test]
async fn an_answer_not_streamed_has_its_length() {
    let server = Server::start(Simulator::new(provider(OPENAI))).await.unwrap();
    let response = client1(server.address()).await.send_request(asked(false)).await.unwrap();
    let announced: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let text = text(response).await.unwrap();
    assert_eq!(text.len(), announced);
    assert!(streamed_text(OPENAI, &text).is_empty());
    until(server.simulator(), |journal| matches!(journal[0].ended, Ended::Complete { .. })).await;
}

#[tokio::test]
async fn cuts_over_sockets_bring_exactly_the_bytes_and_end_as_they_say() {
    let (healthy, _) = raw(Server::start(Simulator::new(provider(OPENAI))).await.unwrap().address()).await;
    let head = healthy.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = unchunked(&healthy[head..]);
    for at in [0, 1, 333, body.len() - 1] {
        for (by, expected) in [("drop", None), ("reset", Some(ErrorKind::ConnectionReset)), ("close", None)] {
            let server = server(&format!("cut_after_wire:bytes={at},by={by}")).await;
            let (all, error) = raw(server.address()).await;
            let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert_eq!((unchunked(&all[head..]), error), (body[..at].to_vec(), expected), "{by} at {at}");
            assert_eq!(all.ends_with(b"0\r\n\r\n"), by == "close", "{by} at {at}");
        }
    }
}

/// The data of a chunked body, complete or not.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        let data = &body[end + 2..];
        all.extend_from_slice(&data[..size.min(data.len())]);
        body = data.get(size + 2..).unwrap_or_default();
    }
    all
}

#[tokio::test]
async fn a_reset_over_http2_is_the_streams_alone() {
    let server = server("cut_after_text:bytes=9,by=reset").await;
    let (mut sender, driver) = client2(server.address()).await;
    let mut response = sender.send_request(asked2(true)).await.unwrap();
    let mut all = Vec::new();
    let error = loop {
        match tokio::time::timeout(LIMIT, response.body_mut().frame()).await.unwrap().unwrap() {
            Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => break error,
        }
    };
    assert!(format!("{error:?}").contains("kind: Reset"), "{error:?}");
    assert_eq!(streamed_text(OPENAI, std::str::from_utf8(&all).unwrap()), "This is s");
    server.simulator().set_faults([]);
    let again = text(sender.send_request(asked2(true)).await.unwrap()).await.unwrap();
    assert!(is_finished(OPENAI, &again) && !driver.is_finished());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_cut_over_sockets_is_gone_on_with_over_sockets() {
    let reference = "The ferry leaves at seven, and nobody on the quay looks up — not even the dog.";
    let recites = || simulator::Answer::exactly(reference).in_chunks(simulator::Chunks::Random(7));
    let cut = FaultRule::new("cut_after_text:bytes=41,by=reset".parse().unwrap());
    let first = Server::start(Simulator::new(provider(OPENAI).answering(recites()).failing([cut]))).await.unwrap();
    let (all, _) = raw(first.address()).await;
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let partial = streamed_text(OPENAI, std::str::from_utf8(&unchunked(&all[head..])).unwrap());
    assert_eq!(partial, &reference[..41]);

    let second = Server::start(Simulator::new(provider(OPENAI).answering(recites()))).await.unwrap();
    let asked = serde_json::json!({"model": "m-1", "stream": true, "messages": [
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": partial},
        {"role": "user", "content": format!("You were interrupted. Repeat exactly «{}» and go on.", &partial[20..])},
    ]});
    let mut request = common::request(OPENAI, &asked, true).map(Full::new);
    request.headers_mut().insert("x-request-id", "r-1".parse().unwrap());
    let mut client = client1(second.address()).await;
    let stream = text(client.send_request(request).await.unwrap()).await.unwrap();
    assert_eq!(streamed_text(OPENAI, &stream), reference[20..]);
    let entry = &second.simulator().journal()[0];
    assert_eq!((entry.request_id.as_deref(), entry.text), (Some("r-1"), reference[20..].len() as u64));
}

#[tokio::test]
async fn a_behaviour_is_set_and_shown_over_the_control_routes() {
    let server = Server::start(Simulator::new(provider(OPENAI))).await.unwrap();
    let mut client = client1(server.address()).await;
    let mut steer = async |behaviour: Option<&str>| {
        let request = match behaviour {
            Some(text) => Request::post("/__sim/behaviour").body(Full::new(Bytes::from(text.to_owned()))),
            None => Request::get("/__sim/behaviour").body(Full::default()),
        };
        let response = client.send_request(request.unwrap()).await.unwrap();
        (response.status(), text(response).await.unwrap())
    };
    let script = r#"{"answer":{"text":"to the letter","chunks":"bytes=3","calls":[{"name":"f","arguments":{"x":1}}],
        "scores":{"safety":1.0}},"continues":"loops:way=prefix","faults":[{"fault":"cut_after_text:bytes=4"}]}"#;
    let (status, shown) = steer(Some(script)).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!(serde_json::from_str::<simulator::Behaviour>(&shown).unwrap(), server.simulator().behaviour());
    assert_eq!(server.simulator().behaviour().answer.text.as_deref(), Some("to the letter"));
    assert_eq!(steer(None).await.1, shown);
    for (wrong, expected) in
        [("{\"continues\":\"never\"}", "unknown way to go on"), ("{\"sed\":1}", "expected a JSON object")]
    {
        let (status, said) = steer(Some(wrong)).await;
        assert!(status == StatusCode::BAD_REQUEST && said.contains(expected), "{said}");
    }
}
