//! Ways out of the gateway that see what is sent, or answer as a test says.

use bytes::Bytes;
use canon::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use simulator::InMemory;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use upstream::{Call, Reply, Transport};

type Sending = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

/// One upstream call, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Remembers every call on its way to the simulators.
#[derive(Clone)]
pub(crate) struct Spy {
    inner: InMemory,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Spy {
    pub(crate) fn over(inner: InMemory) -> Self {
        Self { inner, sent: Arc::default() }
    }

    /// The calls so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Transport for Spy {
    fn send(&self, call: Call) -> Sending {
        let sent = Sent { host: call.endpoint.host.clone(), headers: call.headers.clone(), body: call.body.clone() };
        self.sent.lock().unwrap().push(sent);
        self.inner.send(call)
    }
}

/// Answers as a function of the call says.
pub(crate) struct Scripted<F>(pub(crate) F);

impl<F: Fn(Call) -> Result<Reply, Fault> + Send + Sync> Transport for Scripted<F> {
    fn send(&self, call: Call) -> Sending {
        let reply = (self.0)(call);
        Box::pin(async move { reply })
    }
}

/// A whole answer.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {});
    Reply { status: StatusCode::from_u16(status).unwrap(), headers: map, body: Box::pin(body) }
}

/// An `openai-chat` answer that says this.
pub(crate) fn openai_answer(text: &str) -> String {
    serde_json::json!({
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
    .to_string()
}
