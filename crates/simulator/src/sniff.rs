//! What an event of real traffic is for: enough to let a fault strike in the right place, no more.

use crate::frame::{Frame, FrameKind};
use bytes::{Bytes, BytesMut};
use canon::DialectName;
use serde_json::Value;
use upstream::Call;

/// Takes the next whole event off the buffer, blank line included; at the end also what is left of one.
pub(crate) fn next_event(buffer: &mut BytesMut, is_end: bool) -> Option<Bytes> {
    let blank: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    let ends = blank.into_iter().filter_map(|mark| find(buffer, mark).map(|at| at + mark.len()));
    match ends.min() {
        Some(end) => Some(buffer.split_to(end).freeze()),
        None => (is_end && !buffer.is_empty()).then(|| buffer.split().freeze()),
    }
}

fn find(buffer: &[u8], mark: &[u8]) -> Option<usize> {
    buffer.windows(mark.len()).position(|window| window == mark)
}

/// The event with its meaning.
pub(crate) fn frame(dialect: DialectName, bytes: Bytes) -> Frame {
    let text = String::from_utf8_lossy(&bytes);
    let data: String = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let kind = match serde_json::from_str::<Value>(&data) {
        Ok(value) => match dialect {
            DialectName::OpenaiChat => openai(&value),
            DialectName::AnthropicMessages => anthropic(&value),
            DialectName::Gemini => gemini(&value),
        },
        Err(_) if data.trim() == "[DONE]" => FrameKind::Tail,
        Err(_) => FrameKind::Other,
    };
    Frame::new(kind, bytes)
}

fn has_text(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

fn openai(event: &Value) -> FrameKind {
    if event.pointer("/choices/0").is_none() {
        return FrameKind::Tail;
    }
    if has_text(event, "/choices/0/finish_reason") {
        FrameKind::Finish
    } else if has_text(event, "/choices/0/delta/tool_calls/0/function/arguments") {
        FrameKind::ToolArguments
    } else if event.pointer("/choices/0/delta/tool_calls/0").is_some() {
        FrameKind::ToolStart
    } else if has_text(event, "/choices/0/delta/content") {
        FrameKind::Text
    } else if has_text(event, "/choices/0/delta/reasoning_content") || has_text(event, "/choices/0/delta/reasoning") {
        FrameKind::Reasoning
    } else {
        FrameKind::Prelude
    }
}

fn anthropic(event: &Value) -> FrameKind {
    let named = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match (named("/type"), named("/delta/type"), named("/content_block/type")) {
        ("content_block_start", _, "tool_use" | "server_tool_use") => FrameKind::ToolStart,
        ("message_start" | "content_block_start", ..) => FrameKind::Prelude,
        ("content_block_delta", "text_delta", _) => FrameKind::Text,
        ("content_block_delta", "input_json_delta", _) => FrameKind::ToolArguments,
        ("content_block_delta", ..) => FrameKind::Reasoning,
        ("message_delta", ..) => FrameKind::Finish,
        ("message_stop", ..) => FrameKind::Tail,
        _ => FrameKind::Other,
    }
}

fn gemini(event: &Value) -> FrameKind {
    let part = event.pointer("/candidates/0/content/parts/0");
    if has_text(event, "/candidates/0/finishReason") {
        FrameKind::Finish
    } else if part.is_some_and(|part| part.get("functionCall").is_some()) {
        FrameKind::ToolArguments
    } else if part.is_some_and(|part| part.get("thought") == Some(&Value::Bool(true))) {
        FrameKind::Reasoning
    } else if part.is_some_and(|part| has_text(part, "/text")) {
        FrameKind::Text
    } else {
        FrameKind::Prelude
    }
}

/// The model a call names, for the words of an injected error.
pub(crate) fn model(call: &Call) -> String {
    let in_path = call.path.rsplit_once("/models/").and_then(|(_, rest)| rest.rsplit_once(':'));
    if let Some((model, _)) = in_path {
        return model.to_owned();
    }
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_off_the_buffer_whole() {
        let mut buffer = BytesMut::from("data: 1\n\ndata: 2\r\n\r\nrest");
        assert_eq!(next_event(&mut buffer, false).unwrap(), "data: 1\n\n");
        assert_eq!(next_event(&mut buffer, false).unwrap(), "data: 2\r\n\r\n");
        assert_eq!(next_event(&mut buffer, false), None);
        assert_eq!(next_event(&mut buffer, true).unwrap(), "rest");
        assert_eq!(next_event(&mut buffer, true), None);
    }
}
