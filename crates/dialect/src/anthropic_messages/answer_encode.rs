//! Writes a whole answer as the official SDKs read it.

use super::answer_decode::{KEPT, explanation};
use super::blocks::object;
use super::names::{plain_id, short_hash};
use super::{DIALECT, citation, finish, usage};
use bytes::Bytes;
use canon::{Answer, Candidate, Citation, Drops, FinishReason, Part, PromptBlock, Reasoning, ToolCall};
use serde_json::{Map, Value, json};

/// Writes a whole answer: the first candidate, because the API has one.
pub(super) fn encode(answer: &Answer, drops: &mut Drops) -> Bytes {
    for candidate in answer.candidates.iter().skip(1) {
        drops.add(format!("candidates[{}]", candidate.index), "anthropic-messages answers with one");
    }
    let id = message_id(answer.id.as_deref().unwrap_or_default(), answer.id.is_none().then_some(answer));
    let first = answer.candidates.first();
    let details = answer.extra.iter().find(|(key, _)| key == "stop_details").map(|(_, details)| details);
    let shown_apart = explanation(details);
    let content = first.map(|candidate| content(candidate, &id, shown_apart.as_deref(), drops)).unwrap_or_default();
    let (stop_reason, stop_sequence) = stop(answer, first);
    let mut kept = object(json!({}));
    usage::report(&answer.usage, drops);
    let mut usage = usage::write(&answer.usage);
    for (key, value) in &answer.extra {
        extra(key, value, &mut kept, &mut usage, drops);
    }
    if let Some(block) = &answer.prompt_block {
        kept.insert("stop_details".to_owned(), refusal_details(block));
    }
    let mut message = object(json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": answer.model.as_deref().unwrap_or_default(),
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
    }));
    message.extend(kept);
    message.insert("usage".to_owned(), Value::Object(usage));
    Bytes::from(Value::Object(message).to_string())
}

/// Sorts a provider field into the message or its usage; what this API does not have is reported.
pub(super) fn extra(
    key: &str,
    value: &Value,
    message: &mut Map<String, Value>,
    usage: &mut Map<String, Value>,
    drops: &mut Drops,
) {
    if KEPT.contains(&key) {
        message.insert(key.to_owned(), value.clone());
    } else if key == "service_tier" && matches!(value.as_str(), Some("standard" | "priority" | "batch")) {
        usage.insert(key.to_owned(), value.clone());
    } else {
        drops.add(key, "anthropic-messages has no such field");
    }
}

/// `stop_details` of a prompt that another vendor blocked.
pub(super) fn refusal_details(block: &PromptBlock) -> Value {
    json!({
        "type": "refusal",
        "category": null,
        "explanation": block.message.as_ref().unwrap_or(&block.reason),
    })
}

/// An id as this API spells it: `msg_…`, keeping the provider's own.
pub(super) fn message_id(id: &str, nameless: Option<&Answer>) -> String {
    match nameless {
        Some(answer) => format!("msg_{:08x}", short_hash(&format!("{answer:?}"))),
        None if id.starts_with("msg_") => plain_id(id),
        None => format!("msg_{}", plain_id(id)),
    }
}

/// An id of a tool call as this API spells it. `message` makes one up where the provider gave none.
pub(super) fn tool_id(id: Option<&str>, message: &str, call: usize) -> String {
    match id {
        Some(id) if !id.is_empty() => plain_id(id),
        _ => format!("toolu_{}_{call}", message.strip_prefix("msg_").unwrap_or(message)),
    }
}

fn stop(answer: &Answer, first: Option<&Candidate>) -> (Value, Value) {
    if answer.prompt_block.is_some() {
        return ("refusal".into(), Value::Null);
    }
    let Some(candidate) = first else { return (Value::Null, Value::Null) };
    let refused = candidate.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let reason = match candidate.finish {
        None => Value::Null,
        Some(FinishReason::Stop) if refused => "refusal".into(),
        Some(reason) => {
            finish::write(reason, candidate.native_finish.as_deref(), candidate.stop_sequence.is_some()).into()
        }
    };
    (reason, candidate.stop_sequence.clone().map_or(Value::Null, Value::String))
}

