//! What the `anthropic-messages` tests share: folding events into one answer, and the documented normal form of a
//! request.

#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test binary uses its own part of this")]

use bytes::{Bytes, BytesMut};
use canon::{
    Answer, Candidate, Citation, DialectName, Drops, Event, Message, OutputFormat, Part, Reasoning, Request, Role,
    ToolCall, ToolKind,
};
use dialect::{Malformed, StreamShape, sse};

pub const DIALECT: DialectName = DialectName::AnthropicMessages;

/// Decodes a whole stream; the flag says whether it ended with `Done`.
pub fn decode_stream(stream: &[u8]) -> (Vec<Event>, Vec<Malformed>) {
    let (frames, residue) = sse::frames(Bytes::copy_from_slice(stream));
    let mut decoder = dialect::outbound(DIALECT).stream_decoder(&dialect::profile::Profile::default());
    let (mut events, mut malformed) = (Vec::new(), Vec::new());
    for frame in &frames {
        if let Err(error) = decoder.decode(frame, &mut events) {
            malformed.push(error);
        }
    }
    decoder.end(&residue, &mut events);
    (events, malformed)
}

/// Encodes events as a stream of this dialect.
pub fn encode_stream(events: &[Event]) -> (BytesMut, Drops) {
    let shape = StreamShape {
        fallback_id: "made-up".to_owned(),
        fallback_model: "a-model".to_owned(),
        ..StreamShape::default()
    };
    let mut encoder = dialect::inbound(DIALECT).stream_encoder(shape);
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    for event in events {
        encoder.encode(event, &mut out, &mut drops);
    }
    (out, drops)
}

/// What a stream says in all, as one answer.
pub fn fold(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut first = Candidate {
        index: 0,
        parts: Vec::new(),
        finish: None,
        native_finish: None,
        stop_sequence: None,
        citations: Vec::new(),
        safety: Vec::new(),
        logprobs: None,
    };
    for event in events {
        match event {
            Event::Start { id, model, created, extra } => {
                answer.id.clone_from(id);
                answer.model.clone_from(model);
                answer.created = *created;
                answer.extra.clone_from(extra);
            }
            Event::Finish { reason, native, stop_sequence, .. } => {
                first.finish = Some(*reason);
                first.native_finish.clone_from(native);
                first.stop_sequence.clone_from(stop_sequence);
            }
            Event::Usage(usage) => answer.usage.update(usage),
            Event::PromptBlocked(block) => answer.prompt_block = Some(block.clone()),
            event => fold_content(event, &mut first.parts),
        }
    }
    answer.candidates.push(first);
    answer
}

fn fold_content(event: &Event, parts: &mut Vec<Part>) {
    match event {
        Event::Text { text, .. } => match parts.last_mut() {
            Some(Part::Text { text: held, citations, .. }) if citations.is_empty() => held.push_str(text),
            _ => parts.push(Part::text(text.clone())),
        },
        Event::Refusal { text, .. } => match parts.last_mut() {
            Some(Part::Refusal(held)) => held.push_str(text),
            _ => parts.push(Part::Refusal(text.clone())),
        },
        Event::Citation { citation, .. } => match parts.last_mut() {
            Some(Part::Text { citations, .. }) => citations.push(citation.clone()),
            _ => parts.push(Part::Text {
                text: String::new(),
                citations: vec![citation.clone()],
                cache: None,
                signature: None,
            }),
        },
        Event::Reasoning { text, signature, .. } => match parts.last_mut() {
            Some(Part::Reasoning(Reasoning { text: held, signature: slot @ None, redacted: None })) => {
                held.push_str(text);
                slot.clone_from(signature);
            }
            _ => parts.push(Part::Reasoning(Reasoning {
                text: text.clone(),
                signature: signature.clone(),
                redacted: None,
            })),
        },
        Event::RedactedReasoning { data, .. } => parts.push(Part::Reasoning(Reasoning {
            text: String::new(),
            signature: None,
            redacted: Some(data.clone()),
        })),
        Event::ToolCallStart { id, name, signature, .. } => parts.push(Part::ToolCall(ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments: String::new(),
            signature: signature.clone(),
            cache: None,
            kind: ToolKind::Function,
        })),
        Event::ToolCallDelta { call, arguments, .. } => {
            let calls = parts.iter_mut().filter_map(|part| match part {
                Part::ToolCall(call) => Some(call),
                _ => None,
            });
            let call = calls.into_iter().nth(usize::try_from(*call).unwrap()).expect("a delta of a call begun");
            call.arguments.push_str(arguments);
        }
        Event::Opaque { dialect, value, .. } => {
            parts.push(Part::Opaque { dialect: *dialect, value: value.clone() });
        }
        _ => {}
    }
}

