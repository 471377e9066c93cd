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
    /// Bytes, and how many events end in them.
    Data {
        /// The bytes of one chunk.
        bytes: Bytes,
        /// Events that are complete with it.
        events: u32,
    },
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
    Break,
}

/// What a poll of the steps brought.
pub(crate) enum Polled {
    /// One chunk.
    Data {
        /// Its bytes.
        bytes: Bytes,
        /// Events that are complete with it.
        events: u32,
    },
    /// The connection is lost.
    Broken,
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
                Some(Step::Data { bytes, events }) => return Poll::Ready(Polled::Data { bytes, events }),
                Some(Step::Hang) => {
                    self.queue.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::KeepAlive { bytes, every }) => {
                    let again = Step::KeepAlive { bytes: bytes.clone(), every };
                    self.queue.extend([Step::Wait(every), again]);
                    return Poll::Ready(Polled::Data { bytes, events: 0 });
                }
                Some(Step::Break) => return Poll::Ready(Polled::Broken),
            }
        }
    }
}
