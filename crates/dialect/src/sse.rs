//! Server-sent events, as `https://html.spec.whatwg.org/multipage/server-sent-events.html` frames them and as
//! providers bend them: CR, LF and CRLF, a missing space after the colon, comments, a byte order mark.
//!
//! Sans-I/O and zero-copy: a frame's bytes are slices of what was pushed unless it spans chunks. The frames depend on
//! the bytes alone, never on where they were cut into chunks. Two rules make that hold where the line ends are CR:
//! a CR that ends a chunk is undecided until the next byte (it may be half of a CRLF), and where the line before ended
//! with a lone CR, the CR of the blank line is one too, so that a stream with CR line ends is not one event late.
//!
//! Blocks without `data` and without `event` are not events. One that holds something other than `id`, `retry` and
//! comments stays in [`Decoder::residue`] until an event follows: providers write raw JSON errors and HTML pages there.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use std::collections::VecDeque;
use std::ops::Range;

/// UTF-8 byte order mark, allowed once at the start of a stream.
const BOM: &[u8] = b"\xEF\xBB\xBF";

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
    /// Start of the unfinished event, from earlier chunks; all of it was looked at.
    head: BytesMut,
    /// The chunk being read, from the start of the unfinished event, or from where `head` ends.
    chunk: Bytes,
    /// Chunks pushed before the one in hand was used up.
    waiting: VecDeque<Bytes>,
    /// Where the unfinished line begins, counted from the start of the event.
    line_start: usize,
    block: Block,
    first_line: bool,
    failed: bool,
}

/// What is known of the unfinished event. Positions count from its first byte.
#[derive(Debug, Default)]
struct Block {
    /// Where the event's own lines begin: after a byte order mark and blocks that were no events.
    start: usize,
    data: Option<Range<usize>>,
    more_data: Vec<Range<usize>>,
    event: Range<usize>,
    /// Comment lines between its lines.
    comments: Vec<Range<usize>>,
    has_lines: bool,
    /// A line that is no field of the standard.
    has_stray: bool,
    ends_lines_with_cr: bool,
}

/// What a line means for its event.
enum Step {
    /// The event goes on.
    More,
    /// Nothing worth keeping so far: the event begins after this line.
    Restart,
    /// It was the blank line that ends the event.
    Complete,
}

/// How a line ends.
#[derive(Clone, Copy)]
enum LineEnd {
    Lf,
    CrLf,
    Cr,
}

impl LineEnd {
    fn length(self) -> usize {
        match self {
            Self::Lf | Self::Cr => 1,
            Self::CrLf => 2,
        }
    }
}

impl Decoder {
    /// A decoder that holds at most `limit` bytes of one event.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            head: BytesMut::new(),
            chunk: Bytes::new(),
            waiting: VecDeque::new(),
            line_start: 0,
            block: Block::default(),
            first_line: true,
            failed: false,
        }
    }

    /// Takes the next chunk.
    pub fn push(&mut self, chunk: Bytes) {
        if self.failed || chunk.is_empty() {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.waiting.push_back(chunk);
        }
    }

    /// The next complete frame; `None` = more bytes are needed. Comments and blank lines yield nothing. After
    /// [`TooLarge`] the decoder yields nothing more.
    pub fn next_frame(&mut self) -> Option<Result<Frame, TooLarge>> {
        loop {
            if self.chunk.is_empty() {
                self.chunk = self.waiting.pop_front()?;
            }
            let step = if self.head.is_empty() { self.line_in_chunk() } else { self.line_across_chunks() };
            let Some((step, length)) = step else {
                self.head.extend_from_slice(&self.chunk);
                self.chunk.clear();
                if self.head.len() > self.limit {
                    return Some(Err(self.fail()));
                }
                continue;
            };
            if length > self.limit {
                return Some(Err(self.fail()));
            }
            match step {
                Step::More => self.line_start = length,
                Step::Restart => drop(self.take(length)),
                Step::Complete => {
                    let (bytes, block) = self.take(length);
                    return Some(Ok(block.frame(&bytes)));
                }
            }
        }
    }

    /// Bytes held of events that are not complete yet.
    pub fn buffered(&self) -> usize {
        self.head.len() + self.chunk.len() + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }

    /// What follows the last complete frame (an event cut off, or Gemini's raw JSON error), once [`Self::next_frame`]
    /// has returned `None`.
    pub fn residue(&self) -> Bytes {
        let mut rest = if self.head.is_empty() && self.waiting.is_empty() {
            self.chunk.clone()
        } else {
            let mut all = self.head.clone();
            all.extend_from_slice(&self.chunk);
            self.waiting.iter().for_each(|chunk| all.extend_from_slice(chunk));
            all.freeze()
        };
        if rest.starts_with(BOM) {
            rest.advance(BOM.len());
        }
        rest
    }

    /// The next line of an event that lies in the chunk from its first byte, and the event's length up to there.
    fn line_in_chunk(&mut self) -> Option<(Step, usize)> {
        let rest = self.chunk.get(self.line_start..)?;
        let (length, end) = self.block.line_end(rest, true)?;
        let after = self.line_start + length + end.length();
        let first = std::mem::take(&mut self.first_line);
        Some((self.block.take_line(rest.get(..length)?, self.line_start..after, end, first), after))
    }

    /// The next line of an event whose start is in `head`; the line is moved there.
    fn line_across_chunks(&mut self) -> Option<(Step, usize)> {
        let begun = self.head.get(self.line_start..)?;
        let (taken, end) = match (begun.last(), self.chunk.first()) {
            (Some(b'\r'), Some(b'\n')) => (1, LineEnd::CrLf),
            (Some(b'\r'), _) => (0, LineEnd::Cr),
            _ => {
                let (length, end) = self.block.line_end(&self.chunk, begun.is_empty())?;
                (length + end.length(), end)
            }
        };
        self.head.extend_from_slice(self.chunk.get(..taken)?);
        self.chunk.advance(taken);
        let after = self.head.len();
        let line = self.head.get(self.line_start..after - end.length())?;
        let first = std::mem::take(&mut self.first_line);
        Some((self.block.take_line(line, self.line_start..after, end, first), after))
    }

    /// Removes the event of `length` bytes, and begins the next one.
    fn take(&mut self, length: usize) -> (Bytes, Block) {
        let bytes = if self.head.is_empty() { self.chunk.split_to(length) } else { self.head.split().freeze() };
        self.line_start = 0;
        (bytes, std::mem::take(&mut self.block))
    }

    fn fail(&mut self) -> TooLarge {
        *self = Self { failed: true, ..Self::new(self.limit) };
        TooLarge
    }
}

