//! Canonical events to a Gemini caller's stream: SSE, or one JSON array without `alt=sse`.
//!
//! A chunk per piece of text or thought; a function call whole, when its arguments are; finish reasons, sources and
//! usage together in the last chunk. The stream has no terminator of its own, so nothing that says `finishReason` is
//! written before `Done`.
//!
//! A broken stream ends with `data: {"error": …}`, which `google-genai` raises as an `APIError`. The array form ends
//! with an error element and the closing bracket: it is then JSON that any parser reads to its honest end.

use super::answer::{feedback, signed, write_call, write_finish};
use super::cite::{self, Text};
use super::{error, logprobs, usage};
use crate::{Shown, StreamEncoder, StreamShape};
use bytes::BytesMut;
use canon::{CallerError, Citation, DialectName, Drops, Event, FinishReason, PromptBlock, ProviderBound, Usage};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// State of one stream.
pub(super) struct Encoder {
    shape: StreamShape,
    /// `"modelVersion": …, "responseId": …` of every chunk, rendered once.
    tail: String,
    usage: Usage,
    block: Option<PromptBlock>,
    candidates: Vec<Candidate>,
    /// Something was written: the array is open.
    begun: bool,
    closed: bool,
}

struct Candidate {
    index: u32,
    calls: Vec<Call>,
    citations: Vec<Citation>,
    ascii: bool,
    finish: Option<(FinishReason, Option<String>)>,
}

struct Call {
    number: u32,
    id: Option<String>,
    name: String,
    arguments: String,
    signature: Option<ProviderBound>,
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops) {
        if self.closed {
            return;
        }
        match event {
            // Another target goes on with what was written; calls are written whole, so none of it was begun.
            Event::Start { .. } if self.begun => self.candidates.iter_mut().for_each(|c| c.calls.clear()),
            Event::Start { id, model, extra, .. } => {
                self.name(id.as_deref(), model.as_deref());
                for (key, _) in extra {
                    drops.add(key.clone(), "gemini answers have no such field");
                }
            }
            Event::Text { candidate, text, signature } => {
                self.candidate(*candidate).ascii &= text.is_ascii();
                self.text(*candidate, text, false, signed(signature.as_ref(), drops), out);
            }
            Event::Refusal { candidate, text } => self.text(*candidate, text, false, None, out),
            Event::Reasoning { candidate, text, signature } => {
                let signature = signed(signature.as_ref(), drops);
                self.text(*candidate, text, !text.is_empty(), signature, out);
            }
            Event::RedactedReasoning { .. } => {
                drops.add("content.redacted_thinking", "encrypted reasoning means nothing to another vendor");
            }
            Event::ToolCallStart { .. } | Event::ToolCallDelta { .. } | Event::ToolCallEnd { .. } => {
                self.tool(event, out, drops);
            }
            Event::Citation { candidate, citation } => self.candidate(*candidate).citations.push(citation.clone()),
            Event::Logprobs { candidate, value } => {
                if let Some(result) = logprobs::write(value) {
                    self.chunk(&json!([{ "index": candidate, "logprobsResult": result }]), out);
                }
            }
            Event::Finish { candidate, reason, native, stop_sequence } => {
                if stop_sequence.is_some() {
                    drops.add("stop_sequence", "gemini does not say which stop sequence was hit");
                }
                self.candidate(*candidate).finish.get_or_insert((*reason, native.clone()));
            }
            Event::Usage(usage) => {
                if usage.cache_write_tokens.is_some_and(|n| n > 0) {
                    drops.add("usage.cache_write_tokens", "gemini usage has no such count");
                }
                self.usage.update(usage);
            }
            Event::PromptBlocked(block) => self.block = Some(block.clone()),
            Event::Opaque { candidate, dialect: DialectName::Gemini, value } => {
                let candidate = *candidate;
                self.candidate(candidate);
                self.part(candidate, value, out);
            }
            Event::Opaque { .. } => {
                drops.add("content.opaque", "a block only its own vendor's dialect can show");
            }
            Event::Done => self.done(out, drops),
            // The driver answers these with `fail`.
            Event::Error(_) | Event::Fault(_) | Event::Ping => {}
        }
    }

    fn fail(&mut self, error: &CallerError, out: &mut BytesMut) {
        if self.closed {
            return;
        }
        self.write(&error::to_value(error).to_string(), out);
        self.close(out);
    }
}

impl Encoder {
    /// A writer for one stream.
    pub(super) fn new(shape: StreamShape) -> Self {
        let mut encoder = Self {
            shape,
            tail: String::new(),
            usage: Usage::default(),
            block: None,
            candidates: Vec::new(),
            begun: false,
            closed: false,
        };
        encoder.name(None, None);
        encoder
    }

    /// A writer that goes on where the caller's stream broke off.
    pub(super) fn resume(shape: StreamShape, shown: &Shown) -> Self {
        let mut encoder = Self::new(shape);
        encoder.name(shown.id.as_deref(), shown.model.as_deref());
        encoder.begun = shown.begun;
        if shown.begun {
            encoder.candidate(0).ascii = shown.text.is_ascii();
        }
        encoder
    }

