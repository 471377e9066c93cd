//! Simulated providers behind an `upstream::Transport`, without sockets: on virtual time, minutes take milliseconds.

use crate::body::SimBody;
use crate::simulator::Simulator;
use crate::turn::ConnectionFault;
use bytes::Bytes;
use canon::{Fault, FaultClass, Origin, Phase};
use flate2::write::GzDecoder;
use http::{HeaderMap, Request, header};
use http_body::{Body, Frame};
use std::collections::HashMap;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use upstream::{AnswerBody, Call, Reply, Transport};

/// Routes calls by the endpoint's host to the simulator of that name. Clones share the hosts.
#[derive(Clone, Default)]
pub struct InMemory {
    hosts: Arc<RwLock<HashMap<String, Simulator>>>,
}

impl InMemory {
    /// Nobody is reachable yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this simulator, under its own name as the host.
    pub fn with(self, simulator: &Simulator) -> Self {
        self.add(simulator.name(), simulator);
        self
    }

    /// Puts a simulator behind a host name; one that was there is replaced.
    pub fn add(&self, host: &str, simulator: &Simulator) {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), simulator.clone());
    }

    fn find(&self, host: &str) -> Option<Simulator> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }
}

impl Transport for InMemory {
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        let simulator = self.find(&call.endpoint.host);
        Box::pin(async move {
            let Some(simulator) = simulator else {
                let message = format!("no provider is simulated on host `{}`", call.endpoint.host);
                return Err(Fault::new(FaultClass::Unreachable, Origin::Transport, message));
            };
            let connect = call.connect;
            let response = match simulator.call(request(call)?).await {
                Ok(response) => response,
                Err(ConnectionFault::Unroutable) => {
                    tokio::time::sleep(connect).await;
                    return Err(Fault { origin: Origin::Transport, ..Fault::timed_out(Phase::Connect, connect) });
                }
                Err(fault) => return Err(unreachable(fault)),
            };
            let (parts, body) = response.into_parts();
            let mut headers = parts.headers;
            let decoder = take_gzip(&mut headers).then(|| GzDecoder::new(Vec::new()));
            let body: AnswerBody = Box::pin(MemoryBody { inner: body, decoder });
            Ok(Reply { status: parts.status, headers, body })
        })
    }
}

fn request(call: Call) -> Result<Request<Bytes>, Fault> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("{}{}", call.endpoint.path, call.path))
        .body(call.body)
        .map_err(|error| Fault::new(FaultClass::InvalidRequest, Origin::Transport, error.to_string()))?;
    *request.headers_mut() = call.headers;
    Ok(request)
}

/// The transport's fault for a connection that failed.
pub(crate) fn unreachable(fault: ConnectionFault) -> Fault {
    Fault {
        // A reset comes after the request was sent in full.
        may_be_billed: fault == ConnectionFault::Reset,
        ..Fault::new(FaultClass::Unreachable, Origin::Transport, fault.to_string())
    }
}

/// The transport's fault for a body that broke.
pub(crate) fn broken() -> Fault {
    Fault {
        may_be_billed: true,
        ..Fault::new(FaultClass::StreamBroken, Origin::Transport, "the connection was lost in the middle of the answer")
    }
}

fn take_gzip(headers: &mut HeaderMap) -> bool {
    let is_gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    if is_gzip {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    is_gzip
}

/// A simulated body with the errors of a transport, decompressed as transports promise.
struct MemoryBody {
    inner: SimBody,
    decoder: Option<GzDecoder<Vec<u8>>>,
}

impl Body for MemoryBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Poll::Ready(Some(Err(broken()))),
                None => return Poll::Ready(None),
            };
            let (Some(decoder), Some(data)) = (&mut this.decoder, frame.data_ref()) else {
                return Poll::Ready(Some(Ok(frame)));
            };
            if decoder.write_all(data).and_then(|()| decoder.flush()).is_err() {
                return Poll::Ready(Some(Err(broken())));
            }
            let plain = std::mem::take(decoder.get_mut());
            if !plain.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(plain.into()))));
            }
        }
    }
}
