//! The scan takes what a slow reader takes, and the splice means what the same edit on a tree means.

use crate::unrepeated::Unrepeated;
use crate::{json, tree};
use bytes::Bytes;
use canon::{DialectName, Drops};
use dialect::PathFacts;
use dialect::profile::{Instructions, OutputCap, Profile, StreamUsage};
use dialect::scan::{MOST_FIELDS, scan};
use dialect::splice::splice;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// First byte: the dialect; next two: the profile; the rest is the body.
pub fn check(data: &[u8]) {
    let [dialect, low, high, body @ ..] = data else { return };
    let dialect = DialectName::ALL[usize::from(*dialect) % DialectName::ALL.len()];
    let body = Bytes::copy_from_slice(body);
    let path = PathFacts { model: Some("in the path".to_owned()), ..PathFacts::default() };
    let scanned = scan(dialect, &path, &body);
    assert_eq!(scanned.is_ok(), accepts(dialect, &body), "{scanned:?}");
    let Ok(scanned) = scanned else { return };

    for field in &scanned.fields {
        let key: String = serde_json::from_slice(&body[field.key_range.clone()]).expect("a key");
        assert_eq!(key, field.key);
        assert!(json::is_json(&body[field.value_range.clone()]));
    }
    let profile = profile(u16::from_le_bytes([*low, *high]));
    let out = splice(dialect, &body, &scanned, "other", &profile, &mut Drops::new());
    assert!(json::is_json(&out), "{out:?}");
    // On a tree a repeated key is gone, and numbers out of range and half surrogate pairs cannot be held.
    let Ok(Unrepeated(before)) = serde_json::from_slice(&body) else { return };
    let after: Value = serde_json::from_slice(&out).expect("a tree");
    assert_eq!(plain(after), plain(tree::splice(dialect, &before, "other", &profile)), "{out:?}");
}

/// Whether the scan has to take the body.
fn accepts(dialect: DialectName, body: &[u8]) -> bool {
    let Ok(Fields(fields)) = serde_json::from_slice(body) else { return false };
    let keys: HashSet<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
    if !json::is_json(body) || keys.len() != fields.len() || fields.len() > MOST_FIELDS {
        return false;
    }
    if dialect == DialectName::Gemini {
        return !(keys.contains("generationConfig") && keys.contains("generation_config"));
    }
    let value = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.get());
    value("model").is_some_and(|model| serde_json::from_str::<String>(model).is_ok())
        && value("stream").is_none_or(|stream| matches!(stream, "true" | "false" | "null"))
}

/// The top-level fields of an object, repeated ones too.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(String, Box<RawValue>)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                std::iter::from_fn(|| members.next_entry().transpose()).collect()
            }
        }
        deserializer.deserialize_map(Read).map(Fields)
    }
}

/// A profile of the bits.
fn profile(bits: u16) -> Profile {
    let has = |bit: u32| bits >> bit & 1 == 1;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Profile {
        drop: if has(0) { names(&["logit_bias", "messages.name", "n", "generationConfig.seed"]) } else { Vec::new() },
        rename: if has(1) { [("seed".to_owned(), "random_seed".to_owned())].into() } else { [].into() },
        no_sampling: has(2),
        temperature_xor_top_p: has(3),
        tool_choice_auto_only: has(4),
        no_json_object: has(5),
        empty_content_string: has(6),
        reasoning_required_with_tools: has(7),
        stream_usage: if has(8) { StreamUsage::Unasked } else { StreamUsage::StreamOptions },
        max_stop: has(9).then_some(usize::from(has(10))),
        max_temperature: has(10).then_some(1.5),
        max_output_tokens: has(11).then_some(100),
        output_cap: match (has(12), has(9)) {
            (true, false) => OutputCap::MaxTokens,
            (true, true) => OutputCap::MaxCompletionTokens,
            (false, _) => OutputCap::AsWritten,
        },
        instructions: match (has(13), has(9)) {
            (true, false) => Instructions::System,
            (true, true) => Instructions::Developer,
            (false, _) => Instructions::AsWritten,
        },
        efforts: if has(14) { names(&["low", "high"]) } else { Vec::new() },
        reasoning_field: has(15).then(|| if has(14) { "reasoning" } else { "reasoning_content" }.to_owned()),
        ..Profile::default()
    }
}

/// Numbers as numbers: what a profile writes may be spelled with or without a fraction.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(array) => array.into_iter().map(plain).collect(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}
