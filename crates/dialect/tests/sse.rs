//! The SSE decoder: what a frame is, and that it never depends on how the bytes were cut into chunks.

#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use dialect::sse::{Decoder, Frame, TooLarge, frames};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// What a stream yields when it is cut at the given places.
fn decode(stream: &Bytes, cuts: &[usize], limit: usize) -> (Vec<Result<Frame, TooLarge>>, Bytes) {
    let mut decoder = Decoder::new(limit);
    let mut got = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        decoder.push(stream.slice(from..cut));
        from = cut;
        while let Some(frame) = decoder.next_frame() {
            got.push(frame);
        }
    }
    (got, decoder.residue())
}

fn one(text: &str) -> Frame {
    let (mut got, rest) = frames(Bytes::copy_from_slice(text.as_bytes()));
    assert_eq!(got.len(), 1, "{text:?} gave {got:?}");
    assert_eq!(rest, "", "{text:?}");
    got.remove(0)
}

const SAMPLES: &[&str] = &[
    "",
    "data: a\n\n",
    "\u{feff}data: a\n\ndata: b\n\n",
    "\u{feff}: hello\n\ndata: a\n\n",
    "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\n\n",
    "data: a\r\n\r\ndata: b\r\n\r\n",
    "data: a\r\rdata: b\r\r\ndata: c\r\r",
    "data: a\r\n\rdata: b\n\r\ndata: c\r\ndata: d\r\n\r\n",
    ": keep-alive\n\n: keep-alive\n\ndata:a\n\n:\n\ndata:b\n: inside\ndata:  c\n:again\n\n\n\n",
    "id: 1\nretry: 5\n\nid: 2\ndata: x\nretry: 3\n\ndata\n\ndata\ndata\n\ndata:\n\n",
    "{\n  \"error\": {\n    \"code\": 503\n  }\n}\n",
    "{\"error\":1}\n\n: c\n\n{\"error\":2}\n\ndata: x\n\n<html>\n\n</html>",
    "data: [DONE]\n\ndata: cut o",
    "data: \u{1f600}\u{e9}\n\nevent: \u{e9}\ndata: y\n\n",
    "data: a\n\r",
];

#[test]
fn a_frame_keeps_its_bytes_and_knows_its_fields() {
    let frame = one("event: content_block_delta\ndata: {\"a\":1}\n\n");
    assert_eq!(frame.raw, "event: content_block_delta\ndata: {\"a\":1}\n\n");
    assert_eq!(frame.event, "content_block_delta");
    assert_eq!(frame.data, "{\"a\":1}");
}

#[test]
fn only_one_space_after_the_colon_is_removed_and_none_is_needed() {
    assert_eq!(one("data:a\n\n").data, "a");
    assert_eq!(one("data:  a\n\n").data, " a");
    assert_eq!(one("data\n\n").data, "");
}

#[test]
fn several_data_lines_are_joined_by_a_line_feed() {
    assert_eq!(one("data: a\r\ndata:\r\ndata: b\r\n\r\n").data, "a\n\nb");
}

#[test]
fn comments_leave_the_raw_bytes_and_nothing_else_does() {
    let frame = one(": one\n\n\nid: 7\n: two\ndata: x\r\n:three\r\nodd line\n\n: four\n\n");
    assert_eq!(frame.raw, "id: 7\ndata: x\r\nodd line\n\n");
}

