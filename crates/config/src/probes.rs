//! Calls of the gateway's own that tell whether targets are well: as they are written, and which target gets which.

use crate::units::Span;
use catalog::Pattern;
use routing::{Model, ProbeMode, Target};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use signals::{ProbeCall, Probing};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Between two probes of a target: about the rest of a breaker that has opened twice.
const EVERY: Duration = Duration::from_secs(5);
/// Probes nearer than this would be traffic.
const SHORTEST: Duration = Duration::from_secs(1);

/// A mapping, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum RawProbes {
    /// None at all.
    #[default]
    None,
    /// One for its targets.
    One(RawProbing),
    /// The first that concerns a target holds.
    Many(Vec<RawProbing>),
}

/// How some targets are probed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawProbing {
    /// `token` (the default): an answer of one token, which is paid for and counts as an answer does. `model_list`: the
    /// provider's list of models, which is free and shows only that the provider is reached and takes the credential.
    pub call: RawProbeCall,
    /// The least time between two probes of a target; 5s by default.
    pub every: Option<Span>,
    /// Also ask a target that is well, after so long without a call; never by default.
    pub idle: Option<Span>,
    /// Which targets: `openai/gpt-5.1`, `openai/*`, `*`; all by default.
    pub targets: Option<Vec<String>>,
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawProbeCall {
    /// An answer of one token.
    #[default]
    Token,
    /// The provider's list of models.
    ModelList,
}

/// By hand, so that an error names what is wrong: an untagged enum only says that nothing fits.
impl<'de> Deserialize<'de> for RawProbes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProbesVisitor)
    }
}

struct ProbesVisitor;

impl<'de> Visitor<'de> for ProbesVisitor {
    type Value = RawProbes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping such as { call: token, every: 30s }, or a list of them")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawProbes, E> {
        Ok(RawProbes::None)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawProbes, A::Error> {
        RawProbing::deserialize(de::value::MapAccessDeserializer::new(map)).map(RawProbes::One)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<RawProbes, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(RawProbes::Many)
    }
}

/// What holds.
///
/// # Errors
/// The key, and what is wrong with it.
pub(crate) fn probes(raw: &RawProbes) -> Result<Vec<Probing>, (&'static str, String)> {
    match raw {
        RawProbes::None => Ok(Vec::new()),
        RawProbes::One(raw) => probing(raw).map(|probing| vec![probing]),
        RawProbes::Many(all) => all.iter().map(probing).collect(),
    }
}

fn probing(raw: &RawProbing) -> Result<Probing, (&'static str, String)> {
    for (key, span) in [("every", raw.every), ("idle", raw.idle)] {
        if let Some(Span(span)) = span.filter(|span| span.0 < SHORTEST) {
            return Err((key, format!("`{key}` is {span:?}: expected 1s or more")));
        }
    }
    if raw.targets.as_ref().is_some_and(Vec::is_empty) {
        return Err(("targets", "`targets` is empty: expected ids or patterns such as `openai/*`".to_owned()));
    }
    let all = || vec![Pattern::new("*")];
    Ok(Probing {
        call: match raw.call {
            RawProbeCall::Token => ProbeCall::Token,
            RawProbeCall::ModelList => ProbeCall::ModelList,
        },
        every: raw.every.map_or(EVERY, |span| span.0),
        idle: raw.idle.map(|span| span.0),
        targets: raw.targets.as_ref().map_or_else(all, |ids| ids.iter().map(|id| Pattern::new(id)).collect()),
    })
}

/// The targets that are probed, and how. Where a model leaves recovery to probes alone, its targets are asked for a
/// token, as nothing less shows that they have recovered.
pub(crate) fn probed<'m>(
    probes: &[Probing],
    models: impl Iterator<Item = &'m Arc<Model>>,
) -> Vec<(Arc<Target>, Probing)> {
    let mut probed: Vec<(Arc<Target>, Probing)> = Vec::new();
    for model in models {
        let needs_token = model.settings.probe == ProbeMode::Synthetic;
        for target in model.targets.iter() {
            let fits =
                |probing: &&Probing| probing.concerns(&target.id) && (!needs_token || probing.call == ProbeCall::Token);
            let found = probes.iter().find(fits).cloned();
            let Some(probing) = found.or_else(|| needs_token.then(|| for_a_token(&target.id))) else { continue };
            match probed.iter_mut().find(|(known, _)| known.id == target.id) {
                Some((_, known)) if needs_token => *known = probing,
                Some(_) => {}
                None => probed.push((Arc::clone(target), probing)),
            }
        }
    }
    probed
}

fn for_a_token(target: &str) -> Probing {
    Probing { call: ProbeCall::Token, every: EVERY, idle: None, targets: vec![Pattern::new(target)] }
}
