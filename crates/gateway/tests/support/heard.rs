//! What a caller reads from a stream, by its dialect's own rules and without the gateway's codecs.

use crate::support::memory::Answer;
use canon::DialectName;
use serde_json::Value;

/// An answer as an SDK would accumulate it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    /// Name and arguments of each call, in order.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) finish: Option<String>,
    /// The dialect's terminator came.
    pub(crate) terminated: bool,
    /// The error event that ended it.
    pub(crate) error: Option<Value>,
    pub(crate) ids: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) created: Vec<i64>,
    pub(crate) usage: Option<(u64, u64)>,
    /// What no stream of the dialect may do.
    pub(crate) oddities: Vec<String>,
}

impl Heard {
    /// The answer is whole.
    pub(crate) fn is_complete(&self) -> bool {
        self.finish.is_some() && self.terminated && self.error.is_none()
    }

    /// The answer is not, and says so.
    pub(crate) fn is_honest_error(&self) -> bool {
        self.error.is_some() && !self.terminated
    }
}

/// Reads a stream.
pub(crate) fn hear(dialect: DialectName, answer: &Answer) -> Heard {
    let mut heard = Heard::default();
    assert_eq!(answer.status, 200, "{}", answer.text());
    match dialect {
        DialectName::OpenaiChat => openai(answer, &mut heard),
        DialectName::AnthropicMessages => anthropic(answer, &mut heard),
        DialectName::Gemini => gemini(answer, &mut heard),
    }
    for list in [&mut heard.ids, &mut heard.models] {
        list.dedup();
    }
    heard.created.dedup();
    heard
}

fn str_of(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn openai(answer: &Answer, heard: &mut Heard) {
    let mut roles = 0;
    for data in answer.events() {
        if heard.terminated || heard.error.is_some() {
            heard.oddities.push(format!("after the end: {data}"));
        }
        if data == "[DONE]" {
            heard.terminated = true;
            continue;
        }
        let event: Value = serde_json::from_str(&data).unwrap();
        if event.get("error").is_some() {
            heard.error = Some(event["error"].clone());
            continue;
        }
        heard.ids.extend(str_of(&event["id"]));
        heard.models.extend(str_of(&event["model"]));
        heard.created.extend(event["created"].as_i64());
        if let Some(usage) = event["usage"].as_object() {
            heard.usage =
                Some((usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap()));
        }
        for choice in event["choices"].as_array().into_iter().flatten() {
            if heard.finish.is_some() {
                heard.oddities.push(format!("after the finish: {data}"));
            }
            let delta = &choice["delta"];
            roles += usize::from(delta["role"].is_string());
            heard.text.push_str(delta["content"].as_str().unwrap_or_default());
            heard.reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                if index > heard.calls.len() {
                    heard.oddities.push(format!("call {index} after {}", heard.calls.len()));
                }
                if index >= heard.calls.len() {
                    heard.calls.push((String::new(), String::new()));
                }
                let place = index.min(heard.calls.len() - 1);
                heard.calls[place].0.push_str(call["function"]["name"].as_str().unwrap_or_default());
                heard.calls[place].1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            heard.finish = heard.finish.take().or(str_of(&choice["finish_reason"]));
        }
    }
    if roles > 1 {
        heard.oddities.push(format!("{roles} chunks state the role"));
    }
}

fn anthropic(answer: &Answer, heard: &mut Heard) {
    let mut open: Option<(u64, String)> = None;
    let (mut next, mut starts) = (0, 0);
    for data in answer.events() {
        if heard.terminated || heard.error.is_some() {
            heard.oddities.push(format!("after the end: {data}"));
        }
        let event: Value = serde_json::from_str(&data).unwrap();
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap() {
            "message_start" => {
                starts += 1;
                heard.ids.extend(str_of(&event["message"]["id"]));
                heard.models.extend(str_of(&event["message"]["model"]));
            }
            "content_block_start" => {
                if open.is_some() || index != Some(next) {
                    heard.oddities.push(format!("block {index:?} begins while {open:?} is open, {next} is next"));
                }
                next += 1;
                let block = &event["content_block"];
                let kind = block["type"].as_str().unwrap().to_owned();
                if kind == "tool_use" {
                    heard.calls.push((block["name"].as_str().unwrap().to_owned(), String::new()));
                }
                heard.text.push_str(block["text"].as_str().unwrap_or_default());
                open = Some((index.unwrap(), kind));
            }
            "content_block_delta" => {
                let kind = open.as_ref().filter(|(at, _)| Some(*at) == index).map(|(_, kind)| kind.as_str());
                let delta = &event["delta"];
                match (kind, delta["type"].as_str().unwrap()) {
                    (Some("text"), "text_delta") => heard.text.push_str(delta["text"].as_str().unwrap()),
                    (Some("tool_use"), "input_json_delta") => {
                        heard.calls.last_mut().unwrap().1.push_str(delta["partial_json"].as_str().unwrap());
                    }
                    (Some("thinking"), "thinking_delta") => {
                        heard.reasoning.push_str(delta["thinking"].as_str().unwrap());
                    }
                    (Some("thinking"), "signature_delta") => {}
                    other => heard.oddities.push(format!("{other:?} in block {index:?}")),
                }
            }
            "content_block_stop" => {
                if open.take().map(|(at, _)| at) != index {
                    heard.oddities.push(format!("block {index:?} ends and is not open"));
                }
            }
            "message_delta" => {
                if heard.finish.is_some() {
                    heard.oddities.push(format!("a second finish: {data}"));
                }
                heard.finish = str_of(&event["delta"]["stop_reason"]);
                let usage = &event["usage"];
                let count = |name: &str| usage[name].as_u64().unwrap_or_default();
                heard.usage = Some((count("input_tokens"), count("output_tokens")));
            }
            "message_stop" => {
                if open.is_some() {
                    heard.oddities.push(format!("the message ends with {open:?} open"));
                }
                heard.terminated = true;
            }
            "error" => heard.error = Some(event["error"].clone()),
            "ping" | "mainstay" => {}
            other => heard.oddities.push(format!("event {other}")),
        }
    }
    if starts != 1 {
        heard.oddities.push(format!("{starts} messages begin"));
    }
}

fn gemini(answer: &Answer, heard: &mut Heard) {
    for data in answer.events() {
        let event: Value = serde_json::from_str(&data).unwrap();
        if heard.error.is_some() {
            heard.oddities.push(format!("after the end: {data}"));
        }
        if event.get("error").is_some() {
            heard.error = Some(event["error"].clone());
            continue;
        }
        heard.ids.extend(str_of(&event["responseId"]));
        heard.models.extend(str_of(&event["modelVersion"]));
        if let Some(usage) = event["usageMetadata"].as_object() {
            let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
            let output = count("candidatesTokenCount") + count("thoughtsTokenCount");
            heard.usage = Some((count("promptTokenCount"), output));
        }
        let candidate = &event["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let text = part["text"].as_str().unwrap_or_default();
            if part["thought"] == true {
                heard.reasoning.push_str(text);
            } else {
                heard.text.push_str(text);
            }
            if let Some(call) = part.get("functionCall") {
                heard.calls.push((call["name"].as_str().unwrap().to_owned(), call["args"].to_string()));
            }
        }
        if let Some(finish) = str_of(&candidate["finishReason"]) {
            if heard.finish.is_some() {
                heard.oddities.push(format!("a second finish: {data}"));
            }
            heard.finish = Some(finish);
            heard.terminated = true;
        }
    }
}
