//! Decoding of answers that come compressed although `identity` was asked for.
//!
//! Pull-based: a frame of at most 16 KiB is decoded when the caller asks for one, so a small answer that would unfold
//! to gigabytes costs nothing until somebody reads it. A coded stream that ends early is a broken stream.

mod zstd;

use crate::AnswerBody;
use crate::fault::stream_broken;
use bytes::{Buf, Bytes};
use canon::{Fault, FaultClass, Origin};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::{Body, Frame};
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

const OUTPUT: usize = 16 * 1024;
const BROTLI_INPUT: usize = 4 * 1024;

/// The body as the provider meant it; the headers then no longer tell of the coding.
pub(crate) fn decoded(headers: &mut HeaderMap, body: AnswerBody) -> AnswerBody {
    if !headers.contains_key(CONTENT_ENCODING) {
        return body;
    }
    let codings: Vec<String> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    headers.remove(CONTENT_ENCODING);
    let decoder = match codings.as_slice() {
        [] => return body,
        [one] => match one.as_str() {
            "gzip" | "x-gzip" => Some(Decoder::Gzip(Box::new(MultiGzDecoder::new(Input::default())))),
            "deflate" => Some(Decoder::DeflateUnknown(Input::default())),
            "br" => Some(Decoder::Brotli(Box::new(brotli::Decompressor::new(Input::default(), BROTLI_INPUT)))),
            "zstd" => Some(Decoder::Zstd(Box::default())),
            _ => None,
        },
        _ => None,
    };
    headers.remove(CONTENT_LENGTH);
    match decoder {
        Some(decoder) => Box::pin(Decoded { body, decoder, received: 0, is_over: false }),
        None => Box::pin(Unknown(Some(codings.join(", ")))),
    }
}

/// Coded bytes on their way into a decoder. Out of bytes is "would block" until the body has ended.
#[derive(Default)]
struct Input {
    chunk: Bytes,
    is_ended: bool,
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), available.get(..n)) {
            to.copy_from_slice(from);
        }
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.is_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, n: usize) {
        self.chunk.advance(n.min(self.chunk.len()));
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Input>>),
    /// Some servers send the bare format under the name of the wrapped one: the first bytes tell.
    DeflateUnknown(Input),
    Zlib(ZlibDecoder<Input>),
    Deflate(DeflateDecoder<Input>),
    Brotli(Box<brotli::Decompressor<Input>>),
    Zstd(Box<zstd::Zstd>),
}

impl Decoder {
    fn input(&mut self) -> &mut Input {
        match self {
            Self::Gzip(d) => d.get_mut(),
            Self::DeflateUnknown(input) => input,
            Self::Zlib(d) => d.get_mut(),
            Self::Deflate(d) => d.get_mut(),
            Self::Brotli(d) => d.get_mut(),
            Self::Zstd(d) => d.input(),
        }
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Self::DeflateUnknown(input) = self {
            let is_zlib = match input.fill_buf()? {
                [first, second, ..] => {
                    first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31)
                }
                [first] => first & 0x0f == 8,
                [] => false,
            };
            let input = std::mem::take(input);
            *self =
                if is_zlib { Self::Zlib(ZlibDecoder::new(input)) } else { Self::Deflate(DeflateDecoder::new(input)) };
        }
        match self {
            Self::DeflateUnknown(_) => Ok(0),
            Self::Gzip(d) => d.read(out),
            Self::Zlib(d) => d.read(out),
            Self::Deflate(d) => d.read(out),
            Self::Brotli(d) => d.read(out),
            Self::Zstd(d) => d.read(out),
        }
    }
}

struct Decoded {
    body: AnswerBody,
    decoder: Decoder,
    received: u64,
    is_over: bool,
}

impl Decoded {
    /// The next coded bytes. An answer without a body is not a cut one, whatever its headers say.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fault>> {
        match ready!(self.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.received += data.len() as u64;
                    self.decoder.input().chunk = data;
                }
                Poll::Ready(None)
            }
            Some(Err(fault)) => Poll::Ready(Some(fault)),
            None => {
                self.is_over = self.received == 0;
                self.decoder.input().is_ended = true;
                Poll::Ready(None)
            }
        }
    }

    /// What follows the coded stream is read and thrown away, so that the connection can be used again.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.body.as_mut().poll_frame(cx)) {}
        Poll::Ready(())
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            let mut out = vec![0; OUTPUT];
            match this.decoder.read(&mut out) {
                Ok(0) => {
                    ready!(this.poll_rest(cx));
                    this.is_over = true;
                }
                Ok(n) => {
                    out.truncate(n);
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(fault) = ready!(this.poll_input(cx)) {
                        this.is_over = true;
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(stream_broken(format!("decompressing the answer: {error}")))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

/// A coding nobody asked for and nobody here reads.
struct Unknown(Option<String>);

impl Body for Unknown {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Ready(self.0.take().map(|codings| {
            Err(Fault {
                may_be_billed: true,
                ..Fault::new(
                    FaultClass::BadAnswer,
                    Origin::Body,
                    format!("the answer is coded as `{codings}`, which was not asked for"),
                )
            })
        }))
    }
}

#[cfg(test)]
mod tests;
