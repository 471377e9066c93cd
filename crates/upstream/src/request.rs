//! From a [`Call`] to a request on a connection: what belongs to one hop is taken off, what the transport owns is set.

use crate::dial::Via;
use crate::pool::HostPool;
use crate::{Call, Endpoint};
use bytes::Bytes;
use canon::{Fault, FaultClass, Origin};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Method, Request};
use http_body_util::Full;

/// Headers that never cross: they belong to one hop (RFC 9110 §7.6.1), or the transport sets them itself.
const NOT_FORWARDED: [HeaderName; 13] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
];

/// A call made ready before a connection is taken for it, so that a bad one never costs a connection.
pub(crate) struct Prepared {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

impl Prepared {
    pub(crate) fn new(call: Call) -> Result<Self, Fault> {
        let path = path_and_query(&call.endpoint, call.path)?;
        let mut headers = call.headers;
        strip(&mut headers);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !call.body.is_empty() || matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(call.body.len()));
        }
        Ok(Self { method: call.method, path, headers, body: call.body })
    }

    pub(crate) fn http1(mut self, pool: &HostPool, via: Option<&Via>) -> Result<Request<Full<Bytes>>, Fault> {
        self.headers.insert(header::HOST, pool.host_header.clone());
        let uri = match via {
            None => Uri::from(self.path),
            Some(via) => {
                if let Some(authorization) = &via.authorization {
                    self.headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
                }
                absolute(self.path, pool)?
            }
        };
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        Ok(request)
    }

    pub(crate) fn http2(self, pool: &HostPool) -> Result<(Request<()>, Bytes), Fault> {
        let mut request = Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        *request.method_mut() = self.method;
        *request.uri_mut() = absolute(self.path, pool)?;
        *request.headers_mut() = self.headers;
        Ok((request, self.body))
    }
}

fn path_and_query(endpoint: &Endpoint, path: String) -> Result<PathAndQuery, Fault> {
    let whole = if endpoint.path.is_empty() { path } else { format!("{}{path}", endpoint.path) };
    if !whole.starts_with('/') {
        return Err(bad_path());
    }
    PathAndQuery::from_maybe_shared(Bytes::from(whole)).map_err(|_| bad_path())
}

fn bad_path() -> Fault {
    // The path itself is not printed: it may hold a key.
    Fault::new(FaultClass::InvalidRequest, Origin::Mainstay, "the path of the call is no valid URL path")
}

fn absolute(path: PathAndQuery, pool: &HostPool) -> Result<Uri, Fault> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if pool.endpoint.https { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(pool.authority.clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| bad_path())
}

fn strip(headers: &mut HeaderMap) {
    if let Some(listed) = headers.get(header::CONNECTION).cloned() {
        for name in listed.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    for name in &NOT_FORWARDED {
        headers.remove(name);
    }
}