/// The blocks. A refusal that `stop_details` explains already (`shown_apart`) is not said twice.
fn content(candidate: &Candidate, id: &str, shown_apart: Option<&str>, drops: &mut Drops) -> Vec<Value> {
    if candidate.logprobs.is_some() {
        drops.add("logprobs", "anthropic-messages has no such field");
    }
    if !candidate.safety.is_empty() {
        drops.add("safetyRatings", "anthropic-messages has no such field");
    }
    let mut blocks = Vec::with_capacity(candidate.parts.len());
    let mut calls = 0;
    for part in &candidate.parts {
        match part {
            Part::ToolCall(call) => {
                blocks.push(tool_use(call, id, calls, drops));
                calls += 1;
            }
            Part::Refusal(why) if Some(why.as_str()) == shown_apart => {}
            part => blocks.extend(block(part, drops)),
        }
    }
    loose_citations(&candidate.citations, &mut blocks, drops);
    blocks
}

/// Citations tied to no part go to the last text.
fn loose_citations(citations: &[Citation], blocks: &mut [Value], drops: &mut Drops) {
    if citations.is_empty() {
        return;
    }
    let written = write_citations(citations, drops);
    let last_text = blocks.iter_mut().rev().find(|block| block.get("type").is_some_and(|kind| kind == "text"));
    match last_text.and_then(|block| block.get_mut("citations")) {
        Some(Value::Array(list)) => list.extend(written),
        Some(slot) => *slot = Value::Array(written),
        None => drops.add("citations", "no text to tie them to"),
    }
}

fn write_citations(citations: &[Citation], drops: &mut Drops) -> Vec<Value> {
    let written: Vec<Value> = citations.iter().filter_map(citation::write).collect();
    if written.len() < citations.len() {
        drops.add("citations", "anthropic-messages names sources by web address or by its own locations");
    }
    written
}

fn block(part: &Part, drops: &mut Drops) -> Option<Value> {
    match part {
        Part::Text { text, citations, signature, .. } => {
            if signature.as_ref().is_some_and(|signature| signature.dialect != DIALECT) {
                drops.add("thoughtSignature", "only its own vendor can read it");
            }
            if text.is_empty() && citations.is_empty() {
                return None;
            }
            let citations =
                if citations.is_empty() { Value::Null } else { Value::Array(write_citations(citations, drops)) };
            Some(json!({ "type": "text", "text": text, "citations": citations }))
        }
        Part::Refusal(text) => Some(json!({ "type": "text", "text": text, "citations": null })),
        Part::Reasoning(reasoning) => thinking(reasoning, drops),
        Part::Opaque { dialect: DIALECT, value } => Some(value.clone()),
        Part::Opaque { .. } => {
            drops.add("content", "a block of another vendor's own");
            None
        }
        Part::Image(_) | Part::Audio(_) | Part::Video(_) | Part::Document(_) => {
            drops.add("content", "anthropic-messages answers hold no media");
            None
        }
        Part::ToolCall(_) | Part::ToolResult(_) => None,
    }
}

/// Thinking is shown whoever thought; only Anthropic's own signature goes with it.
fn thinking(reasoning: &Reasoning, drops: &mut Drops) -> Option<Value> {
    let mut own = |bound: &Option<canon::ProviderBound>| match bound {
        Some(bound) if bound.dialect == DIALECT => Some(bound.value.clone()),
        Some(_) => {
            drops.add("thoughtSignature", "only its own vendor can read it");
            None
        }
        None => None,
    };
    if let Some(data) = own(&reasoning.redacted) {
        return Some(json!({ "type": "redacted_thinking", "data": data }));
    }
    let signature = own(&reasoning.signature);
    if reasoning.text.is_empty() && signature.is_none() {
        return None;
    }
    Some(json!({
        "type": "thinking",
        "thinking": reasoning.text,
        "signature": signature.unwrap_or_default(),
    }))
}

fn tool_use(call: &ToolCall, message: &str, index: usize, drops: &mut Drops) -> Value {
    if call.signature.is_some() {
        drops.add("thoughtSignature", "only its own vendor can read it");
    }
    let input = match serde_json::from_str::<Value>(&call.arguments) {
        Ok(input @ Value::Object(_)) => input,
        _ if call.arguments.trim().is_empty() => json!({}),
        Ok(other) => {
            drops.add("arguments", "not a JSON object: wrapped as {\"value\": …}");
            json!({ "value": other })
        }
        Err(_) => {
            drops.add("arguments", "not valid JSON: wrapped as {\"raw\": …}");
            json!({ "raw": call.arguments })
        }
    };
    json!({ "type": "tool_use", "id": tool_id(call.id.as_deref(), message, index), "name": call.name, "input": input })
}
