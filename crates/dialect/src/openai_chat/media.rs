//! Data URLs, and the media types `OpenAI`'s parts leave unsaid.

use canon::MediaSource;

/// A base64 data URL, taken apart: media type (where stated) and data.
pub(super) fn parse_data_url(url: &str) -> Option<(Option<String>, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("data") {
        return None;
    }
    let (head, data) = rest.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    let media_type = head.split(';').next().filter(|kind| !kind.is_empty());
    Some((media_type.map(str::to_owned), data))
}

/// A web address or a data URL as media type and source.
pub(super) fn from_url(url: String) -> (Option<String>, MediaSource) {
    match parse_data_url(&url) {
        Some((media_type, data)) => (media_type, MediaSource::Base64(data.to_owned())),
        None => (None, MediaSource::Url(url)),
    }
}

/// A base64 data URL.
pub(super) fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// The picture format behind base64 text, by its first bytes; PNG when they say nothing.
pub(super) fn image_type(data: &str) -> &'static str {
    const MAGIC: [(&str, &str); 4] =
        [("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    MAGIC.iter().find(|(start, _)| data.starts_with(start)).map_or("image/png", |(_, kind)| kind)
}

/// `input_audio.format` of a media type, where `OpenAI` has one.
pub(super) fn audio_format(media_type: &str) -> Option<&'static str> {
    match media_type {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        _ => None,
    }
}

/// The media type of an `input_audio.format`.
pub(super) fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// The media type of a file by its name; PDF is what `OpenAI` takes when nothing is said.
pub(super) fn file_type(name: Option<&str>) -> &'static str {
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/pdf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_taken_apart_and_put_together_again() {
        let url = "data:image/png;base64,iVBORw0KGgo=";
        assert_eq!(parse_data_url(url), Some((Some("image/png".to_owned()), "iVBORw0KGgo=")));
        assert_eq!(data_url("image/png", "iVBORw0KGgo="), url);
    }

    #[test]
    fn parameters_of_the_media_type_are_left_out_and_a_missing_one_is_none() {
        assert_eq!(parse_data_url("data:text/plain;charset=utf-8;base64,QQ==").unwrap().0.unwrap(), "text/plain");
        assert_eq!(parse_data_url("data:;base64,QQ=="), Some((None, "QQ==")));
    }

    #[test]
    fn an_address_is_not_a_data_url() {
        assert_eq!(parse_data_url("https://example.com/a.png"), None);
        assert_eq!(parse_data_url("data:text/plain,hello"), None);
    }

    #[test]
    fn the_first_bytes_tell_the_picture_format() {
        assert_eq!(image_type("/9j/4AAQ"), "image/jpeg");
        assert_eq!(image_type("AAAA"), "image/png");
    }
}
