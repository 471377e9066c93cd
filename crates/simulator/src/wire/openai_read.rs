//! Reads `openai-chat` requests as strictly as the provider.

use super::Asked;
use super::check::{is_name, present, unknown};
use super::openai_config::{format, sampling, stream, tools};
use super::openai_prefill;
use crate::continues::Continues;
use crate::error::Invalid;
use serde_json::{Map, Value};

const FIELDS: [&str; 37] = [
    "model",
    "messages",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// A wrong value of a field.
pub(crate) fn wrong(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Invalid {
    Invalid::new(message).field(field).code(code)
}

pub(crate) fn missing(field: &str) -> Invalid {
    wrong(field, "missing_required_parameter", format!("Missing required parameter: '{field}'."))
}

pub(crate) fn wrong_type(field: &str, expected: &str) -> Invalid {
    wrong(field, "invalid_type", format!("Invalid type for '{field}': expected {expected}."))
}

pub(crate) fn only(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<(), Invalid> {
    match unknown(object, known) {
        Some(name) => {
            let field = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            Err(wrong(&field, "unknown_parameter", format!("Unknown parameter: '{field}'.")))
        }
        None => Ok(()),
    }
}

/// `is_beta`: the path has a `beta` in it.
pub(crate) fn read(body: &Value, continues: Continues, is_beta: bool) -> Result<Asked, Invalid> {
    let body = body.as_object().ok_or_else(|| wrong_type("body", "an object"))?;
    let flags = openai_prefill::flags(continues);
    let known: Vec<&str> = FIELDS.into_iter().chain(flags.iter().copied()).collect();
    only(body, &known, "")?;
    let model =
        body.get("model").and_then(Value::as_str).ok_or_else(|| Invalid::new("you must provide a model parameter"))?;
    let mut asked = Asked { model: model.to_owned(), parallel: true, candidates: 1, ..Asked::default() };
    messages(body, &mut asked, continues)?;
    tools(body, &mut asked)?;
    sampling(body, &mut asked)?;
    format(body, &mut asked)?;
    stream(body, &mut asked)?;
    let is_reasoner = is_reasoning_model(model);
    if is_reasoner {
        refuse_sampling(body)?;
    }
    let effort = present(body, "reasoning_effort");
    if let Some(effort) = effort {
        let known = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
        if !effort.as_str().is_some_and(|effort| known.contains(&effort)) {
            return Err(wrong(
                "reasoning_effort",
                "unsupported_value",
                format!("Unsupported value: 'reasoning_effort' does not support {effort} with this model."),
            ));
        }
    }
    asked.reasoning = effort.map_or(is_reasoner, |effort| effort != "none");
    asked.hides_reasoning = is_reasoner;
    asked.caches = present(body, "prompt_cache_key").is_some();
    openai_prefill::last_turn(body, &mut asked, continues, is_beta)?;
    Ok(asked)
}

/// `o1` and later, `gpt-5` and later, without the chat variants.
fn is_reasoning_model(model: &str) -> bool {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    !model.contains("-chat")
        && (model.strip_prefix('o').and_then(digits).is_some()
            || model.strip_prefix("gpt-").and_then(digits).is_some_and(|generation| generation >= 5))
}

fn refuse_sampling(body: &Map<String, Value>) -> Result<(), Invalid> {
    if present(body, "max_tokens").is_some() {
        return Err(wrong(
            "max_tokens",
            "unsupported_parameter",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ));
    }
    let is_plain = |value: &Value| value.as_f64().is_some_and(|number| (number - 1.0).abs() < f64::EPSILON);
    for name in ["temperature", "top_p"] {
        if let Some(value) = present(body, name).filter(|value| !is_plain(value)) {
            return Err(wrong(
                name,
                "unsupported_value",
                format!(
                    "Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value is supported."
                ),
            ));
        }
    }
    for name in ["frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"] {
        if present(body, name).is_some_and(|value| value != 0 && value != false) {
            return Err(wrong(
                name,
                "unsupported_parameter",
                format!("Unsupported parameter: '{name}' is not supported with this model."),
            ));
        }
    }
    Ok(())
}

fn messages(body: &Map<String, Value>, asked: &mut Asked, continues: Continues) -> Result<(), Invalid> {
    let messages = present(body, "messages").ok_or_else(|| missing("messages"))?;
    let messages = messages.as_array().ok_or_else(|| wrong_type("messages", "an array of objects"))?;
    if messages.is_empty() {
        return Err(wrong(
            "messages",
            "empty_array",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ));
    }
    let mut pending: Vec<String> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let at = format!("messages[{place}]");
        let message = message.as_object().ok_or_else(|| wrong_type(&at, "an object"))?;
        let role = message.get("role").and_then(Value::as_str).ok_or_else(|| missing(&format!("{at}.role")))?;
        if role != "tool" {
            all_answered(&pending, place)?;
            pending.clear();
        }
        match role {
            "system" | "developer" => {
                only(message, &["role", "content", "name"], &at)?;
                let said = content(message, &at, &["text"], None)?;
                asked.instructions.push_str(&said);
            }
            "user" => {
                only(message, &["role", "content", "name"], &at)?;
                let said = content(message, &at, &["text", "image_url", "input_audio", "file"], Some(asked))?;
                asked.hear(false, |turn| {
                    turn.results.clear();
                    turn.text.push_str(&said);
                });
            }
            "assistant" => {
                let said = assistant(message, &at, continues)?;
                asked.hear(true, |turn| {
                    turn.text.push_str(&said.text);
                    turn.calls |= !said.calls.is_empty();
                });
                pending = said.calls;
            }
            "tool" => {
                only(message, &["role", "content", "tool_call_id"], &at)?;
                let id = message.get("tool_call_id").and_then(Value::as_str);
                let id = id.ok_or_else(|| missing(&format!("{at}.tool_call_id")))?;
                let Some(known) = pending.iter().position(|known| known == id) else {
                    return Err(Invalid::new("Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.").field(format!("{at}.role")));
                };
                pending.remove(known);
                let text = content(message, &at, &["text"], None)?;
                let id = id.to_owned();
                asked.hear(false, |turn| turn.results.push((id, text)));
            }
            "function" => {}
            other => {
                return Err(wrong(
                    format!("{at}.role"),
                    "invalid_value",
                    format!(
                        "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                    ),
                ));
            }
        }
    }
    all_answered(&pending, messages.len())
}

fn all_answered(pending: &[String], place: usize) -> Result<(), Invalid> {
    if pending.is_empty() {
        return Ok(());
    }
    Err(Invalid::new(format!("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}", pending.join(", "))).field(format!("messages.[{place}].role")))
}

/// What an assistant message says, and the ids of its calls.
struct Said {
    text: String,
    calls: Vec<String>,
}

/// Checks an assistant message.
fn assistant(message: &Map<String, Value>, at: &str, continues: Continues) -> Result<Said, Invalid> {
    let mut known = vec![
        "role",
        "content",
        "name",
        "refusal",
        "audio",
        "annotations",
        "function_call",
        "tool_calls",
        // What compatible providers give and take back.
        "reasoning_content",
        "reasoning",
    ];
    known.extend(openai_prefill::message_flag(continues));
    only(message, &known, at)?;
    let mut text = String::new();
    let calls = present(message, "tool_calls").map(|calls| calls.as_array().map(Vec::as_slice).unwrap_or_default());
    if calls.is_none() && present(message, "function_call").is_none() && present(message, "refusal").is_none() {
        text = content(message, at, &["text", "refusal"], None)?;
    }
    if calls.is_some_and(<[Value]>::is_empty) {
        let field = format!("{at}.tool_calls");
        return Err(wrong(
            &field,
            "empty_array",
            format!(
                "Invalid '{field}': empty array. Expected an array with minimum length 1, but got an empty array instead."
            ),
        ));
    }
    let mut ids = Vec::new();
    for (place, call) in calls.unwrap_or_default().iter().enumerate() {
        let at = format!("{at}.tool_calls[{place}]");
        let call = call.as_object().ok_or_else(|| wrong_type(&at, "an object"))?;
        only(call, &["id", "type", "function", "custom", "index"], &at)?;
        let id = call.get("id").and_then(Value::as_str).ok_or_else(|| missing(&format!("{at}.id")))?;
        if id.len() > 40 {
            return Err(wrong(
                format!("{at}.id"),
                "string_above_max_length",
                format!(
                    "Invalid '{at}.id': string too long. Expected a string with maximum length 40, but got a string with length {} instead.",
                    id.len()
                ),
            ));
        }
        let function =
            call.get("function").and_then(Value::as_object).ok_or_else(|| missing(&format!("{at}.function")))?;
        only(function, &["name", "arguments"], &format!("{at}.function"))?;
        if !function.get("arguments").is_some_and(Value::is_string) {
            return Err(wrong_type(&format!("{at}.function.arguments"), "a string"));
        }
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        tool_name(name, &format!("{at}.function.name"))?;
        ids.push(id.to_owned());
    }
    Ok(Said { text, calls: ids })
}

/// The text of a message's content; counts what is not text.
fn content(
    message: &Map<String, Value>,
    at: &str,
    kinds: &[&str],
    mut asked: Option<&mut Asked>,
) -> Result<String, Invalid> {
    let field = format!("{at}.content");
    let parts = match present(message, "content") {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        None => {
            return Err(wrong(&field, "invalid_type", "Invalid value for 'content': expected a string, got null."));
        }
        Some(_) => return Err(wrong_type(&field, "one of a string or array of objects")),
    };
    let mut text = String::new();
    for (place, part) in parts.iter().enumerate() {
        let at = format!("{field}[{place}]");
        let part = part.as_object().ok_or_else(|| wrong_type(&at, "an object"))?;
        let kind = part.get("type").and_then(Value::as_str).ok_or_else(|| missing(&format!("{at}.type")))?;
        if !kinds.contains(&kind) {
            let expected: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
            return Err(wrong(
                format!("{at}.type"),
                "invalid_value",
                format!("Invalid value: '{kind}'. Supported values are: {}.", expected.join(", ")),
            ));
        }
        let inner = part.get(kind);
        match kind {
            "text" => {
                only(part, &["type", "text", "prompt_cache_breakpoint", "cache_control"], &at)?;
                text.push_str(inner.and_then(Value::as_str).ok_or_else(|| missing(&format!("{at}.text")))?);
            }
            "image_url" => {
                let url = inner.and_then(|image| image.get("url")).and_then(Value::as_str).unwrap_or_default();
                if !["http://", "https://", "data:image/"].iter().any(|scheme| url.starts_with(scheme)) {
                    return Err(wrong(
                        format!("{at}.image_url.url"),
                        "invalid_value",
                        format!(
                            "Invalid '{at}.image_url.url'. Expected a valid URL, but got a value with an invalid format."
                        ),
                    ));
                }
                count(&mut asked, |asked| asked.images += 1);
            }
            "file" => {
                let file = inner.and_then(Value::as_object).ok_or_else(|| missing(&format!("{at}.file")))?;
                only(file, &["file_data", "file_id", "filename"], &format!("{at}.file"))?;
                count(&mut asked, |asked| asked.documents += 1);
            }
            "input_audio" => {
                if inner.and_then(|audio| audio.get("data")).is_none() {
                    return Err(missing(&format!("{at}.input_audio.data")));
                }
                count(&mut asked, |asked| asked.sounds += 1);
            }
            _ => {}
        }
    }
    Ok(text)
}

fn count(asked: &mut Option<&mut Asked>, change: impl FnOnce(&mut Asked)) {
    if let Some(asked) = asked {
        change(asked);
    }
}

pub(crate) fn tool_name(name: &str, field: &str) -> Result<(), Invalid> {
    if is_name(name, "_-", 64) {
        return Ok(());
    }
    Err(wrong(
        field,
        "invalid_value",
        format!(
            "Invalid '{field}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        ),
    ))
}
