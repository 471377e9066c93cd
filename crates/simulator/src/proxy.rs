//! The simulator in front of a real provider: most traffic passes through, a share of it fails.

use crate::body::BrokenBody;
use crate::injector::{Injection, Injector};
use crate::socket::{Answer, Answering, Control, serve_connection};
use canon::DialectName;
use http::{HeaderMap, HeaderName, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use upstream::{Call, Endpoint, Transport};

/// Longest request body.
const LARGEST: usize = 64 << 20;

/// What concerns one connection only, or is made anew for the other side.
const STAYS: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Where to listen and whom to stand before.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Address to listen on; port 0 = a free one.
    pub address: SocketAddr,
    /// The real provider; its path is put before the path of each request.
    pub upstream: Endpoint,
    /// The dialect it speaks, for errors and events.
    pub dialect: DialectName,
    /// What goes wrong; `None` = nothing.
    pub injection: Option<Injection>,
    /// Limit for reaching the provider.
    pub connect: Duration,
}

/// A proxy that listens. Dropping it ends it.
pub struct Proxying {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Proxying {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxying {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a proxy that reaches the provider through `transport`. A connection that fails on the far side, by fault
/// or in earnest, is reset on the near side.
pub async fn proxy(options: ProxyOptions, transport: Arc<dyn Transport>) -> io::Result<Proxying> {
    let listener = TcpListener::bind(options.address).await?;
    let address = listener.local_addr()?;
    let transport: Arc<dyn Transport> = match &options.injection {
        Some(injection) => Arc::new(Injector::new(transport, options.dialect, injection)),
        None => transport,
    };
    let relay = Arc::new(Relay { transport, upstream: Arc::new(options.upstream), connect: options.connect });
    #[expect(clippy::disallowed_methods, reason = "one task accepts for the proxy")]
    let accepting = tokio::spawn(accept(listener, relay));
    Ok(Proxying { address, accepting })
}

async fn accept(listener: TcpListener, relay: Arc<Relay>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Fails only on a socket already closed.
                let _ = stream.set_nodelay(true);
                let relay = Arc::clone(&relay);
                let handle = move |request, control| -> Answering { Box::pin(pass(request, Arc::clone(&relay), control)) };
                connections.spawn(serve_connection(stream, false, handle));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

struct Relay {
    transport: Arc<dyn Transport>,
    upstream: Arc<Endpoint>,
    connect: Duration,
}

async fn pass(request: Request<Incoming>, relay: Arc<Relay>, control: Arc<Control>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return control.kill().await;
    };
    let call = Call {
        endpoint: Arc::clone(&relay.upstream),
        method: parts.method,
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: crossing(&parts.headers),
        body: body.to_bytes(),
        connect: relay.connect,
    };
    let Ok(reply) = relay.transport.send(call).await else {
        return control.kill().await;
    };
    let body = reply.body.map_err(|_| BrokenBody::default()).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = crossing(&reply.headers);
    Ok(response)
}

fn crossing(headers: &HeaderMap) -> HeaderMap {
    let mut crossing = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !STAYS.contains(name) && name != "keep-alive" && name != "proxy-connection" {
            crossing.append(name.clone(), value.clone());
        }
    }
    crossing
}
