//! Responses: the headers that say who served and why, errors in the caller's dialect, health and plain answers.

use crate::delayed::DelayedBody;
use crate::memory::Held;
use crate::readers::lock;
use crate::relay::RelayBody;
use crate::reuse::SharedBody;
use bytes::{BufMut, Bytes, BytesMut};
use canon::{CallerError, DialectName, Drops};
use catalog::Provider;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// Every response body of the gateway.
pub enum GatewayBody {
    /// A body known whole, `None` once it was handed over, and its share of the byte budget.
    Whole(Option<Bytes>, Option<Held>),
    /// A committed stream.
    Relay(Box<RelayBody>),
    /// A committed stream that somebody else watches too: see [`crate::readers`].
    Watched(Arc<Mutex<RelayBody>>),
    /// An answer that other callers share, or that is recorded.
    Shared(Arc<Mutex<SharedBody>>),
    /// A stream whose caller is kept company while it waits.
    Delayed(Arc<Mutex<DelayedBody>>),
    /// An early refusal, followed by reading off the rest of the request so that the caller gets to read it.
    Lingering(Box<crate::linger::Lingering>),
}

impl GatewayBody {
    /// A whole body.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()), None)
    }

    /// Whether it is a committed stream, whose cost is not known yet.
    pub(crate) fn is_stream(&self) -> bool {
        match self {
            Self::Relay(_) | Self::Watched(_) | Self::Delayed(_) => true,
            Self::Shared(body) => lock(body).is_stream(),
            Self::Whole(..) | Self::Lingering(_) => false,
        }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes, _) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Self::Relay(relay) => Pin::new(relay.as_mut()).poll_frame(cx),
            Self::Watched(relay) => Pin::new(&mut *lock(relay)).poll_frame(cx),
            Self::Shared(body) => Pin::new(&mut *lock(body)).poll_frame(cx),
            Self::Delayed(body) => Pin::new(&mut *lock(body)).poll_frame(cx),
            Self::Lingering(lingering) => Pin::new(lingering.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, _) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Relay(relay) => relay.is_end_stream(),
            Self::Watched(relay) => lock(relay).is_end_stream(),
            Self::Shared(body) => lock(body).is_end_stream(),
            Self::Delayed(body) => lock(body).is_end_stream(),
            Self::Lingering(lingering) => lingering.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Relay(_) | Self::Watched(_) | Self::Delayed(_) => SizeHint::default(),
            Self::Shared(body) => lock(body).size_hint(),
            Self::Lingering(lingering) => lingering.size_hint(),
        }
    }
}

/// What a header of the gateway says where there is nothing to say: each is on every response.
pub(crate) const NONE: &str = "none";
/// What `x-mainstay-cost` says where no price is known.
pub(crate) const UNKNOWN: &str = "unknown";

/// Names of the gateway's own response headers.
pub(crate) mod names {
    use http::HeaderName;

    pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    /// Where Anthropic's SDKs look for it.
    pub(crate) const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
    pub(crate) const PROVIDER: HeaderName = HeaderName::from_static("x-mainstay-provider");
    pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-mainstay-model");
    pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-mainstay-attempts");
    pub(crate) const FALLBACK: HeaderName = HeaderName::from_static("x-mainstay-fallback");
    /// The tier of who served, of models that have tiers.
    pub(crate) const TIER: HeaderName = HeaderName::from_static("x-mainstay-tier");
    /// The arms of the experiments that the request takes part in.
    pub(crate) const EXPERIMENT: HeaderName = HeaderName::from_static("x-mainstay-experiment");
    pub(crate) const REASON: HeaderName = HeaderName::from_static("x-mainstay-reason");
    pub(crate) const CACHE: HeaderName = HeaderName::from_static("x-mainstay-cache");
    pub(crate) const DROPPED: HeaderName = HeaderName::from_static("x-mainstay-dropped");
    pub(crate) const COST: HeaderName = HeaderName::from_static("x-mainstay-cost");
    /// The exchange of another caller answered this one too.
    pub(crate) const SHARED: HeaderName = HeaderName::from_static("x-mainstay-shared");
    /// The answer to an earlier request with the same `Idempotency-Key`.
    pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
    pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
}

/// What no allow-list opens: the connection's own headers, what the gateway says of the body it sends, and its own.
const NEVER_CROSSING: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "content-type",
    "set-cookie",
    "www-authenticate",
    "x-request-id",
];

/// Copies what may cross from a provider's answer to a caller of its dialect, by the catalogue's allow-list.
pub(crate) fn cross(provider: &Provider, from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let text = name.as_str();
        let never = NEVER_CROSSING.contains(&text) || text.starts_with("x-mainstay-");
        if !never && provider.passes_response_header(text) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Sets a header from text; what no header can carry is replaced.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let value = HeaderValue::try_from(text).unwrap_or_else(|_| {
        let clean: String = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        HeaderValue::try_from(clean).unwrap_or(HeaderValue::from_static("?"))
    });
    headers.insert(name, value);
}

