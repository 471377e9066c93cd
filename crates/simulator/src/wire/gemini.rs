//! Writes `gemini` answers.

use crate::answer::{Finish, Reply, Said, joined};
use crate::frame::{Frame, FrameKind};
use crate::going_on;
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
            parts.push(json!({"text": joined(&reply.reasoning), "thought": true}));
        }
        if !said.text.is_empty() {
            parts.push(json!({"text": said.whole_text()}));
        }
        parts.extend(call_parts(asked, reply, said));
        let mut candidate =
            json!({"content": {"parts": parts, "role": "model"}, "finishReason": finish(said), "index": index});
        if let (Some(_), Finish::Length) = (asked.gives_tokens, &said.finish) {
            let there = said.begins_at + said.whole_text().len();
            set(&mut candidate, "continuationToken", going_on::token(there).into());
        }
        candidate
    };
    let candidates: Vec<Value> = reply.said.iter().enumerate().map(candidate).collect();
    json!({
        "candidates": candidates, "usageMetadata": usage(reply, reply.answer_tokens()),
        "modelVersion": asked.model, "responseId": reply.id,
    })
}

pub(crate) fn frames(asked: &Asked, reply: &Reply) -> Vec<Frame> {
    let mut events = Events { asked, reply, all: Vec::new(), answered: 0 };
    for (index, said) in reply.said.iter().enumerate() {
        events.push(FrameKind::Prelude, index, &json!({"text": ""}), &json!({}));
        if shows_thoughts(asked, reply) {
            for piece in &reply.reasoning {
                events.push(FrameKind::Reasoning, index, &json!({"text": piece.text, "thought": true}), &json!({}));
                events.saying(0, piece.tokens);
            }
        }
        let mut there = vec![said.begins_at];
        for piece in &said.text {
            events.answered += u64::from(piece.tokens);
            there.push(there.last().unwrap_or(&0) + piece.text.len());
            let lagging = asked.gives_tokens.and_then(|lag| there.iter().rev().nth(lag as usize));
            let more = lagging.map_or(json!({}), |bytes| json!({"continuationToken": going_on::token(*bytes)}));
            events.push(FrameKind::Text, index, &json!({"text": piece.text}), &more);
            events.saying(piece.text.len(), piece.tokens);
        }
        for (part, call) in call_parts(asked, reply, said).into_iter().zip(&said.calls) {
            events.push(FrameKind::ToolArguments, index, &part, &json!({}));
            events.saying(0, call.tokens());
        }
        if index + 1 == reply.said.len() {
            events.answered = reply.answer_tokens();
        }
        let mut last = json!({"finishReason": finish(said)});
        if let (Some(_), Finish::Length, Some(there)) = (asked.gives_tokens, &said.finish, there.last()) {
            set(&mut last, "continuationToken", going_on::token(*there).into());
        }
        events.push(FrameKind::Finish, index, &json!({"text": ""}), &last);
        if !shows_thoughts(asked, reply) && index == 0 {
            events.saying(0, u32::try_from(reply.reasoning_tokens()).unwrap_or(0));
        }
    }
    events.all
}

/// The events of a stream, each with the usage so far.
struct Events<'a> {
    asked: &'a Asked,
    reply: &'a Reply,
    all: Vec<Frame>,
    answered: u64,
}

impl Events<'_> {
    /// An event of one part; `more` are further fields of its candidate.
    fn push(&mut self, kind: FrameKind, index: usize, part: &Value, more: &Value) {
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": index});
        if let (Value::Object(more), Some(fields)) = (more, candidate.as_object_mut()) {
            fields.extend(more.clone());
        }
        let chunk = json!({
            "candidates": [candidate], "usageMetadata": usage(self.reply, self.answered),
            "modelVersion": self.asked.model, "responseId": self.reply.id,
        });
        self.all.push(Frame::data(kind, &chunk));
    }

    /// What the last event holds of the answer.
    fn saying(&mut self, text: usize, tokens: u32) {
        if let Some(frame) = self.all.last_mut() {
            frame.text = text;
            frame.tokens = tokens;
        }
    }
}

fn set(value: &mut Value, key: &str, new: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), new);
    }
}
