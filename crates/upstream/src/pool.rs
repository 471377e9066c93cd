//! The connections of one endpoint, and who may use which.
//!
//! - HTTP/1.1: idle connections are taken newest first, so that the surplus of a burst ages and is closed; each is looked
//!   at before it is handed out, as the peer may have closed it.
//! - HTTP/2: the first connection with room for one more call; beyond that a further connection. A call waits for a
//!   connection being made only as long as that one is expected to have room for it, else it makes its own.
//! - Until the first connection to a TLS endpoint has shown what the peer speaks, the others wait for it: a burst at
//!   start must not become a burst of handshakes.
//!
//! A failure to connect is told to every call that waited for that connection. Nothing is retried here.

use crate::Endpoint;
use crate::dial::{Dialed, Dialer, Protocol};
use crate::fault::unreachable;
use crate::http1::Connection1;
use crate::http2::{Connection2, Slot};
use canon::{Fault, FaultClass};
use http::HeaderValue;
use http::uri::Authority;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A pooled connection that breaks this soon after a request was put on it had been closed by the peer before the
/// request arrived: the farewell was under way, or took part of a round trip and some scheduling to be seen.
const STALE_MARGIN: Duration = Duration::from_millis(20);

/// Whether a failure this long after the request tells of a connection that was closed before.
pub(crate) fn is_stale(after: Duration, round_trip: Duration) -> bool {
    after <= round_trip.saturating_mul(2) + STALE_MARGIN
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) age: Duration,
    pub(crate) max_idle: usize,
    pub(crate) max_streams: usize,
}

/// The connections of one endpoint at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStats {
    /// `scheme://host[:port]`.
    pub endpoint: String,
    /// Open connections, the busy ones included.
    pub open: usize,
    /// HTTP/1.1 connections that wait for a call.
    pub idle: usize,
    /// HTTP/2 connections that take new calls.
    pub shared: usize,
    /// Calls in flight on those.
    pub streams: usize,
}

