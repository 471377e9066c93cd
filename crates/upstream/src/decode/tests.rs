//! Every coding, in any chunks, whole and cut.

use super::*;
use http::HeaderValue;
use http_body_util::BodyExt;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::Write;
use std::task::Waker;

/// A body of given frames; `Pending` once before each, as over a socket.
struct Frames {
    frames: VecDeque<Bytes>,
    is_waiting: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.is_waiting = !self.is_waiting;
        if self.is_waiting {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.pop_front().map(|data| Ok(Frame::data(data))))
    }
}

fn answer(coding: &str, coded: &[u8], chunk: usize) -> (HeaderMap, AnswerBody) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(coded.len()));
    let frames = coded.chunks(chunk.max(1)).map(Bytes::copy_from_slice).collect();
    let body = decoded(&mut headers, Box::pin(Frames { frames, is_waiting: false }));
    (headers, body)
}

fn read(body: AnswerBody) -> Result<Vec<u8>, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Ok(runtime.block_on(body.collect())?.to_bytes().to_vec())
}

const CODINGS: [&str; 6] = ["gzip", "X-Gzip", "deflate", "bare deflate", "br", "zstd"];

fn coded(coding: &str, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "bare deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 3, 22);
            encoder.write_all(plain).unwrap();
            drop(encoder);
            out
        }
        "zstd" => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn name(coding: &str) -> &str {
    coding.strip_prefix("bare ").unwrap_or(coding)
}

proptest! {
    #[test]
    fn any_chunking_of_any_coding_gives_the_same_bytes(
        plain in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..3000),
        chunk in 1usize..200,
    ) {
        for coding in CODINGS {
            let (_, body) = answer(name(coding), &coded(coding, &plain), chunk);
            prop_assert_eq!(read(body).unwrap(), plain.clone(), "{}", coding);
        }
    }

    #[test]
    fn a_coded_stream_that_is_cut_is_a_broken_stream(
        plain in proptest::collection::vec(any::<u8>(), 1..2000),
        at in 0.0f64..1.0,
    ) {
        for coding in CODINGS {
            let whole = coded(coding, &plain);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place inside the bytes")]
            let cut = ((whole.len() as f64 * at) as usize).max(1);
            let (_, body) = answer(name(coding), &whole[..cut], 64);
            let fault = read(body).unwrap_err();
            prop_assert_eq!(fault.class, FaultClass::StreamBroken, "{} cut to {} of {}", coding, cut, whole.len());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500), chunk in 1usize..64) {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let (_, body) = answer(coding, &bytes, chunk);
            let _ = read(body);
        }
    }
}

#[test]
fn a_body_of_many_blocks_comes_through_whole() {
    let plain: Vec<u8> = (0..150_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    for coding in CODINGS {
        let (_, body) = answer(name(coding), &coded(coding, &plain), 10_000);
        assert!(read(body).unwrap() == plain, "{coding}");
    }
}

#[test]
fn several_gzip_members_are_one_body() {
    let both = [coded("gzip", b"one"), coded("gzip", b"two")].concat();
    let (_, body) = answer("gzip", &both, 7);
    assert_eq!(read(body).unwrap(), b"onetwo");
}

#[test]
fn a_flushed_event_is_delivered_before_the_stream_ends() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"data: 1\n\n").unwrap();
    gzip.flush().unwrap();
    let gzip = gzip.get_ref().clone();
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 22);
    encoder.write_all(b"data: 1\n\n").unwrap();
    encoder.flush().unwrap();
    let brotli = encoder.get_ref().clone();
    for (coding, start) in [("gzip", gzip), ("br", brotli)] {
        let (_, mut body) = answer(coding, &start, 1 << 20);
        let mut cx = Context::from_waker(Waker::noop());
        let mut polled = body.as_mut().poll_frame(&mut cx);
        if polled.is_pending() {
            polled = body.as_mut().poll_frame(&mut cx);
        }
        let Poll::Ready(Some(Ok(frame))) = polled else { panic!("{coding}: nothing yet") };
        assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
    }
}

#[test]
fn what_unfolds_enormously_is_decoded_a_frame_at_a_time() {
    let plain = vec![0; 4 << 20];
    for coding in CODINGS {
        let coded = coded(coding, &plain);
        let (_, mut body) = answer(name(coding), &coded, 1 << 30);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..4 {
            let frame = runtime.block_on(body.frame()).unwrap().unwrap();
            assert!(frame.into_data().unwrap().len() <= OUTPUT);
        }
    }
}

#[test]
fn the_headers_no_longer_tell_of_a_coding_that_was_undone() {
    let (headers, body) = answer("gzip", &coded("gzip", b"x"), 10);
    assert!(headers.is_empty());
    assert_eq!(read(body).unwrap(), b"x");
    let (headers, body) = answer("identity", b"plain", 10);
    assert_eq!(headers.get(CONTENT_LENGTH).unwrap(), "5");
    assert_eq!(read(body).unwrap(), b"plain");
}

#[test]
fn an_empty_body_under_a_coding_is_empty_not_cut() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let (_, body) = answer(coding, b"", 1);
        assert_eq!(read(body).unwrap(), b"");
    }
}

#[test]
fn a_coding_nobody_asked_for_and_nobody_reads_is_a_bad_answer() {
    for coding in ["compress", "gzip, br"] {
        let (_, body) = answer(coding, b"???", 1);
        let fault = read(body).unwrap_err();
        assert_eq!(fault.class, FaultClass::BadAnswer);
        assert!(fault.message.contains(coding));
    }
}
