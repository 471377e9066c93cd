//! Tools, sampling, output format and streaming options of `openai-chat` requests.

use super::check::present;
use super::openai_read::{missing, only, tool_name, wrong, wrong_type};
use super::{Asked, Choice, Offered};
use crate::error::Invalid;
use serde_json::{Map, Value};

pub(crate) fn tools(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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

pub(crate) fn sampling(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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

pub(crate) fn format(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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

pub(crate) fn stream(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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
