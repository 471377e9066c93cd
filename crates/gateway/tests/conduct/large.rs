//! Large prompts: failover as for small ones up to the limit, and beyond it a refusal that can be read.

use crate::support::memory::{Plan, World};
use crate::support::sockets::{Site, Wire, head, status};
use crate::support::{body, bytes, is_error_of, request};
use canon::DialectName;

const MIB: usize = 1 << 20;

fn prompt(bytes: usize) -> String {
    "All work and no play. ".repeat(bytes / 22 + 1)
}

async fn fails_over(world: World, dialect: DialectName, stream: bool, size: usize) {
    world.break_primary("unavailable_503");
    let answer = world.send(request(dialect, body(dialect, &prompt(size)), stream)).await;
    answer.served_by("fallback");
    let received = |simulator: &simulator::Simulator| simulator.journal()[0].received;
    assert!(received(&world.primary) >= size as u64 && received(&world.fallback) >= size as u64);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_of_5_mib_fails_over_like_a_small_one() {
    for stream in [false, true] {
        for dialect in DialectName::ALL {
            fails_over(Plan::of(dialect).build(), dialect, stream, 5 * MIB).await;
        }
    }
    let translated = Plan { fallback: DialectName::AnthropicMessages, ..Plan::default() };
    fails_over(translated.build(), DialectName::OpenaiChat, true, 5 * MIB).await;
}

#[tokio::test(start_paused = true)]
async fn a_prompt_of_31_mib_still_fails_over() {
    fails_over(Plan::default().build(), DialectName::OpenaiChat, true, 31 * MIB).await;
}

#[tokio::test(start_paused = true)]
async fn a_prompt_of_33_mib_gets_a_413_in_the_callers_dialect() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        let answer = world.send(request(dialect, body(dialect, &prompt(33 * MIB)), false)).await;
        assert_eq!(answer.status, 413, "{dialect}");
        assert!(is_error_of(dialect, &answer.json()), "{dialect}: {}", answer.text());
        assert!(answer.text().contains("32 MiB"), "{dialect}: {}", answer.text());
        assert!(world.primary.journal().is_empty());
    }
}

/// A client that writes everything before it reads anything, as Python's `http.client` does.
async fn refused(wire: &mut Wire, dialect: DialectName) {
    let text = wire.answer().await;
    assert_eq!(status(&text), 413, "{dialect}: {text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let start = body.find('{').unwrap();
    let end = body.rfind('}').unwrap();
    let error = serde_json::from_str(body.get(start..=end).unwrap()).unwrap();
    assert!(is_error_of(dialect, &error), "{dialect}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_writes_33_mib_before_it_reads_can_read_the_413() {
    let site = Site::start(Plan::default()).await;
    for dialect in DialectName::ALL {
        let large = bytes(dialect, body(dialect, &prompt(33 * MIB)), false);
        let mut wire = site.connect().await;
        assert!(wire.write(head(dialect, false, large.len(), "").as_bytes()).await);
        assert!(wire.write(&large).await, "{dialect}: the gateway reads on while the caller writes");
        refused(&mut wire, dialect).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_announces_no_length_can_read_the_413_too() {
    let site = Site::start(Plan::default()).await;
    for dialect in DialectName::ALL {
        let large = bytes(dialect, body(dialect, &prompt(33 * MIB)), false);
        let mut wire = site.connect().await;
        let head = head(dialect, false, 0, "").replace("content-length: 0", "transfer-encoding: chunked");
        assert!(wire.write(head.as_bytes()).await);
        for piece in large.chunks(MIB) {
            assert!(wire.write(format!("{:x}\r\n", piece.len()).as_bytes()).await, "{dialect}");
            assert!(wire.write(piece).await && wire.write(b"\r\n").await, "{dialect}");
        }
        assert!(wire.write(b"0\r\n\r\n").await, "{dialect}");
        refused(&mut wire, dialect).await;
    }
}