#[test]
fn an_event_without_data_is_a_frame_and_a_block_without_both_is_none() {
    assert_eq!(one("event: ping\n\n").event, "ping");
    assert_eq!(frames(Bytes::from_static(b"id: 3\nretry: 1\n\n: c\n\n\n")).0, []);
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_alone() {
    assert_eq!(one("\u{feff}data: a\n\n").raw, "data: a\n\n");
    let (got, rest) = frames(Bytes::from("data: a\n\nx\u{feff}data: b\n\n"));
    assert_eq!((got.len(), rest), (1, Bytes::from("x\u{feff}data: b\n\n")));
}

#[test]
fn raw_errors_after_the_last_frame_stay_in_the_residue() {
    for (text, residue) in [
        ("data: a\n\n{\n \"error\": {}\n}\n", "{\n \"error\": {}\n}\n"),
        ("data: a\r\n\r\n{\"error\":{}}\r\n\r\n", "{\"error\":{}}\r\n\r\n"),
        ("<html>\n\n<p>502</p>", "<html>\n\n<p>502</p>"),
        ("data: a\n\ndata: cu", "data: cu"),
    ] {
        assert_eq!(frames(Bytes::from(text)).1, residue, "{text:?}");
    }
}

#[test]
fn what_is_no_event_does_not_reach_the_next_event() {
    let frame = one("{\"error\":1}\n\n: c\n\ndata: x\n\n");
    assert_eq!(frame.raw, "data: x\n\n");
}

#[test]
fn streams_with_cr_line_ends_are_not_one_event_late() {
    let mut decoder = Decoder::new(100);
    decoder.push(Bytes::from_static(b"data: a\r\r"));
    assert_eq!(decoder.next_frame().unwrap().unwrap().data, "a");
}

#[test]
fn an_event_over_the_limit_ends_the_stream_wherever_it_is_cut() {
    let text = Bytes::from("data: 1234\n\ndata: 12345\n\ndata: 1\n\n");
    for cut in 0..=text.len() {
        let (got, _) = decode(&text, &[cut], 12);
        assert_eq!(got.len(), 2, "cut at {cut}");
        assert_eq!(got[1], Err(TooLarge), "cut at {cut}");
    }
    let mut decoder = Decoder::new(12);
    decoder.push(Bytes::from_static(b"data: 1234567"));
    assert_eq!(decoder.next_frame(), Some(Err(TooLarge)));
    decoder.push(Bytes::from_static(b"\n\ndata: a\n\n"));
    assert_eq!(decoder.next_frame(), None);
}

#[test]
fn a_frame_inside_one_chunk_is_not_copied() {
    let chunk = Bytes::from("data: a\n\nevent: e\ndata: b\n\n");
    for frame in frames(chunk.clone()).0 {
        let inside = |part: &Bytes| chunk.as_ptr_range().contains(&part.as_ptr());
        assert!(inside(&frame.raw) && inside(&frame.data));
    }
}

#[test]
fn every_cut_of_the_samples_gives_the_same_frames() {
    for sample in SAMPLES {
        let stream = Bytes::from(*sample);
        let whole = decode(&stream, &[], usize::MAX);
        let bytewise: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(decode(&stream, &bytewise, usize::MAX), whole, "{sample:?} byte by byte");
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                assert_eq!(decode(&stream, &[first, second], usize::MAX), whole, "{sample:?} at {first}, {second}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_cut_of_anything_gives_the_same_frames(
        parts in prop::collection::vec(prop::sample::select(vec![
            "data: x", "data:", "data", "event: e", "event:", "id: 1", ": c", "zzz", "{\"error\":{", "\u{feff}",
            "\n", "\n", "\n\n", "\r", "\r\r", "\r\n", "\r\n\r\n", " ", ":", "\u{e9}",
        ]), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        limit in prop_oneof![Just(usize::MAX), 1_usize..60],
    ) {
        let stream = Bytes::from(parts.concat());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let (whole, rest) = decode(&stream, &[], limit);
        let (cut, cut_rest) = decode(&stream, &cuts, limit);
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(cut_rest, rest);
    }
}

/// The event streams of the recorded exchanges; empty when the recordings are not there.
fn recorded() -> Vec<(PathBuf, Bytes)> {
    #[expect(clippy::disallowed_methods, reason = "where the recordings are is a matter of the machine")]
    let root = std::env::var("MAINSTAY_RECORDINGS").map_or_else(
        |_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/recordings")),
        PathBuf::from,
    );
    let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut streams = Vec::new();
    for path in files(root).flat_map(files).filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let exchange: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let Some(text) = exchange.pointer("/response/sse").and_then(serde_json::Value::as_str) {
            streams.push((path, Bytes::from(text.to_owned())));
        }
    }
    streams
}

/// Cuts of random length up to `longest`, the same for the same seed.
fn random_cuts(seed: &mut u64, length: usize, longest: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut at = 0;
    loop {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        at += usize::try_from(*seed >> 33).unwrap() % longest;
        if at > length {
            return cuts;
        }
        cuts.push(at);
    }
}

#[test]
fn every_cut_of_the_recorded_streams_gives_the_same_frames() {
    let streams = recorded();
    if streams.is_empty() {
        println!("SKIPPED: no recordings found; set MAINSTAY_RECORDINGS");
    }
    std::thread::scope(|threads| {
        for share in streams.chunks(streams.len().div_ceil(2).max(1)) {
            threads.spawn(move || {
                for (path, stream) in share {
                    every_cut(path, stream);
                }
            });
        }
    });
}

/// Every cut of the first 8 KiB, random cuts of the whole.
fn every_cut(path: &Path, stream: &Bytes) {
    let mut seed = 1;
    let whole = decode(stream, &[], usize::MAX);
    let kept: usize = whole.0.iter().flatten().map(|frame| frame.raw.len()).sum();
    assert!(kept + whole.1.len() <= stream.len(), "{}", path.display());
    for longest in [2, 40, 700, 9000] {
        let cuts = random_cuts(&mut seed, stream.len(), longest);
        assert_eq!(decode(stream, &cuts, usize::MAX), whole, "{} at {cuts:?}", path.display());
    }
    let near = stream.slice(..stream.len().min(8 << 10));
    let whole = decode(&near, &[], usize::MAX);
    for cut in 0..=near.len() {
        assert_eq!(decode(&near, &[cut], usize::MAX), whole, "{} at {cut}", path.display());
    }
}
