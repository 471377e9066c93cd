//! A caller over a bare socket: writes one request, reads to the end of the connection, and believes nothing. A client
//! library would hide what matters here, such as a body that ends without its last chunk.

use canon::DialectName;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The body ended as HTTP says it must: with its declared length or its last chunk.
    pub(crate) is_whole: bool,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) dialect: DialectName,
    pub(crate) model: &'a str,
    pub(crate) text: &'a str,
    pub(crate) tool: bool,
    pub(crate) streamed: bool,
    /// Gemini: one JSON array instead of events.
    pub(crate) as_array: bool,
}

impl Ask<'_> {
    /// Path and query under the provider's or the gateway's root.
    pub(crate) fn path(&self) -> String {
        match (self.dialect, self.streamed) {
            (DialectName::OpenaiChat, _) => "/v1/chat/completions".to_owned(),
            (DialectName::AnthropicMessages, _) => "/v1/messages".to_owned(),
            (DialectName::Gemini, true) => {
                let framing = if self.as_array { "" } else { "?alt=sse" };
                format!("/v1beta/models/{}:streamGenerateContent{framing}", self.model)
            }
            (DialectName::Gemini, false) => format!("/v1beta/models/{}:generateContent", self.model),
        }
    }

    pub(crate) fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.dialect {
            DialectName::OpenaiChat => &[("authorization", "Bearer sk-sim")],
            DialectName::AnthropicMessages => &[("x-api-key", "sk-sim"), ("anthropic-version", "2023-06-01")],
            DialectName::Gemini => &[("x-goog-api-key", "sk-sim")],
        }
    }

    pub(crate) fn body(&self) -> Value {
        let Self { model, text, .. } = self;
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let turn = json!([{"role": "user", "content": text}]);
        let mut body = match self.dialect {
            DialectName::OpenaiChat => json!({"model": model, "messages": turn}),
            DialectName::AnthropicMessages => json!({"model": model, "max_tokens": 4096, "messages": turn}),
            DialectName::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
        };
        if self.tool {
            body["tools"] = match self.dialect {
                DialectName::OpenaiChat => {
                    json!([{"type": "function", "function": {"name": "get_weather", "parameters": schema}}])
                }
                DialectName::AnthropicMessages => json!([{"name": "get_weather", "input_schema": schema}]),
                DialectName::Gemini => {
                    json!([{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}])
                }
            };
        }
        match self.dialect {
            DialectName::OpenaiChat if self.streamed => {
                body["stream"] = json!(true);
                body["stream_options"] = json!({"include_usage": true});
            }
            DialectName::AnthropicMessages if self.streamed => body["stream"] = json!(true),
            _ => {}
        }
        body
    }
}

/// Asks, and reads until the connection is closed. `None`: it was not closed within the limit.
pub(crate) async fn ask(address: SocketAddr, ask: &Ask<'_>, limit: Duration) -> Option<std::io::Result<Response>> {
    ask_and_tell(address, ask, limit, || ()).await
}

/// The same; `begun` is called when the first bytes of the answer are here.
pub(crate) async fn ask_and_tell(
    address: SocketAddr,
    ask: &Ask<'_>,
    limit: Duration,
    begun: impl FnOnce(),
) -> Option<std::io::Result<Response>> {
    tokio::time::timeout(limit, exchange(address, ask, begun)).await.ok()
}

async fn exchange(address: SocketAddr, ask: &Ask<'_>, begun: impl FnOnce()) -> std::io::Result<Response> {
    let body = ask.body().to_string();
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n",
        ask.path(),
        body.len()
    );
    for (name, value) in ask.headers() {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_buf(&mut answer).await?;
    begun();
    socket.read_to_end(&mut answer).await?;
    read(&answer).ok_or_else(|| std::io::Error::other("the answer has no HTTP head"))
}

fn read(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let rest = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let (body, is_whole) = if is_chunked {
        dechunked(rest)
    } else {
        let length = headers.get("content-length").and_then(|value| value.parse::<usize>().ok());
        (rest.to_vec(), length == Some(rest.len()))
    };
    Some(Response { status, headers, body, is_whole })
}

/// The content of a chunked body, and whether its last chunk came.
fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(size) = size else { return (body, false) };
        rest = &rest[end + 2..];
        if size == 0 {
            return (body, rest == b"\r\n");
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
