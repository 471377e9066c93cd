//! What the words of a request tell: counted in one pass over the bytes as they stand in the body, escapes included.
//!
//! The words are English. In other languages length, numbers, maths and code still count, which is what most of the
//! score is made of.

use std::sync::LazyLock;

/// Most bytes looked at. A longer text is known by its two ends: that is where people write what they want.
pub(super) const MOST: usize = 8 << 10;

/// Letters from which on a word is taken for a term of some field.
const LONG_WORD: u32 = 10;
/// Letters of the longest word in the table; more of them do not fit in its key.
const MOST_LETTERS: u32 = 16;

/// What a word says of the work that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Work of several steps.
    Hard,
    /// Work that moves words rather than finds something out.
    Easy,
    /// Mathematics.
    Maths,
    /// A number.
    Number,
    /// A thing that is to be left out or turned round.
    Negation,
    /// A condition that the answer has to meet.
    Condition,
}

const WORDS: [(Kind, &[&str]); 6] = [
    (
        Kind::Hard,
        &[
            "algorithm",
            "analyse",
            "analysis",
            "analyze",
            "architecture",
            "compare",
            "critique",
            "debug",
            "deduce",
            "derive",
            "design",
            "diagnose",
            "evaluate",
            "explain",
            "implement",
            "infer",
            "justify",
            "optimise",
            "optimize",
            "plan",
            "proof",
            "prove",
            "reason",
            "refactor",
            "simulate",
            "strategy",
            "tradeoff",
            "tradeoffs",
            "why",
        ],
    ),
    (
        Kind::Easy,
        &[
            "classify",
            "extract",
            "grammar",
            "keywords",
            "label",
            "paraphrase",
            "proofread",
            "rephrase",
            "rewrite",
            "sentiment",
            "spelling",
            "summarise",
            "summarize",
            "summary",
            "tag",
            "title",
            "translate",
            "translation",
        ],
    ),
    (
        Kind::Maths,
        &[
            "average",
            "cos",
            "derivative",
            "equation",
            "integral",
            "log",
            "matrix",
            "modulo",
            "percent",
            "percentage",
            "polynomial",
            "prime",
            "probability",
            "ratio",
            "sin",
            "sqrt",
            "sum",
            "tan",
            "theorem",
            "triangle",
            "vector",
        ],
    ),
    (
        Kind::Number,
        &[
            "double", "dozen", "eight", "eleven", "fifty", "five", "forty", "four", "half", "hundred", "nine",
            "quarter", "seven", "six", "ten", "third", "thirty", "thousand", "three", "triple", "twelve", "twenty",
            "twice", "two",
        ],
    ),
    (Kind::Negation, &["except", "false", "incorrect", "least", "neither", "never", "nor", "not", "unless", "without"]),
    (
        Kind::Condition,
        &[
            "after",
            "assume",
            "before",
            "between",
            "every",
            "exactly",
            "given",
            "if",
            "most",
            "must",
            "only",
            "otherwise",
            "respectively",
            "suppose",
            "than",
            "until",
            "whenever",
        ],
    ),
];

/// Keys of the words, in order.
static TABLE: LazyLock<Vec<(u128, Kind)>> = LazyLock::new(|| {
    let all = WORDS.iter().flat_map(|(kind, words)| words.iter().map(|word| (key(word), *kind)));
    let mut table: Vec<_> = all.collect();
    table.sort_unstable_by_key(|(key, _)| *key);
    table
});

