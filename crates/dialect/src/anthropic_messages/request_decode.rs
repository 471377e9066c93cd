//! Reads a request body: the fields around the messages. The messages themselves are `content_decode`'s.

use super::DIALECT;
use super::content_decode::{Kept, messages, system};
use super::read::{Fields, Path, missing, wrong_type, wrong_value};
use crate::BadRequest;
use canon::{CacheHint, Effort, OutputFormat, Request, Tool, ToolChoice, ToolKind};
use serde_json::Value;

/// Reads a request body.
pub(super) fn decode(body: &[u8]) -> Result<Request, BadRequest> {
    let value: Value = serde_json::from_slice(body).map_err(|error| BadRequest {
        code: "invalid_json",
        message: format!("the body is not valid JSON: {error}"),
        parameter: None,
    })?;
    let mut top = Fields::new(value, Path::Root)?;
    let mut kept = Kept::default();
    let mut request = Request { extra_dialect: Some(DIALECT), ..Request::default() };

    request.model = top.required_string("model")?;
    request.max_output_tokens =
        Some(top.count("max_tokens")?.ok_or_else(|| missing(&Path::Root.key("max_tokens"), "a whole number"))?);
    request.stream = top.boolean("stream")?.unwrap_or(false);
    // This dialect's streams always show usage.
    request.stream_usage = request.stream;
    request.sampling.temperature = top.number("temperature")?;
    request.sampling.top_p = top.number("top_p")?;
    request.sampling.top_k = top.count("top_k")?;
    request.service_tier = top.string("service_tier")?;
    request.stop = stop_sequences(&mut top)?;
    if let Some(value) = top.take("system") {
        request.messages.extend(system(value, &mut kept)?);
    }
    let turns = top.array("messages")?.ok_or_else(|| missing(&Path::Root.key("messages"), "an array of messages"))?;
    if turns.is_empty() {
        return Err(BadRequest {
            code: "invalid_value",
            message: "messages must hold at least one message, found none".to_owned(),
            parameter: Some("messages".to_owned()),
        });
    }
    request.messages.extend(messages(turns, &mut kept)?);
    request.tools = tools(&mut top, &mut kept)?;
    tool_choice(&mut top, &mut request, &mut kept)?;
    thinking(&mut top, &mut request, &mut kept)?;
    output_config(&mut top, &mut request, &mut kept)?;
    if let Some(metadata) = top.take("metadata") {
        let mut metadata = Fields::new(metadata, Path::Root.key("metadata"))?;
        request.user = metadata.string("user_id")?;
        metadata.keep_rest(&mut kept.extra);
    }
    top.keep_rest(&mut kept.extra);
    request.extra = kept.extra;
    Ok(request)
}

fn stop_sequences(top: &mut Fields<'_>) -> Result<Vec<String>, BadRequest> {
    let mut stop = Vec::new();
    for (index, value) in top.array("stop_sequences")?.unwrap_or_default().into_iter().enumerate() {
        match value {
            Value::String(text) => stop.push(text),
            other => return Err(wrong_type(&Path::Root.key("stop_sequences").index(index), "a string", &other)),
        }
    }
    Ok(stop)
}

fn tools(top: &mut Fields<'_>, kept: &mut Kept) -> Result<Vec<Tool>, BadRequest> {
    let list = Path::Root.key("tools");
    let items = top.array("tools")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, value)| tool(value, list.index(index), kept)).collect()
}

fn tool(value: Value, path: Path<'_>, kept: &mut Kept) -> Result<Tool, BadRequest> {
    let mut fields = Fields::new(value, path)?;
    let kind = fields.peek_str("type").map(str::to_owned);
    match kind.as_deref() {
        None | Some("custom") => {
            fields.string("type")?;
            let name = fields.required_string("name")?;
            let schema =
                fields.object("input_schema")?.ok_or_else(|| missing(&path.key("input_schema"), "a JSON Schema"))?;
            let tool = Tool {
                name,
                description: fields.string("description")?,
                parameters: Some(Value::Object(schema)),
                strict: fields.boolean("strict")?,
                cache: cache(&mut fields)?,
                kind: ToolKind::Function,
            };
            fields.keep_rest(&mut kept.extra);
            Ok(tool)
        }
        Some(kind) => {
            let name = fields.peek_str("name").unwrap_or(kind).to_owned();
            Ok(Tool {
                name,
                description: None,
                parameters: None,
                strict: None,
                cache: None,
                kind: ToolKind::Vendor(DIALECT, fields.into_value()),
            })
        }
    }
}

