//! Pictures, sound, films and documents: `inlineData` and `fileData`, both ways.

use crate::Inexpressible;
use canon::{DialectName, Document, Media, MediaSource, Part};
use serde_json::{Map, Value, json};

/// Where AI Studio keeps uploaded files; only this vendor can read them.
const FILES_API: &str = "generativelanguage.googleapis.com/";

/// The part for bytes or a file of this type. A type that is not stated is guessed from the address or the bytes.
pub(super) fn part(media_type: Option<String>, source: MediaSource, title: Option<String>) -> Part {
    let media_type = media_type.filter(|t| !t.is_empty()).or_else(|| guess(&source).map(str::to_owned));
    let kind = media_type.as_deref().and_then(|t| t.split_once('/')).map_or("", |(kind, _)| kind);
    let make = |media_type, source| Media { media_type, source, detail: None, cache: None };
    match kind {
        "image" => Part::Image(make(media_type, source)),
        "audio" => Part::Audio(make(media_type, source)),
        "video" => Part::Video(make(media_type, source)),
        _ => Part::Document(Document { media_type, source, title, context: None, cite: None, cache: None }),
    }
}

/// `inlineData.data` in the standard alphabet: Google takes the URL-safe one too, and no padding.
pub(super) fn standard_base64(mut data: String) -> String {
    if data.contains(['-', '_']) {
        data = data.replace('-', "+").replace('_', "/");
    }
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    data
}

/// The source a `fileUri` names.
pub(super) fn file_source(uri: String) -> MediaSource {
    if uri.contains(FILES_API) { MediaSource::FileId(DialectName::Gemini, uri) } else { MediaSource::Url(uri) }
}

/// The part for a source: `{"inlineData": …}` or `{"fileData": …}`.
pub(super) fn to_wire(
    media_type: Option<&str>,
    source: &MediaSource,
    inline_only: bool,
    path: &str,
) -> Result<Map<String, Value>, Inexpressible> {
    let refuse = |reason| Err(Inexpressible { path: path.to_owned(), reason });
    let media_type = media_type.or_else(|| guess(source));
    let mut out = Map::new();
    match source {
        MediaSource::Base64(data) => {
            let Some(media_type) = media_type else {
                return refuse("gemini wants the media type of inline bytes, and it is neither stated nor evident");
            };
            out.insert("inlineData".to_owned(), json!({ "mimeType": media_type, "data": data }));
        }
        MediaSource::Url(url) if url.starts_with("data:") => {
            let Some((stated, data)) = data_url(url) else {
                return refuse("the data URL is not base64");
            };
            let Some(media_type) = stated.or(media_type) else {
                return refuse("the data URL states no media type");
            };
            out.insert("inlineData".to_owned(), json!({ "mimeType": media_type, "data": data }));
        }
        MediaSource::Url(_) if inline_only => {
            return refuse("the target takes media only inside the request, not by web address");
        }
        MediaSource::Url(uri) | MediaSource::FileId(DialectName::Gemini, uri) => {
            let mut file = Map::new();
            if let Some(media_type) = media_type {
                file.insert("mimeType".to_owned(), json!(media_type));
            }
            file.insert("fileUri".to_owned(), json!(uri));
            out.insert("fileData".to_owned(), Value::Object(file));
        }
        MediaSource::FileId(DialectName::OpenaiChat | DialectName::AnthropicMessages, _) => {
            return refuse("the file was uploaded to another vendor");
        }
    }
    Ok(out)
}

/// `data:image/png;base64,AAAA` → type and data.
fn data_url(url: &str) -> Option<(Option<&str>, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next();
    Some((media_type.filter(|t| !t.is_empty()), data))
}

/// The media type a source shows by its first bytes or by its name's ending.
fn guess(source: &MediaSource) -> Option<&'static str> {
    const MAGIC: [(&str, &str); 6] = [
        ("iVBOR", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lG", "image/gif"),
        ("UklG", "image/webp"),
        ("JVBERi", "application/pdf"),
        ("SUQz", "audio/mp3"),
    ];
    const ENDINGS: [(&str, &str); 17] = [
        (".png", "image/png"),
        (".jpg", "image/jpeg"),
        (".jpeg", "image/jpeg"),
        (".gif", "image/gif"),
        (".webp", "image/webp"),
        (".heic", "image/heic"),
        (".heif", "image/heif"),
        (".mp3", "audio/mp3"),
        (".wav", "audio/wav"),
        (".flac", "audio/flac"),
        (".ogg", "audio/ogg"),
        (".mp4", "video/mp4"),
        (".mov", "video/mov"),
        (".webm", "video/webm"),
        (".pdf", "application/pdf"),
        (".txt", "text/plain"),
        (".html", "text/html"),
    ];
    match source {
        MediaSource::Base64(data) => MAGIC.iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, kind)| *kind),
        MediaSource::Url(url) | MediaSource::FileId(_, url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            if path.contains("youtube.com/") || path.contains("youtu.be/") {
                return Some("video/*");
            }
            ENDINGS.iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, kind)| *kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_safe_base64_becomes_standard() {
        assert_eq!(standard_base64("a-_b".to_owned()), "a+/b");
        assert_eq!(standard_base64("abc".to_owned()), "abc=");
    }

    #[test]
    fn an_uploaded_file_belongs_to_its_vendor_and_a_web_address_to_nobody() {
        let uri = "https://generativelanguage.googleapis.com/v1beta/files/abc";
        assert_eq!(file_source(uri.to_owned()), MediaSource::FileId(DialectName::Gemini, uri.to_owned()));
        assert!(matches!(file_source("https://example.com/a.png".to_owned()), MediaSource::Url(_)));
    }

    #[test]
    fn the_media_type_decides_what_kind_of_part_it_is() {
        let url = |u: &str| MediaSource::Url(u.to_owned());
        assert!(matches!(part(None, url("https://e.com/a.PNG?x=1"), None), Part::Image(_)));
        assert!(matches!(part(Some("audio/wav".into()), url("https://e.com/a"), None), Part::Audio(_)));
        assert!(matches!(part(None, url("https://youtu.be/abc"), None), Part::Video(_)));
        assert!(matches!(part(Some("application/pdf".into()), url("gs://b/a"), None), Part::Document(_)));
    }

    #[test]
    fn data_urls_go_inline_and_web_addresses_as_files() {
        let wire = to_wire(None, &MediaSource::Url("data:image/png;base64,AAAA".into()), false, "p").unwrap();
        assert_eq!(Value::Object(wire), json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}));
        let web = MediaSource::Url("https://e.com/cat.jpg".into());
        let wire = to_wire(None, &web, false, "p").unwrap();
        assert_eq!(
            Value::Object(wire),
            json!({"fileData": {"mimeType": "image/jpeg", "fileUri": "https://e.com/cat.jpg"}})
        );
        assert!(to_wire(None, &web, true, "p").is_err());
    }

    #[test]
    fn a_file_of_another_vendor_cannot_be_sent() {
        let source = MediaSource::FileId(DialectName::OpenaiChat, "file-1".into());
        assert_eq!(to_wire(None, &source, false, "messages[0].content[1]").unwrap_err().path, "messages[0].content[1]");
    }
}
