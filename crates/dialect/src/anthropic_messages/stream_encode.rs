//! Writes canonical events as the stream the official SDKs read.
//!
//! Blocks never overlap: a block is closed when the channel (text, thinking, tool) switches. A tool call is the
//! exception that has to be waited for: what arrives while its arguments are unfinished is held back, in order, until
//! they are whole, so that parallel calls whose pieces interleave come out one after the other.
//!
//! `message_start` waits for the first event that says something, so that it can state the input tokens; the stop
//! reason waits for `Done`, because usage may follow it.

use super::answer_encode::{extra, message_id, refusal_details, tool_id};
use super::{DIALECT, citation, error, finish, usage};
use crate::shown::{BlockKind, OpenBlock, Shown};
use crate::{StreamEncoder, StreamShape};
use bytes::{BufMut, BytesMut};
use canon::{CallerError, Citation, Drops, Event, FinishReason, ProviderBound, Usage};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// One stream's state.
pub(super) struct Encoder {
    id: String,
    model: String,
    message_extra: Map<String, Value>,
    usage_extra: Map<String, Value>,
    started: bool,
    usage: Usage,
    next_index: u32,
    open: Option<Open>,
    /// Events that wait for the open tool call to end.
    held: VecDeque<Event>,
    /// Numbers of tool calls used up.
    calls: u32,
    /// Those used up by earlier targets: the present one counts its own from 0.
    calls_before: u32,
    stop: Option<Stop>,
    refused: bool,
    done: bool,
}

/// The block being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Text; `cited` once a source has been given for it.
    Text {
        cited: bool,
    },
    Thinking,
    Tool(u32),
    /// One that comes in one piece and is closed at once.
    Whole,
    /// One of a target that is gone: nothing more belongs into it.
    Ended,
}

struct Stop {
    reason: String,
    sequence: Option<String>,
    details: Value,
}

/// A piece of a block.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
    #[serde(rename = "citations_delta")]
    Citations { citation: Value },
}

#[derive(Serialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    delta: Delta<'a>,
}

impl Encoder {
    /// A writer for one stream; the shape's fallbacks stand in for what the provider leaves out.
    pub(super) fn new(shape: StreamShape) -> Self {
        Self {
            id: message_id(&shape.fallback_id, None),
            model: shape.fallback_model,
            message_extra: Map::new(),
            usage_extra: Map::new(),
            started: false,
            usage: Usage::default(),
            next_index: 0,
            open: None,
            held: VecDeque::new(),
            calls: 0,
            calls_before: 0,
            stop: None,
            refused: false,
            done: false,
        }
    }

    /// A writer that goes on where the caller's stream broke off.
    pub(super) fn resume(shape: StreamShape, shown: &Shown) -> Self {
        let mut encoder = Self::new(shape);
        if !shown.begun {
            return encoder;
        }
        encoder.started = true;
        // As the caller has them, whatever they look like.
        encoder.id = shown.id.clone().unwrap_or(encoder.id);
        encoder.model = shown.model.clone().unwrap_or(encoder.model);
        (encoder.calls, encoder.calls_before) = (shown.tool_calls, shown.tool_calls);
        encoder.next_index = shown.open_block.map_or(shown.blocks, |open| open.index);
        encoder.open = shown.open_block.map(|OpenBlock { kind, .. }| match kind {
            BlockKind::Text => Open::Text { cited: false },
            BlockKind::Thinking | BlockKind::Tool | BlockKind::Other => Open::Ended,
        });
        encoder
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops) {
        if self.done {
            return;
        }
        if let Some(candidate) = candidate(event).filter(|candidate| *candidate > 0) {
            drops.add(format!("candidates[{candidate}]"), "anthropic-messages answers with one");
            return;
        }
        if self.must_wait(event) {
            self.held.push_back(event.clone());
            return;
        }
        self.write(event, out, drops);
        if matches!(event, Event::ToolCallEnd { .. }) {
            self.release(out, drops);
        }
    }

