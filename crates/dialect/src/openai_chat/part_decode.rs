//! Content parts of a request's messages.

use super::reader::{Fields, invalid, missing, wrong};
use super::{media, reasoning};
use crate::BadRequest;
use canon::{CacheHint, DialectName, Document, Media, MediaSource, Part, Reasoning};
use serde_json::{Value, json};

/// Reads a message's `content`: a string, or an array of parts. An empty string is no part.
pub(super) fn content(value: Value, path: &str) -> Result<Vec<Part>, BadRequest> {
    match value {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => {
            items.into_iter().enumerate().map(|(i, item)| part(item, &format!("{path}[{i}]"))).collect()
        }
        other => Err(wrong(path, &other, "a string or an array of content parts")),
    }
}

fn part(value: Value, path: &str) -> Result<Part, BadRequest> {
    // Some servers take bare strings among the parts.
    let value = match value {
        Value::String(text) => return Ok(Part::text(text)),
        other => other,
    };
    let kind = match value.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(other) if !other.is_null() => return Err(wrong(&format!("{path}.type"), other, "a string")),
        _ if value.is_object() => return Err(missing(&format!("{path}.type"), "the kind of the content part")),
        _ => return Err(wrong(path, &value, "a content part (an object with a `type`)")),
    };
    if kind == "thinking" {
        return Ok(thinking(&value));
    }
    let known = ["text", "refusal", "image_url", "input_audio", "video_url", "file", "document_url"];
    if !known.contains(&kind.as_str()) {
        return Ok(Part::Opaque { dialect: DialectName::OpenaiChat, value });
    }
    let mut fields = Fields::read(value, path)?;
    let cache = cache_hint(&mut fields);
    match kind.as_str() {
        "text" => {
            Ok(Part::Text { text: fields.required_string("text")?, citations: Vec::new(), cache, signature: None })
        }
        "refusal" => Ok(Part::Refusal(fields.required_string("refusal")?)),
        "image_url" => link(&mut fields, "image_url", cache).map(Part::Image),
        "video_url" => link(&mut fields, "video_url", cache).map(Part::Video),
        "input_audio" => audio(&mut fields, cache),
        "document_url" => {
            let (media_type, source) = media::from_url(fields.required_string("document_url")?);
            let title = fields.string("document_name")?;
            Ok(Part::Document(Document { media_type, source, title, context: None, cite: None, cache }))
        }
        _ => file(&mut fields, cache),
    }
}

/// `cache_control` as it stands; `OpenAI`'s own `prompt_cache_breakpoint` means the same.
pub(super) fn cache_hint(fields: &mut Fields) -> Option<CacheHint> {
    let breakpoint = fields.take("prompt_cache_breakpoint");
    let value = fields.take("cache_control").or_else(|| breakpoint.map(|_| json!({"type": "ephemeral"})))?;
    Some(CacheHint { value })
}

/// `image_url` and `video_url`: an object with a `url`, or (Mistral) the bare string.
fn link(fields: &mut Fields, key: &str, cache: Option<CacheHint>) -> Result<Media, BadRequest> {
    let path = fields.at(key);
    let (url, detail) = match fields.take(key) {
        None => return Err(missing(&path, "an object with a `url`")),
        Some(Value::String(url)) => (url, None),
        Some(value) => {
            let mut inner = Fields::read(value, &path)?;
            (inner.required_string("url")?, inner.string("detail")?)
        }
    };
    let (media_type, source) = media::from_url(url);
    Ok(Media { media_type, source, detail, cache })
}

/// `input_audio`: an object with `data` and `format`, or (Mistral) bare base64 or an address.
fn audio(fields: &mut Fields, cache: Option<CacheHint>) -> Result<Part, BadRequest> {
    let path = fields.at("input_audio");
    let (media_type, source) = match fields.take("input_audio") {
        None => return Err(missing(&path, "an object with `data` and `format`")),
        Some(Value::String(text)) if text.starts_with("http") || text.starts_with("data:") => media::from_url(text),
        Some(Value::String(data)) => (None, MediaSource::Base64(data)),
        Some(value) => {
            let mut inner = Fields::read(value, &path)?;
            let data = inner.required_string("data")?;
            let format = inner.string("format")?;
            match media::parse_data_url(&data) {
                Some((media_type, data)) => (media_type, MediaSource::Base64(data.to_owned())),
                None => (format.as_deref().map(media::audio_type), MediaSource::Base64(data)),
            }
        }
    };
    Ok(Part::Audio(Media { media_type, source, detail: None, cache }))
}

