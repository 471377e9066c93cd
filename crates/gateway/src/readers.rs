//! Callers of HTTP/2 streams that stop reading.
//!
//! Over HTTP/1 a caller that does not read blocks its own socket, and the socket notices. Over HTTP/2 one stream of
//! many stands still while its connection lives on, and hyper polls no body without window: so the server looks at the
//! open ones now and then. One list for the process, no task a stream.

use crate::delayed::DelayedBody;
use crate::relay::RelayBody;
use crate::respond::GatewayBody;
use crate::reuse::SharedBody;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The open HTTP/2 streams.
#[derive(Default)]
pub(crate) struct Readers {
    open: Mutex<Vec<Open>>,
}

enum Open {
    Relay(Weak<Mutex<RelayBody>>),
    Shared(Weak<Mutex<SharedBody>>),
    Delayed(Weak<Mutex<DelayedBody>>),
}

impl Readers {
    /// Watches a body from here on, if it is a stream.
    pub(crate) fn watch(&self, body: GatewayBody) -> GatewayBody {
        match body {
            GatewayBody::Relay(relay) => {
                let relay = Arc::new(Mutex::new(*relay));
                lock(&self.open).push(Open::Relay(Arc::downgrade(&relay)));
                GatewayBody::Watched(relay)
            }
            GatewayBody::Shared(body) => {
                lock(&self.open).push(Open::Shared(Arc::downgrade(&body)));
                GatewayBody::Shared(body)
            }
            GatewayBody::Delayed(body) => {
                lock(&self.open).push(Open::Delayed(Arc::downgrade(&body)));
                GatewayBody::Delayed(body)
            }
            other @ (GatewayBody::Whole(..) | GatewayBody::Watched(_) | GatewayBody::Lingering(_)) => other,
        }
    }

    /// Cuts off those whose caller has not read for `limit`, and forgets those that ended.
    pub(crate) fn cut_off(&self, limit: Duration) {
        lock(&self.open).retain(|open| match open {
            Open::Relay(relay) => relay.upgrade().map(|relay| lock(&relay).cut_off_if_unread(limit)).is_some(),
            Open::Shared(body) => body.upgrade().map(|body| lock(&body).cut_off_if_unread(limit)).is_some(),
            Open::Delayed(body) => body.upgrade().map(|body| lock(&body).cut_off_if_unread(limit)).is_some(),
        });
    }
}

/// A lock whose holder panicked is still a lock: one exchange ended, the others go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
