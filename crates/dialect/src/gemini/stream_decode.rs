//! `streamGenerateContent?alt=sse` to canonical events.
//!
//! The protocol has no terminator but the end of the connection after a finish reason for every candidate. A finish
//! reason is not always the last word: `STOP` stands beside an `executableCode` part whose result and answer still
//! come, and older models state it in every chunk. So `Finish` and `Done` come from [`end`](StreamDecoder::end) alone.

use super::answer::{extra, index_of, prompt_block, read_part, take_parts, text_of};
use super::cite::{self, Text};
use super::partial::Arguments;
use super::words::{Enumeration, finish_reason};
use super::{logprobs, names, usage};
use crate::sse::Frame;
use crate::{Malformed, StreamDecoder};
use canon::{DialectName, Event, Part, ProviderBound, Reasoning, Usage};
use serde_json::{Map, Value};

/// State of one stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    candidates: Vec<Candidate>,
    blocked: bool,
    failed: bool,
    usage: Usage,
    continuation_token: Option<String>,
}

#[derive(Debug)]
struct Candidate {
    index: u32,
    /// Tool calls begun.
    calls: u32,
    /// Tool call whose arguments still come.
    open: Option<Arguments>,
    /// All text so far is ASCII: bytes are characters.
    ascii: bool,
    /// The finish reason, if it was the last thing heard.
    finish: Option<String>,
}

impl StreamDecoder for Decoder {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Malformed> {
        if frame.data.is_empty() {
            return Ok(());
        }
        let value = serde_json::from_slice(&frame.data).map_err(|e| Malformed(format!("not JSON: {e}")))?;
        self.value(value, out)
    }

    fn end(&mut self, residue: &[u8], out: &mut Vec<Event>) {
        if let Some(value) = read_residue(residue)
            && self.value(value, out).is_err()
        {
            // Bytes that are no chunk tell that the stream was cut.
            self.failed = true;
        }
        if self.may_be_whole() {
            for candidate in &mut self.candidates {
                candidate.tell_finish(out);
            }
            out.push(Event::Done);
        }
    }

    fn may_be_whole(&self) -> bool {
        let all = self.candidates.iter().all(|c| c.finish.is_some()) && !self.candidates.is_empty();
        !self.failed && (self.blocked || all)
    }

    fn continuation_token(&self) -> Option<&str> {
        self.continuation_token.as_deref()
    }
}

/// What follows the last complete frame: a raw JSON error (Google reports failures so), or a last chunk without its
/// blank line. `None` when it is neither.
pub(super) fn read_residue(residue: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(residue).ok()?.trim();
    if text.is_empty() {
        return None;
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
    serde_json::from_str(&data.join("\n")).ok()
}

impl Decoder {
    fn value(&mut self, value: Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        match value {
            Value::Object(map) => self.chunk(map, out),
            Value::Array(items) => items.into_iter().try_for_each(|item| self.value(item, out)),
            _ => Err(Malformed("a chunk is not an object".to_owned())),
        }
    }

    fn chunk(&mut self, mut map: Map<String, Value>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        if let Some(error) = map.shift_remove("error").filter(|e| !e.is_null()) {
            self.failed = true;
            out.push(Event::Error(error));
            return Ok(());
        }
        let candidates = match map.shift_remove("candidates") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Malformed("`candidates` is not a list".to_owned())),
        };
        if !self.started {
            self.started = true;
            let (id, model) = (text_of(&map, "responseId"), text_of(&map, "modelVersion"));
            out.push(Event::Start { id, model, created: None, extra: extra(&map) });
        }
        let alone = candidates.is_empty() && self.candidates.is_empty();
        if !self.blocked
            && let Some(block) = prompt_block(&map, alone)
        {
            self.blocked = true;
            out.push(Event::PromptBlocked(block));
        }
        let mut result = Ok(());
        for candidate in candidates {
            result = result.and(self.candidate(candidate, out));
        }
        if let Some(counts) = map.get("usageMetadata") {
            let usage = usage::Counts::of(counts).usage();
            if !usage.is_empty() && usage != self.usage {
                self.usage.update(&usage);
                out.push(Event::Usage(self.usage.clone()));
            }
        }
        result
    }

    fn candidate(&mut self, value: Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let Value::Object(mut map) = value else { return Err(Malformed("a candidate is not an object".to_owned())) };
        let index = index_of(&map);
        if index == 0
            && let Some(token) = text_of(&map, "continuationToken")
        {
            self.continuation_token = Some(token);
        }
        let at = self.candidates.iter().position(|c| c.index == index).unwrap_or(self.candidates.len());
        if at == self.candidates.len() {
            self.candidates.push(Candidate::new(index));
        }
        let Some(candidate) = self.candidates.get_mut(at) else { return Ok(()) };
        let mut result = Ok(());
        let mut pending = false;
        for part in take_parts(&mut map) {
            candidate.finish = None;
            pending = part.get("executableCode").is_some() || part.get("toolCall").is_some();
            result = result.and(candidate.part(part, out));
        }
        let text = Text::Streamed { ascii: candidate.ascii };
        for citation in cite::read(&map, text) {
            out.push(Event::Citation { candidate: index, citation });
        }
        if let Some(value) = map.get("logprobsResult").and_then(logprobs::read) {
            out.push(Event::Logprobs { candidate: index, value });
        }
        if let Some(word) = map.get("finishReason").and_then(|v| Enumeration::Finish.read(v))
            && !(pending && word == "STOP")
        {
            candidate.close_call(out);
            candidate.finish = Some(word);
        }
        result
    }
}

