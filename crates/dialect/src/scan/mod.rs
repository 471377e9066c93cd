//! The head scan: one pass over the body that validates it and records only what routing and the splice need.
//!
//! No DOM. A duplicate top-level key is an error, because a second `model` would bypass policy; keys are compared as
//! read, so an escaped spelling is the same key. What is wrong further inside than `model` and `stream` is for the
//! provider to say, as its words are the ones the caller's SDK knows.

mod anthropic_messages;
mod ask;
mod gemini;
mod json;
mod openai_chat;
mod opening;
mod tokens;
mod walk;

use crate::{BadRequest, PathFacts};
use canon::DialectName;
use std::borrow::Cow;
use std::ops::Range;

pub use ask::ask_texts;
pub(crate) use json::Cursor;
pub use opening::blank;
use walk::Walker;

/// More top-level fields than any dialect has, by far; a body with more of them is refused.
pub const MOST_FIELDS: usize = 1024;

/// What routing needs to know of a body.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; they come in any combination")]
pub struct Scan {
    /// The model asked for (from the path for Gemini).
    pub model: String,
    /// Byte range of the `model` value, quotes included; `None` where it stands in the path.
    pub model_range: Option<Range<usize>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Every top-level key with the byte ranges of key (quotes included) and value.
    pub fields: Vec<Field>,
    /// Bytes of text the model will read (strings inside messages, system, tools), as written, without media data.
    pub text_bytes: usize,
    /// Estimated prompt tokens: four bytes of ASCII a token, more for other scripts, plus a share for media.
    pub estimated_tokens: u64,
    /// Cap on output tokens, where stated.
    pub max_output_tokens: Option<u64>,
    /// Messages of the conversation, those of the assistant included.
    pub turns: u32,
    /// What is asked now: the content of the last turn of the user, as JSON; see [`ask_texts`]. A turn that gives
    /// results of tools asks nothing.
    pub ask: Option<Range<usize>>,
    /// Tools are offered.
    pub has_tools: bool,
    /// Pictures are sent, moving ones included.
    pub has_images: bool,
    /// A picture is given by its web address.
    pub has_remote_images: bool,
    /// Documents are sent.
    pub has_documents: bool,
    /// Sound is sent.
    pub has_audio: bool,
    /// JSON Schema output is asked for.
    pub has_json_schema: bool,
    /// `n`, `candidateCount`; 1 when not stated.
    pub n: u32,
    /// The caller asked for usage in the stream; always true where the dialect shows it unasked.
    pub stream_usage: bool,
    /// A message has role `developer`.
    pub has_developer_role: bool,
    /// The caller asked to see reasoning (it counts as content for the commit gate).
    pub shows_reasoning: bool,
    /// The history holds calls of tools or their results, and so their ids.
    pub has_tool_history: bool,
    /// What is asked of the model's thinking, in the dialect's own terms.
    pub thinking: ThinkingAsked,
    /// Messages a conversation begins with: instructions, and the first turn of the caller.
    pub opening_messages: usize,
    /// Turns of the model in the history.
    pub model_turns: u32,
    /// Where the things stand that a target's profile may change below the top level.
    pub places: Places,
}

/// One field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key, unescaped.
    pub key: Cow<'static, str>,
    /// The key's bytes, quotes included.
    pub key_range: Range<usize>,
    /// The value's bytes.
    pub value_range: Range<usize>,
}

/// Ways a request asks for thinking that some models of the same dialect reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one word of a request; they come in any combination")]
pub struct ThinkingAsked {
    /// Anthropic `thinking.type: enabled` (with its budget); Gemini `thinkingBudget`.
    pub budget: bool,
    /// Anthropic `thinking.type: adaptive`.
    pub adaptive: bool,
    /// Anthropic `thinking.type: disabled`.
    pub disabled: bool,
    /// Anthropic `output_config.effort`; Gemini `thinkingLevel`.
    pub effort: bool,
}

/// Byte ranges below the top level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// Values of `messages[].role` that are `"developer"`.
    pub developer_roles: Vec<Range<usize>>,
    /// Values of `messages[].role` that are `"system"`.
    pub system_roles: Vec<Range<usize>>,
    /// Values of `messages[].content` that are `null`.
    pub null_contents: Vec<Range<usize>>,
    /// `name`, `reasoning` and `reasoning_content` of messages (`openai-chat`).
    pub members: Vec<MessageMember>,
    /// Turns that call tools (`openai-chat`).
    pub tool_turns: Vec<ToolTurn>,
    /// The `stream_options` object.
    pub stream_options: Option<StreamOptions>,
    /// Members of Gemini's `generationConfig`.
    pub config_fields: Vec<Field>,
}

/// A member of a message that some targets reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMember {
    /// Which message, from 0.
    pub message: usize,
    /// Which of its members, from 0.
    pub position: usize,
    /// Its place.
    pub field: Field,
    /// Where the value of the member before it ends.
    pub previous_end: Option<usize>,
    /// Where the key of the member after it begins.
    pub next_start: Option<usize>,
}

