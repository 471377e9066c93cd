//! Streams: whole events, read only when the caller has room, timed only while the provider is waited for.

use crate::support::memory::{Plan, read, rule};
use crate::support::sockets::{PATIENCE, Site, Wire, holds, serve};
use crate::support::transports::{Scripted, openai_answer, reply};
use crate::support::{body, bytes, hello, snapshot};
use bytes::Bytes;
use canon::{DialectName, Fault};
use gateway::Gateway;
use gateway::server::ShutdownTimes;
use health::Health;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use simulator::{Behaviour, Pace};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use upstream::{Reply, Settings};

#[tokio::test(start_paused = true)]
async fn the_relay_never_forwards_bytes_past_the_last_complete_event() {
    for upstream in DialectName::ALL {
        for caller in DialectName::ALL {
            for fault in ["cut_inside_event:after=5", "cut_mid_text:after=5", "stall:after=5", "missing_terminator"] {
                let world = Plan::of(upstream).model("rescue: error").build();
                world.break_primary(fault);
                let answer = world.send(hello(caller, true)).await;
                let events = answer.events();
                let last = events.last().unwrap();
                assert!(last.contains("error"), "{upstream} to {caller}, {fault}: {last}");
                let text = answer.text();
                assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{upstream} to {caller}, {fault}");
            }
        }
    }
}

/// Text events of 4 KiB without end, always ready; counts what is taken.
struct Endless {
    taken: Arc<AtomicUsize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Fault;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let event = format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
            "x".repeat(4 << 10)
        );
        self.taken.fetch_add(event.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_read_only_when_the_caller_has_room_64_kib_a_stream() {
    for caller in DialectName::ALL {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let transport = Scripted(move |_| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
            Ok(Reply { status: StatusCode::OK, headers, body: Box::pin(Endless { taken: counter.clone() }) })
        });
        let yaml = Plan::default().yaml("http://primary", "http://fallback");
        let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
        let mut response = gateway.handle(hello(caller, true)).await;
        let ahead = taken.load(Ordering::Relaxed);
        assert!(ahead <= 64 << 10, "{caller}: {ahead} bytes before the caller read anything");
        let mut read = 0;
        while read < 1 << 20 {
            read += response.frame().await.unwrap().unwrap().into_data().unwrap().len();
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= read + (64 << 10) + taken / 8, "{caller}: {taken} taken for {read} given");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = taken.load(Ordering::Relaxed);
        tokio::task::yield_now().await;
        assert_eq!(taken.load(Ordering::Relaxed), before, "{caller}: a caller that does not read is not read for");
    }
}