/// Completes the headers of a response that is no answer: what nobody has set has nothing to say.
pub(crate) fn complete(headers: &mut HeaderMap) {
    let none = HeaderValue::from_static(NONE);
    for name in [names::PROVIDER, names::MODEL, names::REASON, names::CACHE, names::DROPPED, names::COST] {
        headers.entry(name).or_insert_with(|| none.clone());
    }
    for name in [names::ATTEMPTS, names::FALLBACK] {
        headers.entry(name).or_insert_with(|| HeaderValue::from_static("0"));
    }
}

/// The paths a translation lost, bounded so that the header stays readable.
pub(crate) fn set_dropped(headers: &mut HeaderMap, drops: &Drops) {
    const MOST: usize = 1024;
    if drops.is_empty() {
        headers.insert(names::DROPPED, HeaderValue::from_static(NONE));
        return;
    }
    let mut text = String::new();
    for dropped in drops.iter() {
        if text.len() + dropped.path.len() > MOST {
            text.push_str(", …");
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&dropped.path);
    }
    set(headers, names::DROPPED, &text.replace('…', "..."));
}

/// `retry-after` in whole seconds, rounded up: HTTP knows no fractions.
pub(crate) fn set_retry_after(headers: &mut HeaderMap, after: Duration) {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

/// Why there is no answer: the fault, or the gateway's own code.
pub(crate) fn reason_of(error: &CallerError) -> &str {
    match error.fault {
        Some(class) => class.as_str(),
        None => &error.code,
    }
}

/// An error in a dialect.
pub(crate) fn error(dialect: DialectName, error: &CallerError) -> Response<GatewayBody> {
    let body = dialect::inbound(dialect).encode_error(error);
    let mut response = Response::new(GatewayBody::whole(body));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set(headers, names::REASON, reason_of(error));
    if let Some(after) = error.retry_after {
        set_retry_after(headers, after);
    }
    // SDKs retry 5xx and 429 twice by themselves, which would triple the load on what just failed.
    if error.status == 429 || error.status >= 500 {
        headers.insert(names::SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

/// The end of an exchange that tried what there was: an SDK that tries again by itself would only repeat all of it.
pub(crate) fn final_error(dialect: DialectName, of: &CallerError) -> Response<GatewayBody> {
    let mut response = error(dialect, of);
    response.headers_mut().insert(names::SHOULD_RETRY, HeaderValue::from_static("false"));
    response
}

/// Adds the story to the body of an error.
pub(crate) fn tell(response: &mut Response<GatewayBody>, story: &serde_json::Value) {
    match response.body_mut() {
        GatewayBody::Whole(Some(bytes), _) => *bytes = with_story(bytes, story),
        GatewayBody::Lingering(lingering) => lingering.rewrite(|bytes| with_story(bytes, story)),
        GatewayBody::Whole(None, _)
        | GatewayBody::Relay(_)
        | GatewayBody::Watched(_)
        | GatewayBody::Shared(_)
        | GatewayBody::Delayed(_) => {}
    }
}

/// Adds the story to a JSON object without touching anything else of it.
pub(crate) fn with_story(bytes: &Bytes, story: &serde_json::Value) -> Bytes {
    let Some(end) = bytes.iter().rposition(|b| *b == b'}') else { return bytes.clone() };
    let Some(head) = bytes.get(..end) else { return bytes.clone() };
    let empty = head.iter().rev().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let story = story.to_string();
    let mut out = BytesMut::with_capacity(bytes.len() + story.len() + 16);
    out.put_slice(head);
    out.put_slice(if empty { b"\"mainstay\":" } else { b",\"mainstay\":" });
    out.put_slice(story.as_bytes());
    out.put_u8(b'}');
    out.freeze()
}

/// A JSON answer of the gateway itself.
pub(crate) fn json(value: &serde_json::Value) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::whole(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_goes_into_an_object_and_leaves_the_rest_alone() {
        let story = serde_json::json!({ "attempts": [] });
        let with = with_story(&Bytes::from_static(b"{ \"a\" : 1 }\n"), &story);
        assert_eq!(with, r#"{ "a" : 1 ,"mainstay":{"attempts":[]}}"#);
        assert_eq!(with_story(&Bytes::from_static(b"{ }"), &story), r#"{ "mainstay":{"attempts":[]}}"#);
    }

    #[test]
    fn a_refusal_that_may_pass_later_tells_sdks_not_to_retry_by_themselves() {
        let refusal = CallerError { retry_after: Some(Duration::from_millis(1200)), ..CallerError::new(503, "x", "y") };
        let response = error(DialectName::OpenaiChat, &refusal);
        assert_eq!(response.headers().get("retry-after").map(HeaderValue::as_bytes), Some(b"2".as_slice()));
        assert_eq!(response.headers().get("x-should-retry").map(HeaderValue::as_bytes), Some(b"false".as_slice()));
    }
}
