//! Messages of a request, written for a target.
//!
//! A turn with tool results becomes `tool` messages; pictures and files inside a result cannot stand there and follow
//! in the next user turn, because the results of one assistant turn must not be interrupted.

use super::message_decode::message_fields;
use super::part_encode::{self, Context};
use super::{ids, names, reasoning, tool_encode};
use crate::Inexpressible;
use crate::profile::Instructions;
use canon::{DialectName, Message, Part, Reasoning, Role, ToolResult};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// Writes `messages`.
pub(super) fn messages(messages: &[Message], context: &mut Context<'_>) -> Result<Vec<Value>, Inexpressible> {
    let mut writer =
        Writer { context, out: Vec::with_capacity(messages.len()), moved: Vec::new(), waiting: VecDeque::new() };
    for (i, message) in messages.iter().enumerate() {
        let path = format!("messages[{i}]");
        match message.role {
            Role::System | Role::Developer => writer.instructions(message, &path)?,
            Role::User => writer.user(message, &path)?,
            Role::Assistant => writer.assistant(message, &path)?,
        }
    }
    writer.flush_moved();
    Ok(writer.out)
}

struct Writer<'a, 'b> {
    context: &'a mut Context<'b>,
    out: Vec<Value>,
    /// Parts of tool results that wait for the next user turn.
    moved: Vec<Value>,
    /// Calls of the last assistant turn not answered yet: id as sent, name.
    waiting: VecDeque<(String, String)>,
}

impl Writer<'_, '_> {
    fn instructions(&mut self, message: &Message, path: &str) -> Result<(), Inexpressible> {
        self.flush_moved();
        let developer = match self.context.profile.instructions {
            Instructions::AsWritten => message.role == Role::Developer,
            Instructions::System => false,
            Instructions::Developer => true,
        };
        let content = if self.context.own {
            self.content(&message.parts, path)?
        } else {
            self.joined_text(&message.parts, path, "\n\n")
        };
        self.push(message, if developer { "developer" } else { "system" }, vec![("content", content)], path);
        Ok(())
    }

