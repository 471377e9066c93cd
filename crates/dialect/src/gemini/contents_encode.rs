//! Canonical turns to `contents` and `systemInstruction`.
//!
//! Gemini's rules: turns of one role stand merged; the first is the user's; the results of parallel calls stand in the
//! order of the calls, in one user turn right after them; from Gemini 3 on the first call of each step carries a
//! signature.

use super::turn_decode::NO_SIGNATURE;
use super::{json, media, names};
use crate::Inexpressible;
use crate::profile::{GeminiThinking, Profile};
use canon::{
    CacheHint, DialectName, Document, Drops, Media, Message, Part, ProviderBound, Reasoning, Role, ToolCall, ToolResult,
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Turns in Gemini's form.
pub(super) struct Turns {
    /// Parts of `systemInstruction`.
    pub(super) system: Vec<Value>,
    /// `contents`.
    pub(super) contents: Vec<Value>,
}

/// One merged turn.
struct Turn {
    role: &'static str,
    parts: Vec<Value>,
}

/// Writes turns for one target.
pub(super) struct TurnEncoder<'a> {
    pub(super) profile: &'a Profile,
    pub(super) drops: &'a mut Drops,
    /// The caller speaks Gemini too: its turns are in order already, its thoughts are Gemini's.
    pub(super) own: bool,
    /// Tool names by call id.
    pub(super) names: HashMap<String, String>,
}

