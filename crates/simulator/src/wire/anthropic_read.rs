//! Reads `anthropic-messages` requests as strictly as the provider.

use super::Asked;
use super::anthropic::SIGNATURE;
use super::anthropic_config::{output_schema, sampling, thinking, tools};
use super::check::{is_name, present, unknown};
use crate::continues::Continues;
use crate::error::Invalid;
use canon::DialectName;
use serde_json::{Map, Value};

const FIELDS: [&str; 21] = [
    "model",
    "messages",
    "max_tokens",
    "cache_control",
    "container",
    "context_management",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
];

pub(crate) fn required(at: &str) -> Invalid {
    Invalid::new(format!("{at}: Field required"))
}

pub(crate) fn only(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<(), Invalid> {
    match unknown(object, known) {
        Some(name) => {
            let at = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            Err(Invalid::new(format!("{at}: Extra inputs are not permitted")))
        }
        None => Ok(()),
    }
}

pub(crate) fn read(body: &Value, continues: Continues) -> Result<Asked, Invalid> {
    let body = body.as_object().ok_or_else(|| Invalid::new("Input should be a valid dictionary"))?;
    let known: Vec<&str> = FIELDS.into_iter().chain(["top_p"]).collect();
    only(body, &known, "")?;
    let model = body.get("model").and_then(Value::as_str).ok_or_else(|| required("model"))?;
    let max_tokens = present(body, "max_tokens").ok_or_else(|| required("max_tokens"))?;
    let max_tokens = max_tokens.as_u64().filter(|most| *most > 0);
    let max_tokens =
        max_tokens.ok_or_else(|| Invalid::new("max_tokens: Input should be greater than or equal to 1"))?;
    let mut asked = Asked {
        model: model.to_owned(),
        max_tokens: Some(max_tokens),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        shows_usage: true,
        parallel: true,
        candidates: 1,
        caches: has_cache_control(body),
        ..Asked::default()
    };
    tools(body, &mut asked)?;
    system(body, &mut asked)?;
    messages(body, &mut asked, continues)?;
    sampling(body, &mut asked)?;
    thinking(body, max_tokens, &mut asked)?;
    asked.schema = output_schema(body)?;
    if asked.continues_last && asked.schema.is_some() {
        return Err(Invalid::new(
            "messages: final assistant content cannot be prefilled when using structured outputs",
        ));
    }
    Ok(asked)
}

fn has_cache_control(body: &Map<String, Value>) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.contains_key("cache_control") || fields.values().any(within),
            Value::Array(values) => values.iter().any(within),
            _ => false,
        }
    }
    present(body, "cache_control").is_some() || body.values().any(within)
}

/// Whether a model is of the generations that refuse sampling parameters and thinking budgets.
pub(crate) fn refuses_sampling(model: &str) -> bool {
    ["opus-4-7", "opus-4-8", "sonnet-5", "opus-5", "haiku-5", "fable"].iter().any(|family| model.contains(family))
}

/// Whether a partial answer is refused: by every model from 4.6 on, and by those nobody knows.
fn refuses_prefill(model: &str, continues: Continues) -> bool {
    const OLD: [&str; 7] = ["claude-2", "claude-3", "-4-0", "-4-1", "-4-2025", "-4-5", "claude-instant"];
    let is_old = !refuses_sampling(model) && OLD.iter().any(|family| model.contains(family));
    continues.refuses_prefill || (continues.way(DialectName::AnthropicMessages).is_none() && !is_old)
}

fn system(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    match present(body, "system") {
        None => Ok(()),
        Some(Value::String(text)) => {
            asked.instructions.push_str(text);
            Ok(())
        }
        Some(Value::Array(blocks)) => blocks.iter().enumerate().try_for_each(|(place, block)| {
            let at = format!("system.{place}");
            let block = block.as_object().ok_or_else(|| Invalid::new(format!("{at}: Input should be an object")))?;
            only(block, &["type", "text", "cache_control", "citations"], &at)?;
            if block.get("type").and_then(Value::as_str) != Some("text") {
                return Err(Invalid::new(format!("{at}.type: Input should be 'text'")));
            }
            asked.instructions.push_str(text_of(block, "system")?);
            Ok(())
        }),
        Some(_) => Err(Invalid::new("system: Input should be a valid list")),
    }
}

