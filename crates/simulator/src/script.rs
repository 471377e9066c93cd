//! What a provider is told to say, to the letter: the reference a test compares with.

use crate::behaviour::mixed;
use crate::schema::pieces;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a provider answers. By default it makes up a sentence of its own.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Where the words come from when `text` does not give them.
    pub words: Words,
    /// The text of every answer, to the letter; JSON too, whatever output format was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The reasoning before it, whether or not reasoning was asked for; `""` = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The tool calls after it, whether or not the tools were offered. Calls without a text are all of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ScriptedCall>,
    /// How text, reasoning and arguments are cut into events.
    pub chunks: Chunks,
    /// Scores an evaluator gives, by criterion: where a prompt, a schema or a tool asks for scores or names one of the
    /// criteria, the answer is a JSON object of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

impl Answer {
    /// This text.
    pub fn exactly(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// This value, as JSON text.
    pub fn json(value: &Value) -> Self {
        Self::exactly(value.to_string())
    }

    /// Words that depend on the prompt alone.
    pub fn of_prompt() -> Self {
        Self { words: Words::Prompt, ..Self::default() }
    }

    /// An evaluator that gives these scores.
    pub fn scoring<'a>(scores: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let scores = scores.into_iter().map(|(criterion, score)| (criterion.to_owned(), score)).collect();
        Self { scores, ..Self::default() }
    }

    /// In chunks of this kind.
    pub fn in_chunks(self, chunks: Chunks) -> Self {
        Self { chunks, ..self }
    }

    /// After this reasoning.
    pub fn after_reasoning(self, reasoning: impl Into<String>) -> Self {
        Self { reasoning: Some(reasoning.into()), ..self }
    }

    /// With one more tool call at its end.
    pub fn then_calling(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.calls.push(ScriptedCall { name: name.into(), arguments });
        self
    }
}

/// A tool call to the letter.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// The tool's name.
    pub name: String,
    /// Its arguments: an object, sent in the order of its keys.
    pub arguments: Value,
}

/// Where the words of an answer come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// From the provider: it says who it is, so that a caller sees who served it.
    #[default]
    Own,
    /// From the prompt alone: every provider says the same, so that one can go on where another broke off.
    Prompt,
}

/// How a text is cut into events, in one line: `words`, `whole`, `bytes=7`, `characters=3`, `random=12`.
///
/// An event holds whole characters, as JSON must: a chunk of fewer bytes than its next character is that character.
/// Tokens are counted by words, whatever the chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chunks {
    /// Words with the space behind them, long ones cut: one token each.
    #[default]
    Words,
    /// One event.
    Whole,
    /// At most so many bytes.
    Bytes(usize),
    /// So many characters.
    Characters(usize),
    /// One to so many characters, drawn from the seed.
    Random(usize),
}

impl Chunks {
    /// `text` in chunks, with the tokens that each one begins.
    pub(crate) fn of(self, text: &str, seed: u64) -> Vec<Piece> {
        let mut rng = mixed(seed, text.len() as u64, 0);
        let mut meter = Meter::default();
        self.split(text, &mut rng).into_iter().map(|text| Piece { tokens: meter.take(&text), text }).collect()
    }

    fn split(self, text: &str, rng: &mut fastrand::Rng) -> Vec<String> {
        let (mut rest, mut all) = (text, Vec::new());
        if self == Self::Words {
            return pieces(text);
        }
        while !rest.is_empty() {
            let at = match self {
                Self::Words | Self::Whole => rest.len(),
                Self::Bytes(most) => {
                    let first = rest.chars().next().map_or(1, char::len_utf8);
                    (0..=most.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0).max(first)
                }
                Self::Characters(count) => place(rest, count),
                Self::Random(most) => place(rest, rng.usize(1..=most.max(1))),
            };
            let (chunk, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            all.push(chunk.to_owned());
            rest = after;
        }
        all
    }
}

/// The byte place after so many characters, one at least.
fn place(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters.max(1)).map_or(text.len(), |(at, _)| at)
}

/// One event's worth of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tokens: u32,
}

/// Counts tokens, which are the pieces of [`pieces`], of a text that comes in any chunks.
#[derive(Debug, Default)]
struct Meter {
    /// Characters of the token under way; 0 = the next one begins a token.
    open: usize,
}

impl Meter {
    fn take(&mut self, text: &str) -> u32 {
        let mut begun = 0;
        for letter in text.chars() {
            begun += u32::from(self.open == 0);
            self.open = if letter == ' ' || self.open + 1 == crate::schema::LONGEST_PIECE { 0 } else { self.open + 1 };
        }
        begun
    }
}

impl FromStr for Chunks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("`{text}`: expected words, whole, bytes=…, characters=… or random=…, at least 1");
        let (name, count) = text.split_once('=').unwrap_or((text, ""));
        let count = || count.parse::<usize>().ok().filter(|count| *count > 0).ok_or_else(expected);
        match name {
            "words" => Ok(Self::Words),
            "whole" => Ok(Self::Whole),
            "bytes" => Ok(Self::Bytes(count()?)),
            "characters" => Ok(Self::Characters(count()?)),
            "random" => Ok(Self::Random(count()?)),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words => f.write_str("words"),
            Self::Whole => f.write_str("whole"),
            Self::Bytes(count) => write!(f, "bytes={count}"),
            Self::Characters(count) => write!(f, "characters={count}"),
            Self::Random(count) => write!(f, "random={count}"),
        }
    }
}

impl serde::Serialize for Chunks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Chunks {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chunks_read_back_from_their_one_line_form() {
        for text in ["words", "whole", "bytes=7", "characters=1", "random=12"] {
            assert_eq!(text.parse::<Chunks>().unwrap().to_string(), text);
        }
        for text in ["bytes", "bytes=0", "letters=2"] {
            assert!(text.parse::<Chunks>().unwrap_err().contains("expected words"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_text_and_count_its_tokens(text in "\\PC{0,200}|[a-z ]{0,200}", size in 1_usize..9, seed: u64) {
            let tokens = pieces(&text).len();
            for chunks in [Chunks::Words, Chunks::Whole, Chunks::Bytes(size), Chunks::Characters(size), Chunks::Random(size)] {
                let all = chunks.of(&text, seed);
                prop_assert_eq!(all.iter().map(|piece| piece.text.as_str()).collect::<String>(), text.clone());
                prop_assert_eq!(all.iter().map(|piece| piece.tokens as usize).sum::<usize>(), tokens);
                prop_assert!(all.iter().all(|piece| !piece.text.is_empty()));
                if let Chunks::Bytes(most) = chunks {
                    prop_assert!(all.iter().all(|piece| piece.text.len() <= most || piece.text.chars().count() == 1));
                }
            }
        }
    }
}
