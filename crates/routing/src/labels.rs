//! What callers say of a request beside asking it: the end user, and labels that rules go by.

use dialect::scan::Scan;
use serde_json::Value;

/// A value of the body that is longer than this is not read for labels.
const LONGEST: usize = 64 << 10;
/// More labels than this are not kept: OpenAI takes 16.
const MOST: usize = 64;

/// The end user and the labels of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    user: Option<String>,
    labels: Vec<(String, String)>,
}

impl Labels {
    /// Reads them: strings of the body's `metadata`, and over them `header`, the value of `x-mainstay-labels`
    /// (`team=legal, tier=bulk`). The user is `user`, `safety_identifier` or `metadata.user_id`.
    pub fn read(scan: &Scan, body: &[u8], header: Option<&str>) -> Self {
        let value = |key: &str| {
            let range = scan.fields.iter().find(|field| field.key == key)?.value_range.clone();
            let text = body.get(range).filter(|text| text.len() <= LONGEST)?;
            serde_json::from_slice::<Value>(text).ok()
        };
        let text = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
        let mut read =
            Self { user: value("user").or_else(|| value("safety_identifier")).and_then(text), labels: Vec::new() };
        for pair in header.unwrap_or_default().split(',') {
            if let Some((name, value)) = pair.split_once('=') {
                read.add(name.trim(), value.trim().to_owned());
            }
        }
        if let Some(Value::Object(metadata)) = value("metadata") {
            for (name, value) in metadata {
                let Some(value) = text(value) else { continue };
                if name == "user_id" {
                    read.user.get_or_insert_with(|| value.clone());
                }
                read.add(&name, value);
            }
        }
        read
    }

    /// The first of a name counts.
    fn add(&mut self, name: &str, value: String) {
        if !name.is_empty() && self.labels.len() < MOST && self.label(name).is_none() {
            self.labels.push((name.to_owned(), value));
        }
    }

    /// The end user.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// A label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::DialectName;
    use dialect::PathFacts;
    use dialect::scan::scan;

    fn labels(dialect: DialectName, body: &str, header: Option<&str>) -> Labels {
        let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
        Labels::read(&scan(dialect, &path, body.as_bytes()).unwrap(), body.as_bytes(), header)
    }

    #[test]
    fn labels_stand_in_the_body_and_in_a_header_which_wins() {
        let body = r#"{"model":"m","messages":[],"user":"u-1","metadata":{"team":"legal","n":3}}"#;
        let read = labels(DialectName::OpenaiChat, body, Some("team=medical, tier = bulk,,=x"));
        assert_eq!((read.label("team"), read.label("tier")), (Some("medical"), Some("bulk")));
        assert_eq!((read.label("n"), read.label("")), (None, None));
        assert_eq!(read.user(), Some("u-1"));
        assert_eq!(labels(DialectName::OpenaiChat, body, None).label("team"), Some("legal"));
    }

    #[test]
    fn each_dialect_names_the_user_in_its_own_place() {
        for (dialect, body, user) in [
            (DialectName::OpenaiChat, r#"{"model":"m","messages":[],"safety_identifier":"s"}"#, Some("s")),
            (DialectName::AnthropicMessages, r#"{"model":"m","messages":[],"metadata":{"user_id":"a"}}"#, Some("a")),
            (DialectName::Gemini, r#"{"contents":[]}"#, None),
        ] {
            assert_eq!(labels(dialect, body, None).user(), user, "{body}");
        }
    }

    #[test]
    fn what_is_too_much_is_not_read() {
        let long = format!(r#"{{"model":"m","messages":[],"metadata":{{"a":"{}"}}}}"#, "x".repeat(LONGEST));
        assert_eq!(labels(DialectName::OpenaiChat, &long, None), Labels::default());
        let many: Vec<String> = (0..1000).map(|n| format!("l{n}=v")).collect();
        assert_eq!(labels(DialectName::Gemini, r#"{"contents":[]}"#, Some(&many.join(","))).labels.len(), MOST);
    }
}
