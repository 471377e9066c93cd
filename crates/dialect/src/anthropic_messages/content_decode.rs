//! Reads `system` and `messages`: turns and their content blocks.

use super::DIALECT;
use super::citation;
use super::read::{Fields, Path, missing, wrong_type, wrong_value};
use super::request_decode::cache;
use crate::BadRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{
    Document, Media, MediaSource, Message, Part, ProviderBound, Reasoning, Role, ToolCall, ToolKind, ToolResult,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What decoding gathers along the way.
#[derive(Default)]
pub(super) struct Kept {
    /// Fields with no canonical place, by path.
    pub(super) extra: Map<String, Value>,
    /// The tool each call id names, so that results know theirs.
    tools_by_call: HashMap<String, String>,
}

/// `system`: text or text blocks. An empty one is none.
pub(super) fn system(value: Value, kept: &mut Kept) -> Result<Option<Message>, BadRequest> {
    let path = Path::Root.key("system");
    let parts = match value {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![Part::text(text)],
        Value::Array(blocks) => blocks
            .into_iter()
            .enumerate()
            .map(|(index, block)| match block_type(&block) {
                Some("text") => part(block, path.index(index), kept),
                _ => {
                    Err(wrong_value(&path.index(index).key("type"), "text", block_type(&block).unwrap_or("no string")))
                }
            })
            .collect::<Result<_, _>>()?,
        other => return Err(wrong_type(&path, "a string or an array of text blocks", &other)),
    };
    Ok((!parts.is_empty()).then_some(Message { role: Role::System, parts, name: None }))
}

/// `messages`.
pub(super) fn messages(items: Vec<Value>, kept: &mut Kept) -> Result<Vec<Message>, BadRequest> {
    let list = Path::Root.key("messages");
    items.into_iter().enumerate().map(|(index, value)| message(value, list.index(index), kept)).collect()
}

fn message(value: Value, path: Path<'_>, kept: &mut Kept) -> Result<Message, BadRequest> {
    let mut fields = Fields::new(value, path)?;
    let role = match fields.required_string("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => return Err(wrong_value(&path.key("role"), "one of user, assistant, system", other)),
    };
    let content = fields.take("content");
    let place = path.key("content");
    let parts = match content {
        None => return Err(missing(&place, "a string or an array of content blocks")),
        Some(content) => content_parts(content, &place, kept)?,
    };
    fields.keep_rest(&mut kept.extra);
    Ok(Message { role, parts, name: None })
}

/// Content that may be a string or blocks.
fn content_parts(content: Value, path: &Path<'_>, kept: &mut Kept) -> Result<Vec<Part>, BadRequest> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(blocks) => {
            blocks.into_iter().enumerate().map(|(index, block)| part(block, path.index(index), kept)).collect()
        }
        other => Err(wrong_type(path, "a string or an array of content blocks", &other)),
    }
}

fn block_type(block: &Value) -> Option<&str> {
    block.get("type").and_then(Value::as_str)
}

/// One content block. A type with no canonical form is kept whole.
fn part(block: Value, path: Path<'_>, kept: &mut Kept) -> Result<Part, BadRequest> {
    let mut fields = Fields::new(block, path)?;
    let Some(kind) = fields.peek_str("type").map(str::to_owned) else {
        fields.required_string("type")?;
        return Err(missing(&path.key("type"), "the block's type"));
    };
    let part = match kind.as_str() {
        "text" => text(&mut fields)?,
        "image" => match image(&mut fields)? {
            Some(part) => part,
            None => return Ok(Part::Opaque { dialect: DIALECT, value: fields.into_value() }),
        },
        "document" => match document(&mut fields, kept)? {
            Some(part) => part,
            None => return Ok(Part::Opaque { dialect: DIALECT, value: fields.into_value() }),
        },
        "thinking" => {
            let text = fields.required_string("thinking")?;
            let signature = fields.string("signature")?.filter(|s| !s.is_empty()).map(bound);
            Part::Reasoning(Reasoning { text, signature, redacted: None })
        }
        "redacted_thinking" => {
            let redacted = Some(bound(fields.required_string("data")?));
            Part::Reasoning(Reasoning { text: String::new(), signature: None, redacted })
        }
        "tool_use" => tool_use(&mut fields, kept)?,
        "tool_result" => tool_result(&mut fields, kept)?,
        _ => return Ok(Part::Opaque { dialect: DIALECT, value: fields.into_value() }),
    };
    fields.string("type")?;
    fields.keep_rest(&mut kept.extra);
    Ok(part)
}

/// A value only Anthropic can read.
fn bound(value: String) -> ProviderBound {
    ProviderBound { dialect: DIALECT, value }
}

fn text(fields: &mut Fields<'_>) -> Result<Part, BadRequest> {
    let text = fields.required_string("text")?;
    let citations = fields.array("citations")?.unwrap_or_default();
    Ok(Part::Text {
        text,
        citations: citations.into_iter().map(|value| citation::read(value, None)).collect(),
        cache: cache(fields)?,
        signature: None,
    })
}

