//! Citations: where a text block's statement comes from.
//!
//! The API's own object is kept whole, so that a history returns it unchanged. A web citation of another vendor is
//! written as `web_search_result_location` with an empty `encrypted_index`; read back, the empty index says that the
//! object is not Anthropic's.

use super::DIALECT;
use canon::Citation;
use serde_json::{Value, json};
use std::ops::Range;

/// Reads a citation. `span` is where the cited text stands in the answer, in characters: a citation belongs to the
/// whole text block it came in.
pub(super) fn read(value: Value, span: Option<Range<u64>>) -> Citation {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text("type").unwrap_or_default();
    let source = text("source").filter(|source| kind == "search_result_location" && source.starts_with("http"));
    let foreign = kind == "web_search_result_location" && text("encrypted_index").is_none_or(|index| index.is_empty());
    Citation {
        url: text("url").or(source),
        title: text("title").or_else(|| text("document_title")),
        quoted: text("cited_text").filter(|quoted| !quoted.is_empty()),
        start: span.as_ref().map(|span| span.start),
        end: span.map(|span| span.end),
        document: value.get("document_index").and_then(Value::as_u64),
        native: (!foreign).then_some((DIALECT, value)),
    }
}

/// Writes a citation; `None` = it points at nothing this dialect can name.
pub(super) fn write(citation: &Citation) -> Option<Value> {
    if let Some((dialect, native)) = &citation.native
        && *dialect == DIALECT
    {
        return Some(native.clone());
    }
    let url = citation.url.as_ref()?;
    Some(json!({
        "type": "web_search_result_location",
        "cited_text": citation.quoted.as_deref().unwrap_or_default(),
        "url": url,
        "title": citation.title,
        "encrypted_index": "",
    }))
}
