//! Writes `openai-chat` answers.

use crate::answer::{Call, Finish, Reply, Said, joined};
use crate::frame::{Frame, FrameKind};
use crate::wire::Asked;
use bytes::Bytes;
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z: simulated answers are all as old as each other.
const CREATED: u64 = 1_767_225_600;

pub(crate) fn model(name: &str, owner: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": owner})
}

fn finish(said: &Said) -> &'static str {
    match said.finish {
        Finish::Stop | Finish::Sequence(_) => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
    }
}

fn usage(reply: &Reply) -> Value {
    let (prompt, completion) = (reply.prompt_tokens, reply.answer_tokens() + reply.reasoning_tokens());
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning_tokens(), "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

pub(crate) fn whole(asked: &Asked, reply: &Reply) -> Value {
    let choice = |(index, said): (usize, &Said)| {
        let text = (!said.text.is_empty() || said.calls.is_empty()).then(|| said.whole_text());
        let mut message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
        if !reply.reasoning.is_empty() && !asked.hides_reasoning {
            set(&mut message, "reasoning_content", joined(&reply.reasoning).into());
        }
        if !said.calls.is_empty() {
            let calls: Vec<Value> = said
                .calls
                .iter()
                .map(|call| {
                    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                    json!({"id": format!("call_{}", call.id), "type": "function", "function": function})
                })
                .collect();
            set(&mut message, "tool_calls", calls.into());
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish(said)})
    };
    let choices: Vec<Value> = reply.said.iter().enumerate().map(choice).collect();
    json!({
        "id": format!("chatcmpl-{}", reply.id), "object": "chat.completion", "created": CREATED,
        "model": asked.model, "choices": choices, "usage": usage(reply),
        "service_tier": "default", "system_fingerprint": "fp_simulated",
    })
}

pub(crate) fn frames(asked: &Asked, reply: &Reply) -> Vec<Frame> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", reply.id), "object": "chat.completion.chunk", "created": CREATED,
            "model": asked.model, "service_tier": "default", "system_fingerprint": "fp_simulated", "choices": choices,
        });
        if asked.shows_usage {
            set(&mut chunk, "usage", usage);
        }
        chunk
    };
    let mut all = Vec::new();
    for (index, said) in reply.said.iter().enumerate() {
        let event = |kind, delta: Value, finish: Option<&str>| {
            let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
            Frame::data(kind, &chunk(json!([choice]), Value::Null))
        };
        let content = if said.calls.is_empty() { json!("") } else { Value::Null };
        all.push(event(FrameKind::Prelude, json!({"role": "assistant", "content": content, "refusal": null}), None));
        if !asked.hides_reasoning {
            all.extend(reply.reasoning.iter().map(|piece| {
                event(FrameKind::Reasoning, json!({"reasoning_content": piece.text}), None).saying(0, piece.tokens)
            }));
        }
        all.extend(said.text.iter().map(|piece| {
            let event = event(FrameKind::Text, json!({"content": piece.text}), None);
            event.saying(piece.text.len(), piece.tokens)
        }));
        for (place, call) in said.calls.iter().enumerate() {
            let start = json!({
                "index": place, "id": format!("call_{}", call.id), "type": "function",
                "function": {"name": call.name, "arguments": ""},
            });
            let start = event(FrameKind::ToolStart, json!({"tool_calls": [start]}), None);
            all.push(start.saying(0, Call::HEAD));
            for piece in &call.fragments {
                let more = json!({"index": place, "function": {"arguments": piece.text}});
                let more = event(FrameKind::ToolArguments, json!({"tool_calls": [more]}), None);
                all.push(more.saying(0, piece.tokens));
            }
        }
        let hidden = if asked.hides_reasoning { reply.reasoning_tokens() } else { 0 };
        all.push(event(FrameKind::Finish, json!({}), Some(finish(said))).saying(0, u32::try_from(hidden).unwrap_or(0)));
    }
    if asked.shows_usage {
        all.push(Frame::data(FrameKind::Tail, &chunk(json!([]), usage(reply))));
    }
    all.push(Frame::new(FrameKind::Tail, Bytes::from_static(b"data: [DONE]\n\n")));
    all
}

fn set(value: &mut Value, key: &str, new: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), new);
    }
}
