//! Writes the turns of a conversation so that the API accepts them, whatever dialect they come from.
//!
//! The API wants: the first turn the user's; a `tool_result` for every `tool_use` in the very next user turn, before
//! anything else there; no blank text; no whitespace at the end of a final assistant turn. Turns are merged, results
//! moved and missing ones filled in; every change that alters what was said is reported.

use super::blocks::{Context, Place, object, with_cache};
use super::names::{CallIds, escape_tool};
use super::pairing::pair;
use crate::Inexpressible;
use canon::{Message, Part, Role, ToolCall, ToolKind, ToolResult};
use serde_json::{Map, Value, json};

/// Turns of one speaker, merged.
pub(super) struct Turn {
    /// The model's, else the user's.
    pub(super) assistant: bool,
    /// What is said.
    pub(super) blocks: Vec<Block>,
}

/// A block of a turn before calls and results are paired.
pub(super) enum Block {
    /// A call, its id already final.
    Call {
        /// The id in the source.
        source_id: Option<String>,
        /// The caller's name of the tool.
        name: String,
        /// The block.
        value: Map<String, Value>,
    },
    /// A result whose call is not found yet.
    Result(PendingResult),
    /// Anything else.
    Plain(Value),
}

/// A tool result that still needs the final id of its call.
pub(super) struct PendingResult {
    /// The id in the source.
    pub(super) source_id: Option<String>,
    /// The caller's name of the tool, where known.
    pub(super) name: Option<String>,
    /// Where it stood, for the report.
    pub(super) path: String,
    /// The block without `tool_use_id`.
    pub(super) value: Map<String, Value>,
}

/// The conversation as the API takes it.
pub(super) struct History {
    /// `system`, if there are instructions.
    pub(super) system: Option<Value>,
    /// `messages`.
    pub(super) messages: Vec<Value>,
    /// Tools the history calls, by the name the API sees, in order of first call.
    pub(super) tools_called: Vec<String>,
    /// The conversation ends inside a tool loop whose assistant turn does not begin with thinking.
    pub(super) unthought_tool_loop: bool,
}

/// Writes instructions and turns. `notes` are instructions of the gateway's own (a schema that had to become words).
pub(super) fn write(ctx: &mut Context<'_>, notes: &[String]) -> Result<History, Inexpressible> {
    let system = system(ctx, notes)?;
    let mut tools_called = Vec::new();
    let mut turns = turns(ctx, &mut tools_called)?;
    pair(&mut turns, ctx.drops);
    let mut turns = tidy(turns);
    if turns.first().is_none_or(|first| first.assistant) {
        ctx.drops.add("messages", "anthropic-messages begins with a user turn: \"(no user message)\" was inserted");
        turns.insert(
            0,
            Turn {
                assistant: false,
                blocks: vec![Block::Plain(json!({ "type": "text", "text": "(no user message)" }))],
            },
        );
    }
    trim_end(&mut turns);
    let unthought_tool_loop = is_unthought_tool_loop(&turns);
    let messages = turns
        .into_iter()
        .map(|turn| {
            let content: Vec<Value> = turn.blocks.into_iter().filter_map(Block::into_value).collect();
            json!({ "role": if turn.assistant { "assistant" } else { "user" }, "content": content })
        })
        .collect();
    Ok(History { system, messages, tools_called, unthought_tool_loop })
}

/// Instructions, all of them at the top: only the newest models take them between turns.
fn system(ctx: &mut Context<'_>, notes: &[String]) -> Result<Option<Value>, Inexpressible> {
    let mut blocks = Vec::new();
    let mut turns_begun = false;
    for (index, message) in ctx.request.messages.iter().enumerate() {
        if !is_instruction(message) {
            turns_begun = true;
            continue;
        }
        let place = ctx.place_of(index);
        if turns_begun {
            ctx.drops.add(place.clone(), "instructions between turns were moved to the top");
        }
        report_name(ctx, message, index);
        for (part_index, part) in message.parts.iter().enumerate() {
            let path = format!("{place}[{part_index}]");
            blocks.extend(ctx.block(part, &path, Place::System)?);
        }
    }
    blocks.extend(notes.iter().map(|note| json!({ "type": "text", "text": note })));
    Ok(match blocks.as_slice() {
        [] => None,
        [Value::Object(only)] if only.len() == 2 => only.get("text").cloned(),
        _ => Some(Value::Array(blocks)),
    })
}

