//! Text held back to a boundary, so that a change of targets falls between words or sentences.

use crate::text::{from, has_chars, until};

/// To which boundary text is held back (`hold:`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Granularity {
    /// Not at all.
    #[default]
    None,
    /// To the end of a word: white space after it, or an ideograph.
    Word,
    /// To the end of a sentence: `.`, `!`, `?`, `…` (and closing quotes or brackets) before white space; `。`, `！`, `？`;
    /// a line break.
    Sentence,
}

/// Characters that are held at most; a sentence that is longer is given out by words, a longer word as it is.
const HELD_MAX: usize = 2_000;

/// Holds text back.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    granularity: Granularity,
    /// What is held, and before it what the last call gave out.
    buffer: String,
    given: usize,
}

impl Hold {
    /// A holder that holds nothing yet.
    pub fn new(granularity: Granularity) -> Self {
        Self { granularity, ..Self::default() }
    }

    /// Takes text and gives out what may be shown: everything up to the last boundary; may be empty.
    pub fn push<'a>(&'a mut self, text: &'a str) -> &'a str {
        if self.granularity == Granularity::None {
            return text;
        }
        self.buffer.drain(..self.given);
        self.buffer.push_str(text);
        self.given = self.boundary();
        until(&self.buffer, self.given)
    }

    /// The answer has ended as its protocol says: gives out what was held. After a break it is dropped instead, not
    /// having been shown.
    pub fn finish(&mut self) -> &str {
        self.buffer.drain(..self.given);
        self.given = self.buffer.len();
        &self.buffer
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.given
    }

    fn boundary(&self) -> usize {
        let held = self.buffer.as_str();
        let boundary = match self.granularity {
            Granularity::None => held.len(),
            Granularity::Word => last_word(held),
            Granularity::Sentence => last_sentence(held),
        };
        if !has_chars(from(held, boundary), HELD_MAX) {
            return boundary;
        }
        match last_word(held) {
            word if word > boundary => word,
            _ => held.len(),
        }
    }
}

/// Where the last whole word ends, the white space after it included.
fn last_word(text: &str) -> usize {
    let mut boundary = 0;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() || is_ideograph(c) {
            boundary = at + c.len_utf8();
        }
    }
    boundary
}

/// Where the last whole sentence ends, the white space after it included.
fn last_sentence(text: &str) -> usize {
    /// Whether a sentence may have ended before the current character.
    #[derive(PartialEq)]
    enum End {
        Not,
        /// A stop that ends a sentence if white space follows.
        Maybe,
        Sure,
    }
    let mut boundary = 0;
    let mut end = End::Not;
    for (at, c) in text.char_indices() {
        let after = at + c.len_utf8();
        match c {
            '\n' | '。' | '！' | '？' => end = End::Sure,
            '.' | '!' | '?' | '…' => end = End::Maybe,
            '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '」' | '』' | '）' | '*' | '_' if end != End::Not => {}
            c if c.is_whitespace() && end != End::Not => end = End::Sure,
            _ => end = End::Not,
        }
        if end == End::Sure {
            boundary = after;
        }
    }
    boundary
}

/// Han, Hiragana, Katakana: written without spaces, each a boundary. Hangul is written with spaces.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff65}' | '\u{20000}'..='\u{3134f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(granularity: Granularity, pieces: &[&str]) -> Vec<String> {
        let mut hold = Hold::new(granularity);
        let mut out: Vec<String> = pieces.iter().map(|piece| hold.push(piece).to_owned()).collect();
        out.push(hold.finish().to_owned());
        out
    }

    #[test]
    fn words_come_whole() {
        assert_eq!(run(Granularity::Word, &["Hel", "lo wor", "ld"]), ["", "Hello ", "", "world"]);
    }

    #[test]
    fn every_ideograph_is_a_word() {
        assert_eq!(run(Granularity::Word, &["你好", "ab"]), ["你好", "", "ab"]);
    }

    #[test]
    fn sentences_come_whole_and_numbers_are_no_ends() {
        let pieces = ["Pi is 3", ".", "14. It", " is said \"so.\" And", "。", "x"];
        assert_eq!(
            run(Granularity::Sentence, &pieces),
            ["", "", "Pi is 3.14. ", "It is said \"so.\" ", "And。", "", "x"]
        );
    }

    #[test]
    fn what_has_no_boundary_is_bounded() {
        let mut hold = Hold::new(Granularity::Sentence);
        for _ in 0..10_000 {
            let _ = hold.push("x");
            assert!(hold.held() < HELD_MAX);
        }
        let mut hold = Hold::new(Granularity::Sentence);
        assert_eq!(hold.push(&"word ".repeat(500)).len(), 2_500);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(
            pieces in prop::collection::vec("[a-c .!。你\n\"]{0,6}", 0..20),
            granularity in prop::sample::select(vec![Granularity::None, Granularity::Word, Granularity::Sentence]),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(run(granularity, &pieces).concat(), pieces.concat());
        }
    }
}