/// The answer without what a stream cannot tell apart: neighbouring texts without citations are one text.
pub fn merge_texts(answer: &mut Answer) {
    for candidate in &mut answer.candidates {
        let mut merged: Vec<Part> = Vec::new();
        for part in candidate.parts.drain(..) {
            match (merged.last_mut(), part) {
                (
                    Some(Part::Text { text: held, citations, .. }),
                    Part::Text { text, citations: new, cache: _, signature: None },
                ) if citations.is_empty() => {
                    held.push_str(&text);
                    *citations = new;
                }
                (_, part) => merged.push(part),
            }
        }
        candidate.parts = merged;
    }
}

/// Citations compare by what they say; where in the text they stand depends on how the text was cut into blocks.
pub fn forget_spans(answer: &mut Answer) {
    for part in answer.candidates.iter_mut().flat_map(|candidate| &mut candidate.parts) {
        if let Part::Text { citations, .. } = part {
            for citation in citations {
                *citation = Citation { start: None, end: None, ..citation.clone() };
            }
        }
    }
}

/// The documented normal form: what the encoder may change without changing what is said.
pub fn normal(mut request: Request) -> Request {
    let mut instructions = Vec::new();
    let mut turns: Vec<Message> = Vec::new();
    for mut message in request.messages {
        message.parts.retain(|part| !is_blank(part));
        for part in &mut message.parts {
            normal_part(part);
        }
        match (message.role, turns.last_mut()) {
            (Role::System | Role::Developer, _) => instructions.append(&mut message.parts),
            _ if message.parts.is_empty() => {}
            (role, Some(last)) if last.role == role => last.parts.append(&mut message.parts),
            _ => turns.push(message),
        }
    }
    for turn in &mut turns {
        turn.parts.sort_by_key(|part| turn.role == Role::User && !matches!(part, Part::ToolResult(_)));
    }
    if let Some(Message { role: Role::Assistant, parts, .. }) = turns.last_mut()
        && let Some(Part::Text { text, .. }) = parts.last_mut()
    {
        text.truncate(text.trim_end().len());
    }
    if !instructions.is_empty() {
        turns.insert(0, Message { role: Role::System, parts: instructions, name: None });
    }
    request.messages = turns;
    for tool in &mut request.tools {
        tool.strict = tool.strict.filter(|strict| *strict);
        if tool.kind == ToolKind::Function && tool.parameters.is_none() {
            tool.parameters = Some(serde_json::json!({ "type": "object" }));
        }
    }
    if let OutputFormat::JsonSchema { name, description, strict, .. } = &mut request.output {
        (*name, *description, *strict) = (None, None, None);
    }
    request.stream_usage = request.stream;
    request
}

fn is_blank(part: &Part) -> bool {
    matches!(part, Part::Text { text, .. } if text.trim().is_empty())
}

fn normal_part(part: &mut Part) {
    match part {
        Part::ToolResult(result) => result.parts.retain(|part| !is_blank(part)),
        Part::ToolCall(call) => {
            let value: serde_json::Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            call.arguments = value.to_string();
        }
        _ => {}
    }
}