fn is_instruction(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn report_name(ctx: &mut Context<'_>, message: &Message, index: usize) {
    if message.name.is_some() {
        ctx.drops.add(format!("messages[{index}].name"), "anthropic-messages has no participant names");
    }
}

/// Every turn as blocks, neighbours of one speaker merged.
fn turns(ctx: &mut Context<'_>, tools_called: &mut Vec<String>) -> Result<Vec<Turn>, Inexpressible> {
    let mut ids = CallIds::default();
    let mut turns: Vec<Turn> = Vec::new();
    for (index, message) in ctx.request.messages.iter().enumerate() {
        if is_instruction(message) {
            continue;
        }
        report_name(ctx, message, index);
        let assistant = message.role == Role::Assistant;
        let place = ctx.place_of(index);
        let mut blocks = Vec::new();
        for (part_index, part) in message.parts.iter().enumerate() {
            let path = format!("{place}[{part_index}]");
            match part {
                Part::ToolCall(_) if !assistant => {
                    ctx.drops.add(path, "tool calls stand in assistant turns only");
                }
                Part::ToolCall(call) => blocks.push(call_block(ctx, call, &path, &mut ids, tools_called)),
                Part::ToolResult(result) => blocks.push(result_block(ctx, result, path)?),
                part => {
                    let place = if assistant { Place::Assistant } else { Place::User };
                    blocks.extend(ctx.block(part, &path, place)?.map(Block::Plain));
                }
            }
        }
        push_turn(&mut turns, Turn { assistant, blocks });
    }
    Ok(turns)
}

/// Appends a turn, merged into the last one of the same speaker; an empty one is left out.
fn push_turn(turns: &mut Vec<Turn>, turn: Turn) {
    match turns.last_mut() {
        _ if turn.blocks.is_empty() => {}
        Some(last) if last.assistant == turn.assistant => last.blocks.extend(turn.blocks),
        _ => turns.push(turn),
    }
}

fn call_block(
    ctx: &mut Context<'_>,
    call: &ToolCall,
    path: &str,
    ids: &mut CallIds,
    tools_called: &mut Vec<String>,
) -> Block {
    if call.signature.is_some() {
        ctx.drops.add(format!("{path}.thoughtSignature"), "only its own vendor can read it");
    }
    let (name, reversible) = escape_tool(&call.name);
    if !reversible {
        ctx.drops.add(format!("{path}.name"), "anthropic-messages takes tool names of at most 128 characters");
    }
    if !tools_called.contains(&name) {
        tools_called.push(name.clone());
    }
    let input = match &call.kind {
        ToolKind::Custom(_) => json!({ "input": call.arguments }),
        ToolKind::Function | ToolKind::Vendor(..) => input(ctx, &call.arguments, path),
    };
    let block = json!({ "type": "tool_use", "id": ids.next(call.id.as_deref()), "name": name, "input": input });
    let mut value = with_cache(object(block), call.cache.as_ref());
    ctx.overlay.restore(path, &mut value);
    Block::Call { source_id: call.id.clone(), name: call.name.clone(), value }
}

/// Arguments as the object the API demands. What is no object is kept, wrapped.
fn input(ctx: &mut Context<'_>, arguments: &str, path: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str::<Value>(arguments) {
        Ok(value @ Value::Object(_)) => value,
        Ok(Value::Null) => json!({}),
        Ok(other) => {
            ctx.drops.add(format!("{path}.arguments"), "not a JSON object: wrapped as {\"value\": …}");
            json!({ "value": other })
        }
        Err(_) => {
            ctx.drops.add(format!("{path}.arguments"), "not valid JSON: wrapped as {\"raw\": …}");
            json!({ "raw": arguments })
        }
    }
}

fn result_block(ctx: &mut Context<'_>, result: &ToolResult, path: String) -> Result<Block, Inexpressible> {
    let mut content = Vec::new();
    for (index, part) in result.parts.iter().enumerate() {
        content.extend(ctx.block(part, &format!("{path}.content[{index}]"), Place::ToolResult)?);
    }
    let mut value = object(json!({ "type": "tool_result" }));
    if !content.is_empty() {
        value.insert("content".to_owned(), Value::Array(content));
    }
    if result.is_error {
        value.insert("is_error".to_owned(), true.into());
    }
    let mut value = with_cache(value, result.cache.as_ref());
    ctx.overlay.restore(&path, &mut value);
    Ok(Block::Result(PendingResult { source_id: result.call_id.clone(), name: result.name.clone(), path, value }))
}

/// Leaves out turns that pairing emptied and merges what then stands side by side.
fn tidy(turns: Vec<Turn>) -> Vec<Turn> {
    let mut tidied = Vec::with_capacity(turns.len());
    for turn in turns {
        push_turn(&mut tidied, turn);
    }
    tidied
}

/// A final assistant turn is a prefill, and one that ends in whitespace is a 400.
fn trim_end(turns: &mut [Turn]) {
    if let Some(Turn { assistant: true, blocks }) = turns.last_mut()
        && let Some(Block::Plain(Value::Object(last))) = blocks.last_mut()
        && let Some(Value::String(text)) = last.get_mut("text")
    {
        text.truncate(text.trim_end().len());
    }
}

fn is_unthought_tool_loop(turns: &[Turn]) -> bool {
    let [.., asked, answered] = turns else { return false };
    let starts_with = |turn: &Turn, kinds: &[&str]| match turn.blocks.first() {
        Some(Block::Plain(value)) => {
            value.get("type").and_then(Value::as_str).is_some_and(|kind| kinds.contains(&kind))
        }
        _ => false,
    };
    asked.assistant
        && asked.blocks.iter().any(|block| matches!(block, Block::Call { .. }))
        && starts_with(answered, &["tool_result"])
        && !starts_with(asked, &["thinking", "redacted_thinking"])
}

impl Block {
    /// The block as the API takes it; pairing has left no result pending.
    fn into_value(self) -> Option<Value> {
        match self {
            Block::Call { value, .. } => Some(Value::Object(value)),
            Block::Plain(value) => Some(value),
            Block::Result(_) => None,
        }
    }
}
