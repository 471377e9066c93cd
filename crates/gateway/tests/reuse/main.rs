//! Answers that are used again, and what happens when nothing can serve: on virtual time.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod coalesce;
mod exhausted;
mod idempotency;
mod sockets;

use bytes::Bytes;
use canon::DialectName;
use gateway::{Gateway, GatewayBody};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use support::memory::{Answer, read};
use tokio::task::JoinHandle;

/// With one more header.
fn with(mut request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    request
}

/// A body with one user turn that asks for the same answer every time.
fn fixed(dialect: DialectName, text: &str) -> Value {
    let mut body = support::body(dialect, text);
    match dialect {
        DialectName::OpenaiChat | DialectName::AnthropicMessages => body["temperature"] = json!(0),
        DialectName::Gemini => body["generationConfig"] = json!({"temperature": 0}),
    }
    body
}

/// A caller of its own, that reads its answer to the end.
fn caller(gateway: &Arc<Gateway>, request: Request<Full<Bytes>>) -> JoinHandle<Answer> {
    let gateway = gateway.clone();
    #[expect(clippy::disallowed_methods, reason = "callers are tasks of their own")]
    tokio::spawn(async move { read(gateway.handle(request).await).await })
}

/// A caller of its own, that has the head and has read nothing.
fn asker(gateway: &Arc<Gateway>, request: Request<Full<Bytes>>) -> JoinHandle<Response<GatewayBody>> {
    let gateway = gateway.clone();
    #[expect(clippy::disallowed_methods, reason = "callers are tasks of their own")]
    tokio::spawn(async move { gateway.handle(request).await })
}
