//! In which order targets are tried, and how good they have to be: as it is written, and checked.

use crate::objectives;
use crate::raw::RawModel;
use crate::split::RawWeighted;
use routing::{Balance, Quality, SpeedBy, Strategy};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// In which order targets are tried: a name, or one of `weighted`, `fastest` and `balanced` with options.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(untagged)]
pub enum RawStrategy {
    /// By its name alone.
    Name(StrategyName),
    /// With options.
    Full(RawFullStrategy),
    /// `priority`.
    #[default]
    #[schemars(skip)]
    Unset,
}

/// The name of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// As written.
    Priority,
    /// By weight.
    Weighted,
    /// By the estimated price of the request.
    Cheapest,
    /// By speed: the quicker, the likelier first.
    Fastest,
    /// By price, speed, reliability and quality.
    Balanced,
    /// By price, among those predicted to meet the model's `objectives`.
    Auto,
    /// By region, the nearest first; every target states its `region`.
    Nearest,
}

/// A strategy with options: one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullStrategy {
    /// By weight.
    pub weighted: Option<RawWeighted>,
    /// By speed.
    pub fastest: Option<RawFastest>,
    /// By price, speed, reliability and quality.
    pub balanced: Option<RawBalanced>,
}

/// What speed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFastest {
    /// `first_token` (the default), `throughput` or `total`.
    pub by: SpeedBy,
}

/// How much each part counts; 1 each by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawBalanced {
    /// The estimated price of the request.
    pub price: Option<u32>,
    /// The time to the end of the answer.
    pub speed: Option<u32>,
    /// The share of calls that are answered.
    pub reliability: Option<u32>,
    /// The quality for the model's task.
    pub quality: Option<u32>,
}

/// By hand, so that an error names what is wrong: an untagged enum only says that nothing fits.
impl<'de> Deserialize<'de> for RawStrategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrategyVisitor)
    }
}

struct StrategyVisitor;

impl<'de> Visitor<'de> for StrategyVisitor {
    type Value = RawStrategy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "priority, weighted, cheapest, fastest, balanced, auto or nearest, or one of `weighted`, `fastest` and `balanced` \
             with options",
        )
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<RawStrategy, E> {
        let name = de::value::StrDeserializer::<E>::new(name);
        StrategyName::deserialize(name).map(RawStrategy::Name)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawStrategy, A::Error> {
        RawFullStrategy::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawStrategy::Full)
    }
}

/// How good a target is, from 0 to 1: a number for every task, or one for each.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum RawQuality {
    /// For every task.
    Any(f64),
    /// By task.
    ByTask(BTreeMap<String, f64>),
}

impl<'de> Deserialize<'de> for RawQuality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QualityVisitor)
    }
}

struct QualityVisitor;

impl<'de> Visitor<'de> for QualityVisitor {
    type Value = RawQuality;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 0 to 1, or one for each task: { chat: 0.8 }")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawQuality, E> {
        Ok(RawQuality::Any(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawQuality, E> {
        Ok(RawQuality::Any(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawQuality, E> {
        Ok(RawQuality::Any(number as f64))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawQuality, A::Error> {
        BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawQuality::ByTask)
    }
}

/// Which key of the model is wrong, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// # Errors
/// Says what is wrong with it.
pub(crate) fn strategy(model: &str, raw: &RawModel) -> Result<Strategy, Wrong> {
    match (&raw.strategy, raw.objectives) {
        (RawStrategy::Name(StrategyName::Auto), Some(raw)) => {
            objectives::objectives(raw).map(Strategy::Auto).map_err(|message| ("objectives", message))
        }
        (RawStrategy::Name(StrategyName::Auto), None) => {
            Err(("strategy", "`auto` goes by `objectives`: expected them at the model".to_owned()))
        }
        (_, Some(_)) => {
            Err(("objectives", "are what `strategy: auto` goes by: expected it, or none of them".to_owned()))
        }
        (strategy, None) => without_objectives(model, strategy).map_err(|message| ("strategy", message)),
    }
}

fn without_objectives(model: &str, raw: &RawStrategy) -> Result<Strategy, String> {
    let full = match raw {
        RawStrategy::Unset | RawStrategy::Name(StrategyName::Priority) => return Ok(Strategy::Priority),
        RawStrategy::Name(StrategyName::Weighted) => return Ok(Strategy::Weighted),
        RawStrategy::Name(StrategyName::Cheapest) => return Ok(Strategy::Cheapest),
        RawStrategy::Name(StrategyName::Nearest) => return Ok(Strategy::Nearest),
        RawStrategy::Name(StrategyName::Fastest) => return Ok(Strategy::Fastest(SpeedBy::default())),
        RawStrategy::Name(StrategyName::Balanced) => return Ok(Strategy::Balanced(Balance::default())),
        RawStrategy::Name(StrategyName::Auto) => return Err("`auto` goes by `objectives`".to_owned()),
        RawStrategy::Full(full) => full,
    };
    match (&full.weighted, full.fastest, full.balanced) {
        (Some(weighted), None, None) => Ok(weighted.strategy(model)),
        (None, Some(fastest), None) => Ok(Strategy::Fastest(fastest.by)),
        (None, None, Some(raw)) => {
            let weight = |weight: Option<u32>| weight.unwrap_or(1);
            let balance = Balance {
                price: weight(raw.price),
                speed: weight(raw.speed),
                reliability: weight(raw.reliability),
                quality: weight(raw.quality),
            };
            let nothing = Balance { price: 0, speed: 0, reliability: 0, quality: 0 };
            if balance == nothing {
                Err("nothing counts: expected a part above 0".to_owned())
            } else {
                Ok(Strategy::Balanced(balance))
            }
        }
        _ => Err("expected one of `weighted`, `fastest` and `balanced`".to_owned()),
    }
}

/// A number as a quality.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn quality(number: f64) -> Result<Quality, String> {
    Quality::new(number).ok_or_else(|| format!("{number} is no quality: expected 0 to 1"))
}

/// The quality of a target for the task of its model; `None` where it states none for that.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn quality_for(raw: &RawQuality, task: Option<&str>) -> Result<Option<Quality>, String> {
    match (raw, task) {
        (RawQuality::Any(number), _) => quality(*number).map(Some),
        (RawQuality::ByTask(_), None) => {
            Err("is stated by task, and the model has none: expected a number, or `task` at the model".to_owned())
        }
        (RawQuality::ByTask(tasks), Some(task)) => {
            tasks.values().try_for_each(|number| quality(*number).map(drop))?;
            tasks.get(task).map(|number| quality(*number)).transpose()
        }
    }
}
