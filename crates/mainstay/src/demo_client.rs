//! The client of the demo: asks as an application would, and judges whether the answer is whole and how it ended.

use bytes::{Bytes, BytesMut};
use dialect::sse;
use history::{ClientEnd, ClientPen, Recorder};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// As if it were complete, with words lost, doubled or from somewhere else.
    Wrong,
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
    /// It broke after its first content and went on at another target.
    pub(crate) went_on: bool,
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
    /// What every provider answers to the one question.
    expected: OnceLock<String>,
    recorder: Option<Arc<dyn Recorder>>,
    /// Numbers the requests of a history.
    asked: AtomicU64,
}

impl Client {
    /// A client of the gateway at `address`, which writes what it sees where there is a recorder.
    pub(crate) fn new(address: SocketAddr, recorder: Option<Arc<dyn Recorder>>) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&format!("http://{address}/v1")).map_err(|error| error.to_string())?;
        let transport = Upstream::new(Settings::default()).map_err(|error| error.to_string())?;
        Ok(Self {
            transport,
            endpoint: Arc::new(endpoint),
            expected: OnceLock::new(),
            recorder,
            asked: AtomicU64::new(0),
        })
    }

    /// Asks once while everybody is well: what is said then is the answer that all others are compared with.
    pub(crate) async fn learn(&self) -> Result<(), String> {
        let outcome = self.ask("demo", false).await;
        let learned = self.expected.get().is_some() && outcome.end == End::Answered;
        learned.then_some(()).ok_or_else(|| format!("nobody answered before anything broke: {:?}", outcome.end))
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
        headers.insert("x-mainstay-trace", HeaderValue::from_static("1"));
        let pen = self.recorder.clone().map(|recorder| {
            let id = format!("demo-{:06}", self.asked.fetch_add(1, Ordering::Relaxed));
            if let Ok(value) = HeaderValue::try_from(id.as_str()) {
                headers.insert("x-request-id", value);
            }
            ClientPen::sent(recorder, &id)
        });
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
            went_on: false,
            first_byte: Duration::ZERO,
            streamed,
            direct: model != "demo",
        };
        let Ok(reply) = self.transport.send(call).await else {
            if let Some(pen) = pen {
                pen.end(ClientEnd::Broken);
            }
            return outcome;
        };
        if let Some(pen) = &pen {
            pen.head(reply.status.as_u16());
        }
        let text =
            |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned).unwrap_or_default();
        outcome.provider = text("x-mainstay-provider");
        outcome.reason = text("x-mainstay-reason");
        let (body, first_byte) = read(reply.body, started).await;
        outcome.first_byte = first_byte;
        let heard = match (reply.status.is_success(), streamed) {
            (false, _) => Heard::default(),
            (true, true) => Heard::of_stream(body.clone()),
            (true, false) => Heard::of_whole(&body),
        };
        outcome.went_on = heard.went_on;
        outcome.end = if reply.status.is_success() {
            heard.judged(|text| self.expected.get_or_init(|| text.to_owned()) == text)
        } else {
            End::Refused
        };
        if let Some(mut pen) = pen {
            pen.body(&body);
            pen.text(&heard.text);
            pen.end(match outcome.end {
                End::Answered | End::Wrong => ClientEnd::Complete,
                End::Honest => ClientEnd::HonestError,
                End::Refused => ClientEnd::Refused { status: reply.status.as_u16() },
                End::CutSilently => ClientEnd::SilentCut,
            });
        }
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

/// What an application has of an answer.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    text: String,
    /// The answer said that it is whole.
    is_ended: bool,
    /// The answer ended with an error event.
    is_error: bool,
    /// By its trace, another target went on with it.
    went_on: bool,
}

impl Heard {
    /// Reads an answer in one piece.
    pub(crate) fn of_whole(body: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default();
        Self { text: text.to_owned(), is_ended: !text.is_empty(), is_error: false, went_on: went_on(&answer) }
    }

    /// Reads a stream.
    pub(crate) fn of_stream(body: Bytes) -> Self {
        let mut heard = Self::default();
        let (frames, _) = sse::frames(body);
        for frame in &frames {
            // Nothing counts that comes before what is last.
            heard.is_ended = frame.data == "[DONE]";
            let event: Value = serde_json::from_slice(&frame.data).unwrap_or_default();
            heard.is_error = event.get("error").is_some();
            heard.went_on |= went_on(&event);
            let delta = event.pointer("/choices/0/delta/content").and_then(Value::as_str);
            heard.text.push_str(delta.unwrap_or_default());
        }
        heard
    }

    /// How it ended, where `is_right` knows the words.
    pub(crate) fn judged(&self, is_right: impl FnOnce(&str) -> bool) -> End {
        match (self.is_ended, self.is_error) {
            (_, true) => End::Honest,
            (false, false) => End::CutSilently,
            (true, false) if is_right(&self.text) => End::Answered,
            (true, false) => End::Wrong,
        }
    }
}

/// Whether the story that an answer tells of itself has a rescue that served.
fn went_on(event: &Value) -> bool {
    let attempts = event.pointer("/mainstay/attempts").and_then(Value::as_array);
    let is_rescue =
        |attempt: &Value| attempt.get("rescue") == Some(&Value::Bool(true)) && attempt.get("fault").is_none();
    attempts.is_some_and(|attempts| attempts.iter().any(is_rescue))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(body: &str, streamed: bool) -> End {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let heard = if streamed { Heard::of_stream(body) } else { Heard::of_whole(&body) };
        heard.judged(|text| text == "a")
    }

    #[test]
    fn an_answer_is_judged_by_its_words_and_how_it_ended() {
        let content = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        assert_eq!(judged(&format!("{content}data: [DONE]\n\n"), true), End::Answered);
        assert_eq!(judged(&format!("{content}{content}data: [DONE]\n\n"), true), End::Wrong);
        let honest = format!("{content}data: {{\"error\":{{\"code\":\"stream_broken\"}}}}\n\n");
        assert_eq!(judged(&honest, true), End::Honest);
        assert_eq!(judged(content, true), End::CutSilently);
        assert_eq!(judged("{\"choices\":[]}", false), End::CutSilently);
        assert_eq!(judged("{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", false), End::Answered);
    }

    #[test]
    fn a_rescue_is_read_from_the_story_and_only_if_it_served() {
        let told = |attempts: &str| {
            let story = format!("data: {{\"choices\":[],\"mainstay\":{{\"attempts\":{attempts}}}}}\n\n");
            Heard::of_stream(Bytes::from(story)).went_on
        };
        assert!(told(r#"[{"target":"a","fault":"stream_broken"},{"target":"b","rescue":true}]"#));
        assert!(!told(r#"[{"target":"a","fault":"stream_broken"},{"target":"b","rescue":true,"fault":"bad_answer"}]"#));
        assert!(!told(r#"[{"target":"a","fault":"overloaded"},{"target":"b"}]"#));
    }
}
