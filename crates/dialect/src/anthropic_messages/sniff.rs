//! Looks at a same-dialect stream or answer in passing.
//!
//! A content event is read once, by a parser that checks the JSON and keeps nothing of it but its types: that is what
//! tells a malformed event from a good one. Only the few events that state usage, finish, model or an error are read in
//! full. Recording reads the text of a content event besides, and where a block begins, its index.

use super::usage::WireUsage;
use super::{finish, usage};
use crate::shown::{BlockKind, Obstacle, OpenBlock, Shown};
use crate::{Sniffed, Sniffer, StreamEnd, sse};
use canon::{FinishReason, Tag};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

/// What one stream or answer has shown so far.
#[derive(Debug, Default)]
pub(super) struct Sniff {
    usage: WireUsage,
    model_known: bool,
    finished: bool,
    stopped: bool,
    shown: Option<Box<Shown>>,
}

/// The types in an event, and nothing else of it.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Piece<'a>>,
    #[serde(borrow)]
    content_block: Option<Piece<'a>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
}

/// A word of the protocol, which has nothing to unescape: reading it costs no allocation.
fn word(raw: &RawValue) -> &str {
    let raw = raw.get();
    raw.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(raw)
}

impl Piece<'_> {
    fn kind(&self) -> &str {
        self.kind.map(word).unwrap_or_default()
    }

    /// Whether it says nothing: some streams open with an empty delta.
    fn is_empty(&self) -> bool {
        let text = self.text.or(self.thinking).map(RawValue::get);
        text.is_none_or(|text| text == "\"\"" || text == "null")
    }
}

/// Nothing learned and nothing to forward.
fn nothing() -> Sniffed {
    Sniffed {
        tag: None,
        only_usage: false,
        malformed: false,
        usage: None,
        finish: None,
        error: None,
        model: None,
        terminator: false,
    }
}

fn tagged(tag: Tag) -> Sniffed {
    Sniffed { tag: Some(tag), ..nothing() }
}

fn malformed() -> Sniffed {
    Sniffed { malformed: true, ..nothing() }
}

impl Sniffer for Sniff {
    fn sniff(&mut self, frame: &sse::Frame) -> Sniffed {
        let data = frame.data.trim_ascii();
        // `[DONE]` is no event of this protocol, and its clients would choke on it.
        if data.is_empty() || data == b"[DONE]" {
            return nothing();
        }
        let Ok(text) = std::str::from_utf8(data) else { return malformed() };
        let Ok(outline) = serde_json::from_str::<Outline<'_>>(text) else { return malformed() };
        if outline.error.is_some() {
            return error(text);
        }
        let named = std::str::from_utf8(&frame.event).unwrap_or_default();
        match outline.kind.map_or(named, word) {
            "content_block_delta" => {
                let Some(delta) = &outline.delta else { return malformed() };
                let tag = delta_tag(delta);
                if let Some(shown) = self.shown.as_deref_mut() {
                    show_delta(tag, delta, text, shown);
                }
                tagged(tag)
            }
            "content_block_start" => {
                let Some(block) = &outline.content_block else { return malformed() };
                if let Some(shown) = self.shown.as_deref_mut() {
                    show_block(block, text, shown);
                }
                tagged(block_tag(block))
            }
            "content_block_stop" => {
                if let Some(shown) = self.shown.as_deref_mut() {
                    (shown.open_block, shown.open_call) = (None, false);
                }
                tagged(Tag::Prelude)
            }
            "message_start" => self.start(text),
            "message_delta" => self.message_delta(text),
            "message_stop" => {
                self.stopped = true;
                Sniffed { terminator: true, ..tagged(Tag::Done) }
            }
            "error" => error(text),
            // `ping`, and event types not known yet.
            _ => tagged(Tag::Prelude),
        }
    }

