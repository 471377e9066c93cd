//! Zstandard (RFC 8878), block by block.
//!
//! The decoder keeps back the last window of what it decoded until the frame ends, so a coded stream of small events
//! comes late; it is still right. Nobody was asked to send one.

use super::Input;
use bytes::{Buf, BytesMut};
use ruzstd::decoding::FrameDecoder;
use std::io::{self, BufRead, Read};

/// The largest window a decoder should support (RFC 8878 §3.1.1.1.2).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// Magic number, descriptor, window, dictionary, content size.
const MAX_FRAME_HEADER: usize = 18;
const BLOCK_HEADER: usize = 3;
const CHECKSUM: usize = 4;
/// No block is larger, coded or decoded (RFC 8878 §3.1.1.2.4).
const MAX_BLOCK: usize = 128 * 1024;

pub(super) struct Zstd {
    input: Input,
    buffer: BytesMut,
    decoder: FrameDecoder,
    is_in_frame: bool,
    has_checksum: bool,
}

impl Default for Zstd {
    fn default() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { input: Input::default(), buffer: BytesMut::new(), decoder, is_in_frame: false, has_checksum: false }
    }
}

impl Zstd {
    pub(super) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_in_frame {
                let n = self.decoder.read(out)?;
                if n > 0 {
                    return Ok(n);
                }
                if self.decoder.is_finished() {
                    self.is_in_frame = false;
                    continue;
                }
                let n = self.read_block(out)?;
                if n > 0 {
                    return Ok(n);
                }
            } else if !self.begin_frame()? {
                return Ok(0);
            }
        }
    }

    /// `false` at the end of the body.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while self.buffer.len() < MAX_FRAME_HEADER && self.fill()? {}
        if self.buffer.is_empty() {
            return Ok(false);
        }
        // Bit 2 of the descriptor, which follows the magic number.
        self.has_checksum = self.buffer.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
        let mut header: &[u8] = &self.buffer;
        self.decoder.reset(&mut header).map_err(io::Error::other)?;
        let used = self.buffer.len() - header.len();
        self.buffer.advance(used);
        self.is_in_frame = true;
        Ok(true)
    }

    /// Decodes exactly one block, so that no more than a block (128 KiB) is decoded ahead of the window.
    fn read_block(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let need = loop {
            match self.buffer.as_ref() {
                [a, b, c, ..] => {
                    let header = u32::from_le_bytes([*a, *b, *c, 0]);
                    let size = usize::try_from(header >> 3).map_err(io::Error::other)?;
                    if size > MAX_BLOCK {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "oversize zstd block"));
                    }
                    let is_run = (header >> 1) & 3 == 1;
                    let is_last = header & 1 == 1;
                    break BLOCK_HEADER
                        + if is_run { 1 } else { size }
                        + if is_last && self.has_checksum { CHECKSUM } else { 0 };
                }
                _ => self.fill_or_cut()?,
            }
        };
        while self.buffer.len() < need {
            self.fill_or_cut()?;
        }
        let block = self.buffer.get(..need).unwrap_or_default();
        let (used, written) = self.decoder.decode_from_to(block, out).map_err(io::Error::other)?;
        self.buffer.advance(used.min(need));
        Ok(written)
    }

    /// Moves a chunk from the input to the buffer; `false` when there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        let chunk = self.input.fill_buf()?;
        let n = chunk.len();
        self.buffer.extend_from_slice(chunk);
        self.input.consume(n);
        Ok(n > 0)
    }

    fn fill_or_cut(&mut self) -> io::Result<()> {
        if self.fill()? { Ok(()) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete zstd frame")) }
    }
}