/// A provider that says so much that no buffer on the way holds it.
fn talkative() -> Behaviour {
    Behaviour {
        pace: Pace { first_token: Duration::ZERO, interval: Duration::ZERO, tokens: 40_000 },
        ..Behaviour::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_never_stalls_another_stream_on_its_connection() {
    let settings = Settings { h2c_hosts: vec!["PRIMARY".to_owned()], ..Settings::default() };
    let site = Site::start_with(Plan::default().alone(), ShutdownTimes::default(), settings).await;
    site.primary.simulator().set_behaviour(talkative());
    let ask = bytes(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Talk"), true);
    let mut slow = site.connect().await;
    slow.ask(DialectName::OpenaiChat, true, &ask, "").await;
    slow.until(|text| text.contains("data: ")).await;
    // Everything between provider and caller fills up.
    let sent = || site.primary.simulator().journal()[0].bytes;
    let mut before = 0;
    while sent() != before {
        before = sent();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.primary.simulator().set_behaviour(Behaviour::default());
    for _ in 0..3 {
        let mut quick = site.connect().await;
        quick.ask(DialectName::OpenaiChat, true, &ask, "").await;
        let text = quick.until(|text| text.contains("[DONE]")).await;
        assert!(text.contains("[DONE]"), "{text}");
    }
    assert_eq!(site.primary.connections(), 1, "all of it crossed one connection");
}

#[tokio::test(start_paused = true)]
async fn phase_timers_stop_while_mainstay_waits_for_the_caller() {
    for upstream in [DialectName::OpenaiChat, DialectName::AnthropicMessages] {
        let world = Plan::of(upstream).model("timeouts: { idle: 5s }").build();
        let mut response = world.gateway.handle(hello(DialectName::OpenaiChat, true)).await;
        let mut text = String::new();
        for i in 0.. {
            let Some(frame) = response.frame().await else { break };
            text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
            if i < 8 {
                tokio::time::sleep(Duration::from_secs(12)).await;
            }
        }
        assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("error"), "{upstream}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn comments_do_not_count_as_life() {
    let world = Plan::default().model("timeouts: { idle: 5s }").build();
    world.break_primary("stall_with_keepalives:after=3,every=1s");
    let began = tokio::time::Instant::now();
    let answer = world.send(hello(DialectName::OpenaiChat, true)).await;
    assert!(answer.text().contains("idle limit of 5000 ms"), "{}", answer.text());
    assert!((5..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_cut_off_after_the_limit_and_never_counts_against_the_target() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let transport = Scripted(move |call: upstream::Call| {
        if !call.body.windows(6).any(|part| part == b"stream") {
            return Ok(reply(200, &[("content-type", "application/json")], &openai_answer("Hi")));
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        Ok(Reply { status: StatusCode::OK, headers, body: Box::pin(Endless { taken: counter.clone() }) })
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let gateway = Arc::new(gateway);
    let times = ShutdownTimes { slow_reader: Duration::from_millis(300), ..ShutdownTimes::default() };
    let (address, _stop, _serving) = serve(gateway.clone(), times).await;
    let ask = bytes(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Talk"), true);
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(address).await;
        wire.ask(DialectName::OpenaiChat, true, &ask, "").await;
        slow.push(wire);
    }
    let model = gateway.snapshot().resolve("chat").unwrap();
    let target = &model.targets[0];
    assert!(holds(PATIENCE, || target.health.in_flight() == 4).await);
    assert!(holds(PATIENCE, || target.health.in_flight() == 0).await, "every slow reader is cut off");
    assert!(taken.load(Ordering::Relaxed) < 4 * (24 << 20), "nothing but the sockets' own buffers was filled");
    assert!(target.health.standing(gateway.clock().now()).is_healthy());
    let mut wire = Wire::connect(address).await;
    let ask = bytes(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hi"), false);
    wire.ask(DialectName::OpenaiChat, false, &ask, "").await;
    let answer = wire.answer().await;
    assert!(answer.contains("x-mainstay-provider: primary"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn usage_and_the_terminator_get_a_second_after_the_finish_reason() {
    let finished = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let transport = Scripted(move |_| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        let first = http_body_util::Full::new(Bytes::from(finished)).map_err(|never| match never {});
        Ok(Reply {
            status: StatusCode::OK,
            headers,
            body: Box::pin(ThenSilence { first: Box::pin(first), over: false }),
        })
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let began = tokio::time::Instant::now();
    let answer = read(gateway.handle(hello(DialectName::OpenaiChat, true)).await).await;
    assert!(!answer.text().contains("error"), "a complete stream without `[DONE]` is complete: {}", answer.text());
    assert!(began.elapsed() <= Duration::from_millis(1100), "{:?}", began.elapsed());
}

/// A body, and then nothing for ever.
struct ThenSilence {
    first: upstream::AnswerBody,
    over: bool,
}

impl Body for ThenSilence {
    type Data = Bytes;
    type Error = Fault;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.over {
            return Poll::Pending;
        }
        match self.first.as_mut().poll_frame(cx) {
            Poll::Ready(None) => {
                self.over = true;
                Poll::Pending
            }
            other => other,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_no_task_a_stream() {
    let world = Plan::default().build();
    let runtime = tokio::runtime::Handle::current();
    let before = runtime.metrics().num_alive_tasks();
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(world.gateway.handle(hello(DialectName::AnthropicMessages, true)).await);
    }
    for response in &mut open {
        response.frame().await.unwrap().unwrap();
    }
    assert_eq!(runtime.metrics().num_alive_tasks(), before);
    drop(open);
    assert_eq!(world.gateway.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_64_kib_of_prelude_is_a_fault() {
    let prelude = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    let many = prelude.repeat((65 << 10) / prelude.len() + 1);
    let transport = Scripted(move |call: upstream::Call| {
        if call.endpoint.host == "fallback" {
            return Ok(reply(200, &[("content-type", "application/json")], &openai_answer("Hi")));
        }
        Ok(reply(200, &[("content-type", "text/event-stream")], &many))
    });
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(transport), 1).unwrap();
    let answer = read(gateway.handle(hello(DialectName::OpenaiChat, true)).await).await;
    assert!(answer.text().contains("64 KiB of prelude"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_malformed_event_is_left_out_and_the_stream_goes_on() {
    for caller in DialectName::ALL {
        for upstream in DialectName::ALL {
            let world = Plan::of(upstream).build();
            world.primary.set_faults([rule("malformed_event:after=3")]);
            let answer = world.send(hello(caller, true)).await;
            answer.served_by("primary");
            assert!(!answer.text().contains("\"error\""), "{upstream} to {caller}: {}", answer.text());
            assert!(answer.events().len() > 3);
        }
    }
}
