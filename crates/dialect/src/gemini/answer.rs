//! A whole `GenerateContentResponse`, both ways, and its parts for the stream.

use super::cite::{self, Text};
use super::words::{Enumeration, finish_reason, finish_word};
use super::{json, logprobs, media, names, usage};
use crate::Malformed;
use bytes::Bytes;
use canon::{
    Answer, Candidate, DialectName, Drops, FinishReason, MediaSource, Part, PromptBlock, ProviderBound, Reasoning,
    SafetyRating, ToolCall, ToolKind,
};
use serde_json::{Map, Value, json};

/// Reads an answer.
pub(super) fn decode(body: &[u8]) -> Result<Answer, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|e| Malformed(format!("the answer is not JSON: {e}")))?;
    let value = match value {
        Value::Array(mut items) if items.len() == 1 => items.remove(0),
        other => other,
    };
    let Value::Object(mut map) = value else {
        return Err(Malformed("the answer is not a JSON object".to_owned()));
    };
    if let Some(error) = map.get("error") {
        return Err(Malformed(format!("the answer is an error: {error}")));
    }
    if !["candidates", "promptFeedback", "modelVersion", "responseId"].iter().any(|key| map.contains_key(*key)) {
        return Err(Malformed("the answer has neither candidates nor promptFeedback".to_owned()));
    }
    let candidates = match map.shift_remove("candidates") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.into_iter().map(candidate).collect::<Result<_, _>>()?,
        Some(_) => return Err(Malformed("`candidates` is not a list".to_owned())),
    };
    let counts = map.get("usageMetadata");
    Ok(Answer {
        id: text_of(&map, "responseId"),
        model: text_of(&map, "modelVersion"),
        created: None,
        prompt_block: prompt_block(&map, candidates.is_empty()),
        usage: counts.map(|c| usage::Counts::of(c).usage()).unwrap_or_default(),
        extra: extra(&map),
        candidates,
    })
}

/// Provider fields worth keeping.
pub(super) fn extra(map: &Map<String, Value>) -> Vec<(String, Value)> {
    let tier = map.get("usageMetadata").and_then(|u| u.get("serviceTier")).filter(|t| t.is_string());
    tier.map(|t| ("service_tier".to_owned(), t.clone())).into_iter().collect()
}

/// A string field that says something.
pub(super) fn text_of(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
}

/// The block of a prompt. `alone` = there is no candidate; only then does feedback without a reason mean a block.
pub(super) fn prompt_block(map: &Map<String, Value>, alone: bool) -> Option<PromptBlock> {
    let feedback = map.get("promptFeedback")?.as_object()?;
    let message = text_of(feedback, "blockReasonMessage");
    let stated = feedback.get("blockReason").and_then(|v| Enumeration::Block.read(v));
    let reason = stated.or_else(|| (alone && message.is_some()).then(|| "BLOCK_REASON_UNSPECIFIED".to_owned()))?;
    Some(PromptBlock { reason, message })
}

fn candidate(value: Value) -> Result<Candidate, Malformed> {
    let Value::Object(mut map) = value else { return Err(Malformed("a candidate is not an object".to_owned())) };
    let parts: Vec<Part> = take_parts(&mut map).into_iter().filter_map(read_part).collect();
    let called = parts.iter().any(|p| matches!(p, Part::ToolCall(_)));
    let native = map.get("finishReason").and_then(|v| Enumeration::Finish.read(v));
    let text: String = parts.iter().filter_map(plain_text).collect();
    Ok(Candidate {
        index: index_of(&map),
        finish: native.as_deref().map(|word| finish_reason(word, called)),
        native_finish: native,
        stop_sequence: None,
        citations: cite::read(&map, Text::Whole(&text)),
        safety: safety(&map),
        logprobs: map.get("logprobsResult").and_then(logprobs::read),
        parts,
    })
}