/// An assistant turn with tool calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolTurn {
    /// Which message, from 0.
    pub message: usize,
    /// Where the value of its `tool_calls` ends: another member may be written there.
    pub end: usize,
}

/// The `stream_options` object of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// It has no members.
    pub is_empty: bool,
    /// The values of `include_usage`: one, unless the caller repeats it.
    pub include_usage: Vec<Range<usize>>,
}

/// Scans a request body of a dialect.
pub fn scan(dialect: DialectName, path: &PathFacts, body: &[u8]) -> Result<Scan, BadRequest> {
    let is_ascii = body.is_ascii();
    if !is_ascii && let Err(error) = std::str::from_utf8(body) {
        return Err(broken(body, error.valid_up_to(), "the body to be UTF-8"));
    }
    let mut walker = Walker::new(body, is_ascii);
    if walker.cursor.token() != b'{' {
        // Broken JSON is said to be broken before it is said to be no object.
        walker.cursor.skip().and_then(|()| walker.cursor.end()).map_err(|at| broken(body, at.at, at.expected))?;
        return Err(wrong_type(None, "the body", body.trim_ascii_start(), "an object"));
    }
    let member = match dialect {
        DialectName::OpenaiChat => Walker::openai_chat,
        DialectName::AnthropicMessages => Walker::anthropic_messages,
        DialectName::Gemini => Walker::gemini,
    };
    let read = walker.root(member).and_then(|()| walker.cursor.end());
    read.map_err(|at| broken(body, at.at, at.expected))?;
    let mut scan = walker.finish()?;
    finish(dialect, path, body, &mut scan)?;
    Ok(scan)
}

/// What is read from top-level fields once their places are known.
fn finish(dialect: DialectName, path: &PathFacts, body: &[u8], scan: &mut Scan) -> Result<(), BadRequest> {
    let value = |scan: &Scan, key: &str| {
        let range = scan.fields.iter().find(|field| field.key == key)?.value_range.clone();
        body.get(range)
    };
    scan.n = scan.n.max(1);
    scan.stream_usage |= dialect != DialectName::OpenaiChat;
    if dialect == DialectName::Gemini {
        scan.model = path.model.clone().ok_or_else(|| missing_model("the path names no model"))?;
        scan.stream = path.stream;
        return Ok(());
    }
    if dialect == DialectName::AnthropicMessages {
        // Claude's tokens are shorter: three and a half bytes.
        scan.estimated_tokens += scan.estimated_tokens / 7;
        scan.estimated_tokens += if scan.has_tools { tokens::ANTHROPIC_TOOLS } else { 0 };
        scan.estimated_tokens += if scan.has_json_schema { tokens::ANTHROPIC_SCHEMA } else { 0 };
    }
    scan.stream = match value(scan, "stream") {
        None | Some(b"false" | b"null") => false,
        Some(b"true") => true,
        Some(other) => return Err(wrong_type(Some("stream"), "`stream`", other, "true or false")),
    };
    let Some(model) = scan.fields.iter().find(|field| field.key == "model") else {
        return Err(missing_model("the body has no `model`, and it needs one: a string that names a model"));
    };
    let range = model.value_range.clone();
    let written = body.get(range.clone()).unwrap_or_default();
    if !written.starts_with(b"\"") {
        return Err(wrong_type(Some("model"), "`model`", written, "a string"));
    }
    scan.model = serde_json::from_slice(written)
        .map_err(|_| broken(body, range.start, "whole surrogate pairs in the name of the model"))?;
    scan.model_range = Some(range);
    Ok(())
}

fn missing_model(message: &str) -> BadRequest {
    BadRequest { code: "missing_field", message: message.to_owned(), parameter: Some("model".to_owned()) }
}

fn wrong_type(parameter: Option<&str>, name: &str, value: &[u8], expected: &str) -> BadRequest {
    let found = match value.first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    BadRequest {
        code: "invalid_type",
        message: format!("{name} is {found}, and has to be {expected}"),
        parameter: parameter.map(str::to_owned),
    }
}

/// Says where the body stops being JSON, in lines and columns (of characters) from 1.
fn broken(body: &[u8], at: usize, expected: &str) -> BadRequest {
    let before = body.get(..at).unwrap_or(body);
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = 1 + String::from_utf8_lossy(before.get(line_start..).unwrap_or_default()).chars().count();
    let found = match body.get(at) {
        None => "it ends there".to_owned(),
        Some(byte @ b' '..=b'~') => format!("found `{}`", char::from(*byte)),
        Some(byte) => format!("found the byte 0x{byte:02x}"),
    };
    BadRequest {
        code: "invalid_json",
        message: format!("the body is not JSON: line {line} column {column} (byte {at}): expected {expected}, {found}"),
        parameter: None,
    }
}
