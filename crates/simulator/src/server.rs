//! A simulated provider behind a real socket, with the faults only sockets can have.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge, told apart by their first bytes. A refusal closes the listener, a reset
//! sends RST, a TLS failure answers the first bytes with garbage. What happens to a request is the [`Simulator`]'s
//! doing; this file only carries it out on the connection.

use crate::behaviour::FaultRule;
use crate::fault::FaultKind;
use crate::simulator::{ConnectionFault, OnConnection, Simulator};
use crate::steps::FLUSH;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How often a listener looks at the time line while a rule of it may close the listener.
const LOOK: Duration = Duration::from_millis(10);
/// Longest request body.
const LARGEST: usize = 64 << 20;
/// How long a connection that answered early goes on reading, so that the client can read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A listening simulator. Dropping it closes the listener and the connections.
pub struct Server {
    address: SocketAddr,
    simulator: Simulator,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens on a free port of the loopback address.
    pub async fn start(simulator: Simulator) -> io::Result<Self> {
        Self::bind(simulator, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens on this address.
    pub async fn bind(simulator: Simulator, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let work = accept(simulator.clone(), listener, address, Arc::clone(&connections));
        #[expect(clippy::disallowed_methods, reason = "one task accepts for each simulated provider")]
        let accepting = tokio::spawn(work);
        Ok(Self { address, simulator, connections, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The provider behind it: its faults can be set and its journal read at any time.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(simulator: Simulator, first: TcpListener, address: SocketAddr, connections: Arc<AtomicU64>) {
    let mut changes = simulator.changes();
    let mut listener = Some(first);
    // Connections end with the server.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        if simulator.always(|fault| fault == FaultKind::Refuse) {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let looks = listener.is_none() || simulator.may_refuse();
        tokio::select! {
            accepted = next(listener.as_ref()) => {
                if let Ok((stream, _)) = accepted {
                    connections.fetch_add(1, Ordering::Relaxed);
                    tasks.spawn(connection(stream, simulator.clone()));
                }
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK), if looks => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// What a request may do to its connection.
#[derive(Default)]
struct Control {
    resets: AtomicBool,
    reset: Notify,
    goaway: Notify,
}

impl Control {
    /// Ends the connection with RST; never returns to the request that asked for it.
    async fn kill<T>(&self) -> T {
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

async fn connection(mut stream: TcpStream, simulator: Simulator) {
    // Without TCP_NODELAY the kernel would hold small events back; it fails only on a socket already closed.
    let _ = stream.set_nodelay(true);
    if simulator.always(|fault| fault == FaultKind::TlsFailure) {
        return garble(&mut stream).await;
    }
    let Some(is_http2) = speaks_http2(&stream).await else { return };
    let control = Arc::new(Control::default());
    let socket = TokioIo::new(Socket { stream, control: Arc::clone(&control) });
    if is_http2 {
        serve_http2(socket, simulator, control).await;
    } else {
        serve_http1(socket, simulator, control).await;
    }
}

/// Answers the first bytes, a `ClientHello` most likely, with what no TLS stack understands.
async fn garble(stream: &mut TcpStream) {
    let mut buffer = [0_u8; 4096];
    if stream.read(&mut buffer).await.is_ok() && stream.write_all(b"\x00\xff\x00garbage\r\n").await.is_ok() {
        // The peer is free to be gone already.
        let _ = stream.shutdown().await;
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

type Answer = Response<BoxBody<Bytes, crate::BrokenBody>>;
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

async fn serve_http1(socket: TokioIo<Socket>, simulator: Simulator, control: Arc<Control>) {
    let watched = Arc::clone(&control);
    let service =
        service_fn(move |request| -> Answering { Box::pin(answer(request, simulator.clone(), Arc::clone(&control))) });
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

async fn serve_http2(socket: TokioIo<Socket>, simulator: Simulator, control: Arc<Control>) {
    let watched = Arc::clone(&control);
    let is_narrow = simulator.always(|fault| fault == FaultKind::OneStreamPerConnection);
    let service =
        service_fn(move |request| -> Answering { Box::pin(answer(request, simulator.clone(), Arc::clone(&control))) });
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

async fn answer(request: Request<Incoming>, simulator: Simulator, control: Arc<Control>) -> Result<Answer, Infallible> {
    if request.uri().path().starts_with("/__sim/") {
        return Ok(steer(request, &simulator).await);
    }
    let is_http1 = request.version() <= http::Version::HTTP_11;
    let (parts, body) = request.into_parts();
    let mut turn = simulator.begin(&parts);
    if let Some(mut early) = turn.early() {
        if is_http1 {
            early.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        return Ok(early.map(BodyExt::boxed));
    }
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        // The client went away, or sends without end.
        return control.kill().await;
    };
    let mut response = match turn.answer(body.to_bytes()).await {
        Ok(response) => response,
        Err(ConnectionFault::Unroutable) => return std::future::pending().await,
        Err(ConnectionFault::Refused | ConnectionFault::Reset | ConnectionFault::Tls) => {
            return control.kill().await;
        }
    };
    if response.extensions().get::<OnConnection>().is_some_and(|on| on.goaway) {
        if is_http1 {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        control.goaway.notify_one();
    }
    Ok(response.map(BodyExt::boxed))
}

/// The control routes of a demo: `POST /__sim/faults` sets rules, `GET /__sim/journal` shows what happened.
async fn steer(request: Request<Incoming>, simulator: &Simulator) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method().clone(), path.as_str()) {
        (Method::POST, "/__sim/faults") => {
            let body = Limited::new(request.into_body(), 1 << 20).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            match serde_json::from_slice::<Vec<RuleForm>>(&body) {
                Ok(rules) => {
                    simulator.set_faults(rules.into_iter().map(RuleForm::into_rule));
                    json(StatusCode::OK, &simulator.behaviour())
                }
                Err(error) => {
                    let expected = "a JSON array of faults, each a text or {\"fault\": …, \"percent\": …}";
                    json(
                        StatusCode::BAD_REQUEST,
                        &serde_json::json!({"error": format!("{error}; expected {expected}")}),
                    )
                }
            }
        }
        (Method::GET, "/__sim/journal") => json(StatusCode::OK, &simulator.journal()),
        _ => json(StatusCode::NOT_FOUND, &serde_json::json!({"error": "POST /__sim/faults or GET /__sim/journal"})),
    }
}

/// A rule as the control route takes it.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum RuleForm {
    Text(FaultKind),
    Full(FaultRule),
}

impl RuleForm {
    fn into_rule(self) -> FaultRule {
        match self {
            Self::Text(fault) => fault.into(),
            Self::Full(rule) => rule,
        }
    }
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
