//! Callers of HTTP/2 streams that stop reading.
//!
//! Over HTTP/1 a caller that does not read blocks its own socket, and the socket notices. Over HTTP/2 one stream of many
//! stands still while its connection lives on, and hyper polls no body without window: so the server looks at the open
//! ones now and then. One list for the process, no task a stream.

use crate::relay::RelayBody;
use crate::respond::GatewayBody;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The open HTTP/2 streams.
#[derive(Default)]
pub(crate) struct Readers {
    open: Mutex<Vec<Weak<Mutex<RelayBody>>>>,
}

impl Readers {
    /// Watches a body from here on, if it is a stream.
    pub(crate) fn watch(&self, body: GatewayBody) -> GatewayBody {
        match body {
            GatewayBody::Relay(relay) => {
                let relay = Arc::new(Mutex::new(*relay));
                lock(&self.open).push(Arc::downgrade(&relay));
                GatewayBody::Watched(relay)
            }
            other @ (GatewayBody::Whole(..) | GatewayBody::Watched(_) | GatewayBody::Lingering(_)) => other,
        }
    }

    /// Cuts off those whose caller has not read for `limit`, and forgets those that ended.
    pub(crate) fn cut_off(&self, limit: Duration) {
        lock(&self.open).retain(|open| {
            let Some(relay) = open.upgrade() else { return false };
            lock(&relay).cut_off_if_unread(limit);
            true
        });
    }
}

/// A lock whose holder panicked is still a lock: one exchange ended, the others go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
