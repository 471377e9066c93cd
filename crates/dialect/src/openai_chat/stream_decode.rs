//! A provider's stream, tolerant of every deviation recorded.
//!
//! The finish reason of every candidate begun is the terminator. `[DONE]` alone is none: it also ends streams that
//! failed. A finish reason of `tool_calls` is held until the next frame shows that no further call comes (Z.ai sends
//! one a call).

use super::answer_decode::{index, json_start, kept, logprobs, says_something, usage_of};
use super::reasoning::{Details, text_of, thinking_chunk_text};
use super::tool_stream::ToolCalls;
use super::{citation, finish, usage};
use crate::profile::Profile;
use crate::{Malformed, StreamDecoder, sse};
use canon::{DialectName, Event, FinishReason, ProviderBound};
use serde_json::{Map, Value, json};

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Decoder {
    reasoning_outside_output: bool,
    started: bool,
    head: Head,
    candidates: Vec<Candidate>,
    end: End,
}

/// `OpenAI` allows 128 choices; a stream that numbers more is not one.
pub(super) const MOST_CANDIDATES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not yet.
    Open,
    /// The provider reported a failure: no end of this stream is a good one.
    Failed,
    /// `Done` was emitted.
    Done,
}

#[derive(Debug, Default)]
struct Head {
    id: Option<String>,
    model: Option<String>,
    created: Option<i64>,
    extra: Vec<(String, Value)>,
}

#[derive(Debug)]
struct Candidate {
    index: u32,
    calls: ToolCalls,
    details: Details,
    refused: bool,
    finish: Finish,
}

/// How far a candidate is.
#[derive(Debug)]
enum Finish {
    Open,
    /// `tool_calls` was said; held until no further call can come.
    Held(FinishReason, String),
    Emitted,
}

impl Decoder {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            reasoning_outside_output: profile.reasoning_outside_output,
            started: false,
            head: Head::default(),
            candidates: Vec::new(),
            end: End::Open,
        }
    }

    fn data(&mut self, event: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), Malformed> {
        let data = data.trim_ascii();
        if self.end == End::Done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.finish_held(out);
            self.complete(out);
            return Ok(());
        }
        let value: Value =
            serde_json::from_slice(data).map_err(|error| Malformed(format!("not valid JSON: {error}")))?;
        let Value::Object(frame) = value else { return Err(Malformed("not a JSON object".to_owned())) };
        self.frame(event, &frame, out);
        Ok(())
    }

    fn frame(&mut self, event: &[u8], frame: &Map<String, Value>, out: &mut Vec<Event>) {
        self.learn_head(frame);
        let error = error_in(event, frame);
        let choices = frame.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let stated = usage_of(frame);
        if !choices.is_empty() || (stated.is_some() && error.is_none()) {
            self.start(out);
        }
        for (position, choice) in choices.iter().enumerate() {
            self.choice(position, choice, error.is_some(), out);
        }
        if let Some(stated) = stated {
            out.push(Event::Usage(usage::decode(stated, self.reasoning_outside_output)));
        }
        if choices.is_empty() || stated.is_some() {
            self.finish_held(out);
        }
        if let Some(error) = error {
            self.end = End::Failed;
            out.push(Event::Error(error));
        }
    }

    /// Azure's first frame names nothing, so every frame before the first choice may.
    fn learn_head(&mut self, frame: &Map<String, Value>) {
        if self.started {
            return;
        }
        let text =
            |key: &str| frame.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let created = frame.get("created").and_then(Value::as_i64).filter(|created| *created > 0);
        let head = &mut self.head;
        head.id = head.id.take().or_else(|| text("id"));
        head.model = head.model.take().or_else(|| text("model"));
        head.created = head.created.or(created);
        for (key, value) in kept(frame) {
            if !head.extra.iter().any(|(held, _)| *held == key) {
                head.extra.push((key, value));
            }
        }
    }

    fn start(&mut self, out: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            let Head { id, model, created, extra } = std::mem::take(&mut self.head);
            out.push(Event::Start { id, model, created, extra });
        }
    }

    fn choice(&mut self, position: usize, choice: &Value, failed: bool, out: &mut Vec<Event>) {
        let index = index(choice, position);
        let known = self.candidates.iter().position(|candidate| candidate.index == index);
        if known.is_none() && self.candidates.len() < MOST_CANDIDATES {
            self.candidates.push(Candidate::new(index));
        }
        let place = known.unwrap_or(self.candidates.len() - 1);
        let Some(candidate) = self.candidates.get_mut(place).filter(|candidate| candidate.index == index) else {
            return;
        };
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")).and_then(Value::as_object) {
            candidate.delta(delta, out);
        }
        if let Some(value) = logprobs(choice)
            && candidate.is_open()
        {
            out.push(Event::Logprobs { candidate: index, value });
        }
        let native = choice.get("finish_reason").and_then(Value::as_str);
        let reason = native.and_then(finish::decode).filter(|_| !failed);
        if let (Some(reason), Some(native)) = (reason, native) {
            let stop_sequence = choice.get("stop_reason").and_then(Value::as_str).map(str::to_owned);
            candidate.finish(reason, native, stop_sequence, out);
        }
    }

    fn finish_held(&mut self, out: &mut Vec<Event>) {
        for candidate in &mut self.candidates {
            candidate.release(out);
        }
    }

    /// Emits `Done` if every candidate begun is finished.
    fn complete(&mut self, out: &mut Vec<Event>) {
        let finished = self.candidates.iter().all(|candidate| matches!(candidate.finish, Finish::Emitted));
        if self.end == End::Open && !self.candidates.is_empty() && finished {
            self.end = End::Done;
            out.push(Event::Done);
        }
    }
}

