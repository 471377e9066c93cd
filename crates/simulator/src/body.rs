//! The body of a simulated answer.

use crate::journal::Record;
use crate::steps::{Polled, Step, Steps};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The connection was lost in the middle of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokenBody {
    is_reset: bool,
}

impl BrokenBody {
    /// Whether the connection is to be reset rather than closed.
    pub fn is_reset(self) -> bool {
        self.is_reset
    }
}

impl std::fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated provider cut the connection")
    }
}

impl std::error::Error for BrokenBody {}

/// A body that paces, stalls and breaks as its faults say, on the runtime's time. Dropping it before its end is
/// written into the journal as the client's hang-up.
pub struct SimBody {
    steps: Steps,
    record: Option<Record>,
    length: Option<u64>,
}

impl SimBody {
    /// A body of these steps; `length` is announced, whether or not it will be kept.
    pub(crate) fn new(steps: Vec<Step>, length: Option<u64>, record: Option<Record>) -> Self {
        Self { steps: Steps::new(steps), record, length }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        Poll::Ready(match ready!(this.steps.poll(cx)) {
            Polled::Data(chunk) => {
                if let Some(left) = &mut this.length {
                    *left = left.saturating_sub(chunk.bytes.len() as u64);
                }
                if let Some(record) = &mut this.record {
                    record.sent(&chunk);
                    if this.steps.is_empty() {
                        record.complete();
                    }
                }
                Some(Ok(Frame::data(chunk.bytes)))
            }
            Polled::Broken { is_reset } => {
                if let Some(record) = &mut this.record {
                    record.broken();
                }
                Some(Err(BrokenBody { is_reset }))
            }
            Polled::Empty => {
                if let Some(record) = &mut this.record {
                    record.complete();
                }
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.record.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