fn plain_text(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// A candidate's place; 0 when it does not say.
pub(super) fn index_of(candidate: &Map<String, Value>) -> u32 {
    candidate.get("index").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The parts of a candidate; none when it has no content.
pub(super) fn take_parts(candidate: &mut Map<String, Value>) -> Vec<Value> {
    match candidate.get_mut("content").and_then(|c| c.get_mut("parts")).map(Value::take) {
        Some(Value::Array(parts)) => parts,
        _ => Vec::new(),
    }
}

/// One part of an answer; `None` = it says nothing.
pub(super) fn read_part(value: Value) -> Option<Part> {
    let Value::Object(mut map) = value else { return None };
    let thought = map.get("thought").and_then(Value::as_bool) == Some(true);
    let signature = text_of(&map, "thoughtSignature").map(own);
    if let Some(Value::String(text)) = map.get_mut("text").map(Value::take) {
        return if thought {
            Some(Part::Reasoning(Reasoning { text, signature, redacted: None }))
        } else if text.is_empty() && signature.is_none() {
            None
        } else {
            Some(Part::Text { text, citations: Vec::new(), cache: None, signature })
        };
    }
    if let Some(call) = map.get("functionCall").and_then(Value::as_object)
        && let Some(name) = text_of(call, "name")
    {
        return Some(Part::ToolCall(ToolCall {
            id: text_of(call, "id"),
            name: names::from_wire(name),
            arguments: call.get("args").filter(|a| !a.is_null()).map_or_else(|| "{}".to_owned(), Value::to_string),
            signature,
            cache: None,
            kind: ToolKind::Function,
        }));
    }
    if !thought && let Some(part) = read_media(&mut map) {
        return Some(part);
    }
    let bare = map.keys().all(|k| matches!(k.as_str(), "thought" | "thoughtSignature" | "text"));
    if bare {
        let signature = Some(signature?);
        return Some(Part::Text { text: String::new(), citations: Vec::new(), cache: None, signature });
    }
    Some(Part::Opaque { dialect: DialectName::Gemini, value: Value::Object(map) })
}

/// A picture, a sound or a film the model made; other bytes stay as they are.
fn read_media(map: &mut Map<String, Value>) -> Option<Part> {
    let data = map.get("inlineData").and_then(Value::as_object)?;
    let media_type = text_of(data, "mimeType")?;
    if !["image/", "audio/", "video/"].iter().any(|kind| media_type.starts_with(kind)) {
        return None;
    }
    let Some(Value::String(bytes)) = map.get_mut("inlineData")?.get_mut("data").map(Value::take) else { return None };
    Some(media::part(Some(media_type), MediaSource::Base64(bytes), None))
}

fn own(value: String) -> ProviderBound {
    ProviderBound { dialect: DialectName::Gemini, value }
}

fn safety(candidate: &Map<String, Value>) -> Vec<SafetyRating> {
    let ratings = candidate.get("safetyRatings").and_then(Value::as_array);
    let read = |rating: &Value| {
        Some(SafetyRating {
            category: rating.get("category").and_then(|v| Enumeration::Category.read(v))?,
            probability: rating.get("probability").and_then(|v| Enumeration::Probability.read(v)),
            blocked: rating.get("blocked").and_then(Value::as_bool).unwrap_or(false),
        })
    };
    ratings.into_iter().flatten().filter_map(read).collect()
}

/// Writes an answer for a Gemini caller.
pub(super) fn encode(answer: &Answer, drops: &mut Drops) -> Bytes {
    let mut root = Map::new();
    if !answer.candidates.is_empty() {
        let candidates = answer.candidates.iter().map(|c| encode_candidate(c, drops)).collect();
        root.insert("candidates".to_owned(), Value::Array(candidates));
    }
    if let Some(block) = &answer.prompt_block {
        root.insert("promptFeedback".to_owned(), feedback(block));
    }
    if let Some(usage) = usage::encode(&answer.usage) {
        root.insert("usageMetadata".to_owned(), usage);
    }
    if answer.usage.cache_write_tokens.is_some_and(|n| n > 0) {
        drops.add("usage.cache_write_tokens", "gemini usage has no such count");
    }
    for (key, value) in [("modelVersion", &answer.model), ("responseId", &answer.id)] {
        if let Some(value) = value {
            root.insert(key.to_owned(), json!(value));
        }
    }
    for (key, _) in &answer.extra {
        drops.add(key.clone(), "gemini answers have no such field");
    }
    Bytes::from(Value::Object(root).to_string())
}

/// `promptFeedback` of a blocked prompt.
pub(super) fn feedback(block: &PromptBlock) -> Value {
    let mut map = Map::new();
    map.insert("blockReason".to_owned(), json!(block.reason));
    if let Some(message) = &block.message {
        map.insert("blockReasonMessage".to_owned(), json!(message));
    }
    Value::Object(map)
}

fn encode_candidate(candidate: &Candidate, drops: &mut Drops) -> Value {
    let mut map = Map::new();
    let parts: Vec<Value> = candidate.parts.iter().filter_map(|p| write_part(p, drops)).collect();
    map.insert(
        "content".to_owned(),
        if parts.is_empty() { json!({ "role": "model" }) } else { json!({ "role": "model", "parts": parts }) },
    );
    if let Some(reason) = candidate.finish {
        write_finish(&mut map, reason, candidate.native_finish.as_deref());
    }
    map.insert("index".to_owned(), json!(candidate.index));
    if candidate.stop_sequence.is_some() {
        drops.add("stop_sequence", "gemini does not say which stop sequence was hit");
    }
    let safety: Vec<Value> = candidate.safety.iter().map(write_rating).collect();
    if !safety.is_empty() {
        map.insert("safetyRatings".to_owned(), Value::Array(safety));
    }
    let text: String = candidate.parts.iter().filter_map(plain_text).collect();
    let of_parts = candidate.parts.iter().flat_map(|part| match part {
        Part::Text { citations, .. } => citations.as_slice(),
        _ => &[],
    });
    cite::write(of_parts.chain(&candidate.citations), Text::Whole(&text), &mut map, drops);
    if let Some(result) = candidate.logprobs.as_ref().and_then(logprobs::write) {
        map.insert("logprobsResult".to_owned(), result);
    }
    Value::Object(map)
}

/// `finishReason`, and `finishMessage` where the provider's own word says more.
pub(super) fn write_finish(candidate: &mut Map<String, Value>, reason: FinishReason, native: Option<&str>) {
    let (word, message) = finish_word(reason, native);
    candidate.insert("finishReason".to_owned(), json!(word));
    if let Some(message) = message {
        candidate.insert("finishMessage".to_owned(), json!(message));
    }
}

fn write_rating(rating: &SafetyRating) -> Value {
    let mut map = Map::new();
    map.insert("category".to_owned(), json!(rating.category));
    if let Some(probability) = &rating.probability {
        map.insert("probability".to_owned(), json!(probability));
    }
    if rating.blocked {
        map.insert("blocked".to_owned(), json!(true));
    }
    Value::Object(map)
}

/// A part for a Gemini caller; `None` = it cannot be shown, which `drops` says.
pub(super) fn write_part(part: &Part, drops: &mut Drops) -> Option<Value> {
    match part {
        Part::Text { text, signature, .. } => {
            let signed = signed(signature.as_ref(), drops);
            (!text.is_empty() || signed.is_some()).then(|| with_signature(json!({ "text": text }), signed))
        }
        Part::Refusal(text) => Some(json!({ "text": text })),
        Part::Reasoning(reasoning) => write_reasoning(reasoning, drops),
        Part::ToolCall(call) => {
            Some(write_call(call.id.as_deref(), &call.name, &call.arguments, call.signature.as_ref(), drops))
        }
        Part::Image(media) | Part::Audio(media) | Part::Video(media) => {
            write_media(media.media_type.as_deref(), &media.source, drops)
        }
        Part::Document(document) => write_media(document.media_type.as_deref(), &document.source, drops),
        Part::Opaque { dialect: DialectName::Gemini, value } => Some(value.clone()),
        Part::Opaque { .. } => {
            drops.add("content.opaque", "a block only its own vendor's dialect can show");
            None
        }
        Part::ToolResult(_) => {
            drops.add("content.tool_result", "a gemini answer holds no tool results");
            None
        }
    }
}

fn write_media(media_type: Option<&str>, source: &MediaSource, drops: &mut Drops) -> Option<Value> {
    match media::to_wire(media_type, source, false, "content") {
        Ok(map) => Some(Value::Object(map)),
        Err(refused) => {
            drops.add("content.media", refused.reason);
            None
        }
    }
}

fn write_reasoning(reasoning: &Reasoning, drops: &mut Drops) -> Option<Value> {
    if reasoning.redacted.is_some() {
        drops.add("content.redacted_thinking", "encrypted reasoning means nothing to another vendor");
        return None;
    }
    let signed = signed(reasoning.signature.as_ref(), drops);
    if reasoning.text.is_empty() {
        return signed.map(|s| json!({ "text": "", "thoughtSignature": s }));
    }
    Some(with_signature(json!({ "text": reasoning.text, "thought": true }), signed))
}

/// A function call, whole.
pub(super) fn write_call(
    id: Option<&str>,
    name: &str,
    arguments: &str,
    signature: Option<&ProviderBound>,
    drops: &mut Drops,
) -> Value {
    let (args, whole) = json::arguments(arguments);
    if !whole {
        drops.add("tool_calls.arguments", "gemini arguments are an object; these are inside it as `input`");
    }
    let mut call = Map::new();
    if let Some(id) = id {
        call.insert("id".to_owned(), json!(id));
    }
    call.insert("name".to_owned(), json!(name));
    call.insert("args".to_owned(), args);
    with_signature(json!({ "functionCall": call }), signed(signature, drops))
}

/// The signature if it is Gemini's own; another vendor's cannot come back to it through this caller.
pub(super) fn signed<'a>(signature: Option<&'a ProviderBound>, drops: &mut Drops) -> Option<&'a str> {
    let signature = signature?;
    if signature.dialect != DialectName::Gemini {
        drops.add("reasoning.signature", "a signature only its own vendor's dialect can carry");
        return None;
    }
    Some(&signature.value)
}

fn with_signature(mut part: Value, signature: Option<&str>) -> Value {
    if let (Some(signature), Value::Object(map)) = (signature, &mut part) {
        map.insert("thoughtSignature".to_owned(), json!(signature));
    }
    part
}
