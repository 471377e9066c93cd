//! What happened in a run, for the figures and the table.

use crate::talk::Talk;
use canon::{FaultClass, Instant};
use catalog::Usd;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole answer.
    Answered,
    /// With an error before any content.
    Refused,
    /// With the honest end of a broken stream.
    Broken,
}

/// A user's request, its SDK's own retries included.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) arrived: Instant,
    /// Index of its load.
    pub(crate) load: usize,
    /// Where its first attempt went.
    pub(crate) first_site: Option<usize>,
    /// When the first content came, or the whole answer where it was not streamed.
    pub(crate) content: Option<Instant>,
    /// Who served the first content, and when that attempt was started.
    pub(crate) served: Option<(usize, Instant)>,
    pub(crate) ended: Option<(Instant, Outcome)>,
}

impl Request {
    /// A request that has just arrived.
    pub(crate) fn arrived(at: Instant, load: usize) -> Self {
        Self { arrived: at, load, first_site: None, content: None, served: None, ended: None }
    }
}

/// An upstream call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    /// Index of its request's load.
    pub(crate) load: usize,
    pub(crate) site: usize,
    pub(crate) kind: CallKind,
    /// Before the hint that its gateway had heard for its credential.
    pub(crate) is_early: bool,
    pub(crate) fault: Option<FaultClass>,
    /// What its provider bills for it; `None` where a price is unknown, or before its end.
    pub(crate) billed: Option<Usd>,
}

/// Why a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// In its turn.
    Try,
    /// Beside another one.
    Hedge,
    /// To go on with an answer that broke.
    Rescue,
}

/// What state a breaker is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Ramping,
    HalfOpen,
    Open,
    Off,
}

/// A breaker's change of state, as far as traffic saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) at: Instant,
    pub(crate) replica: usize,
    pub(crate) site: usize,
    pub(crate) state: State,
    /// The end of a rest.
    pub(crate) until: Option<Instant>,
}

/// Where the targets of the first gateway stood at the end of a row.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// By site.
    pub(crate) standing: Vec<String>,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) requests: Vec<Request>,
    pub(crate) calls: Vec<Call>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) talks: Vec<Talk>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) hash: TraceHash,
}

/// FNV-1a over every start, verdict and end with its time: equal for equal runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceHash(pub(crate) u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// Something happened at this time.
    pub(crate) fn add_at(&mut self, at: Instant, numbers: &[u64]) {
        self.add_bytes(&at.since_origin().as_nanos().to_le_bytes());
        for number in numbers {
            self.add_bytes(&number.to_le_bytes());
        }
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