impl Block {
    /// Finds where a line ends. `whole` = `rest` begins where the line does.
    fn line_end(&self, rest: &[u8], whole: bool) -> Option<(usize, LineEnd)> {
        let at = memchr2(b'\n', b'\r', rest)?;
        if rest.get(at) == Some(&b'\n') {
            return Some((at, LineEnd::Lf));
        }
        if at == 0 && whole && self.ends_lines_with_cr {
            return Some((at, LineEnd::Cr));
        }
        match rest.get(at + 1)? {
            b'\n' => Some((at, LineEnd::CrLf)),
            _ => Some((at, LineEnd::Cr)),
        }
    }

    /// Reads a line that lies at `place`, its end included.
    fn take_line(&mut self, mut line: &[u8], mut place: Range<usize>, end: LineEnd, first: bool) -> Step {
        if first && let Some(rest) = line.strip_prefix(BOM) {
            line = rest;
            place.start += BOM.len();
            self.start = place.start;
        }
        let comment = line.first() == Some(&b':');
        if line.is_empty() && (self.data.is_some() || !self.event.is_empty()) {
            return Step::Complete;
        }
        if line.is_empty() || (comment && !self.has_lines) {
            return self.restart(place.end);
        }
        if comment {
            self.comments.push(place);
        } else {
            self.has_lines = true;
            self.take_field(line, place.start);
        }
        self.ends_lines_with_cr = matches!(end, LineEnd::Cr);
        Step::More
    }

    /// Begins anew after a block that is no event.
    fn restart(&mut self, end: usize) -> Step {
        if self.start == 0 && !self.has_stray {
            return Step::Restart;
        }
        *self = Self { start: end, ..Self::default() };
        Step::More
    }

    fn take_field(&mut self, line: &[u8], start: usize) {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let space = usize::from(value.first() == Some(&b' '));
        let end = start + line.len();
        let value = (start + colon + 1 + space).min(end)..end;
        match line.get(..colon).unwrap_or_default() {
            b"data" if self.data.is_none() => self.data = Some(value),
            b"data" => self.more_data.push(value),
            b"event" => self.event = value,
            b"id" | b"retry" => {}
            _ => self.has_stray = true,
        }
    }

    /// Cuts the frame out of the event's bytes.
    fn frame(self, bytes: &Bytes) -> Frame {
        let mut data = self.data.map_or_else(Bytes::new, |range| bytes.slice(range));
        if !self.more_data.is_empty() {
            let mut joined = BytesMut::from(data);
            for range in self.more_data {
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(bytes.get(range).unwrap_or_default());
            }
            data = joined.freeze();
        }
        let raw = if self.comments.is_empty() {
            bytes.slice(self.start..)
        } else {
            let mut kept = BytesMut::with_capacity(bytes.len());
            let mut from = self.start;
            for comment in self.comments {
                kept.extend_from_slice(bytes.get(from..comment.start).unwrap_or_default());
                from = comment.end;
            }
            kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
            kept.freeze()
        };
        Frame { raw, event: bytes.slice(self.event), data }
    }
}

/// Cuts a whole stream: its frames, and what follows the last one.
pub fn frames(stream: Bytes) -> (Vec<Frame>, Bytes) {
    let mut decoder = Decoder::new(usize::MAX);
    decoder.push(stream);
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = decoder.next_frame() {
        frames.push(frame);
    }
    (frames, decoder.residue())
}
