//! Accepting connections: the shell around [`Gateway::handle`].
//!
//! One task a connection, none a stream. The head of a request is bounded in bytes, fields and time; a caller who stops
//! reading is cut off by [`crate::server::SlowReaderGuard`]; on shutdown accepting goes on for a moment, so that load
//! balancers notice that readiness fails, then connections are told to close.

use crate::Gateway;
use crate::drain::Life;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Most fields of a request head.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request head, and of what is read ahead of a connection.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// How long a request head may take.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// What an HTTP/2 connection begins with (RFC 9113 §3.4), as far as no method of HTTP/1.1 begins so.
const HTTP2: [u8; 4] = *b"PRI ";

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
    // Every connection holds a receiver: they learn from it that they are to close, and it is seen when all have.
    let (closing, _) = watch::channel(false);
    let stop = async {
        stop.await;
        gateway.drain().advance(Life::Draining);
        tokio::time::sleep(times.accept).await;
    };
    let mut stop = std::pin::pin!(stop);
    let mut look = tokio::time::interval(LOOK_FOR_SLOW_READERS);
    // What is asked beside the traffic has one task, whatever there is to ask. It ends with accepting.
    let mut tending = JoinSet::new();
    let tended = gateway.clone();
    tending.spawn(async move { tended.tend().await });
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = look.tick() => gateway.cut_off_slow_readers(times.slow_reader),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => connection(&gateway, socket, times.slow_reader, closing.subscribe()),
                Err(error) => backoff(&error).await,
            },
        }
    }
    drop(listener);
    tending.abort_all();
    let _told = closing.send_replace(true);
    if tokio::time::timeout(times.drain, closing.closed()).await.is_err() {
        // Streams still open get their error event now; a moment later whatever is left is dropped with the runtime.
        gateway.drain().advance(Life::Over);
        let _ = tokio::time::timeout(Duration::from_secs(2), closing.closed()).await;
    }
}

/// Out of file descriptors, say: waiting a little beats spinning.
async fn backoff(error: &io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn connection(gateway: &Arc<Gateway>, socket: TcpStream, slow_reader: Duration, closing: watch::Receiver<bool>) {
    without_delay(&socket);
    let gateway = gateway.clone();
    #[expect(clippy::disallowed_methods, reason = "one task a connection; streams live inside it")]
    tokio::spawn(async move {
        if let Err(error) = attend(gateway, socket, slow_reader, closing).await {
            tracing::debug!(%error, "a connection ended with an error");
        }
    });
}

/// Serves one connection to its end, or until its requests are answered once it is told to close.
async fn attend(
    gateway: Arc<Gateway>,
    socket: TcpStream,
    slow_reader: Duration,
    mut closing: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let version = tokio::select! {
        version = tokio::time::timeout(HEAD_TIME, spoken(&socket)) => version??,
        _ = closing.wait_for(|closing| *closing) => return Ok(()),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(gateway.handle(request).await) }
    });
    let io = TokioIo::new(SlowReaderGuard::new(socket, slow_reader));
    let told = async { closing.wait_for(|closing| *closing).await.is_ok() };
    match version {
        Version::Http1 => {
            let mut serving = std::pin::pin!(http1().serve_connection(io, service));
            tokio::select! {
                ended = serving.as_mut() => return Ok(ended?),
                _ = told => serving.as_mut().graceful_shutdown(),
            }
            serving.await?;
        }
        Version::Http2 => {
            let mut serving = std::pin::pin!(http2().serve_connection(io, service));
            tokio::select! {
                ended = serving.as_mut() => return Ok(ended?),
                _ = told => serving.as_mut().graceful_shutdown(),
            }
            serving.await?;
        }
    }
    Ok(())
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30))
        .max_send_buf_size(MAX_HEAD);
    builder
}

/// What a caller speaks on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them: handed on as bytes already read, they would make hyper double its read
/// buffer at once, 8 KiB for every open stream.
async fn spoken(socket: &TcpStream) -> io::Result<Version> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = socket.peek(&mut first).await?;
        match first.get(..seen).unwrap_or_default() {
            [] => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a word")),
            bytes if bytes == HTTP2 => return Ok(Version::Http2),
            bytes if !HTTP2.starts_with(bytes) => return Ok(Version::Http1),
            // What was looked at stays readable, so that there is nothing to wait for but time.
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
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

    #[tokio::test]
    async fn what_a_caller_speaks_is_seen_from_its_first_bytes_and_nothing_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let spoken_by = async |pieces: &[&str]| {
            let (caller, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut caller, (mut socket, _)) = (caller.expect("connected"), accepted.expect("accepted"));
            let says = async {
                for piece in pieces {
                    caller.write_all(piece.as_bytes()).await.expect("written");
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                caller.shutdown().await.expect("closed");
            };
            let (version, ()) = tokio::join!(spoken(&socket), says);
            let mut all = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut all).await.expect("readable");
            assert_eq!(all, pieces.concat());
            version.map_err(|error| error.kind())
        };
        assert_eq!(spoken_by(&["POST /v1"]).await, Ok(Version::Http1));
        assert_eq!(spoken_by(&["P", "R", "OPFIND / HTTP/1.1"]).await, Ok(Version::Http1));
        assert_eq!(spoken_by(&["P", "RI", " * HTTP/2.0"]).await, Ok(Version::Http2));
        assert_eq!(spoken_by(&["PRI * HTTP/2.0"]).await, Ok(Version::Http2));
        assert_eq!(spoken_by(&[]).await, Err(io::ErrorKind::UnexpectedEof));
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
