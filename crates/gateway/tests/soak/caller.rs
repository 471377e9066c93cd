//! Callers: they ask in every dialect, some badly, some in a hurry, and some hang up.

use crate::client::{self, Seen};
use crate::support;
use bytes::Bytes;
use canon::DialectName;
use fastrand::Rng;
use gateway::Gateway;
use history::{ClientEnd, ClientPen, Recorder};
use http::{HeaderValue, Request};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use upstream::{Call, Endpoint, Transport, Upstream};

/// Where a gateway is asked.
#[derive(Clone)]
pub(crate) enum Door {
    /// In memory.
    Direct(Rc<Gateway>),
    /// Behind a socket.
    Socket { client: Rc<Upstream>, endpoint: Arc<Endpoint> },
}

/// A body, wherever it comes from; `None` = the connection broke.
type Answer = Pin<Box<dyn Body<Data = Bytes, Error = ()>>>;

impl Door {
    async fn ask(&self, request: Request<Bytes>) -> Result<(u16, Answer), ()> {
        match self {
            Self::Direct(gateway) => {
                let response = gateway.handle(request.map(Full::new)).await;
                let (parts, body) = response.into_parts();
                Ok((parts.status.as_u16(), Box::pin(body.map_err(|never| match never {}))))
            }
            Self::Socket { client, endpoint } => {
                let (parts, body) = request.into_parts();
                let call = Call {
                    endpoint: endpoint.clone(),
                    method: parts.method,
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body,
                    connect: Duration::from_secs(3),
                };
                let reply = client.send(call).await.map_err(drop)?;
                Ok((reply.status.as_u16(), Box::pin(reply.body.map_err(drop))))
            }
        }
    }

    /// How long a caller thinks between two requests, in milliseconds.
    fn pause(&self) -> u64 {
        match self {
            Self::Direct(_) => 300,
            Self::Socket { .. } => 20,
        }
    }
}

/// A caller who asks one request after the other.
pub(crate) struct Caller {
    pub(crate) door: Door,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) rng: Rng,
    pub(crate) name: String,
}

/// One request.
struct Asked {
    dialect: DialectName,
    form: Form,
    request: Request<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Events,
    /// Gemini without `alt=sse`.
    Array,
}

