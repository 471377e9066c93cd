//! Requests in each dialect, and what is read from the answers.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use bytes::Bytes;
use canon::DialectName;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use simulator::{BrokenBody, FaultKind, FaultRule, Pace, Provider, SimBody, Simulator};
use std::time::Duration;

/// A provider that answers without waits unless told otherwise.
pub(crate) fn provider(dialect: DialectName) -> Provider {
    Provider::new("sim-a", dialect).at_pace(Pace::instant())
}

/// A simulator that fails every request in this way.
pub(crate) fn failing(dialect: DialectName, fault: &str) -> Simulator {
    let fault: FaultKind = fault.parse().unwrap();
    Simulator::new(provider(dialect).failing([FaultRule::new(fault)]))
}

/// A request with one user turn.
pub(crate) fn ask(dialect: DialectName, text: &str, stream: bool) -> Request<Bytes> {
    request(dialect, &body(dialect, text), stream)
}

/// The body of [`ask`], without the stream flag.
pub(crate) fn body(dialect: DialectName, text: &str) -> Value {
    match dialect {
        DialectName::OpenaiChat => json!({"model": "m-1", "messages": [{"role": "user", "content": text}]}),
        DialectName::AnthropicMessages => {
            json!({"model": "m-1", "max_tokens": 4096, "messages": [{"role": "user", "content": text}]})
        }
        DialectName::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
    }
}

/// [`body`] with one tool that takes a city.
pub(crate) fn body_with_tool(dialect: DialectName, text: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools = match dialect {
        DialectName::OpenaiChat => {
            json!([{"type": "function", "function": {"name": "get_weather", "parameters": schema}}])
        }
        DialectName::AnthropicMessages => json!([{"name": "get_weather", "input_schema": schema}]),
        DialectName::Gemini => json!([{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}]),
    };
    let mut body = body(dialect, text);
    body["tools"] = tools;
    body
}

/// A request with its usual path and headers.
pub(crate) fn request(dialect: DialectName, body: &Value, stream: bool) -> Request<Bytes> {
    let mut body = body.clone();
    let builder = match dialect {
        DialectName::OpenaiChat => {
            if stream {
                body["stream"] = json!(true);
                body["stream_options"] = json!({"include_usage": true});
            }
            Request::post("/v1/chat/completions").header("authorization", "Bearer sk-sim")
        }
        DialectName::AnthropicMessages => {
            if stream {
                body["stream"] = json!(true);
            }
            Request::post("/v1/messages").header("x-api-key", "sk-sim").header("anthropic-version", "2023-06-01")
        }
        DialectName::Gemini => {
            let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            Request::post(format!("/v1beta/models/m-1:{verb}")).header("x-goog-api-key", "sk-sim")
        }
    };
    builder.body(Bytes::from(body.to_string())).unwrap()
}

/// Reads a body to its end or its break.
pub(crate) async fn read(mut body: SimBody) -> (Vec<u8>, Option<BrokenBody>) {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
            Err(broken) => return (all, Some(broken)),
        }
    }
    (all, None)
}

/// The same, within a time limit on virtual time; `None` when it stays silent.
pub(crate) async fn read_within(body: SimBody, limit: Duration) -> Option<(Vec<u8>, Option<BrokenBody>)> {
    tokio::time::timeout(limit, read(body)).await.ok()
}

/// An answer that must come whole, as text.
pub(crate) async fn whole(response: Response<SimBody>) -> String {
    let (bytes, broken) = read(response.into_body()).await;
    assert_eq!(broken, None);
    String::from_utf8(bytes).unwrap()
}

/// The data of each event.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

/// The text of an answer that was not streamed.
pub(crate) fn text(dialect: DialectName, answer: &Value) -> String {
    let parts = match dialect {
        DialectName::OpenaiChat => {
            return answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        DialectName::AnthropicMessages => &answer["content"],
        DialectName::Gemini => &answer["candidates"][0]["content"]["parts"],
    };
    parts
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["thought"] != true)
        .filter_map(|part| part["text"].as_str())
        .collect()
}

/// The text of a stream.
pub(crate) fn streamed_text(dialect: DialectName, stream: &str) -> String {
    events(stream)
        .iter()
        .map(|event| match dialect {
            DialectName::OpenaiChat => event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned(),
            DialectName::AnthropicMessages => event["delta"]["text"].as_str().unwrap_or_default().to_owned(),
            DialectName::Gemini => text(dialect, event),
        })
        .collect()
}

/// Whether a stream carries its finish reason.
pub(crate) fn is_finished(dialect: DialectName, stream: &str) -> bool {
    events(stream).iter().any(|event| match dialect {
        DialectName::OpenaiChat => event["choices"][0]["finish_reason"].is_string(),
        DialectName::AnthropicMessages => event["delta"]["stop_reason"].is_string(),
        DialectName::Gemini => event["candidates"][0]["finishReason"].is_string(),
    })
}
