//! Reads `openai-chat` requests as strictly as the provider.

use super::check::{is_name, present, unknown};
use super::{Asked, Choice, Offered};
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
fn wrong(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Invalid {
    Invalid::new(message).field(field).code(code)
}

fn missing(field: &str) -> Invalid {
    wrong(field, "missing_required_parameter", format!("Missing required parameter: '{field}'."))
}

fn wrong_type(field: &str, expected: &str) -> Invalid {
    wrong(field, "invalid_type", format!("Invalid type for '{field}': expected {expected}."))
}

fn only(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<(), Invalid> {
    match unknown(object, known) {
        Some(name) => {
            let field = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
            Err(wrong(&field, "unknown_parameter", format!("Unknown parameter: '{field}'.")))
        }
        None => Ok(()),
    }
}

pub(crate) fn read(body: &Value) -> Result<Asked, Invalid> {
    let body = body.as_object().ok_or_else(|| wrong_type("body", "an object"))?;
    only(body, &FIELDS, "")?;
    let model =
        body.get("model").and_then(Value::as_str).ok_or_else(|| Invalid::new("you must provide a model parameter"))?;
    let mut asked = Asked { model: model.to_owned(), parallel: true, candidates: 1, ..Asked::default() };
    messages(body, &mut asked)?;
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

fn messages(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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
                content(message, &at, &["text"], None)?;
            }
            "user" => {
                only(message, &["role", "content", "name"], &at)?;
                asked.results.clear();
                asked.last_user = content(message, &at, &["text", "image_url", "input_audio", "file"], Some(asked))?;
            }
            "assistant" => {
                asked.results.clear();
                pending = assistant(message, &at)?;
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
                asked.results.push((id.to_owned(), text));
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

/// Checks an assistant message; gives the ids of its calls.
fn assistant(message: &Map<String, Value>, at: &str) -> Result<Vec<String>, Invalid> {
    let known = [
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
    only(message, &known, at)?;
    let calls = present(message, "tool_calls").map(|calls| calls.as_array().map(Vec::as_slice).unwrap_or_default());
    if calls.is_none() && present(message, "function_call").is_none() && present(message, "refusal").is_none() {
        content(message, at, &["text", "refusal"], None)?;
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
    Ok(ids)
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
                only(part, &["type", "text", "prompt_cache_breakpoint"], &at)?;
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

fn tool_name(name: &str, field: &str) -> Result<(), Invalid> {
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

fn tools(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let tools = present(body, "tools").map(|tools| tools.as_array().map(Vec::as_slice).unwrap_or_default());
    if tools.is_some_and(<[Value]>::is_empty) {
        return Err(wrong(
            "tools",
            "empty_array",
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ));
    }
    for (place, tool) in tools.unwrap_or_default().iter().enumerate() {
        let at = format!("tools[{place}]");
        let tool = tool.as_object().ok_or_else(|| wrong_type(&at, "an object"))?;
        only(tool, &["type", "function", "custom"], &at)?;
        if tool.get("type").and_then(Value::as_str) == Some("custom") {
            continue;
        }
        let function =
            tool.get("function").and_then(Value::as_object).ok_or_else(|| missing(&format!("{at}.function")))?;
        only(function, &["name", "description", "parameters", "strict"], &format!("{at}.function"))?;
        let name =
            function.get("name").and_then(Value::as_str).ok_or_else(|| missing(&format!("{at}.function.name")))?;
        tool_name(name, &format!("{at}.function.name"))?;
        let schema = present(function, "parameters").cloned().unwrap_or_else(|| serde_json::json!({"type": "object"}));
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong(
                format!("{at}.function.parameters"),
                "invalid_function_parameters",
                format!(
                    "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{}\"'.",
                    schema.get("type").and_then(Value::as_str).unwrap_or("None")
                ),
            ));
        }
        if function.get("strict") == Some(&Value::Bool(true)) {
            strict(
                &schema,
                &format!("{at}.function.parameters"),
                &format!("function '{name}'"),
                "invalid_function_parameters",
            )?;
        }
        asked.tools.push(Offered { name: name.to_owned(), schema });
    }
    for name in ["tool_choice", "parallel_tool_calls"] {
        if present(body, name).is_some() && tools.is_none() {
            return Err(Invalid::new(format!(
                "Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
            ))
            .field(name));
        }
    }
    asked.parallel = present(body, "parallel_tool_calls") != Some(&Value::Bool(false));
    asked.choice = match present(body, "tool_choice") {
        None => Choice::Auto,
        Some(choice) => tool_choice(choice, asked)?,
    };
    Ok(())
}

fn tool_choice(choice: &Value, asked: &Asked) -> Result<Choice, Invalid> {
    let kind = choice.get("type").and_then(Value::as_str);
    match (choice.as_str(), kind) {
        (Some("auto"), _) => Ok(Choice::Auto),
        (Some("none"), _) => Ok(Choice::Never),
        (Some("required"), _) => Ok(Choice::Some),
        (Some(other), _) => Err(wrong(
            "tool_choice",
            "invalid_value",
            format!("Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'."),
        )),
        (None, Some("function")) => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            let name = name.ok_or_else(|| missing("tool_choice.function"))?;
            if !asked.tools.iter().any(|tool| tool.name == name) {
                return Err(Invalid::new(format!(
                    "Invalid value for 'tool_choice': Tool choice '{name}' not found in 'tools' parameter."
                ))
                .field("tool_choice"));
            }
            Ok(Choice::Named(name.to_owned()))
        }
        (None, Some("allowed_tools" | "custom")) => match choice.pointer("/allowed_tools/mode").and_then(Value::as_str)
        {
            Some("required") => Ok(Choice::Some),
            _ => Ok(Choice::Auto),
        },
        (None, _) => Err(missing("tool_choice.type")),
    }
}

/// In strict mode every object names all its properties as required and allows no others.
fn strict(schema: &Value, field: &str, whose: &str, code: &'static str) -> Result<(), Invalid> {
    let refuse = |what: &str| Err(wrong(field, code, format!("Invalid schema for {whose}: In context=(), {what}")));
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return refuse("'additionalProperties' is required to be supplied and to be false.");
        }
        let required = schema.get("required").and_then(Value::as_array);
        if let Some(name) =
            properties.keys().find(|name| !required.is_some_and(|all| all.iter().any(|one| one == *name)))
        {
            return refuse(&format!(
                "'required' is required to be supplied and to be an array including every key in properties. Missing '{name}'."
            ));
        }
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(all)) => {
                all.values().try_for_each(|inner| strict(inner, field, whose, code))?;
            }
            ("items", inner) => strict(inner, field, whose, code)?,
            ("anyOf", Value::Array(all)) => all.iter().try_for_each(|inner| strict(inner, field, whose, code))?,
            _ => {}
        }
    }
    Ok(())
}

fn sampling(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let ranges = [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
        ("n", 1.0, 128.0),
        ("top_logprobs", 0.0, 20.0),
        ("max_tokens", 1.0, f64::MAX),
        ("max_completion_tokens", 1.0, f64::MAX),
    ];
    for (name, lowest, highest) in ranges {
        let Some(value) = present(body, name) else { continue };
        let number = value.as_f64().ok_or_else(|| wrong_type(name, "a decimal"))?;
        if number < lowest {
            return Err(wrong(
                name,
                "decimal_below_min_value",
                format!(
                    "Invalid '{name}': decimal below minimum value. Expected a value >= {lowest}, but got {value} instead."
                ),
            ));
        }
        if number > highest {
            return Err(wrong(
                name,
                "decimal_above_max_value",
                format!(
                    "Invalid '{name}': decimal above maximum value. Expected a value <= {highest}, but got {value} instead."
                ),
            ));
        }
    }
    if present(body, "top_logprobs").is_some() && present(body, "logprobs") != Some(&Value::Bool(true)) {
        return Err(Invalid::new(
            "Invalid value for 'top_logprobs': 'top_logprobs' is only allowed when 'logprobs' is set to true.",
        )
        .field("top_logprobs"));
    }
    let most = |name| present(body, name).and_then(Value::as_u64);
    if most("max_tokens").is_some() && most("max_completion_tokens").is_some() {
        return Err(wrong(
            "max_tokens",
            "invalid_parameter_combination",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    asked.max_tokens = most("max_completion_tokens").or(most("max_tokens"));
    asked.candidates = most("n").and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    asked.stops = match present(body, "stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stops)) if stops.len() <= 4 => {
            stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect()
        }
        Some(Value::Array(_)) => {
            return Err(wrong(
                "stop",
                "array_above_max_length",
                "Invalid 'stop': array too long. Expected an array with maximum length 4.",
            ));
        }
        Some(_) => return Err(wrong_type("stop", "one of a string or array of strings")),
    };
    Ok(())
}

fn format(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let Some(format) = present(body, "response_format") else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => {}
        Some("json_object") => {
            let says_json =
                body.get("messages").is_some_and(|messages| messages.to_string().to_lowercase().contains("json"));
            if !says_json {
                return Err(Invalid::new("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.").field("messages"));
            }
            asked.json = true;
        }
        Some("json_schema") => {
            let named = format.get("json_schema").and_then(Value::as_object);
            let named = named.ok_or_else(|| missing("response_format.json_schema"))?;
            only(named, &["name", "description", "schema", "strict"], "response_format.json_schema")?;
            let name =
                named.get("name").and_then(Value::as_str).ok_or_else(|| missing("response_format.json_schema.name"))?;
            tool_name(name, "response_format.json_schema.name")?;
            let schema = named.get("schema").cloned().unwrap_or_default();
            if named.get("strict") == Some(&Value::Bool(true)) {
                strict(&schema, "response_format", &format!("response_format '{name}'"), "invalid_json_schema")?;
            }
            asked.schema = Some(schema);
        }
        _ => {
            return Err(wrong(
                "response_format.type",
                "invalid_value",
                "Invalid value for 'response_format.type'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            ));
        }
    }
    Ok(())
}

fn stream(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    asked.stream = match present(body, "stream") {
        None => false,
        Some(Value::Bool(stream)) => *stream,
        Some(_) => return Err(wrong_type("stream", "a boolean")),
    };
    if let Some(options) = present(body, "stream_options") {
        if !asked.stream {
            return Err(Invalid::new("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
                .field("stream_options"));
        }
        let options = options.as_object().ok_or_else(|| wrong_type("stream_options", "an object"))?;
        only(options, &["include_usage", "include_obfuscation"], "stream_options")?;
        asked.shows_usage = options.get("include_usage") == Some(&Value::Bool(true));
    }
    Ok(())
}
