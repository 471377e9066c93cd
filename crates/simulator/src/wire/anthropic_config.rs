//! Tools, sampling, thinking and output format of `anthropic-messages` requests.

use super::anthropic_read::{only, refuses_sampling, required};
use super::check::{is_name, present};
use super::{Asked, Choice, Offered};
use crate::error::Invalid;
use serde_json::{Map, Value};

pub(crate) fn tools(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let tools = present(body, "tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (place, tool) in tools.iter().enumerate() {
        let at = format!("tools.{place}");
        let tool = tool.as_object().ok_or_else(|| Invalid::new(format!("{at}: Input should be an object")))?;
        if present(tool, "type").is_some_and(|kind| kind != "custom") {
            continue;
        }
        let known = [
            "type",
            "name",
            "description",
            "input_schema",
            "strict",
            "cache_control",
            "input_examples",
            "eager_input_streaming",
            "defer_loading",
            "allowed_callers",
        ];
        only(tool, &known, &at)?;
        let name = tool.get("name").and_then(Value::as_str).ok_or_else(|| required(&format!("{at}.custom.name")))?;
        if !is_name(name, "_-", 128) {
            return Err(Invalid::new(format!(
                "{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
        let schema = tool.get("input_schema").ok_or_else(|| required(&format!("{at}.custom.input_schema")))?;
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(Invalid::new(format!("{at}.custom.input_schema.type: Input should be 'object'")));
        }
        if asked.tools.iter().any(|known| known.name == name) {
            return Err(Invalid::new("tools: Tool names must be unique."));
        }
        asked.tools.push(Offered { name: name.to_owned(), schema: schema.clone() });
    }
    let Some(choice) = present(body, "tool_choice") else { return Ok(()) };
    if tools.is_empty() {
        return Err(Invalid::new("tool_choice: tool_choice may only be specified while providing tools"));
    }
    let choice = choice.as_object().ok_or_else(|| Invalid::new("tool_choice: Input should be an object"))?;
    only(choice, &["type", "name", "disable_parallel_tool_use"], "tool_choice")?;
    asked.parallel = choice.get("disable_parallel_tool_use") != Some(&Value::Bool(true));
    asked.choice = match choice.get("type").and_then(Value::as_str) {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Some,
        Some("none") => Choice::Never,
        Some("tool") => {
            let name = choice.get("name").and_then(Value::as_str).ok_or_else(|| required("tool_choice.tool.name"))?;
            if !asked.tools.iter().any(|tool| tool.name == name) {
                return Err(Invalid::new(format!("Tool '{name}' not found in provided tools")));
            }
            Choice::Named(name.to_owned())
        }
        _ => {
            return Err(Invalid::new(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
            ));
        }
    };
    Ok(())
}

pub(crate) fn sampling(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    for (name, highest) in [("temperature", 1.0), ("top_p", 1.0), ("top_k", f64::MAX)] {
        let Some(value) = present(body, name) else { continue };
        if refuses_sampling(&asked.model) {
            return Err(Invalid::new(format!("{name}: Extra inputs are not permitted")));
        }
        if !value.as_f64().is_some_and(|number| (0.0..=highest).contains(&number)) {
            return Err(Invalid::new(format!("{name}: range: 0..{highest}")));
        }
    }
    let is_recent = asked.model.starts_with("claude") && asked.model.contains("-4-") && !asked.model.contains("-4-2");
    if is_recent && present(body, "temperature").is_some() && present(body, "top_p").is_some() {
        return Err(Invalid::new(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ));
    }
    let stops = present(body, "stop_sequences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    asked.stops = stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect();
    if asked.stops.iter().any(|stop| stop.trim().is_empty()) {
        return Err(Invalid::new("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    if let Some(metadata) = present(body, "metadata").and_then(Value::as_object) {
        only(metadata, &["user_id"], "metadata")?;
    }
    Ok(())
}

pub(crate) fn thinking(body: &Map<String, Value>, max_tokens: u64, asked: &mut Asked) -> Result<(), Invalid> {
    let Some(thinking) = present(body, "thinking") else { return Ok(()) };
    match thinking.get("type").and_then(Value::as_str) {
        Some("disabled") => return Ok(()),
        Some("adaptive" | "between_tools") => {}
        Some("enabled") => {
            if refuses_sampling(&asked.model) {
                return Err(Invalid::new(
                    "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
                ));
            }
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            let budget = budget.ok_or_else(|| required("thinking.enabled.budget_tokens"))?;
            if budget < 1024 {
                return Err(Invalid::new(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                ));
            }
            if budget >= max_tokens {
                return Err(Invalid::new(
                    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
                ));
            }
            if matches!(asked.choice, Choice::Some | Choice::Named(_)) {
                return Err(Invalid::new("Thinking may not be enabled when tool_choice forces tool use."));
            }
            let is_plain = |value: &Value| value.as_f64().is_some_and(|number| (number - 1.0).abs() < f64::EPSILON);
            if present(body, "temperature").is_some_and(|value| !is_plain(value)) {
                return Err(Invalid::new("`temperature` may only be set to 1 when thinking is enabled."));
            }
            if asked.continues_last {
                return Err(Invalid::new(
                    "messages: final assistant content cannot be prefilled when thinking is enabled",
                ));
            }
        }
        _ => {
            return Err(Invalid::new(
                "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'",
            ));
        }
    }
    asked.reasoning = true;
    Ok(())
}

pub(crate) fn output_schema(body: &Map<String, Value>) -> Result<Option<Value>, Invalid> {
    let format = match present(body, "output_config") {
        Some(config) => {
            let config = config.as_object().ok_or_else(|| Invalid::new("output_config: Input should be an object"))?;
            only(config, &["effort", "format", "task_budget"], "output_config")?;
            if let Some(effort) = present(config, "effort")
                && !effort.as_str().is_some_and(|effort| ["low", "medium", "high", "xhigh", "max"].contains(&effort))
            {
                return Err(Invalid::new(
                    "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
                ));
            }
            present(config, "format")
        }
        None => present(body, "output_format"),
    };
    let Some(format) = format else { return Ok(None) };
    if format.get("type").and_then(Value::as_str) != Some("json_schema") {
        return Err(Invalid::new("output_config.format.type: Input should be 'json_schema'"));
    }
    let schema = format.get("schema").ok_or_else(|| required("output_config.format.schema"))?;
    if schema.get("properties").is_some() && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(Invalid::new(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ));
    }
    Ok(Some(schema.clone()))
}
