//! Reading a small document over HTTP, again and again: whatever has not changed is not sent again.
//!
//! The way out is that of every upstream call, TLS and proxies included. Redirects are not followed.

use super::LIMIT;
use crate::attempt::{Overflow, collect};
use crate::memory::ByteBudget;
use crate::wire::USER_AGENT;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use upstream::{Call, Endpoint, Transport};

/// DNS, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest document.
pub(super) const LONGEST: usize = 1 << 20;

/// Where a document is.
#[derive(Debug, Clone)]
pub(super) struct Address {
    endpoint: Arc<Endpoint>,
    /// Path and query.
    path: String,
}

impl Address {
    /// Reads `http[s]://host[:port]/path?query`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let path_at = url.bytes().enumerate().skip(after_scheme).find(|(_, byte)| b"/?#".contains(byte));
        let (origin, path) = path_at.and_then(|(at, _)| url.split_at_checked(at)).unwrap_or((url, ""));
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(format!("`{origin}…`: a path with characters that a URL must escape"));
        }
        let endpoint = Endpoint::parse(origin).map_err(|error| error.to_string())?;
        Ok(Self { endpoint: Arc::new(endpoint), path })
    }
}

impl Address {
    /// Whose it is; nothing of it is secret.
    pub(super) fn host(&self) -> &str {
        &self.endpoint.host
    }
}

/// What tells whether a document has changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// What was read.
pub(super) enum Fetched {
    /// The same as before.
    Unchanged,
    /// The document.
    Document(Bytes, Validators),
}

/// Reads a document.
///
/// # Errors
/// Why there is none, without anything of the address that may be secret.
pub(super) async fn fetch(
    transport: &dyn Transport,
    address: &Address,
    known: &Validators,
    budget: &ByteBudget,
) -> Result<Fetched, String> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, application/xml;q=0.9, */*;q=0.5"));
    for (name, value) in [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.modified)] {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    let (endpoint, path) = (address.endpoint.clone(), address.path.clone());
    let call = Call { endpoint, method: Method::GET, path, headers, body: Bytes::new(), connect: CONNECT };
    let asking = async {
        let reply = transport.send(call).await.map_err(|fault| fault.message)?;
        if reply.status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        if reply.status.is_redirection() {
            return Err(format!("HTTP {}: it has moved, and redirects are not followed", reply.status.as_u16()));
        }
        if reply.status != StatusCode::OK {
            return Err(format!("HTTP {}", reply.status.as_u16()));
        }
        let document = collect(reply.body, LONGEST, Overflow::Fault, &mut budget.nothing()).await;
        let document = document.map_err(|fault| fault.message)?;
        let validators = Validators {
            etag: reply.headers.get(header::ETAG).cloned(),
            modified: reply.headers.get(header::LAST_MODIFIED).cloned(),
        };
        Ok(Fetched::Document(document, validators))
    };
    let limit = || format!("nothing whole came within {LIMIT:?}");
    tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| Err(limit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_path_and_query_and_loses_its_fragment() {
        let parts = |url: &str| {
            let address = Address::parse(url).unwrap();
            (address.endpoint.to_string(), address.path)
        };
        let expected = |origin: &str, path: &str| (origin.to_owned(), path.to_owned());
        assert_eq!(parts("https://a.b/c/d.json?e=f#g"), expected("https://a.b", "/c/d.json?e=f"));
        assert_eq!(parts("http://127.0.0.1:81/feed/"), expected("http://127.0.0.1:81", "/feed/"));
        assert_eq!(parts("https://a.b"), expected("https://a.b", "/"));
        assert_eq!(parts("https://a.b?c"), expected("https://a.b", "/?c"));
        for wrong in ["", "a.b/c", "ftp://a.b/c", "https:///c", "https://u:p@a.b/c", "https://a.b/c d"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
