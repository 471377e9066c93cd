//! The tiers of a model: as they are written, and checked.

use crate::raw::{RawModel, RawTarget};
use crate::snapshot::Listed;
use crate::strategy;
use routing::Target;
use routing::tier::{MOST_POINTS, Scorer, Tier, Tiers, Unlabelled};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;

/// A tier of a model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTier {
    /// What labels call it.
    pub name: String,
    /// The lowest tier its requests may fall to when neither it nor one above can serve; by default none.
    pub allow_downgrade: Option<String>,
    /// What each of its targets must be known to have.
    #[serde(default)]
    pub requires: RawRequires,
    /// Requests without a label belong to it from this score on: estimated prompt tokens, or points where `tier_score`
    /// is `complexity`. The lowest tier states none, and either all others do or no one does.
    pub from: Option<u64>,
}

/// What targets must be known to have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRequires {
    /// The least quality, from 0 to 1.
    pub quality: Option<f64>,
    /// The least context window, in tokens.
    pub context_window: Option<u64>,
    /// Function calling.
    pub tools: bool,
    /// Images in the prompt.
    pub images: bool,
    /// Documents in the prompt.
    pub documents: bool,
    /// Audio in the prompt.
    pub audio: bool,
    /// Output bound to a JSON Schema.
    pub json_schema: bool,
}

/// Where something is wrong, below the model, and what.
pub(crate) type Wrong = (Vec<String>, String);

/// The tiers of a model; `None` = it has none.
///
/// # Errors
/// The place, and what is wrong with it.
pub(crate) fn tiers(raw: &RawModel, listed: &Listed) -> Result<Option<Arc<Tiers>>, Wrong> {
    if raw.tiers.is_empty() {
        return without(raw);
    }
    let mut tiers = Vec::new();
    let mut names = HashSet::new();
    for (number, tier) in raw.tiers.iter().enumerate() {
        let wrong = |message: String| (vec!["tiers".to_owned(), number.to_string()], message);
        if !is_name(&tier.name) {
            let message = format!("`{}` is no name: expected letters, digits, `-` and `_`", tier.name);
            return Err(wrong(message));
        }
        if !names.insert(tier.name.as_str()) {
            return Err(wrong(format!("two tiers are named `{}`", tier.name)));
        }
        let floor = floor(&raw.tiers, number).map_err(wrong)?;
        tiers.push(Tier { name: Arc::from(tier.name.as_str()), floor, from: tier.from.unwrap_or(0) });
    }
    let of_target = of_targets(raw, listed)?;
    if let Some((number, empty)) = raw.tiers.iter().enumerate().find(|(number, _)| !of_target.contains(number)) {
        let message = format!("no target stands in `{0}`: expected one with `tier: {0}`", empty.name);
        return Err((vec!["tiers".to_owned(), number.to_string()], message));
    }
    Ok(Some(Arc::new(Tiers::new(tiers, of_target, unlabelled(raw)?))))
}

/// What says something of tiers where there are none.
fn without(raw: &RawModel) -> Result<Option<Arc<Tiers>>, Wrong> {
    let none = "the model has no `tiers`: expected a list of them, the lowest first";
    let target = raw.targets.iter().position(|target| tier_of(target).is_some());
    let place = match target {
        Some(target) => vec!["targets".to_owned(), target.to_string()],
        None if raw.default_tier.is_some() => vec!["default_tier".to_owned()],
        None if raw.tier_score.is_some() => vec!["tier_score".to_owned()],
        None => return Ok(None),
    };
    Err((place, none.to_owned()))
}

/// What can follow a model's name and stand in a header.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn tier_of(target: &RawTarget) -> Option<&str> {
    match target {
        RawTarget::Name(_) => None,
        RawTarget::Full(full) => full.tier.as_deref(),
    }
}

