//! What the tests of recording and resuming share: sniffing and decoding a stream side by side, and what a stream says
//! in all.

#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test binary uses its own part of this")]

use bytes::{Bytes, BytesMut};
use canon::{DialectName, Drops, Event, FinishReason};
use dialect::profile::Profile;
use dialect::shown::Obstacle;
use dialect::sse::Frame;
use dialect::{Shown, StreamDecoder, StreamShape, inbound, outbound, sse};
use serde_json::Value;

/// The shape of a caller's stream where the provider says nothing.
pub fn shape() -> StreamShape {
    StreamShape {
        usage: true,
        json_array: false,
        fallback_id: "made-up".to_owned(),
        fallback_model: "a-model".to_owned(),
        created: 1_700_000_000,
    }
}

/// What a stream says in all, whatever its pieces.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    pub id: Option<String>,
    pub model: Option<String>,
    pub created: Option<i64>,
    pub starts: usize,
    pub text: String,
    pub reasoning: String,
    /// Id, name and arguments of each call, in the order of their numbers.
    pub calls: Vec<(Option<String>, String, String)>,
    pub finish: Vec<FinishReason>,
    pub done: usize,
}

impl Said {
    pub fn of(events: &[Event]) -> Self {
        let mut said = Self::default();
        for event in events {
            match event {
                Event::Start { id, model, created, .. } => {
                    said.starts += 1;
                    (said.id, said.model, said.created) = (id.clone(), model.clone(), *created);
                }
                Event::Text { text, .. } => said.text.push_str(text),
                Event::Reasoning { text, .. } => said.reasoning.push_str(text),
                Event::ToolCallStart { call, id, name, .. } => {
                    assert_eq!(usize::try_from(*call).unwrap(), said.calls.len(), "calls count up");
                    said.calls.push((id.clone(), name.clone(), String::new()));
                }
                Event::ToolCallDelta { call, arguments, .. } => {
                    said.calls[usize::try_from(*call).unwrap()].2.push_str(arguments);
                }
                Event::Finish { reason, .. } => said.finish.push(*reason),
                Event::Done => said.done += 1,
                _ => {}
            }
        }
        said
    }
}

/// Decodes a whole stream; no frame of it may be malformed.
pub fn decode(dialect: DialectName, profile: &Profile, stream: &[u8]) -> Vec<Event> {
    let (frames, residue) = sse::frames(Bytes::copy_from_slice(stream));
    let mut decoder = outbound(dialect).stream_decoder(profile);
    let mut events = Vec::new();
    for frame in &frames {
        decoder.decode(frame, &mut events).unwrap_or_else(|bad| panic!("{bad:?}: {frame:?}"));
    }
    decoder.end(&residue, &mut events);
    events
}

/// The events of another target that goes on where a stream broke: its own head, its calls counted from 0.
pub fn of_another_target(rest: &[Event], calls: u32) -> Vec<Event> {
    let start = Event::Start {
        id: Some("another".to_owned()),
        model: Some("another-model".to_owned()),
        created: Some(5),
        extra: Vec::new(),
    };
    let rebased = rest.iter().filter(|event| !matches!(event, Event::Start { .. })).cloned().map(|mut event| {
        if let Event::ToolCallStart { call, .. } | Event::ToolCallDelta { call, .. } | Event::ToolCallEnd { call, .. } =
            &mut event
        {
            *call -= calls;
        }
        event
    });
    std::iter::once(start).chain(rebased).collect()
}

/// What a resume encoder writes after `shown`.
pub fn resumed(dialect: DialectName, shown: &Shown, rest: &[Event]) -> BytesMut {
    let mut encoder = inbound(dialect).resume_encoder(shape(), shown);
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    for event in rest {
        encoder.encode(event, &mut out, &mut drops);
    }
    out
}

/// A recording sniffer and a decoder over the same frames.
pub struct SideBySide {
    dialect: DialectName,
    sniffer: Box<dyn dialect::Sniffer>,
    decoder: Box<dyn StreamDecoder>,
    pub decoded: Shown,
    pub events: Vec<Event>,
    open_opaque: bool,
}

impl SideBySide {
    pub fn new(dialect: DialectName, profile: &Profile) -> Self {
        let mut sniffer = outbound(dialect).sniffer(profile);
        assert!(sniffer.shown().is_none(), "recording is off by default");
        sniffer.record();
        let decoder = outbound(dialect).stream_decoder(profile);
        Self { dialect, sniffer, decoder, decoded: Shown::default(), events: Vec::new(), open_opaque: false }
    }

    /// Looks at a frame with both. `false` = it is not passed on, or ends the stream by an error.
    pub fn look(&mut self, frame: &Frame) -> bool {
        let sniffed = self.sniffer.sniff(frame);
        let before = self.events.len();
        let read = self.decoder.decode(frame, &mut self.events);
        if sniffed.malformed || sniffed.error.is_some() || read.is_err() {
            return false;
        }
        for event in &self.events[before..] {
            self.decoded.take(event);
        }
        self.decoded.continuation_token = self.decoder.continuation_token().map(str::to_owned);
        true
    }

    pub fn shown(&self) -> &Shown {
        self.sniffer.shown().unwrap()
    }

    pub fn shown_mut(&mut self) -> &mut Shown {
        self.sniffer.shown_mut().unwrap()
    }

