//! Accepting connections: the shell around [`Gateway::handle`].
//!
//! One task a connection, none a stream. The head of a request is bounded in bytes, fields and time; a caller who stops
//! reading is cut off by [`crate::server::SlowReaderGuard`]; on shutdown accepting goes on for a moment, so that load
//! balancers notice that readiness fails, then connections are told to close.

use crate::Gateway;
use crate::drain::Life;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// Most fields of a request head.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request head, and of what is read ahead of a connection.
const MAX_HEAD: usize = 64 << 10;
/// How long a request head may take.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How often HTTP/2 streams are looked at for callers that do not read.
const LOOK_FOR_SLOW_READERS: Duration = Duration::from_secs(1);

/// How the process ends.
#[derive(Debug, Clone, Copy)]
pub struct ShutdownTimes {
    /// How long accepting goes on after readiness failed.
    pub accept: Duration,
    /// How long streams may go on after that.
    pub drain: Duration,
    /// How long a caller may go without reading.
    pub slow_reader: Duration,
}

impl Default for ShutdownTimes {
    fn default() -> Self {
        Self { accept: Duration::from_secs(5), drain: Duration::from_secs(30), slow_reader: Duration::from_secs(30) }
    }
}

/// Serves until `stop` resolves, then drains. Returns when every connection is closed or the drain time is over.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, times: ShutdownTimes, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let stop = async {
        stop.await;
        gateway.drain().advance(Life::Draining);
        tokio::time::sleep(times.accept).await;
    };
    let mut stop = std::pin::pin!(stop);
    let mut look = tokio::time::interval(LOOK_FOR_SLOW_READERS);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = look.tick() => gateway.cut_off_slow_readers(times.slow_reader),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => connection(&gateway, socket, times.slow_reader, &connections),
                Err(error) => backoff(&error).await,
            },
        }
    }
    drop(listener);
    let closed = connections.shutdown();
    let mut closed = std::pin::pin!(closed);
    if tokio::time::timeout(times.drain, closed.as_mut()).await.is_err() {
        // Streams still open get their error event now; a moment later whatever is left is dropped with the runtime.
        gateway.drain().advance(Life::Over);
        let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    }
}

/// Out of file descriptors, say: waiting a little beats spinning.
async fn backoff(error: &io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn connection(gateway: &Arc<Gateway>, socket: TcpStream, slow_reader: Duration, connections: &GracefulShutdown) {
    without_delay(&socket);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30))
        .max_send_buf_size(MAX_HEAD);
    let gateway = gateway.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(gateway.handle(request).await) }
    });
    let io = TokioIo::new(SlowReaderGuard::new(socket, slow_reader));
    let serving = connections.watch(builder.serve_connection(io, service).into_owned());
    #[expect(clippy::disallowed_methods, reason = "one task a connection; streams live inside it")]
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::debug!(%error, "a connection ended with an error");
        }
    });
}

/// An event is sent when it is there, not when a packet is full.
fn without_delay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}

/// Cuts off a caller that does not read: a write that cannot proceed for the limit is an error.
///
/// While a write waits, hyper polls no body, so no timer of a stream can see the stall; the socket can.
pub struct SlowReaderGuard<S> {
    socket: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> SlowReaderGuard<S> {
    /// Guards a socket.
    pub fn new(socket: S, limit: Duration) -> Self {
        Self { socket, limit, stalled: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller stopped reading"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowReaderGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowReaderGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn an_accepted_connection_has_nagles_delay_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (caller, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (socket, _) = accepted.expect("accepted");
        without_delay(&socket);
        assert!(socket.nodelay().expect("readable"));
        drop(caller);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stops_reading_is_cut_off_and_a_slow_one_is_not() {
        let (caller, socket) = tokio::io::duplex(16);
        let mut guarded = SlowReaderGuard::new(socket, Duration::from_secs(30));
        guarded.write_all(&[b'x'; 16]).await.expect("fits");
        let error = guarded.write_all(b"more").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(caller);
    }
}
