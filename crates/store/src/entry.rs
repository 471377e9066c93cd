//! A complete answer, as a caller was given it.

use bytes::Bytes;
use canon::{Instant, Usage};

/// What an answer's bytes look like, beyond the dialect. Answers of different forms are never given for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// One JSON object.
    Whole,
    /// A stream of events.
    Stream {
        /// With a usage report, where the dialect shows it on demand.
        usage: bool,
        /// As one JSON array (Gemini without `alt=sse`).
        json_array: bool,
    },
}

impl Form {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Stream { usage: false, json_array: false } => "stream",
            Self::Stream { usage: true, json_array: false } => "stream with usage",
            Self::Stream { usage: false, json_array: true } => "array",
            Self::Stream { usage: true, json_array: true } => "array with usage",
        }
    }
}

/// An answer that was complete, kept to be given again.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What its bytes look like.
    pub form: Form,
    /// Headers that belong to the answer rather than to the exchange it came from, in lower case.
    pub head: Vec<(String, String)>,
    /// Every byte of it, terminator included.
    pub body: Bytes,
    /// What it cost.
    pub usage: Usage,
    /// The target that served: `provider/model`.
    pub target: String,
    /// The model, as the provider named it.
    pub model: Option<String>,
    /// When it was complete.
    pub made: Instant,
}

/// What an entry occupies besides its texts: its own size, its places in the maps, the allocations' own heads.
const OVERHEAD: usize = 512;

impl Entry {
    /// What it occupies, in bytes.
    pub fn weight(&self) -> usize {
        let head: usize = self.head.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let model = self.model.as_ref().map_or(0, String::len);
        OVERHEAD + head + self.body.len() + self.target.len() + model
    }
}