    fn fail(&mut self, failure: &CallerError, out: &mut BytesMut) {
        self.done = true;
        event(out, "error", &error::value(failure));
    }
}

impl Encoder {
    /// Whether an event belongs to a block that cannot begin before the open tool call has ended.
    fn must_wait(&self, event: &Event) -> bool {
        let Some(Open::Tool(open)) = self.open else { return false };
        match event {
            Event::ToolCallDelta { call, .. } | Event::ToolCallEnd { call, .. } => self.number(*call) != open,
            Event::Text { .. }
            | Event::Refusal { .. }
            | Event::Reasoning { .. }
            | Event::RedactedReasoning { .. }
            | Event::ToolCallStart { .. }
            | Event::Citation { .. }
            | Event::Opaque { .. } => true,
            Event::Start { .. }
            | Event::Logprobs { .. }
            | Event::Finish { .. }
            | Event::Usage(_)
            | Event::Error(_)
            | Event::PromptBlocked(_)
            | Event::Ping
            | Event::Done
            | Event::Fault(_) => false,
        }
    }

    /// Writes what was held back, until the next unfinished call holds the rest.
    fn release(&mut self, out: &mut BytesMut, drops: &mut Drops) {
        loop {
            let mut ended = false;
            for event in std::mem::take(&mut self.held) {
                if self.must_wait(&event) {
                    self.held.push_back(event);
                    continue;
                }
                self.write(&event, out, drops);
                ended |= matches!(event, Event::ToolCallEnd { .. });
            }
            if !ended || self.held.is_empty() {
                return;
            }
        }
    }

    fn write(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops) {
        match event {
            Event::Start { .. } if self.started => self.go_on(out),
            Event::Start { id, model, extra: fields, .. } => self.head(id.as_deref(), model.as_deref(), fields, drops),
            Event::Text { text, signature, .. } => {
                lost_signature(signature.as_ref(), drops);
                self.text(text, out);
            }
            Event::Refusal { text, .. } => {
                self.refused = true;
                self.text(text, out);
            }
            Event::Reasoning { text, signature, .. } => self.thinking(text, signature.as_ref(), out, drops),
            Event::RedactedReasoning { data, .. } => {
                if data.dialect == DIALECT {
                    self.whole_block(&json!({ "type": "redacted_thinking", "data": data.value }), out);
                } else {
                    lost_signature(Some(data), drops);
                }
            }
            Event::ToolCallStart { call, id, name, signature, .. } => {
                lost_signature(signature.as_ref(), drops);
                let call = self.number(*call);
                self.calls = self.calls.max(call.saturating_add(1));
                let id = tool_id(id.as_deref(), &self.id, usize::try_from(call).unwrap_or_default());
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.open_block(Open::Tool(call), &block, out);
            }
            Event::ToolCallDelta { call, arguments, .. } => {
                if self.open == Some(Open::Tool(self.number(*call))) && !arguments.is_empty() {
                    self.delta(Delta::InputJson { partial_json: arguments }, out);
                }
            }
            Event::ToolCallEnd { call, .. } => {
                if self.open == Some(Open::Tool(self.number(*call))) {
                    self.close_block(out);
                }
            }
            Event::Citation { citation, .. } => self.citation(citation, out, drops),
            Event::Logprobs { .. } => drops.add("logprobs", "anthropic-messages has no such field"),
            Event::Opaque { dialect, value, .. } => {
                if *dialect == DIALECT {
                    self.whole_block(value, out);
                } else {
                    drops.add("content", "a block of another vendor's own");
                }
            }
            Event::Finish { reason, native, stop_sequence, .. } => {
                self.finish(*reason, native.as_deref(), stop_sequence.clone());
            }
            Event::PromptBlocked(block) => {
                self.stop =
                    Some(Stop { reason: "refusal".to_owned(), sequence: None, details: refusal_details(block) });
            }
            Event::Usage(usage) => self.usage.update(usage),
            Event::Ping => {
                if self.started {
                    out.put_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
                }
            }
            Event::Done => self.end(out, drops),
            // The driver ends a broken stream by `fail`.
            Event::Error(_) | Event::Fault(_) => {}
        }
    }

