//! Copies of a model's requests that go to another target: as they are written, and checked.

use crate::error::ConfigError;
use crate::load::Build;
use crate::raw::RawTarget;
use crate::snapshot::Snapshot;
use catalog::{ModelFacts, Ratio};
use routing::{Mirror, Model, ModelSettings, Rescue, RescueMode, Target, Timeouts};
use schemars::JsonSchema;
use serde::Deserialize;
use signals::PriceSheet;
use std::sync::Arc;

/// Most copies in flight by default: a few seconds of a busy model's share.
const IN_FLIGHT: usize = 16;
/// More would be load of its own.
const MOST_IN_FLIGHT: usize = 1024;
/// All of it, in millionths.
const WHOLE: u64 = 1_000_000;

/// A share of a model's requests goes to another target as well. The answers go to nobody.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMirror {
    /// `provider/model`, or a mapping with options.
    pub target: RawTarget,
    /// The share of requests that is copied: `5%`, or `0.05`.
    pub share: Ratio,
    /// Most copies in flight, 16 by default; more are not made.
    pub in_flight: Option<usize>,
}

impl Build<'_> {
    /// The mirror of a model, with these timeouts.
    pub(crate) fn mirror(
        &self,
        snapshot: &mut Snapshot,
        name: &str,
        raw: Option<&RawMirror>,
        timeouts: &Timeouts,
    ) -> Result<Option<Arc<Mirror>>, ConfigError> {
        let Some(raw) = raw else { return Ok(None) };
        let wrong = |key: &str, message: &str| Err(self.at(&["models", name, "mirror", key], message));
        let share = match u32::try_from(raw.share.millionths()) {
            Ok(share) if share > 0 && u64::from(share) <= WHOLE => share,
            _ => return wrong("share", "expected more than 0 and at most 100%"),
        };
        let in_flight = raw.in_flight.unwrap_or(IN_FLIGHT);
        if !(1..=MOST_IN_FLIGHT).contains(&in_flight) {
            return wrong("in_flight", &format!("found {in_flight}, expected 1 to {MOST_IN_FLIGHT}"));
        }
        if let Some(option) = raw.target.option_among_others() {
            return wrong("target", &format!("`{option}` says how a target stands among others: a mirror has one"));
        }
        let target = self.target(snapshot, &["models", name, "mirror", "target"], &raw.target)?;
        let callers = Arc::new(target.clone());
        let target = snapshot.apart(target);
        if let Some(spend) = target.guards.spend {
            target.ledger.spending.watch(spend.window);
        }
        let settings = ModelSettings {
            timeouts: timeouts.clone(),
            max_targets: 1,
            max_attempts: 1,
            rescue: Rescue { mode: RescueMode::Error, ..Rescue::default() },
            ..ModelSettings::default()
        };
        let model = snapshot.make_model(&format!("{name} (mirror)"), settings, vec![Arc::new(target)]);
        Ok(Some(Arc::new(Mirror { model: Arc::new(model), callers, share, in_flight })))
    }
}

/// A mirror whose target has the prices that a feed tells of the target it copies to, if it tells any.
pub(crate) fn with_prices(mirror: &Mirror, sheet: &PriceSheet) -> Mirror {
    let Some(prices) = sheet.get(&mirror.callers.id) else { return mirror.clone() };
    let priced = |target: &Arc<Target>| {
        let facts = ModelFacts { prices: Some(prices.clone()), ..target.facts.clone() };
        Arc::new(Target { facts, ..Target::clone(target) })
    };
    let targets = mirror.model.targets.iter().map(priced).collect::<Vec<_>>().into();
    let model = Arc::new(Model { targets, ..Model::clone(&mirror.model) });
    Mirror { model, callers: priced(&mirror.callers), ..mirror.clone() }
}

impl RawTarget {
    /// The first option that means nothing where there is one target.
    fn option_among_others(&self) -> Option<&'static str> {
        let Self::Full(full) = self else { return None };
        [
            (full.weight.is_some(), "weight"),
            (full.tier.is_some(), "tier"),
            (full.label.is_some(), "label"),
            (full.quality.is_some(), "quality"),
            (full.max_price_ratio.is_some(), "max_price_ratio"),
            (full.inject.is_some(), "inject"),
        ]
        .into_iter()
        .find_map(|(is_set, name)| is_set.then_some(name))
    }
}
