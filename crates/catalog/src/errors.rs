//! Error maps: what the signals of a provider's failures mean.
//!
//! A status misleads (a bad key is a 400 at Gemini, an empty account a 429 at `OpenAI`), so a map is an ordered list of
//! rules over status, codes, text, finish reasons and headers; the first that matches decides. A provider's map is its
//! own rules, then those of its dialect, then those that hold everywhere, ending with what the status alone says.

use crate::glob;
use crate::raw::Rule;
use dialect::envelope::ErrorFields;
use dialect::hint::Headers;

/// What a failure shows, for the rules to look at.
#[derive(Clone, Copy)]
pub struct Signal<'f, 'h> {
    /// The error body, or the error object inside a 200.
    pub fields: &'f ErrorFields,
    /// The response's headers; an accessor that knows none for errors inside a 200.
    pub headers: Headers<'h>,
    /// Whether a limit the headers report has nothing left; `None` = they report none.
    pub exhausted: Option<bool>,
}

/// The rules of one provider, most specific first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ErrorMap {
    rules: Vec<Rule>,
}

impl ErrorMap {
    /// A map that tries `rules` in their order.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// The rules, in the order they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that matches.
    pub fn find(&self, signal: &Signal<'_, '_>) -> Option<&Rule> {
        let text = signal.fields.message.to_lowercase();
        self.rules.iter().find(|rule| rule.matches(signal, &text))
    }
}

/// Whether a lower-case text contains words; `*` in them stands for any run.
fn contains(text: &str, words: &str) -> bool {
    if glob::is_exact(words) {
        text.contains(&words.to_lowercase())
    } else {
        glob::matches(&format!("*{words}*"), text)
    }
}

impl Rule {
    /// Whether every condition written holds. `text` is the message in lower case.
    fn matches(&self, signal: &Signal<'_, '_>, text: &str) -> bool {
        let fields = signal.fields;
        if self.finish.is_empty() == fields.finish.is_some() {
            return false;
        }
        let finish = fields.finish.as_deref();
        let says = |pattern: &String| {
            let stated = [fields.code.as_deref(), fields.kind.as_deref()];
            let mut all = stated.into_iter().flatten().chain(fields.reasons.iter().map(String::as_str));
            all.any(|word| glob::matches(pattern, word))
        };
        (self.finish.is_empty() || self.finish.iter().any(|f| finish.is_some_and(|word| glob::matches(f, word))))
            && self.status_matches(fields.status)
            && (self.code.is_empty() || self.code.iter().any(says))
            && (self.text.is_empty() || self.text.iter().any(|words| contains(text, words)))
            && self.header.iter().all(|(name, value)| (signal.headers)(name).is_some_and(|v| v.trim() == value))
            && self.exhausted.is_none_or(|wanted| signal.exhausted.unwrap_or(false) == wanted)
    }

    /// An error inside a 200 often states no status: then the words decide, if the rule has any.
    fn status_matches(&self, status: Option<u16>) -> bool {
        match status {
            Some(status) => self.status.is_empty() || self.status.iter().any(|range| range.contains(status)),
            None => self.status.is_empty() || !self.code.is_empty() || !self.text.is_empty(),
        }
    }
}
