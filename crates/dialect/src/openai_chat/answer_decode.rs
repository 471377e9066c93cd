//! A provider's whole answer, tolerant of every deviation recorded.

use super::reasoning::{Details, text_of, thinking_chunk_text};
use super::{citation, finish, media, names, usage};
use crate::Malformed;
use crate::profile::Profile;
use canon::{Answer, Candidate, Citation, DialectName, FinishReason, Media, Part, Reasoning, ToolCall, ToolKind};
use serde_json::{Map, Value, json};

/// Fields of an answer kept because callers correlate by them.
pub(super) const KEPT: [&str; 2] = ["system_fingerprint", "service_tier"];

/// Reads an answer. An error object in place of one is malformed here: the sniffer, which every answer passes first,
/// has the object itself for the catalogue to classify.
pub(super) fn decode(body: &[u8], profile: &Profile) -> Result<Answer, Malformed> {
    let value: Value = serde_json::from_slice(json_start(body))
        .map_err(|error| Malformed(format!("the answer is not valid JSON: {error}")))?;
    let Value::Object(answer) = value else { return Err(Malformed("the answer is not a JSON object".to_owned())) };
    let Some(choices) = answer.get("choices").and_then(Value::as_array) else {
        let reason = if answer.contains_key("error") { "an error object" } else { "no `choices`" };
        return Err(Malformed(format!("the answer has {reason}")));
    };
    let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Answer {
        id: text("id"),
        model: text("model"),
        created: answer.get("created").and_then(Value::as_i64).filter(|created| *created > 0),
        candidates: choices.iter().enumerate().map(|(i, choice)| candidate(i, choice)).collect(),
        usage: usage_of(&answer)
            .map(|stated| usage::decode(stated, profile.reasoning_outside_output))
            .unwrap_or_default(),
        prompt_block: None,
        extra: kept(&answer),
    })
}

/// Skips the blank lines and comments some providers send before a JSON body while a request is queued.
pub(super) fn json_start(body: &[u8]) -> &[u8] {
    let mut rest = body;
    loop {
        rest = rest.trim_ascii_start();
        if !rest.starts_with(b":") {
            return rest;
        }
        let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        rest = rest.get(line..).unwrap_or_default();
    }
}

/// Every place a frame or an answer may state usage: the field itself, Groq's wrapper, a choice (Moonshot).
pub(super) fn usage_of(frame: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let wrapped = || frame.get("x_groq").and_then(|groq| groq.get("usage"));
    let in_choice = || frame.get("choices").and_then(|choices| choices.get(0)).and_then(|choice| choice.get("usage"));
    let object = |value: Option<&Value>| value.is_some_and(Value::is_object);
    let direct = Some(frame.get("usage")).filter(|value| object(*value)).flatten();
    direct.or_else(wrapped).or_else(in_choice).and_then(Value::as_object).filter(|usage| !usage.is_empty())
}

/// `system_fingerprint` and `service_tier`, where stated.
pub(super) fn kept(frame: &Map<String, Value>) -> Vec<(String, Value)> {
    let stated =
        |key: &&str| frame.get(*key).filter(|value| value.as_str().is_some_and(|text| !text.is_empty())).cloned();
    KEPT.iter().filter_map(|key| Some(((*key).to_owned(), stated(key)?))).collect()
}

fn candidate(position: usize, choice: &Value) -> Candidate {
    let empty = Map::new();
    let message = choice.get("message").and_then(Value::as_object).unwrap_or(&empty);
    let native = choice.get("finish_reason").and_then(Value::as_str);
    let stated = native.and_then(finish::decode);
    let cut = matches!(stated, Some(FinishReason::Length | FinishReason::ContextFull));
    let mut parts = Vec::new();
    parts.extend(message_reasoning(message));
    let citations = content(message, &mut parts);
    let refusal = message.get("refusal").and_then(Value::as_str).filter(|text| !text.is_empty());
    parts.extend(refusal.map(|text| Part::Refusal(text.to_owned())));
    parts.extend(tool_calls(message, cut).into_iter().map(Part::ToolCall));
    media_parts(message, &mut parts);
    let has_call = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let failed = choice.get("error").is_some_and(|error| !error.is_null());
    let reason = stated.map(|reason| finish::settle(reason, has_call, refusal.is_some()));
    Candidate {
        index: index(choice, position),
        parts,
        finish: if failed { Some(FinishReason::ProviderError) } else { reason },
        native_finish: native.filter(|_| stated.is_some()).map(str::to_owned),
        stop_sequence: choice.get("stop_reason").and_then(Value::as_str).map(str::to_owned),
        citations,
        safety: Vec::new(),
        logprobs: logprobs(choice),
    }
}

/// The index of a choice; one that states none is where it stands.
pub(super) fn index(choice: &Value, position: usize) -> u32 {
    let stated = choice.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    stated.unwrap_or_else(|| u32::try_from(position).unwrap_or(u32::MAX))
}

