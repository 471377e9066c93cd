//! Writes a request for a Claude: the fields around the turns, and the report of what it has no field for.

use super::blocks::{Context, object};
use super::overlay::Overlay;
use super::{DIALECT, history, schema, thinking, tools};
use crate::Inexpressible;
use crate::profile::{Profile, Thinking};
use bytes::Bytes;
use canon::{Drops, OutputFormat, Request};
use serde_json::{Map, Value, json};

/// The output cap where neither the caller nor the profile has one: every model takes it.
const DEFAULT_MAX_TOKENS: u64 = 4096;

const NO_SUCH_FIELD: &str = "anthropic-messages has no such field";

/// Writes a request body.
pub(super) fn encode(
    request: &Request,
    model: &str,
    profile: &Profile,
    drops: &mut Drops,
) -> Result<Bytes, Inexpressible> {
    let same_dialect = request.extra_dialect == Some(DIALECT);
    let overlay = if same_dialect { Overlay::new(&request.extra) } else { Overlay::none() };
    let mut ctx = Context { request, profile, drops, overlay };
    if !same_dialect {
        for key in request.extra.keys() {
            ctx.drops.add(key.clone(), NO_SUCH_FIELD);
        }
    }
    report_inexpressible_fields(&mut ctx);

    let mut notes = Vec::new();
    let format = output_format(&mut ctx, &mut notes);
    let history = history::write(&mut ctx, &notes)?;
    let mut thinking = thinking::write(&mut ctx);
    if thinking.budget.is_some() && history.unthought_tool_loop {
        ctx.drops.add("thinking", "the tool loop was begun without thinking, which cannot begin inside it");
        thinking = thinking::Written::default();
    }
    let max_tokens = max_tokens(&mut ctx, &mut thinking);
    let tools = tools::write(&mut ctx, &history, &thinking);

    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("max_tokens".to_owned(), max_tokens.into());
    if let Some(system) = history.system {
        body.insert("system".to_owned(), system);
    }
    body.insert("messages".to_owned(), Value::Array(history.messages));
    if !tools.tools.is_empty() {
        body.insert("tools".to_owned(), Value::Array(tools.tools));
    }
    if let Some(choice) = tools.choice {
        body.insert("tool_choice".to_owned(), choice);
    }
    sampling(&mut ctx, &thinking, &mut body);
    stop_sequences(&mut ctx, &mut body);
    reasoning_and_format(&mut ctx, thinking, format, &mut body);
    let mut metadata = object(json!({}));
    if let Some(user) = &request.user {
        metadata.insert("user_id".to_owned(), user.as_str().into());
    }
    ctx.overlay.restore("metadata", &mut metadata);
    if !metadata.is_empty() {
        body.insert("metadata".to_owned(), Value::Object(metadata));
    }
    service_tier(&mut ctx, &mut body);
    if request.stream {
        body.insert("stream".to_owned(), true.into());
    }
    ctx.overlay.restore("", &mut body);
    restore_messages(&mut ctx, &mut body);
    ctx.overlay.report_rest(ctx.drops);
    apply_profile(profile, &mut body, ctx.drops);
    Ok(Bytes::from(Value::Object(body).to_string()))
}

/// Fields of whole messages, where the turns were not merged and so still stand where they stood.
fn restore_messages(ctx: &mut Context<'_>, body: &mut Map<String, Value>) {
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    let instructions = ctx.request.messages.iter().filter(|m| m.role == canon::Role::System).count();
    if messages.len() + instructions != ctx.request.messages.len() {
        return;
    }
    for (index, message) in messages.iter_mut().enumerate() {
        if let Value::Object(message) = message {
            ctx.overlay.restore(&format!("messages[{index}]"), message);
        }
    }
}

/// What this API has no field for, where the caller asked for something by it.
fn report_inexpressible_fields(ctx: &mut Context<'_>) {
    let request = ctx.request;
    let sampling = &request.sampling;
    let asks = |number: Option<f64>| number.is_some_and(|number| number != 0.0);
    let lost = [
        ("n", request.n.is_some_and(|n| n > 1)),
        ("frequency_penalty", asks(sampling.frequency_penalty)),
        ("presence_penalty", asks(sampling.presence_penalty)),
        ("seed", sampling.seed.is_some()),
        ("logprobs", sampling.logprobs == Some(true)),
        ("top_logprobs", sampling.top_logprobs.is_some_and(|count| count > 0)),
        ("logit_bias", sampling.logit_bias.as_ref().is_some_and(|bias| bias.as_object().is_none_or(|m| !m.is_empty()))),
        ("metadata", !request.metadata.is_empty()),
    ];
    for (field, _) in lost.into_iter().filter(|(_, lost)| *lost) {
        ctx.drops.add(field, NO_SUCH_FIELD);
    }
    for setting in &request.safety {
        ctx.drops.add(format!("safetySettings.{}", setting.category), "anthropic-messages has no safety thresholds");
    }
}

