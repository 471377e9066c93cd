//! A request for a target of this dialect, shaped by its profile.

use super::part_encode::Context;
use super::request_decode::effort as effort_of;
use super::{message_encode, tool_encode};
use crate::Inexpressible;
use crate::profile::{Continuation, Instructions, OutputCap, Profile, StreamUsage};
use bytes::Bytes;
use canon::{DialectName, Drops, Effort, OutputFormat, ReasoningRequest, Request};
use serde_json::{Map, Value, json};

/// Writes the body of a call for `model`.
pub(super) fn encode(
    request: &Request,
    model: &str,
    profile: &Profile,
    drops: &mut Drops,
) -> Result<Bytes, Inexpressible> {
    let own = request.extra_dialect == Some(DialectName::OpenaiChat);
    let mut context = Context { profile, drops, own };
    let mut body = Map::new();
    set(&mut body, "model", Some(model));
    let mut messages = message_encode::messages(&request.messages, &mut context)?;
    output(request, &mut messages, &mut body, &mut context);
    begun_turn(request, &mut messages, profile);
    body.insert("messages".to_owned(), Value::Array(messages));
    tool_encode::tools(request, &mut body, &mut context);
    sampling(request, &mut body, &mut context);
    limits(request, &mut body, &mut context);
    effort(request, &mut body, &mut context);
    labels(request, &mut body, &mut context);
    unknown(request, &mut body, &mut context);
    trim(request, &mut body, &mut context);
    stream(request, &mut body, profile);
    if request.continues.is_some() && profile.continuation == Continuation::ContinueFinalMessage {
        body.insert("add_generation_prompt".to_owned(), Value::Bool(false));
        body.insert("continue_final_message".to_owned(), Value::Bool(true));
    }
    rename(&mut body, profile);
    Ok(Bytes::from(Value::Object(body).to_string()))
}

/// The turn to go on with, as the target knows it: one string, under its flag.
fn begun_turn(request: &Request, messages: &mut [Value], profile: &Profile) {
    let Some(Value::Object(last)) = messages.last_mut().filter(|_| request.continues.is_some()) else { return };
    if let Some(Value::Array(parts)) = last.get("content") {
        let text: String = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
        last.insert("content".to_owned(), Value::String(text));
    }
    let flag = match profile.continuation {
        Continuation::Prefix => "prefix",
        Continuation::Partial => "partial",
        Continuation::None | Continuation::Prefill | Continuation::ContinueFinalMessage | Continuation::Token => return,
    };
    last.insert(flag.to_owned(), Value::Bool(true));
}

fn set(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

/// `response_format`, or the nearest thing the target has, with the schema in the instructions.
fn output(request: &Request, messages: &mut Vec<Value>, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    let profile = context.profile;
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject if profile.no_json_object => {
            context.drops.add("response_format", "the target has no JSON mode: asked for in the instructions");
            instruct(messages, "Answer with one JSON object and nothing else.", profile);
        }
        OutputFormat::JsonObject => {
            // JSON mode is refused unless the prompt mentions JSON; other dialects ask for no such thing.
            if !context.own && !mentions_json(messages) {
                instruct(messages, "Answer in JSON.", profile);
            }
            body.insert("response_format".to_owned(), json!({"type": "json_object"}));
        }
        OutputFormat::JsonSchema { schema, .. } if profile.no_json_schema => {
            context.drops.add("response_format", "the target takes no JSON Schema: asked for in the instructions");
            let text = format!("Answer with one JSON object and nothing else. It follows this JSON Schema:\n{schema}");
            instruct(messages, &text, profile);
            if !profile.no_json_object {
                body.insert("response_format".to_owned(), json!({"type": "json_object"}));
            }
        }
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let fallback = || (!context.own).then(|| "answer".to_owned());
            let mut inner = Map::new();
            set(&mut inner, "name", name.clone().or_else(fallback));
            set(&mut inner, "description", description.clone());
            set(&mut inner, "schema", Some(schema.clone()));
            set(&mut inner, "strict", *strict);
            body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": inner}));
        }
    }
}