impl Caller {
    /// Asks until nothing is left to ask.
    pub(crate) async fn ask_while(mut self, left: Rc<Cell<u64>>) {
        for ordinal in 0.. {
            let Some(fewer) = left.get().checked_sub(1) else { return };
            left.set(fewer);
            let id = format!("r-{}-{ordinal}", self.name);
            let asked = self.request(&id);
            // Some hang up, and none of them says when.
            let patience = match self.rng.u32(0..8) {
                0 => Duration::from_millis(self.rng.u64(0..2000)),
                _ => Duration::from_secs(3600),
            };
            let pen = ClientPen::sent(self.recorder.clone(), &id);
            // A pen that is dropped has hung up.
            let _hung_up = tokio::time::timeout(patience, self.ask(asked, pen)).await;
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..self.door.pause()))).await;
        }
    }

    fn request(&mut self, id: &str) -> Asked {
        let dialect = DialectName::ALL[self.rng.usize(0..3)];
        let form = match (self.rng.u32(0..6), dialect) {
            (0 | 1, _) => Form::Whole,
            (2, DialectName::Gemini) => Form::Array,
            _ => Form::Events,
        };
        // Few questions are asked of the model whose answers are shared, so that there is something to share.
        let is_shared = self.rng.u32(0..5) == 0;
        let (model, text) = if is_shared {
            ("shared", format!("Tell me of number {}", self.rng.u32(0..8)))
        } else {
            let unusual = self.rng.u32(0..20);
            let model = ["unknown", "lonely"].get(unusual as usize).copied().unwrap_or("chat");
            (model, format!("Tell me of number {}: {id}", self.rng.u32(0..1000)))
        };
        let mut body = support::body(dialect, &text);
        if dialect != DialectName::Gemini {
            body["model"] = json!(model);
        }
        match self.rng.u32(0..40) {
            0 => body["messages"] = json!("no list"),
            1..=3 => tools(dialect, &mut body),
            4 if dialect == DialectName::OpenaiChat && form == Form::Events => {
                body["stream_options"] = json!({"include_usage": true});
            }
            _ => {}
        }
        let streams = form != Form::Whole;
        let path = match form {
            Form::Array => "/v1beta/models/chat:streamGenerateContent",
            Form::Events | Form::Whole => support::path(dialect, streams),
        };
        let bytes = support::bytes(dialect, body, streams);
        let mut request = Request::post(path.replace("/chat:", &format!("/{model}:"))).body(bytes).unwrap();
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        let headers = request.headers_mut();
        headers.insert("x-request-id", HeaderValue::try_from(id).unwrap());
        match self.rng.u32(0..20) {
            0 => drop(headers.insert("x-mainstay-timeout", HeaderValue::from_static("700ms"))),
            1 => drop(headers.insert("x-mainstay-trace", HeaderValue::from_static("1"))),
            2 => {
                let key = format!("key-{}", self.rng.u32(0..20));
                headers.insert("idempotency-key", HeaderValue::try_from(key).unwrap());
            }
            _ => {}
        }
        Asked { dialect, form, request }
    }

    async fn ask(&mut self, asked: Asked, mut pen: ClientPen) {
        let Asked { dialect, form, request } = asked;
        let Ok((status, body)) = self.door.ask(request).await else { return pen.end(ClientEnd::Broken) };
        pen.head(status);
        let (body, is_broken) = self.read(body, &mut pen, (status == 200).then_some((dialect, form))).await;
        if is_broken {
            return pen.end(ClientEnd::Broken);
        }
        if status != 200 {
            pen.text("");
            return pen.end(ClientEnd::Refused { status });
        }
        let seen = see(dialect, form, &body);
        if form == Form::Whole {
            pen.text(&seen.text);
        }
        pen.end(match (seen.is_whole, seen.is_error) {
            (_, true) => ClientEnd::HonestError,
            (true, false) => ClientEnd::Complete,
            (false, false) => ClientEnd::SilentCut,
        });
    }

    /// Reads to the end, at the caller's own pace, and says whether the connection broke before it.
    async fn read(
        &mut self,
        mut body: Answer,
        pen: &mut ClientPen,
        answer: Option<(DialectName, Form)>,
    ) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let mut told = 0;
        let is_slow = self.rng.u32(0..10) == 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return (all, true) };
            let Ok(data) = frame.into_data() else { continue };
            pen.body(&data);
            all.extend_from_slice(&data);
            // Told as it comes, so that a caller who hangs up has told what it had.
            if let Some((dialect, form)) = answer.filter(|(_, form)| *form != Form::Whole) {
                let seen = see(dialect, form, &all);
                pen.text(&seen.text[told..]);
                told = seen.text.len();
            }
            if is_slow {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..200))).await;
            }
        }
        (all, false)
    }
}

fn see(dialect: DialectName, form: Form, body: &[u8]) -> Seen {
    match form {
        Form::Whole => client::whole(dialect, body),
        Form::Events => client::stream(dialect, &String::from_utf8_lossy(body)),
        Form::Array => client::array(&String::from_utf8_lossy(body)),
    }
}

/// Offers a tool, which simulated models like to call when the weather is spoken of.
fn tools(dialect: DialectName, body: &mut Value) {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    match dialect {
        DialectName::OpenaiChat => {
            let function = json!({"name": "weather", "parameters": schema});
            body["tools"] = json!([{"type": "function", "function": function}]);
            body["messages"][0]["content"] = json!("What is the weather?");
        }
        DialectName::AnthropicMessages => {
            body["tools"] = json!([{"name": "weather", "input_schema": schema}]);
            body["messages"][0]["content"] = json!("What is the weather?");
        }
        DialectName::Gemini => {
            body["tools"] = json!([{"functionDeclarations": [{"name": "weather", "parameters": schema}]}]);
            body["contents"][0]["parts"][0]["text"] = json!("What is the weather?");
        }
    }
}