    fn sniff_answer(&mut self, body: &[u8]) -> Sniffed {
        let Ok(answer) = serde_json::from_slice::<AnswerOutline<'_>>(body) else { return malformed() };
        if let Some(error) = answer.error {
            return Sniffed { error: Some(error), ..tagged(Tag::Fault) };
        }
        let Some(content) = answer.content else { return malformed() };
        let finish = answer.stop_reason.map(|native| (finish::read(&native), native));
        let ended = matches!(finish, None | Some((FinishReason::Stop, _)));
        let tag = match strongest(&content) {
            Some(tag) => Some(tag),
            None if ended => None,
            None => Some(Tag::Done),
        };
        self.finished = finish.is_some();
        Sniffed {
            tag,
            usage: answer.usage.as_ref().map(usage::read).filter(|usage| !usage.is_empty()),
            terminator: finish.is_some(),
            finish,
            model: answer.model,
            ..nothing()
        }
    }

    fn end(&mut self, residue: &[u8]) -> StreamEnd {
        if self.stopped || self.finished {
            return StreamEnd::Complete;
        }
        match serde_json::from_slice::<Value>(residue.trim_ascii()) {
            Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => StreamEnd::Error(value),
            _ => StreamEnd::Incomplete,
        }
    }

    fn record(&mut self) {
        self.shown.get_or_insert_with(|| Box::new(Shown::with_room()));
    }

    fn stop_recording(&mut self) {
        self.shown = None;
    }

    fn shown(&self) -> Option<&Shown> {
        self.shown.as_deref()
    }

    fn shown_mut(&mut self) -> Option<&mut Shown> {
        self.shown.as_deref_mut()
    }
}

fn error(text: &str) -> Sniffed {
    serde_json::from_str(text)
        .map_or_else(|_| malformed(), |value| Sniffed { error: Some(value), ..tagged(Tag::Fault) })
}

impl Sniff {
    fn start(&mut self, text: &str) -> Sniffed {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return malformed() };
        let Some(message) = value.get("message").filter(|message| message.is_object()) else { return malformed() };
        let model = message.get("model").and_then(Value::as_str).filter(|_| !self.model_known).map(str::to_owned);
        self.model_known |= model.is_some();
        if let Some(shown) = self.shown.as_deref_mut() {
            let word = |key: &str| message.get(key).and_then(Value::as_str);
            shown.name(word("id"), word("model"), None);
            shown.begun = true;
        }
        let usage = self.usage(message.get("usage"));
        Sniffed { usage, model, ..tagged(Tag::Prelude) }
    }

    fn message_delta(&mut self, text: &str) -> Sniffed {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return malformed() };
        let usage = self.usage(value.get("usage"));
        let native = value.pointer("/delta/stop_reason").and_then(Value::as_str);
        let finish = native.map(|native| (finish::read(native), native.to_owned()));
        self.finished |= finish.is_some();
        if let Some(shown) = self.shown.as_deref_mut() {
            shown.finished |= finish.is_some();
        }
        let tag = if finish.is_some() { Tag::Done } else { Tag::Usage };
        Sniffed { usage, finish, ..tagged(tag) }
    }

    fn usage(&mut self, stated: Option<&Value>) -> Option<canon::Usage> {
        let stated = stated.filter(|stated| stated.is_object())?;
        self.usage.read(stated);
        Some(self.usage.canonical())
    }
}

fn delta_tag(delta: &Piece<'_>) -> Tag {
    match delta.kind() {
        "text_delta" if delta.is_empty() => Tag::Prelude,
        "thinking_delta" | "signature_delta" => Tag::Reasoning,
        "input_json_delta" => Tag::Tool,
        _ => Tag::Content,
    }
}

fn block_tag(block: &Piece<'_>) -> Tag {
    match block.kind() {
        "text" | "thinking" if block.is_empty() => Tag::Prelude,
        "thinking" | "redacted_thinking" => Tag::Reasoning,
        "tool_use" => Tag::Tool,
        _ => Tag::Content,
    }
}

