//! Reasoning on the wire: `reasoning_content`, `reasoning`, `reasoning_details`, Mistral's `thinking` chunks.
//!
//! `reasoning_details` (`OpenRouter`) may hold signatures or encrypted thinking that must come back unaltered. They are
//! kept as the one signature of a reasoning block: the JSON text of the whole list, bound to this dialect.

use canon::{DialectName, ProviderBound};
use serde_json::{Map, Value};

/// The reasoning text a message or delta states, whatever the field is called; providers that state it twice mean the
/// same text. The text inside `reasoning_details` counts only where no field for plain text is there.
pub(super) fn text_of(message: &Map<String, Value>) -> Option<String> {
    let plain = ["reasoning_content", "reasoning"].map(|key| message.get(key).and_then(Value::as_str));
    if plain.iter().any(Option::is_some) {
        return plain.into_iter().flatten().find(|text| !text.is_empty()).map(str::to_owned);
    }
    let details = message.get("reasoning_details").and_then(Value::as_array)?;
    let text: String = details
        .iter()
        .filter_map(|detail| detail.get("text").or_else(|| detail.get("summary")).and_then(Value::as_str))
        .collect();
    (!text.is_empty()).then_some(text)
}

/// The text of a Mistral `thinking` chunk, whose `thinking` is a string or a list of text chunks.
pub(super) fn thinking_chunk_text(chunk: &Value) -> String {
    match chunk.get("thinking") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

/// `reasoning_details`, put together from the pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Details {
    entries: Vec<Value>,
}

impl Details {
    /// Adds the entries of one delta or message: text of the same entry grows, everything else is set.
    pub(super) fn add(&mut self, details: Option<&Value>) {
        for piece in details.and_then(Value::as_array).into_iter().flatten() {
            let same = self.entries.iter_mut().rev().find(|entry| {
                ["index", "type"].iter().all(|key| entry.get(*key) == piece.get(*key)) && piece.get("data").is_none()
            });
            match (same.and_then(Value::as_object_mut), piece.as_object()) {
                (Some(entry), Some(piece)) => grow(entry, piece),
                _ => self.entries.push(piece.clone()),
            }
        }
    }

    /// Takes what was gathered as a signature, if anything in it cannot be told from the text alone.
    pub(super) fn take_signature(&mut self) -> Option<ProviderBound> {
        let entries = std::mem::take(&mut self.entries);
        let bound = |entry: &Value| {
            ["data", "signature"]
                .iter()
                .any(|key| entry.get(*key).and_then(Value::as_str).is_some_and(|s| !s.is_empty()))
        };
        entries
            .iter()
            .any(bound)
            .then(|| ProviderBound { dialect: DialectName::OpenaiChat, value: Value::Array(entries).to_string() })
    }
}

fn grow(entry: &mut Map<String, Value>, piece: &Map<String, Value>) {
    for (key, value) in piece {
        match (key.as_str(), entry.get_mut(key), value) {
            ("text" | "summary", Some(Value::String(held)), Value::String(more)) => held.push_str(more),
            (_, Some(_), Value::Null) => {}
            _ => {
                entry.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `reasoning_details` behind a signature of this dialect; `None` = another vendor's, which must not leak.
pub(super) fn details_of(signature: &ProviderBound) -> Option<Value> {
    match signature.dialect {
        DialectName::OpenaiChat => serde_json::from_str(&signature.value).ok(),
        DialectName::AnthropicMessages | DialectName::Gemini => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasoning_is_found_under_each_of_its_names_and_only_once() {
        for message in [
            json!({"reasoning_content": "hm"}),
            json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
            json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}),
            json!({"reasoning_content": "", "reasoning": "hm"}),
        ] {
            assert_eq!(text_of(message.as_object().unwrap()).as_deref(), Some("hm"), "{message}");
        }
        assert_eq!(text_of(json!({"reasoning": null}).as_object().unwrap()), None);
    }

    #[test]
    fn streamed_details_are_put_together_into_what_must_come_back() {
        let mut details = Details::default();
        details.add(Some(&json!([{"type": "reasoning.text", "index": 0, "text": "He", "signature": null}])));
        details.add(Some(&json!([{"type": "reasoning.text", "index": 0, "text": "llo"}])));
        details.add(Some(&json!([{"type": "reasoning.text", "index": 0, "text": "", "signature": "sig"}])));
        details.add(Some(&json!([{"type": "reasoning.encrypted", "index": 1, "data": "abc"}])));
        let whole = details_of(&details.take_signature().unwrap()).unwrap();
        assert_eq!(
            whole,
            json!([{"type": "reasoning.text", "index": 0, "text": "Hello", "signature": "sig"},
                {"type": "reasoning.encrypted", "index": 1, "data": "abc"}])
        );
    }

    #[test]
    fn plain_text_needs_no_signature() {
        let mut details = Details::default();
        details.add(Some(&json!([{"type": "reasoning.text", "text": "plain"}])));
        assert_eq!(details.take_signature(), None);
    }
}
