//! Token counts, both ways. Everyone spells cached tokens differently; xAI counts reasoning outside the completion.

use canon::Usage;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::fmt;

/// A `usage` object as far as anybody states it. Anything that is no whole number counts as not stated.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Stated {
    prompt_tokens: Count,
    input_tokens: Count,
    completion_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    reasoning_tokens: Count,
    prompt_cache_hit_tokens: Count,
    cached_tokens: Count,
    num_cached_tokens: Count,
    cache_creation_input_tokens: Count,
    prompt_tokens_details: Details,
    input_tokens_details: Details,
    completion_tokens_details: Details,
    output_tokens_details: Details,
}

/// One of the groups of details; anything that is no object states nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Details(Breakdown);

#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the wire's own names")]
struct Breakdown {
    cached_tokens: Count,
    cache_write_tokens: Count,
    cache_creation_input_tokens: Count,
    reasoning_tokens: Count,
    audio_tokens: Count,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count(Option<u64>);

/// Reads a `usage` object out of a frame that was read in full.
pub(super) fn decode(usage: &Map<String, Value>, outside: bool) -> Usage {
    Stated::deserialize(usage).unwrap_or_default().settle(outside)
}

impl Stated {
    /// What the figures mean. `outside` = the profile says that reasoning is not part of `completion_tokens`; a stated
    /// total overrules it, because the same model behind another host may count the other way.
    pub(super) fn settle(&self, outside: bool) -> Usage {
        let input = self.prompt_tokens.0.or(self.input_tokens.0);
        let completion = self.completion_tokens.0.or(self.output_tokens.0);
        let of_input = |count: fn(&Breakdown) -> Count| {
            count(&self.prompt_tokens_details.0).0.or(count(&self.input_tokens_details.0).0)
        };
        let of_output = |count: fn(&Breakdown) -> Count| {
            count(&self.completion_tokens_details.0).0.or(count(&self.output_tokens_details.0).0)
        };
        let reasoning = of_output(|d| d.reasoning_tokens).or(self.reasoning_tokens.0);
        let cached = of_input(|d| d.cached_tokens)
            .or(self.prompt_cache_hit_tokens.0)
            .or(self.cached_tokens.0)
            .or(self.num_cached_tokens.0);
        let written = of_input(|d| d.cache_write_tokens)
            .or(of_input(|d| d.cache_creation_input_tokens))
            .or(self.cache_creation_input_tokens.0);
        let output = completion.map(|completion| {
            let reasoning = reasoning.unwrap_or(0);
            let apart = is_apart(self.total_tokens.0, input.unwrap_or(0), completion, reasoning, outside);
            if apart { completion.saturating_add(reasoning) } else { completion }
        });
        Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            cache_write_tokens: written,
            output_tokens: output,
            reasoning_tokens: reasoning,
            input_audio_tokens: of_input(|d| d.audio_tokens),
            output_audio_tokens: of_output(|d| d.audio_tokens),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(count)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Count, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Count, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Count(None))
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DetailsVisitor)
    }
}

struct DetailsVisitor;

impl<'de> Visitor<'de> for DetailsVisitor {
    type Value = Details;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_u64<E>(self, _: u64) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_unit<E>(self) -> Result<Details, E> {
        Ok(Details::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Details, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Details::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Details, A::Error> {
        Breakdown::deserialize(MapAccessDeserializer::new(map)).map(Details)
    }
}

fn is_apart(total: Option<u64>, input: u64, completion: u64, reasoning: u64, outside: bool) -> bool {
    if reasoning == 0 {
        return false;
    }
    let inside_total = input.saturating_add(completion);
    match total {
        Some(total) if total == inside_total.saturating_add(reasoning) => true,
        Some(total) if total == inside_total => false,
        _ => outside,
    }
}

/// Writes a `usage` object: the three totals always (SDKs type them as integers), details where known.
pub(super) fn encode(usage: &Usage) -> Value {
    let mut body = json!({
        "prompt_tokens": usage.input_tokens.unwrap_or(0),
        "completion_tokens": usage.output_tokens.unwrap_or(0),
        "total_tokens": usage.total(),
    });
    let details = [
        (
            "prompt_tokens_details",
            [
                ("cached_tokens", usage.cached_input_tokens),
                ("cache_write_tokens", usage.cache_write_tokens),
                ("audio_tokens", usage.input_audio_tokens),
            ],
        ),
        (
            "completion_tokens_details",
            [("reasoning_tokens", usage.reasoning_tokens), ("audio_tokens", usage.output_audio_tokens), ("", None)],
        ),
    ];
    for (group, figures) in details {
        let known: Map<String, Value> =
            figures.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?)))).collect();
        if let (false, Some(body)) = (known.is_empty(), body.as_object_mut()) {
            body.insert(group.to_owned(), Value::Object(known));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value, outside: bool) -> Usage {
        decode(value.as_object().unwrap(), outside)
    }

    #[test]
    fn what_is_no_whole_number_is_not_stated() {
        let odd = json!({"prompt_tokens": "7", "completion_tokens": 5, "prompt_tokens_details": 3,
            "completion_tokens_details": {"reasoning_tokens": null, "audio_tokens": [1]}, "cost": {"a": 1}});
        assert_eq!(read(&odd, false), Usage { output_tokens: Some(5), ..Usage::default() });
    }

    #[test]
    fn xai_reasoning_is_added_to_the_output() {
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 100}});
        assert_eq!(read(&usage, true).output_tokens, Some(105));
        assert_eq!(read(&usage, false).output_tokens, Some(5));
    }

    #[test]
    fn a_stated_total_decides_where_reasoning_was_counted() {
        let apart = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115,
            "completion_tokens_details": {"reasoning_tokens": 100}});
        assert_eq!(read(&apart, false).output_tokens, Some(105));
        let inside = json!({"prompt_tokens": 10, "completion_tokens": 105, "total_tokens": 115,
            "completion_tokens_details": {"reasoning_tokens": 100}});
        assert_eq!(read(&inside, true).output_tokens, Some(105));
    }

    #[test]
    fn cached_tokens_are_found_under_every_name() {
        for usage in [
            json!({"prompt_tokens_details": {"cached_tokens": 7}}),
            json!({"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 3}),
            json!({"cached_tokens": 7}),
            json!({"num_cached_tokens": 7, "prompt_tokens_details": null}),
        ] {
            assert_eq!(read(&usage, false).cached_input_tokens, Some(7), "{usage}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let usage = Usage {
            input_tokens: Some(10),
            cached_input_tokens: Some(4),
            cache_write_tokens: Some(2),
            output_tokens: Some(9),
            reasoning_tokens: Some(3),
            input_audio_tokens: None,
            output_audio_tokens: Some(1),
        };
        assert_eq!(read(&encode(&usage), false), usage);
    }
}
