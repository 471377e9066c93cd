//! The callers of a drill over sockets: they send at the times the seed says, whatever became of earlier requests, read
//! answers to the letter, and try again as their SDK does.

use super::providers::words;
use super::stage::{Stage, request_id};
use crate::demo_client::{End, Heard};
use ::drill::{Arrival, Form, Outcome, Refusal};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use upstream::{AnswerBody, Call, Endpoint, Settings, Transport, Upstream};

/// Bytes of a token of the prompt.
const PROMPT_TOKEN: usize = 4;

/// Everybody who asks one set of gateways.
pub(crate) struct Callers {
    stage: Arc<Stage>,
    transport: Upstream,
    gateways: Vec<Arc<Endpoint>>,
    /// By load.
    forms: Vec<Form>,
}

/// What became of one try.
enum Tried {
    Over(Outcome),
    Refused(Refusal),
}

impl Callers {
    /// Callers of gateways at these addresses; forms by load.
    pub(crate) fn new(stage: Arc<Stage>, gateways: &[SocketAddr], forms: Vec<Form>) -> Result<Self, String> {
        let endpoint = |address: &SocketAddr| {
            Endpoint::parse(&format!("http://{address}/v1")).map(Arc::new).map_err(|error| error.to_string())
        };
        let gateways = gateways.iter().map(endpoint).collect::<Result<_, String>>()?;
        let transport = Upstream::new(Settings::default()).map_err(|error| error.to_string())?;
        Ok(Self { stage, transport, gateways, forms })
    }

    /// Sends a request and stays with it to its end, its SDK's own retries included.
    pub(crate) async fn ask(&self, request: usize, arrival: Arrival, mut rng: fastrand::Rng) {
        let mut retries = 0;
        let outcome = loop {
            match self.try_once(request, &arrival, retries, rng.usize(0..self.gateways.len().max(1))).await {
                Tried::Over(outcome) => break outcome,
                Tried::Refused(refusal) => {
                    let Some(pause) = self.stage.live(|live| live.retry(arrival.load, refusal, retries)) else {
                        break Outcome::Refused;
                    };
                    retries += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let now = self.stage.now();
        self.stage.live(|live| live.ended(request, outcome, now));
    }

    async fn try_once(&self, request: usize, arrival: &Arrival, retries: u32, gateway: usize) -> Tried {
        let (Some(form), Some(endpoint)) = (self.forms.get(arrival.load), self.gateways.get(gateway)) else {
            return Tried::Over(Outcome::Refused);
        };
        let call = Call {
            endpoint: endpoint.clone(),
            method: Method::POST,
            path: "/chat/completions".to_owned(),
            headers: headers(form, &request_id(request, retries)),
            body: body(form, request, arrival),
            connect: Duration::from_secs(3),
        };
        let Ok(reply) = self.transport.send(call).await else { return Tried::Over(Outcome::Refused) };
        if !reply.status.is_success() {
            return Tried::Refused(refusal(reply.status, &reply.headers));
        }
        let heard = if arrival.streamed {
            let told = || {
                let now = self.stage.now();
                self.stage.live(|live| live.content(request, now));
            };
            Heard::of_stream(read(reply.body, told).await)
        } else {
            Heard::of_whole(&read(reply.body, || {}).await)
        };
        match heard.judged(|text| text == words(arrival.ask.output_tokens)) {
            End::Answered => {
                let now = self.stage.now();
                self.stage.live(|live| live.content(request, now));
                Tried::Over(Outcome::Answered)
            }
            // A whole answer with other words than its provider's, or a cut without an error event, is worse than an
            // honest end: neither is an answer.
            End::Honest | End::Wrong | End::CutSilently | End::Refused => Tried::Over(Outcome::Broken),
        }
    }
}

fn headers(form: &Form, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let own = form.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("x-request-id", id)]);
    for (name, value) in own {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

fn body(form: &Form, request: usize, arrival: &Arrival) -> Bytes {
    let size = usize::try_from(arrival.ask.prompt_tokens).unwrap_or(usize::MAX).saturating_mul(PROMPT_TOKEN);
    let mut prompt = format!("Request {request}: count. ");
    while prompt.len() < size {
        prompt.push_str("and so on ");
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(form.model));
    body.insert("stream".to_owned(), json!(arrival.streamed));
    body.insert("messages".to_owned(), json!([{ "role": "user", "content": prompt }]));
    if let Some(user) = &form.user {
        body.insert("user".to_owned(), json!(user));
    }
    if let Some(most) = form.max_output_tokens {
        body.insert("max_completion_tokens".to_owned(), json!(most));
    }
    Bytes::from(Value::Object(body).to_string())
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = text("retry-after").and_then(|value| value.parse().ok());
    let milliseconds = text("retry-after-ms").and_then(|value| value.parse().ok()).map(|it: f64| it / 1_000.0);
    let retry_after = milliseconds.or(seconds).and_then(|it| Duration::try_from_secs_f64(it).ok());
    let should_retry = text("x-should-retry").and_then(|value| value.parse().ok());
    Refusal { status: status.as_u16(), retry_after, should_retry }
}

/// The body as far as it came; `first` is called when its first event is here, which a gateway sends with the first
/// content.
async fn read(mut body: AnswerBody, first: impl Fn()) -> Bytes {
    let mut all = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let was_nothing = !has_event(&all);
        all.extend_from_slice(&data);
        if was_nothing && has_event(&all) {
            first();
        }
    }
    all.freeze()
}

/// Comments keep a waiting caller company and are no content.
fn has_event(body: &[u8]) -> bool {
    body.starts_with(b"data:") || body.windows(6).any(|window| window == b"\ndata:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdk_hears_the_hint_and_whether_it_should_try_again() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("3"));
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
        let heard = refusal(StatusCode::SERVICE_UNAVAILABLE, &headers);
        assert_eq!((heard.status, heard.should_retry), (503, Some(false)));
        assert_eq!(heard.retry_after, Some(Duration::from_secs(3)));
        headers.insert("retry-after-ms", HeaderValue::from_static("250"));
        assert_eq!(refusal(StatusCode::SERVICE_UNAVAILABLE, &headers).retry_after, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_comment_is_no_content() {
        assert!(!has_event(b": waiting\n\n"));
        assert!(has_event(b": waiting\n\ndata: {}\n\n") && has_event(b"data: {}"));
    }
}