    fn user(&mut self, message: &Message, path: &str) -> Result<(), Inexpressible> {
        let mut others = Vec::new();
        let mut results = 0;
        for (j, part) in message.parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match part {
                Part::ToolResult(result) => {
                    results += 1;
                    self.tool_result(result, message, &path)?;
                }
                // Unknown fields of a `tool` message went out with the result.
                Part::Opaque { dialect: DialectName::OpenaiChat, value }
                    if results > 0 && message_fields(value).is_some() => {}
                other => others.push((other, path)),
            }
        }
        if others.is_empty() && results > 0 {
            return Ok(());
        }
        let mut parts = std::mem::take(&mut self.moved);
        let moved = !parts.is_empty();
        for (part, path) in &others {
            if !is_message_fields(part)
                && let Some(value) = part_encode::part(part, path, self.context)?
            {
                parts.push(value);
            }
        }
        let content = if moved { Value::Array(parts) } else { plain(parts) };
        self.push(message, "user", vec![("content", content)], path);
        Ok(())
    }

    fn tool_result(&mut self, result: &ToolResult, message: &Message, path: &str) -> Result<(), Inexpressible> {
        let id = self.answered(result, path);
        let mut texts = Vec::new();
        let mut moved = Vec::new();
        for (k, part) in result.parts.iter().enumerate() {
            let path = format!("{path}.content[{k}]");
            match (part, part_encode::part(part, &path, self.context)?) {
                (_, None) => {}
                (Part::Image(_) | Part::Audio(_) | Part::Video(_), Some(value)) => moved.push(value),
                (Part::Document(_), Some(value)) if value.get("text").is_none() => moved.push(value),
                (_, Some(value)) => texts.push(value),
            }
        }
        if !moved.is_empty() {
            self.moved.push(json!({"type": "text", "text": format!("Output of tool call {id}:")}));
            self.moved.append(&mut moved);
        }
        let mut content = if self.context.own { plain(texts) } else { Value::String(join(&texts, "\n")) };
        if result.is_error {
            content = Value::String(error_text(&content));
        }
        let mut object = json!({"role": "tool", "tool_call_id": id, "content": content});
        self.context.cache(&mut object, result.cache.as_ref(), path);
        let unknown = message.parts.iter().find_map(own_message_fields);
        if let (Some(fields), Some(object)) = (unknown, object.as_object_mut()) {
            object.extend(fields.clone());
        }
        self.out.push(object);
        Ok(())
    }

    /// The id a result refers to, as the call was sent. A result without id answers the first waiting call of its
    /// name, else the first one.
    fn answered(&mut self, result: &ToolResult, path: &str) -> String {
        if let Some(id) = &result.call_id {
            let id = fit_id(id, self.context);
            self.waiting.retain(|(waiting, _)| *waiting != id);
            return id;
        }
        let by_name = self.waiting.iter().position(|(_, name)| Some(name) == result.name.as_ref());
        match self.waiting.remove(by_name.unwrap_or(0)) {
            Some((id, _)) => id,
            None => fit_id(&ids::call_id(&[path, result.name.as_deref().unwrap_or_default()]), self.context),
        }
    }

    fn assistant(&mut self, message: &Message, path: &str) -> Result<(), Inexpressible> {
        self.flush_moved();
        self.waiting.clear();
        let (mut parts, mut refusals, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut thoughts = Vec::new();
        for (j, part) in message.parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match part {
                Part::Refusal(text) => refusals.push(text.clone()),
                Part::Reasoning(thought) => thoughts.push((thought, path)),
                Part::ToolCall(call) => {
                    let id = match &call.id {
                        Some(id) => fit_id(id, self.context),
                        None => fit_id(&ids::call_id(&[&path, &call.name]), self.context),
                    };
                    self.waiting.push_back((id.clone(), call.name.clone()));
                    calls.push(tool_encode::call(call, &id, &path, self.context));
                }
                Part::Image(_) | Part::Audio(_) | Part::Video(_) | Part::Document(_) => {
                    self.context.drops.add(path, "openai-chat takes no media in an assistant turn");
                }
                other if is_message_fields(other) => {}
                other => parts.extend(part_encode::part(other, &path, self.context)?),
            }
        }
        let mut fields = self.thoughts(&thoughts, !calls.is_empty(), &mut parts);
        if parts.is_empty() && calls.is_empty() && refusals.is_empty() && fields.is_empty() && !self.context.own {
            // Nothing of this turn can be said here; an empty assistant turn is refused by most targets.
            return Ok(());
        }
        place_refusals(&refusals, &mut parts, &mut fields);
        let content =
            self.assistant_content(parts, !calls.is_empty() || fields.iter().any(|(key, _)| *key == "refusal"));
        fields.insert(0, ("content", content));
        if !calls.is_empty() {
            fields.push(("tool_calls", Value::Array(calls)));
        }
        self.push(message, "assistant", fields, path);
        Ok(())
    }

    fn assistant_content(&self, parts: Vec<Value>, may_be_null: bool) -> Value {
        if parts.is_empty() {
            let null = may_be_null && !self.context.profile.empty_content_string;
            return if null { Value::Null } else { Value::String(String::new()) };
        }
        if !self.context.own && parts.iter().all(|part| part.get("type") == Some(&json!("text"))) {
            // Other dialects cut one text into blocks (around citations, for instance).
            return Value::String(join(&parts, ""));
        }
        plain(parts)
    }

    /// The thinking of an assistant turn, as far as the target takes it back.
    fn thoughts(
        &mut self,
        thoughts: &[(&Reasoning, String)],
        has_calls: bool,
        parts: &mut Vec<Value>,
    ) -> Vec<(&'static str, Value)> {
        let profile = self.context.profile;
        let required = has_calls && profile.reasoning_required_with_tools;
        let field = match profile.reasoning_field.as_deref() {
            Some("thinking") => Field::ThinkingChunk,
            Some("reasoning") => Field::Named("reasoning"),
            Some("reasoning_details") => Field::Named("reasoning_details"),
            Some(_) => Field::Named("reasoning_content"),
            None if required => Field::Named("reasoning_content"),
            None => Field::Absent,
        };
        let takes_details = matches!(field, Field::Named("reasoning" | "reasoning_details"));
        let mut text = String::new();
        let mut details = Vec::new();
        for (thought, path) in thoughts {
            let own = thought.signature.as_ref().and_then(reasoning::details_of);
            let lost = (field == Field::Absent && !thought.text.is_empty()) || (!takes_details && own.is_some());
            if thought.redacted.is_some() || lost {
                self.context.drops.add(path.clone(), "the target does not take this reasoning back");
            }
            text.push_str(&thought.text);
            if let Some(Value::Array(list)) = own {
                details.extend(list);
            }
        }
        let mut fields = Vec::new();
        match field {
            Field::Absent => {}
            Field::ThinkingChunk if text.is_empty() => {}
            Field::ThinkingChunk => {
                parts.insert(0, json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]}));
            }
            Field::Named(name) => {
                let plain = if name == "reasoning_details" { "reasoning" } else { name };
                if required || !text.is_empty() {
                    fields.push((plain, Value::String(text)));
                }
                if takes_details && !details.is_empty() {
                    fields.push(("reasoning_details", Value::Array(details)));
                }
            }
        }
        fields
    }

    /// Parts of a system or user message: a string where one text says it all.
    fn content(&mut self, parts: &[Part], path: &str) -> Result<Value, Inexpressible> {
        let mut written = Vec::new();
        for (j, part) in parts.iter().enumerate().filter(|(_, part)| !is_message_fields(part)) {
            written.extend(part_encode::part(part, &format!("{path}.content[{j}]"), self.context)?);
        }
        Ok(plain(written))
    }

    /// The text of instructions from another dialect; whatever else stands there is reported.
    fn joined_text(&mut self, parts: &[Part], path: &str, separator: &str) -> Value {
        let mut texts = Vec::new();
        for (j, part) in parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match part {
                Part::Text { text, cache, .. } => {
                    texts.push(text.as_str());
                    self.context.cache(&mut Value::Null, cache.as_ref(), &path);
                }
                _ => self.context.drops.add(path, "openai-chat takes only text as instructions"),
            }
        }
        Value::String(texts.join(separator))
    }

    /// Ends a message: role, name, its fields, and unknown fields of this dialect.
    fn push(&mut self, message: &Message, role: &str, fields: Vec<(&'static str, Value)>, path: &str) {
        let mut object = Map::new();
        object.insert("role".to_owned(), Value::String(role.to_owned()));
        if let Some(name) = &message.name {
            if self.context.profile.drop.iter().any(|field| field == "messages.name") {
                self.context.drops.add(format!("{path}.name"), "the target takes no participant names");
            } else {
                object.insert("name".to_owned(), Value::String(name.clone()));
            }
        }
        for (key, value) in fields {
            object.insert(key.to_owned(), value);
        }
        for part in &message.parts {
            if let Some(fields) = own_message_fields(part) {
                object.extend(fields.clone());
            }
        }
        self.out.push(Value::Object(object));
    }

    fn flush_moved(&mut self) {
        if !self.moved.is_empty() {
            let content = std::mem::take(&mut self.moved);
            self.out.push(json!({"role": "user", "content": content}));
        }
    }
}

