//! What a caller reads out of an answer, in each dialect, without the codecs under test.

use canon::DialectName;
use serde_json::Value;

/// An answer as its reader sees it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) text: String,
    /// Name and arguments of tool calls; the arguments as they came, whole or not.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) model: String,
    /// Tokens of input and output, where both are told.
    pub(crate) usage: Option<(u64, u64)>,
    /// Finish reasons, in the dialect's words.
    pub(crate) finishes: Vec<String>,
    /// Gemini's word for a prompt it refuses.
    pub(crate) block: Option<String>,
    /// `[DONE]`, `message_stop`; in Gemini's streams a finish reason.
    pub(crate) terminators: usize,
    /// Error objects.
    pub(crate) errors: Vec<ErrorSeen>,
    /// Events after the first error.
    pub(crate) after_error: usize,
    /// What the dialect has no place for.
    pub(crate) oddities: Vec<String>,
}

/// An error object, in the shape its dialect has.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct ErrorSeen {
    pub(crate) message: String,
    /// `metadata.fault`.
    pub(crate) fault: String,
    /// `metadata.attempts`, counted.
    pub(crate) attempts: usize,
}

/// Reads an answer that is not streamed.
pub(crate) fn whole(dialect: DialectName, body: &[u8]) -> Seen {
    let mut seen = Seen::default();
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            if !seen.error(dialect, &value) {
                match dialect {
                    DialectName::OpenaiChat => seen.openai(&value, "message"),
                    DialectName::AnthropicMessages => seen.anthropic_message(&value),
                    DialectName::Gemini => seen.gemini(&value),
                }
            }
        }
        Err(error) => seen.oddities.push(format!("the body is no JSON: {error}")),
    }
    seen
}

/// Reads Gemini's stream that is one JSON array.
pub(crate) fn array(body: &[u8]) -> Seen {
    let mut seen = Seen::default();
    match serde_json::from_slice::<Vec<Value>>(body) {
        Ok(elements) => {
            for element in elements {
                seen.after_error += usize::from(!seen.errors.is_empty());
                seen.event(DialectName::Gemini, None, &element.to_string());
            }
        }
        Err(error) => seen.oddities.push(format!("the stream is no JSON array: {error}")),
    }
    seen
}

/// Reads a stream of events.
pub(crate) fn stream(dialect: DialectName, body: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let Ok(text) = std::str::from_utf8(body) else {
        seen.oddities.push("the stream is no UTF-8".to_owned());
        return seen;
    };
    let text = text.replace("\r\n", "\n");
    if !text.ends_with("\n\n") {
        seen.oddities.push("the stream ends within an event".to_owned());
    }
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        seen.after_error += usize::from(!seen.errors.is_empty());
        let mut name = None;
        let mut data = String::new();
        for line in event.lines() {
            if let Some(value) = line.strip_prefix("event: ") {
                name = Some(value);
            } else if let Some(value) = line.strip_prefix("data: ") {
                data.push_str(value);
            } else {
                seen.oddities.push(format!("the line {line:?}"));
            }
        }
        seen.event(dialect, name, &data);
    }
    seen
}

impl Seen {
    fn event(&mut self, dialect: DialectName, name: Option<&str>, data: &str) {
        if dialect == DialectName::OpenaiChat && data == "[DONE]" {
            self.terminators += 1;
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            self.oddities.push(format!("the event {:?}", data.chars().take(80).collect::<String>()));
            return;
        };
        if self.error(dialect, &value) {
            if dialect == DialectName::AnthropicMessages && name != Some("error") {
                self.oddities.push(format!("an error in the event {name:?}"));
            }
            return;
        }
        match dialect {
            DialectName::OpenaiChat => self.openai(&value, "delta"),
            DialectName::AnthropicMessages => {
                if name != value["type"].as_str() {
                    self.oddities.push(format!("{} in the event {name:?}", value["type"]));
                }
                self.anthropic_event(&value);
            }
            DialectName::Gemini => {
                let before = self.finishes.len();
                self.gemini(&value);
                self.terminators += self.finishes.len() - before;
            }
        }
    }

