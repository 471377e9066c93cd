//! Sources of an answer: `citationMetadata` and `groundingMetadata`, both ways.
//!
//! Google counts positions in bytes of UTF-8, canonical ones are in characters; a position that cannot be converted is
//! left out rather than wrong. The own object of each source rides along, so that a Gemini caller gets it back whole:
//! on the first citation of a `groundingMetadata`, with `null` on its siblings.

use canon::{Citation, DialectName, Drops};
use serde_json::{Map, Value, json};

/// What positions can be measured against.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    /// The whole text of the candidate.
    Whole(&'a str),
    /// A stream's text, not kept; whether all of it so far is ASCII, so that bytes are characters.
    Streamed { ascii: bool },
}

impl Text<'_> {
    fn characters(self, bytes: u64) -> Option<u64> {
        match self {
            Self::Whole(text) => {
                let before = text.get(..usize::try_from(bytes).ok()?)?;
                u64::try_from(before.chars().count()).ok()
            }
            Self::Streamed { ascii } => ascii.then_some(bytes),
        }
    }

    fn bytes(self, characters: u64) -> Option<u64> {
        match self {
            Self::Whole(text) => {
                let count = usize::try_from(characters).ok()?;
                let at = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(count)?;
                u64::try_from(at).ok()
            }
            Self::Streamed { ascii } => ascii.then_some(characters),
        }
    }

    /// Where a quoted segment stands, in bytes: as stated when the words are there, else where they are found.
    fn segment(self, stated: (u64, Option<u64>), words: Option<&str>) -> (u64, Option<u64>) {
        let (Self::Whole(text), Some(words)) = (self, words) else { return stated };
        let start = usize::try_from(stated.0).ok();
        if start.and_then(|s| text.get(s..)).is_some_and(|rest| rest.starts_with(words)) {
            return stated;
        }
        let found = text.find(words).and_then(|s| u64::try_from(s).ok());
        let length = u64::try_from(words.len()).ok();
        found.map_or(stated, |s| (s, length.map(|l| s + l)))
    }
}

/// The sources a candidate states.
pub(super) fn read(candidate: &Map<String, Value>, text: Text<'_>) -> Vec<Citation> {
    let mut out = Vec::new();
    let metadata = candidate.get("citationMetadata");
    let sources = metadata.and_then(|m| m.get("citationSources").or_else(|| m.get("citations")));
    for source in sources.and_then(Value::as_array).into_iter().flatten() {
        let position = |key| source.get(key).and_then(Value::as_u64);
        // Protobuf leaves out a zero.
        let end = position("endIndex");
        let start = position("startIndex").or(end.map(|_| 0));
        out.push(Citation {
            url: filled(source.get("uri")),
            title: filled(source.get("title")),
            start: start.and_then(|n| text.characters(n)),
            end: end.and_then(|n| text.characters(n)),
            native: Some((DialectName::Gemini, source.clone())),
            ..Citation::default()
        });
    }
    if let Some(grounding) = candidate.get("groundingMetadata") {
        read_grounding(grounding, text, &mut out);
    }
    out
}

fn read_grounding(grounding: &Value, text: Text<'_>, out: &mut Vec<Citation>) {
    let chunks: Vec<Citation> = items(grounding, "groundingChunks").map(read_chunk).collect();
    let first = out.len();
    for support in items(grounding, "groundingSupports") {
        let segment = support.get("segment");
        let position = |key| segment.and_then(|s| s.get(key)).and_then(Value::as_u64);
        let words = segment.and_then(|s| s.get("text")).and_then(Value::as_str);
        let stated = (position("startIndex").unwrap_or(0), position("endIndex"));
        let (start, end) = text.segment(stated, words);
        for index in items(support, "groundingChunkIndices").filter_map(Value::as_u64) {
            let Some(chunk) = usize::try_from(index).ok().and_then(|i| chunks.get(i)) else { continue };
            out.push(Citation {
                start: text.characters(start),
                end: end.and_then(|n| text.characters(n)),
                ..chunk.clone()
            });
        }
    }
    if out.len() == first {
        out.extend(chunks);
    }
    for (i, citation) in out.iter_mut().skip(first).enumerate() {
        let native = if i == 0 { json!({ "groundingMetadata": grounding }) } else { Value::Null };
        citation.native = Some((DialectName::Gemini, native));
    }
}

