//! One HTTP/2 connection and the calls on it.
//!
//! The connection is driven by a task of its own, as many calls share it. What it publishes is how many calls the peer
//! takes at once; the pool opens a further connection beyond that. Until the peer's first SETTINGS one call is put on
//! it, as the limit may be as low as that.
//!
//! Flow control: a stream may be 64 KiB ahead of its reader, and the connection has credit for all of its streams being
//! so, so a slow reader takes nothing from its neighbours. Credit goes back when the caller takes the bytes.

use crate::dial::Dialed;
use crate::fault::{chain, stream_broken, unreachable};
use crate::http1::{MAX_HEAD, MAX_HEADERS};
use crate::io::{Io, Traffic};
use crate::pool::{HostPool, OpenGuard, is_stale};
use bytes::Bytes;
use canon::Fault;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use http_body::{Body, Frame};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Instant;

const STREAM_WINDOW: u32 = 64 * 1024;
/// The library closes a connection whose unread DATA frames waste more than this on their own overhead (256 bytes less
/// their payload, each). Its default suits large frames; a hundred slow readers of small events need more.
const SMALL_FRAME_BUDGET: usize = 32 * 1024 * 1024;

pub(crate) struct Connection2 {
    sender: SendRequest<Bytes>,
    /// Calls on it now.
    active: AtomicUsize,
    /// Calls it takes at once; one until the peer has said.
    limit: AtomicUsize,
    is_settled: AtomicBool,
    /// Takes no new call.
    is_retired: AtomicBool,
    calls: AtomicU64,
    idle_since_ms: AtomicU64,
    traffic: Arc<Traffic>,
    round_trip: Duration,
    pub(crate) born: Instant,
    _open: OpenGuard,
}

impl Connection2 {
    /// Starts HTTP/2 and the task that drives it.
    pub(crate) async fn start(dialed: Dialed, pool: &Arc<HostPool>, open: OpenGuard) -> Result<Arc<Self>, Fault> {
        let streams = u32::try_from(pool.limits.max_streams).unwrap_or(u32::MAX);
        let (io, traffic) = Io::new(dialed.stream, false);
        let (sender, wire) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams.saturating_add(1)).min((1 << 31) - 1))
            .initial_max_send_streams(1)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .data_frame_budget(SMALL_FRAME_BUDGET)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|e| unreachable(format!("starting HTTP/2: {}", chain(&e))))?;
        let connection = Arc::new(Self {
            sender,
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            is_settled: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            idle_since_ms: AtomicU64::new(pool.now_ms()),
            traffic,
            round_trip: dialed.round_trip,
            born: Instant::now(),
            _open: open,
        });
        let driver = Driver { wire, connection: Arc::downgrade(&connection), pool: Arc::downgrade(pool) };
        #[expect(clippy::disallowed_methods, reason = "a shared connection belongs to none of the calls on it")]
        tokio::spawn(driver);
        Ok(connection)
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Takes no new call: retired by an event here, or the peer has said goodbye.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
            || matches!(self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Milliseconds of the pool's time line since which no call is on it.
    pub(crate) fn idle_since_ms(&self) -> u64 {
        self.idle_since_ms.load(Ordering::Relaxed)
    }

    /// Room for one more call. Only called with the pool locked, so that two calls never take the same room.
    pub(crate) fn try_enter(self: &Arc<Self>, pool: &Arc<HostPool>) -> Option<Slot> {
        if self.active() >= self.limit.load(Ordering::Acquire) {
            return None;
        }
        Some(self.enter(pool))
    }

    /// One more call, whatever the limit: for the call a connection was made for.
    pub(crate) fn enter(self: &Arc<Self>, pool: &Arc<HostPool>) -> Slot {
        self.active.fetch_add(1, Ordering::AcqRel);
        Slot { connection: Arc::clone(self), pool: Arc::clone(pool) }
    }
}

