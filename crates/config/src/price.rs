//! What targets may cost: as it is written, and checked.

use crate::units::Span;
use catalog::{Rate, Ratio, Usd};
use routing::{Guards, MaxPrice, SpendLimit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use std::fmt;

/// The most a target may cost. A target whose price is unknown passes no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum RawMaxPrice {
    /// US dollars a request.
    Request(Usd),
    /// By part.
    Full(RawFullMaxPrice),
}

/// The most a target may cost, by part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullMaxPrice {
    /// US dollars a request: the whole prompt at the price of uncached input, and the caller's cap on output used up.
    pub request: Option<Usd>,
    /// US dollars per million tokens of input.
    pub input: Option<Rate>,
    /// US dollars per million tokens of output.
    pub output: Option<Rate>,
}

/// What may be spent within a stretch of time, requests in flight included at the most they may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSpend {
    /// US dollars.
    pub limit: Usd,
    /// Any stretch of time of this length.
    pub window: Span,
}

/// By hand, so that an error names what is wrong: an untagged enum only says that nothing fits.
impl<'de> Deserialize<'de> for RawMaxPrice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaxPriceVisitor)
    }
}

struct MaxPriceVisitor;

fn request<'de, E: de::Error>(value: impl IntoDeserializer<'de, E>) -> Result<RawMaxPrice, E> {
    Usd::deserialize(value.into_deserializer()).map(RawMaxPrice::Request)
}

impl<'de> Visitor<'de> for MaxPriceVisitor {
    type Value = RawMaxPrice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of US dollars such as 0.05, or a mapping with `request`, `input` or `output`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawMaxPrice, E> {
        request(text)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawMaxPrice, E> {
        request(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawMaxPrice, E> {
        request(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawMaxPrice, E> {
        request(number)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawMaxPrice, A::Error> {
        RawFullMaxPrice::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawMaxPrice::Full)
    }
}

/// The guards of a model or a target, as written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawGuards {
    pub(crate) max_price: Option<RawMaxPrice>,
    pub(crate) max_price_ratio: Option<Ratio>,
    pub(crate) spend: Option<RawSpend>,
}

/// The guards that hold by themselves.
///
/// # Errors
/// The key, and what is wrong with it.
pub(crate) fn guards(raw: RawGuards) -> Result<Guards, (&'static str, String)> {
    let max_price = raw.max_price.map(|max| match max {
        RawMaxPrice::Request(request) => RawFullMaxPrice { request: Some(request), ..RawFullMaxPrice::default() },
        RawMaxPrice::Full(full) => full,
    });
    if max_price == Some(RawFullMaxPrice::default()) {
        return Err(("max_price", "limits nothing: expected `request`, `input` or `output`".to_owned()));
    }
    if raw.max_price_ratio.is_some_and(Ratio::is_zero) {
        return Err(("max_price_ratio", "allows no fallback that costs anything: expected more than 0".to_owned()));
    }
    if let Some(spend) = raw.spend {
        if spend.limit == Usd::ZERO {
            return Err(("spend", "`limit` is 0: expected more, or no target".to_owned()));
        }
        if spend.window.0.is_zero() {
            return Err(("spend", "`window` is no time: expected a length such as 1h".to_owned()));
        }
    }
    Ok(Guards {
        max_price: max_price.map(|max| MaxPrice { request: max.request, input: max.input, output: max.output }),
        max_price_ratio: raw.max_price_ratio,
        spend: raw.spend.map(|spend| SpendLimit { limit: spend.limit, window: spend.window.0 }),
    })
}

/// The guards of a target: its own, else its model's.
pub(crate) fn over(own: Guards, model: Guards) -> Guards {
    Guards {
        max_price: own.max_price.or(model.max_price),
        max_price_ratio: own.max_price_ratio.or(model.max_price_ratio),
        spend: own.spend.or(model.spend),
    }
}
