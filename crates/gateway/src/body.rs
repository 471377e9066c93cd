//! Reading a caller's body: once, under one limit, within the global byte budget, decompressed if need be.
//!
//! The body becomes shared [`Bytes`] that every attempt uses. There is no second limit anywhere, so failover works for
//! a 5 MiB prompt as for a small one.

use crate::memory::{ByteBudget, Held};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use std::io::Read;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// A body read whole, and its share of the byte budget.
#[derive(Debug)]
pub(crate) struct Buffered {
    /// The bytes, decompressed.
    pub bytes: Bytes,
    /// Given back when the exchange ends.
    pub held: Held,
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than the limit: 413.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The byte budget is spent: 503 with `retry-after`.
    NoMemory,
    /// The caller sent nothing for too long: 408.
    Slow,
    /// The caller hung up or broke HTTP; nobody is there to read an answer.
    Gone,
    /// A `content-encoding` the gateway does not read: 415.
    Encoding(String),
    /// The compressed data is broken: 400.
    Corrupt,
}

/// How bodies are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    /// Most bytes, after decompression.
    pub bytes: usize,
    /// Longest silence between two pieces.
    pub idle: Duration,
}

/// Reads `body` to its end.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    budget: &ByteBudget,
    limits: ReadLimits,
) -> Result<Buffered, BodyError>
where
    B: Body<Data = Bytes>,
{
    let declared = declared_length(headers);
    if declared.is_some_and(|n| n > limits.bytes as u64) {
        return Err(BodyError::TooLarge { limit: limits.bytes });
    }
    let encoding = Encoding::of(headers)?;
    let expected = declared.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut held = budget.take(expected).ok_or(BodyError::NoMemory)?;
    let bytes = collect(body, expected, &mut held, limits).await?;
    let bytes = match encoding {
        Encoding::Identity => bytes,
        compressed => inflate(compressed, &bytes, &mut held, limits.bytes)?,
    };
    Ok(Buffered { bytes, held })
}

/// The length a request declares.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes of a body that are copied although they came in one piece: that piece is a part of the connection's read
/// buffer, which could not be used again as long as the exchange has it, and a stream may have it for minutes.
const OWNED: usize = 16 << 10;

async fn collect<B>(body: B, expected: usize, held: &mut Held, limits: ReadLimits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let mut received = 0usize;
    loop {
        let frame = match tokio::time::timeout(limits.idle, NextFrame(body.as_mut())).await {
            Err(_) => return Err(BodyError::Slow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Gone),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        received = received.saturating_add(data.len());
        if received > limits.bytes {
            return Err(BodyError::TooLarge { limit: limits.bytes });
        }
        if received > expected && !held.grow(data.len().min(received - expected)) {
            return Err(BodyError::NoMemory);
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(earlier) => {
                whole.reserve(expected.max(earlier.len() + data.len()));
                whole.extend_from_slice(&earlier);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(match first {
        Some(only) if only.len() <= OWNED => Bytes::copy_from_slice(&only),
        Some(only) => only,
        None => whole.freeze(),
    })
}

/// The next frame of a body.
pub(crate) struct NextFrame<'a, B: ?Sized>(pub(crate) Pin<&'a mut B>);

impl<B: Body + ?Sized> Future for NextFrame<'_, B> {
    type Output = Option<Result<http_body::Frame<B::Data>, B::Error>>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll_frame(cx)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let Some(value) = headers.get(http::header::CONTENT_ENCODING) else { return Ok(Self::Identity) };
        let value = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match value.as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "br" => Ok(Self::Brotli),
            "zstd" => Ok(Self::Zstd),
            _ => Err(BodyError::Encoding(value)),
        }
    }
}

/// Decompresses piece by piece, so that a small bomb is stopped at the limit and never held whole.
fn inflate(encoding: Encoding, compressed: &[u8], held: &mut Held, limit: usize) -> Result<Bytes, BodyError> {
    match encoding {
        Encoding::Identity => Ok(Bytes::copy_from_slice(compressed)),
        Encoding::Gzip => pump(flate2::read::MultiGzDecoder::new(compressed), held, limit),
        Encoding::Deflate => pump(flate2::read::ZlibDecoder::new(compressed), held, limit),
        Encoding::Brotli => pump(brotli::Decompressor::new(compressed, 16 * 1024), held, limit),
        Encoding::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(compressed).map_err(|_| BodyError::Corrupt)?;
            pump(decoder, held, limit)
        }
    }
}

fn pump(mut reader: impl Read, held: &mut Held, limit: usize) -> Result<Bytes, BodyError> {
    let mut out = BytesMut::new();
    let mut piece = vec![0u8; 64 * 1024];
    loop {
        let n = reader.read(&mut piece).map_err(|_| BodyError::Corrupt)?;
        if n == 0 {
            return Ok(out.freeze());
        }
        if out.len().saturating_add(n) > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if !held.grow(n) {
            return Err(BodyError::NoMemory);
        }
        out.extend_from_slice(piece.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::io::Write;

    const LIMITS: ReadLimits = ReadLimits { bytes: 1000, idle: Duration::from_secs(1) };

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory").into()
    }

    async fn read_as(encoding: &'static str, body: Bytes) -> Result<Buffered, BodyError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static(encoding));
        read(&headers, Full::new(body), &ByteBudget::new(1 << 20), LIMITS).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_compressed_body_is_read_as_its_content() {
        let read = read_as("gzip", gzip(b"{\"model\":\"m\"}")).await.expect("readable");
        assert_eq!(read.bytes, "{\"model\":\"m\"}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_counts_after_decompression() {
        let error = read_as("gzip", gzip(&[b' '; 5000])).await.expect_err("too large");
        assert_eq!(error, BodyError::TooLarge { limit: 1000 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_declared_length_over_the_limit_is_refused_before_anything_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("1001"));
        let error = read(&headers, Full::new(Bytes::new()), &ByteBudget::new(1 << 20), LIMITS).await;
        assert_eq!(error.expect_err("too large"), BodyError::TooLarge { limit: 1000 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_byte_budget_is_given_back_when_the_body_is_dropped() {
        let budget = ByteBudget::new(100);
        let body = Full::new(Bytes::from(vec![b'x'; 80]));
        let read_once = read(&HeaderMap::new(), body, &budget, LIMITS).await.expect("fits");
        assert_eq!(budget.held(), 80);
        let body = Full::new(Bytes::from(vec![b'x'; 80]));
        assert_eq!(read(&HeaderMap::new(), body, &budget, LIMITS).await.expect_err("full"), BodyError::NoMemory);
        drop(read_once);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_encoding_is_named() {
        assert_eq!(
            read_as("lzma", Bytes::from_static(b"x")).await.expect_err("unknown"),
            BodyError::Encoding("lzma".to_owned())
        );
    }
}
