//! `usage`: the API counts cached input apart from `input_tokens`; canonically it is included.

use canon::{Drops, Usage};
use serde_json::{Map, Value};

/// The counts as the API states them, gathered over the events of a stream: a later report replaces only what it
/// states (older models and Vertex repeat nothing but `output_tokens` in `message_delta`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WireUsage {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl WireUsage {
    /// Takes over what `usage` states.
    pub(super) fn read(&mut self, usage: &Value) {
        let pairs = [
            (&mut self.input, usage.get("input_tokens")),
            (&mut self.cache_read, usage.get("cache_read_input_tokens")),
            (&mut self.cache_write, usage.get("cache_creation_input_tokens")),
            (&mut self.output, usage.get("output_tokens")),
            (&mut self.thinking, usage.pointer("/output_tokens_details/thinking_tokens")),
        ];
        for (held, stated) in pairs {
            if let Some(count) = stated.and_then(Value::as_u64) {
                *held = Some(count);
            }
        }
    }

    /// The counts so far, input summed.
    pub(super) fn canonical(&self) -> Usage {
        let cached = self.cache_read.unwrap_or(0).saturating_add(self.cache_write.unwrap_or(0));
        Usage {
            input_tokens: self.input.map(|input| input.saturating_add(cached)),
            cached_input_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
            output_tokens: self.output,
            reasoning_tokens: self.thinking,
            ..Usage::default()
        }
    }
}

/// The counts of one whole report.
pub(super) fn read(usage: &Value) -> Usage {
    let mut wire = WireUsage::default();
    wire.read(usage);
    wire.canonical()
}

/// Writes `usage`, cached input taken out of the input again. The two totals are required by the SDKs' types; an
/// unknown one is 0.
///
/// The three input counts are summed by who reads them, so cached tokens beyond the input (hosts of Grok count those of
/// a hidden prompt) would make the input larger than it was: they are capped, which [`report`] says.
pub(super) fn write(usage: &Usage) -> Map<String, Value> {
    let input = usage.input_tokens.unwrap_or(0);
    let room = usage.input_tokens.unwrap_or(u64::MAX);
    let read = usage.cached_input_tokens.map(|count| count.min(room));
    let room = room.saturating_sub(read.unwrap_or(0));
    let written = usage.cache_write_tokens.map(|count| count.min(room));
    let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    let mut map = Map::new();
    map.insert("input_tokens".to_owned(), input.saturating_sub(cached).into());
    if let Some(count) = written {
        map.insert("cache_creation_input_tokens".to_owned(), count.into());
    }
    if let Some(count) = read {
        map.insert("cache_read_input_tokens".to_owned(), count.into());
    }
    map.insert("output_tokens".to_owned(), usage.output_tokens.unwrap_or(0).into());
    if let Some(count) = usage.reasoning_tokens {
        map.insert("output_tokens_details".to_owned(), serde_json::json!({ "thinking_tokens": count }));
    }
    map
}

/// Says which counts [`write`] had no place for.
pub(super) fn report(usage: &Usage, drops: &mut Drops) {
    let cached = usage.cached_input_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    if usage.input_tokens.is_some_and(|input| cached > input) {
        drops.add("usage.cached_tokens", "anthropic-messages has no cached tokens beyond the input");
    }
    let counts = [
        ("usage.input_audio_tokens", usage.input_audio_tokens),
        ("usage.output_audio_tokens", usage.output_audio_tokens),
    ];
    for (path, _) in counts.into_iter().filter(|(_, count)| count.is_some_and(|count| count > 0)) {
        drops.add(path, "anthropic-messages does not count audio apart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cached_input_is_added_when_read_and_taken_out_when_written() {
        let wire = json!({"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100,
            "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}});
        let usage = read(&wire);
        assert_eq!(usage.input_tokens, Some(125));
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(9), Some(4)));
        assert_eq!(Value::Object(write(&usage)), wire);
    }

    #[test]
    fn cached_tokens_beyond_the_input_never_make_the_input_larger() {
        let usage = Usage { input_tokens: Some(78), cached_input_tokens: Some(238), ..Usage::default() };
        let (wire, mut drops) = (write(&usage), Drops::new());
        assert_eq!((wire["input_tokens"].as_u64(), wire["cache_read_input_tokens"].as_u64()), (Some(0), Some(78)));
        report(&usage, &mut drops);
        assert_eq!(drops.iter().map(|drop| drop.path.as_str()).collect::<Vec<_>>(), ["usage.cached_tokens"]);
    }

    #[test]
    fn a_report_of_output_alone_keeps_the_input_stated_before() {
        let mut usage = WireUsage::default();
        usage.read(&json!({"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}));
        usage.read(&json!({"output_tokens": 12, "input_tokens": null}));
        assert_eq!(usage.canonical().input_tokens, Some(10));
        assert_eq!(usage.canonical().output_tokens, Some(12));
    }
}
