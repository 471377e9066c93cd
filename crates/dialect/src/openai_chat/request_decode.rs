//! A caller's request body.
//!
//! Top-level fields with no canonical form stay in `extra`, so that a target of the same dialect gets them back.

use super::reader::{Fields, invalid, missing, wrong};
use super::{message_decode, tool_decode};
use crate::BadRequest;
use canon::{DialectName, Effort, OutputFormat, ReasoningRequest, Request, Sampling};
use serde_json::{Value, json};

/// Reads a request body.
pub(super) fn decode(body: &[u8]) -> Result<Request, BadRequest> {
    let value: Value = serde_json::from_slice(body).map_err(|error| BadRequest {
        code: "invalid_json",
        message: format!("The request body is not valid JSON: {error}."),
        parameter: None,
    })?;
    let mut fields = Fields::read(value, "")?;
    let mut request = Request {
        model: fields.required_string("model")?,
        messages: turns(&mut fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        sampling: sampling(&mut fields)?,
        stop: stop(&mut fields)?,
        n: fields.small("n")?,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        user: fields.string("user")?,
        metadata: fields.object("metadata")?.unwrap_or_default(),
        service_tier: fields.string("service_tier")?,
        extra_dialect: Some(DialectName::OpenaiChat),
        ..Request::default()
    };
    let (written, deprecated) = (fields.unsigned("max_completion_tokens")?, fields.unsigned("max_tokens")?);
    request.max_output_tokens = written.or(deprecated);
    tools(&mut fields, &mut request)?;
    request.stream_usage = stream_usage(&mut fields)?;
    request.output = output(&mut fields)?;
    request.reasoning = reasoning(&mut fields)?;
    request.extra = fields.rest();
    Ok(request)
}

fn turns(fields: &mut Fields) -> Result<Vec<canon::Message>, BadRequest> {
    let items = fields.array("messages")?.ok_or_else(|| missing("messages", "an array of messages"))?;
    if items.is_empty() {
        return Err(BadRequest {
            code: "invalid_value",
            message: "`messages` is an empty array; expected at least one message.".to_owned(),
            parameter: Some("messages".to_owned()),
        });
    }
    message_decode::messages(items)
}

fn tools(fields: &mut Fields, request: &mut Request) -> Result<(), BadRequest> {
    request.tools = tool_decode::tools(fields.array("tools")?.unwrap_or_default())?;
    request.tools.extend(tool_decode::functions(fields.array("functions")?.unwrap_or_default())?);
    let deprecated = fields.take("function_call").map(|value| (value, "function_call"));
    let written = fields.take("tool_choice").map(|value| (value, "tool_choice"));
    request.tool_choice = written.or(deprecated).map(|(value, path)| tool_decode::choice(value, path)).transpose()?;
    Ok(())
}

fn sampling(fields: &mut Fields) -> Result<Sampling, BadRequest> {
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.unsigned("top_k")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        seed: fields.signed("seed")?,
        logprobs: fields.boolean("logprobs")?,
        top_logprobs: fields.small("top_logprobs")?,
        logit_bias: fields.object("logit_bias")?.filter(|map| !map.is_empty()).map(Value::Object),
    })
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, BadRequest> {
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(list)) => {
            let read = |(i, item)| match item {
                Value::String(text) => Ok(text),
                other => Err(wrong(&format!("stop[{i}]"), &other, "a string")),
            };
            list.into_iter().enumerate().map(read).collect()
        }
        Some(other) => Err(wrong("stop", &other, "a string or an array of strings")),
    }
}

/// `stream_options`: what is not `include_usage` goes back among the unknown fields.
fn stream_usage(fields: &mut Fields) -> Result<bool, BadRequest> {
    let Some(mut options) = fields.fields("stream_options")? else { return Ok(false) };
    let usage = options.boolean("include_usage")?.unwrap_or(false);
    let rest = options.rest();
    if !rest.is_empty() {
        fields.keep("stream_options", Value::Object(rest));
    }
    Ok(usage)
}

fn output(fields: &mut Fields) -> Result<OutputFormat, BadRequest> {
    let Some(value) = fields.take("response_format") else { return Ok(OutputFormat::Text) };
    let whole = value.clone();
    let mut format = Fields::read(value, "response_format")?;
    match format.required_string("type")?.as_str() {
        "text" => Ok(OutputFormat::Text),
        "json_object" => Ok(OutputFormat::JsonObject),
        "json_schema" => {
            let mut schema = format.required_fields("json_schema")?;
            Ok(OutputFormat::JsonSchema {
                name: schema.string("name")?,
                description: schema.string("description")?,
                strict: schema.boolean("strict")?,
                schema: schema.object("schema")?.map_or_else(|| json!({}), Value::Object),
            })
        }
        // A server's own grammar: only a target of this dialect may know it.
        _ => {
            fields.keep("response_format", whole);
            Ok(OutputFormat::Text)
        }
    }
}

/// `reasoning_effort`, and `OpenRouter`'s `reasoning` object, which also stays as it is for a target that knows it.
fn reasoning(fields: &mut Fields) -> Result<ReasoningRequest, BadRequest> {
    let mut request = ReasoningRequest::default();
    if let Some(word) = fields.string("reasoning_effort")? {
        request.effort = effort(&word);
        if request.effort.is_none() {
            fields.keep("reasoning_effort", Value::String(word));
        }
    }
    let Some(value) = fields.take("reasoning") else { return Ok(request) };
    let whole = value.clone();
    let mut object = Fields::read(value, "reasoning")?;
    if let Some(word) = object.string("effort")? {
        request.effort = Some(effort(&word).ok_or_else(|| {
            invalid("reasoning.effort", &word, "one of none, minimal, low, medium, high, xhigh, max")
        })?);
    }
    request.budget_tokens = object.signed("max_tokens")?;
    request.show = object.boolean("exclude")?.map(|hidden| !hidden);
    if object.boolean("enabled")? == Some(false) {
        request.effort = Some(Effort::None);
    }
    fields.keep("reasoning", whole);
    Ok(request)
}

/// The words of `reasoning_effort`.
pub(super) fn effort(word: &str) -> Option<Effort> {
    match word {
        "none" => Some(Effort::None),
        "minimal" => Some(Effort::Minimal),
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::Xhigh),
        "max" => Some(Effort::Max),
        _ => None,
    }
}