    fn error(&mut self, dialect: DialectName, value: &Value) -> bool {
        let error = &value["error"];
        if !error.is_object() {
            return false;
        }
        let is_shaped = error["message"].is_string()
            && match dialect {
                DialectName::OpenaiChat => error["type"].is_string() && error["code"].is_string(),
                DialectName::AnthropicMessages => value["type"] == "error" && error["type"].is_string(),
                DialectName::Gemini => error["code"].is_u64() && error["status"].is_string(),
            };
        if !is_shaped {
            self.oddities.push(format!("an error that is not {dialect}'s: {value}"));
        }
        self.errors.push(ErrorSeen {
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            fault: error["metadata"]["fault"].as_str().unwrap_or_default().to_owned(),
            attempts: error["metadata"]["attempts"].as_array().map_or(0, Vec::len),
        });
        true
    }

    fn model(&mut self, value: &Value) {
        if let Some(model) = value.as_str() {
            if !self.model.is_empty() && self.model != model {
                self.oddities.push(format!("the model {model} after {}", self.model));
            }
            model.clone_into(&mut self.model);
        }
    }

    fn usage(&mut self, input: &Value, output: &Value) {
        if let (Some(input), Some(output)) = (input.as_u64(), output.as_u64()) {
            self.usage = Some((input, output));
        }
    }

    fn openai(&mut self, value: &Value, place: &str) {
        self.model(&value["model"]);
        self.usage(&value["usage"]["prompt_tokens"], &value["usage"]["completion_tokens"]);
        for choice in value["choices"].as_array().into_iter().flatten() {
            let said = &choice[place];
            self.text.push_str(said["content"].as_str().unwrap_or_default());
            for (position, call) in said["tool_calls"].as_array().into_iter().flatten().enumerate() {
                let index = call["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(position);
                let function = &call["function"];
                self.call(index, function["name"].as_str(), function["arguments"].as_str().unwrap_or_default());
            }
            self.finishes.extend(choice["finish_reason"].as_str().map(str::to_owned));
        }
    }

    fn call(&mut self, index: usize, name: Option<&str>, arguments: &str) {
        if self.calls.len() <= index {
            self.calls.resize(index + 1, Default::default());
        }
        let call = &mut self.calls[index];
        call.0.push_str(name.unwrap_or_default());
        call.1.push_str(arguments);
    }

    fn anthropic_message(&mut self, value: &Value) {
        self.model(&value["model"]);
        self.usage(&value["usage"]["input_tokens"], &value["usage"]["output_tokens"]);
        for block in value["content"].as_array().into_iter().flatten() {
            self.text.push_str(block["text"].as_str().unwrap_or_default());
            if block["type"] == "tool_use" {
                let index = self.calls.len();
                self.call(index, block["name"].as_str(), &block["input"].to_string());
            }
        }
        self.finishes.extend(value["stop_reason"].as_str().map(str::to_owned));
    }

    fn anthropic_event(&mut self, value: &Value) {
        match value["type"].as_str().unwrap_or_default() {
            "message_start" => self.model(&value["message"]["model"]),
            "content_block_start" if value["content_block"]["type"] == "tool_use" => {
                let index = self.calls.len();
                self.call(index, value["content_block"]["name"].as_str(), "");
            }
            "content_block_delta" => {
                let delta = &value["delta"];
                self.text.push_str(delta["text"].as_str().unwrap_or_default());
                if let Some(more) = delta["partial_json"].as_str() {
                    self.call(self.calls.len().saturating_sub(1), None, more);
                }
            }
            "message_delta" => {
                self.finishes.extend(value["delta"]["stop_reason"].as_str().map(str::to_owned));
                // The input is told at the start and need not be repeated.
                self.usage(&Value::from(1_u64), &value["usage"]["output_tokens"]);
            }
            "message_stop" => self.terminators += 1,
            _ => {}
        }
    }

    fn gemini(&mut self, value: &Value) {
        self.model(&value["modelVersion"]);
        self.usage(&value["usageMetadata"]["promptTokenCount"], &value["usageMetadata"]["candidatesTokenCount"]);
        if let Some(reason) = value["promptFeedback"]["blockReason"].as_str() {
            self.block = Some(reason.to_owned());
        }
        for candidate in value["candidates"].as_array().into_iter().flatten() {
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                self.text.push_str(part["text"].as_str().unwrap_or_default());
                if part["functionCall"].is_object() {
                    let index = self.calls.len();
                    self.call(index, part["functionCall"]["name"].as_str(), &part["functionCall"]["args"].to_string());
                }
            }
            self.finishes.extend(candidate["finishReason"].as_str().map(str::to_owned));
        }
    }
}
