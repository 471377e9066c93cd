//! Connections to providers: pools, HTTP/2 fan-out, TLS, proxies, decompression.
//!
//! The gateway sees one trait, [`Transport`]: the real one is here, the in-memory one is the simulator's, so the same
//! pipeline runs over sockets and on virtual time.
//!
//! The way of a call: a pool per endpoint (`pool`) hands out a connection or asks for one to be made (`dial`, `tls`,
//! `proxy`); the call crosses it (`http1`, `http2`); the answer's body gives the connection back when it was read to
//! its end, and closes or resets it when it is dropped before. Nothing is retried here: the attempt machine decides.

mod decode;
mod dial;
mod endpoint;
mod fault;
mod http1;
mod http2;
mod io;
mod pool;
mod proxy;
mod relay;
mod request;
mod settings;
mod tls;
mod transport;

pub use endpoint::EndpointError;
pub use pool::EndpointStats;
pub use proxy::{ProxyError, ProxySettings};
pub use settings::{Settings, SettingsError};
pub use transport::Upstream;

use bytes::Bytes;
use canon::Fault;
use http::{HeaderMap, Method, StatusCode};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Where a provider listens; parsed once, when the configuration is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// TLS or not.
    pub https: bool,
    /// Host name or address, without brackets or port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path prefix without trailing slash: `/v1`, or empty.
    pub path: String,
}

/// One upstream call.
#[derive(Debug)]
pub struct Call {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// `POST` for everything that reaches a model.
    pub method: Method,
    /// Path and query after the endpoint's prefix.
    pub path: String,
    /// End-to-end headers, credentials included; the transport adds `host`, `content-length` and `accept-encoding:
    /// identity`.
    pub headers: HeaderMap,
    /// The body, shared by every attempt.
    pub body: Bytes,
    /// Limit for DNS, TCP and TLS together.
    pub connect: Duration,
}

/// The body of an answer. Dropping it cancels the call: an HTTP/1 connection is closed, an HTTP/2 stream is reset.
pub type AnswerBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Fault> + Send>>;

/// The head of an answer, and its body, already decompressed.
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers as received.
    pub headers: HeaderMap,
    /// Body.
    pub body: AnswerBody,
}

/// Makes upstream calls. Errors are classified transport faults: `unreachable` (with `stale_connection` and
/// `may_be_billed` set as known) or `timed_out` in phase `connect`.
pub trait Transport: Send + Sync {
    /// Sends a call and waits for the head of the answer. Dropping the future cancels the call.
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;
}
