//! Bodies: one budget, compressed ones accepted, one key a name.

use crate::support::memory::{Plan, World, read};
use crate::support::{body, bytes, hello, is_error_of, path};
use bytes::Bytes;
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::Request;
use http_body_util::Full;
use simulator::InMemory;
use std::io::Write;
use std::sync::Arc;

fn small_budget(world: &World, bytes: usize) -> Gateway {
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let snapshot = crate::support::snapshot(&yaml, &Arc::new(Health::new(1)));
    let transport = InMemory::new().with(&world.primary).with(&world.fallback);
    Gateway::new(snapshot, Arc::new(transport), 1).unwrap().with_byte_budget(bytes)
}

#[tokio::test(start_paused = true)]
async fn beyond_the_global_byte_budget_admission_answers_503_with_retry_after() {
    let world = Plan::default().build();
    world.break_primary("hang_before_headers");
    let gateway = small_budget(&world, 64 << 10);
    for dialect in DialectName::ALL {
        let half = || crate::support::request(dialect, body(dialect, &"x".repeat(40 << 10)), false);
        let mut first = Box::pin(gateway.handle(half()));
        assert!(futures_pending(&mut first).await, "the first fits and waits for the provider");
        assert!(gateway.held_bytes() >= 40 << 10);
        let refused = read(gateway.handle(half()).await).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{dialect}");
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        assert!(is_error_of(dialect, &refused.json()), "{}", refused.text());
        drop(first);
        assert_eq!(gateway.held_bytes(), 0, "what is over gives its bytes back");
    }
}

/// Polls once, and says whether there is nothing yet.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::time::timeout(std::time::Duration::from_millis(1), future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_answer_the_budget_has_no_room_for_does_not_count_against_its_target() {
    let world = Plan::default().alone().build();
    world.primary.set_behaviour(simulator::Behaviour {
        pace: simulator::Pace { tokens: 20_000, ..simulator::Pace::instant() },
        ..simulator::Behaviour::default()
    });
    let gateway = small_budget(&world, 8 << 10);
    for _ in 0..6 {
        let yaml_model = crate::support::request(
            DialectName::OpenaiChat,
            serde_json::json!({"model": "primary/m-1", "messages": [{"role": "user", "content": "Hi"}]}),
            false,
        );
        let answer = read(gateway.handle(yaml_model).await).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    assert_eq!(world.primary.journal().len(), 6, "the breaker stayed closed");
}

fn compressed(dialect: DialectName, encoding: &str, plain: &[u8]) -> Request<Full<Bytes>> {
    let bytes = match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(plain).unwrap();
            out
        }
        _ => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
    };
    Request::post(path(dialect, false))
        .header("content-type", "application/json")
        .header("content-encoding", encoding)
        .body(Full::new(Bytes::from(bytes)))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn compressed_requests_are_accepted() {
    for dialect in DialectName::ALL {
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let world = Plan::of(dialect).build();
            let plain = bytes(dialect, body(dialect, "Hello"), false);
            world.send(compressed(dialect, encoding, &plain)).await.served_by("primary");
            let sent = &world.spy.sent()[0];
            assert!(!sent.headers.contains_key("content-encoding"), "{encoding}: it goes upstream as it was meant");
            assert!(sent.body.windows(5).any(|part| part == b"Hello"), "{encoding}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limits_count_after_decompression() {
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let world = Plan::default().top("limits: { body: 1MiB }").build();
        let plain = bytes(DialectName::OpenaiChat, body(DialectName::OpenaiChat, &"x".repeat(2 << 20)), false);
        let answer = world.send(compressed(DialectName::OpenaiChat, encoding, &plain)).await;
        assert_eq!(answer.status, 413, "{encoding}: {}", answer.text());
        assert_eq!(world.gateway.held_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn gzip_is_decoded_if_sent_anyway() {
    for stream in [false, true] {
        for dialect in DialectName::ALL {
            let world = Plan::of(dialect).build();
            world.break_primary("gzip");
            let answer = world.send(hello(dialect, stream)).await;
            answer.served_by("primary");
            assert!(answer.header("content-encoding").is_none());
            assert!(std::str::from_utf8(&answer.body).is_ok_and(|text| text.contains('{')), "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_top_level_json_key_is_a_400() {
    for (dialect, raw) in [
        (DialectName::OpenaiChat, r#"{"model":"chat","messages":[],"model":"other"}"#),
        (DialectName::OpenaiChat, r#"{"model":"chat","messages":[],"m\u006fdel":"other"}"#),
        (DialectName::AnthropicMessages, r#"{"model":"chat","max_tokens":1,"messages":[],"max_tokens":9}"#),
        (DialectName::Gemini, r#"{"contents":[],"contents":[]}"#),
    ] {
        let world = Plan::of(dialect).build();
        let request = Request::post(path(dialect, false)).body(Full::new(Bytes::from(raw))).unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, 400, "{raw}: {}", answer.text());
        assert!(is_error_of(dialect, &answer.json()), "{}", answer.text());
        assert!(answer.text().contains("twice") || answer.text().contains("duplicate"), "{}", answer.text());
        assert!(world.spy.sent().is_empty());
    }
}
