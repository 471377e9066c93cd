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

/// How `text` begins, if one of the phrases stands there.
pub(crate) fn opener(text: &str) -> Option<Opener> {
    OPENERS.iter().find(|(phrase, _)| same_start(text, phrase)).map(|(_, kind)| *kind)
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
    }
}
