//! Reads a stream into canonical events.
//!
//! ```text
//! message_start → (content_block_start → content_block_delta* → content_block_stop)* → message_delta → message_stop
//!                  ping, error and event types not known yet: anywhere
//! ```
//!
//! Blocks without a canonical form (server-side tools) are gathered and given out whole when they close. Citations are
//! given out when their text block closes, because only then is it known what they cover; so are signatures, of which
//! the last one counts.

use super::answer_decode::{bound, explanation};
use super::names::unescape_tool;
use super::usage::WireUsage;
use super::{DIALECT, citation, finish};
use crate::{Malformed, StreamDecoder, sse};
use canon::{Event, FinishReason};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One stream's state.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    finished: bool,
    done: bool,
    usage: WireUsage,
    calls: u32,
    /// Characters of text given out so far.
    characters: u64,
    open: BTreeMap<u64, Block>,
}

/// A block begun and not closed.
#[derive(Debug)]
enum Block {
    Text {
        start: u64,
        citations: Vec<Value>,
    },
    /// The signature stated last is the block's.
    Thinking {
        signature: String,
    },
    /// Given out whole when it began.
    Complete,
    Tool {
        call: u32,
        whole_input: Option<String>,
        any_arguments: bool,
    },
    Opaque {
        value: Map<String, Value>,
        json: String,
    },
}

impl StreamDecoder for Decoder {
    fn decode(&mut self, frame: &sse::Frame, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" || self.done {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(data).map_err(|error| Malformed(format!("not JSON: {error}")))?;
        let named = String::from_utf8_lossy(&frame.event);
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(&named).to_owned();
        if kind == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
            out.push(Event::Error(value));
            return Ok(());
        }
        match kind.as_str() {
            "message_start" => self.start(&value, out),
            "content_block_start" => self.open_block(value, out),
            "content_block_delta" => self.delta(&value, out),
            "content_block_stop" => {
                let block = self.open.remove(&index(&value)?);
                self.close(block, out);
                Ok(())
            }
            "message_delta" => {
                self.message_delta(&value, out);
                Ok(())
            }
            "message_stop" => {
                self.close_all(out);
                self.done = true;
                out.push(Event::Done);
                Ok(())
            }
            // A type not known yet is a sign of life, as `ping` is.
            _ => {
                out.push(Event::Ping);
                Ok(())
            }
        }
    }

    fn end(&mut self, _residue: &[u8], out: &mut Vec<Event>) {
        if self.finished && !self.done {
            self.done = true;
            out.push(Event::Done);
        }
    }
}

impl Decoder {
    fn start(&mut self, value: &Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let message = value.get("message").ok_or_else(|| Malformed("message_start without message".to_owned()))?;
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        let usage = message.get("usage").unwrap_or(&Value::Null);
        let tier = usage.get("service_tier").filter(|tier| tier.is_string());
        if !self.started {
            self.started = true;
            out.push(Event::Start {
                id: text("id"),
                model: text("model"),
                created: None,
                extra: tier.map(|tier| ("service_tier".to_owned(), tier.clone())).into_iter().collect(),
            });
        }
        self.usage(usage, out);
        Ok(())
    }

    fn usage(&mut self, stated: &Value, out: &mut Vec<Event>) {
        if stated.is_object() {
            self.usage.read(stated);
            out.push(Event::Usage(self.usage.canonical()));
        }
    }