fn key(word: &str) -> u128 {
    word.bytes().fold(0, |key, letter| key << 8 | u128::from(letter))
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Characters.
    pub(super) letters: u64,
    pub(super) long_words: u32,
    pub(super) numbers: u32,
    pub(super) maths: u32,
    pub(super) code: u32,
    pub(super) negations: u32,
    pub(super) conditions: u32,
    /// Different words of hard work, by their place in the table.
    hard: u128,
    easy: u128,
    /// Bytes that may still be looked at.
    left: usize,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { left: MOST, ..Self::default() }
    }

    /// Different words that ask for work of several steps.
    pub(super) fn hard(&self) -> u32 {
        self.hard.count_ones()
    }

    /// Different words that ask for words to be moved.
    pub(super) fn easy(&self) -> u32 {
        self.easy.count_ones()
    }

    /// Counts one text.
    pub(super) fn add(&mut self, text: &[u8]) {
        let looked_at = text.len().min(self.left);
        self.left -= looked_at;
        let tail = if looked_at < text.len() { looked_at / 2 } else { 0 };
        let head = text.get(..looked_at - tail).unwrap_or_default();
        let middle = text.len() - looked_at;
        self.pass(head);
        self.letters += middle as u64;
        self.pass(text.get(looked_at - tail + middle..).unwrap_or_default());
    }

    fn pass(&mut self, text: &[u8]) {
        let mut word = Word::default();
        let mut before = [b' '; 2];
        let mut bytes = text.iter().copied();
        while let Some(byte) = bytes.next() {
            let (byte, escaped) = if byte == b'\\' { unescaped(&mut bytes) } else { (byte, false) };
            // The bytes inside a character of several are no characters of their own.
            self.letters += u64::from(byte & 0xc0 != 0x80);
            if byte.is_ascii_alphabetic() {
                // LaTeX: a backslash, and the name of a command.
                self.maths += u32::from(word.length == 0 && before.last() == Some(&b'\\'));
                word.push(byte);
            } else {
                self.end(&mut word);
                self.mark(before, byte, escaped);
            }
            before = [before[1], byte];
        }
        self.end(&mut word);
    }

    /// A word is over.
    fn end(&mut self, word: &mut Word) {
        if word.length == 0 {
            return;
        }
        let Word { key, length } = std::mem::take(word);
        self.long_words += u32::from(length >= LONG_WORD);
        if length > MOST_LETTERS {
            return;
        }
        let Ok(at) = TABLE.binary_search_by_key(&key, |(key, _)| *key) else { return };
        let Some((_, kind)) = TABLE.get(at) else { return };
        match kind {
            Kind::Hard => self.hard |= 1 << at,
            Kind::Easy => self.easy |= 1 << at,
            Kind::Maths => self.maths += 1,
            Kind::Number => self.numbers += 1,
            Kind::Negation => self.negations += 1,
            Kind::Condition => self.conditions += 1,
        }
    }

    /// What a byte that is no letter says, with the two before it.
    fn mark(&mut self, before: [u8; 2], byte: u8, escaped: bool) {
        let [earlier, last] = before;
        match byte {
            // A number begins: not inside a name (`x2`), and not its own later digits (`1,000`, `2.5`).
            b'0'..=b'9' => {
                let goes_on =
                    last.is_ascii_alphanumeric() || (matches!(last, b'.' | b',' | b':') && earlier.is_ascii_digit());
                self.numbers += u32::from(!goes_on);
            }
            b'=' => {
                let is_code = matches!(last, b'=' | b'!' | b':' | b'+' | b'-');
                self.code += u32::from(is_code);
                self.maths += u32::from(!is_code);
            }
            b'^' => self.maths += 1,
            // The mathematical operators of Unicode stand at U+2200 to U+22FF.
            0x88..=0x8b if last == 0xe2 => self.maths += 1,
            b'`' => self.code += u32::from(before == *b"``") * FENCE,
            b'>' => self.code += u32::from(matches!(last, b'-' | b'=')),
            b':' => self.code += u32::from(last == b':'),
            b')' => self.code += u32::from(last == b'('),
            b'/' => self.code += u32::from(last == b'<'),
            b'\n' if escaped => self.code += u32::from(matches!(last, b';' | b'{' | b'}')),
            _ => {}
        }
    }
}

/// Marks of code that a fence is worth: whoever writes one shows code.
const FENCE: u32 = 4;

#[derive(Default)]
struct Word {
    key: u128,
    length: u32,
}

impl Word {
    fn push(&mut self, letter: u8) {
        self.key = self.key << 8 | u128::from(letter.to_ascii_lowercase());
        self.length += 1;
    }
}

/// What a JSON escape stands for; any character given by its number is a letter of no word.
fn unescaped(rest: &mut impl Iterator<Item = u8>) -> (u8, bool) {
    let byte = match rest.next() {
        Some(b'n') => b'\n',
        Some(b't' | b'r' | b'b' | b'f') | None => b' ',
        Some(b'u') => {
            // Four hexadecimal digits.
            rest.nth(3);
            b'?'
        }
        Some(other) => other,
    };
    (byte, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let mut counts = Counts::new();
        let json = serde_json::to_string(text).unwrap();
        counts.add(&json.as_bytes()[1..json.len() - 1]);
        counts
    }

    #[test]
    fn every_word_is_in_the_table_once_and_fits_its_key() {
        let words: Vec<&str> = WORDS.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        assert!(words.len() <= 128, "{} words do not fit in a set of 128", words.len());
        assert_eq!(TABLE.len(), words.len());
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0), "a word stands twice");
        for word in words {
            assert!(word.len() <= MOST_LETTERS as usize && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn words_are_known_in_any_case_and_only_whole() {
        let seen = counts("Prove it. PROVE it again; improve nothing, and explain.");
        assert_eq!(seen.hard(), 2, "prove and explain, each once");
        assert_eq!(counts("Classify, translate, title").easy(), 3);
        assert_eq!(counts("knots and nots, but NOT this").negations, 1);
    }

    #[test]
    fn a_number_counts_once_however_it_is_written() {
        assert_eq!(counts("1,000.50 and 2.5 at 10:30").numbers, 3);
        assert_eq!(counts("three dozen, half of 12").numbers, 4);
        assert_eq!(counts("x2 and H2O are names").numbers, 0);
        assert_eq!(counts("It has 3. 4 more came").numbers, 2);
    }

    #[test]
    fn maths_and_code_are_told_by_their_marks() {
        let formula = counts("x^2 + 3x = 5, \\frac{1}{2}, a ≤ b");
        assert_eq!((formula.maths, formula.code), (4, 0));
        let code = counts("```\nfn main() {\n    a::b(x) -> c;\n}\n```");
        assert_eq!((code.maths, code.code), (0, 2 * FENCE + 6));
    }

    #[test]
    fn letters_are_characters_not_bytes_and_an_escape_is_one() {
        assert_eq!(counts("größer\n\"ja\"").letters, 11);
        let mut escaped = Counts::new();
        escaped.add(br"\u00e9t\u00e9");
        assert_eq!(escaped.letters, 3);
    }

    #[test]
    fn a_long_text_is_known_by_its_ends_and_its_length() {
        let filler = " filler".repeat(4_000);
        let seen = counts(&format!("prove this{filler} debug {filler} translate it"));
        assert_eq!((seen.hard(), seen.easy()), (1, 1), "the middle is not looked at");
        assert_eq!(seen.letters, 10 + 2 * 28_000 + 7 + 13);
    }
}
