//! Server-sent events, as `https://html.spec.whatwg.org/multipage/server-sent-events.html` frames them and as
//! providers bend them: CR, LF and CRLF, a missing space after the colon, comments, a byte order mark.
//!
//! Sans-I/O and zero-copy: a frame's bytes are slices of what was pushed unless it spans chunks.

use bytes::Bytes;

/// One complete event, with the exact bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as received, the closing blank line included (and comments or blank lines before it left out).
    pub raw: Bytes,
    /// The `event:` field; empty when there is none.
    pub event: Bytes,
    /// The `data:` lines joined by LF.
    pub data: Bytes,
}

/// An event or a line longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
}

impl Decoder {
    /// A decoder that holds at most `limit` bytes of one unfinished event.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Takes the next chunk.
    pub fn push(&mut self, chunk: Bytes) {
        let _ = (chunk, self.limit);
    }

    /// The next complete frame; `None` = more bytes are needed. Comments and blank lines yield nothing.
    pub fn next_frame(&mut self) -> Option<Result<Frame, TooLarge>> {
        None
    }

    /// What follows the last complete frame (an event cut off, or Gemini's raw JSON error).
    pub fn residue(&self) -> Bytes {
        Bytes::new()
    }
}
