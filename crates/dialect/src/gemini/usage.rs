//! `usageMetadata`: Gemini counts thoughts outside the answer and tool-use prompts outside the prompt; here they are
//! added, and taken apart again for Gemini's own callers.

use canon::Usage;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::{Map, Value, json};
use std::fmt;

/// `usageMetadata` as it comes.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Counts {
    prompt_token_count: Count,
    cached_content_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    tool_use_prompt_token_count: Count,
    prompt_tokens_details: Option<Vec<Modality>>,
    candidates_tokens_details: Option<Vec<Modality>>,
    total_token_count: Count,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modality {
    modality: Kind,
    token_count: Count,
}

/// A token count; anything that is not one counts as not stated, because usage must never spoil an answer.
#[derive(Debug, Default, Clone, Copy)]
struct Count(Option<u64>);

/// Whether a modality is sound (`AUDIO`, or 4).
#[derive(Debug, Default, Clone, Copy)]
struct Kind(bool);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token count")
            }
            fn visit_u64<E>(self, v: u64) -> Result<Count, E> {
                Ok(Count(Some(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(v).ok()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Count, E> {
                Ok(Count(super::json::whole(v).and_then(|n| u64::try_from(n).ok())))
            }
            fn visit_str<E>(self, v: &str) -> Result<Count, E> {
                Ok(Count(v.parse().ok()))
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Kind;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a modality")
            }
            fn visit_str<E>(self, v: &str) -> Result<Kind, E> {
                Ok(Kind(v == "AUDIO"))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Kind, E> {
                Ok(Kind(v == 4))
            }
            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind(false))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Counts {
    /// The counts of a JSON value; empty when it is none.
    pub(super) fn of(value: &Value) -> Self {
        Deserialize::deserialize(value).unwrap_or_default()
    }

    /// In canonical terms: input with tool-use prompts, output with thoughts.
    pub(super) fn usage(&self) -> Usage {
        let input = match (self.prompt_token_count.0, self.tool_use_prompt_token_count.0) {
            (None, None) => None,
            (prompt, tools) => Some(prompt.unwrap_or(0).saturating_add(tools.unwrap_or(0))),
        };
        let output = match (self.candidates_token_count.0, self.thoughts_token_count.0) {
            (None, None) => None,
            (answer, thoughts) => Some(answer.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
        };
        // A total without its parts still tells the output.
        let rest = self.total_token_count.0.zip(input).map(|(total, input)| total.saturating_sub(input));
        Usage {
            input_tokens: input,
            cached_input_tokens: self.cached_content_token_count.0,
            cache_write_tokens: None,
            output_tokens: output.or(rest.filter(|n| *n > 0)),
            reasoning_tokens: self.thoughts_token_count.0,
            input_audio_tokens: audio(self.prompt_tokens_details.as_deref()),
            output_audio_tokens: audio(self.candidates_tokens_details.as_deref()),
        }
    }
}

fn audio(details: Option<&[Modality]>) -> Option<u64> {
    details?.iter().find(|d| d.modality.0)?.token_count.0
}

/// `usageMetadata` for a Gemini caller; `None` when nothing is known.
pub(super) fn encode(usage: &Usage) -> Option<Value> {
    if usage.is_empty() {
        return None;
    }
    let mut map = Map::new();
    let mut put = |key: &str, count: Option<u64>| {
        if let Some(count) = count {
            map.insert(key.to_owned(), json!(count));
        }
    };
    put("promptTokenCount", usage.input_tokens);
    put("cachedContentTokenCount", usage.cached_input_tokens);
    let answer = usage.output_tokens.map(|n| n.saturating_sub(usage.reasoning_tokens.unwrap_or(0)));
    put("candidatesTokenCount", answer);
    put("thoughtsTokenCount", usage.reasoning_tokens);
    put("totalTokenCount", Some(usage.total()));
    let details =
        [("promptTokensDetails", usage.input_audio_tokens), ("candidatesTokensDetails", usage.output_audio_tokens)];
    for (key, audio) in details {
        if let Some(count) = audio {
            map.insert(key.to_owned(), json!([{ "modality": "AUDIO", "tokenCount": count }]));
        }
    }
    Some(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_and_tool_prompts_are_added() {
        let usage = Counts::of(&json!({
            "promptTokenCount": 70, "candidatesTokenCount": 31, "thoughtsTokenCount": 175,
            "toolUsePromptTokenCount": 390, "totalTokenCount": 666, "cachedContentTokenCount": 5,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 10}]
        }))
        .usage();
        assert_eq!(usage.input_tokens, Some(460));
        assert_eq!(usage.output_tokens, Some(206));
        assert_eq!(usage.reasoning_tokens, Some(175));
        assert_eq!(usage.input_audio_tokens, Some(10));
        assert_eq!(usage.total(), 666);
    }

    #[test]
    fn nonsense_in_a_count_counts_as_not_stated() {
        let usage =
            Counts::of(&json!({"promptTokenCount": null, "candidatesTokenCount": -3, "thoughtsTokenCount": "7"}));
        assert_eq!(usage.usage(), Usage { output_tokens: Some(7), reasoning_tokens: Some(7), ..Usage::default() });
        assert!(Counts::of(&json!("no usage")).usage().is_empty());
    }

    #[test]
    fn usage_survives_a_round_trip() {
        let usage = Usage {
            input_tokens: Some(100),
            cached_input_tokens: Some(40),
            output_tokens: Some(50),
            reasoning_tokens: Some(20),
            output_audio_tokens: Some(3),
            ..Usage::default()
        };
        let wire = encode(&usage).unwrap();
        assert_eq!(wire["candidatesTokenCount"], 30);
        assert_eq!(wire["totalTokenCount"], 150);
        assert_eq!(Counts::of(&wire).usage(), usage);
        assert_eq!(encode(&Usage::default()), None);
    }
}