impl StreamDecoder for Decoder {
    fn decode(&mut self, frame: &sse::Frame, out: &mut Vec<Event>) -> Result<(), Malformed> {
        self.data(&frame.event, &frame.data, out)
    }

    fn end(&mut self, residue: &[u8], out: &mut Vec<Event>) {
        // A last event without its closing blank line counts if it is whole JSON; so does a bare JSON error.
        for line in residue.split(|byte| *byte == b'\n' || *byte == b'\r') {
            let data = line.strip_prefix(b"data:").unwrap_or(line);
            if data.trim_ascii_start().starts_with(b"{") || data.trim_ascii() == b"[DONE]" {
                let _skipped = self.data(b"", data, out);
            }
        }
        if let Some(error) = residue_error(residue).filter(|_| self.end == End::Open) {
            self.end = End::Failed;
            out.push(Event::Error(error));
        }
        self.finish_held(out);
        self.complete(out);
    }
}

/// A bare JSON error over several lines after the last frame.
pub(super) fn residue_error(residue: &[u8]) -> Option<Value> {
    let text = json_start(residue);
    if !text.starts_with(b"{") {
        return None;
    }
    let Ok(Value::Object(frame)) = serde_json::from_slice(text) else { return None };
    error_in(b"", &frame)
}

/// The failure a frame reports, whatever else is in it. The error object itself where there is one, else the frame.
pub(super) fn error_in(event: &[u8], frame: &Map<String, Value>) -> Option<Value> {
    let stated = |value: &&Value| says_something(value);
    if let Some(error) = frame.get("error").filter(stated) {
        let whole = || Value::Object(frame.clone());
        return Some(if error.is_object() { error.clone() } else { whole() });
    }
    if let Some(groq) = frame.get("x_groq")
        && let Some(error) = groq.get("error").filter(stated)
    {
        return Some(if error.is_object() { error.clone() } else { groq.clone() });
    }
    let choices = frame.get("choices").and_then(Value::as_array);
    let in_choice = choices.into_iter().flatten().find_map(|choice| choice.get("error").filter(stated));
    if let Some(error) = in_choice {
        return Some(if error.is_object() { error.clone() } else { json!({ "error": error }) });
    }
    let says_error = event == b"error" || frame.get("object").and_then(Value::as_str) == Some("error");
    (says_error && choices.is_none()).then(|| Value::Object(frame.clone()))
}

impl Candidate {
    fn new(index: u32) -> Self {
        Self { index, calls: ToolCalls::default(), details: Details::default(), refused: false, finish: Finish::Open }
    }