fn tool_choice(top: &mut Fields<'_>, request: &mut Request, kept: &mut Kept) -> Result<(), BadRequest> {
    let Some(value) = top.take("tool_choice") else { return Ok(()) };
    let path = Path::Root.key("tool_choice");
    let mut fields = Fields::new(value, path)?;
    let kind = fields.required_string("type")?;
    request.tool_choice = Some(match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(fields.required_string("name")?),
        other => return Err(wrong_value(&path.key("type"), "one of auto, any, tool, none", other)),
    });
    request.parallel_tool_calls = fields.boolean("disable_parallel_tool_use")?.map(|disabled| !disabled);
    fields.keep_rest(&mut kept.extra);
    Ok(())
}

/// `thinking`. A type without a canonical form (`between_tools`) is kept whole.
fn thinking(top: &mut Fields<'_>, request: &mut Request, kept: &mut Kept) -> Result<(), BadRequest> {
    let Some(value) = top.take("thinking") else { return Ok(()) };
    let path = Path::Root.key("thinking");
    let mut fields = Fields::new(value, path)?;
    match fields.peek_str("type") {
        Some("enabled") => {
            let budget = fields
                .count("budget_tokens")?
                .ok_or_else(|| missing(&path.key("budget_tokens"), "a whole number of at least 1024"))?;
            request.reasoning.budget_tokens = Some(i64::try_from(budget).unwrap_or(i64::MAX));
        }
        Some("adaptive") => request.reasoning.adaptive = true,
        Some("disabled") => request.reasoning.effort = Some(Effort::None),
        Some(_) => {
            kept.extra.insert("thinking".to_owned(), fields.into_value());
            return Ok(());
        }
        None => {
            fields.required_string("type")?;
            return Ok(());
        }
    }
    fields.string("type")?;
    request.reasoning.show = match fields.string("display")?.as_deref() {
        None => None,
        Some("omitted") => Some(false),
        Some("summarized") => Some(true),
        Some(other) => {
            kept.extra.insert("thinking.display".to_owned(), Value::String(other.to_owned()));
            None
        }
    };
    fields.keep_rest(&mut kept.extra);
    Ok(())
}

/// `output_config`, and `output_format`, which was its `format` before it left beta.
fn output_config(top: &mut Fields<'_>, request: &mut Request, kept: &mut Kept) -> Result<(), BadRequest> {
    if let Some(format) = top.take("output_format") {
        output_format(format, Path::Root.key("output_format"), request, kept)?;
    }
    let Some(value) = top.take("output_config") else { return Ok(()) };
    let path = Path::Root.key("output_config");
    let mut fields = Fields::new(value, path)?;
    if let Some(word) = fields.string("effort")? {
        match (effort(&word), request.reasoning.effort) {
            (Some(effort), None) => request.reasoning.effort = Some(effort),
            // With thinking disabled the effort is about the answer alone, which only this dialect can say.
            _ => {
                kept.extra.insert("output_config.effort".to_owned(), Value::String(word));
            }
        }
    }
    if let Some(format) = fields.take("format") {
        output_format(format, path.key("format"), request, kept)?;
    }
    fields.keep_rest(&mut kept.extra);
    Ok(())
}

fn output_format(value: Value, path: Path<'_>, request: &mut Request, kept: &mut Kept) -> Result<(), BadRequest> {
    let mut fields = Fields::new(value, path)?;
    if fields.peek_str("type") != Some("json_schema") {
        kept.extra.insert(path.to_string(), fields.into_value());
        return Ok(());
    }
    fields.string("type")?;
    let schema = fields.object("schema")?.ok_or_else(|| missing(&path.key("schema"), "a JSON Schema"))?;
    request.output =
        OutputFormat::JsonSchema { name: None, description: None, schema: Value::Object(schema), strict: None };
    fields.keep_rest(&mut kept.extra);
    Ok(())
}

fn effort(word: &str) -> Option<Effort> {
    match word {
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::Xhigh),
        "max" => Some(Effort::Max),
        _ => None,
    }
}

/// `cache_control` of a block or a tool.
pub(super) fn cache(fields: &mut Fields<'_>) -> Result<Option<CacheHint>, BadRequest> {
    Ok(fields.object("cache_control")?.map(|map| CacheHint { value: Value::Object(map) }))
}

#[cfg(test)]
#[path = "request_decode_tests.rs"]
mod tests;
