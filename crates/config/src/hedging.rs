//! `hedge:` and `race:` as they are written, and checked.

use crate::units::Span;
use catalog::{Ratio, Written};
use routing::{Hedge, HedgeAfter, Hedging, ModelSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;

/// More than every other request is no hedge any more: `race` says so.
const MOST_BUDGET: u64 = 500_000;
/// Attempts of a race. Each one more is a whole prompt again; where first tokens are late independently of one another, two
/// of them have already squared the share that is.
const RACERS: u32 = 2;

/// A second attempt when the first token is late: `on`, `off`, or a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawHedge {
    /// Not at all.
    Off,
    /// With these options.
    On(RawFullHedge),
}

/// A second attempt when the first token is late, with options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullHedge {
    /// When a first token is late: `p95` (the default), later than 95 % of its target's own; or a length of time.
    pub after: Option<RawAfter>,
    /// What hedges may cost in all, of what requests cost without them; 5% by default.
    pub budget: Option<Ratio>,
}

/// When a first token is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAfter(HedgeAfter);

const AFTER: &str = "`p95`, or a length of time such as 2s";

impl<'de> Deserialize<'de> for RawAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| match text {
            "p95" => Some(Self(HedgeAfter::P95)),
            _ => Span::parse(text).map(|span| Self(HedgeAfter::Fixed(span.0))),
        };
        deserializer.deserialize_any(Written { parse, expected: AFTER })
    }
}

impl JsonSchema for RawAfter {
    fn schema_name() -> Cow<'static, str> {
        "HedgeAfter".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(p95|[0-9.]+ *(ms|s|m|min|h|d))$", "description": AFTER })
    }
}

impl JsonSchema for RawHedge {
    fn schema_name() -> Cow<'static, str> {
        "Hedge".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<RawFullHedge>();
        json_schema!({ "anyOf": [{ "enum": ["on", "off"] }, { "type": "boolean" }, full] })
    }
}

/// By hand, as YAML's `on` is a word to some and true to others.
impl<'de> Deserialize<'de> for RawHedge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HedgeVisitor)
    }
}

struct HedgeVisitor;

impl<'de> Visitor<'de> for HedgeVisitor {
    type Value = RawHedge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`on`, `off`, or a mapping with `after` or `budget`")
    }

    fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<RawHedge, E> {
        Ok(if is_on { RawHedge::On(RawFullHedge::default()) } else { RawHedge::Off })
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RawHedge, E> {
        match word {
            "on" => self.visit_bool(true),
            "off" => self.visit_bool(false),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawHedge, A::Error> {
        RawFullHedge::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawHedge::On)
    }
}

/// What holds of the two; `None` = neither is written.
///
/// # Errors
/// The field, and what is wrong with it.
pub(crate) fn hedging(hedge: Option<RawHedge>, race: Option<u32>) -> Result<Option<Hedging>, (&'static str, String)> {
    if let Some(count) = race {
        if matches!(hedge, Some(RawHedge::On(_))) {
            return Err(("race", "a race starts both at once: expected `race` or `hedge`, one of them".to_owned()));
        }
        return match count {
            1 => Ok(Some(Hedging::Off)),
            RACERS => Ok(Some(Hedging::Race)),
            0 => Err(("race", format!("`race` is 0: expected {RACERS}, or 1 for no race"))),
            _ => Err((
                "race",
                format!(
                    "{count} attempts race, each for a whole prompt: expected {RACERS} (the two best), or 1 for no race"
                ),
            )),
        };
    }
    let full = match hedge {
        None => return Ok(None),
        Some(RawHedge::Off) => return Ok(Some(Hedging::Off)),
        Some(RawHedge::On(full)) => full,
    };
    let budget = full.budget.unwrap_or(Hedge::default().budget);
    if budget.is_zero() || budget.millionths() > MOST_BUDGET {
        return Err(("hedge", format!("`budget` is {budget}: expected more than 0 % and at most 50 %, or `off`")));
    }
    let after = full.after.map_or(HedgeAfter::default(), |after| after.0);
    if matches!(after, HedgeAfter::Fixed(after) if after.is_zero()) {
        return Err(("hedge", "`after` is no time at all: expected `p95`, a length of time, or `race: 2`".to_owned()));
    }
    Ok(Some(Hedging::Hedge(Hedge { after, budget })))
}

/// Why a model's setting comes to nothing: the field, and what is wrong.
pub(crate) fn nobody_to_hedge_with(settings: &ModelSettings, targets: usize) -> Option<(&'static str, &'static str)> {
    let field = match settings.hedging {
        Hedging::Off => return None,
        Hedging::Hedge(_) => "hedge",
        Hedging::Race => "race",
    };
    if targets < 2 {
        return Some((field, "there is one target, and the second attempt goes to another: expected two `targets`"));
    }
    (settings.max_attempts < 2).then_some((field, "`max_attempts` is 1, and this takes two: expected 2 or more"))
}