fn named(raw: &[RawTier]) -> String {
    raw.iter().map(|tier| tier.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn floor(raw: &[RawTier], number: usize) -> Result<usize, String> {
    let Some(lowest) = raw.get(number).and_then(|tier| tier.allow_downgrade.as_deref()) else { return Ok(number) };
    match raw.iter().position(|tier| tier.name == lowest) {
        Some(floor) if floor < number => Ok(floor),
        Some(_) => Err(format!("`allow_downgrade: {lowest}` is no lower tier: they are listed the lowest first")),
        None => Err(format!("`allow_downgrade` names no tier `{lowest}`: known are {}", named(raw))),
    }
}

/// The tier of each target, by number; those that a model brings stand in the tier that is written of it.
fn of_targets(raw: &RawModel, listed: &Listed) -> Result<Vec<usize>, Wrong> {
    let known = named(&raw.tiers);
    let mut of_targets = Vec::with_capacity(listed.targets.len());
    for (index, (written, brought)) in raw.targets.iter().zip(&listed.brought).enumerate() {
        let wrong = |message: String| (vec!["targets".to_owned(), index.to_string()], message);
        let Some(name) = tier_of(written) else {
            return Err(wrong(format!("`{}` stands in no tier: expected `tier`, one of {known}", written.name())));
        };
        let tier = raw.tiers.iter().enumerate().find(|(_, tier)| tier.name == name);
        let (number, tier) = tier.ok_or_else(|| wrong(format!("there is no tier `{name}`: known are {known}")))?;
        for target in listed.targets.iter().skip(of_targets.len()).take(*brought) {
            if let Some(what) = lacks(&tier.requires, target).map_err(wrong)? {
                return Err(wrong(format!("`{}` is not known to have {what}, which `{name}` requires", target.id)));
            }
        }
        of_targets.resize(of_targets.len() + brought, number);
    }
    Ok(of_targets)
}

/// What a target is not known to have of what is required.
fn lacks(requires: &RawRequires, target: &Target) -> Result<Option<String>, String> {
    if let Some(floor) = requires.quality {
        let floor = strategy::quality(floor)?;
        if target.quality.is_none_or(|quality| quality < floor) {
            return Ok(Some(format!("a quality of {floor}")));
        }
    }
    if let Some(window) = requires.context_window
        && target.facts.context_window.is_none_or(|known| known < window)
    {
        return Ok(Some(format!("a context window of {window} tokens")));
    }
    let known = &target.facts.capabilities;
    let capabilities = [
        (requires.tools, known.tools, "tools"),
        (requires.images, known.images, "images"),
        (requires.documents, known.documents, "documents"),
        (requires.audio, known.audio, "audio"),
        (requires.json_schema, known.json_schema, "json_schema"),
    ];
    let lacking = capabilities.into_iter().find(|(needed, has, _)| *needed && *has != Some(true));
    Ok(lacking.map(|(_, _, capability)| capability.to_owned()))
}

fn unlabelled(raw: &RawModel) -> Result<Unlabelled, Wrong> {
    let highest = raw.tiers.len().saturating_sub(1);
    let at = |key: &str, message: String| (vec![key.to_owned()], message);
    let scored = raw.tiers.iter().any(|tier| tier.from.is_some());
    if !scored {
        if raw.tier_score.is_some() {
            return Err(at("tier_score", "scores nothing: expected `from` at every tier but the lowest".to_owned()));
        }
        let Some(name) = &raw.default_tier else { return Ok(Unlabelled::Tier(highest)) };
        let tier = raw.tiers.iter().position(|tier| tier.name == *name);
        let unknown = || at("default_tier", format!("there is no tier `{name}`: known are {}", named(&raw.tiers)));
        return tier.map(Unlabelled::Tier).ok_or_else(unknown);
    }
    if raw.default_tier.is_some() {
        let message = "no request is left for it where tiers have `from`: expected one of them".to_owned();
        return Err(at("default_tier", message));
    }
    let scorer = raw.tier_score.unwrap_or_default();
    let mut before = None;
    for (number, tier) in raw.tiers.iter().enumerate() {
        let wrong = |message: String| Err((vec!["tiers".to_owned(), number.to_string()], message));
        match (number, tier.from) {
            (0, None) => {}
            (0, Some(_)) => {
                return wrong("the lowest tier has whatever reaches no other: expected no `from`".to_owned());
            }
            (_, None) => return wrong("expected `from`, as another tier has it".to_owned()),
            (_, Some(from)) if scorer == Scorer::Complexity && from > u64::from(MOST_POINTS) => {
                return wrong(format!("`from: {from}` is never reached: expected points of complexity, at most 100"));
            }
            (_, Some(from)) if before.is_some_and(|before| from <= before) || from == 0 => {
                return wrong(format!("`from: {from}` is not above the tier before it"));
            }
            (_, Some(from)) => before = Some(from),
        }
    }
    Ok(Unlabelled::Scored(scorer))
}