/// The index of the block an event is of.
fn index(event: &str) -> u32 {
    #[derive(Deserialize)]
    struct Place {
        index: Option<u32>,
    }
    serde_json::from_str::<Place>(event).ok().and_then(|place| place.index).unwrap_or_default()
}

fn open(kind: BlockKind, event: &str, shown: &mut Shown) {
    let index = index(event);
    shown.blocks = shown.blocks.max(index.saturating_add(1));
    shown.open_block = Some(OpenBlock { index, kind });
}

/// Records the beginning of a block.
fn show_block(block: &Piece<'_>, event: &str, shown: &mut Shown) {
    let kind = match block.kind() {
        "text" => BlockKind::Text,
        "thinking" | "redacted_thinking" => BlockKind::Thinking,
        "tool_use" => BlockKind::Tool,
        _ => BlockKind::Other,
    };
    open(kind, event, shown);
    match kind {
        BlockKind::Text => {
            say(block.text, shown);
            if block.citations.is_some_and(|list| !matches!(list.get(), "[]" | "null")) {
                shown.hinder(Obstacle::Citations);
            }
        }
        BlockKind::Thinking => {
            let encrypted = block.kind() == "redacted_thinking";
            shown.reasoning |= encrypted || !block.is_empty();
            shown.signed |= encrypted;
        }
        BlockKind::Tool => (shown.tool_calls, shown.open_call) = (shown.tool_calls.saturating_add(1), true),
        BlockKind::Other => shown.hinder(Obstacle::Opaque),
    }
}

/// Records a piece of a block, of which the tag is known. Some servers leave out the start of a block whose first piece
/// says it all.
fn show_delta(tag: Tag, delta: &Piece<'_>, event: &str, shown: &mut Shown) {
    let within = shown.open_block.map(|open| open.kind);
    match tag {
        _ if within == Some(BlockKind::Other) => {}
        Tag::Content => match delta.kind() {
            "text_delta" => {
                if within.is_none() {
                    open(BlockKind::Text, event, shown);
                }
                say(delta.text, shown);
            }
            "citations_delta" => shown.hinder(Obstacle::Citations),
            _ => shown.hinder(Obstacle::Opaque),
        },
        Tag::Reasoning => {
            if within.is_none() {
                open(BlockKind::Thinking, event, shown);
            }
            shown.reasoning |= !delta.is_empty();
            shown.signed |= delta.kind() == "signature_delta";
        }
        // Arguments, or nothing said.
        Tag::Tool | Tag::Prelude | Tag::Usage | Tag::Fault | Tag::Done => {}
    }
}

/// Records text as it stands in the event.
fn say(text: Option<&RawValue>, shown: &mut Shown) {
    let Some(text) = text.map(RawValue::get).filter(|text| *text != "null") else { return };
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        // A token is a few bytes long: a loop is done before a vector search has begun.
        Some(plain) if !plain.bytes().any(|byte| byte == b'\\') => shown.text.push_str(plain),
        _ => match serde_json::from_str::<String>(text) {
            Ok(text) => shown.text.push_str(&text),
            Err(_) => shown.hinder(Obstacle::Opaque),
        },
    }
}

/// What of an answer matters here.
#[derive(Deserialize)]
struct AnswerOutline<'a> {
    model: Option<String>,
    stop_reason: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
    #[serde(borrow)]
    content: Option<Vec<Piece<'a>>>,
}

/// What an answer shows most of all: content before tools before reasoning; `None` = nothing.
fn strongest(content: &[Piece<'_>]) -> Option<Tag> {
    let mut best = None;
    for piece in content {
        match block_tag(piece) {
            Tag::Content => return Some(Tag::Content),
            Tag::Tool => best = Some(Tag::Tool),
            Tag::Reasoning if best.is_none() => best = Some(Tag::Reasoning),
            _ => {}
        }
    }
    best
}

#[cfg(test)]
#[path = "sniff_tests.rs"]
mod tests;
