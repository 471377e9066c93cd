//! Citations as `url_citation` annotations.

use canon::{Citation, DialectName};
use serde_json::{Value, json};

/// Reads `annotations`. Kinds without a web address keep their own form and nothing else. An `index` only tells where
/// in a stream's list the entry belongs, which the order tells too.
pub(super) fn decode_all(annotations: Option<&Value>) -> Vec<Citation> {
    annotations.and_then(Value::as_array).map(|list| list.iter().map(decode).collect()).unwrap_or_default()
}

fn decode(annotation: &Value) -> Citation {
    let mut native = annotation.clone();
    if let Some(fields) = native.as_object_mut() {
        fields.shift_remove("index");
    }
    let source = annotation.get("url_citation").unwrap_or(annotation);
    let text = |key: &str| source.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| source.get(key).and_then(Value::as_u64);
    Citation {
        url: text("url"),
        title: text("title"),
        quoted: text("content"),
        start: number("start_index"),
        end: number("end_index"),
        document: None,
        native: Some((DialectName::OpenaiChat, native)),
    }
}

/// Writes one annotation of a stream. `place` counts the candidate's annotations: readers that put a stream together
/// (the official SDKs' stream helpers) refuse list entries without an `index`.
pub(super) fn encode_streamed(citation: &Citation, fallback: (u64, u64), place: usize) -> Option<Value> {
    let mut annotation = encode(citation, fallback)?;
    if let Some(fields) = annotation.as_object_mut() {
        fields.insert("index".to_owned(), json!(place));
    }
    Some(annotation)
}

/// Writes one annotation. A citation that states no range gets `fallback`: the text it is attached to, in characters.
/// `None` = it has no web address, so this dialect cannot show it.
pub(super) fn encode(citation: &Citation, fallback: (u64, u64)) -> Option<Value> {
    if let Some((DialectName::OpenaiChat, native)) = &citation.native {
        return Some(native.clone());
    }
    let url = citation.url.as_ref()?;
    Some(json!({
        "type": "url_citation",
        "url_citation": {
            "start_index": citation.start.unwrap_or(fallback.0),
            "end_index": citation.end.unwrap_or(fallback.1),
            "url": url,
            "title": citation.title.as_ref().unwrap_or(url),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_goes_back_as_it_came() {
        let wire = json!([{"type": "url_citation", "url_citation":
            {"start_index": 1, "end_index": 5, "url": "https://a.example", "title": "A", "extra": true}}]);
        let citations = decode_all(Some(&wire));
        assert_eq!((citations[0].start, citations[0].url.as_deref()), (Some(1), Some("https://a.example")));
        assert_eq!(encode(&citations[0], (0, 0)), Some(wire[0].clone()));
    }

    #[test]
    fn a_citation_of_another_dialect_covers_the_text_it_stands_on() {
        let citation = Citation { url: Some("https://a.example".to_owned()), ..Citation::default() };
        let written = encode(&citation, (3, 9)).unwrap();
        assert_eq!(written["url_citation"]["start_index"], 3);
        assert_eq!(written["url_citation"]["title"], "https://a.example");
    }

    #[test]
    fn a_citation_without_an_address_cannot_be_shown() {
        assert_eq!(encode(&Citation { document: Some(0), ..Citation::default() }, (0, 0)), None);
    }
}
