//! Finds a text inside the JSON of an event or of a whole answer, so that it can be cut at any byte of the *text*.
//!
//! The JSON is read, the text is taken out, and what is left is written again: so it works for real traffic too,
//! whatever its escapes. An event that is not cut is never touched.

use bytes::Bytes;
use canon::DialectName;
use serde_json::Value;

/// What stands for the text while the rest is written; no provider says this.
const MARK: &str = "\u{f8ff}mainstay\u{f8ff}";

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strand {
    Text,
    Reasoning,
    Arguments,
}

/// JSON around a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    before: Vec<u8>,
    /// The text; of arguments that are an object, that object's JSON.
    pub(crate) text: String,
    after: Vec<u8>,
    /// The text stands in quotes, escaped.
    is_quoted: bool,
}

impl Torn {
    /// The text of this kind in one event of a stream.
    pub(crate) fn of_event(dialect: DialectName, strand: Strand, event: &[u8]) -> Option<Self> {
        let whole = std::str::from_utf8(event).ok()?;
        let at = whole.find("data:")? + "data:".len();
        let (head, rest) = whole.split_at_checked(at)?;
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let (data, tail) = rest.split_at_checked(end)?;
        let value: Value = serde_json::from_str(data).ok()?;
        let path = event_path(dialect, strand);
        let mut torn = Self::of_value(value, path)?;
        torn.before.splice(..0, [head.as_bytes(), b" "].concat());
        torn.after.extend_from_slice(tail.as_bytes());
        Some(torn)
    }

    /// The texts of this kind in a whole answer, in order.
    pub(crate) fn of_whole(dialect: DialectName, strand: Strand, body: &[u8]) -> Vec<Self> {
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        whole_paths(dialect, strand, &value).iter().filter_map(|path| Self::of_value(value.clone(), path)).collect()
    }

    fn of_value(mut value: Value, path: &str) -> Option<Self> {
        let place = value.pointer_mut(path)?;
        let (text, is_quoted) = match place {
            Value::String(text) => (std::mem::take(text), true),
            Value::Object(_) => (place.to_string(), false),
            _ => return None,
        };
        *place = Value::String(MARK.to_owned());
        let written = value.to_string();
        let mark = format!("\"{MARK}\"");
        let (before, after) = written.split_once(&mark)?;
        let quote = if is_quoted { "\"" } else { "" };
        Some(Self {
            before: format!("{before}{quote}").into_bytes(),
            text,
            after: format!("{quote}{after}").into_bytes(),
            is_quoted,
        })
    }

    /// Whether a part of the text makes a whole event.
    pub(crate) fn is_divisible(&self) -> bool {
        self.is_quoted
    }

    /// The last character boundary of the text up to `at`.
    pub(crate) fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// Everything up to `at` bytes of the text, also within a character, and nothing behind it; the text begins at
    /// the boundary `from`.
    pub(crate) fn up_to(&self, from: usize, at: usize) -> Bytes {
        let whole = self.boundary(at);
        let mut bytes = self.before.clone();
        bytes.extend_from_slice(&self.escaped(from, whole));
        bytes.extend_from_slice(self.text.as_bytes().get(whole..at).unwrap_or_default());
        bytes.into()
    }

    /// The whole event with the text between two boundaries only.
    pub(crate) fn event(&self, from: usize, to: usize) -> Bytes {
        [self.before.as_slice(), &self.escaped(from, to), &self.after].concat().into()
    }

    fn escaped(&self, from: usize, to: usize) -> Vec<u8> {
        let part = self.text.get(from..to).unwrap_or_default();
        if !self.is_quoted {
            return part.as_bytes().to_vec();
        }
        let quoted = Value::from(part).to_string();
        quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().as_bytes().to_vec()
    }
}

