//! Who can serve: what the request needs against what is known of a target, then what health allows.
//!
//! Unknown excludes nothing. The two halves are apart because only the second is a diversion: a target that lacks
//! vision was never this request's primary, a target whose breaker is open was.

use crate::plan::ExclusionReason;
use crate::tier::{Assigned, Tiers};
use crate::{Model, Needs, ProbeMode, Target};
use canon::{FaultClass, Instant, Load};
use health::{BreakerStanding, Limits, ParkReason, Parked, Standing};

/// Why the target cannot serve this request even in full health.
pub(crate) fn incapable(target: &Target, needs: &Needs) -> Option<ExclusionReason> {
    if let Some(capability) = lacking(target, needs) {
        return Some(ExclusionReason::Lacks { capability });
    }
    let window = target.facts.context_window?;
    let estimated = target.prompt_tokens(needs);
    (window < estimated).then_some(ExclusionReason::WindowTooSmall { window, estimated })
}

/// What the request needs and the model is known not to take.
fn lacking(target: &Target, needs: &Needs) -> Option<&'static str> {
    let Needs { tools, images, documents, audio, json_schema, .. } = *needs;
    if !(tools || images || documents || audio || json_schema) {
        return None;
    }
    let known = &target.facts.capabilities;
    let lacking = [
        (tools, known.tools, "tools"),
        (images, known.images, "images"),
        (documents, known.documents, "documents"),
        (audio, known.audio, "audio"),
        (json_schema, known.json_schema, "json_schema"),
    ];
    let (_, _, capability) = lacking.into_iter().find(|(needed, has, _)| *needed && *has == Some(false))?;
    Some(capability)
}

/// Why the target is below the floor of a request of this tier.
pub(crate) fn below_tier(tiers: Option<(&Tiers, Assigned)>, target: usize) -> Option<ExclusionReason> {
    let (tiers, assigned) = tiers?;
    tiers.step(assigned, target).is_none().then_some(ExclusionReason::BelowTier)
}

/// Why the target is not good enough for the model. What nobody knows is not good enough for any floor.
pub(crate) fn below_floor(model: &Model, target: &Target) -> Option<ExclusionReason> {
    let floor = model.settings.min_quality.max(target.min_quality)?;
    match target.quality {
        Some(quality) if quality >= floor => None,
        quality => Some(ExclusionReason::BelowQuality { quality, floor }),
    }
}

/// Why health forbids the target now.
pub(crate) fn unavailable(
    model: &Model,
    target: &Target,
    standing: &Standing,
    now: Instant,
) -> Option<ExclusionReason> {
    match standing.breaker {
        BreakerStanding::Off { until } => return Some(ExclusionReason::ModelMissing { until }),
        BreakerStanding::Open { until } => {
            return Some(ExclusionReason::BreakerOpen { until, for_size: standing.for_size });
        }
        BreakerStanding::HalfOpen { ready: false, .. } => return Some(ExclusionReason::ProbeInFlight),
        BreakerStanding::HalfOpen { ready: true, .. } if model.settings.probe == ProbeMode::Synthetic => {
            return Some(ExclusionReason::AwaitsProbe);
        }
        BreakerStanding::HalfOpen { ready: true, .. } | BreakerStanding::Ramping { .. } | BreakerStanding::Closed => {}
    }
    match usable_credential(target, now) {
        Ok(_) => None,
        Err(None) => Some(ExclusionReason::NoCredential),
        Err(Some(parked)) if waits_for(model, parked, now) => None,
        Err(Some(Parked { until, reason })) => Some(ExclusionReason::Parked { until, reason }),
    }
}

/// Why there is no room for the request at the target, where the configuration says that room is kept.
pub(crate) fn without_room(
    model: &Model,
    target: &Target,
    needs: &Needs,
    load: &Load,
    now: Instant,
) -> Option<ExclusionReason> {
    if let Some(bound) = target.bound.as_ref().filter(|bound| bound.is_full(now)) {
        return Some(ExclusionReason::AtLimit { limit: bound.limit(now).unwrap_or_default() });
    }
    // The highest may use up what there is; the provider's word is the last.
    let part = model.settings.reserve * f64::from(needs.priority.above());
    if part <= 0.0 {
        return None;
    }
    let mut usable = target.credentials.iter().filter(|it| it.health.usable(&target.model, now).is_ok());
    let any = usable.any(|it| it.limits.leaves(part, load, now));
    (!any).then_some(ExclusionReason::Reserved)
}

/// The first credential that is not parked, or the park that ends first.
pub(crate) fn usable_credential(target: &Target, now: Instant) -> Result<usize, Option<Parked>> {
    let mut nearest: Option<Parked> = None;
    for (index, credential) in target.credentials.iter().enumerate() {
        match credential.health.usable(&target.model, now) {
            Ok(()) => return Ok(index),
            Err(parked) => {
                nearest = Some(nearest.filter(|known| known.until <= parked.until).unwrap_or(parked));
            }
        }
    }
    Err(nearest)
}

/// The credential for the call among those that are not parked and that `may` be used: the first that has room and few
/// in flight, else the first that has room, else the first.
pub(crate) fn best_credential(
    target: &Target,
    load: &Load,
    now: Instant,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let model = &target.model;
    let usable =
        target.credentials.iter().enumerate().filter(|(index, it)| may(*index) && it.health.usable(model, now).is_ok());
    let worse = |limits: &Limits| if limits.has_room(load, now) { u8::from(limits.is_crowded(now)) } else { 2 };
    usable.min_by_key(|(_, credential)| worse(&credential.limits)).map(|(index, _)| index)
}

/// Whether some credential that may be used has room for the call, as far as its limits are known; `true` where none
/// may be used, which is another matter.
pub(crate) fn has_room(target: &Target, load: &Load, now: Instant) -> bool {
    let mut may_be_used = false;
    for credential in &target.credentials {
        if credential.health.usable(&target.model, now).is_ok() {
            if credential.limits.has_room(load, now) {
                return true;
            }
            may_be_used = true;
        }
    }
    !may_be_used
}

/// What a request takes of its provider's limits: the prompt, and the answer it may well get. Callers set caps
/// generously, so a cap is believed up to a few times the model's usual answer.
pub(crate) fn load(model: &Model, needs: &Needs) -> Load {
    const UNKNOWN_OUTPUT: u64 = 512;
    const LONG_ANSWER: u64 = 4;
    let usual = model.ledger.usual_output().unwrap_or(UNKNOWN_OUTPUT);
    let output = needs.max_output_tokens.map_or(usual, |cap| cap.min(usual.saturating_mul(LONG_ANSWER)));
    Load { input_tokens: needs.estimated_tokens, output_tokens: output.saturating_mul(u64::from(needs.answers.max(1))) }
}

/// Whether the operator wants this park waited for rather than passed over.
pub(crate) fn waits_for(model: &Model, parked: Parked, now: Instant) -> bool {
    parked.reason == ParkReason::RateLimited
        && model
            .settings
            .on
            .policy(FaultClass::RateLimited)
            .max_wait
            .is_some_and(|max_wait| parked.until.saturating_since(now) <= max_wait)
}
