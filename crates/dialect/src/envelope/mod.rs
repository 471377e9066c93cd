//! The error envelopes of every provider, read into one shape for the catalogue's error maps.
//!
//! There are at least ten: objects in `error`, strings in `error`, flat objects, arrays of one, `detail` lists, wrapped
//! bodies of another provider, HTML. `code` may be a number, a string or null. So the reader looks for facts where any
//! family has them and never insists on a family; what it cannot read it leaves empty.

mod scrub;

pub use scrub::scrub;

use serde_json::{Map, Value};

/// The longest text kept; some providers echo the request.
const LONGEST_MESSAGE: usize = 2000;
/// The most of a page of HTML or plain text that is kept.
const LONGEST_TEXT: usize = 200;
/// How many envelopes within envelopes are opened.
const DEEPEST: usize = 4;

/// What an error body says, whatever its shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorFields {
    /// HTTP status of the head; for an error inside a 200 the status it states about itself, if it does.
    pub status: Option<u16>,
    /// `code`, as text (numbers too).
    pub code: Option<String>,
    /// `type`, or Google's `status`, or the AWS exception.
    pub kind: Option<String>,
    /// The text.
    pub message: String,
    /// The parameter named.
    pub parameter: Option<String>,
    /// Machine-readable reasons in details: `API_KEY_INVALID`, quota ids, `error_type`, `innererror.code`.
    pub reasons: Vec<String>,
    /// `retryDelay` of Google's `RetryInfo`, as written.
    pub retry_delay: Option<String>,
    /// The body was not JSON (HTML, plain text).
    pub not_json: bool,
    /// A finish reason, when the fault is one.
    pub finish: Option<String>,
}

impl ErrorFields {
    /// Reads an error response.
    pub fn from_body(status: u16, body: &[u8]) -> Self {
        let fields = match json_in(body) {
            Some(value) => Self::from_value(&value),
            None => Self { not_json: true, message: text_of(body), ..Self::default() },
        };
        Self { status: Some(status), ..fields }
    }

    /// Reads an error object found inside a 200: a stream's event, an answer, or the object in its `error`.
    pub fn from_value(value: &Value) -> Self {
        let mut fields = Self::default();
        fields.read(value, 0);
        if fields.parameter.is_none() {
            fields.parameter = parameter_in(&fields.message);
        }
        fields.message = fields.message.chars().take(LONGEST_MESSAGE).collect();
        fields
    }

