//! Content parts of a request, written for a target.

use super::media;
use crate::Inexpressible;
use crate::profile::Profile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{CacheHint, DialectName, Document, Drops, Media, MediaSource, Part};
use serde_json::{Map, Value, json};

/// What every step of writing a request needs.
pub(super) struct Context<'a> {
    /// What the target takes.
    pub(super) profile: &'a Profile,
    /// The report of what is lost.
    pub(super) drops: &'a mut Drops,
    /// The caller speaks this dialect itself: its own structure and its vendor fields are kept as written. Requests
    /// translated from elsewhere get the plainest form, which the most targets take.
    pub(super) own: bool,
}

impl Context<'_> {
    /// Adds `cache_control` where the caller wrote it in this dialect; reports it otherwise.
    pub(super) fn cache(&mut self, object: &mut Value, cache: Option<&CacheHint>, path: &str) {
        let Some(hint) = cache else { return };
        match object.as_object_mut() {
            Some(object) if self.own => {
                object.insert("cache_control".to_owned(), hint.value.clone());
            }
            _ => self.drops.add(format!("{path}.cache_control"), "openai-chat caches without being asked"),
        }
    }
}

/// Writes a part of a user or system message. `Ok(None)` = it was left out and reported.
pub(super) fn part(part: &Part, path: &str, context: &mut Context<'_>) -> Result<Option<Value>, Inexpressible> {
    let (mut value, cache) = match part {
        Part::Text { text, cache, citations, .. } => {
            report_citations(citations, path, context);
            (json!({"type": "text", "text": text}), cache.as_ref())
        }
        Part::Refusal(text) => (json!({"type": "refusal", "refusal": text}), None),
        Part::Image(image) => (image_part(image, path, context)?, image.cache.as_ref()),
        Part::Audio(audio) => (audio_part(audio, path, context)?, audio.cache.as_ref()),
        Part::Video(video) => (video_part(video, path, context)?, video.cache.as_ref()),
        Part::Document(document) => (document_part(document, path, context)?, document.cache.as_ref()),
        Part::Opaque { dialect: DialectName::OpenaiChat, value } => (value.clone(), None),
        Part::Opaque { .. } => {
            context.drops.add(path, "another vendor's own block");
            return Ok(None);
        }
        Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
            context.drops.add(path, "openai-chat has no such part in this role");
            return Ok(None);
        }
    };
    context.cache(&mut value, cache, path);
    Ok(Some(value))
}

/// Citations of an earlier answer cannot be sent back.
pub(super) fn report_citations(citations: &[canon::Citation], path: &str, context: &mut Context<'_>) {
    if !citations.is_empty() {
        context.drops.add(format!("{path}.citations"), "openai-chat takes no citations in the history");
    }
}

fn inexpressible(path: &str, reason: &'static str) -> Inexpressible {
    Inexpressible { path: path.to_owned(), reason }
}

fn image_part(image: &Media, path: &str, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let url = match &image.source {
        MediaSource::Base64(data) => {
            media::data_url(image.media_type.as_deref().unwrap_or_else(|| media::image_type(data)), data)
        }
        MediaSource::Url(_) if context.profile.images_inline_only => {
            return Err(inexpressible(path, "the target takes images only inside the request"));
        }
        MediaSource::Url(url) if context.own || url.starts_with("http://") || url.starts_with("https://") => {
            url.clone()
        }
        MediaSource::Url(_) => return Err(inexpressible(path, "openai-chat takes images from http addresses only")),
        MediaSource::FileId(..) => return Err(inexpressible(path, "openai-chat takes no image by file id")),
    };
    let mut link = Map::new();
    link.insert("url".to_owned(), Value::String(url));
    if let Some(detail) = &image.detail {
        link.insert("detail".to_owned(), Value::String(detail.clone()));
    }
    Ok(json!({"type": "image_url", "image_url": link}))
}