/// The source shared by images and documents.
fn source(fields: &mut Fields<'_>) -> Result<(Option<String>, MediaSource), BadRequest> {
    let path = fields.path();
    let place = path.key("source");
    let value = fields.take("source").ok_or_else(|| missing(&place, "an object"))?;
    let mut source = Fields::new(value, place)?;
    let kind = source.required_string("type")?;
    Ok(match kind.as_str() {
        "base64" => {
            let media_type = source.required_string("media_type")?;
            (Some(media_type), MediaSource::Base64(source.required_string("data")?))
        }
        "url" => (None, MediaSource::Url(source.required_string("url")?)),
        "file" => (None, MediaSource::FileId(DIALECT, source.required_string("file_id")?)),
        "text" => {
            let media_type = source.string("media_type")?.unwrap_or_else(|| "text/plain".to_owned());
            (Some(media_type), MediaSource::Base64(STANDARD.encode(source.required_string("data")?)))
        }
        other => return Err(wrong_value(&place.key("type"), "one of base64, url, file, text, content", other)),
    })
}

/// Whether the block's source is of a type read here, and so may be taken apart.
fn source_is_known(fields: &Fields<'_>, known: &[&str]) -> bool {
    fields.source_type().is_none_or(|kind| known.contains(&kind))
}

fn image(fields: &mut Fields<'_>) -> Result<Option<Part>, BadRequest> {
    if !source_is_known(fields, &["base64", "url", "file"]) {
        return Ok(None);
    }
    let (media_type, source) = source(fields)?;
    Ok(Some(Part::Image(Media { media_type, source, detail: None, cache: cache(fields)? })))
}

fn document(fields: &mut Fields<'_>, kept: &mut Kept) -> Result<Option<Part>, BadRequest> {
    let (media_type, source) = if fields.source_type() == Some("content") {
        content_source(fields, kept)?
    } else {
        if !source_is_known(fields, &["base64", "url", "file", "text"]) {
            return Ok(None);
        }
        source(fields)?
    };
    let path = fields.path();
    let cite = match fields.take("citations") {
        None => None,
        Some(value) => Fields::new(value, path.key("citations"))?.boolean("enabled")?,
    };
    Ok(Some(Part::Document(Document {
        media_type,
        source,
        title: fields.string("title")?,
        context: fields.string("context")?,
        cite,
        cache: cache(fields)?,
    })))
}

/// A document made of blocks. Its text is what other dialects can say; its own blocks are kept, because citations
/// count them and pictures may stand among them.
fn content_source(fields: &mut Fields<'_>, kept: &mut Kept) -> Result<(Option<String>, MediaSource), BadRequest> {
    let path = fields.path();
    let place = path.key("source");
    let value = fields.take("source").ok_or_else(|| missing(&place, "an object"))?;
    let mut source = Fields::new(value, place)?;
    let content = source.take("content").ok_or_else(|| missing(&place.key("content"), "a string or an array"))?;
    let mut text = String::new();
    match &content {
        Value::String(whole) => text.push_str(whole),
        Value::Array(blocks) => {
            for block in blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)) {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(block);
            }
        }
        other => return Err(wrong_type(&place.key("content"), "a string or an array", other)),
    }
    let mut whole = Map::new();
    whole.insert("type".to_owned(), "content".into());
    whole.insert("content".to_owned(), content);
    kept.extra.insert(place.to_string(), Value::Object(whole));
    Ok((Some("text/plain".to_owned()), MediaSource::Base64(STANDARD.encode(text))))
}

fn tool_use(fields: &mut Fields<'_>, kept: &mut Kept) -> Result<Part, BadRequest> {
    let id = fields.required_string("id")?;
    let name = fields.required_string("name")?;
    let input = fields.object("input")?.unwrap_or_default();
    // A direct call is the default; saying so is no information.
    if let Some(caller) = fields.take("caller").filter(|caller| block_type(caller) != Some("direct")) {
        kept.extra.insert(fields.path().key("caller").to_string(), caller);
    }
    kept.tools_by_call.insert(id.clone(), name.clone());
    Ok(Part::ToolCall(ToolCall {
        id: Some(id),
        name,
        arguments: Value::Object(input).to_string(),
        signature: None,
        cache: cache(fields)?,
        kind: ToolKind::Function,
    }))
}

fn tool_result(fields: &mut Fields<'_>, kept: &mut Kept) -> Result<Part, BadRequest> {
    let call_id = fields.required_string("tool_use_id")?;
    let path = fields.path();
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(content) => content_parts(content, &path.key("content"), kept)?,
    };
    Ok(Part::ToolResult(ToolResult {
        name: kept.tools_by_call.get(&call_id).cloned(),
        call_id: Some(call_id),
        parts,
        json: false,
        is_error: fields.boolean("is_error")?.unwrap_or(false),
        cache: cache(fields)?,
    }))
}

impl Fields<'_> {
    /// The type of the block's `source`, looked at without taking it.
    fn source_type(&self) -> Option<&str> {
        self.peek("source").and_then(block_type)
    }
}
