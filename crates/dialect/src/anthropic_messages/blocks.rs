//! Writes the parts of a request's turns as content blocks. Tool calls and results, whose ids depend on the turns
//! around them, are `history`'s.

use super::overlay::Overlay;
use super::{DIALECT, citation};
use crate::Inexpressible;
use crate::profile::{Profile, Thinking};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{CacheHint, Citation, DialectName, Document, Drops, Media, MediaSource, Part, Reasoning, Request, Role};
use serde_json::{Map, Value, json};

/// What every step of writing one request needs.
pub(super) struct Context<'a> {
    /// The request.
    pub(super) request: &'a Request,
    /// The target.
    pub(super) profile: &'a Profile,
    /// The report.
    pub(super) drops: &'a mut Drops,
    /// Kept fields of a request of this dialect.
    pub(super) overlay: Overlay<'a>,
}

/// Where a block is to stand: each place takes other blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Top-level instructions.
    System,
    /// A user turn.
    User,
    /// An assistant turn.
    Assistant,
    /// The content of a tool result.
    ToolResult,
}

impl Context<'_> {
    /// Whether the caller speaks this dialect too.
    pub(super) fn same_dialect(&self) -> bool {
        self.request.extra_dialect == Some(DIALECT)
    }

    /// Where the parts of a message stood in the caller's body, in the caller's words.
    pub(super) fn place_of(&self, message: usize) -> String {
        let leads_with_system = self.request.messages.first().is_some_and(|first| first.role == Role::System);
        match self.request.extra_dialect {
            Some(DialectName::AnthropicMessages) if leads_with_system && message == 0 => "system".to_owned(),
            Some(DialectName::AnthropicMessages) if leads_with_system => format!("messages[{}].content", message - 1),
            Some(DialectName::Gemini) if leads_with_system && message == 0 => "systemInstruction.parts".to_owned(),
            Some(DialectName::Gemini) if leads_with_system => format!("contents[{}].parts", message - 1),
            Some(DialectName::Gemini) => format!("contents[{message}].parts"),
            Some(DialectName::AnthropicMessages | DialectName::OpenaiChat) | None => {
                format!("messages[{message}].content")
            }
        }
    }

    /// One part as a block; `None` = it is left out (reported where that is a loss).
    pub(super) fn block(&mut self, part: &Part, path: &str, place: Place) -> Result<Option<Value>, Inexpressible> {
        let inexpressible = |reason| Err(Inexpressible { path: path.to_owned(), reason });
        let mut map = match part {
            Part::Text { text, citations, cache, signature } => {
                if signature.as_ref().is_some_and(|signature| signature.dialect != DIALECT) {
                    self.drops.add(format!("{path}.thoughtSignature"), "only its own vendor can read it");
                }
                match self.text(text, citations, path, place) {
                    Some(map) => with_cache(map, cache.as_ref()),
                    None => return Ok(None),
                }
            }
            Part::Refusal(text) => match self.text(text, &[], path, place) {
                Some(map) => map,
                None => return Ok(None),
            },
            Part::Image(media) if place == Place::User || place == Place::ToolResult => self.image(media, path)?,
            Part::Document(document) if place == Place::User || place == Place::ToolResult => {
                self.document(document, path)?
            }
            Part::Image(_) | Part::Document(_) => {
                self.drops.add(path, "anthropic-messages takes pictures and documents in user turns only");
                return Ok(None);
            }
            Part::Audio(_) => return inexpressible("anthropic-messages takes no audio"),
            Part::Video(_) => return inexpressible("anthropic-messages takes no video"),
            Part::Reasoning(reasoning) => match self.thinking(reasoning, path, place) {
                Some(map) => map,
                None => return Ok(None),
            },
            Part::Opaque { dialect: DIALECT, value } => return Ok(Some(value.clone())),
            Part::Opaque { .. } => {
                self.drops.add(path, "only its own vendor can read it");
                return Ok(None);
            }
            // `history` takes these before it asks for a block.
            Part::ToolCall(_) | Part::ToolResult(_) => return Ok(None),
        };
        self.overlay.restore(path, &mut map);
        Ok(Some(Value::Object(map)))
    }

    /// A text block; empty and whitespace-only ones are a 400.
    fn text(&mut self, text: &str, citations: &[Citation], path: &str, place: Place) -> Option<Map<String, Value>> {
        if text.trim().is_empty() {
            return None;
        }
        let mut map = object(json!({ "type": "text", "text": text }));
        if !citations.is_empty() {
            let native: Vec<Value> = citations
                .iter()
                .filter(|citation| matches!(&citation.native, Some((DIALECT, _))))
                .filter_map(citation::write)
                .collect();
            if native.len() < citations.len() || place != Place::Assistant {
                self.drops.add(format!("{path}.citations"), "a history takes Claude's own citations only");
            }
            if !native.is_empty() && place == Place::Assistant {
                map.insert("citations".to_owned(), Value::Array(native));
            }
        }
        Some(map)
    }

    /// A thinking block, if Anthropic signed it: any other signature is a 400.
    fn thinking(&mut self, reasoning: &Reasoning, path: &str, place: Place) -> Option<Map<String, Value>> {
        let own = |bound: &Option<canon::ProviderBound>| {
            bound.as_ref().filter(|bound| bound.dialect == DIALECT).map(|bound| bound.value.clone())
        };
        if place != Place::Assistant {
            self.drops.add(path, "thinking stands in assistant turns only");
            return None;
        }
        if self.profile.thinking == Thinking::Unsupported {
            self.drops.add(path, "the model does not think");
            return None;
        }
        if let Some(data) = own(&reasoning.redacted) {
            return Some(object(json!({ "type": "redacted_thinking", "data": data })));
        }
        if let Some(signature) = own(&reasoning.signature) {
            return Some(object(json!({ "type": "thinking", "thinking": reasoning.text, "signature": signature })));
        }
        self.drops.add(path, "Claude takes back only thinking that Anthropic signed");
        None
    }

    fn image(&mut self, media: &Media, path: &str) -> Result<Map<String, Value>, Inexpressible> {
        let inexpressible = |reason| Err(Inexpressible { path: path.to_owned(), reason });
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.drops.add(format!("{path}.detail"), "anthropic-messages has no such field");
        }
        let (media_type, source) = split_data_url(media.media_type.as_deref(), &media.source);
        let source = match source {
            Source::Base64(data) => match media_type.or_else(|| picture_type(data)) {
                Some(kind @ ("image/jpeg" | "image/png" | "image/gif" | "image/webp")) => {
                    json!({ "type": "base64", "media_type": kind, "data": data })
                }
                Some("image/jpg") => json!({ "type": "base64", "media_type": "image/jpeg", "data": data }),
                _ => return inexpressible("anthropic-messages takes JPEG, PNG, GIF and WebP pictures only"),
            },
            Source::Url(url) => json!({ "type": "url", "url": self.web_address(url, path)? }),
            Source::File(id) => json!({ "type": "file", "file_id": id }),
            Source::Foreign => return inexpressible("the file is stored at another vendor"),
        };
        Ok(with_cache(object(json!({ "type": "image", "source": source })), media.cache.as_ref()))
    }

    fn document(&mut self, document: &Document, path: &str) -> Result<Map<String, Value>, Inexpressible> {
        let inexpressible = |reason| Err(Inexpressible { path: path.to_owned(), reason });
        let (media_type, source) = split_data_url(document.media_type.as_deref(), &document.source);
        let source = match source {
            Source::Base64(data) => match media_type {
                Some("application/pdf") => {
                    json!({ "type": "base64", "media_type": "application/pdf", "data": data })
                }
                Some(kind) if is_text(kind) => match STANDARD.decode(data).map(String::from_utf8) {
                    Ok(Ok(text)) => json!({ "type": "text", "media_type": "text/plain", "data": text }),
                    _ => return inexpressible("a text document must be base64 of UTF-8"),
                },
                None if data.starts_with("JVBERi") => {
                    json!({ "type": "base64", "media_type": "application/pdf", "data": data })
                }
                _ => return inexpressible("anthropic-messages takes PDF and text documents only"),
            },
            Source::Url(url) => json!({ "type": "url", "url": self.web_address(url, path)? }),
            Source::File(id) => json!({ "type": "file", "file_id": id }),
            Source::Foreign => return inexpressible("the file is stored at another vendor"),
        };
        let mut map = object(json!({ "type": "document", "source": source }));
        if let Some(title) = &document.title {
            map.insert("title".to_owned(), title.as_str().into());
        }
        if let Some(context) = &document.context {
            map.insert("context".to_owned(), context.as_str().into());
        }
        if let Some(cite) = document.cite {
            map.insert("citations".to_owned(), json!({ "enabled": cite }));
        }
        Ok(with_cache(map, document.cache.as_ref()))
    }

    fn web_address<'u>(&self, url: &'u str, path: &str) -> Result<&'u str, Inexpressible> {
        let reason = if self.profile.images_inline_only {
            "the target takes media inside the request only"
        } else if url.starts_with("http://") || url.starts_with("https://") {
            return Ok(url);
        } else {
            "anthropic-messages fetches http and https addresses only"
        };
        Err(Inexpressible { path: path.to_owned(), reason })
    }
}

