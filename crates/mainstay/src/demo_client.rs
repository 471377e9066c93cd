//! The client of the demo: asks as an application would and judges how the answer ended.

use bytes::{Bytes, BytesMut};
use dialect::sse;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use upstream::{AnswerBody, Call, Endpoint, Settings, Transport, Upstream};

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Complete, with its terminator.
    Answered,
    /// With the error event, and no terminator.
    Honest,
    /// With an error instead of an answer.
    Refused,
    /// Neither: the caller cannot tell that something is missing.
    CutSilently,
}

/// One request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// `x-mainstay-provider`.
    pub(crate) provider: String,
    /// `x-mainstay-reason`.
    pub(crate) reason: String,
    /// From the request to the first byte of the answer.
    pub(crate) first_byte: Duration,
    /// It was streamed.
    pub(crate) streamed: bool,
    /// It named a target, not the model `demo`.
    pub(crate) direct: bool,
}

/// Asks a gateway.
pub(crate) struct Client {
    transport: Upstream,
    endpoint: Arc<Endpoint>,
}

impl Client {
    /// A client of the gateway at `address`.
    pub(crate) fn new(address: SocketAddr) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&format!("http://{address}/v1")).map_err(|error| error.to_string())?;
        let transport = Upstream::new(Settings::default()).map_err(|error| error.to_string())?;
        Ok(Self { transport, endpoint: Arc::new(endpoint) })
    }

    /// Sends one question and reads the answer to its end.
    pub(crate) async fn ask(&self, model: &str, streamed: bool) -> Outcome {
        let started = Instant::now();
        let question = json!({
            "model": model,
            "stream": streamed,
            "messages": [{ "role": "user", "content": "Is anybody there?" }],
        });
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = Call {
            endpoint: self.endpoint.clone(),
            method: Method::POST,
            path: "/chat/completions".to_owned(),
            headers,
            body: Bytes::from(question.to_string()),
            connect: Duration::from_secs(3),
        };
        let mut outcome = Outcome {
            end: End::CutSilently,
            provider: String::new(),
            reason: String::new(),
            first_byte: Duration::ZERO,
            streamed,
            direct: model != "demo",
        };
        let Ok(reply) = self.transport.send(call).await else { return outcome };
        let text =
            |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned).unwrap_or_default();
        outcome.provider = text("x-mainstay-provider");
        outcome.reason = text("x-mainstay-reason");
        let (body, first_byte) = read(reply.body, started).await;
        outcome.first_byte = first_byte;
        outcome.end = if reply.status.is_success() { judge(body, streamed) } else { End::Refused };
        outcome
    }
}

/// The body as far as it came, and when its first byte did.
async fn read(mut body: AnswerBody, started: Instant) -> (Bytes, Duration) {
    let mut all = BytesMut::new();
    let mut first = None;
    while let Some(Ok(frame)) = body.frame().await {
        first.get_or_insert_with(|| started.elapsed());
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    (all.freeze(), first.unwrap_or_else(|| started.elapsed()))
}

fn judge(body: Bytes, streamed: bool) -> End {
    if !streamed {
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let text = answer.as_ref().and_then(|a| a.pointer("/choices/0/message/content")).and_then(Value::as_str);
        return if text.is_some_and(|t| !t.is_empty()) { End::Answered } else { End::CutSilently };
    }
    let (frames, _) = sse::frames(body);
    let is_error = |frame: &sse::Frame| {
        serde_json::from_slice::<Value>(&frame.data).is_ok_and(|event| event.get("error").is_some())
    };
    match frames.last() {
        Some(last) if last.data == "[DONE]" => End::Answered,
        Some(last) if is_error(last) => End::Honest,
        Some(_) | None => End::CutSilently,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_how_it_ended() {
        let content = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let whole = format!("{content}data: [DONE]\n\n");
        let honest = format!("{content}data: {{\"error\":{{\"code\":\"stream_broken\"}}}}\n\n");
        assert_eq!(judge(Bytes::from(whole), true), End::Answered);
        assert_eq!(judge(Bytes::from(honest), true), End::Honest);
        assert_eq!(judge(Bytes::from(content), true), End::CutSilently);
        assert_eq!(judge(Bytes::from_static(b"{\"choices\":[]}"), false), End::CutSilently);
    }
}
