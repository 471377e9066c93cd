//! A provider that fails at one place in one way: a simulator's answers, written to the socket byte by byte up to
//! there.
//!
//! It stands at the socket itself, because half of what is broken here is below HTTP: a handshake, a head, a chunk.

use crate::answers::{Parts, parts};
use crate::cell::{Phase, Way};
use crate::statuses::LIMIT;
use bytes::Bytes;
use canon::DialectName;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use simulator::Simulator;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A pause within the limits, and one beyond them.
const SLOW: Duration = Duration::from_millis(100);
const LATE: Duration = LIMIT.saturating_mul(2);
/// What was written is on its way before a connection is reset.
const FLUSH: Duration = Duration::from_millis(20);

/// What is no HTTP, no TLS and no chunk.
const GARBAGE: &[u8] = b"\x00\xff\xfe zz garbage \x80\x81\r\n\r\n";

/// How a [`Breaker`] fails.
pub(crate) struct Plan {
    pub(crate) simulator: Simulator,
    pub(crate) phase: Phase,
    pub(crate) way: Way,
    /// Notified once the caller has something of an answer.
    pub(crate) shown: Arc<Notify>,
}

impl Plan {
    /// What was sent of a streamed answer is to reach the caller before the fault strikes.
    async fn until_shown(&self, is_stream: bool) {
        let is_shown =
            matches!(self.phase, Phase::MidText | Phase::MidToolCallAfterText | Phase::LastEvent | Phase::AfterFinish);
        if is_stream && is_shown {
            // Who shows nothing fails the cell by its outcome.
            let _ = tokio::time::timeout(LATE, self.shown.notified()).await;
        }
    }
}

/// A failing provider that listens. Dropping it closes everything.
pub(crate) struct Breaker {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    _accepting: JoinSet<()>,
    /// A port that is taken, and nobody listens.
    _bound: Option<TcpSocket>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    open: AtomicUsize,
}

impl Breaker {
    pub(crate) async fn start(plan: Plan) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut accepting = JoinSet::new();
        if (plan.phase, plan.way) == (Phase::Connect, Way::Reset) {
            let bound = TcpSocket::new_v4()?;
            bound.bind(any)?;
            let address = bound.local_addr()?;
            return Ok(Self { address, counts, _accepting: accepting, _bound: Some(bound) });
        }
        let listener = TcpListener::bind(any).await?;
        let address = listener.local_addr()?;
        accepting.spawn(accept(listener, Arc::new(plan), Arc::clone(&counts)));
        Ok(Self { address, counts, _accepting: accepting, _bound: None })
    }

    /// Requests read to their end.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Connections that nobody has closed.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, plan: Arc<Plan>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let (plan, counts) = (Arc::clone(&plan), Arc::clone(&counts));
                connections.spawn(async move {
                    counts.open.fetch_add(1, Ordering::Relaxed);
                    // The gateway hanging up is what a part of the cells is about.
                    let _ = serve(socket, &plan, &counts).await;
                    counts.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut socket: TcpStream, plan: &Plan, counts: &Counts) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if plan.phase == Phase::Connect {
        if plan.way != Way::Slow {
            return before_the_request(socket, plan).await;
        }
        tokio::time::sleep(SLOW).await;
    }
    if plan.phase == Phase::Tls {
        if socket.read(&mut [0; 4096]).await? == 0 {
            return Ok(());
        }
        return before_the_request(socket, plan).await;
    }
    let Some(request) = read_request(&mut socket).await? else { return Ok(()) };
    counts.requests.fetch_add(1, Ordering::Relaxed);
    let response = plan.simulator.call(request).await.map_err(io::Error::other)?;
    if plan.phase == Phase::Headers {
        at_the_head(socket, plan, response).await
    } else {
        in_the_body(socket, plan, response).await
    }
}

async fn before_the_request(mut socket: TcpStream, plan: &Plan) -> io::Result<()> {
    match plan.way {
        Way::Reset => return reset(socket).await,
        Way::Hang => return until_closed(socket).await,
        Way::Garbage => socket.write_all(GARBAGE).await?,
        Way::Status(_) => {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await?;
        }
        _ => {}
    }
    socket.shutdown().await?;
    until_closed(socket).await
}

