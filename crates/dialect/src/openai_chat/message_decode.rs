//! Messages of a request.
//!
//! A `tool` (or deprecated `function`) message becomes a user message with one tool result; the tool's name is looked
//! up from the call it answers. Fields of a message with no canonical form are kept as one opaque part
//! `{"message": {…}}` at its end.

use super::reader::{Fields, invalid, missing, wrong};
use super::reasoning::{Details, text_of};
use super::{part_decode, tool_decode};
use crate::BadRequest;
use canon::{DialectName, Message, Part, Reasoning, Role, ToolResult};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Reads `messages`.
pub(super) fn messages(items: Vec<Value>) -> Result<Vec<Message>, BadRequest> {
    let mut names = HashMap::new();
    let mut messages = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let message = message(item, &format!("messages[{i}]"), &names)?;
        for part in &message.parts {
            if let Part::ToolCall(call) = part
                && let Some(id) = &call.id
            {
                names.insert(id.clone(), call.name.clone());
            }
        }
        messages.push(message);
    }
    Ok(messages)
}

fn message(value: Value, path: &str, names: &HashMap<String, String>) -> Result<Message, BadRequest> {
    let mut fields = Fields::read(value, path)?;
    let role = fields.required_string("role")?;
    match role.as_str() {
        "system" => instructions(fields, Role::System),
        "developer" => instructions(fields, Role::Developer),
        "user" => instructions(fields, Role::User),
        "assistant" => assistant(fields),
        "tool" => tool(fields, names),
        "function" => function(fields),
        other => Err(invalid(&fields.at("role"), other, "one of system, developer, user, assistant, tool, function")),
    }
}

/// System, developer and user messages: content is required.
fn instructions(mut fields: Fields, role: Role) -> Result<Message, BadRequest> {
    let name = fields.string("name")?;
    let path = fields.at("content");
    let value = fields.take("content").ok_or_else(|| missing(&path, "a string or an array of content parts"))?;
    let mut parts = part_decode::content(value, &path)?;
    keep_unknown(fields, &mut parts);
    Ok(Message { role, parts, name })
}

fn assistant(mut fields: Fields) -> Result<Message, BadRequest> {
    let name = fields.string("name")?;
    let mut parts = Vec::new();
    parts.extend(reasoning(&mut fields)?);
    if let Some(value) = fields.take("content") {
        parts.extend(part_decode::content(value, &fields.at("content"))?);
    }
    if let Some(text) = fields.string("refusal")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal(text));
    }
    let calls = fields.array("tool_calls")?.unwrap_or_default();
    for (i, call) in calls.into_iter().enumerate() {
        parts.push(Part::ToolCall(tool_decode::call(call, &fields.at(&format!("tool_calls[{i}]")))?));
    }
    if let Some(call) = fields.fields("function_call")? {
        parts.push(Part::ToolCall(tool_decode::function_call(call)?));
    }
    keep_unknown(fields, &mut parts);
    Ok(Message { role: Role::Assistant, parts, name })
}

/// Reasoning that comes back on an assistant turn.
fn reasoning(fields: &mut Fields) -> Result<Option<Part>, BadRequest> {
    let mut stated = Map::new();
    for key in ["reasoning_content", "reasoning"] {
        if let Some(text) = fields.string(key)? {
            stated.insert(key.to_owned(), Value::String(text));
        }
    }
    let mut details = Details::default();
    if let Some(list) = fields.array("reasoning_details")? {
        let list = Value::Array(list);
        details.add(Some(&list));
        stated.insert("reasoning_details".to_owned(), list);
    }
    let signature = details.take_signature();
    let text = text_of(&stated);
    if text.is_none() && signature.is_none() {
        return Ok(None);
    }
    Ok(Some(Part::Reasoning(Reasoning { text: text.unwrap_or_default(), signature, redacted: None })))
}

fn tool(mut fields: Fields, names: &HashMap<String, String>) -> Result<Message, BadRequest> {
    let call_id = fields.required_string("tool_call_id")?;
    let stated = fields.string("name")?;
    let path = fields.at("content");
    let parts = fields.take("content").map(|value| part_decode::content(value, &path)).transpose()?.unwrap_or_default();
    let cache = part_decode::cache_hint(&mut fields);
    let name = names.get(&call_id).cloned().or(stated);
    let call_id = Some(call_id).filter(|id| !id.is_empty());
    let result = ToolResult { call_id, name, parts, json: false, is_error: false, cache };
    let mut parts = vec![Part::ToolResult(result)];
    keep_unknown(fields, &mut parts);
    Ok(Message { role: Role::User, parts, name: None })
}

/// The deprecated `function` role: the result of a call without id.
fn function(mut fields: Fields) -> Result<Message, BadRequest> {
    let name = fields.required_string("name")?;
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Part::text(text)],
        Some(other) => return Err(wrong(&fields.at("content"), &other, "a string")),
    };
    let result = ToolResult { call_id: None, name: Some(name), parts, json: false, is_error: false, cache: None };
    Ok(Message { role: Role::User, parts: vec![Part::ToolResult(result)], name: None })
}

/// Keeps a message's unknown fields; empty lists (SDKs dump `annotations: []`) say nothing.
fn keep_unknown(fields: Fields, parts: &mut Vec<Part>) {
    let mut rest = fields.rest();
    rest.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    if !rest.is_empty() {
        parts.push(Part::Opaque { dialect: DialectName::OpenaiChat, value: json!({ "message": rest }) });
    }
}

/// The message fields inside an opaque part made here; `None` = it is a content part.
pub(super) fn message_fields(value: &Value) -> Option<&Map<String, Value>> {
    if value.get("type").is_some() { None } else { value.get("message").and_then(Value::as_object) }
}