/// Counts a connection for as long as it lives.
pub(crate) struct OpenGuard(Arc<AtomicUsize>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection for one call.
pub(crate) enum Lease {
    Http1(Box<Connection1>),
    Http2(Slot),
}

pub(crate) struct HostPool {
    /// Without its path.
    pub(crate) endpoint: Endpoint,
    pub(crate) authority: Authority,
    pub(crate) host_header: HeaderValue,
    pub(crate) limits: Limits,
    prior_knowledge: bool,
    epoch: Instant,
    state: Mutex<State>,
    /// Somebody's connection came, failed, or has room again.
    changed: Notify,
    waiting: AtomicUsize,
    open: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    #[expect(clippy::vec_box, reason = "a connection is large and moves from the pool to its call and back")]
    idle: Vec<Box<Connection1>>,
    shared: Vec<Arc<Connection2>>,
    dialing: usize,
    /// What the peer spoke last.
    speaks: Option<Protocol>,
    /// Calls at once on one HTTP/2 connection, as the peer said last.
    room: usize,
    failures: u64,
    last_failure: Option<Fault>,
}

impl HostPool {
    pub(crate) fn new(endpoint: &Endpoint, prior_knowledge: bool, limits: Limits) -> Self {
        let authority = endpoint.authority();
        let speaks = match (endpoint.https, prior_knowledge) {
            (true, _) => None,
            (false, true) => Some(Protocol::Http2),
            (false, false) => Some(Protocol::Http1),
        };
        Self {
            endpoint: Endpoint { path: String::new(), ..endpoint.clone() },
            // An endpoint that was parsed has an authority that is one.
            host_header: HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("")),
            authority: Authority::from_maybe_shared(authority).unwrap_or(Authority::from_static("invalid")),
            limits,
            prior_knowledge,
            epoch: Instant::now(),
            state: Mutex::new(State { speaks, room: limits.max_streams, ..State::default() }),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            open: Arc::default(),
        }
    }

    /// A connection that can be used at once.
    pub(crate) fn take_ready(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let mut candidate = {
                let mut state = self.lock();
                if !state.shared.is_empty()
                    && let Some(slot) = self.take_slot(&mut state)
                {
                    return Some(Lease::Http2(slot));
                }
                state.idle.pop()?
            };
            // Looking at the socket, or closing it, is done without the lock.
            let now = Instant::now();
            let is_young = now.saturating_duration_since(candidate.born) < self.limits.age
                && now.saturating_duration_since(candidate.idle_since) < self.limits.idle;
            if is_young && candidate.is_reusable() {
                return Some(Lease::Http1(candidate));
            }
        }
    }

    fn take_slot(self: &Arc<Self>, state: &mut State) -> Option<Slot> {
        let now = Instant::now();
        state.shared.retain(|c| !c.is_retired() && now.saturating_duration_since(c.born) < self.limits.age);
        state.shared.iter().find_map(|c| c.try_enter(self))
    }

    /// A connection, made if need be. The caller bounds the time.
    pub(crate) async fn take(self: &Arc<Self>, dialer: &Dialer) -> Result<Lease, Fault> {
        let mut failures_seen = None;
        loop {
            // Before the look, so that no change is missed between look and wait.
            let changed = self.changed.notified();
            if let Some(lease) = self.take_ready() {
                return Ok(lease);
            }
            match self.join(&mut failures_seen)? {
                Turn::Dial(dialing) => return dialing.run(dialer).await,
                Turn::Wait(_waiting) => changed.await,
            }
        }
    }

    fn join(self: &Arc<Self>, failures_seen: &mut Option<u64>) -> Result<Turn, Fault> {
        let mut state = self.lock();
        let seen = *failures_seen.get_or_insert(state.failures);
        if state.failures > seen
            && let Some(fault) = &state.last_failure
            && fault.class != FaultClass::TimedOut
        {
            return Err(fault.clone());
        }
        let waiting = self.waiting.load(Ordering::Acquire);
        if waiting < state.expected_room() {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            return Ok(Turn::Wait(WaitTicket(Arc::clone(self))));
        }
        state.dialing += 1;
        Ok(Turn::Dial(Dialing { pool: Arc::clone(self) }))
    }

    /// Gives an HTTP/1.1 connection back after its call.
    pub(crate) fn put(&self, mut connection: Box<Connection1>) {
        let now = Instant::now();
        if now.saturating_duration_since(connection.born) >= self.limits.age {
            return;
        }
        connection.idle_since = now;
        let surplus = {
            let mut state = self.lock();
            if state.idle.len() < self.limits.max_idle {
                state.idle.push(connection);
                None
            } else {
                Some(connection)
            }
        };
        drop(surplus);
    }

    /// An HTTP/2 connection has ended.
    pub(crate) fn forget(&self, connection: &Arc<Connection2>) {
        self.lock().shared.retain(|c| !Arc::ptr_eq(c, connection));
        self.changed.notify_waiters();
    }

    /// The peer said how many calls one connection takes.
    pub(crate) fn peer_takes(&self, calls: usize) {
        self.lock().room = calls.max(1);
        self.changed.notify_waiters();
    }

    pub(crate) fn notify_if_waited_for(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Milliseconds on the pool's time line.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// There are connections, or there soon will be.
    pub(crate) fn is_used(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.lock().dialing > 0
    }

    /// Closes what is too old, too long unused, or closed by the peer. Returns [`Self::is_used`].
    pub(crate) fn sweep(&self) -> bool {
        let now = Instant::now();
        let now_ms = self.now_ms();
        let idle_ms = u64::try_from(self.limits.idle.as_millis()).unwrap_or(u64::MAX);
        let mut closed = Vec::new();
        let mut ended = Vec::new();
        {
            let mut state = self.lock();
            for mut connection in std::mem::take(&mut state.idle) {
                let is_kept = now.saturating_duration_since(connection.born) < self.limits.age
                    && now.saturating_duration_since(connection.idle_since) < self.limits.idle
                    && connection.is_reusable();
                if is_kept {
                    state.idle.push(connection);
                } else {
                    closed.push(connection);
                }
            }
            for connection in std::mem::take(&mut state.shared) {
                let is_unused =
                    connection.active() == 0 && now_ms.saturating_sub(connection.idle_since_ms()) >= idle_ms;
                let is_old = now.saturating_duration_since(connection.born) >= self.limits.age;
                if is_unused || is_old || connection.is_retired() {
                    ended.push(connection);
                } else {
                    state.shared.push(connection);
                }
            }
        }
        // Closing sockets is done without the lock.
        drop((closed, ended));
        self.is_used()
    }

    pub(crate) fn stats(&self) -> EndpointStats {
        let state = self.lock();
        EndpointStats {
            endpoint: self.endpoint.to_string(),
            open: self.open.load(Ordering::Relaxed),
            idle: state.idle.len(),
            shared: state.shared.len(),
            streams: state.shared.iter().map(|c| c.active()).sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many calls the connections being made will take, besides those they are made for.
    fn expected_room(&self) -> usize {
        let room = match self.speaks {
            Some(Protocol::Http1) => return 0,
            Some(Protocol::Http2) => self.room.saturating_sub(1),
            None => usize::MAX,
        };
        let coming = self.dialing + self.shared.iter().filter(|c| !c.is_settled()).count();
        coming.saturating_mul(room)
    }
}

enum Turn {
    Dial(Dialing),
    Wait(WaitTicket),
}

struct WaitTicket(Arc<HostPool>);

impl Drop for WaitTicket {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection being made. Given up when dropped: whoever waited for it looks again.
struct Dialing {
    pool: Arc<HostPool>,
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.pool.lock().dialing -= 1;
        self.pool.changed.notify_waiters();
    }
}

impl Dialing {
    async fn run(self, dialer: &Dialer) -> Result<Lease, Fault> {
        let outcome = match dialer.dial(&self.pool.endpoint, self.pool.prior_knowledge).await {
            Ok(dialed) => self.set_up(dialed).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &outcome {
            let mut state = self.pool.lock();
            state.failures += 1;
            state.last_failure = Some(fault.clone());
        }
        outcome
    }

    async fn set_up(&self, dialed: Dialed) -> Result<Lease, Fault> {
        let pool = &self.pool;
        pool.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenGuard(Arc::clone(&pool.open));
        let protocol = dialed.protocol;
        let lease = match protocol {
            Protocol::Http1 => Lease::Http1(Connection1::new(dialed, open).await?),
            Protocol::Http2 => {
                let connection = Connection2::start(dialed, pool, open).await?;
                let slot = connection.enter(pool);
                let mut state = pool.lock();
                if connection.is_retired() {
                    return Err(unreachable("the peer closed the connection at once"));
                }
                state.shared.push(connection);
                Lease::Http2(slot)
            }
        };
        pool.lock().speaks = Some(protocol);
        Ok(lease)
    }
}
