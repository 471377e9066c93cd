//! A gateway over simulated providers, in memory on virtual time or behind a real socket.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

pub(crate) mod memory;
pub(crate) mod sockets;
pub(crate) mod transports;

use bytes::Bytes;
use canon::DialectName;
use catalog::Catalog;
use config::{Environment, Loader, Snapshot};
use health::Health;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// Loads a configuration over this health.
pub(crate) fn snapshot(yaml: &str, health: &Arc<Health>) -> Arc<Snapshot> {
    snapshot_over(yaml, health, &Arc::default())
}

/// Loads a configuration over this health and these books.
pub(crate) fn snapshot_over(yaml: &str, health: &Arc<Health>, ledger: &Arc<routing::Ledger>) -> Arc<Snapshot> {
    static CATALOG: OnceLock<Arc<Catalog>> = OnceLock::new();
    let catalog = CATALOG.get_or_init(|| Catalog::builtin().unwrap());
    let loader = Loader { catalog, health, ledger, environment: &Environment::new(), allow_injection: false };
    Arc::new(loader.load("test.yaml", yaml).unwrap_or_else(|error| panic!("{error}")))
}

/// The row of a simulated provider; `base` is scheme and host.
pub(crate) fn row(name: &str, dialect: DialectName, base: &str, keys: &str) -> String {
    let version = if dialect == DialectName::Gemini { "v1beta" } else { "v1" };
    format!("  {name}: {{ dialect: {dialect}, base_url: \"{base}/{version}\", keys: {keys} }}\n")
}

/// The body of a request with one user turn, without a stream flag.
pub(crate) fn body(dialect: DialectName, text: &str) -> Value {
    match dialect {
        DialectName::OpenaiChat => json!({"model": "chat", "messages": [{"role": "user", "content": text}]}),
        DialectName::AnthropicMessages => {
            json!({"model": "chat", "max_tokens": 1024, "messages": [{"role": "user", "content": text}]})
        }
        DialectName::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
    }
}

/// Where a request of this dialect goes.
pub(crate) fn path(dialect: DialectName, stream: bool) -> &'static str {
    match (dialect, stream) {
        (DialectName::OpenaiChat, _) => "/v1/chat/completions",
        (DialectName::AnthropicMessages, _) => "/v1/messages",
        (DialectName::Gemini, false) => "/v1beta/models/chat:generateContent",
        (DialectName::Gemini, true) => "/v1beta/models/chat:streamGenerateContent?alt=sse",
    }
}

/// The bytes of a request's body, stream flag included where the dialect has one.
pub(crate) fn bytes(dialect: DialectName, mut body: Value, stream: bool) -> Bytes {
    if stream && dialect != DialectName::Gemini {
        body["stream"] = json!(true);
    }
    body.to_string().into()
}

/// A request as an SDK makes it.
pub(crate) fn request(dialect: DialectName, body: Value, stream: bool) -> Request<Full<Bytes>> {
    Request::post(path(dialect, stream))
        .header("content-type", "application/json")
        .body(Full::new(bytes(dialect, body, stream)))
        .unwrap()
}

/// `Hello` in this dialect.
pub(crate) fn hello(dialect: DialectName, stream: bool) -> Request<Full<Bytes>> {
    request(dialect, body(dialect, "Hello"), stream)
}

/// The string code of an error, where its dialect puts it.
pub(crate) fn is_error_of(dialect: DialectName, body: &Value) -> bool {
    match dialect {
        DialectName::OpenaiChat => body["error"]["message"].is_string() && body["error"]["type"].is_string(),
        DialectName::AnthropicMessages => body["type"] == "error" && body["error"]["type"].is_string(),
        DialectName::Gemini => body["error"]["code"].is_number() && body["error"]["status"].is_string(),
    }
}