    fn read(&mut self, value: &Value, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        match value {
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    self.read(first, depth + 1);
                }
            }
            Value::String(text) => self.add_text(text),
            Value::Object(object) => self.read_object(object, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn read_object(&mut self, object: &Map<String, Value>, depth: usize) {
        // The innermost error is read first, as the first statement of a fact is the one that is kept.
        match object.get("error") {
            Some(inner @ (Value::Object(_) | Value::String(_) | Value::Array(_))) => self.read(inner, depth + 1),
            _ => {
                if let Some(inner) = wrapped(object) {
                    self.read(inner, depth + 1);
                    if object.contains_key("x_groq") {
                        self.add_reason("x_groq.error");
                    }
                }
            }
        }
        self.read_codes(object);
        self.read_reasons(object, depth);
        for name in ["message", "Message", "msg", "detail", "error_description"] {
            if let Some(text) = object.get(name).and_then(Value::as_str) {
                self.add_text(text);
            }
        }
    }

    fn read_codes(&mut self, object: &Map<String, Value>) {
        let number = |name: &str| object.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        let stated = ["status_code", "raw_status_code", "status", "code"].into_iter().find_map(number);
        self.status = self.status.or(stated.filter(|status| (400..=599).contains(status)));
        if let Some(code) = object.get("code").and_then(text_or_number) {
            self.state_code(code);
        }
        // `type: error` names the envelope, not the error.
        let kind = object.get("type").and_then(Value::as_str).filter(|kind| *kind != "error");
        let others = ["status", "error_type", "__type"].into_iter().filter_map(|n| object.get(n)?.as_str());
        for word in kind.into_iter().chain(others) {
            match &self.kind {
                None => self.kind = Some(word.to_owned()),
                Some(first) if first != word => self.add_reason(word),
                Some(_) => {}
            }
        }
        if let Some(name) = object.get("param").and_then(Value::as_str).filter(|name| !name.is_empty()) {
            self.parameter.get_or_insert_with(|| name.to_owned());
        }
    }

    fn read_reasons(&mut self, object: &Map<String, Value>, depth: usize) {
        for name in ["reason", "error_code", "quotaId", "quotaMetric"] {
            if let Some(word) = object.get(name).and_then(Value::as_str) {
                self.add_reason(word);
            }
        }
        if let Some(delay) = object.get("retryDelay").and_then(Value::as_str) {
            self.retry_delay.get_or_insert_with(|| delay.to_owned());
        }
        if depth < DEEPEST {
            for name in ["innererror", "details", "violations", "fieldViolations"] {
                match object.get(name) {
                    Some(Value::Object(inner)) => self.read_detail(inner, depth + 1),
                    Some(Value::Array(items)) => {
                        for inner in items.iter().filter_map(Value::as_object) {
                            self.read_detail(inner, depth + 1);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.read_validation(object.get("detail"));
        if let Some(metadata) = object.get("metadata").and_then(Value::as_object) {
            self.read_metadata(metadata, depth);
        }
    }

    /// A part of `details`: it adds reasons and never replaces what the error itself says.
    fn read_detail(&mut self, object: &Map<String, Value>, depth: usize) {
        if let Some(code) = object.get("code").and_then(text_or_number) {
            self.add_reason(&code);
        }
        if let Some(field) = object.get("field").and_then(Value::as_str).filter(|field| !field.is_empty()) {
            self.parameter.get_or_insert_with(|| field.to_owned());
        }
        self.read_reasons(object, depth);
    }

    /// `detail: [{loc: [body, seed], msg, type}]`.
    fn read_validation(&mut self, detail: Option<&Value>) {
        for item in detail.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
            if let Some(kind) = item.get("type").and_then(Value::as_str) {
                self.add_reason(kind);
            }
            let path: Vec<String> = item
                .get("loc")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(text_or_number)
                .filter(|step| step != "body")
                .collect();
            let path = path.join(".");
            if let Some(text) = item.get("msg").and_then(Value::as_str) {
                self.add_text(&if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") });
            }
            if !path.is_empty() {
                self.parameter.get_or_insert(path);
            }
        }
    }

    /// OpenRouter: `error_type`, and in `raw` the body of the provider behind it.
    fn read_metadata(&mut self, metadata: &Map<String, Value>, depth: usize) {
        if let Some(word) = metadata.get("error_type").and_then(Value::as_str) {
            self.add_reason(word);
        }
        if metadata.contains_key("flagged_input") {
            self.add_reason("flagged_input");
        }
        let Some(raw) = metadata.get("raw") else { return };
        let parsed = raw.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let mut origin = Self::default();
        origin.read(parsed.as_ref().unwrap_or(raw), depth + 1);
        for word in origin.code.iter().chain(&origin.kind).chain(&origin.reasons) {
            self.add_reason(word);
        }
        self.retry_delay = self.retry_delay.take().or(origin.retry_delay);
        self.parameter = self.parameter.take().or(origin.parameter);
        self.add_text(&origin.message);
    }

    fn state_code(&mut self, code: String) {
        match &self.code {
            None => self.code = Some(code),
            Some(first) if *first != code => self.add_reason(&code),
            Some(_) => {}
        }
    }

    fn add_reason(&mut self, word: &str) {
        if !word.is_empty() && !self.reasons.iter().any(|known| known == word) {
            self.reasons.push(word.to_owned());
        }
    }

    fn add_text(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() || self.message.contains(text) {
            return;
        }
        if !self.message.is_empty() {
            self.message.push_str(": ");
        }
        self.message.push_str(text);
    }
}

/// Where an answer or a stream event hides an error that is not in its own `error`.
fn wrapped(object: &Map<String, Value>) -> Option<&Value> {
    let in_choice = || object.get("choices")?.as_array()?.iter().find_map(|choice| choice.get("error"));
    let in_part = |name: &str| object.get(name)?.get("error");
    in_choice()
        .or_else(|| in_part("x_groq"))
        .or_else(|| in_part("response"))
        .or_else(|| in_part("message"))
        .or_else(|| in_part("delta"))
        .filter(|error| !error.is_null())
}

/// The JSON of a body, past the comments and blank lines that some providers send first, or in its first event.
fn json_in(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return Some(value);
    }
    let lines = || body.split(|byte| *byte == b'\n');
    let before: usize = lines()
        .take_while(|line| line.trim_ascii().is_empty() || line.starts_with(b":"))
        .map(|line| line.len() + 1)
        .sum();
    if let Some(Ok(value)) = body.get(before..).map(serde_json::from_slice::<Value>) {
        return Some(value);
    }
    lines().find_map(|line| serde_json::from_slice(line.strip_prefix(b"data:")?).ok())
}

/// A page or a plain text, without tags, scripts and runs of white space.
fn text_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..64 * 1024).unwrap_or(body));
    let mut plain = String::new();
    let mut hidden = false;
    for (at, piece) in text.split('<').enumerate() {
        let words = match piece.split_once('>') {
            Some((tag, words)) if at > 0 => {
                let tag = tag.trim_start().to_ascii_lowercase();
                hidden = tag.starts_with("script") || tag.starts_with("style");
                words
            }
            _ => piece,
        };
        if !hidden {
            plain.push(' ');
            plain.push_str(words);
        }
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST_TEXT).collect()
}

fn text_or_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The parameter that a text names, for the providers that have no field for it.
fn parameter_in(message: &str) -> Option<String> {
    const AROUND: [(&str, &str); 6] = [
        ("Unknown name \"", "\""),
        ("property '", "' is unsupported"),
        ("Unsupported parameter: '", "'"),
        ("Unknown parameter: '", "'"),
        ("Unrecognized request argument supplied: ", " "),
        ("unknown field `", "`"),
    ];
    let named = AROUND.iter().find_map(|(before, after)| {
        let (_, rest) = message.split_once(before)?;
        Some(rest.split_once(after).map_or(rest, |(name, _)| name))
    });
    let extra = || message.split_once(": Extra inputs are not permitted").map(|(name, _)| name);
    let name = named.or_else(extra)?.rsplit(char::is_whitespace).next()?;
    (!name.is_empty() && name.len() <= 100).then(|| name.to_owned())
}
