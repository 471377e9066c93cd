//! Who can serve: what the request needs against what is known of a target, then what health allows.
//!
//! Unknown excludes nothing. The two halves are apart because only the second is a diversion: a target that lacks
//! vision was never this request's primary, a target whose breaker is open was.

use crate::plan::ExclusionReason;
use crate::{Model, Needs, ProbeMode, Target};
use canon::{FaultClass, Instant};
use health::{BreakerStanding, ParkReason, Parked, Standing};

/// Why the target cannot serve this request even in full health.
pub(crate) fn incapable(target: &Target, needs: &Needs) -> Option<ExclusionReason> {
    let known = &target.facts.capabilities;
    let lacking = [
        (needs.tools, known.tools, "tools"),
        (needs.images, known.images, "images"),
        (needs.documents, known.documents, "documents"),
        (needs.audio, known.audio, "audio"),
        (needs.json_schema, known.json_schema, "json_schema"),
    ]
    .into_iter()
    .find(|(needed, has, _)| *needed && *has == Some(false));
    if let Some((_, _, capability)) = lacking {
        return Some(ExclusionReason::Lacks { capability });
    }
    match target.facts.context_window {
        Some(window) if window < needs.estimated_tokens => {
            Some(ExclusionReason::WindowTooSmall { window, estimated: needs.estimated_tokens })
        }
        _ => None,
    }
}

/// Why the target is not good enough for the model. What nobody knows is not good enough for any floor.
pub(crate) fn below_floor(model: &Model, target: &Target) -> Option<ExclusionReason> {
    let floor = model.settings.min_quality?;
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
        BreakerStanding::Open { until } => return Some(ExclusionReason::BreakerOpen { until }),
        BreakerStanding::HalfOpen { ready: false } => return Some(ExclusionReason::ProbeInFlight),
        BreakerStanding::HalfOpen { ready: true } if model.settings.probe == ProbeMode::Synthetic => {
            return Some(ExclusionReason::AwaitsProbe);
        }
        BreakerStanding::HalfOpen { ready: true } | BreakerStanding::Ramping { .. } | BreakerStanding::Closed => {}
    }
    match usable_credential(target, now) {
        Ok(_) => None,
        Err(None) => Some(ExclusionReason::NoCredential),
        Err(Some(parked)) if waits_for(model, parked, now) => None,
        Err(Some(Parked { until, reason })) => Some(ExclusionReason::Parked { until, reason }),
    }
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