fn event_path(dialect: DialectName, strand: Strand) -> &'static str {
    match (dialect, strand) {
        (DialectName::OpenaiChat, Strand::Text) => "/choices/0/delta/content",
        (DialectName::OpenaiChat, Strand::Reasoning) => "/choices/0/delta/reasoning_content",
        (DialectName::OpenaiChat, Strand::Arguments) => "/choices/0/delta/tool_calls/0/function/arguments",
        (DialectName::AnthropicMessages, Strand::Text) => "/delta/text",
        (DialectName::AnthropicMessages, Strand::Reasoning) => "/delta/thinking",
        (DialectName::AnthropicMessages, Strand::Arguments) => "/delta/partial_json",
        (DialectName::Gemini, Strand::Text | Strand::Reasoning) => "/candidates/0/content/parts/0/text",
        (DialectName::Gemini, Strand::Arguments) => "/candidates/0/content/parts/0/functionCall/args",
    }
}

fn whole_paths(dialect: DialectName, strand: Strand, value: &Value) -> Vec<String> {
    let places = |list: &str, matches: &dyn Fn(&Value) -> bool, field: &str| -> Vec<String> {
        let items = value.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let found = items.iter().enumerate().filter(|(_, item)| matches(item));
        found.map(|(place, _)| format!("{list}/{place}/{field}")).collect()
    };
    let is_thought = |part: &Value| part.get("thought") == Some(&Value::Bool(true));
    let is_block = |kind: &'static str| move |block: &Value| block.get("type").is_some_and(|named| named == kind);
    match (dialect, strand) {
        (DialectName::OpenaiChat, Strand::Text) => vec!["/choices/0/message/content".to_owned()],
        (DialectName::OpenaiChat, Strand::Reasoning) => vec!["/choices/0/message/reasoning_content".to_owned()],
        (DialectName::OpenaiChat, Strand::Arguments) => {
            places("/choices/0/message/tool_calls", &|_| true, "function/arguments")
        }
        (DialectName::AnthropicMessages, Strand::Text) => places("/content", &is_block("text"), "text"),
        (DialectName::AnthropicMessages, Strand::Reasoning) => places("/content", &is_block("thinking"), "thinking"),
        (DialectName::AnthropicMessages, Strand::Arguments) => places("/content", &is_block("tool_use"), "input"),
        (DialectName::Gemini, Strand::Text) => {
            places("/candidates/0/content/parts", &|part| part.get("text").is_some() && !is_thought(part), "text")
        }
        (DialectName::Gemini, Strand::Reasoning) => places("/candidates/0/content/parts", &is_thought, "text"),
        (DialectName::Gemini, Strand::Arguments) => {
            places("/candidates/0/content/parts", &|part| part.get("functionCall").is_some(), "functionCall/args")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_any_byte_and_the_rest_stays() {
        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\\n\\u00e9\\\"漢\"},\"index\":0}]}\n\n";
        let torn = Torn::of_event(DialectName::OpenaiChat, Strand::Text, event.as_bytes()).unwrap();
        assert_eq!(torn.text, "a\né\"漢");
        let begun = |at| String::from_utf8_lossy(&torn.up_to(0, at)).into_owned();
        assert!(begun(0).ends_with("\"content\":\""));
        assert!(begun(2).ends_with("\"a\\n"), "{}", begun(2));
        assert!(torn.up_to(0, 3).ends_with(b"\\n\xc3"));
        assert!(begun(5).ends_with("é\\\""), "{}", begun(5));
        assert!(torn.up_to(0, 7).ends_with(b"\\\"\xe6\xbc"));
        let again = torn.event(0, torn.text.len());
        assert_eq!(again, event.replace("\\u00e9", "é").as_bytes());
        assert_eq!([torn.boundary(3), torn.boundary(4), torn.boundary(99)], [2, 4, 8]);
    }

    #[test]
    fn arguments_that_are_an_object_are_cut_as_their_json() {
        let body = br#"{"content":[{"type":"text","text":"x"},{"type":"tool_use","input":{"city":"Oslo"}}]}"#;
        let torn = Torn::of_whole(DialectName::AnthropicMessages, Strand::Arguments, body);
        assert_eq!(torn[0].text, r#"{"city":"Oslo"}"#);
        assert!(torn[0].up_to(0, 10).ends_with(br#""input":{"city":"O"#));
    }
}