fn mentions_json(messages: &[Value]) -> bool {
    messages.iter().any(|message| match message.get("content") {
        Some(Value::String(text)) => has_json(text),
        Some(Value::Array(parts)) => {
            parts.iter().any(|part| part.get("text").and_then(Value::as_str).is_some_and(has_json))
        }
        _ => false,
    })
}

fn has_json(text: &str) -> bool {
    text.as_bytes().windows(4).any(|window| window.eq_ignore_ascii_case(b"json"))
}

/// Adds to the instructions at the head of the conversation, which is where every target reads them.
fn instruct(messages: &mut Vec<Value>, text: &str, profile: &Profile) {
    let head = messages.first_mut().and_then(Value::as_object_mut);
    if let Some(head) = head
        && matches!(head.get("role").and_then(Value::as_str), Some("system" | "developer"))
    {
        match head.get_mut("content") {
            Some(Value::String(held)) => {
                held.push_str("\n\n");
                held.push_str(text);
            }
            Some(Value::Array(parts)) => parts.push(json!({"type": "text", "text": text})),
            _ => {
                head.insert("content".to_owned(), Value::String(text.to_owned()));
            }
        }
        return;
    }
    let role = if profile.instructions == Instructions::Developer { "developer" } else { "system" };
    messages.insert(0, json!({"role": role, "content": text}));
}

fn sampling(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    let (sampling, profile) = (&request.sampling, context.profile);
    if profile.no_sampling {
        let stated = [
            ("temperature", sampling.temperature.is_some()),
            ("top_p", sampling.top_p.is_some()),
            ("top_k", sampling.top_k.is_some()),
        ];
        for (field, _) in stated.into_iter().filter(|(_, stated)| *stated) {
            context.drops.add(field, "the target takes no sampling parameters");
        }
    } else {
        set(body, "temperature", temperature(sampling.temperature, context));
        if profile.temperature_xor_top_p && sampling.temperature.is_some() && sampling.top_p.is_some() {
            context.drops.add("top_p", "the target takes temperature or top_p, not both");
        } else {
            set(body, "top_p", sampling.top_p);
        }
        if context.own {
            set(body, "top_k", sampling.top_k);
        } else if sampling.top_k.is_some() {
            context.drops.add("top_k", "openai-chat has no such field");
        }
    }
    set(body, "frequency_penalty", sampling.frequency_penalty);
    set(body, "presence_penalty", sampling.presence_penalty);
    set(body, "seed", sampling.seed);
    set(body, "logprobs", sampling.logprobs);
    set(body, "top_logprobs", sampling.top_logprobs);
    set(body, "logit_bias", sampling.logit_bias.clone());
}

fn temperature(asked: Option<f64>, context: &mut Context<'_>) -> Option<f64> {
    let asked = asked?;
    match context.profile.max_temperature {
        Some(highest) if asked > highest => {
            context.drops.add("temperature", "higher than the target takes: lowered");
            Some(highest)
        }
        _ => Some(asked),
    }
}

fn limits(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    let profile = context.profile;
    let mut cap = request.max_output_tokens.or(profile.default_max_tokens);
    if let (Some(asked), Some(highest)) = (cap, profile.max_output_tokens)
        && asked > highest
    {
        context.drops.add("max_completion_tokens", "higher than the target takes: lowered");
        cap = Some(highest);
    }
    let field = match profile.output_cap {
        OutputCap::AsWritten | OutputCap::MaxCompletionTokens => "max_completion_tokens",
        OutputCap::MaxTokens => "max_tokens",
    };
    set(body, field, cap);
    let most = profile.max_stop.unwrap_or(usize::MAX);
    if request.stop.len() > most {
        context.drops.add("stop", "more stop sequences than the target takes: the first ones are sent");
    }
    let stop: Vec<String> = request.stop.iter().take(most).cloned().collect();
    set(body, "stop", (!stop.is_empty()).then_some(stop));
    set(body, "n", request.n);
}

