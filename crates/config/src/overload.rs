//! `overload:`: how many exchanges are in flight at once and who waits, as it is written, and checked.

use crate::units::Span;
use canon::Priority;
use health::DoorSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::time::Duration;

/// Nobody waits before a first token for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// How many exchanges are in flight at once, and who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOverload {
    /// Exchanges in flight, from the door to the last byte of the answer.
    pub max_in_flight: u32,
    /// Those that wait for one of them to end.
    #[serde(default)]
    pub queue: RawDoorQueue,
}

/// The queue at the door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDoorQueue {
    /// Most that wait; as many as may be in flight by default, 0 = nobody waits.
    pub size: Option<u32>,
    /// The longest wait, and how long requests may stand in line until that is called overload; 2s by default.
    pub max_wait: Option<Span>,
    /// The longest wait in overload, in which the newest is served first; 250ms by default.
    pub overload_wait: Option<Span>,
}

/// The settings of a door.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn door(raw: RawOverload) -> Result<DoorSettings, String> {
    if raw.max_in_flight == 0 {
        return Err("`max_in_flight` of 0 lets nobody in: expected at least 1, or no `overload`".to_owned());
    }
    let whole = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let default = DoorSettings::of(whole(raw.max_in_flight));
    let max_wait = raw.queue.max_wait.map_or(default.max_wait, |span| span.0);
    let overload_wait = raw.queue.overload_wait.map_or(default.overload_wait.min(max_wait), |span| span.0);
    if max_wait.is_zero() || max_wait > LONGEST_WAIT {
        return Err(format!("`max_wait` is {max_wait:?}: expected 1ms to 10m, or `size: 0` so that nobody waits"));
    }
    if overload_wait > max_wait {
        return Err(format!("`overload_wait` is {overload_wait:?}: expected at most `max_wait`, {max_wait:?}"));
    }
    Ok(DoorSettings { queue: raw.queue.size.map_or(default.queue, whole), max_wait, overload_wait, ..default })
}

/// The words of a priority.
pub(crate) fn priority_schema(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = Priority::ALL.into_iter().collect();
    json_schema!({ "type": "string", "enum": words })
}