/// `{"web": {"uri", "title"}}`, or the same under `retrievedContext`, `maps`, ….
fn read_chunk(chunk: &Value) -> Citation {
    let source = chunk.as_object().and_then(|map| map.values().find(|v| v.is_object()));
    let field = |key| filled(source.and_then(|s| s.get(key)));
    Citation { url: field("uri"), title: field("title"), quoted: field("text"), ..Citation::default() }
}

/// Writes sources into a candidate.
pub(super) fn write<'a>(
    citations: impl Iterator<Item = &'a Citation>,
    text: Text<'_>,
    candidate: &mut Map<String, Value>,
    drops: &mut Drops,
) {
    let mut sources = Vec::new();
    for citation in citations {
        match &citation.native {
            Some((DialectName::Gemini, Value::Null)) => {}
            Some((DialectName::Gemini, own)) => match own.get("groundingMetadata") {
                Some(grounding) => {
                    candidate.insert("groundingMetadata".to_owned(), grounding.clone());
                }
                None => sources.push(own.clone()),
            },
            _ => sources.extend(write_source(citation, text, drops)),
        }
    }
    if !sources.is_empty() {
        candidate.insert("citationMetadata".to_owned(), json!({ "citationSources": sources }));
    }
}

fn write_source(citation: &Citation, text: Text<'_>, drops: &mut Drops) -> Option<Value> {
    if citation.url.is_none() && citation.title.is_none() {
        drops.add("citations", "gemini cites by address and title, and this source has neither");
        return None;
    }
    if citation.quoted.is_some() {
        drops.add("citations.quoted", "gemini citations do not quote");
    }
    if citation.document.is_some() {
        drops.add("citations.document", "gemini citations do not point into documents");
    }
    let mut source = Map::new();
    let positions = [("startIndex", citation.start), ("endIndex", citation.end)];
    for (key, characters) in positions {
        if let Some(bytes) = characters.and_then(|n| text.bytes(n)) {
            source.insert(key.to_owned(), json!(bytes));
        }
    }
    for (key, value) in [("uri", &citation.url), ("title", &citation.title)] {
        if let Some(value) = value {
            source.insert(key.to_owned(), json!(value));
        }
    }
    Some(Value::Object(source))
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn filled(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_positions_become_characters_and_bytes_again() {
        let text = "héllo wörld";
        let candidate = json!({"citationMetadata": {"citationSources": [
            {"startIndex": 7, "endIndex": 13, "uri": "https://e.com", "license": ""}]}});
        let read = read(candidate.as_object().unwrap(), Text::Whole(text));
        assert_eq!((read[0].start, read[0].end), (Some(6), Some(11)));
        let foreign = Citation { native: None, ..read[0].clone() };
        let mut out = Map::new();
        write([&foreign].into_iter(), Text::Whole(text), &mut out, &mut Drops::new());
        assert_eq!(
            out["citationMetadata"],
            json!({"citationSources": [{"startIndex": 7, "endIndex": 13, "uri": "https://e.com"}]})
        );
    }

    #[test]
    fn positions_in_a_stream_that_is_not_ascii_are_left_out() {
        let candidate = json!({"citationMetadata": {"citations": [{"endIndex": 13, "uri": "https://e.com"}]}});
        let map = candidate.as_object().unwrap();
        assert_eq!(read(map, Text::Streamed { ascii: false })[0].end, None);
        let ascii = read(map, Text::Streamed { ascii: true });
        assert_eq!((ascii[0].start, ascii[0].end), (Some(0), Some(13)));
    }

    #[test]
    fn grounding_becomes_one_citation_a_support_and_goes_back_whole() {
        let grounding = json!({
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
            "groundingSupports": [{"segment": {"startIndex": 99, "endIndex": 103, "text": "wörld"},
                                   "groundingChunkIndices": [0, 1, 7]}],
            "webSearchQueries": ["q"]
        });
        let candidate = json!({"groundingMetadata": grounding});
        let text = Text::Whole("héllo wörld");
        let read = read(candidate.as_object().unwrap(), text);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].url.as_deref(), read[0].start, read[0].end), (Some("https://a"), Some(6), Some(11)));
        let mut out = Map::new();
        write(read.iter(), text, &mut out, &mut Drops::new());
        assert_eq!(Value::Object(out), candidate);
    }

    #[test]
    fn a_source_without_address_or_title_is_reported() {
        let mut drops = Drops::new();
        let citation = Citation { quoted: Some("words".into()), document: Some(0), ..Citation::default() };
        write([&citation].into_iter(), Text::Whole(""), &mut Map::new(), &mut drops);
        assert_eq!(drops.iter().next().unwrap().path, "citations");
    }
}