    fn name(&mut self, id: Option<&str>, model: Option<&str>) {
        let model = model.unwrap_or(&self.shape.fallback_model);
        let id = id.unwrap_or(&self.shape.fallback_id);
        self.tail = format!(r#""modelVersion":{},"responseId":{}}}"#, json!(model), json!(id));
    }

    fn candidate(&mut self, index: u32) -> &mut Candidate {
        let at = self.candidates.iter().position(|c| c.index == index).unwrap_or(self.candidates.len());
        if at == self.candidates.len() {
            self.candidates.push(Candidate::new(index));
        }
        #[expect(clippy::indexing_slicing, reason = "`at` was found in the list or is its new last element")]
        &mut self.candidates[at]
    }

    fn text(&mut self, candidate: u32, text: &str, thought: bool, signature: Option<&str>, out: &mut BytesMut) {
        self.candidate(candidate);
        if text.is_empty() && signature.is_none() {
            return;
        }
        // The one event that comes by the hundred: written without building a tree.
        let mut chunk = String::with_capacity(text.len() + self.tail.len() + 96);
        chunk.push_str(r#"{"candidates":[{"content":{"parts":[{"text":"#);
        push_json(&mut chunk, text);
        if thought {
            chunk.push_str(r#","thought":true"#);
        }
        if let Some(signature) = signature {
            chunk.push_str(r#","thoughtSignature":"#);
            push_json(&mut chunk, signature);
        }
        chunk.push_str(r#"}],"role":"model"},"index":"#);
        chunk.push_str(&candidate.to_string());
        chunk.push_str("}],");
        chunk.push_str(&self.tail);
        self.write(&chunk, out);
    }

    fn tool(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops) {
        match event {
            Event::ToolCallStart { candidate, call, id, name, signature } => {
                self.candidate(*candidate).calls.push(Call {
                    number: *call,
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    signature: signature.clone(),
                });
            }
            Event::ToolCallDelta { candidate, call, arguments } => {
                if let Some(open) = self.candidate(*candidate).calls.iter_mut().find(|c| c.number == *call) {
                    open.arguments.push_str(arguments);
                }
            }
            Event::ToolCallEnd { candidate, call } => {
                let calls = &mut self.candidate(*candidate).calls;
                if let Some(at) = calls.iter().position(|c| c.number == *call) {
                    let whole = calls.remove(at);
                    self.call(*candidate, &whole, out, drops);
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, candidate: u32, call: &Call, out: &mut BytesMut, drops: &mut Drops) {
        let part = write_call(call.id.as_deref(), &call.name, &call.arguments, call.signature.as_ref(), drops);
        self.part(candidate, &part, out);
    }

    fn part(&mut self, candidate: u32, part: &Value, out: &mut BytesMut) {
        self.chunk(&json!([{ "content": { "parts": [part], "role": "model" }, "index": candidate }]), out);
    }

    fn chunk(&mut self, candidates: &Value, out: &mut BytesMut) {
        let chunk = format!(r#"{{"candidates":{candidates},{}"#, self.tail);
        self.write(&chunk, out);
    }

    fn done(&mut self, out: &mut BytesMut, drops: &mut Drops) {
        let mut candidates = std::mem::take(&mut self.candidates);
        for candidate in &mut candidates {
            for call in std::mem::take(&mut candidate.calls) {
                self.call(candidate.index, &call, out, drops);
            }
        }
        self.candidates.clear();
        // Writing into a String cannot fail.
        let mut chunk = String::from("{");
        let last: Vec<Value> = candidates.iter().map(|c| c.last(drops)).collect();
        if !last.is_empty() {
            let _ = write!(chunk, r#""candidates":{},"#, Value::Array(last));
        }
        if let Some(block) = &self.block {
            let _ = write!(chunk, r#""promptFeedback":{},"#, feedback(block));
        }
        if let Some(usage) = usage::encode(&self.usage) {
            let _ = write!(chunk, r#""usageMetadata":{usage},"#);
        }
        chunk.push_str(&self.tail);
        self.write(&chunk, out);
        self.close(out);
    }

    /// Appends one whole event.
    fn write(&mut self, json: &str, out: &mut BytesMut) {
        if self.shape.json_array {
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
            out.extend_from_slice(json.as_bytes());
        } else {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(json.as_bytes());
            out.extend_from_slice(b"\r\n\r\n");
        }
        self.begun = true;
    }

    fn close(&mut self, out: &mut BytesMut) {
        self.closed = true;
        if self.shape.json_array {
            out.extend_from_slice(b"]");
        }
    }
}

impl Candidate {
    fn new(index: u32) -> Self {
        Self { index, calls: Vec::new(), citations: Vec::new(), ascii: true, finish: None }
    }

    /// What the last chunk says of this candidate.
    fn last(&self, drops: &mut Drops) -> Value {
        let mut map = Map::new();
        // As Gemini itself ends: `google-genai` keeps a turn of a chat only when each of its chunks has a part.
        map.insert("content".to_owned(), json!({ "parts": [{ "text": "" }], "role": "model" }));
        if let Some((reason, native)) = &self.finish {
            write_finish(&mut map, *reason, native.as_deref());
        }
        map.insert("index".to_owned(), json!(self.index));
        cite::write(self.citations.iter(), Text::Streamed { ascii: self.ascii }, &mut map, drops);
        Value::Object(map)
    }
}

/// Appends a JSON string.
fn push_json(out: &mut String, text: &str) {
    out.push_str(&json!(text).to_string());
}
