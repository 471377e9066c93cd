//! The life of the process as exchanges see it: serving, draining, over.
//!
//! SIGTERM makes readiness fail at once; accepting goes on a little so that load balancers notice; streams get the
//! drain time, then an honest error event.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Taking traffic.
    Serving,
    /// Readiness fails; what is under way goes on.
    Draining,
    /// The drain time is over: streams end now.
    Over,
}

/// Tells every exchange where the process stands.
#[derive(Debug, Clone)]
pub struct Drain {
    life: Arc<watch::Sender<Life>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A process that serves.
    pub fn new() -> Self {
        Self { life: Arc::new(watch::Sender::new(Life::Serving)) }
    }

    /// Moves on; never back.
    pub fn advance(&self, to: Life) {
        self.life.send_if_modified(|life| {
            let forward =
                matches!((*life, to), (Life::Serving, Life::Draining | Life::Over) | (Life::Draining, Life::Over));
            if forward {
                *life = to;
            }
            forward
        });
    }

    /// Where the process stands.
    pub fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// Resolves when the process gets there.
    pub async fn reached(&self, life: Life) {
        let mut watched = self.life.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = watched.wait_for(|now| *now == life || *now == Life::Over).await;
    }

    /// A signal for one stream.
    pub(crate) fn signal(&self) -> DrainSignal {
        DrainSignal { drain: self.clone(), waiting: None }
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// One stream's view of the drain.
pub(crate) struct DrainSignal {
    drain: Drain,
    waiting: Option<Waiting>,
}

impl DrainSignal {
    /// Whether the drain time is over; wakes the task when it becomes so.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        if self.drain.life() == Life::Over {
            return true;
        }
        let drain = &self.drain;
        let waiting = self.waiting.get_or_insert_with(|| {
            let drain = drain.clone();
            Box::pin(async move { drain.reached(Life::Over).await })
        });
        matches!(waiting.as_mut().poll(cx), Poll::Ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_woken_when_the_drain_is_over() {
        let drain = Drain::new();
        let mut signal = drain.signal();
        assert!(!std::future::poll_fn(|cx| Poll::Ready(signal.poll_expired(cx))).await);
        let woken = std::future::poll_fn(|cx| if signal.poll_expired(cx) { Poll::Ready(()) } else { Poll::Pending });
        let end = async {
            drain.advance(Life::Draining);
            drain.advance(Life::Over);
        };
        tokio::join!(woken, end);
    }

    #[test]
    fn life_never_moves_back() {
        let drain = Drain::new();
        drain.advance(Life::Over);
        drain.advance(Life::Draining);
        assert_eq!(drain.life(), Life::Over);
    }
}
