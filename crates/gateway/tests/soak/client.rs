//! How a caller reads an answer: its text and how it ended, with nothing of the gateway's own codecs.

use canon::DialectName;
use serde_json::Value;

/// What an answer said and how it ended, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) text: String,
    pub(crate) is_whole: bool,
    pub(crate) is_error: bool,
}

/// Reads a streamed body.
pub(crate) fn stream(dialect: DialectName, body: &str) -> Seen {
    let mut seen = Seen::default();
    let body = body.replace("\r\n", "\n");
    // What is behind the last blank line is no event yet.
    let whole = body.rfind("\n\n").map_or("", |end| &body[..end]);
    for event in whole.split("\n\n") {
        let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect();
        let data = data.join("\n");
        if data == "[DONE]" {
            seen.is_whole = dialect == DialectName::OpenaiChat;
        } else if let Ok(value) = serde_json::from_str(&data) {
            event_of(dialect, &value, &mut seen);
        }
    }
    seen
}

/// Reads a stream that is one JSON array.
pub(crate) fn array(body: &str) -> Seen {
    let mut seen = Seen::default();
    if let Ok(Value::Array(events)) = serde_json::from_str(body) {
        for event in &events {
            event_of(DialectName::Gemini, event, &mut seen);
        }
        return seen;
    }
    let mut rest = body.trim_start_matches('[');
    loop {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { break };
        event_of(DialectName::Gemini, &value, &mut seen);
        rest = rest[values.byte_offset()..].trim_start_matches([',', '\r', '\n', ' ']);
    }
    // The array was never closed.
    seen.is_whole = false;
    seen
}

/// Reads a body that is not streamed.
pub(crate) fn whole(dialect: DialectName, body: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return seen };
    let text = match dialect {
        DialectName::OpenaiChat => value["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(),
        DialectName::AnthropicMessages => parts(&value["content"]),
        DialectName::Gemini => parts(&value["candidates"][0]["content"]["parts"]),
    };
    seen.text = text;
    seen.is_whole = true;
    seen
}

fn event_of(dialect: DialectName, value: &Value, seen: &mut Seen) {
    seen.is_error |= value.get("error").is_some_and(|error| !error.is_null());
    match dialect {
        DialectName::OpenaiChat => {
            for choice in value["choices"].as_array().into_iter().flatten().filter(|choice| choice["index"] == 0) {
                seen.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            }
        }
        DialectName::AnthropicMessages => {
            if value["delta"]["type"] == "text_delta" {
                seen.text.push_str(value["delta"]["text"].as_str().unwrap_or_default());
            }
            seen.is_whole |= value["type"] == "message_stop";
        }
        DialectName::Gemini => {
            seen.text.push_str(&parts(&value["candidates"][0]["content"]["parts"]));
            seen.is_whole |= value["candidates"][0]["finishReason"].is_string()
                || value["promptFeedback"]["blockReason"].is_string();
        }
    }
}

fn parts(parts: &Value) -> String {
    let parts = parts.as_array().into_iter().flatten().filter(|part| part["thought"] != true);
    parts.filter_map(|part| part["text"].as_str()).collect()
}