fn text_of<'a>(block: &'a Map<String, Value>, at: &str) -> Result<&'a str, Invalid> {
    let text = block.get("text").and_then(Value::as_str).ok_or_else(|| required(&format!("{at}.text")))?;
    if text.is_empty() {
        return Err(Invalid::new(format!("{at}: text content blocks must be non-empty")));
    }
    if text.trim().is_empty() {
        return Err(Invalid::new(format!("{at}: text content blocks must contain non-whitespace text")));
    }
    Ok(text)
}

/// One turn after consecutive messages of a role are put together, as the provider does.
#[derive(Default)]
struct Turn {
    is_user: bool,
    text: String,
    calls: Vec<String>,
    results: Vec<(String, String)>,
}

fn messages(body: &Map<String, Value>, asked: &mut Asked, continues: Continues) -> Result<(), Invalid> {
    let messages = present(body, "messages").ok_or_else(|| required("messages"))?;
    let messages = messages.as_array().ok_or_else(|| Invalid::new("messages: Input should be a valid list"))?;
    if messages.is_empty() {
        return Err(Invalid::new("messages: at least one message is required"));
    }
    let mut turns: Vec<Turn> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let at = format!("messages.{place}");
        let message = message.as_object().ok_or_else(|| Invalid::new(format!("{at}: Input should be an object")))?;
        only(message, &["role", "content"], &at)?;
        let is_user = match message.get("role").and_then(Value::as_str) {
            Some("user") => true,
            Some("assistant") => false,
            Some("system") => {
                return Err(Invalid::new(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
                ));
            }
            Some(other) => {
                return Err(Invalid::new(format!(
                    "messages: Unexpected role \"{other}\". Allowed roles are \"user\" or \"assistant\""
                )));
            }
            None => return Err(required(&format!("{at}.role"))),
        };
        if turns.is_empty() && !is_user {
            return Err(Invalid::new("messages: first message must use the \"user\" role"));
        }
        if turns.last().is_none_or(|turn| turn.is_user != is_user) {
            let answered = turns.last().map(|turn| turn.calls.clone()).unwrap_or_default();
            turns.push(Turn { is_user, ..Turn::default() });
            if let Some(turn) = turns.last_mut() {
                content(message, &at, turn, &answered, asked)?;
            }
        } else {
            let answered = turns.iter().rev().nth(1).map(|turn| turn.calls.clone()).unwrap_or_default();
            if let Some(turn) = turns.last_mut() {
                content(message, &at, turn, &answered, asked)?;
            }
        }
    }
    pairing(&turns)?;
    for turn in turns {
        asked.hear(!turn.is_user, |heard| {
            heard.text = turn.text;
            heard.calls = !turn.calls.is_empty();
            heard.results = turn.results;
        });
    }
    ending(asked, continues)
}

