//! A kept answer, given again: the same bytes, marked in the header, and in the body where that breaks nobody.

use crate::pipeline::{Admitted, wants_trace};
use crate::respond::{self, GatewayBody, names};
use crate::settle;
use bytes::{BufMut, Bytes, BytesMut};
use canon::DialectName;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use serde_json::{Value, json};
use store::{Form, Found};

/// Headers that belong to an answer. Whatever else a response says is of its exchange alone: its limits, its ids.
const KEPT: [HeaderName; 9] = [
    names::EXPERIMENT,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    names::PROVIDER,
    names::MODEL,
    names::TIER,
    names::FALLBACK,
    names::REASON,
    names::DROPPED,
];

/// Why a kept answer is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why<'a> {
    /// It is fresh.
    Hit,
    /// Nothing can serve, because of this.
    Stale(&'a str),
    /// It is what this `Idempotency-Key` was given before.
    Idempotent,
}

/// The headers of an answer that are kept with it.
pub(super) fn head_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |name: &HeaderName| Some((name.as_str().to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    KEPT.iter().filter_map(text).collect()
}

/// The answer, as this caller's response.
pub(super) fn respond(found: &Found, admitted: &Admitted, why: Why<'_>) -> Response<GatewayBody> {
    let entry = &found.entry;
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in &entry.head {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            headers.insert(name, value);
        }
    }
    let word = match why {
        Why::Hit => "hit",
        Why::Stale(reason) => {
            respond::set(&mut headers, names::REASON, reason);
            "stale"
        }
        Why::Idempotent => {
            headers.insert(names::REPLAYED, HeaderValue::from_static("true"));
            respond::NONE
        }
    };
    headers.insert(names::CACHE, HeaderValue::from_static(word));
    headers.insert(header::AGE, HeaderValue::from(found.age.as_secs()));
    headers.insert(names::ATTEMPTS, HeaderValue::from(0));
    headers.insert(names::COST, HeaderValue::from(0));
    let mut response = Response::new(GatewayBody::whole(body(found, admitted, why, word)));
    *response.headers_mut() = headers;
    tracing::debug!(
        request_id = &*admitted.request_id,
        model = admitted.model.name.as_str(),
        caller = admitted.caller.as_deref(),
        target = entry.target.as_str(),
        cache = word,
        age_s = found.age.as_secs(),
        "answered from memory"
    );
    response
}

fn body(found: &Found, admitted: &Admitted, why: Why<'_>, word: &str) -> Bytes {
    let entry = &found.entry;
    let inquiry = &admitted.inquiry;
    let age = found.age.as_secs();
    if matches!(why, Why::Idempotent) {
        return entry.body.clone();
    }
    if wants_trace(&inquiry.headers) {
        let story = story(found, admitted, word);
        return match entry.form {
            Form::Whole => respond::with_story(&entry.body, &story),
            Form::Stream { .. } => {
                let event = settle::story_event(inquiry.dialect, &admitted.shape(), entry.model.as_deref(), &story);
                before_terminator(&entry.body, inquiry.dialect, &event)
            }
        };
    }
    match (why, entry.form, inquiry.dialect) {
        (Why::Stale(_), Form::Whole, DialectName::OpenaiChat | DialectName::AnthropicMessages) => {
            respond::with_story(&entry.body, &json!({ "cache": "stale", "age_s": age }))
        }
        // A comment is skipped by every reader of events but Google's SDKs, which take it for JSON; their answers
        // have no room either.
        (Why::Stale(_), Form::Stream { .. }, DialectName::OpenaiChat | DialectName::AnthropicMessages) => {
            let mut out = BytesMut::with_capacity(entry.body.len() + 64);
            out.put_slice(format!(": mainstay: a stale answer, {age} s old\n\n").as_bytes());
            out.put_slice(&entry.body);
            out.freeze()
        }
        (Why::Hit | Why::Idempotent | Why::Stale(_), _, _) => entry.body.clone(),
    }
}

fn story(found: &Found, admitted: &Admitted, word: &str) -> Value {
    json!({
        "request_id": &*admitted.request_id,
        "model": admitted.model.name,
        "served_by": found.entry.target,
        "cache": word,
        "age_s": found.age.as_secs(),
        "attempts": [],
        "excluded": [],
        "usage": found.entry.usage,
        "cost": 0,
    })
}

/// Puts an event where a trace stands: before the terminator, where the dialect has one.
fn before_terminator(stream: &Bytes, dialect: DialectName, event: &Bytes) -> Bytes {
    let terminator: &[u8] = match dialect {
        DialectName::OpenaiChat => b"data: [DONE]",
        DialectName::AnthropicMessages => b"event: message_stop",
        DialectName::Gemini => b"",
    };
    let found = stream.windows(terminator.len().max(1)).rposition(|window| window == terminator);
    let at = found.filter(|_| !terminator.is_empty()).unwrap_or(stream.len());
    let (before, after) = stream.split_at_checked(at).unwrap_or((stream, &[]));
    let mut out = BytesMut::with_capacity(stream.len() + event.len());
    out.put_slice(before);
    out.put_slice(event);
    out.put_slice(after);
    out.freeze()
}
