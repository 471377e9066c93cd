//! A whole answer for a caller of this dialect.

use super::answer_decode::KEPT;
use super::message_decode::message_fields;
use super::{citation, finish, ids, media, reasoning, tool_encode, usage};
use bytes::Bytes;
use canon::{Answer, Candidate, Citation, DialectName, Drops, FinishReason, MediaSource, Part, PromptBlock, Reasoning};
use serde_json::{Map, Value, json};

/// Writes an answer. `created` is 0 where nobody stated a time.
pub(super) fn encode(answer: &Answer, drops: &mut Drops) -> Bytes {
    let mut choices: Vec<Value> =
        answer.candidates.iter().map(|candidate| choice(candidate, answer.id.as_deref(), drops)).collect();
    if let (true, Some(block)) = (choices.is_empty(), &answer.prompt_block) {
        let message = json!({"role": "assistant", "content": null, "refusal": block_text(block)});
        choices.push(json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "content_filter"}));
    }
    let model = answer.model.as_deref().unwrap_or_default();
    let made_up = || format!("chatcmpl-{:016x}", ids::hash(&[model, &Value::Array(choices.clone()).to_string()]));
    let mut body = Map::new();
    body.insert("id".to_owned(), Value::String(answer.id.clone().unwrap_or_else(made_up)));
    body.insert("object".to_owned(), json!("chat.completion"));
    body.insert("created".to_owned(), json!(answer.created.unwrap_or(0)));
    body.insert("model".to_owned(), json!(model));
    body.insert("choices".to_owned(), Value::Array(choices));
    if !answer.usage.is_empty() {
        body.insert("usage".to_owned(), usage::encode(&answer.usage));
    }
    put_extra(&mut body, &answer.extra, drops);
    Bytes::from(Value::Object(body).to_string())
}

/// Service tiers `OpenAI` and the compatible providers name. Typed readers refuse another vendor's.
const TIERS: [&str; 8] = ["auto", "default", "flex", "scale", "priority", "fast", "on_demand", "performance"];

