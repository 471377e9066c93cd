//! Writes `anthropic-messages` answers.

use crate::answer::{Call, Finish, Reply, Said, joined};
use crate::frame::{Frame, FrameKind};
use crate::wire::Asked;
use serde_json::{Value, json};

/// Signatures this provider recognises as its own begin so.
pub(crate) const SIGNATURE: &str = "c2ltdWxhdGVk";

pub(crate) fn model(name: &str) -> Value {
    json!({"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"})
}

fn signature(reply: &Reply) -> String {
    format!("{SIGNATURE}{}", reply.id)
}

fn finish(said: &Said) -> (&'static str, Option<&str>) {
    match &said.finish {
        Finish::Stop => ("end_turn", None),
        Finish::Sequence(stop) => ("stop_sequence", Some(stop)),
        Finish::Length => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
    }
}

fn usage(reply: &Reply, output: u64) -> Value {
    json!({
        "input_tokens": reply.prompt_tokens - reply.cached_tokens,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": reply.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output, "service_tier": "standard",
    })
}

fn output_tokens(reply: &Reply) -> u64 {
    reply.answer_tokens() + reply.reasoning_tokens()
}

pub(crate) fn whole(asked: &Asked, reply: &Reply) -> Value {
    let mut content = Vec::new();
    if !reply.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": joined(&reply.reasoning), "signature": signature(reply)}));
    }
    let said = reply.said.first();
    if let Some(said) = said {
        if !said.text.is_empty() {
            content.push(json!({"type": "text", "text": said.whole_text()}));
        }
        content.extend(said.calls.iter().map(|call| {
            json!({"type": "tool_use", "id": format!("toolu_{}", call.id), "name": call.name, "input": call.arguments})
        }));
    }
    let (reason, sequence) = said.map_or(("end_turn", None), finish);
    json!({
        "id": format!("msg_{}", reply.id), "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": reason, "stop_sequence": sequence,
        "usage": usage(reply, output_tokens(reply)),
    })
}

pub(crate) fn frames(asked: &Asked, reply: &Reply) -> Vec<Frame> {
    let mut all = vec![Frame::named(
        FrameKind::Prelude,
        &json!({"type": "message_start", "message": {
            "id": format!("msg_{}", reply.id), "type": "message", "role": "assistant", "model": asked.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(reply, 1),
        }}),
    )];
    let mut blocks = Blocks { all: &mut all, index: 0 };
    if !reply.reasoning.is_empty() {
        blocks.open(FrameKind::Prelude, &json!({"type": "thinking", "thinking": "", "signature": ""}));
        for piece in &reply.reasoning {
            let delta = json!({"type": "thinking_delta", "thinking": piece.text});
            blocks.delta(FrameKind::Reasoning, &delta, 0, piece.tokens);
        }
        blocks.delta(FrameKind::Reasoning, &json!({"type": "signature_delta", "signature": signature(reply)}), 0, 0);
        blocks.close();
    }
    let said = reply.said.first();
    if let Some(said) = said {
        if !said.text.is_empty() {
            blocks.open(FrameKind::Prelude, &json!({"type": "text", "text": ""}));
            for piece in &said.text {
                let delta = json!({"type": "text_delta", "text": piece.text});
                blocks.delta(FrameKind::Text, &delta, piece.text.len(), piece.tokens);
            }
            blocks.close();
        }
        for call in &said.calls {
            let id = format!("toolu_{}", call.id);
            blocks.open(FrameKind::ToolStart, &json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}));
            for (place, piece) in call.fragments.iter().enumerate() {
                let delta = json!({"type": "input_json_delta", "partial_json": piece.text});
                let head = if place == 0 { Call::HEAD } else { 0 };
                blocks.delta(FrameKind::ToolArguments, &delta, 0, piece.tokens + head);
            }
            blocks.close();
        }
    }
    let (reason, sequence) = said.map_or(("end_turn", None), finish);
    all.push(Frame::named(
        FrameKind::Finish,
        &json!({
            "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": {"output_tokens": output_tokens(reply)},
        }),
    ));
    all.push(Frame::named(FrameKind::Tail, &json!({"type": "message_stop"})));
    all
}

/// Content blocks in a row, each closed before the next one.
struct Blocks<'a> {
    all: &'a mut Vec<Frame>,
    index: usize,
}

impl Blocks<'_> {
    fn open(&mut self, kind: FrameKind, block: &Value) {
        let start = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        self.all.push(Frame::named(kind, &start));
        if self.index == 0 {
            self.all.push(Frame::named(FrameKind::Other, &json!({"type": "ping"})));
        }
    }

    fn delta(&mut self, kind: FrameKind, delta: &Value, text: usize, tokens: u32) {
        let event = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        self.all.push(Frame::named(kind, &event).saying(text, tokens));
    }

    fn close(&mut self) {
        self.all.push(Frame::named(FrameKind::Other, &json!({"type": "content_block_stop", "index": self.index})));
        self.index += 1;
    }
}