impl TurnEncoder<'_> {
    /// Writes all turns.
    pub(super) fn encode(mut self, messages: &[Message]) -> Result<Turns, Inexpressible> {
        let mut system = Vec::new();
        let mut turns: Vec<Turn> = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            if message.name.is_some() {
                self.drops.add(format!("messages[{i}].name"), "gemini turns have no participant name");
            }
            let role = match message.role {
                Role::System | Role::Developer => {
                    self.system(message, i, &mut system);
                    continue;
                }
                Role::User => "user",
                Role::Assistant => "model",
            };
            let mut parts = Vec::new();
            for (j, part) in message.parts.iter().enumerate() {
                self.part(part, &format!("messages[{i}].content[{j}]"), &mut parts)?;
            }
            match turns.last_mut() {
                Some(last) if last.role == role => last.parts.extend(parts),
                _ if parts.is_empty() => {}
                _ => turns.push(Turn { role, parts }),
            }
        }
        if turns.is_empty() && !system.is_empty() {
            // Gemini answers nobody: instructions alone become the user's turn.
            turns.push(Turn { role: "user", parts: std::mem::take(&mut system) });
        }
        if turns.is_empty() {
            // Only empty texts, or parts that were dropped: Gemini rejects a request without a turn.
            return Err(Inexpressible {
                path: "messages".to_owned(),
                reason: "nothing is left that gemini can be asked",
            });
        }
        if !self.own {
            order_results(&mut turns);
            if turns.first().is_some_and(|t| t.role == "model") {
                turns.insert(0, Turn { role: "user", parts: vec![json!({ "text": " " })] });
            }
        }
        if self.profile.gemini_thinking == GeminiThinking::Level {
            turns.iter_mut().filter(|t| t.role == "model").for_each(sign_first_call);
        }
        let contents = turns.into_iter().map(|t| json!({ "role": t.role, "parts": t.parts })).collect();
        Ok(Turns { system, contents })
    }

    fn system(&mut self, message: &Message, i: usize, out: &mut Vec<Value>) {
        for (j, part) in message.parts.iter().enumerate() {
            let path = format!("messages[{i}].content[{j}]");
            match part {
                Part::Text { text, cache, .. } => {
                    self.cache(cache.as_ref(), &path);
                    if !text.is_empty() {
                        out.push(json!({ "text": text }));
                    }
                }
                _ => self.drops.add(path, "gemini instructions are text only"),
            }
        }
    }

    fn cache(&mut self, cache: Option<&CacheHint>, path: &str) {
        if cache.is_some() {
            self.drops.add(format!("{path}.cache_control"), "gemini caches by itself or by cachedContent");
        }
    }

    fn part(&mut self, part: &Part, path: &str, out: &mut Vec<Value>) -> Result<(), Inexpressible> {
        match part {
            Part::Text { text, citations, cache, signature } => {
                self.cache(cache.as_ref(), path);
                if !citations.is_empty() {
                    self.drops.add(format!("{path}.citations"), "gemini turns carry no sources");
                }
                let signature = own_signature(signature.as_ref());
                if !text.is_empty() || signature.is_some() {
                    out.push(signed(json!({ "text": text }), signature));
                }
            }
            Part::Refusal(text) => out.push(json!({ "text": text })),
            Part::Image(media) => out.push(self.picture(media, path)?),
            Part::Audio(media) | Part::Video(media) => out.push(self.media(media, path)?),
            Part::Document(document) => out.push(self.document(document, path)?),
            Part::Reasoning(reasoning) => out.extend(self.reasoning(reasoning, path)),
            Part::ToolCall(call) => out.push(self.call(call, path)),
            Part::ToolResult(result) => self.result(result, path, out)?,
            Part::Opaque { dialect: DialectName::Gemini, value } => out.push(value.clone()),
            Part::Opaque { .. } => self.drops.add(path, "a block only its own vendor understands"),
        }
        Ok(())
    }

    fn picture(&mut self, media: &Media, path: &str) -> Result<Value, Inexpressible> {
        let mut value = self.media(media, path)?;
        let level = match media.detail.as_deref() {
            None | Some("auto") => return Ok(value),
            Some("low") => "MEDIA_RESOLUTION_LOW",
            Some("high") => "MEDIA_RESOLUTION_HIGH",
            Some(_) => {
                self.drops.add(format!("{path}.detail"), "gemini has no such resolution");
                return Ok(value);
            }
        };
        // A part has a resolution of its own only from Gemini 3 on.
        if self.profile.gemini_thinking == GeminiThinking::Level {
            if let Value::Object(map) = &mut value {
                map.insert("mediaResolution".to_owned(), json!({ "level": level }));
            }
        } else {
            self.drops.add(format!("{path}.detail"), "this gemini model takes no resolution for one picture");
        }
        Ok(value)
    }

    fn media(&mut self, media: &Media, path: &str) -> Result<Value, Inexpressible> {
        self.cache(media.cache.as_ref(), path);
        let inline_only = self.profile.images_inline_only;
        media::to_wire(media.media_type.as_deref(), &media.source, inline_only, path).map(Value::Object)
    }

    fn document(&mut self, document: &Document, path: &str) -> Result<Value, Inexpressible> {
        self.cache(document.cache.as_ref(), path);
        let inline_only = self.profile.images_inline_only;
        let mut map = media::to_wire(document.media_type.as_deref(), &document.source, inline_only, path)?;
        if let Some(title) = &document.title {
            if self.own {
                if let Some(Value::Object(data)) = map.values_mut().next() {
                    data.insert("displayName".to_owned(), json!(title));
                }
            } else {
                self.drops.add(format!("{path}.title"), "gemini documents have no title");
            }
        }
        if document.context.is_some() {
            self.drops.add(format!("{path}.context"), "gemini documents have no context");
        }
        if document.cite == Some(true) {
            self.drops.add(format!("{path}.citations"), "gemini does not cite documents of the request");
        }
        Ok(Value::Object(map))
    }

    /// Thought text goes back only to the vendor that thought it.
    fn reasoning(&mut self, reasoning: &Reasoning, path: &str) -> Option<Value> {
        let signature = own_signature(reasoning.signature.as_ref());
        if !self.own && signature.is_none() {
            self.drops.add(path, "reasoning of another vendor");
            return None;
        }
        Some(signed(json!({ "text": reasoning.text, "thought": true }), signature))
    }

    fn call(&mut self, call: &ToolCall, path: &str) -> Value {
        self.cache(call.cache.as_ref(), path);
        let (args, whole) = json::arguments(&call.arguments);
        if !whole {
            self.drops
                .add(format!("{path}.arguments"), "gemini arguments are an object; these are inside it as `input`");
        }
        let mut function = Map::new();
        if let Some(id) = &call.id {
            function.insert("id".to_owned(), json!(id));
            self.names.insert(id.clone(), call.name.clone());
        }
        function.insert("name".to_owned(), json!(names::to_wire(&call.name).0));
        function.insert("args".to_owned(), args);
        signed(json!({ "functionCall": function }), own_signature(call.signature.as_ref()))
    }

    fn result(&mut self, result: &ToolResult, path: &str, out: &mut Vec<Value>) -> Result<(), Inexpressible> {
        self.cache(result.cache.as_ref(), path);
        let known = result.call_id.as_ref().and_then(|id| self.names.get(id));
        // A result whose call is not in the history still needs a name.
        let name = result.name.as_ref().or(known).or(result.call_id.as_ref()).map_or("tool", String::as_str);
        let name = names::to_wire(name).0.into_owned();
        let mut function = Map::new();
        if let Some(id) = &result.call_id {
            function.insert("id".to_owned(), json!(id));
        }
        function.insert("name".to_owned(), json!(name));
        let (mut text, mut media) = (String::new(), Vec::new());
        for (k, part) in result.parts.iter().enumerate() {
            match part {
                Part::Text { text: more, .. } => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(more);
                }
                other => self.part(other, &format!("{path}.content[{k}]"), &mut media)?,
            }
        }
        function.insert("response".to_owned(), response(text, result.json, result.is_error));
        // Media inside the result came with Gemini 3; before, they stand beside it.
        if (self.own || self.profile.gemini_thinking == GeminiThinking::Level) && !media.is_empty() {
            function.insert("parts".to_owned(), Value::Array(std::mem::take(&mut media)));
        }
        out.push(json!({ "functionResponse": function }));
        out.extend(media);
        Ok(())
    }
}

