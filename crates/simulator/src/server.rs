//! A simulated provider behind a real socket, with the faults only sockets can have.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge, told apart by their first bytes. A refusal closes the listener, a reset
//! sends RST, a TLS failure answers the first bytes with garbage. What happens to a request is the [`Simulator`]'s
//! doing; this file only carries it out on the connection.

use crate::behaviour::{Behaviour, FaultRule};
use crate::fault::FaultKind;
use crate::simulator::Simulator;
use crate::socket::{Answer, Answering, Control, serve_connection};
use crate::turn::{ConnectionFault, OnConnection};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How often a listener looks at the time line while a rule of it may close the listener.
const LOOK: Duration = Duration::from_millis(10);
/// Longest request body.
const LARGEST: usize = 64 << 20;

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

async fn connection(mut stream: TcpStream, simulator: Simulator) {
    // Without TCP_NODELAY the kernel would hold small events back; it fails only on a socket already closed.
    let _ = stream.set_nodelay(true);
    if simulator.always(|fault| fault == FaultKind::TlsFailure) {
        return garble(&mut stream).await;
    }
    let is_narrow = simulator.always(|fault| fault == FaultKind::OneStreamPerConnection);
    let handle = move |request, control| -> Answering { Box::pin(answer(request, simulator.clone(), control)) };
    serve_connection(stream, is_narrow, handle).await;
}

/// Answers the first bytes, a `ClientHello` most likely, with what no TLS stack understands.
async fn garble(stream: &mut TcpStream) {
    let mut buffer = [0_u8; 4096];
    if stream.read(&mut buffer).await.is_ok() && stream.write_all(b"\x00\xff\x00garbage\r\n").await.is_ok() {
        // The peer is free to be gone already.
        let _ = stream.shutdown().await;
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
        return Ok(early.map(BodyExt::boxed_unsync));
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
    Ok(response.map(|body| {
        let control = Arc::clone(&control);
        let body = body.map_err(move |broken| {
            if is_http1 && broken.is_reset() {
                control.reset_at_end();
            }
            broken
        });
        body.boxed_unsync()
    }))
}

/// The control routes: `POST /__sim/faults` sets rules, `POST /__sim/behaviour` everything (what is left out is the
/// default), `GET /__sim/behaviour` shows it, and `GET /__sim/journal` shows what happened.
async fn steer(request: Request<Incoming>, simulator: &Simulator) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method().clone(), path.as_str()) {
        (Method::POST, "/__sim/faults") => match serde_json::from_slice::<Vec<RuleForm>>(&said(request).await) {
            Ok(rules) => {
                simulator.set_faults(rules.into_iter().map(RuleForm::into_rule));
                json(StatusCode::OK, &simulator.behaviour())
            }
            Err(error) => {
                misunderstood(&error, "a JSON array of faults, each a text or {\"fault\": …, \"percent\": …}")
            }
        },
        (Method::POST, "/__sim/behaviour") => match serde_json::from_slice::<Behaviour>(&said(request).await) {
            Ok(behaviour) => {
                simulator.set_behaviour(behaviour);
                json(StatusCode::OK, &simulator.behaviour())
            }
            Err(error) => misunderstood(&error, "a JSON object with seed, pace, answer, continues, faults, recover_at"),
        },
        (Method::GET, "/__sim/behaviour") => json(StatusCode::OK, &simulator.behaviour()),
        (Method::GET, "/__sim/journal") => json(StatusCode::OK, &simulator.journal()),
        _ => json(
            StatusCode::NOT_FOUND,
            &serde_json::json!({"error": "POST /__sim/faults, GET or POST /__sim/behaviour, or GET /__sim/journal"}),
        ),
    }
}

async fn said(request: Request<Incoming>) -> Bytes {
    let body = Limited::new(request.into_body(), 1 << 20).collect().await;
    body.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

fn misunderstood(error: &serde_json::Error, expected: &str) -> Answer {
    json(StatusCode::BAD_REQUEST, &serde_json::json!({"error": format!("{error}; expected {expected}")}))
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
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
