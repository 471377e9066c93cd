//! The fields of a profile that a row states.
//!
//! Which fields a row states must be known to lay rows over each other, so every field is optional here; a test keeps
//! the list equal to that of [`Profile`].

use dialect::profile::{
    Continuation, Exclusion, GeminiThinking, Instructions, OutputCap, Profile, StreamUsage, Thinking,
};
use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields of a [`Profile`] that a row states, as written: a field stated as its default still overrides.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema)]
#[schemars(transparent)]
pub struct Quirks(#[schemars(with = "Fields")] Map<String, Value>);

/// Deviations from the dialect as its vendor documents it.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The field that caps the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_cap: Option<OutputCap>,
    /// How instructions are spelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<Instructions>,
    /// Top-level request fields it rejects: dropped and reported. An empty list clears those of the row below.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<Vec<String>>,
    /// Top-level fields it spells differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    rename: Option<BTreeMap<String, String>>,
    /// Most stop sequences it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_stop: Option<usize>,
    /// Highest temperature it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_temperature: Option<f64>,
    /// Sampling is rejected altogether.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_sampling: Option<bool>,
    /// `temperature` and `top_p` may not both be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_xor_top_p: Option<bool>,
    /// JSON Schema output is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_json_schema: Option<bool>,
    /// JSON mode is rejected too.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_json_object: Option<bool>,
    /// `tool_choice` other than auto and none is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice_auto_only: Option<bool>,
    /// Tool call ids are exactly nine letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    nine_character_tool_ids: Option<bool>,
    /// Only images inside the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    images_inline_only: Option<bool>,
    /// `content: null` is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    empty_content_string: Option<bool>,
    /// The field that takes reasoning text back.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_field: Option<String>,
    /// Every assistant turn with tool calls must carry that field.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_required_with_tools: Option<bool>,
    /// Usage counts reasoning outside `completion_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_outside_output: Option<bool>,
    /// How usage is asked for in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_usage: Option<StreamUsage>,
    /// How Anthropic models think.
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    /// How Gemini models think.
    #[serde(skip_serializing_if = "Option::is_none")]
    gemini_thinking: Option<GeminiThinking>,
    /// `reasoning_effort` values it takes; empty = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    efforts: Option<Vec<String>>,
    /// Forced tool use is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_forced_tools: Option<bool>,
    /// Output cap sent when the caller set none and the dialect requires one.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_max_tokens: Option<u64>,
    /// Highest output cap it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    /// How it goes on with an answer whose stream broke, by its own means.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation: Option<Continuation>,
    /// What such a continuation may not stand beside. The list replaces that of the row below.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_excludes: Option<Vec<Exclusion>>,
    /// Put before the dialect's path for such a call: `/beta`.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_path: Option<String>,
}

impl<'de> Deserialize<'de> for Quirks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::to_value(Fields::deserialize(deserializer)?) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Ok(Self::default()),
            Err(e) => Err(de::Error::custom(e)),
        }
    }
}

impl Quirks {
    /// The dialect's own behaviour with these deviations.
    ///
    /// # Errors
    /// None for quirks that were deserialised, as their fields are those of a profile.
    pub fn profile(&self) -> Result<Profile, serde_json::Error> {
        serde_json::from_value(Value::Object(self.0.clone()))
    }

    /// These, with `over` winning field by field. Fields to drop add up (an empty list clears them); renamed ones too.
    pub(crate) fn overlaid_with(&self, over: &Self) -> Self {
        let mut merged = self.0.clone();
        for (field, value) in &over.0 {
            match (merged.get_mut(field), value) {
                (Some(Value::Array(under)), Value::Array(over)) if field == "drop" && !over.is_empty() => {
                    let new: Vec<Value> = over.iter().filter(|name| !under.contains(name)).cloned().collect();
                    under.extend(new);
                }
                (Some(Value::Object(under)), Value::Object(over)) => {
                    under.extend(over.iter().map(|(k, v)| (k.clone(), v.clone())));
                }
                _ => {
                    merged.insert(field.clone(), value.clone());
                }
            }
        }
        Self(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_can_state_every_field_of_a_profile_and_no_other() {
        let Value::Object(profile) = serde_json::to_value(Profile::default()).unwrap() else { panic!("an object") };
        let schema = serde_json::to_value(schemars::schema_for!(Fields)).unwrap();
        let stated = schema["properties"].as_object().unwrap();
        let mut here: Vec<&String> = stated.keys().collect();
        let mut there: Vec<&String> = profile.keys().collect();
        here.sort();
        there.sort();
        assert_eq!(here, there);
    }

    #[test]
    fn a_later_row_wins_and_dropped_fields_add_up() {
        let quirks = |json: &str| serde_json::from_str::<Quirks>(json).unwrap();
        let under = quirks(r#"{"no_sampling": true, "drop": ["n", "seed"], "rename": {"a": "b"}}"#);
        let over = quirks(r#"{"no_sampling": false, "drop": ["seed", "user"], "rename": {"c": "d"}}"#);
        let profile = under.overlaid_with(&over).profile().unwrap();
        assert!(!profile.no_sampling);
        assert_eq!(profile.drop, ["n", "seed", "user"]);
        assert_eq!(profile.rename.len(), 2);
        let cleared = under.overlaid_with(&quirks(r#"{"drop": []}"#)).profile().unwrap();
        assert!(cleared.drop.is_empty() && cleared.no_sampling);
    }
}