    fn is_open(&self) -> bool {
        !matches!(self.finish, Finish::Emitted)
    }

    fn delta(&mut self, delta: &Map<String, Value>, out: &mut Vec<Event>) {
        if !self.is_open() {
            return;
        }
        let candidate = self.index;
        self.details.add(delta.get("reasoning_details"));
        if let Some(text) = text_of(delta) {
            out.push(Event::Reasoning { candidate, text, signature: None });
        }
        match delta.get("content") {
            Some(Value::String(text)) if !text.is_empty() => self.text(text, out),
            Some(Value::Array(chunks)) => chunks.iter().for_each(|chunk| self.chunk(chunk, out)),
            _ => {}
        }
        if let Some(text) = delta.get("refusal").and_then(Value::as_str).filter(|text| !text.is_empty()) {
            self.close_reasoning(out);
            self.refused = true;
            out.push(Event::Refusal { candidate, text: text.to_owned() });
        }
        for entry in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.close_reasoning(out);
            self.calls.add(entry, candidate, out);
        }
        if let Some(function) = delta.get("function_call").filter(|call| call.is_object() && says_something(call)) {
            self.calls.add_function(function, candidate, out);
        }
        for key in ["images", "audio"] {
            let stated = |value: &&Value| (value.is_object() || value.is_array()) && says_something(value);
            if let Some(value) = delta.get(key).filter(stated) {
                let value = json!({ "message": { key: value } });
                out.push(Event::Opaque { candidate, dialect: DialectName::OpenaiChat, value });
            }
        }
        for citation in citation::decode_all(delta.get("annotations")) {
            out.push(Event::Citation { candidate, citation });
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Event>) {
        self.close_reasoning(out);
        out.push(Event::Text { candidate: self.index, text: text.to_owned(), signature: None });
    }

    /// A chunk of list content (Mistral).
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<Event>) {
        match chunk.get("type").and_then(Value::as_str) {
            Some("thinking") => {
                let text = thinking_chunk_text(chunk);
                if !text.is_empty() {
                    out.push(Event::Reasoning { candidate: self.index, text, signature: None });
                }
            }
            Some("text") => {
                let text = chunk.get("text").and_then(Value::as_str).unwrap_or_default();
                if !text.is_empty() {
                    self.text(text, out);
                }
            }
            Some(_) => {
                let value = chunk.clone();
                out.push(Event::Opaque { candidate: self.index, dialect: DialectName::OpenaiChat, value });
            }
            None => {}
        }
    }

    /// The block of reasoning is over: what must come back with it is known now.
    fn close_reasoning(&mut self, out: &mut Vec<Event>) {
        if let Some(signature) = self.details.take_signature() {
            self.sign(signature, out);
        }
    }

    fn sign(&self, signature: ProviderBound, out: &mut Vec<Event>) {
        out.push(Event::Reasoning { candidate: self.index, text: String::new(), signature: Some(signature) });
    }

    fn finish(&mut self, reason: FinishReason, native: &str, stop_sequence: Option<String>, out: &mut Vec<Event>) {
        if !matches!(self.finish, Finish::Open) {
            return;
        }
        let settled = finish::settle(reason, self.calls.any(), self.refused);
        if settled == FinishReason::ToolCalls {
            self.finish = Finish::Held(settled, native.to_owned());
            return;
        }
        let cut = matches!(settled, FinishReason::Length | FinishReason::ContextFull);
        self.emit_finish(settled, native.to_owned(), (cut, stop_sequence), out);
    }

    fn release(&mut self, out: &mut Vec<Event>) {
        if let Finish::Held(reason, native) = &self.finish {
            let (reason, native) = (*reason, native.clone());
            self.emit_finish(reason, native, (false, None), out);
        }
    }

    fn emit_finish(
        &mut self,
        reason: FinishReason,
        native: String,
        (cut, stop_sequence): (bool, Option<String>),
        out: &mut Vec<Event>,
    ) {
        self.close_reasoning(out);
        self.calls.end(self.index, cut, out);
        self.finish = Finish::Emitted;
        out.push(Event::Finish { candidate: self.index, reason, native: Some(native), stop_sequence });
    }
}