fn audio_part(audio: &Media, path: &str, context: &Context<'_>) -> Result<Value, Inexpressible> {
    let MediaSource::Base64(data) = &audio.source else {
        return match &audio.source {
            MediaSource::Url(url) if context.own => Ok(json!({"type": "input_audio", "input_audio": url})),
            _ => Err(inexpressible(path, "openai-chat takes audio only inside the request")),
        };
    };
    let Some(media_type) = audio.media_type.as_deref() else {
        return Ok(json!({"type": "input_audio", "input_audio": data}));
    };
    let own_format = || media_type.strip_prefix("audio/").filter(|_| context.own);
    let Some(format) = media::audio_format(media_type).or_else(own_format) else {
        return Err(inexpressible(path, "openai-chat takes wav and mp3 audio only"));
    };
    Ok(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
}

/// `video_url` is a compatible provider's part; only a caller who wrote it so can know that the target has it.
fn video_part(video: &Media, path: &str, context: &Context<'_>) -> Result<Value, Inexpressible> {
    if !context.own {
        return Err(inexpressible(path, "openai-chat takes no video"));
    }
    let url = match &video.source {
        MediaSource::Base64(data) => media::data_url(video.media_type.as_deref().unwrap_or("video/mp4"), data),
        MediaSource::Url(url) => url.clone(),
        MediaSource::FileId(..) => return Err(inexpressible(path, "openai-chat takes no video by file id")),
    };
    let mut link = json!({ "url": url });
    if let (Some(detail), Some(link)) = (&video.detail, link.as_object_mut()) {
        link.insert("detail".to_owned(), Value::String(detail.clone()));
    }
    Ok(json!({"type": "video_url", "video_url": link}))
}

fn document_part(document: &Document, path: &str, context: &mut Context<'_>) -> Result<Value, Inexpressible> {
    if document.cite == Some(true) {
        context.drops.add(format!("{path}.citations"), "openai-chat cannot be asked to cite a document");
    }
    match &document.source {
        MediaSource::FileId(DialectName::OpenaiChat, id) => {
            let mut file = Map::new();
            if let Some(title) = &document.title {
                file.insert("filename".to_owned(), Value::String(title.clone()));
            }
            file.insert("file_id".to_owned(), Value::String(id.clone()));
            Ok(json!({"type": "file", "file": file}))
        }
        MediaSource::FileId(..) => Err(inexpressible(path, "the file was uploaded to another vendor")),
        MediaSource::Url(url) if context.own => {
            let mut file = Map::new();
            if let Some(title) = &document.title {
                file.insert("filename".to_owned(), Value::String(title.clone()));
            }
            file.insert("file_data".to_owned(), Value::String(url.clone()));
            Ok(json!({"type": "file", "file": file}))
        }
        MediaSource::Url(_) => Err(inexpressible(path, "openai-chat takes no document by web address")),
        MediaSource::Base64(data) => Ok(inline_document(document, data, path, context)),
    }
}

/// Text documents are shown to the model as text (far more targets read that than files); others are files.
fn inline_document(document: &Document, data: &str, path: &str, context: &mut Context<'_>) -> Value {
    let media_type = document.media_type.as_deref().unwrap_or_else(|| media::file_type(document.title.as_deref()));
    if !context.own
        && media_type.starts_with("text/")
        && let Some(text) = text_document(document, data)
    {
        return json!({"type": "text", "text": text});
    }
    if !context.own && media_type.starts_with("image/") {
        return json!({"type": "image_url", "image_url": {"url": media::data_url(media_type, data)}});
    }
    if document.context.is_some() {
        context.drops.add(format!("{path}.context"), "openai-chat has no context beside a file");
    }
    let mut file = Map::new();
    match &document.title {
        Some(title) => file.insert("filename".to_owned(), Value::String(title.clone())),
        // OpenAI refuses file data without a name.
        None if !context.own => file.insert("filename".to_owned(), Value::String("document.pdf".to_owned())),
        None => None,
    };
    file.insert("file_data".to_owned(), Value::String(media::data_url(media_type, data)));
    json!({"type": "file", "file": file})
}

/// A text document as the model reads it: title, context, text. `None` = the data is not text.
pub(super) fn text_document(document: &Document, data: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
    let head = [document.title.as_deref(), document.context.as_deref()];
    let blocks: Vec<&str> = head.into_iter().flatten().chain(std::iter::once(text.as_str())).collect();
    Some(blocks.join("\n\n"))
}