    /// The number of a call among all of the caller's stream.
    fn number(&self, call: u32) -> u32 {
        self.calls_before.saturating_add(call)
    }

    /// Another target goes on with what was written: its text into the open text block, all else into blocks of its
    /// own.
    fn go_on(&mut self, out: &mut BytesMut) {
        self.calls_before = self.calls;
        self.held.clear();
        if !matches!(self.open, Some(Open::Text { .. })) {
            self.close_block(out);
        }
    }

    fn head(&mut self, id: Option<&str>, model: Option<&str>, fields: &[(String, Value)], drops: &mut Drops) {
        if let Some(id) = id {
            self.id = message_id(id, None);
        }
        if let Some(model) = model {
            model.clone_into(&mut self.model);
        }
        for (key, value) in fields {
            extra(key, value, &mut self.message_extra, &mut self.usage_extra, drops);
        }
    }

    /// `message_start`, once.
    fn begin(&mut self, out: &mut BytesMut) {
        if self.started {
            return;
        }
        self.started = true;
        let mut usage = usage::write(&Usage { output_tokens: None, reasoning_tokens: None, ..self.usage.clone() });
        usage.extend(std::mem::take(&mut self.usage_extra));
        let mut message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
        });
        if let Value::Object(message) = &mut message {
            message.extend(std::mem::take(&mut self.message_extra));
            message.insert("usage".to_owned(), Value::Object(usage));
        }
        event(out, "message_start", &json!({ "type": "message_start", "message": message }));
    }

    fn open_block(&mut self, kind: Open, block: &Value, out: &mut BytesMut) {
        self.begin(out);
        self.close_block(out);
        self.open = Some(kind);
        let index = self.next_index;
        event(
            out,
            "content_block_start",
            &json!({ "type": "content_block_start", "index": index, "content_block": block }),
        );
    }

    fn close_block(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            let index = self.next_index;
            self.next_index += 1;
            event(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": index }));
        }
    }

    fn delta(&self, delta: Delta<'_>, out: &mut BytesMut) {
        event(out, "content_block_delta", &BlockDelta { kind: "content_block_delta", index: self.next_index, delta });
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        // A source covers its whole block, so what follows it needs a block of its own.
        if self.open != Some(Open::Text { cited: false }) {
            self.open_text(out);
        }
        self.delta(Delta::Text { text }, out);
    }

    fn open_text(&mut self, out: &mut BytesMut) {
        self.open_block(Open::Text { cited: false }, &json!({ "type": "text", "text": "" }), out);
    }

    fn thinking(&mut self, text: &str, signature: Option<&ProviderBound>, out: &mut BytesMut, drops: &mut Drops) {
        let own = signature.filter(|signature| signature.dialect == DIALECT);
        if own.is_none() {
            lost_signature(signature, drops);
        }
        if text.is_empty() && own.is_none() {
            return;
        }
        if self.open != Some(Open::Thinking) {
            self.open_block(Open::Thinking, &json!({ "type": "thinking", "thinking": "", "signature": "" }), out);
        }
        if !text.is_empty() {
            self.delta(Delta::Thinking { thinking: text }, out);
        }
        if let Some(own) = own {
            self.delta(Delta::Signature { signature: &own.value }, out);
            self.close_block(out);
        }
    }

    /// A block that comes in one piece. Input goes as a delta, which is how clients expect it.
    fn whole_block(&mut self, block: &Value, out: &mut BytesMut) {
        let input = block.get("input").filter(|input| input.is_object()).map(Value::to_string);
        let mut head = block.clone();
        if let (Some(_), Value::Object(head)) = (&input, &mut head) {
            head.insert("input".to_owned(), json!({}));
        }
        self.open_block(Open::Whole, &head, out);
        if let Some(input) = input.filter(|input| input != "{}") {
            self.delta(Delta::InputJson { partial_json: &input }, out);
        }
        self.close_block(out);
    }

    fn citation(&mut self, citation: &Citation, out: &mut BytesMut, drops: &mut Drops) {
        match citation::write(citation) {
            Some(citation) => {
                if !matches!(self.open, Some(Open::Text { .. })) {
                    self.open_text(out);
                }
                self.open = Some(Open::Text { cited: true });
                self.delta(Delta::Citations { citation }, out);
            }
            None => {
                drops.add("citations", "anthropic-messages names sources by web address or by its own locations");
            }
        }
    }

    fn finish(&mut self, reason: FinishReason, native: Option<&str>, sequence: Option<String>) {
        if self.stop.is_some() {
            return;
        }
        let reason = match reason {
            FinishReason::Stop if self.refused => "refusal".to_owned(),
            reason => finish::write(reason, native, sequence.is_some()),
        };
        self.stop = Some(Stop { reason, sequence, details: Value::Null });
    }

    /// The rest of the blocks, `message_delta` and `message_stop`.
    fn end(&mut self, out: &mut BytesMut, drops: &mut Drops) {
        self.begin(out);
        while self.open.is_some() || !self.held.is_empty() {
            self.close_block(out);
            self.release(out, drops);
        }
        let stop = self.stop.take();
        let refused = stop.as_ref().is_some_and(|stop| stop.reason == "refusal");
        let (reason, sequence, details) = match stop {
            Some(stop) => (Value::String(stop.reason), stop.sequence.into(), stop.details),
            None => (Value::Null, Value::Null, Value::Null),
        };
        let details = if refused && details.is_null() {
            json!({ "type": "refusal", "category": null, "explanation": null })
        } else {
            details
        };
        usage::report(&self.usage, drops);
        event(
            out,
            "message_delta",
            &json!({
                "type": "message_delta",
                "delta": { "stop_reason": reason, "stop_sequence": sequence, "stop_details": details },
                "usage": self.final_usage(),
            }),
        );
        event(out, "message_stop", &json!({ "type": "message_stop" }));
        self.done = true;
    }

    /// Cumulative usage. Input nobody stated is left out, so that it does not overwrite anything with 0.
    fn final_usage(&self) -> Map<String, Value> {
        let mut usage = usage::write(&self.usage);
        if self.usage.input_tokens.is_none() {
            usage.shift_remove("input_tokens");
        }
        usage
    }
}