fn ending(asked: &mut Asked, continues: Continues) -> Result<(), Invalid> {
    let Some(last) = asked.turns.last().filter(|turn| turn.is_model) else { return Ok(()) };
    if refuses_prefill(&asked.model, continues) {
        return Err(Invalid::new(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    if last.text.ends_with(char::is_whitespace) {
        return Err(Invalid::new("messages: final assistant content cannot end with trailing whitespace"));
    }
    asked.continues_last = true;
    Ok(())
}

fn pairing(turns: &[Turn]) -> Result<(), Invalid> {
    for (place, turn) in turns.iter().enumerate() {
        let answers = turns.get(place + 1);
        let unanswered: Vec<&str> = turn
            .calls
            .iter()
            .filter(|id| !answers.is_some_and(|next| next.results.iter().any(|(known, _)| known == *id)))
            .map(String::as_str)
            .collect();
        if !unanswered.is_empty() {
            return Err(Invalid::new(format!(
                "messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
                unanswered.join(", ")
            )));
        }
    }
    Ok(())
}

fn content(
    message: &Map<String, Value>,
    at: &str,
    turn: &mut Turn,
    answered: &[String],
    asked: &mut Asked,
) -> Result<(), Invalid> {
    let blocks = match message.get("content") {
        Some(Value::String(text)) if text.is_empty() => {
            return Err(Invalid::new(format!(
                "{at}: all messages must have non-empty content except for the optional final assistant message"
            )));
        }
        Some(Value::String(text)) if text.trim().is_empty() => {
            return Err(Invalid::new("messages: text content blocks must contain non-whitespace text"));
        }
        Some(Value::String(text)) => {
            turn.text.push_str(text);
            return Ok(());
        }
        Some(Value::Array(blocks)) => blocks,
        _ => return Err(required(&format!("{at}.content"))),
    };
    if blocks.is_empty() {
        return Err(Invalid::new(format!(
            "{at}: all messages must have non-empty content except for the optional final assistant message"
        )));
    }
    for (place, block) in blocks.iter().enumerate() {
        let at = format!("{at}.content.{place}");
        let block = block.as_object().ok_or_else(|| Invalid::new(format!("{at}: Input should be an object")))?;
        one_block(block, &at, turn, answered, asked)?;
    }
    Ok(())
}

fn one_block(
    block: &Map<String, Value>,
    at: &str,
    turn: &mut Turn,
    answered: &[String],
    asked: &mut Asked,
) -> Result<(), Invalid> {
    let kind = block.get("type").and_then(Value::as_str).ok_or_else(|| required(&format!("{at}.type")))?;
    match (kind, turn.is_user) {
        ("text", _) => {
            only(block, &["type", "text", "cache_control", "citations"], at)?;
            turn.text.push_str(text_of(block, "messages")?);
        }
        ("image", true) => {
            only(block, &["type", "source", "cache_control"], at)?;
            source(block, at, &["base64", "url", "file"])?;
            asked.images += 1;
        }
        ("document", true) => {
            only(block, &["type", "source", "title", "context", "citations", "cache_control"], at)?;
            source(block, at, &["base64", "url", "file", "text", "content"])?;
            asked.documents += 1;
        }
        ("tool_result", true) => {
            only(block, &["type", "tool_use_id", "content", "is_error", "cache_control"], at)?;
            let id = block.get("tool_use_id").and_then(Value::as_str);
            let id = id.ok_or_else(|| required(&format!("{at}.tool_use_id")))?;
            if !answered.iter().any(|known| known == id) {
                return Err(Invalid::new(format!(
                    "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )));
            }
            if !turn.text.is_empty() {
                return Err(Invalid::new(format!(
                    "{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}. `tool_result` blocks must come before any text in a message."
                )));
            }
            turn.results.push((id.to_owned(), result_text(block)));
        }
        ("tool_use", false) => {
            only(block, &["type", "id", "name", "input", "cache_control", "caller"], at)?;
            let id = block.get("id").and_then(Value::as_str).ok_or_else(|| required(&format!("{at}.id")))?;
            if !is_name(id, "_-", usize::MAX) {
                return Err(Invalid::new(format!("{at}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")));
            }
            let name = block.get("name").and_then(Value::as_str).ok_or_else(|| required(&format!("{at}.name")))?;
            if !is_name(name, "_-", 200) {
                return Err(Invalid::new(format!("{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")));
            }
            if !block.get("input").is_some_and(Value::is_object) {
                return Err(Invalid::new(format!("{at}.input: Input should be a valid dictionary")));
            }
            turn.calls.push(id.to_owned());
        }
        ("thinking", false) => {
            only(block, &["type", "thinking", "signature"], at)?;
            let signature = block.get("signature").and_then(Value::as_str);
            let signature = signature.ok_or_else(|| required(&format!("{at}.thinking.signature")))?;
            if !signature.starts_with(SIGNATURE) {
                return Err(Invalid::new(format!("{at}: Invalid `signature` in `thinking` block")));
            }
        }
        ("redacted_thinking" | "compaction" | "server_tool_use", false) | ("search_result", true) => {}
        // What the provider's own tools brought, as its answers carry it.
        (result, false) if result.ends_with("_tool_result") => {}
        (other, _) => {
            return Err(Invalid::new(format!(
                "{at}: Input tag '{other}' found using 'type' does not match any of the expected tags: 'document', 'image', 'redacted_thinking', 'search_result', 'text', 'thinking', 'tool_result', 'tool_use'"
            )));
        }
    }
    Ok(())
}

fn source(block: &Map<String, Value>, at: &str, kinds: &[&str]) -> Result<(), Invalid> {
    let source = block.get("source").and_then(Value::as_object).ok_or_else(|| required(&format!("{at}.source")))?;
    let kind = source.get("type").and_then(Value::as_str).unwrap_or_default();
    if !kinds.contains(&kind) {
        return Err(Invalid::new(format!(
            "{at}.source: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
            kinds.join(", ")
        )));
    }
    let needed: &[&str] = match kind {
        "base64" | "text" => &["media_type", "data"],
        "url" => &["url"],
        "file" => &["file_id"],
        _ => &["content"],
    };
    match needed.iter().find(|field| !source.contains_key(**field)) {
        Some(field) => Err(required(&format!("{at}.source.{kind}.{field}"))),
        None => Ok(()),
    }
}

fn result_text(block: &Map<String, Value>) -> String {
    match block.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}