    /// Asserts that what was recorded is what was decoded.
    pub fn agree(&self, name: &str) {
        let (recorded, decoded) = (self.shown(), &self.decoded);
        assert_eq!(recorded.text, decoded.text, "{name}");
        assert_eq!(recorded.continuation_token, decoded.continuation_token, "{name}");
        if decoded.begun {
            assert_eq!(recorded.id, decoded.id, "{name}");
            assert_eq!(recorded.model, decoded.model, "{name}");
            assert_eq!(recorded.created, decoded.created, "{name}");
            assert!(recorded.begun || decoded.is_empty(), "{name}");
        }
        // A decoder tells of signatures, sources and opaque blocks when their block is over, and of another candidate
        // when it says something.
        assert!(recorded.reasoning || !decoded.reasoning, "{name}: reasoning");
        assert!(recorded.signed || !decoded.signed, "{name}: signed");
        assert!(recorded.obstacle.is_some() || decoded.obstacle.is_none(), "{name}: {:?}", decoded.obstacle);
        if let (None, Some(found)) = (decoded.obstacle, recorded.obstacle) {
            let later = matches!(found, Obstacle::Citations | Obstacle::Opaque | Obstacle::Candidates);
            assert!(later, "{name}: the decoder knows nothing of {found}");
        }
        if recorded.obstacle.is_none() {
            assert_eq!(recorded.tool_calls, decoded.tool_calls, "{name}: tool calls");
            assert!(recorded.open_call || !decoded.open_call || recorded.finished, "{name}: open call");
        }
    }

    /// The rest of the stream, as the decoder tells it.
    pub fn end(mut self, residue: &[u8]) -> (Vec<Event>, Shown) {
        self.decoder.end(residue, &mut self.events);
        (self.events, self.sniffer.shown().unwrap().clone())
    }
}

/// Asserts that a whole stream keeps the discipline of its dialect, which SDKs rely on.
pub fn check_discipline(dialect: DialectName, stream: &[u8]) {
    let (frames, residue) = sse::frames(Bytes::copy_from_slice(stream));
    assert!(residue.is_empty());
    match dialect {
        DialectName::OpenaiChat => openai(&frames),
        DialectName::AnthropicMessages => anthropic(&frames),
        DialectName::Gemini => gemini(&frames),
    }
}

fn openai(frames: &[Frame]) {
    let (last, chunks) = frames.split_last().unwrap();
    assert_eq!(&last.data[..], b"[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|frame| serde_json::from_slice(&frame.data).unwrap()).collect();
    for chunk in &chunks {
        for key in ["id", "created", "model", "object"] {
            assert_eq!(chunk[key], chunks[0][key], "{key} changes");
        }
    }
    let roles = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some());
    assert_eq!(roles.count(), 1, "one chunk has the role");
    let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string());
    assert_eq!(finishes.count(), 1);
    let mut begun = 0;
    for entry in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0)) {
        let index = entry["index"].as_u64().unwrap();
        if entry.get("id").is_some() {
            assert_eq!(index, begun, "a call begins with the next number");
            begun += 1;
        } else {
            assert_eq!(index + 1, begun, "a piece belongs to the last call");
        }
    }
}

fn anthropic(frames: &[Frame]) {
    let mut next = 0;
    let mut open: Option<String> = None;
    let mut kinds = Vec::new();
    for frame in frames {
        let value: Value = serde_json::from_slice(&frame.data).unwrap();
        let kind = value["type"].as_str().unwrap().to_owned();
        assert_eq!(frame.event, kind);
        match kind.as_str() {
            "content_block_start" => {
                assert!(open.is_none(), "blocks overlap");
                assert_eq!(value["index"], next, "blocks count up");
                open = value["content_block"]["type"].as_str().map(str::to_owned);
            }
            "content_block_delta" => {
                assert_eq!(value["index"], next, "a piece of a block that is not open");
                let fits = match open.as_deref().unwrap() {
                    "text" => ["text_delta", "citations_delta"].as_slice(),
                    "thinking" => &["thinking_delta", "signature_delta"],
                    "tool_use" | "server_tool_use" => &["input_json_delta"],
                    _ => &[],
                };
                assert!(fits.contains(&value["delta"]["type"].as_str().unwrap()), "{value} in {open:?}");
            }
            "content_block_stop" => {
                assert_eq!(value["index"], next);
                assert!(open.take().is_some(), "a block that is not open is closed");
                next += 1;
            }
            _ => assert!(open.is_none() || kind == "ping", "{kind} inside a block"),
        }
        kinds.push(kind);
    }
    assert_eq!(kinds.first().map(String::as_str), Some("message_start"));
    let count = |wanted: &str| kinds.iter().filter(|kind| *kind == wanted).count();
    assert_eq!((count("message_start"), count("message_delta"), count("message_stop")), (1, 1, 1));
    assert!(kinds.ends_with(&["message_delta".to_owned(), "message_stop".to_owned()]));
}

fn gemini(frames: &[Frame]) {
    let chunks: Vec<Value> = frames.iter().map(|frame| serde_json::from_slice(&frame.data).unwrap()).collect();
    for chunk in &chunks {
        for key in ["responseId", "modelVersion"] {
            assert_eq!(chunk[key], chunks[0][key], "{key} changes");
        }
    }
    let finishes = chunks.iter().filter(|chunk| chunk["candidates"][0].get("finishReason").is_some()).count();
    assert_eq!(finishes, 1);
}
