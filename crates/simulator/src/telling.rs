//! What a provider writes into a history of one attempt: it reads its own bytes once more as they leave.
//!
//! The text, the end and the stated tokens are taken from the wire, after every fault has struck, so that they are what
//! was sent and not what was meant.

use crate::journal::Ended;
use crate::sniff::next_event;
use crate::steps::Chunk;
use bytes::BytesMut;
use canon::DialectName;
use history::{ATTEMPT_HEADER, ProviderEnd, Recorder, SimulatorPen, Tokens, parse_attempt_tag};
use http::HeaderMap;
use serde_json::Value;
use std::sync::Arc;

/// Follows one attempt from its head to its end.
pub(crate) struct Telling {
    pen: SimulatorPen,
    dialect: DialectName,
    form: Form,
    unread: BytesMut,
    /// Tokens that the provider named on the wire.
    stated: Tokens,
    /// Tokens that a model worked on.
    worked: Tokens,
    finished: bool,
}

/// How the answer's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// There is no answer yet.
    None,
    /// Not at all: it is compressed.
    Opaque,
    /// Events.
    Events,
    /// One JSON object, or an array of events.
    Json,
}

impl Telling {
    /// Follows a call that carries the tag of its attempt.
    pub(crate) fn new(
        recorder: Arc<dyn Recorder>,
        headers: &HeaderMap,
        dialect: DialectName,
        name: &str,
    ) -> Option<Self> {
        let (id, attempt) = parse_attempt_tag(headers.get(ATTEMPT_HEADER)?.to_str().ok()?)?;
        let pen = SimulatorPen::asked(recorder, id, attempt, name);
        Some(Self {
            pen,
            dialect,
            form: Form::None,
            unread: BytesMut::new(),
            stated: Tokens::default(),
            worked: Tokens::default(),
            finished: false,
        })
    }

    /// An answer begins in this form.
    pub(crate) fn begins(&mut self, form: Form) {
        self.form = form;
        if form != Form::Opaque {
            self.pen.follows();
        }
    }

    /// A model reads a prompt of so many tokens.
    pub(crate) fn works(&mut self, prompt: u64) {
        self.worked.input = prompt;
    }

    /// A chunk leaves.
    pub(crate) fn sent(&mut self, chunk: &Chunk) {
        self.worked.output += u64::from(chunk.tokens);
        match self.form {
            Form::None | Form::Opaque => {}
            Form::Events => {
                self.unread.extend_from_slice(&chunk.bytes);
                while let Some(event) = next_event(&mut self.unread, false) {
                    let text = String::from_utf8_lossy(&event);
                    let data: String = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                    self.value(&data);
                }
            }
            Form::Json => {
                self.unread.extend_from_slice(&chunk.bytes);
                if self.unread.first().is_some_and(|first| b"[,".contains(first)) {
                    self.elements();
                }
            }
        }
    }

    /// The call is over.
    pub(crate) fn ended(&mut self, ended: Ended) {
        let how = match ended {
            Ended::Complete { .. } => ProviderEnd::Complete,
            Ended::Broken { .. } => ProviderEnd::Broken,
            Ended::Open | Ended::Cancelled { .. } => ProviderEnd::Cancelled,
        };
        if self.form == Form::Json {
            let rest = self.unread.split();
            self.value(&String::from_utf8_lossy(&rest));
        }
        // A failure before the first token costs nobody anything; who hangs up pays for what was begun.
        let (stated, worked) = (self.stated, self.worked);
        let is_billed = self.finished || worked.output > 0 || !stated.is_none() || how == ProviderEnd::Cancelled;
        let input = stated.input.max(worked.input);
        let cost = Tokens { input, output: stated.output.max(worked.output) };
        // What a provider names in between counts too, and is not to be read in what is compressed.
        let has_answered = how == ProviderEnd::Complete && worked.output > 0;
        let is_known = self.form != Form::Opaque || has_answered;
        self.pen.bill(is_known.then_some(if is_billed { cost } else { Tokens::default() }));
        self.pen.ended(how);
    }

