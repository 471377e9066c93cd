//! The beginning of an answer: its first sentence, or 200 characters of it, by which a refusal is known.

use super::{Check, Finding};
use routing::Target;

/// Most characters that are looked at, and held.
const CHARACTERS: usize = 200;

/// The first sentence of a text or its first 200 characters; `None` = more must come to tell.
pub(super) fn settled(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let mut ended = false;
    for (count, (at, letter)) in text.char_indices().enumerate() {
        // A full stop ends a sentence when something other than a letter follows: `3.5` and `e.g` do not.
        let ends = (ended && letter.is_whitespace()) || letter == '\n' || count == CHARACTERS;
        if ends {
            return text.get(..at);
        }
        let wide = matches!(letter, '。' | '！' | '？');
        if wide {
            return text.get(..at + letter.len_utf8());
        }
        ended = matches!(letter, '.' | '!' | '?' | '…') || (ended && matches!(letter, '"' | '”' | '’' | ')' | '*'));
    }
    None
}

/// Whether a text begins as this target's refusals do; a text that ends within its first sentence is all head.
pub(super) fn refusal(text: &str, target: &Target) -> Option<Finding> {
    let head = settled(text).unwrap_or(text);
    let phrase = target.provider.refusal(&target.model, head)?;
    Some(Finding::new(Check::Refusal, format!("it begins as a refusal does (`{phrase}`)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_first_sentence() {
        for (text, head) in [
            ("I'm sorry. But", Some("I'm sorry.")),
            ("I'm sorry.", None),
            ("About 3.5 of them", None),
            ("  He said “no.” Then", Some("He said “no.”")),
            ("No end\nin sight", Some("No end")),
            ("很抱歉，我无法回答。还有", Some("很抱歉，我无法回答。")),
            ("", None),
        ] {
            assert_eq!(settled(text), head, "{text}");
        }
    }

    #[test]
    fn or_its_first_two_hundred_characters() {
        let long = "ä".repeat(200);
        assert_eq!(settled(&long), None);
        assert_eq!(settled(&format!("{long}ä")), Some(long.as_str()));
    }
}
