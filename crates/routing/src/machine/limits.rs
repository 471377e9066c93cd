//! The limits of one attempt, from the configuration, the target's own traffic and what is left of the exchange.

use super::PhaseLimits;
use crate::{Model, Needs, Target};
use canon::Instant;
use health::{first_token_limit, idle_limit};
use std::time::Duration;

/// The share of the remaining time an attempt may take while another candidate exists.
pub(super) const SHARE_OF_REST: f64 = 0.6;
/// Prompts above this take long to their first token.
const LONG_PROMPT: u64 = 32_000;
const RESPONSE_FLOOR: Duration = Duration::from_secs(15);
/// The least a reasoning model or a long prompt gets.
const PATIENT_FLOOR: Duration = Duration::from_secs(60);
/// Expected output where the caller set no cap, and the most that a cap is believed: caps are set generously.
const EXPECTED_OUTPUT: u64 = 1_000;
const BELIEVED_OUTPUT: u64 = 4_000;
/// Output speed until a target's own baseline is kept.
const TOKENS_PER_SECOND: f64 = 50.0;
/// How much slower than expected is still waited for.
const SLACK: f64 = 3.0;

/// Under which circumstances an attempt starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Instant,
    pub(super) deadline: Instant,
    /// When it has to be on its way to a caller that has had nothing yet: no later than the deadline.
    pub(super) due: Instant,
    /// Another candidate could still serve.
    pub(super) other_exists: bool,
    /// The target is known to be unwell: silence is not waited out even if it is the last.
    pub(super) on_trial: bool,
}

/// The limits of an attempt at `target`.
pub(super) fn phase_limits(model: &Model, target: &Target, needs: &Needs, at: Circumstances) -> PhaseLimits {
    let timeouts = &model.settings.timeouts;
    let rest = at.deadline.saturating_since(at.now);
    let share = if at.other_exists { rest.mul_f64(SHARE_OF_REST) } else { rest };
    let allowed = timeouts.attempt.map_or(share, |attempt| attempt.min(share));
    let impatient = at.other_exists || at.on_trial;
    PhaseLimits {
        connect: timeouts.connect,
        first_token: impatient.then(|| first_token(model, target, needs)),
        response: if impatient {
            Some(timeouts.response.unwrap_or_else(|| expected_response(target, needs)))
        } else {
            timeouts.response
        },
        idle: timeouts.idle.unwrap_or_else(|| idle_limit(target.health.gaps())),
        attempt_until: if at.deadline == Instant::FAR_FUTURE && timeouts.attempt.is_none() {
            at.due
        } else {
            at.due.min(at.now + allowed)
        },
    }
}

/// The silence after which a target is to blame.
pub(super) fn first_token(model: &Model, target: &Target, needs: &Needs) -> Duration {
    let learned = || first_token_limit(target.health.first_tokens(), is_patient(target, needs));
    model.settings.timeouts.first_token.unwrap_or_else(learned)
}

fn is_patient(target: &Target, needs: &Needs) -> bool {
    target.facts.reasoning_model || needs.reasoning || needs.estimated_tokens > LONG_PROMPT
}

fn expected_response(target: &Target, needs: &Needs) -> Duration {
    let tokens = needs.max_output_tokens.unwrap_or(EXPECTED_OUTPUT).min(BELIEVED_OUTPUT);
    let floor = if is_patient(target, needs) { PATIENT_FLOOR } else { RESPONSE_FLOOR };
    Duration::from_secs_f64(tokens as f64 / TOKENS_PER_SECOND * SLACK).max(floor)
}
