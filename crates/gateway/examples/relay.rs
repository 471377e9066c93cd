//! Relays undisturbed streams of a dialect with a rescue at hand or without, so that an instruction counter can tell
//! what the one costs over the other: `valgrind --tool=callgrind relay openai-chat resume 100`. `bench/chunks.sh` does
//! that.

use bytes::Bytes;
use canon::{DialectName, Fault};
use catalog::Catalog;
use config::{Environment, Loader};
use gateway::Gateway;
use health::Health;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use std::error::Error;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use upstream::{Call, Reply, Transport};

/// Words as models stream them: one in eight holds an escape.
const WORDS: [&str; 8] = [" the", " quick", " brown", ".\\n\\n", " fox", " jumps", " über", " \u{1F98A}"];

/// Content chunks of one stream.
const CHUNKS: usize = 200;

/// The frames of one stream, each an event.
struct Frames {
    of: Arc<Vec<Bytes>>,
    next: usize,
    /// As a socket: every other poll finds nothing yet.
    ready: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Fault;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.ready = !self.ready;
        if !self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = self.of.get(self.next).cloned();
        self.next += 1;
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

struct Provider(Arc<Vec<Bytes>>);

impl Transport for Provider {
    fn send(&self, _call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        let body = Frames { of: self.0.clone(), next: 0, ready: false };
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
            Ok(Reply { status: StatusCode::OK, headers, body: Box::pin(body) })
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: relay DIALECT resume|error STREAMS");
    let (name, rescue, streams) = (next()?, next()?, next()?.parse::<usize>()?);
    let dialect = DialectName::ALL.into_iter().find(|dialect| dialect.as_str() == name).ok_or("no such dialect")?;
    let yaml = format!(
        "providers:\n  a: {{ dialect: {name}, base_url: \"http://127.0.0.1:1/v1\", keyless: true }}\n\
         models:\n  m:\n    targets: [a/x]\n    rescue: {rescue}\n"
    );
    let catalog = Catalog::builtin().map(Arc::new).map_err(|error| error.to_string())?;
    let health = Arc::new(Health::new(1));
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &Arc::default(),
        environment: &Environment::new(),
        allow_injection: false,
    };
    let snapshot = loader.load("example", &yaml).map_err(|error| error.to_string())?;
    let provider = Provider(Arc::new(stream(dialect)));
    let gateway = Gateway::new(Arc::new(snapshot), Arc::new(provider), 1)?;
    for _ in 0..streams {
        let mut body = gateway.handle(request(dialect)?).await.into_body();
        while let Some(frame) = body.frame().await {
            black_box(frame.is_ok());
        }
    }
    Ok(())
}

fn request(dialect: DialectName) -> Result<Request<Full<Bytes>>, http::Error> {
    let (path, body) = match dialect {
        DialectName::OpenaiChat => {
            ("/v1/chat/completions", r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#)
        }
        DialectName::AnthropicMessages => (
            "/v1/messages",
            r#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#,
        ),
        DialectName::Gemini => (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#,
        ),
    };
    Request::post(path).header("content-type", "application/json").body(Full::new(Bytes::from_static(body.as_bytes())))
}

fn stream(dialect: DialectName) -> Vec<Bytes> {
    let words = WORDS.iter().cycle().take(CHUNKS);
    let (before, after): (&str, &str) = match dialect {
        DialectName::OpenaiChat => (
            "",
            "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\
             \"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
        DialectName::AnthropicMessages => (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":25,\
             \"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
             \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\n\
             data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n\
             event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        DialectName::Gemini => (
            "",
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \".\"}],\"role\": \"model\"},\"index\": 0,\
             \"finishReason\": \"STOP\"}],\"modelVersion\": \"m\"}\r\n\r\n",
        ),
    };
    let chunk = |word: &&str| match dialect {
        DialectName::OpenaiChat => format!(
            "data: {{\"id\":\"chatcmpl-9lMgfRSWPHcw51s6wxKT1YEO2CKpd\",\"object\":\"chat.completion.chunk\",\
             \"created\":1721075653,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_8b761cb050\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\
             \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"Ar7nQ\"}}\n\n"
        ),
        DialectName::AnthropicMessages => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}}}\n\n"
        ),
        DialectName::Gemini => format!(
            "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{word}\"}}],\"role\": \"model\"}},\
             \"index\": 0}}],\"usageMetadata\": {{\"promptTokenCount\": 8,\"candidatesTokenCount\": 20,\
             \"totalTokenCount\": 28,\"promptTokensDetails\": [{{\"modality\": \"TEXT\",\"tokenCount\": 8}}]}},\
             \"modelVersion\": \"gemini-3-flash\",\"responseId\": \"lmnoaOS2Ms2nkdUPsrWm4Ag\"}}\r\n\r\n"
        ),
    };
    let mut frames: Vec<Bytes> = Vec::with_capacity(CHUNKS + 2);
    frames.extend((!before.is_empty()).then(|| Bytes::from_static(before.as_bytes())));
    frames.extend(words.map(|word| Bytes::from(chunk(word))));
    frames.push(Bytes::from_static(after.as_bytes()));
    frames
}