/// `logprobs` that say something.
pub(super) fn logprobs(choice: &Value) -> Option<Value> {
    choice.get("logprobs").filter(|value| value.is_object() && says_something(value)).cloned()
}

/// Whether a value is more than null, `false`, 0, empty, or an object of such: some servers fill in every field they
/// know.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.values().any(says_something),
    }
}

fn message_reasoning(message: &Map<String, Value>) -> Option<Part> {
    let mut details = Details::default();
    details.add(message.get("reasoning_details"));
    let signature = details.take_signature();
    let text = text_of(message);
    (text.is_some() || signature.is_some())
        .then(|| Part::Reasoning(Reasoning { text: text.unwrap_or_default(), signature, redacted: None }))
}

/// Reads `content` and the annotations, which belong to its text. Returns those that have no text to stand on.
fn content(message: &Map<String, Value>, parts: &mut Vec<Part>) -> Vec<Citation> {
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => parts.push(Part::text(text.clone())),
        Some(Value::Array(chunks)) => chunks.iter().for_each(|chunk| content_chunk(chunk, parts)),
        _ => {}
    }
    let found = citation::decode_all(message.get("annotations"));
    if found.is_empty() {
        return found;
    }
    match parts.iter_mut().rev().find_map(|part| match part {
        Part::Text { citations, .. } => Some(citations),
        _ => None,
    }) {
        Some(citations) => {
            *citations = found;
            Vec::new()
        }
        None => found,
    }
}

/// One chunk of list content (Mistral): neighbours of the same kind are one part.
fn content_chunk(chunk: &Value, parts: &mut Vec<Part>) {
    match chunk.get("type").and_then(Value::as_str) {
        Some("text") => {
            let text = chunk.get("text").and_then(Value::as_str).unwrap_or_default();
            match parts.last_mut() {
                _ if text.is_empty() => {}
                Some(Part::Text { text: held, .. }) => held.push_str(text),
                _ => parts.push(Part::text(text)),
            }
        }
        Some("thinking") => {
            let text = thinking_chunk_text(chunk);
            match parts.last_mut() {
                _ if text.is_empty() => {}
                Some(Part::Reasoning(held)) => held.text.push_str(&text),
                _ => parts.push(Part::Reasoning(Reasoning { text, signature: None, redacted: None })),
            }
        }
        Some(_) => parts.push(Part::Opaque { dialect: DialectName::OpenaiChat, value: chunk.clone() }),
        None => {}
    }
}

/// `tool_calls` and the deprecated `function_call`. A call without arguments takes none, unless the answer was cut.
fn tool_calls(message: &Map<String, Value>, cut: bool) -> Vec<ToolCall> {
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let mut calls: Vec<ToolCall> = calls.filter_map(tool_call).collect();
    if let Some(function) = message.get("function_call").filter(|call| call.is_object() && says_something(call)) {
        calls.push(ToolCall {
            id: None,
            name: names::from_wire(text_field(function, "name")).into_owned(),
            arguments: arguments(function.get("arguments")),
            signature: None,
            cache: None,
            kind: ToolKind::Function,
        });
    }
    for call in &mut calls {
        if call.arguments.is_empty() && !cut && call.kind == ToolKind::Function {
            "{}".clone_into(&mut call.arguments);
        }
    }
    calls
}

fn tool_call(call: &Value) -> Option<ToolCall> {
    let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let (inner, kind, arguments) = match (call.get("custom"), call.get("function")) {
        (Some(custom), _) if custom.is_object() => {
            (custom, ToolKind::Custom(None), text_field(custom, "input").to_owned())
        }
        (_, Some(function)) => (function, ToolKind::Function, arguments(function.get("arguments"))),
        _ => return None,
    };
    let name = names::from_wire(text_field(inner, "name")).into_owned();
    Some(ToolCall { id, name, arguments, signature: None, cache: None, kind })
}

/// Arguments as text: a string, or (some servers) the object itself, or nothing.
pub(super) fn arguments(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(object @ (Value::Object(_) | Value::Array(_))) => object.to_string(),
        _ => String::new(),
    }
}

fn text_field<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Pictures (`OpenRouter`'s `images`) and `audio`, which has no canonical form.
fn media_parts(message: &Map<String, Value>, parts: &mut Vec<Part>) {
    for image in message.get("images").and_then(Value::as_array).into_iter().flatten() {
        let url = image.get("image_url").map(|link| link.get("url").unwrap_or(link)).and_then(Value::as_str);
        if let Some(url) = url {
            let (media_type, source) = media::from_url(url.to_owned());
            parts.push(Part::Image(Media { media_type, source, detail: None, cache: None }));
        }
    }
    if let Some(audio) = message.get("audio").filter(|audio| audio.is_object() && says_something(audio)) {
        let value = json!({ "message": { "audio": audio } });
        parts.push(Part::Opaque { dialect: DialectName::OpenaiChat, value });
    }
}
