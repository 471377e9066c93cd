//! Writes `openai-chat` answers.

use crate::answer::{Finish, Reply, Said};
use crate::frame::{Frame, FrameKind};
use crate::schema::pieces;
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
            set(&mut message, "reasoning_content", reply.reasoning.concat().into());
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
        let mut push = |kind, delta: Value, finish: Option<&str>| {
            let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
            all.push(Frame::data(kind, &chunk(json!([choice]), Value::Null)));
        };
        let content = if said.calls.is_empty() { json!("") } else { Value::Null };
        push(FrameKind::Prelude, json!({"role": "assistant", "content": content, "refusal": null}), None);
        if !asked.hides_reasoning {
            for piece in &reply.reasoning {
                push(FrameKind::Reasoning, json!({"reasoning_content": piece}), None);
            }
        }
        for piece in &said.text {
            push(FrameKind::Text, json!({"content": piece}), None);
        }
        for (place, call) in said.calls.iter().enumerate() {
            let start = json!({
                "index": place, "id": format!("call_{}", call.id), "type": "function",
                "function": {"name": call.name, "arguments": ""},
            });
            push(FrameKind::ToolStart, json!({"tool_calls": [start]}), None);
            for piece in pieces(&call.arguments.to_string()) {
                let more = json!({"index": place, "function": {"arguments": piece}});
                push(FrameKind::ToolArguments, json!({"tool_calls": [more]}), None);
            }
        }
        push(FrameKind::Finish, json!({}), Some(finish(said)));
    }
    if asked.shows_usage {
        all.push(Frame::data(FrameKind::Tail, &chunk(json!([]), usage(reply))));
    }
    all.push(Frame { kind: FrameKind::Tail, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
    all
}

fn set(value: &mut Value, key: &str, new: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), new);
    }
}