/// The candidate an event belongs to; `None` = to the whole answer.
fn candidate(event: &Event) -> Option<u32> {
    match event {
        Event::Text { candidate, .. }
        | Event::Refusal { candidate, .. }
        | Event::Reasoning { candidate, .. }
        | Event::RedactedReasoning { candidate, .. }
        | Event::ToolCallStart { candidate, .. }
        | Event::ToolCallDelta { candidate, .. }
        | Event::ToolCallEnd { candidate, .. }
        | Event::Citation { candidate, .. }
        | Event::Logprobs { candidate, .. }
        | Event::Finish { candidate, .. }
        | Event::Opaque { candidate, .. } => Some(*candidate),
        Event::Start { .. }
        | Event::Usage(_)
        | Event::Error(_)
        | Event::PromptBlocked(_)
        | Event::Ping
        | Event::Done
        | Event::Fault(_) => None,
    }
}

fn lost_signature(signature: Option<&ProviderBound>, drops: &mut Drops) {
    if signature.is_some_and(|signature| signature.dialect != DIALECT) {
        drops.add("thoughtSignature", "only its own vendor can read it");
    }
}

/// Appends one event of the stream.
fn event(out: &mut BytesMut, name: &str, data: &impl Serialize) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    // Memory cannot fail to be written, and these values have string keys alone.
    let _ = serde_json::to_writer((&mut *out).writer(), data);
    out.put_slice(b"\n\n");
}

#[cfg(test)]
#[path = "stream_encode_tests.rs"]
mod tests;