/// Adds the provider's fields that this dialect has too.
pub(super) fn put_extra(body: &mut Map<String, Value>, extra: &[(String, Value)], drops: &mut Drops) {
    for (key, value) in extra {
        let foreign_tier = key == "service_tier" && value.as_str().is_none_or(|tier| !TIERS.contains(&tier));
        if foreign_tier || !KEPT.contains(&key.as_str()) {
            drops.add(key.as_str(), "openai-chat has no such field or value");
        } else {
            body.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// What a caller reads when the prompt itself was blocked.
pub(super) fn block_text(block: &PromptBlock) -> String {
    block.message.clone().unwrap_or_else(|| format!("The provider blocked the prompt: {}.", block.reason))
}

/// The message of one choice, while its parts are read.
#[derive(Default)]
struct Message {
    /// The output ended at a limit.
    cut: bool,
    text: String,
    refusal: String,
    reasoning: String,
    details: Vec<Value>,
    calls: Vec<Value>,
    annotations: Vec<Value>,
    images: Vec<Value>,
    more: Map<String, Value>,
}

fn choice(candidate: &Candidate, answer_id: Option<&str>, drops: &mut Drops) -> Value {
    let path = format!("choices[{}]", candidate.index);
    let cut = matches!(candidate.finish, Some(FinishReason::Length | FinishReason::ContextFull));
    let mut message = Message { cut, ..Message::default() };
    for (j, part) in candidate.parts.iter().enumerate() {
        message.add(part, &format!("{path}.content[{j}]"), (answer_id, candidate.index), drops);
    }
    message.cite(&candidate.citations, 0, &path, drops);
    if !candidate.safety.is_empty() {
        drops.add(format!("{path}.safety"), "openai-chat has no safety ratings");
    }
    let refused = !message.refusal.is_empty();
    let reason = candidate.finish.map(|reason| finish::encode(reason, candidate.native_finish.as_deref(), refused));
    let mut choice = Map::new();
    choice.insert("index".to_owned(), json!(candidate.index));
    choice.insert("message".to_owned(), message.finish(candidate.finish));
    choice.insert("logprobs".to_owned(), candidate.logprobs.clone().unwrap_or(Value::Null));
    choice.insert("finish_reason".to_owned(), json!(reason));
    if let Some(sequence) = &candidate.stop_sequence {
        choice.insert("stop_reason".to_owned(), json!(sequence));
    }
    Value::Object(choice)
}

impl Message {
    fn add(&mut self, part: &Part, path: &str, (answer_id, index): (Option<&str>, u32), drops: &mut Drops) {
        match part {
            Part::Text { text, citations, .. } => {
                let start = chars(&self.text);
                self.text.push_str(text);
                self.cite(citations, start, path, drops);
            }
            Part::Refusal(text) => self.refusal.push_str(text),
            Part::Reasoning(thought) => self.think(thought, path, drops),
            Part::ToolCall(call) => {
                let made_up = || {
                    let count = self.calls.len().to_string();
                    ids::call_id(&[answer_id.unwrap_or_default(), &index.to_string(), &count])
                };
                let id = call.id.clone().unwrap_or_else(made_up);
                // Readers parse arguments, so a call without any takes an empty object, unless its output was cut off.
                let arguments = if call.arguments.is_empty() && !self.cut { "{}" } else { call.arguments.as_str() };
                self.calls.push(tool_encode::call_object(call, &id, &call.name, arguments));
            }
            Part::Image(image) => match &image.source {
                MediaSource::Base64(data) => {
                    let kind = image.media_type.as_deref().unwrap_or_else(|| media::image_type(data));
                    self.images.push(image_entry(&media::data_url(kind, data)));
                }
                MediaSource::Url(url) => self.images.push(image_entry(url)),
                MediaSource::FileId(..) => drops.add(path, "openai-chat shows no picture by file id"),
            },
            Part::Opaque { dialect: DialectName::OpenaiChat, value } => match message_fields(value) {
                Some(fields) => self.more.extend(fields.clone()),
                None => drops.add(path, "openai-chat has no such part in an answer"),
            },
            Part::Audio(_) | Part::Video(_) | Part::Document(_) | Part::ToolResult(_) | Part::Opaque { .. } => {
                drops.add(path, "openai-chat has no such part in an answer");
            }
        }
    }

    fn think(&mut self, thought: &Reasoning, path: &str, drops: &mut Drops) {
        self.reasoning.push_str(&thought.text);
        match thought.signature.as_ref().map(reasoning::details_of) {
            Some(Some(Value::Array(details))) => self.details.extend(details),
            Some(_) => drops.add(format!("{path}.signature"), "another vendor's signature"),
            None => {}
        }
        if thought.redacted.is_some() {
            drops.add(path, "encrypted thinking of another vendor");
        }
    }

    fn cite(&mut self, citations: &[Citation], start: u64, path: &str, drops: &mut Drops) {
        let range = (start, chars(&self.text));
        for found in citations {
            match citation::encode(found, range) {
                Some(annotation) => self.annotations.push(annotation),
                None => drops.add(format!("{path}.citations"), "openai-chat cites web addresses only"),
            }
        }
    }

    /// `content` is null where the message says something else instead, as `OpenAI` writes it.
    fn finish(self, reason: Option<FinishReason>) -> Value {
        let other = !self.calls.is_empty() || !self.refusal.is_empty() || reason == Some(FinishReason::ContentFilter);
        let content = if self.text.is_empty() && other { Value::Null } else { Value::String(self.text) };
        let refusal = if self.refusal.is_empty() { Value::Null } else { Value::String(self.refusal) };
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        message.insert("content".to_owned(), content);
        message.insert("refusal".to_owned(), refusal);
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".to_owned(), Value::String(self.reasoning));
        }
        let lists = [
            ("reasoning_details", self.details),
            ("tool_calls", self.calls),
            ("annotations", self.annotations),
            ("images", self.images),
        ];
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            message.insert(key.to_owned(), Value::Array(list));
        }
        message.extend(self.more);
        Value::Object(message)
    }
}

/// A picture as `OpenRouter` shows it.
pub(super) fn image_entry(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn chars(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}
