//! Token counts, both ways. Everyone spells cached tokens differently; xAI counts reasoning outside the completion.

use canon::Usage;
use serde_json::{Map, Value, json};

/// Reads a `usage` object. `outside` = the profile says that reasoning is not part of `completion_tokens`; a stated
/// total overrules it, because the same model behind another host may count the other way.
pub(super) fn decode(usage: &Map<String, Value>, outside: bool) -> Usage {
    let input = number(usage, "prompt_tokens").or_else(|| number(usage, "input_tokens"));
    let completion = number(usage, "completion_tokens").or_else(|| number(usage, "output_tokens"));
    let of_input =
        |key| detail(usage, "prompt_tokens_details", key).or_else(|| detail(usage, "input_tokens_details", key));
    let of_output =
        |key| detail(usage, "completion_tokens_details", key).or_else(|| detail(usage, "output_tokens_details", key));
    let reasoning = of_output("reasoning_tokens").or_else(|| number(usage, "reasoning_tokens"));
    let cached = of_input("cached_tokens")
        .or_else(|| number(usage, "prompt_cache_hit_tokens"))
        .or_else(|| number(usage, "cached_tokens"))
        .or_else(|| number(usage, "num_cached_tokens"));
    let written = of_input("cache_write_tokens")
        .or_else(|| of_input("cache_creation_input_tokens"))
        .or_else(|| number(usage, "cache_creation_input_tokens"));
    let output = completion.map(|completion| {
        let reasoning = reasoning.unwrap_or(0);
        let apart = is_apart(number(usage, "total_tokens"), input.unwrap_or(0), completion, reasoning, outside);
        if apart { completion.saturating_add(reasoning) } else { completion }
    });
    Usage {
        input_tokens: input,
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens: output,
        reasoning_tokens: reasoning,
        input_audio_tokens: of_input("audio_tokens"),
        output_audio_tokens: of_output("audio_tokens"),
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

fn number(map: &Map<String, Value>, key: &str) -> Option<u64> {
    map.get(key).and_then(Value::as_u64)
}

fn detail(usage: &Map<String, Value>, group: &str, key: &str) -> Option<u64> {
    usage.get(group).and_then(Value::as_object).and_then(|group| number(group, key))
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
