//! What `strategy: auto` asks of targets: as it is written, and checked.

use crate::snapshot::Listed;
use crate::units::Span;
use catalog::Written;
use routing::{Node, Objectives, Strategy};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::sync::Arc;

/// What targets are to be like; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawObjectives {
    /// Of streamed answers, 95 % have begun by then: `2s`.
    pub first_token_p95: Option<Span>,
    /// Of streamed answers, 95 % are written at least as quickly.
    pub tokens_per_second: Option<f64>,
    /// The share of calls that are completed: `99.9%`.
    pub success: Option<Success>,
}

/// A share of calls that are completed: `99.9%`, or `0.999`. Kept as failures in a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success(u32);

const SUCCESS: &str = "a share above 0% and below 100%, such as 99.9%";

impl Success {
    /// Reads `99.9%` or `0.999`; nothing that is not between 0 and 1, both excluded.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        let failures = ((1.0 - share) * 1e6).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 999,999")]
        (1.0..=999_999.0).contains(&failures).then_some(Self(failures as u32))
    }
}

impl<'de> Deserialize<'de> for Success {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { parse: Self::parse, expected: SUCCESS })
    }
}

impl JsonSchema for Success {
    fn schema_name() -> Cow<'static, str> {
        "Success".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "pattern": "^[0-9.]+ *%?$" },
                { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }
            ],
            "description": SUCCESS
        })
    }
}

/// # Errors
/// Says what is wrong with them.
pub(crate) fn objectives(raw: RawObjectives) -> Result<Objectives, String> {
    let millitokens = raw.tokens_per_second.map(|speed| (speed * 1e3).round());
    if raw.first_token_p95.is_some_and(|limit| limit.0.is_zero()) {
        return Err("`first_token_p95` is 0: expected a length of time such as 2s".to_owned());
    }
    if let Some(speed) = raw.tokens_per_second
        && !millitokens.is_some_and(|it| (1.0..=1e9).contains(&it))
    {
        return Err(format!("`tokens_per_second` is {speed}: expected more than 0, at most a million"));
    }
    let objectives = Objectives {
        first_token_p95: raw.first_token_p95.map(|limit| limit.0),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a billion")]
        millitokens_per_second: millitokens.map(|it| it as u32),
        failures_per_million: raw.success.map(|success| success.0),
    };
    let nothing = Objectives { first_token_p95: None, millitokens_per_second: None, failures_per_million: None };
    if objectives == nothing {
        return Err("ask for nothing: expected `first_token_p95`, `tokens_per_second` or `success`".to_owned());
    }
    Ok(objectives)
}

/// Has the targets of a model judged by its objectives.
///
/// # Errors
/// The number of a target that is a model with objectives of its own, which are others.
pub(crate) fn judge(strategy: Strategy, listed: &mut Listed) -> Result<(), usize> {
    let Strategy::Auto(objectives) = strategy else { return Ok(()) };
    if let Some(other) = listed.nodes.iter().position(|node| has_others(node, objectives)) {
        return Err(other);
    }
    for target in &mut listed.targets {
        let judge = target.ledger.judge(objectives);
        Arc::make_mut(target).judge = Some(judge);
    }
    Ok(())
}

fn has_others(node: &Node, objectives: Objectives) -> bool {
    match node {
        Node::Target(_) => false,
        Node::Group(group) => {
            matches!(group.strategy, Strategy::Auto(own) if own != objectives)
                || group.nodes.iter().any(|node| has_others(node, objectives))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_a_share_that_leaves_room_for_a_failure() {
        assert_eq!(Success::parse("99.9%"), Some(Success(1_000)));
        assert_eq!(Success::parse("99.99 %"), Some(Success(100)));
        assert_eq!(Success::parse("0.95"), Some(Success(50_000)));
        for wrong in ["100%", "0%", "-1%", "150%", "99.9", "1", "0", "much", "NaN", "99.99999999%"] {
            assert_eq!(Success::parse(wrong), None, "{wrong}");
        }
    }
}