/// `file`: an uploaded file's id, or its data as a data URL, bare base64 or (`OpenRouter`) an address.
fn file(fields: &mut Fields, cache: Option<CacheHint>) -> Result<Part, BadRequest> {
    let mut file = fields.required_fields("file")?;
    let title = file.string("filename")?;
    let (media_type, source) = match (file.string("file_data")?, file.string("file_id")?) {
        (Some(data), _) if data.starts_with("http://") || data.starts_with("https://") => {
            (None, MediaSource::Url(data))
        }
        (Some(data), _) => {
            let (media_type, data) = match media::parse_data_url(&data) {
                Some((media_type, inner)) => (media_type, inner.to_owned()),
                None if data.starts_with("data:") => {
                    return Err(invalid(&file.at("file_data"), &data, "base64, or a data URL with base64"));
                }
                None => (None, data),
            };
            let media_type = media_type.unwrap_or_else(|| media::file_type(title.as_deref()).to_owned());
            (Some(media_type), MediaSource::Base64(data))
        }
        (None, Some(id)) => (None, MediaSource::FileId(DialectName::OpenaiChat, id)),
        (None, None) => return Err(missing(&file.at("file_data"), "`file_data` or `file_id`")),
    };
    Ok(Part::Document(Document { media_type, source, title, context: None, cite: None, cache }))
}

/// A Mistral `thinking` chunk.
fn thinking(value: &Value) -> Part {
    let text = reasoning::thinking_chunk_text(value);
    Part::Reasoning(Reasoning { text, signature: None, redacted: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: impl Into<Value>) -> Part {
        content(Value::Array(vec![value.into()]), "messages[0].content").unwrap().remove(0)
    }

    fn complaint(value: Value) -> BadRequest {
        content(value, "messages[2].content").unwrap_err()
    }

    #[test]
    fn a_data_url_becomes_base64_and_an_address_stays_one() {
        let Part::Image(inline) = one(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}))
        else {
            panic!("not an image")
        };
        assert_eq!(inline.media_type.as_deref(), Some("image/png"));
        assert_eq!(inline.source, MediaSource::Base64("QUJD".to_owned()));
        let Part::Image(remote) =
            one(json!({"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}}))
        else {
            panic!("not an image")
        };
        assert_eq!(remote.source, MediaSource::Url("https://a.example/x.png".to_owned()));
        assert_eq!(remote.detail.as_deref(), Some("low"));
    }

    #[test]
    fn files_come_as_data_or_by_id() {
        let Part::Document(pdf) = one(
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}}),
        ) else {
            panic!("not a document")
        };
        assert_eq!(pdf.media_type.as_deref(), Some("application/pdf"));
        let Part::Document(uploaded) = one(json!({"type": "file", "file": {"file_id": "file-1"}})) else {
            panic!("not a document")
        };
        assert_eq!(uploaded.source, MediaSource::FileId(DialectName::OpenaiChat, "file-1".to_owned()));
    }

    #[test]
    fn an_unknown_part_is_kept_whole() {
        let wire = json!({"type": "hologram", "hologram": {"depth": 3}});
        assert_eq!(one(wire.clone()), Part::Opaque { dialect: DialectName::OpenaiChat, value: wire });
    }

    #[test]
    fn a_mistral_thinking_chunk_is_reasoning() {
        let part = one(
            json!({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        );
        assert_eq!(part, Part::Reasoning(Reasoning { text: "ab".to_owned(), signature: None, redacted: None }));
    }

    #[test]
    fn a_complaint_names_the_place_the_value_and_what_was_expected() {
        let error = complaint(json!(5));
        assert_eq!(error.parameter.as_deref(), Some("messages[2].content"));
        assert_eq!(
            error.message,
            "`messages[2].content` is the number 5; expected a string or an array of content parts."
        );
        let error = complaint(json!(["ok", {"type": "text", "text": ["no"]}]));
        assert_eq!(error.message, "`messages[2].content[1].text` is an array; expected a string.");
        let error = complaint(json!([{"text": "no type"}]));
        assert_eq!((error.code, error.parameter.as_deref()), ("missing_field", Some("messages[2].content[0].type")));
    }
}