/// Where a target takes reasoning back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Absent,
    Named(&'static str),
    ThinkingChunk,
}

fn is_message_fields(part: &Part) -> bool {
    own_message_fields(part).is_some()
}

fn own_message_fields(part: &Part) -> Option<&Map<String, Value>> {
    match part {
        Part::Opaque { dialect: DialectName::OpenaiChat, value } => message_fields(value),
        _ => None,
    }
}

/// A tool call's id in the form the target takes; the same for the call and its result.
fn fit_id(id: &str, context: &Context<'_>) -> String {
    if context.profile.nine_character_tool_ids {
        ids::nine_characters(id)
    } else if context.own {
        id.to_owned()
    } else {
        ids::short(id)
    }
}

/// A tool's name in the alphabet the target takes.
pub(super) fn fit_name(name: &str, path: &str, context: &mut Context<'_>) -> String {
    let wire = names::to_wire(name);
    if wire.lossy {
        context.drops.add(format!("{path}.name"), "too long for openai-chat: the answer names the tool differently");
    }
    wire.name.into_owned()
}

/// Parts as content: nothing and one bare text are strings, which every target takes.
fn plain(parts: Vec<Value>) -> Value {
    let bare = |part: &Value| part.as_object().is_some_and(|part| part.len() == 2);
    match parts.as_slice() {
        [] => Value::String(String::new()),
        [one] if bare(one) && one.get("type") == Some(&json!("text")) => {
            one.get("text").cloned().unwrap_or_else(|| Value::String(String::new()))
        }
        _ => Value::Array(parts),
    }
}

/// One refusal is the message's field; several stand among the parts.
fn place_refusals(refusals: &[String], parts: &mut Vec<Value>, fields: &mut Vec<(&'static str, Value)>) {
    match refusals {
        [] => {}
        [one] => fields.push(("refusal", Value::String(one.clone()))),
        many => parts.extend(many.iter().map(|text| json!({"type": "refusal", "refusal": text}))),
    }
}

fn join(parts: &[Value], separator: &str) -> String {
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
    texts.join(separator)
}

/// A failed tool's text: this dialect has no flag for failure, so the words have to say it.
fn error_text(content: &Value) -> String {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => join(parts, "\n"),
        _ => String::new(),
    };
    let says_so = text.chars().take(20).collect::<String>().to_ascii_lowercase().contains("error");
    if says_so { text } else { format!("Error: {text}") }
}