/// The words of `reasoning_effort`, lowest first.
const EFFORTS: [(Effort, &str); 7] = [
    (Effort::None, "none"),
    (Effort::Minimal, "minimal"),
    (Effort::Low, "low"),
    (Effort::Medium, "medium"),
    (Effort::High, "high"),
    (Effort::Xhigh, "xhigh"),
    (Effort::Max, "max"),
];

fn effort(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    // A caller's own `reasoning` object goes upstream as it is; the two together are a contradiction to some targets.
    let own_object =
        context.own && request.extra.contains_key("reasoning") && !is_dropped("reasoning", context.profile);
    let Some(asked) = wanted(&request.reasoning).filter(|_| !own_object) else { return };
    let mut taken: Vec<Effort> = context.profile.efforts.iter().filter_map(|word| effort_of(word)).collect();
    taken.sort_unstable();
    let nearest = taken.iter().rev().find(|effort| **effort <= asked).or(taken.first()).copied().unwrap_or(asked);
    if nearest != asked {
        context.drops.add("reasoning_effort", "the target has no such effort: the nearest is sent");
    }
    let word = EFFORTS.iter().find(|(effort, _)| *effort == nearest).map(|(_, word)| *word);
    set(body, "reasoning_effort", word);
}

/// The effort asked for: as stated, or by the ladder 1024 → low, 8192 → medium, above → high.
fn wanted(reasoning: &ReasoningRequest) -> Option<Effort> {
    if reasoning.effort.is_some() {
        return reasoning.effort;
    }
    match reasoning.budget_tokens? {
        ..0 => None,
        0 => Some(Effort::None),
        1..=1024 => Some(Effort::Low),
        1025..=8192 => Some(Effort::Medium),
        8193.. => Some(Effort::High),
    }
}

fn labels(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    set(body, "user", request.user.clone());
    if !request.metadata.is_empty() {
        body.insert("metadata".to_owned(), Value::Object(request.metadata.clone()));
    }
    match request.service_tier.as_deref() {
        Some(tier) if context.own || tier == "auto" => set(body, "service_tier", Some(tier)),
        Some(_) => context.drops.add("service_tier", "another vendor's tier"),
        None => {}
    }
    if !request.safety.is_empty() {
        context.drops.add("safetySettings", "openai-chat has no safety settings");
    }
}

fn unknown(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    for (key, value) in &request.extra {
        if !context.own {
            context.drops.add(key.as_str(), "openai-chat has no such field");
        } else if key != "stream_options" {
            body.insert(key.clone(), value.clone());
        }
    }
}

fn is_dropped(field: &str, profile: &Profile) -> bool {
    profile.drop.iter().any(|dropped| dropped == field)
}

/// Removes what the target rejects. What the gateway would have added by itself is not the caller's loss.
fn trim(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    for field in &context.profile.drop {
        let asked = if field == "stream_options" {
            request.stream && (request.stream_usage || request.extra.contains_key("stream_options"))
        } else {
            body.shift_remove(field).is_some()
        };
        if asked {
            context.drops.add(field.as_str(), "the target takes no such field");
        }
    }
}

/// Streams always ask for usage: the gateway accounts for every attempt.
fn stream(request: &Request, body: &mut Map<String, Value>, profile: &Profile) {
    if !request.stream {
        return;
    }
    body.insert("stream".to_owned(), Value::Bool(true));
    if is_dropped("stream_options", profile) {
        return;
    }
    let written =
        request.extra.get("stream_options").filter(|_| request.extra_dialect == Some(DialectName::OpenaiChat));
    let mut options = written.and_then(Value::as_object).cloned().unwrap_or_default();
    if profile.stream_usage == StreamUsage::StreamOptions {
        options.insert("include_usage".to_owned(), Value::Bool(true));
    }
    if !options.is_empty() {
        body.insert("stream_options".to_owned(), Value::Object(options));
    }
}

fn rename(body: &mut Map<String, Value>, profile: &Profile) {
    for (from, to) in &profile.rename {
        if let Some(value) = body.shift_remove(from) {
            body.insert(to.clone(), value);
        }
    }
}