/// A call's place on a connection, given back when dropped.
pub(crate) struct Slot {
    connection: Arc<Connection2>,
    pool: Arc<HostPool>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.idle_since_ms.store(self.pool.now_ms(), Ordering::Relaxed);
        self.connection.active.fetch_sub(1, Ordering::AcqRel);
        self.pool.notify_if_waited_for();
    }
}

/// Drives a connection until it ends.
struct Driver {
    wire: h2::client::Connection<Io, Bytes>,
    connection: Weak<Connection2>,
    pool: Weak<HostPool>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.wire).poll(cx);
        if let (Some(connection), Some(pool)) = (this.connection.upgrade(), this.pool.upgrade()) {
            if outcome.is_ready() {
                connection.retire();
                pool.forget(&connection);
            } else if connection.traffic.read() > 0 {
                // The peer's first frame is its SETTINGS.
                let limit = this.wire.max_concurrent_send_streams().min(pool.limits.max_streams);
                let old = connection.limit.swap(limit, Ordering::AcqRel);
                if !connection.is_settled.swap(true, Ordering::AcqRel) || old != limit {
                    pool.peer_takes(limit);
                }
            }
        }
        outcome.map(|_| ())
    }
}

/// A call whose head has not come. Dropped so without any sign of life from the peer, the connection is not trusted
/// with another call: the path to the peer may be dead without either side knowing.
struct Waiting<'a> {
    connection: &'a Connection2,
    read: u64,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.connection.traffic.read() == self.read {
            self.connection.retire();
        }
    }
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn exchange(slot: Slot, request: Request<()>, body: Bytes) -> Result<Response<Body2>, Fault> {
    let started = Instant::now();
    let connection = Arc::clone(&slot.connection);
    let is_reused = connection.calls.fetch_add(1, Ordering::Relaxed) > 0;
    let read = connection.traffic.read();
    let fault = |error: &h2::Error, is_unsent: bool| {
        // The peer says that it has not looked at this request (RFC 9113 §6.8, §8.7).
        let is_unprocessed = (error.is_go_away() && error.is_remote())
            || (error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM));
        if error.is_go_away() || error.is_io() {
            connection.retire();
        }
        let is_silent = connection.traffic.read() == read;
        let is_stale = is_unprocessed
            || is_unsent
            || (is_reused && is_silent && error.is_io() && is_stale(started.elapsed(), connection.round_trip));
        Fault {
            stale_connection: is_stale,
            may_be_billed: !is_stale,
            ..unreachable(format!("waiting for the answer: {}", chain(error)))
        }
    };
    let answer = begin(&connection, request, body).map_err(|e| {
        connection.retire();
        fault(&e, true)
    })?;
    let mut waiting = Waiting { connection: &connection, read, is_over: false };
    let outcome = answer.await;
    waiting.is_over = true;
    drop(waiting);
    let response = outcome.map_err(|e| fault(&e, false))?;
    if response.headers().len() > MAX_HEADERS {
        return Err(Fault {
            may_be_billed: true,
            ..unreachable(format!("the answer has more than {MAX_HEADERS} headers"))
        });
    }
    Ok(response.map(|incoming| Body2 { incoming, slot: Some(slot) }))
}

/// Hands the request over. The body is shared, the library sends it as the peer's window opens.
fn begin(connection: &Connection2, request: Request<()>, body: Bytes) -> Result<ResponseFuture, h2::Error> {
    let (answer, mut stream) = connection.sender.clone().send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(body, true)?;
    }
    Ok(answer)
}

/// An answer's body. Dropped before its end, the stream is reset with CANCEL.
pub(crate) struct Body2 {
    incoming: h2::RecvStream,
    /// `None` once the body has ended.
    slot: Option<Slot>,
}

impl Body for Body2 {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            if this.slot.is_none() {
                return Poll::Ready(None);
            }
            match ready!(this.incoming.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    let _ = this.incoming.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    this.slot = None;
                    return Poll::Ready(Some(Err(stream_broken(format!("reading the answer: {}", chain(&error))))));
                }
                // Trailers, if any, are dropped.
                None => this.slot = None,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.slot.is_none()
    }
}
