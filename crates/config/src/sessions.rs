//! How conversations stay with their targets: as it is written, and checked.

use crate::units::Span;
use routing::{Sessions, Stickiness};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::time::Duration;

/// Pins that live shorter than this outlive no pause between two turns.
const SHORTEST: Duration = Duration::from_secs(1);
/// No provider keeps a prompt longer than a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How conversations stay with their targets: `on`, `off`, or a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum RawSessions {
    /// `on` or `off`.
    Switch(RawSwitch),
    /// With options.
    Full(RawFullSessions),
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSwitch {
    /// With the defaults.
    On,
    /// Not at all.
    Off,
}

/// How conversations stay with their targets, with options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullSessions {
    /// How long a conversation stays that nobody goes on with: as long as the provider keeps its prompt; 5m by default.
    pub ttl: Option<Span>,
    /// When its target fails, `move` (the default): another answers, and it goes on there. `retry_then_move`: its
    /// target is asked once more first. `stay`: another answers, and the next turn is for its own target again.
    pub on_fault: Stickiness,
}

/// By hand, as YAML's `on` is a word to some and true to others.
impl<'de> Deserialize<'de> for RawSessions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SessionsVisitor)
    }
}

struct SessionsVisitor;

impl<'de> Visitor<'de> for SessionsVisitor {
    type Value = RawSessions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`on`, `off`, or a mapping with `ttl` or `on_fault`")
    }

    fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<RawSessions, E> {
        Ok(RawSessions::Switch(if is_on { RawSwitch::On } else { RawSwitch::Off }))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RawSessions, E> {
        match word {
            "on" => self.visit_bool(true),
            "off" => self.visit_bool(false),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawSessions, A::Error> {
        RawFullSessions::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawSessions::Full)
    }
}

/// What holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn sessions(raw: Option<RawSessions>) -> Result<Option<Sessions>, String> {
    let full = match raw {
        None | Some(RawSessions::Switch(RawSwitch::Off)) => return Ok(None),
        Some(RawSessions::Switch(RawSwitch::On)) => RawFullSessions::default(),
        Some(RawSessions::Full(full)) => full,
    };
    let ttl = full.ttl.map_or(Sessions::default().ttl, |ttl| ttl.0);
    if !(SHORTEST..=LONGEST).contains(&ttl) {
        return Err(format!("`ttl` is {ttl:?}: expected 1s to 24h, or `off`"));
    }
    Ok(Some(Sessions { ttl, on_fault: full.on_fault }))
}