/// A media source with data URLs taken apart.
enum Source<'a> {
    Base64(&'a str),
    Url(&'a str),
    File(&'a str),
    Foreign,
}

fn split_data_url<'a>(media_type: Option<&'a str>, source: &'a MediaSource) -> (Option<&'a str>, Source<'a>) {
    match source {
        MediaSource::Base64(data) => (media_type, Source::Base64(data)),
        MediaSource::Url(url) => match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((kind, data)) => (Some(kind).filter(|kind| !kind.is_empty()).or(media_type), Source::Base64(data)),
            None => (media_type, Source::Url(url)),
        },
        MediaSource::FileId(DIALECT, id) => (media_type, Source::File(id)),
        MediaSource::FileId(..) => (media_type, Source::Foreign),
    }
}

/// The type of a picture by the first bytes of its base64.
fn picture_type(base64: &str) -> Option<&'static str> {
    let signatures =
        [("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    signatures.iter().find(|(head, _)| base64.starts_with(head)).map(|(_, kind)| *kind)
}

/// Media types whose bytes are text the model can read as they are.
fn is_text(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/")
        || matches!(kind, "application/json" | "application/xml" | "application/yaml" | "application/x-yaml")
}

/// The map of a `json!` object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Adds `cache_control`.
pub(super) fn with_cache(mut map: Map<String, Value>, cache: Option<&CacheHint>) -> Map<String, Value> {
    if let Some(hint) = cache {
        map.insert("cache_control".to_owned(), hint.value.clone());
    }
    map
}