    fn open_block(&mut self, mut value: Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let index = index(&value)?;
        let Some(Value::Object(block)) = value.get_mut("content_block").map(Value::take) else {
            return Err(Malformed("content_block_start without content_block".to_owned()));
        };
        let earlier = self.open.remove(&index);
        self.close(earlier, out);
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        let opened = match text("type") {
            "text" => {
                let start = self.characters;
                let citations = block.get("citations").and_then(Value::as_array).cloned().unwrap_or_default();
                self.text(text("text"), out);
                Block::Text { start, citations }
            }
            "thinking" => {
                thinking(text("thinking"), out);
                Block::Thinking { signature: text("signature").to_owned() }
            }
            "redacted_thinking" => {
                out.push(Event::RedactedReasoning { candidate: 0, data: bound(text("data")) });
                Block::Complete
            }
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                out.push(Event::ToolCallStart {
                    candidate: 0,
                    call,
                    id: Some(text("id")).filter(|id| !id.is_empty()).map(str::to_owned),
                    name: unescape_tool(text("name")),
                    signature: None,
                });
                // The arguments follow piece by piece; some servers give them whole here instead.
                let whole_input = block
                    .get("input")
                    .filter(|input| input.as_object().is_some_and(|input| !input.is_empty()))
                    .map(Value::to_string);
                Block::Tool { call, whole_input, any_arguments: false }
            }
            _ => {
                out.push(Event::Ping);
                Block::Opaque { value: block, json: String::new() }
            }
        };
        self.open.insert(index, opened);
        Ok(())
    }

    fn delta(&mut self, value: &Value, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let index = index(value)?;
        let delta = value.get("delta").ok_or_else(|| Malformed("content_block_delta without delta".to_owned()))?;
        let text = |key: &str| delta.get(key).and_then(Value::as_str);
        let kind = text("type").ok_or_else(|| Malformed("a delta without type".to_owned()))?;
        if let Some(Block::Opaque { value, json }) = self.open.get_mut(&index) {
            gather(value, json, delta);
            return Ok(());
        }
        let required = |key: &str| text(key).ok_or_else(|| Malformed(format!("{kind} without {key}")));
        match kind {
            // Some servers leave out the start of a block whose first delta says it all.
            "text_delta" => {
                let start = self.characters;
                self.open.entry(index).or_insert(Block::Text { start, citations: Vec::new() });
                self.text(required("text")?, out);
            }
            "thinking_delta" => {
                self.open.entry(index).or_insert(Block::Thinking { signature: String::new() });
                thinking(required("thinking")?, out);
            }
            "signature_delta" => match self.open.get_mut(&index) {
                Some(Block::Thinking { signature }) => required("signature")?.clone_into(signature),
                _ => return Err(Malformed("signature_delta outside a thinking block".to_owned())),
            },
            "input_json_delta" => {
                let piece = required("partial_json")?;
                let Some(Block::Tool { call, any_arguments, .. }) = self.open.get_mut(&index) else {
                    return Err(Malformed("input_json_delta outside a tool_use block".to_owned()));
                };
                if !piece.is_empty() {
                    *any_arguments = true;
                    out.push(Event::ToolCallDelta { candidate: 0, call: *call, arguments: piece.to_owned() });
                }
            }
            "citations_delta" => match (delta.get("citation"), self.open.get_mut(&index)) {
                (Some(citation), Some(Block::Text { citations, .. })) => citations.push(citation.clone()),
                _ => return Err(Malformed("citations_delta outside a text block".to_owned())),
            },
            _ => out.push(Event::Ping),
        }
        Ok(())
    }

    fn text(&mut self, text: &str, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.characters += text.chars().count() as u64;
            out.push(Event::Text { candidate: 0, text: text.to_owned(), signature: None });
        }
    }

    fn close(&mut self, block: Option<Block>, out: &mut Vec<Event>) {
        match block {
            None | Some(Block::Complete) => {}
            Some(Block::Thinking { signature }) => {
                if !signature.is_empty() {
                    let signature = Some(bound(&signature));
                    out.push(Event::Reasoning { candidate: 0, text: String::new(), signature });
                }
            }
            Some(Block::Text { start, citations }) => {
                let span = start..self.characters;
                out.extend(citations.into_iter().map(|value| Event::Citation {
                    candidate: 0,
                    citation: citation::read(value, Some(span.clone())),
                }));
            }
            Some(Block::Tool { call, whole_input, any_arguments }) => {
                if !any_arguments {
                    let arguments = whole_input.unwrap_or_else(|| "{}".to_owned());
                    out.push(Event::ToolCallDelta { candidate: 0, call, arguments });
                }
                out.push(Event::ToolCallEnd { candidate: 0, call });
            }
            Some(Block::Opaque { mut value, json }) => {
                if let Ok(input @ Value::Object(_)) = serde_json::from_str::<Value>(&json) {
                    value.insert("input".to_owned(), input);
                }
                out.push(Event::Opaque { candidate: 0, dialect: DIALECT, value: Value::Object(value) });
            }
        }
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        for block in std::mem::take(&mut self.open).into_values() {
            self.close(Some(block), out);
        }
    }

    fn message_delta(&mut self, value: &Value, out: &mut Vec<Event>) {
        let delta = value.get("delta").unwrap_or(&Value::Null);
        let text = |key: &str| delta.get(key).and_then(Value::as_str);
        if let Some(native) = text("stop_reason").filter(|_| !self.finished) {
            self.finished = true;
            self.close_all(out);
            let reason = finish::read(native);
            if reason == FinishReason::ContentFilter
                && let Some(why) = explanation(delta.get("stop_details"))
            {
                out.push(Event::Refusal { candidate: 0, text: why });
            }
            out.push(Event::Finish {
                candidate: 0,
                reason,
                native: Some(native.to_owned()),
                stop_sequence: text("stop_sequence").map(str::to_owned),
            });
        }
        self.usage(value.get("usage").unwrap_or(&Value::Null), out);
    }
}

fn index(value: &Value) -> Result<u64, Malformed> {
    value.get("index").and_then(Value::as_u64).ok_or_else(|| Malformed("an event of a block without index".to_owned()))
}

fn thinking(text: &str, out: &mut Vec<Event>) {
    if !text.is_empty() {
        out.push(Event::Reasoning { candidate: 0, text: text.to_owned(), signature: None });
    }
}

/// Adds a delta to a block that is given out whole: texts grow, anything else is replaced, `citation` joins its list.
fn gather(block: &mut Map<String, Value>, json: &mut String, delta: &Value) {
    let Value::Object(delta) = delta else { return };
    for (key, piece) in delta.iter().filter(|(key, _)| *key != "type") {
        match (key.as_str(), block.get_mut(key), piece) {
            ("partial_json", _, Value::String(piece)) => json.push_str(piece),
            (_, Some(Value::String(held)), Value::String(piece)) => held.push_str(piece),
            (_, Some(_), Value::Null) => {}
            _ => {
                block.insert(key.clone(), piece.clone());
            }
        }
    }
}

#[cfg(test)]
#[path = "stream_decode_tests.rs"]
mod tests;
