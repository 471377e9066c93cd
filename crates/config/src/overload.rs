//! `overload:`: how many exchanges are in flight at once and who waits, as it is written, and checked.

use crate::units::Span;
use canon::Priority;
use catalog::Ratio;
use health::{Concurrency, DoorSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Nobody waits before a first token for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// Of a limit, for each priority above.
const MOST_RESERVED: RangeInclusive<f64> = 0.01..=0.4;

/// How many exchanges are in flight at once, and who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOverload {
    /// Exchanges in flight, from the door to the last byte of the answer; as many as come by default.
    pub max_in_flight: Option<u32>,
    /// Those that wait for one of them to end.
    #[serde(default)]
    pub queue: Option<RawDoorQueue>,
    /// Of a model: the part of every limit that its providers tell which each priority leaves to those above it, such
    /// as `10%`; nothing by default, and a request goes where its target's limits seem used up if nobody else is there.
    pub reserve: Option<Ratio>,
}

/// What `overload:` of a model comes to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overload {
    pub(crate) door: Option<DoorSettings>,
    /// 0–1.
    pub(crate) reserve: f64,
}

/// How many calls a target may have in flight: a number, `aimd` or `gradient`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum RawConcurrency {
    /// At most so many.
    Most(u32),
    /// A word.
    Word(RawConcurrencyWord),
}

/// How the number of calls in flight is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawConcurrencyWord {
    /// By the 429s and 529s of a provider.
    Aimd,
    /// By the latency of a backend of one's own, which grows when it is full.
    Gradient,
}

/// By hand, so that an error says what was expected: an untagged enum only says that nothing fits.
impl<'de> Deserialize<'de> for RawConcurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConcurrencyVisitor)
    }
}

struct ConcurrencyVisitor;

impl Visitor<'_> for ConcurrencyVisitor {
    type Value = RawConcurrency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of calls from 1 on, `aimd` or `gradient`")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawConcurrency, E> {
        let most = u32::try_from(number).ok().filter(|most| *most > 0);
        most.map(RawConcurrency::Most).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawConcurrency, E> {
        self.visit_u64(u64::try_from(number).unwrap_or(0))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RawConcurrency, E> {
        match (word, word.parse()) {
            ("aimd", _) => Ok(RawConcurrency::Word(RawConcurrencyWord::Aimd)),
            ("gradient", _) => Ok(RawConcurrency::Word(RawConcurrencyWord::Gradient)),
            (_, Ok(number)) => self.visit_u64(number),
            (_, Err(_)) => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }
}

/// What bounds a target's calls in flight.
pub(crate) fn concurrency(raw: RawConcurrency) -> Concurrency {
    match raw {
        RawConcurrency::Most(most) => Concurrency::Fixed(most),
        RawConcurrency::Word(RawConcurrencyWord::Aimd) => Concurrency::Aimd,
        RawConcurrency::Word(RawConcurrencyWord::Gradient) => Concurrency::Gradient,
    }
}

/// The queue at the door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDoorQueue {
    /// Most that wait; as many as may be in flight by default, 0 = nobody waits.
    pub size: Option<u32>,
    /// The longest wait; when somebody has waited for so long in vain, that is called overload. 2s by default.
    pub max_wait: Option<Span>,
    /// The longest wait in overload, in which the newest is served first; 250ms by default.
    pub overload_wait: Option<Span>,
}

/// What `overload:` of a model says.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn of_model(raw: Option<RawOverload>) -> Result<Overload, String> {
    let Some(raw) = raw else { return Ok(Overload::default()) };
    if raw.max_in_flight.is_none() && raw.reserve.is_none() {
        return Err("says nothing: expected `max_in_flight` or `reserve`".to_owned());
    }
    let reserve = raw.reserve.map_or(0.0, Ratio::as_f64);
    if raw.reserve.is_some() && !(MOST_RESERVED.contains(&reserve)) {
        return Err(format!("`reserve` is {reserve}: expected 1% to 40%, as `low` leaves twice as much"));
    }
    Ok(Overload { door: door(raw)?, reserve })
}

/// What `overload:` of the whole gateway says.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn of_gateway(raw: Option<RawOverload>) -> Result<Option<DoorSettings>, String> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.reserve.is_some() {
        return Err("`reserve` is of targets' limits: expected under `overload` of a model".to_owned());
    }
    if raw.max_in_flight.is_none() {
        return Err("says nothing: expected `max_in_flight`".to_owned());
    }
    door(raw)
}

fn door(raw: RawOverload) -> Result<Option<DoorSettings>, String> {
    let Some(max_in_flight) = raw.max_in_flight else {
        let waits = "`queue` is of those who wait for a place: expected with `max_in_flight`";
        return if raw.queue.is_some() { Err(waits.to_owned()) } else { Ok(None) };
    };
    if max_in_flight == 0 {
        return Err("`max_in_flight` of 0 lets nobody in: expected at least 1, or no `overload`".to_owned());
    }
    let whole = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let default = DoorSettings::of(whole(max_in_flight));
    let queue = raw.queue.unwrap_or_default();
    let max_wait = queue.max_wait.map_or(default.max_wait, |span| span.0);
    let overload_wait = queue.overload_wait.map_or(default.overload_wait.min(max_wait), |span| span.0);
    if max_wait.is_zero() || max_wait > LONGEST_WAIT {
        return Err(format!("`max_wait` is {max_wait:?}: expected 1ms to 10m, or `size: 0` so that nobody waits"));
    }
    if overload_wait > max_wait {
        return Err(format!("`overload_wait` is {overload_wait:?}: expected at most `max_wait`, {max_wait:?}"));
    }
    let queue = queue.size.map_or(default.queue, whole);
    Ok(Some(DoorSettings { queue, max_wait, overload_wait, ..default }))
}

/// The words of a priority.
pub(crate) fn priority_schema(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = Priority::ALL.into_iter().collect();
    json_schema!({ "type": "string", "enum": words })
}
