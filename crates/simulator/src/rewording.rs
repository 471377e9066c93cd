//! The ways a model spoils a continuation: other words, other marks, another language.

/// Words and what another model might say for them.
const OTHER_WORDS: [(&str, &str); 24] = [
    ("the", "this"),
    ("a", "one"),
    ("an", "one"),
    ("is", "remains"),
    ("are", "remain"),
    ("and", "as well as"),
    ("of", "from"),
    ("to", "toward"),
    ("in", "inside"),
    ("it", "that"),
    ("with", "using"),
    ("for", "on behalf of"),
    ("you", "one"),
    ("that", "which"),
    ("on", "upon"),
    ("over", "above"),
    ("quick", "fast"),
    ("lazy", "sleepy"),
    ("was", "had been"),
    ("this", "the following"),
    ("can", "is able to"),
    ("not", "never"),
    ("or", "or else"),
    ("we", "people"),
];

const GERMAN: &str = "An dieser Stelle setzt der Text fort, allerdings in einer anderen Sprache, weil das Modell die \
                      Anweisung zwar gelesen, aber nicht so befolgt hat, wie es sollte. ";

/// Most often a loop goes round, and its longest output in bytes.
const ROUNDS: usize = 40;
const LONGEST_LOOP: usize = 16 << 10;

/// The same in other words; never the same text.
pub(crate) fn reworded(text: &str) -> String {
    let other: String = text.split_inclusive(char::is_whitespace).map(other_word).collect();
    if other == text { format!("Put differently, {}", text.trim_start()) } else { other }
}

fn other_word(word: &str) -> String {
    let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
    let found = OTHER_WORDS.into_iter().find(|(known, _)| *known == bare.to_lowercase());
    match found {
        Some((_, other)) if !bare.is_empty() => word.replacen(bare, other, 1),
        _ => word.to_owned(),
    }
}

/// The last sentence of a text, from behind the end of the one before it.
pub(crate) fn last_sentence(text: &str) -> &str {
    let within = text.trim_end().trim_end_matches(['.', '!', '?', '。', '！', '？']);
    let mut ends =
        within.char_indices().filter(|(_, letter)| matches!(letter, '.' | '!' | '?' | '\n' | '。' | '！' | '？'));
    let after = ends.next_back().map_or(0, |(at, letter)| at + letter.len_utf8());
    let sentence = text.get(after..).unwrap_or_default();
    sentence.strip_prefix(' ').unwrap_or(sentence)
}

/// So many words of German.
pub(crate) fn in_german(words: usize) -> String {
    let all: Vec<&str> = GERMAN.split_whitespace().cycle().take(words.clamp(8, 400)).collect();
    all.join(" ")
}

/// The same again and again, to a bound.
pub(crate) fn looped(text: &str) -> String {
    text.repeat(ROUNDS.min(LONGEST_LOOP / text.len().max(1)).max(2))
}

/// Without its first words: three, or as many as leave something; a text without spaces loses four characters.
pub(crate) fn without_first_words(text: &str) -> &str {
    let spaces: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).filter(|at| *at > 0).collect();
    let at = match spaces.get(2).or(spaces.last()) {
        Some(at) => *at,
        None => text.char_indices().nth(4).map_or(text.len(), |(at, _)| at),
    };
    text.get(at..).unwrap_or_default()
}

/// Plain quotes, spaces, dashes and line ends.
pub(crate) fn normalised(text: &str) -> String {
    let lines = text.replace("\r\n", "\n");
    lines
        .chars()
        .map(|letter| match letter {
            '“' | '”' | '„' | '«' | '»' => '"',
            '‘' | '’' | '‚' => '\'',
            '\u{a0}' | '\u{202f}' | '\u{2009}' => ' ',
            '–' | '—' | '\u{2011}' => '-',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_are_never_the_same() {
        assert_eq!(reworded("The quick fox is lazy."), "this fast fox remains sleepy.");
        assert_eq!(reworded("漢字"), "Put differently, 漢字");
    }

    #[test]
    fn a_sentence_begins_behind_the_one_before() {
        assert_eq!(last_sentence("One. Two three. "), "Two three. ");
        assert_eq!(last_sentence("One. Two"), "Two");
        assert_eq!(last_sentence("One"), "One");
        assert_eq!(last_sentence("一。二。"), "二。");
    }

    #[test]
    fn words_are_left_out_and_marks_made_plain() {
        assert_eq!(without_first_words(" a b c d"), " d");
        assert_eq!(without_first_words("ab c"), " c");
        assert_eq!(without_first_words("一二三四五六"), "五六");
        assert_eq!(normalised("“naïve”\u{a0}— it’s\r\n"), "\"naïve\" - it's\n");
    }

    #[test]
    fn a_loop_has_a_bound() {
        assert_eq!(looped("ab").len(), 80);
        assert!(looped(&"x".repeat(1000)).len() <= LONGEST_LOOP);
    }
}