/// `output_config.format`, or instructions where there is no such format.
fn output_format(ctx: &mut Context<'_>, notes: &mut Vec<String>) -> Option<Value> {
    match &ctx.request.output {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => {
            ctx.drops.add("response_format", "anthropic-messages has no JSON mode: asked for in the instructions");
            notes.push("Answer with one valid JSON object and nothing else: no prose, no code fence.".to_owned());
            None
        }
        OutputFormat::JsonSchema { schema, description, .. } => {
            if ctx.profile.no_json_schema {
                ctx.drops.add("response_format", "the model takes no JSON Schema: given in the instructions");
                notes.push(format!(
                    "Answer with one JSON value that follows this JSON Schema, and nothing else: no prose, no code \
                     fence.\n{schema}"
                ));
                return None;
            }
            if description.is_some() {
                ctx.drops.add("response_format.json_schema.description", NO_SUCH_FIELD);
            }
            if ctx.same_dialect() {
                return Some(json!({ "type": "json_schema", "schema": schema }));
            }
            let (schema, altered) = schema::for_output(schema);
            if altered {
                ctx.drops.add("response_format.json_schema.schema", "bounds it cannot enforce became descriptions");
            }
            Some(json!({ "type": "json_schema", "schema": schema }))
        }
    }
}

fn max_tokens(ctx: &mut Context<'_>, thinking: &mut thinking::Written) -> u64 {
    let ceiling = ctx.profile.max_output_tokens.unwrap_or(u64::MAX);
    let wanted = match ctx.request.max_output_tokens {
        Some(asked) => {
            if asked > ceiling {
                ctx.drops.add("max_tokens", "lowered to the most the model gives");
            }
            asked
        }
        None => ctx.profile.default_max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
    };
    thinking::fit_budget(ctx, thinking, wanted.min(ceiling))
}

fn sampling(ctx: &mut Context<'_>, thinking: &thinking::Written, body: &mut Map<String, Value>) {
    let asked = &ctx.request.sampling;
    let (mut temperature, mut top_p, mut top_k) = (asked.temperature, asked.top_p, asked.top_k);
    let refused = if ctx.profile.no_sampling {
        Some("the model takes no sampling parameters")
    } else if thinking.is_on() {
        Some("a thinking model takes no sampling parameters")
    } else {
        None
    };
    if let Some(reason) = refused {
        // 1 is what the model does anyway.
        let deviates = |number: f64| (number - 1.0).abs() > f64::EPSILON;
        if temperature.take().is_some_and(deviates) {
            ctx.drops.add("temperature", reason);
        }
        if top_p.take().is_some_and(deviates) {
            ctx.drops.add("top_p", reason);
        }
        if top_k.take().is_some() {
            ctx.drops.add("top_k", reason);
        }
    }
    let highest = ctx.profile.max_temperature.unwrap_or(1.0);
    if temperature.is_some_and(|value| value > highest) {
        ctx.drops.add("temperature", "lowered to the highest the model takes");
        temperature = Some(highest);
    }
    if ctx.profile.temperature_xor_top_p && temperature.is_some() && top_p.take().is_some() {
        ctx.drops.add("top_p", "the model takes it only without temperature");
    }
    let numbers = [("temperature", temperature), ("top_p", top_p)];
    for (field, number) in numbers {
        if let Some(number) = number {
            body.insert(field.to_owned(), number.into());
        }
    }
    if let Some(top_k) = top_k {
        body.insert("top_k".to_owned(), top_k.into());
    }
}

fn stop_sequences(ctx: &mut Context<'_>, body: &mut Map<String, Value>) {
    let most = ctx.profile.max_stop.unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    for (index, stop) in ctx.request.stop.iter().enumerate() {
        let reason = if stop.trim().is_empty() {
            "a stop sequence of whitespace alone is rejected"
        } else if kept.len() >= most {
            "more stop sequences than the target takes"
        } else {
            kept.push(Value::String(stop.clone()));
            continue;
        };
        ctx.drops.add(format!("stop[{index}]"), reason);
    }
    if !kept.is_empty() {
        body.insert("stop_sequences".to_owned(), Value::Array(kept));
    }
}

/// `thinking` and `output_config`.
fn reasoning_and_format(
    ctx: &mut Context<'_>,
    thinking: thinking::Written,
    format: Option<Value>,
    body: &mut Map<String, Value>,
) {
    if let Some(Value::Object(mut config)) = thinking.config {
        ctx.overlay.restore("thinking", &mut config);
        body.insert("thinking".to_owned(), Value::Object(config));
    }
    let mut output = Map::new();
    if let Some(effort) = thinking.effort {
        output.insert("effort".to_owned(), effort.into());
    }
    if let Some(format) = format {
        output.insert("format".to_owned(), format);
    }
    if matches!(ctx.profile.thinking, Thinking::Effort | Thinking::AlwaysOn) {
        ctx.overlay.restore("output_config", &mut output);
    }
    if !output.is_empty() {
        body.insert("output_config".to_owned(), Value::Object(output));
    }
}

fn service_tier(ctx: &mut Context<'_>, body: &mut Map<String, Value>) {
    let tier = match ctx.request.service_tier.as_deref() {
        None => return,
        Some(tier @ ("auto" | "standard_only")) => tier,
        // What another vendor calls its default is the tier without extras.
        Some("default" | "standard") => "standard_only",
        Some(_) => {
            ctx.drops.add("service_tier", "anthropic-messages has no such tier");
            return;
        }
    };
    body.insert("service_tier".to_owned(), tier.into());
}

/// Fields this target rejects or spells differently.
fn apply_profile(profile: &Profile, body: &mut Map<String, Value>, drops: &mut Drops) {
    for field in &profile.drop {
        if body.shift_remove(field).is_some() {
            drops.add(field.clone(), "the target rejects it");
        }
    }
    for (from, to) in &profile.rename {
        if let Some(value) = body.shift_remove(from) {
            body.insert(to.clone(), value);
        }
    }
}

#[cfg(test)]
#[path = "request_encode_tests.rs"]
mod tests;
