//! What the splice does, said once more on a tree. Tests and fuzz targets compare with it.

use canon::DialectName;
use dialect::profile::{Instructions, OutputCap, Profile, StreamUsage};
use serde_json::{Map, Value, json};

/// What the splice has to mean.
pub(crate) fn splice(dialect: DialectName, body: &Value, model: &str, profile: &Profile) -> Value {
    let mut body = body.as_object().cloned().unwrap_or_default();
    let stream = body.get("stream") == Some(&Value::Bool(true));
    if dialect != DialectName::Gemini {
        body.insert("model".to_owned(), model.into());
    }
    for path in profile.drop.iter().filter(|path| *path != "model") {
        body.shift_remove(path);
    }
    match dialect {
        DialectName::OpenaiChat => {
            sampling(
                &mut body,
                profile,
                ["temperature", "top_p", "top_k", "stop"],
                &["max_tokens", "max_completion_tokens"],
            );
            chat(&mut body, profile);
            let dropped = profile.drop.iter().any(|path| path == "stream_options");
            if stream && profile.stream_usage == StreamUsage::StreamOptions && !dropped {
                match body.get_mut("stream_options") {
                    Some(Value::Object(options)) => _ = options.insert("include_usage".to_owned(), true.into()),
                    None | Some(Value::Null) => {
                        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
                    }
                    Some(_) => {}
                }
            }
            match body.get_mut("messages") {
                Some(Value::Array(messages)) => messages.iter_mut().for_each(|one| message(one, profile)),
                Some(one) => message(one, profile),
                None => {}
            }
        }
        DialectName::AnthropicMessages => {
            sampling(&mut body, profile, ["temperature", "top_p", "top_k", "stop_sequences"], &["max_tokens"]);
            let forced = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "any" || kind == "tool");
            if (profile.no_forced_tools || profile.tool_choice_auto_only)
                && let Some(Value::Object(choice)) = body.get_mut("tool_choice").filter(|choice| forced(choice))
            {
                choice.insert("type".to_owned(), "auto".into());
                choice.shift_remove("name");
            }
        }
        DialectName::Gemini => {
            for name in ["generationConfig", "generation_config"] {
                let Some(Value::Object(config)) = body.get_mut(name) else { continue };
                for path in &profile.drop {
                    if let Some(key) = path.strip_prefix("generationConfig.") {
                        config.shift_remove(key);
                    }
                }
                sampling(config, profile, ["temperature", "topP", "topK", "stopSequences"], &["maxOutputTokens"]);
                sampling(config, profile, ["temperature", "top_p", "top_k", "stop_sequences"], &["max_output_tokens"]);
            }
        }
    }
    for (from, to) in profile.rename.iter().filter(|(from, _)| *from != "model") {
        if let Some(value) = body.shift_remove(from)
            && !body.contains_key(to)
        {
            body.insert(to.clone(), value);
        }
    }
    body.into()
}

fn sampling(body: &mut Map<String, Value>, profile: &Profile, names: [&str; 4], caps: &[&str]) {
    let [temperature, top_p, top_k, stop] = names;
    if profile.no_sampling {
        for key in [temperature, top_p, top_k] {
            body.shift_remove(key);
        }
    }
    if profile.temperature_xor_top_p && body.get(temperature).is_some_and(|value| !value.is_null()) {
        body.shift_remove(top_p);
    }
    let mut lower = |key: &str, most: f64, value: Value| {
        if body.get(key).and_then(Value::as_f64).is_some_and(|asked| asked > most) {
            body.insert(key.to_owned(), value);
        }
    };
    if let Some(most) = profile.max_temperature {
        lower(temperature, most, serde_json::from_str(&most.to_string()).unwrap());
    }
    if let Some(most) = profile.max_output_tokens {
        for cap in caps {
            lower(cap, most as f64, most.into());
        }
    }
    match (profile.max_stop, body.get_mut(stop)) {
        (Some(0), _) => _ = body.shift_remove(stop),
        (Some(most), Some(Value::Array(stops))) => stops.truncate(most),
        _ => {}
    }
}

fn chat(body: &mut Map<String, Value>, profile: &Profile) {
    let (wanted, other) = match profile.output_cap {
        OutputCap::AsWritten => ("", ""),
        OutputCap::MaxTokens => ("max_tokens", "max_completion_tokens"),
        OutputCap::MaxCompletionTokens => ("max_completion_tokens", "max_tokens"),
    };
    if let Some(cap) = body.shift_remove(other)
        && body.get(wanted).is_none_or(Value::is_null)
    {
        body.insert(wanted.to_owned(), cap);
    }
    let order = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    let taken: Vec<&str> = order.into_iter().filter(|effort| profile.efforts.iter().any(|one| one == effort)).collect();
    if let Some(asked) = body.get("reasoning_effort").and_then(Value::as_str)
        && let Some(rank) = order.iter().position(|effort| *effort == asked)
        && !taken.is_empty()
        && !taken.contains(&asked)
    {
        let lower = taken.iter().rev().find(|effort| order[..rank].contains(effort));
        let effort = *lower.unwrap_or(&taken[0]);
        body.insert("reasoning_effort".to_owned(), effort.into());
    }
    if (profile.tool_choice_auto_only || profile.no_forced_tools)
        && let Some(choice) = body.get_mut("tool_choice")
        && *choice != "none"
        && !choice.is_null()
    {
        *choice = "auto".into();
    }
    if profile.no_json_object
        && body.get("response_format").is_some_and(|format| format.get("type") == Some(&"json_object".into()))
    {
        body.shift_remove("response_format");
    }
}

fn message(message: &mut Value, profile: &Profile) {
    let Value::Object(message) = message else { return };
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    match (profile.instructions, role) {
        (Instructions::System, "developer") => _ = message.insert("role".to_owned(), "system".into()),
        (Instructions::Developer, "system") => _ = message.insert("role".to_owned(), "developer".into()),
        _ => {}
    }
    if profile.empty_content_string && message.get("content") == Some(&Value::Null) {
        message.insert("content".to_owned(), "".into());
    }
    if profile.drop.iter().any(|path| path == "messages.name") {
        message.shift_remove("name");
    }
    let keys: Vec<String> = message.keys().filter(|key| key.starts_with("reasoning")).cloned().collect();
    let known: Vec<&String> =
        keys.iter().filter(|key| matches!(key.as_str(), "reasoning" | "reasoning_content")).collect();
    if let (Some(first), Some(wanted)) = (known.first(), &profile.reasoning_field) {
        let kept = if known.contains(&wanted) { wanted } else { *first };
        let value = message[kept].clone();
        for key in known {
            message.shift_remove(key);
        }
        message.insert(wanted.clone(), value);
    } else {
        for key in known {
            message.shift_remove(key);
        }
    }
    let calls = match message.get("tool_calls") {
        Some(Value::Array(calls)) => !calls.is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    if profile.reasoning_required_with_tools && calls {
        let field = profile.reasoning_field.as_deref().unwrap_or("reasoning_content");
        message.entry(field).or_insert_with(|| "".into());
    }
}
