//! Writes `gemini` answers.

use crate::answer::{Finish, Reply, Said};
use crate::frame::{Frame, FrameKind};
use crate::wire::Asked;
use serde_json::{Value, json};

/// Thought signatures this provider recognises as its own begin so.
pub(crate) const SIGNATURE: &str = "c2ltdWxhdGVk";

pub(crate) fn model(name: &str) -> Value {
    json!({
        "name": format!("models/{name}"), "version": "001", "displayName": name, "description": "Simulated",
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

fn finish(said: &Said) -> &'static str {
    match said.finish {
        Finish::Stop | Finish::Sequence(_) | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}

/// Real signatures are Base64, and Google's SDKs decode them: with the letter at the end it is whole groups of four.
fn signature(reply: &Reply) -> String {
    format!("{SIGNATURE}{}A", reply.id)
}

/// Usage after `answered` tokens of text and calls.
fn usage(reply: &Reply, answered: u64) -> Value {
    let thoughts = reply.reasoning_tokens();
    let mut usage = json!({
        "promptTokenCount": reply.prompt_tokens, "candidatesTokenCount": answered,
        "totalTokenCount": reply.prompt_tokens + answered + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.prompt_tokens}],
    });
    if let Some(fields) = usage.as_object_mut() {
        if thoughts > 0 {
            fields.insert("thoughtsTokenCount".to_owned(), thoughts.into());
        }
        if reply.cached_tokens > 0 {
            fields.insert("cachedContentTokenCount".to_owned(), reply.cached_tokens.into());
        }
    }
    usage
}

/// Function calls as parts. Models from the third generation on give ids and sign the first call.
fn call_parts(asked: &Asked, reply: &Reply, said: &Said) -> Vec<Value> {
    let is_signed = signs(&asked.model);
    said.calls
        .iter()
        .enumerate()
        .map(|(place, call)| match (is_signed, place) {
            (true, 0) => json!({
                "functionCall": {"id": call.id, "name": call.name, "args": call.arguments},
                "thoughtSignature": signature(reply),
            }),
            (true, _) => json!({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}),
            (false, _) => json!({"functionCall": {"name": call.name, "args": call.arguments}}),
        })
        .collect()
}

/// Whether a model demands its thought signatures back: `gemini-3` and later.
pub(crate) fn signs(model: &str) -> bool {
    model
        .strip_prefix("gemini-")
        .and_then(|rest| rest.split(['.', '-']).next())
        .and_then(|generation| generation.parse::<u32>().ok())
        .is_some_and(|generation| generation >= 3)
}

fn shows_thoughts(asked: &Asked, reply: &Reply) -> bool {
    !reply.reasoning.is_empty() && !asked.hides_reasoning
}

pub(crate) fn whole(asked: &Asked, reply: &Reply) -> Value {
    let candidate = |(index, said): (usize, &Said)| {
        let mut parts = Vec::new();
        if shows_thoughts(asked, reply) {
            parts.push(json!({"text": reply.reasoning.concat(), "thought": true}));
        }
        if !said.text.is_empty() {
            parts.push(json!({"text": said.whole_text()}));
        }
        parts.extend(call_parts(asked, reply, said));
        json!({"content": {"parts": parts, "role": "model"}, "finishReason": finish(said), "index": index})
    };
    let candidates: Vec<Value> = reply.said.iter().enumerate().map(candidate).collect();
    json!({
        "candidates": candidates, "usageMetadata": usage(reply, reply.answer_tokens()),
        "modelVersion": asked.model, "responseId": reply.id,
    })
}

pub(crate) fn frames(asked: &Asked, reply: &Reply) -> Vec<Frame> {
    let mut all = Vec::new();
    let mut answered = 0;
    let mut push = |kind: FrameKind, index: usize, part: Value, finish: Option<&str>, answered: u64| {
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": index});
        if let (Some(finish), Some(fields)) = (finish, candidate.as_object_mut()) {
            fields.insert("finishReason".to_owned(), finish.into());
        }
        let chunk = json!({
            "candidates": [candidate], "usageMetadata": usage(reply, answered),
            "modelVersion": asked.model, "responseId": reply.id,
        });
        all.push(Frame::data(kind, &chunk));
    };
    for (index, said) in reply.said.iter().enumerate() {
        push(FrameKind::Prelude, index, json!({"text": ""}), None, answered);
        if shows_thoughts(asked, reply) {
            for piece in &reply.reasoning {
                push(FrameKind::Reasoning, index, json!({"text": piece, "thought": true}), None, answered);
            }
        }
        for piece in &said.text {
            answered += 1;
            push(FrameKind::Text, index, json!({"text": piece}), None, answered);
        }
        for part in call_parts(asked, reply, said) {
            push(FrameKind::ToolArguments, index, part, None, answered);
        }
        let is_last = index + 1 == reply.said.len();
        answered = if is_last { reply.answer_tokens() } else { answered };
        push(FrameKind::Finish, index, json!({"text": ""}), Some(finish(said)), answered);
    }
    all
}
