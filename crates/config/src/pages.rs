//! Whether status pages are read: as it is written.

use crate::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::time::Duration;

/// Between two looks at a page: incidents are written by people.
const EVERY: Duration = Duration::from_secs(60);
/// Pages are public, and not ours.
const SHORTEST: Duration = Duration::from_secs(10);

/// Whether the status pages of the configured providers are read: `on`, `off`, or a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(untagged)]
pub enum RawStatusPages {
    /// They are not.
    #[default]
    Off,
    /// They are.
    On(RawPolling),
}

/// How often something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPolling {
    /// Between two looks; 60s by default.
    pub every: Option<Span>,
}

/// By hand, as YAML's `on` is a word to some and true to others.
impl<'de> Deserialize<'de> for RawStatusPages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PagesVisitor)
    }
}

struct PagesVisitor;

impl<'de> Visitor<'de> for PagesVisitor {
    type Value = RawStatusPages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`on`, `off`, or a mapping such as { every: 60s }")
    }

    fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<RawStatusPages, E> {
        Ok(if is_on { RawStatusPages::On(RawPolling::default()) } else { RawStatusPages::Off })
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RawStatusPages, E> {
        match word {
            "on" => self.visit_bool(true),
            "off" => self.visit_bool(false),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawStatusPages, A::Error> {
        RawPolling::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawStatusPages::On)
    }
}

/// How often pages are read; `None` = never.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn every(raw: RawStatusPages) -> Result<Option<Duration>, String> {
    match raw {
        RawStatusPages::Off => Ok(None),
        RawStatusPages::On(RawPolling { every }) => interval(every, EVERY, SHORTEST).map(Some),
    }
}

/// An interval, held to the shortest that is decent.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn interval(every: Option<Span>, usual: Duration, shortest: Duration) -> Result<Duration, String> {
    match every {
        None => Ok(usual),
        Some(Span(every)) if every >= shortest => Ok(every),
        Some(Span(every)) => Err(format!("`every` is {every:?}: expected {shortest:?} or more")),
    }
}
