//! Weighted splits that keep to an arm, and experiments: as they are written, and checked.

use crate::raw::{RawModel, RawTarget};
use crate::snapshot::Listed;
use crate::strategy::RawStrategy;
use routing::{Experiment, Node, Split, Sticky, Strategy};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Longest name of an experiment or an arm: they stand in a header.
const LONGEST: usize = 64;

/// A split by weight, with options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawWeighted {
    /// Draw the same target for all requests of a `user` (`user`, `safety_identifier` or `metadata.user_id` of the
    /// request), or of a named `session`; by default each request is drawn for itself.
    pub sticky: Option<RawSticky>,
    /// The name of an experiment whose arms are the targets: told in `x-mainstay-experiment`, in the trace, the log and
    /// the history.
    pub experiment: Option<String>,
}

/// What a split keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSticky {
    /// The requests of an end user.
    User,
    /// The requests of a conversation that has a name.
    Session,
}

impl RawWeighted {
    /// The strategy of a model of this name. Two models in one experiment draw alike.
    pub(crate) fn strategy(&self, model: &str) -> Strategy {
        let sticky = match self.sticky {
            None => return Strategy::Weighted,
            Some(RawSticky::User) => Sticky::User,
            Some(RawSticky::Session) => Sticky::Session,
        };
        Strategy::Sticky(Split::new(sticky, self.experiment.as_deref().unwrap_or(model)))
    }
}

/// The experiment of a model.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn experiment(raw: &RawModel) -> Result<Option<Arc<Experiment>>, String> {
    let RawStrategy::Full(full) = &raw.strategy else { return Ok(None) };
    let Some(name) = full.weighted.as_ref().and_then(|weighted| weighted.experiment.as_ref()) else { return Ok(None) };
    let is_token = |text: &str| {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+#".contains(&byte);
        !text.is_empty() && text.len() <= LONGEST && text.bytes().all(may)
    };
    if !is_token(name) {
        return Err(format!(
            "`{name}` is no name of an experiment: expected at most {LONGEST} of A-Z a-z 0-9 - _ . : / @ + #"
        ));
    }
    let arm = |target: &RawTarget| match target {
        RawTarget::Full(full) => full.label.clone().unwrap_or_else(|| full.target.clone()),
        RawTarget::Name(name) => name.clone(),
    };
    let arms: Vec<String> = raw.targets.iter().map(arm).collect();
    if arms.len() < 2 {
        return Err(format!("an experiment compares arms, and `{name}` has one: expected more targets"));
    }
    for (place, arm) in arms.iter().enumerate() {
        if !is_token(arm) {
            return Err(format!(
                "`{arm}` is no name of an arm: give the target a `label` of at most {LONGEST} letters"
            ));
        }
        if arms.iter().skip(place + 1).any(|other| other == arm) {
            return Err(format!("two arms are named `{arm}`: give one of them another `label`"));
        }
    }
    Ok(Some(Arc::new(Experiment { name: name.clone(), arms })))
}

/// Whom a model and those among its targets keep to their arms must be the same.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn check(strategy: Strategy, listed: &Listed) -> Result<(), String> {
    fn all(nodes: &[Node], found: &mut Vec<(String, Sticky)>) {
        for node in nodes {
            let Node::Group(group) = node else { continue };
            if let Strategy::Sticky(split) = group.strategy {
                found.push((format!("`{}`", group.name), split.sticky));
            }
            all(&group.nodes, found);
        }
    }
    let mut found = Vec::new();
    if let Strategy::Sticky(split) = strategy {
        found.push(("it".to_owned(), split.sticky));
    }
    all(&listed.nodes, &mut found);
    let differs = found.windows(2).find_map(|pair| match pair {
        [one, other] if one.1 != other.1 => Some((one.clone(), other.clone())),
        _ => None,
    });
    differs.map_or(Ok(()), |((one, by), (other, by_other))| {
        let (by, by_other) = (by.as_str(), by_other.as_str());
        Err(format!(
            "{one} is sticky by {by}, and {other} among its targets by {by_other}: expected one of them for both"
        ))
    })
}