impl Candidate {
    fn new(index: u32) -> Self {
        Self { index, calls: 0, open: None, ascii: true, finish: None }
    }

    fn part(&mut self, value: Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let candidate = self.index;
        if let Some(call) = value.get("functionCall")
            && (self.open.is_some() || streams_arguments(call))
        {
            return self.partial_call(&value, out);
        }
        if value.get("inlineData").is_some() {
            out.push(Event::Opaque { candidate, dialect: DialectName::Gemini, value });
            return Ok(());
        }
        match read_part(value) {
            Some(Part::Text { text, signature, .. }) if text.is_empty() => {
                // A signature alone is no text: an answer of nothing else stays an empty answer.
                out.push(Event::Reasoning { candidate, text, signature });
            }
            Some(Part::Text { text, signature, .. }) => {
                self.ascii &= text.is_ascii();
                out.push(Event::Text { candidate, text, signature });
            }
            Some(Part::Reasoning(Reasoning { text, signature, .. })) if !text.is_empty() || signature.is_some() => {
                out.push(Event::Reasoning { candidate, text, signature });
            }
            Some(Part::ToolCall(call)) => {
                self.start_call(call.id, call.name, call.signature, out);
                self.end_call(call.arguments, out);
            }
            Some(Part::Opaque { dialect, value }) => out.push(Event::Opaque { candidate, dialect, value }),
            // Nothing said, or what cannot come out of an answer's part.
            None
            | Some(
                Part::Reasoning(_)
                | Part::Refusal(_)
                | Part::Image(_)
                | Part::Audio(_)
                | Part::Video(_)
                | Part::Document(_)
                | Part::ToolResult(_),
            ) => {}
        }
        Ok(())
    }

    /// A piece of a call whose arguments are streamed: the first names the function, the others carry paths and values,
    /// the last has no `willContinue`.
    fn partial_call(&mut self, part: &Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let empty = Map::new();
        let call = part.get("functionCall").and_then(Value::as_object).unwrap_or(&empty);
        if let Some(name) = text_of(call, "name") {
            self.close_call(out);
            let signature = part.get("thoughtSignature").and_then(Value::as_str);
            let signature = signature.map(|s| ProviderBound { dialect: DialectName::Gemini, value: s.to_owned() });
            self.start_call(text_of(call, "id"), names::from_wire(name), signature, out);
            self.open = Some(Arguments::new(call.get("args").cloned()));
        }
        let Some(open) = &mut self.open else {
            return Err(Malformed("arguments of a function call that has no name".to_owned()));
        };
        let pieces = call.get("partialArgs").and_then(Value::as_array);
        let result = pieces.into_iter().flatten().try_for_each(|piece| open.apply(piece));
        if call.get("willContinue").and_then(Value::as_bool) != Some(true) {
            self.close_call(out);
        }
        result
    }

    fn start_call(&mut self, id: Option<String>, name: String, signature: Option<ProviderBound>, out: &mut Vec<Event>) {
        let (candidate, call) = (self.index, self.calls);
        self.calls = self.calls.saturating_add(1);
        out.push(Event::ToolCallStart { candidate, call, id, name, signature });
    }

    fn end_call(&self, arguments: String, out: &mut Vec<Event>) {
        let (candidate, call) = (self.index, self.calls.saturating_sub(1));
        out.push(Event::ToolCallDelta { candidate, call, arguments });
        out.push(Event::ToolCallEnd { candidate, call });
    }

    fn close_call(&mut self, out: &mut Vec<Event>) {
        if let Some(open) = self.open.take() {
            self.end_call(open.finish(), out);
        }
    }

    fn tell_finish(&mut self, out: &mut Vec<Event>) {
        let native = self.finish.take();
        let Some(word) = native.as_deref() else { return };
        let reason = finish_reason(word, self.calls > 0);
        out.push(Event::Finish { candidate: self.index, reason, native, stop_sequence: None });
    }
}

fn streams_arguments(call: &Value) -> bool {
    call.get("partialArgs").is_some() || call.get("willContinue").and_then(Value::as_bool) == Some(true)
}
