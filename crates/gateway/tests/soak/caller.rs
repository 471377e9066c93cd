//! Callers: they ask in every dialect, some badly, some in a hurry, and some hang up.

use crate::client::{self, Seen};
use crate::support;
use bytes::Bytes;
use canon::DialectName;
use fastrand::Rng;
use gateway::{Gateway, GatewayBody};
use history::{ClientEnd, ClientPen, Recorder};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A caller who asks one request after the other.
pub(crate) struct Caller {
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) rng: Rng,
    pub(crate) name: String,
}

/// One request.
struct Asked {
    dialect: DialectName,
    form: Form,
    request: Request<Full<Bytes>>,
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
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..300))).await;
        }
    }

    fn request(&mut self, id: &str) -> Asked {
        let dialect = DialectName::ALL[self.rng.usize(0..3)];
        let form = match (self.rng.u32(0..6), dialect) {
            (0 | 1, _) => Form::Whole,
            (2, DialectName::Gemini) => Form::Array,
            _ => Form::Events,
        };
        let mut body = support::body(dialect, &format!("Tell me of number {}: {id}", self.rng.u32(0..1000)));
        match self.rng.u32(0..40) {
            0 => body["messages"] = json!("no list"),
            1 if dialect != DialectName::Gemini => body["model"] = json!("unknown"),
            2 | 3 if dialect != DialectName::Gemini => body["model"] = json!("lonely"),
            4..=6 => tools(dialect, &mut body),
            7 if dialect == DialectName::OpenaiChat => body["stream_options"] = json!({"include_usage": true}),
            _ => {}
        }
        if form != Form::Events {
            body.as_object_mut().unwrap().remove("stream_options");
        }
        let mut request = support::request(dialect, body, form != Form::Whole);
        if form == Form::Array {
            *request.uri_mut() = "/v1beta/models/chat:streamGenerateContent".parse().unwrap();
        }
        let headers = request.headers_mut();
        headers.insert("x-request-id", HeaderValue::try_from(id).unwrap());
        match self.rng.u32(0..20) {
            0 => drop(headers.insert("x-mainstay-timeout", HeaderValue::from_static("700ms"))),
            1 => drop(headers.insert("x-mainstay-trace", HeaderValue::from_static("1"))),
            _ => {}
        }
        Asked { dialect, form, request }
    }

    async fn ask(&mut self, asked: Asked, mut pen: ClientPen) {
        let Asked { dialect, form, request } = asked;
        let response = self.gateway.handle(request).await;
        let status = response.status().as_u16();
        pen.head(status);
        let body = self.read(response, &mut pen, dialect, form).await;
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

    /// Reads to the end, at the caller's own pace.
    async fn read(
        &mut self,
        response: Response<GatewayBody>,
        pen: &mut ClientPen,
        dialect: DialectName,
        form: Form,
    ) -> Vec<u8> {
        let is_answer = response.status().is_success();
        let mut body = response.into_body();
        let mut all = Vec::new();
        let mut told = 0;
        let is_slow = self.rng.u32(0..10) == 0;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            pen.body(&data);
            all.extend_from_slice(&data);
            // Told as it comes, so that a caller who hangs up has told what it had.
            if is_answer && form != Form::Whole {
                let seen = see(dialect, form, &all);
                pen.text(&seen.text[told..]);
                told = seen.text.len();
            }
            if is_slow {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..200))).await;
            }
        }
        all
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
