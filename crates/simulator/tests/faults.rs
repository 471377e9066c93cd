//! Each fault, on virtual time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use bytes::Bytes;
use canon::{DialectName, FaultClass, Phase};
use common::{
    ask, body_with_tool, events, failing, is_finished, provider, read, read_within, request, streamed_text, whole,
};
use flate2::read::GzDecoder;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::Value;
use simulator::{
    Behaviour, ConnectionFault, Ended, Entry, FaultKind, FaultRule, InMemory, Injection, Injector, Pace, Simulator,
};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use upstream::{Call, Endpoint, Transport};

const OPENAI: DialectName = DialectName::OpenaiChat;
const GEMINI: DialectName = DialectName::Gemini;
const AGES: Duration = Duration::from_secs(3600);

async fn stream_of(dialect: DialectName, fault: &str) -> (Vec<u8>, bool) {
    let response = failing(dialect, fault).call(ask(dialect, "hello", true)).await.unwrap();
    let (bytes, broken) = read(response.into_body()).await;
    (bytes, broken.is_some())
}

fn call(dialect: DialectName, stream: bool) -> Call {
    let (parts, body) = ask(dialect, "hello", stream).into_parts();
    Call {
        endpoint: Arc::new(Endpoint { https: true, host: "sim-a".to_owned(), port: 443, path: String::new() }),
        method: Method::POST,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
        connect: Duration::from_secs(3),
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_status_in_every_dialect_streamed_or_not() {
    let statuses = [
        ("bad_request_context_length", 400),
        ("unauthorized_401", 401),
        ("payment_402", 402),
        ("forbidden_403", 403),
        ("model_404", 404),
        ("timeout_408", 408),
        ("too_large_413", 413),
        ("rate_limited_429", 429),
        ("quota_exhausted_429", 429),
        ("server_error_500", 500),
        ("bad_gateway_502_html", 502),
        ("unavailable_503", 503),
        ("gateway_timeout_504", 504),
        ("overloaded_529", 529),
        ("error_in_200", 200),
        ("html_in_200", 200),
        ("early_response:status=413", 413),
    ];
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            for (fault, status) in statuses {
                let response = failing(dialect, fault).call(ask(dialect, "hello", stream)).await.unwrap();
                assert_eq!(response.status().as_u16(), status, "{fault} {dialect}");
                let text = whole(response).await;
                let is_error = text.contains("\"error\"") || text.starts_with("<html>");
                assert!(is_error, "{fault} {dialect}: {text}");
            }
            let expected = if dialect == GEMINI { 200 } else { 400 };
            let response = failing(dialect, "content_policy_400").call(ask(dialect, "hello", stream)).await.unwrap();
            assert_eq!(response.status().as_u16(), expected);
            let content_type = response.headers()["content-type"].clone();
            let expected = if dialect == GEMINI && stream { "text/event-stream" } else { "application/json" };
            assert_eq!(content_type, expected, "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connection_faults_come_before_any_head() {
    for (fault, expected) in [
        ("refuse", ConnectionFault::Refused),
        ("unroutable", ConnectionFault::Unroutable),
        ("reset_before_headers", ConnectionFault::Reset),
        ("tls_failure", ConnectionFault::Tls),
    ] {
        let simulator = failing(OPENAI, fault);
        assert_eq!(simulator.call(ask(OPENAI, "x", true)).await.err(), Some(expected));
        assert_eq!(simulator.journal()[0].status, None);
    }
    let hang = failing(OPENAI, "hang_before_headers");
    assert!(tokio::time::timeout(AGES, hang.call(ask(OPENAI, "x", true))).await.is_err());
    assert_eq!(hang.journal()[0].ended, Ended::Cancelled { at: AGES });
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_slow_first_tokens_take_their_time() {
    let begun = Instant::now();
    let response = failing(OPENAI, "slow_headers:by=7s").call(ask(OPENAI, "x", true)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
    assert!(is_finished(OPENAI, &whole(response).await));

    let begun = Instant::now();
    let response = failing(OPENAI, "slow_first_token:by=7s").call(ask(OPENAI, "x", true)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "the prelude is there at once");
    body.frame().await.unwrap().unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(7));

    let begun = Instant::now();
    failing(OPENAI, "slow_first_token:by=7s").call(ask(OPENAI, "x", false)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(7), "not streamed, the answer itself is late");
}

#[tokio::test(start_paused = true)]
async fn half_speed_doubles_the_time_between_tokens() {
    let pace = Pace { first_token: Duration::ZERO, interval: Duration::from_millis(10), tokens: 40 };
    let time = |faults: Vec<FaultRule>| {
        let simulator = Simulator::new(provider(OPENAI).at_pace(pace.clone()).failing(faults));
        async move {
            let begun = Instant::now();
            whole(simulator.call(ask(OPENAI, "x", true)).await.unwrap()).await;
            begun.elapsed()
        }
    };
    let usual = time(vec![]).await;
    assert!(usual >= Duration::from_millis(390));
    assert_eq!(time(vec![FaultKind::HalfSpeed.into()]).await, usual * 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_in_an_empty_stream() {
    for dialect in DialectName::ALL {
        assert_eq!(stream_of(dialect, "empty_stream").await, (vec![], false));
    }
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_stream_come_before_content_and_end_it() {
    for dialect in DialectName::ALL {
        let (alone, _) = stream_of(dialect, "error_before_content").await;
        let (after, _) = stream_of(dialect, "error_after_prelude").await;
        assert!(after.ends_with(&alone) && after.len() > alone.len(), "{dialect}");
        let text = String::from_utf8(after).unwrap();
        assert!(text.contains("error") && streamed_text(dialect, &text).is_empty(), "{dialect}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn cuts_end_after_some_text_without_a_finish() {
    for dialect in DialectName::ALL {
        let (bytes, is_broken) = stream_of(dialect, "cut_mid_text:after=4").await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(is_broken && text.ends_with("\n\n") && !is_finished(dialect, &text), "{dialect}: {text}");
        assert_eq!(streamed_text(dialect, &text), "This is sim-a speaking ");

        let (bytes, is_broken) = stream_of(dialect, "cut_inside_event:after=4").await;
        assert!(is_broken && bytes.starts_with(text.as_bytes()) && bytes.len() > text.len(), "{dialect}");
        assert!(!bytes.ends_with(b"\n\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_not_streamed_is_cut_in_the_middle_of_its_announced_length() {
    let response = failing(OPENAI, "cut_mid_text").call(ask(OPENAI, "x", false)).await.unwrap();
    let announced = http_body::Body::size_hint(response.body()).exact().unwrap();
    let (bytes, broken) = read(response.into_body()).await;
    assert!(broken.is_some() && (bytes.len() as u64) < announced);
}

#[tokio::test(start_paused = true)]
async fn a_cut_within_a_tool_call_leaves_arguments_that_do_not_parse() {
    for dialect in DialectName::ALL {
        let asked = request(dialect, &body_with_tool(dialect, "hello"), true);
        let response = failing(dialect, "cut_mid_tool_call").call(asked).await.unwrap();
        let (bytes, broken) = read(response.into_body()).await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(broken.is_some() && text.contains("get_weather") && !is_finished(dialect, &text), "{dialect}: {text}");
        assert!(!text.contains("Paris\""), "{dialect}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_silent_and_one_with_keep_alives_is_not() {
    for dialect in DialectName::ALL {
        for stream in [true, false] {
            let response = failing(dialect, "stall").call(ask(dialect, "x", stream)).await.unwrap();
            assert!(read_within(response.into_body(), AGES).await.is_none());
        }
        let simulator = failing(dialect, "stall_with_keepalives:every=1s");
        let response = simulator.call(ask(dialect, "x", true)).await.unwrap();
        assert!(read_within(response.into_body(), Duration::from_secs(100)).await.is_none());
        let entry = &simulator.journal()[0];
        assert!(entry.bytes > 1000 && entry.events < 12, "{entry:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_events_duplicates_and_missing_ends_are_what_they_say() {
    for dialect in DialectName::ALL {
        let healthy = whole(Simulator::new(provider(dialect)).call(ask(dialect, "hello", true)).await.unwrap()).await;
        let fault = |fault: &'static str| async move { String::from_utf8(stream_of(dialect, fault).await.0).unwrap() };

        let malformed = fault("malformed_event").await;
        assert_eq!(malformed.replace("data: {\"choices\": [{\"del\n\n", ""), healthy);

        let open = fault("missing_terminator").await;
        assert!(healthy.starts_with(&open) && !is_finished(dialect, &open) && open.len() < healthy.len());
        assert_eq!(streamed_text(dialect, &open), streamed_text(dialect, &healthy));

        let finishes =
            |text: &str| events(text).iter().filter(|event| is_finished(dialect, &format!("data: {event}"))).count();
        let twice = fault("duplicate_finish").await;
        assert_eq!((finishes(&healthy), finishes(&twice)), (1, 2));
    }
    let response = failing(OPENAI, "missing_terminator").call(ask(OPENAI, "x", false)).await.unwrap();
    assert!(serde_json::from_str::<Value>(&whole(response).await).is_err());
}

#[tokio::test(start_paused = true)]
async fn characters_are_split_between_chunks_but_not_lost() {
    for stream in [true, false] {
        let response = failing(OPENAI, "split_utf8").call(ask(OPENAI, "naïve ☕", stream)).await.unwrap();
        let mut body = response.into_body();
        let (mut all, mut torn) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            torn += usize::from(std::str::from_utf8(&data).is_err());
            all.extend_from_slice(&data);
        }
        assert!(torn >= 2, "{torn}");
        assert!(String::from_utf8(all).unwrap().contains('☕'));
    }
}

#[tokio::test(start_paused = true)]
async fn a_huge_event_is_one_event_of_a_mebibyte() {
    for dialect in DialectName::ALL {
        let (bytes, _) = stream_of(dialect, "huge_event").await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.lines().any(|line| line.len() > 1 << 20), "{dialect}");
        assert!(is_finished(dialect, &text));
    }
}

#[tokio::test(start_paused = true)]
async fn gzip_unpacks_to_the_healthy_answer() {
    for stream in [true, false] {
        let healthy = whole(Simulator::new(provider(OPENAI)).call(ask(OPENAI, "x", stream)).await.unwrap()).await;
        let response = failing(OPENAI, "gzip").call(ask(OPENAI, "x", stream)).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let (packed, _) = read(response.into_body()).await;
        let mut plain = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_combine() {
    let rules = ["slow_headers:by=3s", "gzip", "missing_terminator"].map(|text| FaultRule::new(text.parse().unwrap()));
    let simulator = Simulator::new(provider(OPENAI).failing(rules));
    let begun = Instant::now();
    let (packed, _) = read(simulator.call(ask(OPENAI, "x", true)).await.unwrap().into_body()).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    let mut plain = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut plain).unwrap();
    assert!(!is_finished(OPENAI, &plain) && !streamed_text(OPENAI, &plain).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_requests_leave_the_same_trace() {
    async fn run(seed: u64) -> (Vec<Entry>, Vec<u8>) {
        let faults = ["503", "cut_mid_text", "429:retry_after=2", "stall:after=2", "refuse"]
            .map(|text| FaultRule::new(text.parse().unwrap()).percent(25.0));
        let behaviour = Behaviour { seed, faults: faults.to_vec(), ..Behaviour::default() };
        let simulator = Simulator::new(provider(GEMINI).behaving(behaviour));
        let mut bytes = Vec::new();
        for number in 0..40 {
            let asked = ask(GEMINI, &format!("request {number}"), number % 3 > 0);
            if let Ok(response) = simulator.call(asked).await
                && let Some((read, _)) = read_within(response.into_body(), Duration::from_secs(5)).await
            {
                bytes.extend(read);
            }
            tokio::time::sleep(Duration::from_millis(130)).await;
        }
        (simulator.journal(), bytes)
    }
    let first = run(11).await;
    assert_eq!(first, run(11).await);
    assert_ne!(first.0, run(12).await.0);
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_a_hang_up_from_an_end() {
    let simulator =
        Simulator::new(provider(OPENAI).at_pace(Pace { interval: Duration::from_secs(1), ..Pace::instant() }));
    let mut body = simulator.call(ask(OPENAI, "x", true)).await.unwrap().into_body();
    for _ in 0..5 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    whole(simulator.call(ask(OPENAI, "x", true)).await.unwrap()).await;
    let journal = simulator.journal();
    assert_eq!((journal[0].ended, journal[0].events), (Ended::Cancelled { at: Duration::from_secs(3) }, 5));
    assert!(matches!(journal[1].ended, Ended::Complete { .. }));
    assert_eq!(journal[1].model.as_deref(), Some("m-1"));
}

#[tokio::test(start_paused = true)]
async fn faults_set_at_run_time_begin_then() {
    let simulator = Simulator::new(provider(OPENAI));
    tokio::time::sleep(Duration::from_secs(60)).await;
    simulator.set_faults([FaultRule::new("503".parse().unwrap()).between(Duration::ZERO, Duration::from_secs(5))]);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(simulator.call(ask(OPENAI, "x", false)).await.unwrap().status().as_u16());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(statuses, [503, 503, 200]);
}

#[tokio::test(start_paused = true)]
async fn in_memory_faults_are_the_faults_of_a_transport() {
    let classes = [
        ("refuse", FaultClass::Unreachable, None),
        ("tls_failure", FaultClass::Unreachable, None),
        ("reset_before_headers", FaultClass::Unreachable, None),
        ("unroutable", FaultClass::TimedOut, Some(Phase::Connect)),
    ];
    for (fault, class, phase) in classes {
        let transport = InMemory::new().with(&failing(OPENAI, fault));
        let begun = Instant::now();
        let fault = transport.send(call(OPENAI, true)).await.err().unwrap();
        assert_eq!((fault.class, fault.phase), (class, phase));
        assert_eq!(begun.elapsed(), Duration::from_secs(if phase.is_some() { 3 } else { 0 }));
    }
    let transport = InMemory::new().with(&failing(OPENAI, "cut_mid_text"));
    let reply = transport.send(call(OPENAI, true)).await.ok().unwrap();
    assert_eq!(reply.body.collect().await.err().unwrap().class, FaultClass::StreamBroken);
    assert_eq!(InMemory::new().send(call(OPENAI, true)).await.err().unwrap().class, FaultClass::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn in_memory_answers_are_unpacked() {
    let transport = InMemory::new().with(&failing(OPENAI, "gzip"));
    let reply = transport.send(call(OPENAI, true)).await.ok().unwrap();
    assert!(!reply.headers.contains_key("content-encoding"));
    let text = reply.body.collect().await.ok().unwrap().to_bytes();
    assert!(is_finished(OPENAI, std::str::from_utf8(&text).unwrap()));
}

async fn injected(
    dialect: DialectName,
    fault: &str,
    stream: bool,
) -> Result<(u16, HeaderMap, Bytes, bool), FaultClass> {
    let healthy = InMemory::new().with(&Simulator::new(provider(dialect)));
    let injection = Injection::new(fault.parse().unwrap());
    let injector = Injector::new(Arc::new(healthy), dialect, &injection);
    let mut reply = injector.send(call(dialect, stream)).await.map_err(|fault| fault.class)?;
    let mut all = Vec::new();
    let mut is_broken = false;
    while let Some(frame) = reply.body.frame().await {
        let Ok(frame) = frame else {
            is_broken = true;
            break;
        };
        all.extend_from_slice(frame.data_ref().unwrap());
    }
    Ok((reply.status.as_u16(), reply.headers, all.into(), is_broken))
}

#[tokio::test(start_paused = true)]
async fn injected_stream_faults_look_as_the_simulators_own() {
    for dialect in DialectName::ALL {
        for fault in [
            "cut_mid_text",
            "cut_inside_event",
            "error_before_content",
            "error_after_prelude",
            "malformed_event",
            "missing_terminator",
            "duplicate_finish",
            "empty_stream",
        ] {
            let (status, _, bytes, is_broken) = injected(dialect, fault, true).await.unwrap();
            assert_eq!(
                (status, (bytes.to_vec(), is_broken)),
                (200, stream_of(dialect, fault).await),
                "{fault} {dialect}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn injected_heads_never_reach_the_provider() {
    let simulator = Simulator::new(provider(OPENAI));
    let inner: Arc<dyn Transport> = Arc::new(InMemory::new().with(&simulator));
    let injection = Injection { percent: 30.0, seed: 5, ..Injection::new("429:retry_after=2".parse().unwrap()) };
    let injector = Injector::new(inner, OPENAI, &injection);
    let mut limited = 0;
    for _ in 0..200 {
        let reply = injector.send(call(OPENAI, false)).await.ok().unwrap();
        if reply.status == 429 {
            assert_eq!(reply.headers["retry-after"], "2");
            limited += 1;
        }
    }
    assert!((40..=80).contains(&limited), "{limited} of 200");
    assert_eq!(simulator.journal().len(), 200 - limited);
}

#[tokio::test(start_paused = true)]
async fn injected_faults_of_whole_answers_and_connections_work_too() {
    assert_eq!(injected(OPENAI, "refuse", false).await.err(), Some(FaultClass::Unreachable));
    let (status, _, bytes, _) = injected(OPENAI, "error_after_prelude", false).await.unwrap();
    assert!(status == 200 && bytes.starts_with(b"{\"error\""));
    let (_, _, bytes, is_broken) = injected(OPENAI, "cut_mid_text", false).await.unwrap();
    assert!(is_broken && !bytes.is_empty());
    let (_, _, bytes, _) = injected(OPENAI, "huge_event", true).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.len() > 1 << 20 && is_finished(OPENAI, &text) && !streamed_text(OPENAI, &text).is_empty());
}
