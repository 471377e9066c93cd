//! `rules:` as they are written, and checked: an error points at the character of the expression that is to blame.

use crate::error::ConfigError;
use crate::hedging::{self, RawHedge};
use crate::nested;
use crate::raw::{Raw, RawRescue, RawTarget, RawTimeouts};
use crate::units::Span;
use routing::Overrides;
use rules::{Actions, RuleSet, Written, Wrong};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A rule that moves traffic while its condition holds. Expressions are a part of CEL: see docs/RULES.md.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// What it is called in traces, in `explain` and in logs; its number by default.
    pub name: Option<String>,
    /// When it holds: an expression over `request`, `target("provider/model")`, `rate(…)` and `now`.
    #[serde(rename = "if")]
    pub condition: String,
    /// It ends when this is true, rather than when `if` is not; an expression that asks nothing of the request.
    pub until: Option<String>,
    /// What is measured must be so for this long before the rule holds, and not be so for this long before it ends.
    #[serde(rename = "for")]
    pub hold: Option<Span>,
    /// Fewest calls that a rate or a percentile rests on; 1 by default. With fewer it is unknown, and the rule does not
    /// hold.
    pub min_samples: Option<u32>,
    /// These targets come first, in this order, as far as their health allows.
    pub prefer: Option<RawNames>,
    /// These targets come last.
    pub avoid: Option<RawNames>,
    /// These targets do not serve, even if nobody else is left.
    pub exclude: Option<RawNames>,
    /// Only these targets serve, as long as one of them is able to serve the request.
    pub only: Option<RawNames>,
    /// The tier of the requests it holds for, in models that have a tier of this name; never below the floor of the
    /// tier that they have without it.
    pub tier: Option<String>,
    /// Settings of the model that are others while the rule holds.
    pub set: Option<RawSet>,
}

/// `provider/model` as a model lists it, or several; a trailing `*` stands for any ending.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawNames {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Settings of the model that are others while a rule holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSet {
    /// Limits of the phases of a call; those that are not stated stay.
    pub timeouts: RawTimeouts,
    /// What to do for a stream that breaks.
    pub rescue: Option<RawRescue>,
    /// Start a second attempt when the first token is late, or not: `on`, `off`, or a mapping.
    pub hedge: Option<RawHedge>,
    /// 2: start two attempts at once; 1: no more than one.
    pub race: Option<u32>,
}

impl RawNames {
    fn list(names: Option<&Self>) -> Vec<String> {
        match names {
            None => Vec::new(),
            Some(Self::One(name)) => vec![name.clone()],
            Some(Self::Many(names)) => names.clone(),
        }
    }
}

/// The ids of the targets that models list, sorted, each once.
fn target_ids(raw: &Raw) -> Vec<String> {
    let models = &raw.models;
    let id = |target: &RawTarget| match target {
        RawTarget::Name(name) => name.clone(),
        RawTarget::Full(full) => match &full.label {
            Some(label) => format!("{}#{label}", full.target),
            None => full.target.clone(),
        },
    };
    let mut ids: Vec<String> = models
        .values()
        .flat_map(|model| &model.targets)
        .filter(|target| !nested::is_model(target.name(), models, |provider| raw.providers.contains_key(provider)))
        .map(id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Checked rules, and what each of them sets.
pub(crate) struct Checked {
    pub(crate) set: RuleSet,
    pub(crate) overrides: Vec<Option<Overrides>>,
}

/// Checks the rules of a file against the targets its models list.
pub(crate) fn check(origin: &str, source: &str, raw: &Raw) -> Result<Checked, ConfigError> {
    let ids = target_ids(raw);
    let known: Vec<&str> = ids.iter().map(String::as_str).collect();
    check_tiers(origin, source, raw)?;
    let written: Vec<Written<'_>> = raw.rules.iter().map(written).collect();
    let set = RuleSet::compile(&written, &known).map_err(|wrong| error(origin, source, &raw.rules, &wrong))?;
    let mut all = Vec::with_capacity(raw.rules.len());
    for (number, rule) in raw.rules.iter().enumerate() {
        let made = rule.set.as_ref().map(overrides).transpose();
        all.push(made.map_err(|(field, message)| {
            ConfigError::at(origin, source, &["rules", &number.to_string(), "set", field], &message)
        })?);
    }
    Ok(Checked { set, overrides: all })
}

/// A tier that no model has can only be a mistake.
fn check_tiers(origin: &str, source: &str, raw: &Raw) -> Result<(), ConfigError> {
    let known: BTreeSet<&str> =
        raw.models.values().flat_map(|model| &model.tiers).map(|tier| tier.name.as_str()).collect();
    for (number, rule) in raw.rules.iter().enumerate() {
        let Some(name) = rule.tier.as_deref().filter(|name| !known.contains(name)) else { continue };
        let path = ["rules", &number.to_string(), "tier"];
        let message = if known.is_empty() {
            format!("no model has tiers, `{name}` or another: expected `tiers` at a model")
        } else {
            format!("no model has a tier `{name}`: known are {}", Vec::from_iter(known).join(", "))
        };
        return Err(ConfigError::at(origin, source, &path, &message));
    }
    Ok(())
}

fn written(rule: &RawRule) -> Written<'_> {
    Written {
        name: rule.name.as_deref(),
        condition: &rule.condition,
        until: rule.until.as_deref(),
        hold: rule.hold.map(|span| span.0),
        min_samples: rule.min_samples,
        actions: Actions {
            prefer: RawNames::list(rule.prefer.as_ref()),
            avoid: RawNames::list(rule.avoid.as_ref()),
            exclude: RawNames::list(rule.exclude.as_ref()),
            only: RawNames::list(rule.only.as_ref()),
            sets: rule.set.is_some_and(|set| set != RawSet::default()),
            tier: rule.tier.as_deref().map(Into::into),
        },
    }
}

/// What a `set` means; the error names the field.
fn overrides(set: &RawSet) -> Result<Overrides, (&'static str, String)> {
    let RawTimeouts { connect, first_token, response, idle, attempt, deadline } = set.timeouts;
    let length = |span: Option<Span>| span.map(|span| span.0);
    Ok(Overrides {
        hedging: hedging::hedging(set.hedge, set.race)?,
        connect: length(connect),
        first_token: length(first_token),
        idle: length(idle),
        response: length(response),
        attempt: length(attempt),
        deadline: length(deadline),
        rescue: set.rescue.map(|rescue| crate::load::rescue(Some(rescue))),
    })
}

fn error(origin: &str, source: &str, raw: &[RawRule], wrong: &Wrong) -> ConfigError {
    let number = wrong.rule.to_string();
    let path = ["rules", &number, wrong.field];
    let rule = raw.get(wrong.rule);
    let text = rule.and_then(|rule| match wrong.field {
        "if" => Some(rule.condition.as_str()),
        "until" => rule.until.as_deref(),
        _ => None,
    });
    match (text, &wrong.span) {
        (Some(text), Some(span)) => ConfigError::inside(origin, source, &path, text, span, &wrong.message),
        _ => ConfigError::at(origin, source, &path, &wrong.message),
    }
}