/// `response`: the documented keys `output` and `error`, or the object itself.
fn response(text: String, json: bool, is_error: bool) -> Value {
    let value = if json { serde_json::from_str(&text).unwrap_or(Value::String(text)) } else { Value::String(text) };
    let has = |key: &str| value.get(key).is_some();
    if is_error {
        return if has("error") { value } else { json!({ "error": value }) };
    }
    // An object with one of the two keys would read as something else.
    if value.is_object() && !has("output") && !has("error") { value } else { json!({ "output": value }) }
}

fn own_signature(signature: Option<&ProviderBound>) -> Option<&str> {
    signature.filter(|s| s.dialect == DialectName::Gemini).map(|s| s.value.as_str())
}

fn signed(mut part: Value, signature: Option<&str>) -> Value {
    if let (Some(signature), Value::Object(map)) = (signature, &mut part) {
        map.insert("thoughtSignature".to_owned(), json!(signature));
    }
    part
}

/// The first call of a step without a signature gets the documented sentinel.
fn sign_first_call(turn: &mut Turn) {
    let first = turn.parts.iter_mut().find(|p| p.get("functionCall").is_some());
    if let Some(Value::Object(part)) = first
        && !part.contains_key("thoughtSignature")
    {
        part.insert("thoughtSignature".to_owned(), json!(NO_SIGNATURE));
    }
}

/// Puts the results of each step first in their turn, in the order of the calls.
fn order_results(turns: &mut [Turn]) {
    let mut calls: Vec<(Option<String>, String)> = Vec::new();
    for turn in turns {
        if turn.role == "model" {
            let read = |part: &Value| {
                let call = part.get("functionCall")?;
                Some((field(call, "id"), field(call, "name").unwrap_or_default()))
            };
            calls = turn.parts.iter().filter_map(read).collect();
            continue;
        }
        let (mut results, rest): (Vec<Value>, Vec<Value>) =
            std::mem::take(&mut turn.parts).into_iter().partition(|p| p.get("functionResponse").is_some());
        results.sort_by_key(|part| {
            let result = part.get("functionResponse").unwrap_or(&Value::Null);
            let (id, name) = (field(result, "id"), field(result, "name").unwrap_or_default());
            let by_id = id.and_then(|id| calls.iter().position(|c| c.0.as_deref() == Some(&id)));
            by_id.or_else(|| calls.iter().position(|c| c.1 == name)).unwrap_or(usize::MAX)
        });
        turn.parts = results;
        turn.parts.extend(rest);
    }
}

fn field(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}
