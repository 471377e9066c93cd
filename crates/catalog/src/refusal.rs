//! How a refusal in the place of an answer begins: phrases as data, for the check that an operator switches on.
//!
//! A phrase must stand at the very beginning of the answer, after any number of openers ("I'm sorry, but …"), so that
//! an answer that quotes a refusal is none. `*` stands for any run of characters, `(a|b)` for one of the two. Case, the
//! form of the apostrophe, white space and the punctuation around openers make no difference.

use crate::glob;
use serde::Deserialize;

/// The phrases of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusals {
    /// What may come before a phrase.
    openers: Vec<String>,
    /// What a refusal begins with.
    phrases: Vec<String>,
}

impl Refusals {
    /// These, and a provider's own.
    pub(crate) fn with(&self, own: Vec<String>) -> Self {
        let phrases = own.into_iter().chain(self.phrases.iter().cloned()).collect();
        Self { openers: self.openers.clone(), phrases }
    }

    /// The phrase that `beginning` begins with: one of the `more`, or one of its own.
    pub(crate) fn phrase_of<'s>(
        &'s self,
        beginning: &str,
        more: impl IntoIterator<Item = &'s String>,
    ) -> Option<&'s str> {
        let text = plain(beginning);
        let places = self.places(&text);
        let begins = |phrase: &&String| {
            let forms = forms(&phrase.to_lowercase());
            places.iter().any(|place| forms.iter().any(|form| glob::matches(&format!("{form}*"), place)))
        };
        more.into_iter().chain(&self.phrases).find(begins).map(String::as_str)
    }

    /// Where a phrase may begin: at the start, and after each opener.
    fn places<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut places = vec![text];
        let mut rest = text;
        // Every round takes something off.
        while let Some(after) =
            self.openers.iter().filter_map(|opener| after_word(rest, opener)).min_by_key(|t| t.len())
        {
            rest = after;
            places.push(rest);
        }
        places
    }
}

/// What follows a word and its punctuation, if `text` begins with it.
fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(word).filter(|_| !word.is_empty())?;
    let is_whole = !word.is_ascii() || rest.chars().next().is_none_or(|next| !next.is_alphanumeric());
    is_whole.then(|| rest.trim_start_matches(|letter: char| !letter.is_alphanumeric()))
}

/// Lower case, one kind of apostrophe, single spaces, nothing before the first letter.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.extend(word.chars().flat_map(char::to_lowercase).map(|letter| match letter {
            '\u{2018}' | '\u{2019}' | '\u{02bc}' => '\'',
            other => other,
        }));
    }
    let start = plain.find(char::is_alphanumeric).unwrap_or(plain.len());
    plain.split_off(start)
}

/// A phrase with every `(a|b)` spelt out.
fn forms(phrase: &str) -> Vec<String> {
    let group = phrase.split_once('(').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(')')?;
        Some((before, inside, after))
    });
    match group {
        None => vec![phrase.to_owned()],
        Some((before, inside, after)) => {
            let tails = forms(after);
            let one = |word: &str| tails.iter().map(|tail| format!("{before}{word}{tail}")).collect::<Vec<_>>();
            inside.split('|').flat_map(one).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Catalog, ModelRow, RawProvider};

    #[test]
    fn usual_refusals_are_known_in_whatever_dress() {
        let catalog = Catalog::builtin().unwrap();
        let openai = &catalog.providers["openai"];
        for text in [
            "I'm sorry, but I can't assist with that request.",
            "I’m sorry, but I can’t assist with that.",
            "Sorry, I cannot help with that",
            "  **I cannot\nprovide** instructions",
            "I'm unable to help with this.",
            "Unfortunately, I am not able to generate such images.",
            "As an AI language model, I can't provide that.",
            "I must decline.",
            "很抱歉，我无法提供这些信息。",
            "Es tut mir leid, aber dabei kann ich Ihnen leider nicht helfen.",
        ] {
            let text = text.replace("**", "");
            assert!(openai.refusal("gpt-5.1", &text).is_some(), "{text}");
        }
    }

    #[test]
    fn an_answer_that_only_sounds_like_one_or_quotes_one_is_none() {
        let catalog = Catalog::builtin().unwrap();
        let openai = &catalog.providers["openai"];
        for text in [
            "",
            "I'm sorry to hear that you are unwell.",
            "I can't believe how well this works",
            "You could say: “I can't help with that.”",
            "Sorry seems to be the hardest word.",
            "I can help with that.",
            "Buttons are sewn on like this",
        ] {
            assert_eq!(openai.refusal("gpt-5.1", text), None, "{text}");
        }
    }

    #[test]
    fn a_provider_and_a_model_have_phrases_of_their_own_and_a_configuration_adds_some() {
        let catalog = Catalog::builtin().unwrap();
        let canned = "Sorry, that's beyond my current scope. Let's talk about something else.";
        let deepseek = &catalog.providers["deepseek"];
        assert_eq!(deepseek.refusal("deepseek-v4-pro", canned), Some("that's beyond my current scope"));
        assert_eq!(catalog.providers["openai"].refusal("gpt-5.1", canned), None);
        let row = RawProvider {
            refusals: Some(vec!["computer says no".to_owned()]),
            models: Some(vec![ModelRow {
                id: "little-*".to_owned(),
                refusals: vec!["nope".to_owned()],
                ..ModelRow::default()
            }]),
            ..RawProvider::default()
        };
        let over = catalog.with_overrides("deepseek", row).unwrap();
        assert_eq!(over.refusal("big-1", "Computer says NO!"), Some("computer says no"));
        assert_eq!(over.refusal("little-1", "Nope."), Some("nope"));
        assert_eq!(over.refusal("big-1", "Nope."), None);
        assert!(over.refusal("big-1", canned).is_some());
    }
}
