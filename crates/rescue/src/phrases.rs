//! How targets begin when they do not go on: data, not judgement. A phrase alone never makes a join; it only names or
//! prevents one.

/// A kind of beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// Words about the task instead of the answer.
    Preamble,
    /// A refusal or an excuse.
    Refusal,
}

/// Beginnings, matched exactly, apostrophes straight.
const OPENERS: &[(&str, Opener)] = &[
    ("Sure, ", Opener::Preamble),
    ("Sure! ", Opener::Preamble),
    ("Sure: ", Opener::Preamble),
    ("Certainly", Opener::Preamble),
    ("Of course", Opener::Preamble),
    ("Absolutely", Opener::Preamble),
    ("Continuing ", Opener::Preamble),
    ("Here is ", Opener::Preamble),
    ("Here's ", Opener::Preamble),
    ("Okay, ", Opener::Preamble),
    ("Got it", Opener::Preamble),
    ("I'll continue", Opener::Preamble),
    ("Claro, ", Opener::Preamble),
    ("Natürlich", Opener::Preamble),
    ("Bien sûr", Opener::Preamble),
    ("I'm sorry", Opener::Refusal),
    ("I am sorry", Opener::Refusal),
    ("Sorry, ", Opener::Refusal),
    ("I can't ", Opener::Refusal),
    ("I cannot ", Opener::Refusal),
    ("I can not ", Opener::Refusal),
    ("I'm not able", Opener::Refusal),
    ("I am not able", Opener::Refusal),
    ("I'm unable", Opener::Refusal),
    ("I am unable", Opener::Refusal),
    ("I won't ", Opener::Refusal),
    ("I apologize", Opener::Refusal),
    ("I apologise", Opener::Refusal),
    ("As an AI", Opener::Refusal),
    ("Unfortunately, I ", Opener::Refusal),
    ("Es tut mir leid", Opener::Refusal),
    ("Lo siento", Opener::Refusal),
    ("Je suis désolé", Opener::Refusal),
    ("抱歉", Opener::Refusal),
    ("对不起", Opener::Refusal),
    ("申し訳", Opener::Refusal),
];

/// Beginnings that speak of the task or of the speaker in so many words that they are no continuation anywhere.
const ASIDES: &[(&str, Opener)] = &[
    ("Sure, continuing", Opener::Preamble),
    ("Sure, here", Opener::Preamble),
    ("Sure! Here", Opener::Preamble),
    ("Certainly! Here", Opener::Preamble),
    ("Continuing from", Opener::Preamble),
    ("Continuing where", Opener::Preamble),
    ("Here is the continuation", Opener::Preamble),
    ("Here's the continuation", Opener::Preamble),
    ("I'm sorry, but I can't", Opener::Refusal),
    ("I'm sorry, but I cannot", Opener::Refusal),
    ("I can't continue", Opener::Refusal),
    ("I cannot continue", Opener::Refusal),
];

/// How `text` begins, if one of the phrases stands there.
pub(crate) fn opener(text: &str) -> Option<Opener> {
    spoken(OPENERS, text)
}

/// How `text` begins, if it is one of the phrases that are no continuation anywhere.
pub(crate) fn aside(text: &str) -> Option<Opener> {
    spoken(ASIDES, text)
}

/// Whether more text could still turn `text` into one of the phrases; `asides` alone, or any.
pub(crate) fn may_open(text: &str, asides: bool) -> bool {
    let length = text.chars().count();
    let begins = |(phrase, _): &(&str, Opener)| length < phrase.chars().count() && same_start(phrase, text);
    ASIDES.iter().any(begins) || (!asides && OPENERS.iter().any(begins))
}

fn spoken(phrases: &[(&str, Opener)], text: &str) -> Option<Opener> {
    phrases.iter().find(|(phrase, _)| same_start(text, phrase)).map(|(_, kind)| *kind)
}

/// `starts_with`, the typographic apostrophe taken for the straight one.
fn same_start(text: &str, start: &str) -> bool {
    let straight = |c| if c == '’' { '\'' } else { c };
    let mut chars = text.chars().map(straight);
    start.chars().map(straight).all(|c| chars.next() == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openers_are_seen_with_either_apostrophe() {
        assert_eq!(opener("I’m sorry, but no."), Some(Opener::Refusal));
        assert_eq!(opener("Sure, continuing:"), Some(Opener::Preamble));
        assert_eq!(opener("Surely not"), None);
        assert!(may_open("Su", true) && may_open("", true) && !may_open("Suz", false));
        assert!(may_open("Certainl", false) && !may_open("Of c", true));
    }
}
