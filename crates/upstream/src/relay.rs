//! The waker of a connection that is driven by the call on it.
//!
//! The halves of such a connection wake each other while the call polls them both. Passed on, each of those wakes would
//! have the call's task scheduled once more for nothing, on another thread at worst. So a wake that comes from inside
//! the poll is noted, and the poll looks again; only one that comes from outside, from the socket, reaches the task.
//! The waker is the connection's own and lives as long, so the socket's registration does not change with every call.

use atomic_waker::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

/// The poll is running.
const INSIDE: u8 = 1;
/// A wake came while it ran, after the last look.
const NOTED: u8 = 2;

#[derive(Default)]
struct State {
    bits: AtomicU8,
    task: AtomicWaker,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.bits.fetch_or(NOTED, Ordering::AcqRel) & INSIDE == 0 {
            self.task.wake();
        }
    }
}

pub(crate) struct Relay {
    state: Arc<State>,
    waker: Waker,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let state = Arc::<State>::default();
        Self { waker: Waker::from(Arc::clone(&state)), state }
    }

    /// What the connection is polled with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A poll for `task` begins: from now on wakes are noted.
    pub(crate) fn enter(&self, task: &Waker) {
        // The task first: a wake between the two steps still reaches it.
        self.state.task.register(task);
        self.state.bits.store(INSIDE, Ordering::Release);
    }

    /// Forgets the wakes so far, as a look follows.
    pub(crate) fn look(&self) {
        self.state.bits.swap(INSIDE, Ordering::AcqRel);
    }

    /// Whether a wake came since the last look.
    pub(crate) fn is_noted(&self) -> bool {
        self.state.bits.load(Ordering::Acquire) & NOTED != 0
    }

    /// The poll ends; a wake that came since the last look is passed on if the poll is `pending`.
    pub(crate) fn leave(&self, is_pending: bool) {
        let was = self.state.bits.swap(0, Ordering::AcqRel);
        if is_pending && was & NOTED != 0 {
            self.state.task.wake();
        }
    }

    /// Nobody waits: wakes go nowhere.
    pub(crate) fn detach(&self) {
        drop(self.state.task.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn a_wake_from_outside_reaches_the_task() {
        let (count, task) = counting();
        let relay = Relay::new();
        relay.enter(&task);
        relay.leave(true);
        relay.waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_from_inside_is_seen_by_the_poll_and_not_by_the_task() {
        let (count, task) = counting();
        let relay = Relay::new();
        relay.enter(&task);
        relay.waker().wake_by_ref();
        assert!(relay.is_noted());
        relay.look();
        assert!(!relay.is_noted());
        relay.leave(true);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_wake_after_the_last_look_is_never_lost() {
        let (count, task) = counting();
        let relay = Relay::new();
        relay.enter(&task);
        relay.look();
        relay.waker().wake_by_ref();
        relay.leave(true);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_idle_connection_wakes_nobody() {
        let (count, task) = counting();
        let relay = Relay::new();
        relay.enter(&task);
        relay.leave(false);
        relay.detach();
        relay.waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }
}