async fn at_the_head(mut socket: TcpStream, plan: &Plan, response: Response<simulator::SimBody>) -> io::Result<()> {
    match plan.way {
        Way::Reset => return reset(socket).await,
        Way::Hang => return until_closed(socket).await,
        Way::Close => socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").await?,
        Way::Garbage => socket.write_all(GARBAGE).await?,
        way => {
            match way {
                Way::Slow => tokio::time::sleep(SLOW).await,
                Way::Late => tokio::time::sleep(LATE).await,
                _ => {}
            }
            let (mut head, body) = collected(response).await;
            match way {
                Way::PlainText => {
                    head.headers.insert("content-type", http::HeaderValue::from_static("text/plain"));
                }
                Way::Compression => {
                    head.headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
                }
                _ => {}
            }
            write_head(&mut socket, head.status.as_u16(), &head.headers).await?;
            write_chunk(&mut socket, &body).await?;
            socket.write_all(END).await?;
        }
    }
    socket.shutdown().await?;
    until_closed(socket).await
}

async fn in_the_body(mut socket: TcpStream, plan: &Plan, response: Response<simulator::SimBody>) -> io::Result<()> {
    let dialect = plan.simulator.dialect();
    let (mut head, body) = collected(response).await;
    let is_stream = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let Parts { before, after } = parts(dialect, is_stream, plan.phase, plan.way.tears_an_event(), &body);
    if plan.way == Way::Compression {
        head.headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
    }
    write_head(&mut socket, head.status.as_u16(), &head.headers).await?;
    if plan.way == Way::Compression {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&before)?;
        encoder.flush()?;
        write_chunk(&mut socket, encoder.get_ref()).await?;
        plan.until_shown(is_stream).await;
        // The reserved block type: no decoder gets past it.
        write_chunk(&mut socket, &[0xff; 64]).await?;
        socket.write_all(END).await?;
        socket.shutdown().await?;
        return until_closed(socket).await;
    }
    write_chunk(&mut socket, &before).await?;
    plan.until_shown(is_stream).await;
    match plan.way {
        Way::Reset => return reset(socket).await,
        Way::Hang => return until_closed(socket).await,
        Way::Garbage => socket.write_all(GARBAGE).await?,
        Way::Slow | Way::Late => {
            tokio::time::sleep(if plan.way == Way::Slow { SLOW } else { LATE }).await;
            write_chunk(&mut socket, &after).await?;
            socket.write_all(END).await?;
        }
        Way::Malformed => {
            let odd: &[u8] = if is_stream { b"data: {\"odd\": [\x00\n\n" } else { b"}\x00{[" };
            write_chunk(&mut socket, odd).await?;
            write_chunk(&mut socket, &after).await?;
            socket.write_all(END).await?;
        }
        Way::InBandError => {
            write_chunk(&mut socket, error_event(dialect)).await?;
            socket.write_all(END).await?;
        }
        _ => socket.write_all(END).await?,
    }
    socket.shutdown().await?;
    until_closed(socket).await
}

/// The end of a chunked body.
const END: &[u8] = b"0\r\n\r\n";

/// An error in the stream, as each provider writes it.
fn error_event(dialect: DialectName) -> &'static [u8] {
    match dialect {
        DialectName::OpenaiChat => {
            b"data: {\"error\":{\"message\":\"The server had an error while processing your request.\",\
              \"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"
        }
        DialectName::AnthropicMessages => {
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
              \"message\":\"Overloaded\"}}\n\n"
        }
        DialectName::Gemini => {
            b"data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded. Please try again later.\",\
              \"status\":\"UNAVAILABLE\"}}\n\n"
        }
    }
}

async fn collected(response: Response<simulator::SimBody>) -> (http::response::Parts, Bytes) {
    let (head, body) = response.into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

async fn write_head(socket: &mut TcpStream, status: u16, headers: &HeaderMap) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Status\r\nconnection: close\r\ntransfer-encoding: chunked\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap());
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).await
}

async fn write_chunk(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    socket.write_all(&chunk).await
}

async fn reset(socket: TcpStream) -> io::Result<()> {
    tokio::time::sleep(FLUSH).await;
    socket.set_zero_linger()
}

async fn until_closed(mut socket: TcpStream) -> io::Result<()> {
    let mut rest = [0; 4096];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn read_request(socket: &mut TcpStream) -> io::Result<Option<Request<Bytes>>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut request = Request::builder().method(first.next().unwrap_or_default()).uri(first.next().unwrap_or_default());
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        request = request.header(name, value.trim());
    }
    while read.len() < end + length {
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
    request.body(Bytes::copy_from_slice(&read[end..])).map(Some).map_err(io::Error::other)
}
