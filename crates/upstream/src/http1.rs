//! One HTTP/1.1 connection and the one call on it.
//!
//! There is no task per connection: whoever waits for the answer drives the connection, in the same poll. So a call
//! costs no hand-over between tasks, bytes are read only when the caller asks for them, and dropping the call or its
//! body closes the socket at once. An idle connection is looked at when it is taken and when the pool is swept.
//!
//! The futures and channels between the two halves of hyper's client make progress only when the driver half is polled,
//! which happens right here; they are polled with a waker that does nothing, and the driver with the connection's own
//! (`relay`), which passes on what comes from the socket.

use crate::dial::{Dialed, Via};
use crate::fault::{chain, stream_broken, unreachable};
use crate::io::{Io, Traffic};
use crate::pool::{HostPool, OpenGuard, is_stale};
use crate::relay::Relay;
use bytes::Bytes;
use canon::Fault;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Instant;

/// At most this many headers in an answer.
pub(crate) const MAX_HEADERS: usize = 100;
/// At most this many bytes of head in an answer.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// How often a poll looks again because something happened inside; beyond that the task is woken, so that one busy
/// connection does not hold its thread.
const MAX_LOOKS: usize = 4;

pub(crate) struct Connection1 {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Io>, Full<Bytes>>,
    /// The driver has ended and is not polled again.
    is_finished: bool,
    relay: Relay,
    traffic: Arc<Traffic>,
    round_trip: Duration,
    calls: u64,
    pub(crate) via: Option<Via>,
    pub(crate) born: Instant,
    pub(crate) idle_since: Instant,
    _open: OpenGuard,
}

impl Connection1 {
    pub(crate) async fn new(dialed: Dialed, open: OpenGuard) -> Result<Box<Self>, Fault> {
        let (io, traffic) = Io::new(dialed.stream, true);
        let (sender, driver) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| unreachable(format!("starting HTTP/1.1: {}", chain(&e))))?;
        let now = Instant::now();
        Ok(Box::new(Self {
            sender,
            driver,
            is_finished: false,
            relay: Relay::new(),
            traffic,
            round_trip: dialed.round_trip,
            calls: 0,
            via: dialed.via,
            born: now,
            idle_since: now,
            _open: open,
        }))
    }

    /// The last exchange is over on both sides and the peer has not closed. Looks at the socket without waiting.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.relay.detach();
        self.drive();
        !self.is_finished && self.sender.is_ready()
    }

    /// The last exchange is over on both sides.
    fn is_idle(&mut self) -> bool {
        self.relay.detach();
        if !self.sender.is_ready() {
            // The end may be read but not noted yet.
            self.drive();
        }
        !self.is_finished && self.sender.is_ready()
    }

    fn drive(&mut self) {
        // An error reaches the call or the body as well; there it is told.
        if !self.is_finished && Pin::new(&mut self.driver).poll(&mut Context::from_waker(self.relay.waker())).is_ready()
        {
            self.is_finished = true;
        }
    }

    /// Drives the connection until `look` finds what it waits for, or there is nothing more to do for now. `None` when
    /// the connection ended without it.
    fn poll_until<T>(&mut self, cx: &Context<'_>, mut look: impl FnMut() -> Poll<T>) -> Poll<Option<T>> {
        self.relay.enter(cx.waker());
        // What hyper has already needs no driving.
        let mut found = look();
        for _ in 0..MAX_LOOKS {
            if found.is_ready() || self.is_finished {
                break;
            }
            self.relay.look();
            self.drive();
            found = look();
            if !self.relay.is_noted() {
                break;
            }
        }
        let is_over = found.is_ready() || self.is_finished;
        self.relay.leave(!is_over);
        match found {
            Poll::Ready(found) => Poll::Ready(Some(found)),
            Poll::Pending if is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What had crossed the connection when a call began; tells what a failure means.
struct Mark {
    at: Instant,
    read: u64,
    written: u64,
    body: u64,
    is_reused: bool,
}

impl Mark {
    fn fault(&self, connection: &Connection1, outcome: Option<TrySendError<Request<Full<Bytes>>>>) -> Fault {
        let traffic = &connection.traffic;
        let is_answered = traffic.read() > self.read;
        let is_sent = traffic.written().saturating_sub(self.written) > self.body && !traffic.write_failed();
        let (text, is_unsent) = match outcome {
            Some(mut failure) => (chain(failure.error()), failure.take_message().is_some()),
            None => ("the connection ended".to_owned(), false),
        };
        let stale = self.is_reused && !is_answered && (is_unsent || is_stale(self.at.elapsed(), connection.round_trip));
        Fault {
            stale_connection: stale,
            may_be_billed: !stale && !is_unsent && (is_sent || is_answered),
            ..unreachable(format!("waiting for the answer: {text}"))
        }
    }
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn exchange(
    mut connection: Box<Connection1>,
    pool: Arc<HostPool>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Body1>, Fault> {
    let mark = Mark {
        at: Instant::now(),
        read: connection.traffic.read(),
        written: connection.traffic.written(),
        body: request.body().size_hint().lower(),
        is_reused: connection.calls > 0,
    };
    connection.calls += 1;
    let outcome = {
        let mut answer = pin!(connection.sender.try_send_request(request));
        let mut look = || answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        std::future::poll_fn(|cx| connection.poll_until(cx, &mut look)).await
    };
    match outcome {
        Some(Ok(response)) => Ok(response.map(|incoming| Body1::new(incoming, connection, pool))),
        Some(Err(failure)) => Err(mark.fault(&connection, Some(failure))),
        None => Err(mark.fault(&connection, None)),
    }
}

/// An answer's body. Gives the connection back when it was read to its end; closes it when dropped before, unless no
/// more than the end is missing and has arrived: whoever stops at a stream's terminator loses no connection.
pub(crate) struct Body1 {
    incoming: Incoming,
    /// `None` once the body has ended.
    connection: Option<Box<Connection1>>,
    pool: Arc<HostPool>,
}

impl Body1 {
    fn new(incoming: Incoming, connection: Box<Connection1>, pool: Arc<HostPool>) -> Self {
        let mut body = Self { incoming, connection: Some(connection), pool };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_idle()
        {
            self.pool.put(connection);
        }
    }

    fn poll_driven(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let incoming = &mut self.incoming;
        let look = || Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Some(frame) = ready!(connection.poll_until(cx, look)) else {
            self.connection = None;
            return Poll::Ready(Some(Err(stream_broken("reading the answer: the connection ended"))));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => {
                self.connection = None;
                Some(Err(stream_broken(format!("reading the answer: {}", chain(&error)))))
            }
            None => None,
        })
    }
}

impl Drop for Body1 {
    fn drop(&mut self) {
        if self.connection.is_none() {
            return;
        }
        let nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(None) = self.poll_driven(&nobody) {
            self.release();
        }
    }
}

impl Body for Body1 {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            if this.connection.is_none() {
                return Poll::Ready(None);
            }
            match ready!(this.poll_driven(cx)) {
                // Trailers are dropped.
                Some(Ok(frame)) if !frame.is_data() => {}
                Some(Ok(frame)) => {
                    this.release_at_end();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => this.release(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
