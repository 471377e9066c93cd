//! What an answer under way has brought so far, for several readers at their own pace.
//!
//! Whoever is furthest pulls the next piece from the provider and pushes it here; the others find it here. So nobody
//! waits for a slower one. What that costs is bounded: the tape is kept from its beginning (late readers may join, the
//! whole can be kept as an answer) while that fits its limit and the common budget. Past it, only what somebody has
//! still to read is kept, and past the limit again those furthest behind lose their place and are told so.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A share of the common byte budget.
pub trait Room: Send {
    /// Takes bytes; `false` = there are none.
    fn take(&mut self, bytes: usize) -> bool;
    /// Gives bytes back. What is left at the end is given back by drop.
    fn give(&mut self, bytes: usize);
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With everything that belongs to it.
    Complete,
    /// Otherwise; the error event is its last piece.
    Broken,
}

/// One reader's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderId(usize);

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next piece: whole events.
    Piece(Bytes),
    /// It has everything there is; somebody has to pull the next piece.
    AtHead,
    /// It has everything, and nothing follows.
    Ended(End),
    /// It was so slow that what it needs next is gone.
    Lost,
}

/// The pieces of one answer.
pub struct Tape<R> {
    pieces: VecDeque<Piece>,
    /// Number of the first piece that is kept.
    first: u64,
    kept: usize,
    limit: usize,
    from_start: bool,
    ended: Option<End>,
    /// Number of the piece each reader needs next.
    readers: Vec<Option<u64>>,
    room: R,
}

struct Piece {
    bytes: Bytes,
    /// Taken from the room. The newest piece is kept even where there is none: its reader is at hand.
    paid: bool,
}

impl<R: Room> Tape<R> {
    /// An empty tape that keeps at most `limit` bytes.
    pub fn new(limit: usize, room: R) -> Self {
        Self {
            pieces: VecDeque::new(),
            first: 0,
            kept: 0,
            limit,
            from_start: true,
            ended: None,
            readers: Vec::new(),
            room,
        }
    }

    /// A new reader, from the beginning; `None` when the beginning is gone.
    pub fn open(&mut self) -> Option<ReaderId> {
        if !self.from_start {
            return None;
        }
        let free = self.readers.iter().position(Option::is_none);
        let index = free.unwrap_or(self.readers.len());
        match self.readers.get_mut(index) {
            Some(place) => *place = Some(0),
            None => self.readers.push(Some(0)),
        }
        Some(ReaderId(index))
    }

    /// A reader leaves.
    pub fn close(&mut self, reader: ReaderId) {
        if let Some(place) = self.readers.get_mut(reader.0) {
            *place = None;
        }
        self.forget_what_nobody_needs();
    }

    /// Readers at the moment.
    pub fn readers(&self) -> usize {
        self.readers.iter().flatten().count()
    }

    /// Whether everything since the beginning is kept.
    pub fn is_from_start(&self) -> bool {
        self.from_start
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// What the provider brought next.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.ended.is_some() {
            return;
        }
        let len = bytes.len();
        // What there was no room for stood alone, for the reader at hand.
        if self.pieces.front().is_some_and(|piece| !piece.paid) {
            self.drop_first();
        }
        let mut paid = self.pay(len);
        if !paid {
            self.from_start = false;
            self.forget_what_nobody_needs();
            paid = self.pay(len);
        }
        while !paid && !self.pieces.is_empty() {
            self.drop_first();
            paid = self.pay(len);
        }
        self.kept += len;
        self.pieces.push_back(Piece { bytes, paid });
    }

    /// Nothing follows.
    pub fn end(&mut self, end: End) {
        self.ended.get_or_insert(end);
    }

    /// What this reader finds next, and moves it on.
    pub fn read(&mut self, reader: ReaderId) -> Read {
        let Some(place) = self.readers.get_mut(reader.0).and_then(Option::as_mut) else { return Read::Lost };
        let Some(index) = place.checked_sub(self.first) else { return Read::Lost };
        let piece = usize::try_from(index).ok().and_then(|index| self.pieces.get(index));
        match (piece, self.ended) {
            (Some(piece), _) => {
                let bytes = piece.bytes.clone();
                *place += 1;
                self.forget_what_nobody_needs();
                Read::Piece(bytes)
            }
            (None, Some(end)) => Read::Ended(end),
            (None, None) => Read::AtHead,
        }
    }

    /// Whether this reader has everything, and nothing follows.
    pub fn has_read_all(&self, reader: ReaderId) -> bool {
        let place = self.readers.get(reader.0).copied().flatten();
        self.ended.is_some() && place.is_none_or(|place| place == self.first + self.pieces.len() as u64)
    }

    /// The whole answer, if it was complete and everything is kept.
    pub fn whole(&self) -> Option<Bytes> {
        if !self.from_start || self.ended != Some(End::Complete) {
            return None;
        }
        let mut whole = BytesMut::with_capacity(self.kept);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(&piece.bytes));
        Some(whole.freeze())
    }

    fn pay(&mut self, len: usize) -> bool {
        self.kept.saturating_add(len) <= self.limit && self.room.take(len)
    }

    fn forget_what_nobody_needs(&mut self) {
        if self.from_start {
            return;
        }
        let needed = self.readers.iter().flatten().copied().min().unwrap_or(u64::MAX);
        while self.first < needed && !self.pieces.is_empty() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(piece) = self.pieces.pop_front() {
            self.first += 1;
            self.kept -= piece.bytes.len();
            if piece.paid {
                self.room.give(piece.bytes.len());
            }
        }
    }
}

#[cfg(test)]
#[path = "tape_tests.rs"]
mod tests;