    /// The whole elements of an array so far.
    fn elements(&mut self) {
        loop {
            let between = |byte: &u8| byte.is_ascii_whitespace() || b"[],".contains(byte);
            let begin = self.unread.iter().position(|byte| !between(byte)).unwrap_or(self.unread.len());
            let mut values =
                serde_json::Deserializer::from_slice(self.unread.get(begin..).unwrap_or_default()).into_iter::<Value>();
            let Some(Ok(value)) = values.next() else { return };
            let end = begin + values.byte_offset();
            // What is left begins with the comma, so that it is known for an array.
            drop(self.unread.split_to(end));
            self.read(&value);
        }
    }

    fn value(&mut self, json: &str) {
        if let Ok(value) = serde_json::from_str::<Value>(json) {
            self.read(&value);
        }
    }

    fn read(&mut self, value: &Value) {
        match self.dialect {
            DialectName::OpenaiChat => self.openai(value),
            DialectName::AnthropicMessages => self.anthropic(value),
            DialectName::Gemini => self.gemini(value),
        }
    }

    fn finish(&mut self, reason: Option<&Value>) {
        if reason.is_some_and(Value::is_string) {
            self.finished = true;
            self.pen.finish();
        }
    }

    fn openai(&mut self, value: &Value) {
        let choices = value.get("choices").and_then(Value::as_array);
        let first = choices.into_iter().flatten().find(|choice| number(choice, "/index") == 0);
        if let Some(choice) = first {
            for place in ["/delta/content", "/message/content"] {
                if let Some(text) = choice.pointer(place).and_then(Value::as_str) {
                    self.pen.sent(text);
                }
            }
            self.finish(choice.get("finish_reason"));
        }
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            let (input, output) = (number(usage, "/prompt_tokens"), number(usage, "/completion_tokens"));
            self.stated = Tokens { input, output };
        }
    }

    fn anthropic(&mut self, value: &Value) {
        match value.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => {
                self.pen.sent("");
                self.anthropic_usage(value.pointer("/message/usage"));
            }
            "content_block_delta" => {
                if let Some(text) = value.pointer("/delta/text").and_then(Value::as_str) {
                    self.pen.sent(text);
                }
            }
            "message_delta" => {
                self.finish(value.pointer("/delta/stop_reason"));
                self.anthropic_usage(value.get("usage"));
            }
            "message" => {
                self.pen.sent("");
                for text in texts(value.get("content")) {
                    self.pen.sent(text);
                }
                self.finish(value.get("stop_reason"));
                self.anthropic_usage(value.get("usage"));
            }
            _ => {}
        }
    }

    fn anthropic_usage(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let input = ["/input_tokens", "/cache_read_input_tokens", "/cache_creation_input_tokens"];
        let input: u64 = input.iter().map(|place| number(usage, place)).sum();
        self.stated = Tokens { input: input.max(self.stated.input), output: number(usage, "/output_tokens") };
    }

    fn gemini(&mut self, value: &Value) {
        let candidates = value.get("candidates").and_then(Value::as_array);
        let first = candidates.into_iter().flatten().find(|candidate| number(candidate, "/index") == 0);
        if let Some(candidate) = first {
            self.pen.sent("");
            for text in texts(candidate.pointer("/content/parts")) {
                self.pen.sent(text);
            }
            self.finish(candidate.get("finishReason"));
        }
        // A prompt that is blocked ends the answer as well.
        self.finish(value.pointer("/promptFeedback/blockReason"));
        if let Some(usage) = value.get("usageMetadata") {
            let output = number(usage, "/candidatesTokenCount") + number(usage, "/thoughtsTokenCount");
            self.stated = Tokens { input: number(usage, "/promptTokenCount"), output };
        }
    }
}

/// The texts of a list of parts, thoughts left out.
fn texts(parts: Option<&Value>) -> impl Iterator<Item = &str> {
    let parts = parts.and_then(Value::as_array).into_iter().flatten();
    parts
        .filter(|part| part.get("thought").and_then(Value::as_bool) != Some(true))
        .filter_map(|part| part.get("text").and_then(Value::as_str))
}

fn number(value: &Value, place: &str) -> u64 {
    value.pointer(place).and_then(Value::as_u64).unwrap_or(0)
}
