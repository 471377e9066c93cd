//! Words that are drawn, and scores that are given.

use crate::wire::Asked;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

const VOCABULARY: [&str; 48] = [
    "harbour", "lantern", "quiet", "river", "under", "seven", "bridges", "carries", "letters", "toward", "morning",
    "markets", "where", "copper", "kettles", "sing", "beside", "naïve", "painters", "counting", "clouds", "until",
    "the", "ferry", "returns", "with", "oranges", "and", "maps", "of", "islands", "nobody", "has", "drawn", "before",
    "winter", "opens", "its", "door", "slowly", "while", "a", "clock", "forgets", "every", "second", "word", "again",
];

/// Adds so many words that depend on `prompt` alone, in sentences, without a pattern that repeats.
pub(crate) fn ramble(text: &mut String, words: usize, prompt: &str) {
    let mut hasher = std::hash::DefaultHasher::new();
    prompt.hash(&mut hasher);
    let mut rng = fastrand::Rng::with_seed(hasher.finish());
    let mut left_in_sentence = 0;
    for number in 0..words {
        let is_first = left_in_sentence == 0;
        if is_first {
            left_in_sentence = rng.usize(5..12);
        }
        left_in_sentence -= 1;
        let word = VOCABULARY.get(rng.usize(..VOCABULARY.len())).copied().unwrap_or("word");
        text.push(' ');
        match word.chars().next() {
            Some(letter) if is_first => {
                text.extend(letter.to_uppercase());
                text.push_str(word.get(letter.len_utf8()..).unwrap_or_default());
            }
            _ => text.push_str(word),
        }
        if left_in_sentence == 0 || number + 1 == words {
            text.push('.');
        }
    }
}

/// Whether a request asks for scores: it names a criterion, or says that it wants scores.
pub(crate) fn is_scoring(asked: &Asked, scores: &BTreeMap<String, f64>) -> bool {
    let said = format!("{} {}", asked.instructions, asked.last_user).to_lowercase();
    !scores.is_empty()
        && (said.contains("score") || scores.keys().any(|criterion| said.contains(&criterion.to_lowercase())))
}

/// Writes the scores into a value, wherever it has a field of a criterion's name.
pub(crate) fn score(value: &mut Value, scores: &BTreeMap<String, f64>) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, field)| match scores.get(name) {
            Some(given) if !field.is_object() => *field = json!(given),
            Some(given) => *field = scored(field, *given),
            None => score(field, scores),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| score(value, scores)),
        _ => {}
    }
}

/// A criterion that is an object of its own, as `{"score": 0.5, "reason": "…"}`: its number is the score.
fn scored(field: &Value, score: f64) -> Value {
    let fields = field.as_object().cloned().unwrap_or_default();
    let all = fields.into_iter().map(|(name, value)| (name, if value.is_number() { json!(score) } else { value }));
    Value::Object(all.collect::<Map<String, Value>>())
}
