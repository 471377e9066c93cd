//! A caller's request, read and scanned: what every attempt of the exchange is made from.

use bytes::Bytes;
use canon::{DialectName, Request};
use dialect::scan::Scan;
use dialect::{BadRequest, PathFacts};
use http::HeaderMap;
use std::sync::OnceLock;
use std::time::Duration;

/// The scanned request. The canonical form is made once, by the first attempt that needs it.
pub(crate) struct Inquiry {
    /// The dialect it came in, and the answer goes out in.
    pub dialect: DialectName,
    /// What the path said.
    pub path: PathFacts,
    /// The caller's headers.
    pub headers: HeaderMap,
    /// The body, shared by every attempt.
    pub body: Bytes,
    /// What routing needs to know of it.
    pub scan: Scan,
    canonical: OnceLock<Result<Request, BadRequest>>,
}

impl Inquiry {
    /// Wraps a scanned body.
    pub(crate) fn new(dialect: DialectName, path: PathFacts, headers: HeaderMap, body: Bytes, scan: Scan) -> Self {
        Self { dialect, path, headers, body, scan, canonical: OnceLock::new() }
    }

    /// The time the caller gives the whole exchange: `x-mainstay-timeout` in seconds, or with a unit (`1500ms`, `20s`).
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let text = self.headers.get("x-mainstay-timeout")?.to_str().ok()?.trim();
        let (number, scale) = match text.strip_suffix("ms") {
            Some(number) => (number, 0.001),
            None => (text.strip_suffix('s').unwrap_or(text), 1.0),
        };
        let seconds: f64 = number.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds * scale).ok().filter(|d| !d.is_zero())
    }

    /// Whether the caller's SDK says that this request is its own retry.
    pub(crate) fn is_callers_retry(&self) -> bool {
        self.headers.get("x-stainless-retry-count").is_some_and(|count| count != "0")
    }

    /// The canonical request; an error when the body is not a request of its dialect.
    pub(crate) fn canonical(&self) -> Result<&Request, &BadRequest> {
        self.canonical.get_or_init(|| dialect::inbound(self.dialect).decode_request(&self.path, &self.body)).as_ref()
    }
}
