//! Connections: the two protocols of HTTP on one port, a reset on demand, and a close that lets the client read.

use crate::steps::FLUSH;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How long a connection that answered early goes on reading, so that the client can read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// What a request may do to its connection.
#[derive(Default)]
pub(crate) struct Control {
    resets: AtomicBool,
    reset: Notify,
    /// Told when this connection is to announce its end.
    pub(crate) goaway: Notify,
}

impl Control {
    /// Ends the connection with RST once its body has broken. HTTP/2 resets the stream alone.
    pub(crate) fn reset_at_end(&self) {
        self.resets.store(true, Ordering::Release);
    }

    /// Ends the connection with RST; never returns to the request that asked for it.
    pub(crate) async fn kill<T>(&self) -> T {
        self.resets.store(true, Ordering::Release);
        self.reset.notify_one();
        std::future::pending().await
    }
}

/// The socket, which ends with RST instead of FIN when its control says so.
struct Socket {
    stream: TcpStream,
    control: Arc<Control>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.control.resets.load(Ordering::Acquire) {
            // A socket that is already gone cannot be reset, nor need it be.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Whether the client begins with the HTTP/2 preface; `None` when it goes away before it says anything.
async fn speaks_http2(stream: &TcpStream) -> Option<bool> {
    let mut start = [0_u8; 3];
    loop {
        match stream.peek(&mut start).await {
            Ok(0) | Err(_) => return None,
            // No method but the preface's begins with these letters.
            Ok(1) if start.starts_with(b"P") => tokio::time::sleep(Duration::from_millis(1)).await,
            Ok(_) => return Some(start.starts_with(b"PR")),
        }
    }
}

/// An answer on its way to a socket.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, crate::BrokenBody>>;
/// The work of making one.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// Serves one connection with HTTP/1.1 or, by prior knowledge, HTTP/2; `is_narrow` allows one stream at a time.
pub(crate) async fn serve_connection<H>(stream: TcpStream, is_narrow: bool, handle: H)
where
    H: Fn(Request<Incoming>, Arc<Control>) -> Answering + Clone + Send + Unpin + 'static,
{
    let Some(is_http2) = speaks_http2(&stream).await else { return };
    let control = Arc::new(Control::default());
    let socket = TokioIo::new(Socket { stream, control: Arc::clone(&control) });
    if is_http2 {
        serve_http2(socket, is_narrow, control, handle).await;
    } else {
        serve_http1(socket, control, handle).await;
    }
}

async fn serve_http1<H>(socket: TokioIo<Socket>, control: Arc<Control>, handle: H)
where
    H: Fn(Request<Incoming>, Arc<Control>) -> Answering + Clone + Send + Unpin + 'static,
{
    let watched = Arc::clone(&control);
    let service = service_fn(move |request| handle(request, Arc::clone(&control)));
    let mut connection =
        hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(socket, service);
    let result = tokio::select! {
        result = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => result,
        () = watched.reset.notified() => return,
    };
    let mut socket = connection.into_parts().io.into_inner();
    if result.is_err() {
        // A broken body: what was sent leaves first, then the connection closes without an end of the body.
        tokio::time::sleep(FLUSH).await;
        if watched.resets.load(Ordering::Acquire) {
            return;
        }
    }
    linger(&mut socket).await;
}

/// Half-closes and reads what still comes, so that an answer that came early is not lost to a reset.
async fn linger(socket: &mut Socket) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = vec![0_u8; 64 << 10];
        while socket.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    // Past the limit the peer has had its time.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

async fn serve_http2<H>(socket: TokioIo<Socket>, is_narrow: bool, control: Arc<Control>, handle: H)
where
    H: Fn(Request<Incoming>, Arc<Control>) -> Answering + Clone + Send + Unpin + 'static,
{
    let watched = Arc::clone(&control);
    let service = service_fn(move |request| handle(request, Arc::clone(&control)));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    if is_narrow {
        builder.max_concurrent_streams(1);
    }
    let mut connection = Box::pin(builder.serve_connection(socket, service));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = watched.reset.notified() => return,
            () = watched.goaway.notified() => connection.as_mut().graceful_shutdown(),
        }
    }
}
