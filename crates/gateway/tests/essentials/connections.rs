//! The connection with the caller, byte by byte.

use crate::support::memory::Plan;
use crate::support::sockets::{PATIENCE, Site, Wire, head, holds, serve, status};
use crate::support::transports::{openai_answer, reply};
use crate::support::{body, bytes, row, snapshot};
use canon::{DialectName, Fault};
use gateway::Gateway;
use gateway::server::ShutdownTimes;
use health::Health;
use simulator::FaultRule;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use upstream::{Call, Reply, Settings, Transport, Upstream};

const OPENAI: DialectName = DialectName::OpenaiChat;

fn hello(stream: bool) -> bytes::Bytes {
    bytes(OPENAI, body(OPENAI, "Hello"), stream)
}

fn with_keys() -> Plan {
    Plan::default().top("keys: [{ name: bot, key: sk-bot }]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_content_length_and_budget_are_checked_before_100_continue() {
    let site = Site::start(with_keys()).await;
    for (more, length, expected) in [
        ("authorization: Bearer sk-bad\r\n", 100, 401),
        ("", 100, 401),
        ("authorization: Bearer sk-bot\r\n", 33 << 20, 413),
        ("authorization: Bearer sk-bot\r\ncontent-encoding: lzma\r\n", 100, 415),
    ] {
        let mut wire = site.connect().await;
        let more = format!("{more}expect: 100-continue\r\n");
        assert!(wire.write(head(OPENAI, false, length, &more).as_bytes()).await);
        let text = wire.answer().await;
        assert_eq!(status(&text), expected, "{text}");
    }
    let mut wire = site.connect().await;
    let more = "authorization: Bearer sk-bot\r\nexpect: 100-continue\r\n";
    assert!(wire.write(head(OPENAI, false, hello(false).len(), more).as_bytes()).await);
    let text = wire.until(|text| text.contains("\r\n\r\n")).await;
    assert_eq!(text, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(wire.write(&hello(false)).await);
    let text = wire.until(|text| text.contains("\"finish_reason\"")).await;
    assert!(text.contains("HTTP/1.1 200 OK"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_byte_budget_is_checked_before_100_continue() {
    let yaml = Plan::default().yaml("http://127.0.0.1:9", "http://127.0.0.1:9");
    let transport = Arc::new(Upstream::new(Settings::default()).unwrap());
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), transport, 1).unwrap();
    let gateway = Arc::new(gateway.with_byte_budget(1000));
    let (address, _stop, _serving) = serve(gateway, ShutdownTimes::default()).await;
    let mut wire = Wire::connect(address).await;
    assert!(wire.write(head(OPENAI, false, 2000, "expect: 100-continue\r\n").as_bytes()).await);
    let text = wire.answer().await;
    assert_eq!(status(&text), 503, "{text}");
    assert!(text.contains("retry-after: 1\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_told_to_a_caller_that_writes_everything_first() {
    let site = Site::start(with_keys()).await;
    let large = bytes(OPENAI, body(OPENAI, &"x".repeat(20 << 20)), false);
    let mut wire = site.connect().await;
    assert!(wire.write(head(OPENAI, false, large.len(), "").as_bytes()).await);
    assert!(wire.write(&large).await);
    assert_eq!(status(&wire.answer().await), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_answer_that_arrives_before_the_body_is_fully_sent_is_read_and_classified() {
    let site = Site::start(Plan::default()).await;
    site.primary.simulator().set_faults([FaultRule::new("early_response:status=429".parse().unwrap())]);
    let large = bytes(OPENAI, body(OPENAI, &"x".repeat(8 << 20)), false);
    let mut wire = site.connect().await;
    wire.ask(OPENAI, false, &large, "").await;
    let text = wire.answer().await;
    assert_eq!(status(&text), 200, "{text}");
    assert!(text.contains("x-mainstay-provider: fallback\r\n"), "{text}");
    assert!(text.contains("x-mainstay-reason: rate_limited\r\n"), "not a reset: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_100_headers_and_64_kib_of_them() {
    let site = Site::start(Plan::default()).await;
    let many = |n: usize| (0..n).fold(String::new(), |text, i| text + &format!("x-h{i}: 1\r\n"));
    let long = |n: usize| format!("x-long: {}\r\n", "a".repeat(n));
    for (more, expected) in [(many(90), 200), (long(60 << 10), 200), (many(101), 431), (long(70 << 10), 431)] {
        let mut wire = site.connect().await;
        let head = head(OPENAI, false, hello(false).len(), &more);
        // A head that is refused need not be read to its end.
        let _ = wire.socket.write_all(head.as_bytes()).await;
        let _ = wire.socket.write_all(&hello(false)).await;
        let text = wire.answer().await;
        assert_eq!(status(&text), expected, "{}", more.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_lengths_is_refused_and_nothing_is_smuggled_behind_one() {
    let site = Site::start(Plan::default()).await;
    let smuggled = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let path = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for lengths in [
        "content-length: 5\r\ncontent-length: 90\r\n",
        "content-length: 5, 90\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        let mut wire = site.connect().await;
        assert!(wire.write(format!("{path}{lengths}\r\n{smuggled}").as_bytes()).await);
        let text = wire.rest().await;
        assert_eq!(status(&text), 400, "{lengths}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{lengths}: {text}");
    }
    // Both kinds of length: the chunks count, and the connection ends with this answer.
    for lengths in
        ["content-length: 5\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"]
    {
        let mut wire = site.connect().await;
        assert!(wire.write(format!("{path}{lengths}\r\n0\r\n\r\n{smuggled}").as_bytes()).await);
        let text = wire.rest().await;
        assert_eq!(status(&text), 400, "{lengths}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{lengths}: {text}");
    }
    assert!(site.primary.simulator().journal().is_empty());
}

/// A provider that sends these bytes to whoever asks, and keeps the head of what it was asked.
async fn raw_provider(answer: Vec<u8>) -> (std::net::SocketAddr, Arc<std::sync::Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(std::sync::Mutex::new(String::new()));
    let log = asked.clone();
    #[expect(clippy::disallowed_methods, reason = "one provider a test")]
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = String::new();
            let mut piece = [0; 4096];
            while !text.contains("\"Hello\"") {
                let Ok(n @ 1..) = socket.read(&mut piece).await else { break };
                text.push_str(&String::from_utf8_lossy(&piece[..n]));
            }
            *log.lock().unwrap() = text;
            let _ = socket.write_all(&answer).await;
        }
    });
    (address, asked)
}

async fn over_raw_provider(answer: Vec<u8>, more: &str, stream: bool) -> (String, String) {
    let (provider, asked) = raw_provider(answer).await;
    let yaml = format!(
        "providers:\n{}models:\n  chat:\n    targets: [primary/m-1]\n",
        row("primary", OPENAI, &format!("http://{provider}"), "[sk-1]")
    );
    let transport = Arc::new(Upstream::new(Settings::default()).unwrap());
    let gateway = Arc::new(Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), transport, 1).unwrap());
    let (address, _stop, _serving) = serve(gateway, ShutdownTimes::default()).await;
    let mut wire = Wire::connect(address).await;
    wire.ask(OPENAI, stream, &hello(stream), more).await;
    let text = wire.answer().await;
    let asked = asked.lock().unwrap().clone();
    (text, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_asked_for_identity_and_br_and_zstd_are_decoded_if_sent_anyway() {
    let plain = openai_answer("Good day");
    let zstd = ruzstd::encoding::compress_to_vec(plain.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let mut br = Vec::new();
    std::io::Write::write_all(&mut brotli::CompressorWriter::new(&mut br, 4096, 5, 22), plain.as_bytes()).unwrap();
    for (encoding, packed) in [("zstd", zstd), ("br", br)] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        let (text, asked) =
            over_raw_provider([head.into_bytes(), packed].concat(), "accept-encoding: gzip\r\n", false).await;
        assert!(asked.to_ascii_lowercase().contains("accept-encoding: identity\r\n"), "{asked}");
        assert!(text.ends_with(&plain), "{encoding}: {text}");
        assert!(!text.contains("content-encoding"), "{encoding}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_are_dropped() {
    let plain = openai_answer("Good day");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntrailer: x-after\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{plain}\r\n0\r\nx-after: secret\r\n\r\n",
        plain.len()
    );
    let (text, _) = over_raw_provider(answer.into_bytes(), "te: trailers\r\n", false).await;
    assert!(text.ends_with(&plain), "{text}");
    assert!(!text.contains("x-after"), "{text}");
    let event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntrailer: x-after\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n0\r\nx-after: secret\r\n\r\n",
        event.len()
    );
    let (text, _) = over_raw_provider(answer.into_bytes(), "te: trailers\r\n", true).await;
    assert!(text.contains("[DONE]") && !text.contains("x-after"), "{text}");
}

/// Panics where the host says so.
struct Panicking;

impl Transport for Panicking {
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        if call.body.windows(4).any(|part| part == b"boom") {
            return Box::pin(async { panic!("a defect in the transport") });
        }
        let answer = reply(200, &[("content-type", "application/json")], &openai_answer("Hi"));
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_unwind_and_end_one_exchange() {
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let transport = Arc::new(Panicking);
    let health = Arc::new(Health::new(1));
    let gateway = Arc::new(Gateway::new(snapshot(&yaml, &health), transport, 1).unwrap());
    let (address, _stop, _serving) = serve(gateway.clone(), ShutdownTimes::default()).await;
    for _ in 0..10 {
        let mut doomed = Wire::connect(address).await;
        let boom = bytes(OPENAI, body(OPENAI, "boom"), false);
        doomed.ask(OPENAI, false, &boom, "").await;
        doomed.rest().await;
        let mut other = Wire::connect(address).await;
        other.ask(OPENAI, false, &hello(false), "").await;
        let text = other.answer().await;
        assert!(text.contains("x-mainstay-provider: primary"), "{text}");
    }
    assert!(holds(PATIENCE, || gateway.held_bytes() == 0).await, "what it held is given back");
    let model = gateway.snapshot().resolve("chat").unwrap();
    assert_eq!(model.targets[0].health.in_flight(), 0, "its permit is released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_down_readiness_fails_at_once_accepting_goes_on_and_streams_end_honestly() {
    let times = ShutdownTimes {
        accept: Duration::from_millis(400),
        drain: Duration::from_millis(400),
        ..ShutdownTimes::default()
    };
    let mut site = Site::start_with(Plan::default(), times, Settings::default()).await;
    site.primary.simulator().set_faults([FaultRule::new("stall:after=3".parse().unwrap())]);
    let mut stream = site.connect().await;
    stream.ask(OPENAI, true, &hello(true), "").await;
    stream.until(|text| text.contains("data: ")).await;
    site.stop();
    assert!(holds(PATIENCE, || site.gateway.drain().life() != gateway::drain::Life::Serving).await);
    site.primary.simulator().set_faults([]);
    let mut ready = site.connect().await;
    assert!(ready.write(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n").await);
    assert_eq!(status(&ready.answer().await), 503, "readiness fails at once");
    let mut live = site.connect().await;
    assert!(live.write(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await);
    assert_eq!(status(&live.answer().await), 200);
    let mut late = site.connect().await;
    late.ask(OPENAI, false, &hello(false), "").await;
    assert_eq!(status(&late.answer().await), 200, "accepting goes on for a while");
    let text = stream.rest().await;
    assert!(text.contains("shutting down") && !text.contains("[DONE]"), "{text}");
    let address = site.address;
    site.ended().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_within_the_drain_ends_whole() {
    let mut site = Site::start_with(
        Plan::default(),
        ShutdownTimes { accept: Duration::ZERO, ..ShutdownTimes::default() },
        Settings::default(),
    )
    .await;
    let mut stream = site.connect().await;
    stream.ask(OPENAI, true, &hello(true), "").await;
    stream.until(|text| text.contains("data: ")).await;
    site.stop();
    let text = stream.rest().await;
    assert!(text.contains("[DONE]"), "{text}");
    site.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_writer_is_timed_out_with_a_408_it_can_read() {
    let site = Site::start(Plan::default().top("limits: { caller_idle: 300ms }")).await;
    let mut wire = site.connect().await;
    assert!(wire.write(head(OPENAI, false, 1000, "").as_bytes()).await && wire.write(b"{\"model\":").await);
    let text = wire.answer().await;
    assert_eq!(status(&text), 408, "{text}");
    assert!(holds(PATIENCE, || site.gateway.held_bytes() == 0).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_more_than_100_headers_is_a_fault_of_its_provider() {
    let many = (0..150).fold(String::new(), |text, i| text + &format!("x-h{i}: 1\r\n"));
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n{many}\r\n{{}}");
    let (text, _) = over_raw_provider(answer.into_bytes(), "", false).await;
    assert_eq!(status(&text), 502, "{text}");
    assert!(text.contains("x-should-retry: false\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let (elsewhere, asked) = raw_provider(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()).await;
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{elsewhere}/v1/chat/completions\r\ncontent-length: 0\r\n\r\n"
    );
    let (text, _) = over_raw_provider(answer.into_bytes(), "", false).await;
    assert_eq!(status(&text), 502, "{text}");
    assert!(asked.lock().unwrap().is_empty(), "nobody was asked elsewhere");
    assert!(!text.to_ascii_lowercase().contains("location:"), "{text}");
}
