//! A body as a list of steps, driven by the time of the runtime and nothing else: no task, no channel.

use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// What a body does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Nothing, for so long.
    Wait(Duration),
    /// One chunk.
    Data(Chunk),
    /// Silence for ever.
    Hang,
    /// These bytes again and again for ever.
    KeepAlive {
        /// What is sent.
        bytes: Bytes,
        /// How often.
        every: Duration,
    },
    /// The connection is lost.
    Break {
        /// By a reset.
        is_reset: bool,
    },
}

/// Bytes that go out together, and what the journal is to know of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Events that are complete with it.
    pub(crate) events: u32,
    /// Bytes of the answer's text in it, unescaped.
    pub(crate) text: usize,
    /// Tokens of output in it.
    pub(crate) tokens: u32,
}

impl Chunk {
    /// Bytes that carry nothing of the answer.
    pub(crate) fn bare(bytes: impl Into<Bytes>, events: u32) -> Self {
        Self { bytes: bytes.into(), events, text: 0, tokens: 0 }
    }
}

/// What a poll of the steps brought.
pub(crate) enum Polled {
    /// One chunk.
    Data(Chunk),
    /// The connection is lost.
    Broken {
        /// By a reset.
        is_reset: bool,
    },
    /// No step is left.
    Empty,
}

/// Time for what was sent before a break to leave the machine; a break right after a write could overtake it.
pub(crate) const FLUSH: Duration = Duration::from_millis(5);

/// Steps and the one timer they share.
#[derive(Default)]
pub(crate) struct Steps {
    queue: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Steps {
    /// The steps of a whole body.
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self { queue: steps.into(), sleep: None }
    }

    /// Adds steps behind those still to come.
    pub(crate) fn extend(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.queue.extend(steps);
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Goes on until bytes are due.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.queue.pop_front() {
                None => return Poll::Ready(Polled::Empty),
                Some(Step::Wait(time)) if time.is_zero() => {}
                Some(Step::Wait(time)) => self.sleep = Some(Box::pin(tokio::time::sleep(time))),
                Some(Step::Data(chunk)) => return Poll::Ready(Polled::Data(chunk)),
                Some(Step::Hang) => {
                    self.queue.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::KeepAlive { bytes, every }) => {
                    let again = Step::KeepAlive { bytes: bytes.clone(), every };
                    self.queue.extend([Step::Wait(every), again]);
                    return Poll::Ready(Polled::Data(Chunk::bare(bytes, 0)));
                }
                Some(Step::Break { is_reset }) => return Poll::Ready(Polled::Broken { is_reset }),
            }
        }
    }
}
