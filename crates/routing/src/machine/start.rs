//! Starting attempts: which candidate is next, with which credential, under which permit, at whose expense.

use super::beside::Beside;
use super::limits::{self, Circumstances};
use super::record::{Record, Running, Track};
use super::{Action, AttemptId, Machine, Pending, Start};
use crate::filter::{self, best_credential, usable_credential, waits_for};
use crate::speed::Watch;
use crate::{ExclusionReason, ProbeMode, Target, price};
use canon::{FaultClass, Instant};
use health::{BreakerStanding, ParkReason, StartKind};
use std::sync::Arc;
use std::time::Duration;

/// When a probe is hedged while its target's median is unknown.
const COLD_HEDGE: Duration = Duration::from_millis(250);
/// Samples that make a median known.
const KNOWN_MEDIAN: usize = 5;
/// Waited for a rate limit's hint when no other candidate is left.
pub(super) const LAST_MAX_WAIT: Duration = Duration::from_secs(1);

/// Why an attempt did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotStarted {
    /// Not now, and not later in this exchange.
    Passed,
    /// The operator wants the rate limit waited for.
    Parked(Instant),
}

/// How the retry budget stands to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    /// Already paid.
    Paid,
    /// Free if the target is healthy or nothing was tried yet.
    UnlessHealthy,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) track: usize,
    pub(super) credential: Option<usize>,
    pub(super) kind: StartKind,
    pub(super) charge: Charge,
    pub(super) is_hedge: bool,
    pub(super) is_rescue: bool,
}

impl Order {
    pub(super) fn next(track: usize) -> Self {
        Self {
            track,
            credential: None,
            kind: StartKind::Probe,
            charge: Charge::UnlessHealthy,
            is_hedge: false,
            is_rescue: false,
        }
    }

    pub(super) fn again(track: usize, credential: Option<usize>) -> Self {
        Self { credential, charge: Charge::Paid, ..Self::next(track) }
    }

    /// Somebody has part of an answer and waits for the rest: no target on probation is asked for it.
    pub(super) fn rescue(track: usize) -> Self {
        Self { kind: StartKind::Live, is_rescue: true, ..Self::next(track) }
    }

    pub(super) fn paid(self) -> Self {
        Self { charge: Charge::Paid, ..self }
    }
}

impl Machine {
    /// Starts the next candidate, or waits, or gives up.
    pub(super) fn advance(&mut self, same_model: Option<&str>, now: Instant) -> Action {
        if now >= self.due() {
            return self.deadline_passed(now);
        }
        loop {
            let preferred = same_model.and_then(|model| self.find_next(Some(model), now));
            let Some(track) = preferred.or_else(|| self.find_next(None, now)) else {
                return self.exhausted(now);
            };
            match self.start(Order::next(track), now) {
                Ok(start) => return Action::Try(start),
                Err(NotStarted::Parked(until)) => {
                    if let Some(track) = self.tracks.get_mut(track) {
                        track.retried = true;
                    }
                    return self.wait(until, Pending::Start { order: Order::next(track) });
                }
                Err(NotStarted::Passed) => self.close(track),
            }
        }
    }

    /// Starts an attempt if target, credential and budget allow.
    pub(super) fn start(&mut self, order: Order, now: Instant) -> Result<Start, NotStarted> {
        let (target, tracked) = self.track_target(order.track).ok_or(NotStarted::Passed)?;
        let fresh = tracked.attempts == 0 && !tracked.retried;
        let credential = self.choose_credential(&target, order.credential, fresh, now)?;
        let standing = target.health.standing_for(self.facts.needs.estimated_tokens, now);
        let kind = match (standing.breaker, order.kind) {
            (_, StartKind::Panic) => StartKind::Panic,
            (BreakerStanding::HalfOpen { .. }, _)
                if !order.is_rescue && self.model.settings.probe != ProbeMode::Synthetic =>
            {
                StartKind::Probe
            }
            _ => StartKind::Live,
        };
        let place = match &target.bound {
            Some(bound) => Some(bound.enter(now).ok_or(NotStarted::Passed)?),
            None => None,
        };
        let reservation = price::reserve(&self.model, &target, &self.facts.needs, now).ok_or(NotStarted::Passed)?;
        let mut permit =
            target.health.start_for(self.facts.needs.estimated_tokens, kind, now).map_err(|_| NotStarted::Passed)?;
        let free = match order.charge {
            Charge::Paid => true,
            Charge::UnlessHealthy => self.records.is_empty() || standing.is_healthy(),
        };
        if !free && !self.model.budget.try_charge(self.cost, now) {
            permit.cancelled();
            return Err(NotStarted::Passed);
        }
        // The caller of a probe must not wait, so its hedge is paid for in advance; without the means, no probe.
        let is_probe = permit.is_probe();
        let wants_hedge = is_probe && !order.is_hedge && self.model.settings.probe == ProbeMode::Live;
        let hedge_paid = wants_hedge && self.healthy_peer(Some(order.track), now).is_some();
        if hedge_paid && !self.model.budget.try_charge(self.cost, now) {
            permit.cancelled();
            if !free {
                self.model.budget.refund(self.cost, now);
            }
            return Err(NotStarted::Passed);
        }
        // The first content of a rescue is the first that goes on from what was shown: no usual first token.
        if self.facts.needs.streamed && !order.is_rescue {
            permit.awaits_first_token(self.facts.needs.estimated_tokens);
        }
        if self.records.is_empty() && !self.facts.is_callers_retry {
            self.model.budget.deposit(self.cost, now);
            self.deposit_for_hedges();
        }
        let attempt = AttemptId(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        if let Some(track) = self.tracks.get_mut(order.track) {
            track.attempts += 1;
            track.tried_credentials.push(credential);
        }
        let on_trial = is_probe || kind == StartKind::Panic || order.is_rescue;
        let hedge_at = match hedge_paid {
            true => Some(now + hedge_delay(&target)),
            false if on_trial => None,
            false => self.beside_at(&target, &order, now),
        };
        let load = filter::load(&self.model, &self.facts.needs);
        let taken = target.credentials.get(credential).map(|it| it.limits.reserve(load, now));
        let track = order.track;
        self.running.push(Running { attempt, track, credential, permit, taken, place, hedge_at, hedge_paid });
        let other_exists = self.find_next(None, now).is_some();
        let hedge_at = if other_exists { self.hurried(hedge_at, &order, now) } else { hedge_at };
        let at = Circumstances { now, deadline: self.facts.deadline, due: self.due(), other_exists, on_trial };
        let limits = limits::phase_limits(&self.model, &target, &self.facts.needs, at);
        self.records.push(Record {
            target: Arc::clone(&target),
            track: order.track,
            started: now,
            first_content: None,
            last: now,
            fault: None,
            rescue: order.is_rescue,
            beside: None,
            reservation: reservation.begun(),
            watch: Watch::start(&target.ledger, self.facts.needs.class(), now),
        });
        let target_index = self.tracks.get(order.track).map_or(0, |track| track.target);
        Ok(Start { attempt, target_index, target, credential, limits, is_probe, hedge_at })
    }

    /// Another credential of the target, not yet tried in this exchange.
    pub(super) fn other_credential(&self, track: usize, now: Instant) -> Option<usize> {
        let (target, tracked) = self.track_target(track)?;
        let load = filter::load(&self.model, &self.facts.needs);
        best_credential(&target, &load, now, |index| !tracked.tried_credentials.contains(&index))
    }

    /// Starts the hedge of a running probe, if somebody healthy is still there. It is paid for.
    pub(super) fn hedge(&mut self, now: Instant) -> Action {
        self.running.iter_mut().for_each(|running| running.hedge_at = None);
        let started = self.healthy_peer(None, now).and_then(|track| {
            let order = Order { charge: Charge::Paid, is_hedge: true, ..Order::next(track) };
            self.start(order, now).ok()
        });
        if let Some(start) = &started {
            if let Some(record) = self.record_mut(start.attempt) {
                record.beside = Some(Beside::Probe);
            }
            self.running.iter_mut().for_each(|running| running.hedge_paid = false);
        }
        started.map_or(Action::Continue { hedge_at: None }, Action::Hedge)
    }

    /// Nobody is left to start: the trickle of a panic, a short wait for a rate limit, or the end.
    fn exhausted(&mut self, now: Instant) -> Action {
        if let Some(action) = self.wait_for_a_limit(now) {
            return action;
        }
        if self.records.is_empty()
            && let Some((track, is_promising)) = self.nearest_open(now)
            && (is_promising || self.model.panic_gate.admit(now))
        {
            let order = Order { kind: StartKind::Panic, charge: Charge::Paid, ..Order::next(track) };
            if let Ok(start) = self.start(order, now) {
                return Action::Try(start);
            }
        }
        self.give_up_exhausted(now)
    }

    /// A rate limit that ends soon is waited for when no other candidate is left: once a target.
    fn wait_for_a_limit(&mut self, now: Instant) -> Option<Action> {
        let policy = self.model.settings.on.policy(FaultClass::RateLimited);
        if policy.step.is_some() {
            return None;
        }
        let latest = (now + policy.max_wait.unwrap_or(LAST_MAX_WAIT)).min(self.due());
        let parked_at_plan: Vec<_> = self
            .plan
            .excluded
            .iter()
            .filter_map(|exclusion| match exclusion.reason {
                ExclusionReason::Parked { until, reason: ParkReason::RateLimited } => Some((exclusion.target, until)),
                _ => None,
            })
            .filter(|(target, _)| self.tracks.iter().all(|track| track.target != *target))
            .collect();
        for (target, until) in parked_at_plan {
            self.tracks.push(Track { closed: true, limited_until: Some(until), ..Track::new(target) });
        }
        let (track, until) = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(_, track)| track.attempts < 2 && !track.retried && self.fits(track))
            .filter_map(|(index, track)| Some((index, track.limited_until?)))
            .filter(|(_, until)| *until <= latest && *until < self.due())
            .min_by_key(|(_, until)| *until)?;
        if self.work_is_spent() || !(self.records.is_empty() || self.model.budget.try_charge(self.cost, now)) {
            return None;
        }
        if let Some(track) = self.tracks.get_mut(track) {
            track.retried = true;
        }
        Some(self.wait(until.max(now), Pending::Start { order: Order::again(track, None) }))
    }

    pub(super) fn wait(&mut self, until: Instant, pending: Pending) -> Action {
        self.pending = Some((until, pending));
        Action::Wait { until }
    }

    /// The first candidate that may still be started; with `same_model`, of that model alone.
    pub(super) fn find_next(&self, same_model: Option<&str>, now: Instant) -> Option<usize> {
        if self.work_is_spent() {
            return None;
        }
        self.tracks.iter().enumerate().find_map(|(index, track)| {
            let target = self.model.targets.get(track.target)?;
            let wanted = same_model.is_none_or(|model| target.same_model == model);
            let open = track.attempts == 0 && !track.closed && self.fits(track);
            (wanted && open && self.is_startable(target, now)).then_some(index)
        })
    }

    /// Whether a start would be let through as things stand; the start itself decides.
    fn is_startable(&self, target: &Target, now: Instant) -> bool {
        let usable = match usable_credential(target, now) {
            Ok(_) => true,
            Err(parked) => parked.is_some_and(|parked| self.waits_for_park(parked, now)),
        };
        usable
            && target.bound.as_ref().is_none_or(|bound| !bound.is_full(now))
            && match target.health.standing_for(self.facts.needs.estimated_tokens, now).breaker {
                BreakerStanding::Closed | BreakerStanding::Ramping { .. } => true,
                BreakerStanding::HalfOpen { ready, .. } => ready && self.model.settings.probe != ProbeMode::Synthetic,
                BreakerStanding::Open { .. } | BreakerStanding::Off { .. } => false,
            }
    }

    /// A candidate fit to hedge with, other than the one that starts.
    fn healthy_peer(&self, but: Option<usize>, now: Instant) -> Option<usize> {
        let starting = u32::from(but.is_some());
        if self.worked + starting + 1 > self.model.settings.max_attempts {
            return None;
        }
        self.tracks.iter().enumerate().find_map(|(index, track)| {
            let target = self.model.targets.get(track.target)?;
            let open = Some(index) != but && track.attempts == 0 && !track.closed && self.fits(track);
            let healthy = target.health.standing_for(self.facts.needs.estimated_tokens, now).is_healthy()
                && usable_credential(target, now).is_ok();
            (open && healthy).then_some(index)
        })
    }

    /// The open target whose rest ends first, or one that has already answered a probe: that it is asked for a second
    /// answer before it serves is a luxury for when others do.
    fn nearest_open(&mut self, now: Instant) -> Option<(usize, bool)> {
        let capable = |index: &usize| self.plan.healthy_order.contains(index) && !self.plan.is_barred(*index);
        let (is_unproven, _, nearest) = (0..self.model.targets.len())
            .filter(capable)
            .filter_map(|index| {
                let target = self.model.targets.get(index)?;
                usable_credential(target, now).ok()?;
                match target.health.standing_for(self.facts.needs.estimated_tokens, now).breaker {
                    BreakerStanding::Open { until } => Some((true, until, index)),
                    // A probe in flight is as near as can be, and one more call at a second's distance does no harm.
                    BreakerStanding::HalfOpen { promising, .. } => Some((!promising, now, index)),
                    BreakerStanding::Closed | BreakerStanding::Ramping { .. } | BreakerStanding::Off { .. } => None,
                }
            })
            .min()?;
        let known = self.tracks.iter().position(|track| track.target == nearest);
        let track = known.unwrap_or_else(|| {
            self.tracks.push(Track { closed: true, ..Track::new(nearest) });
            self.tracks.len() - 1
        });
        Some((track, !is_unproven))
    }

    fn choose_credential(
        &self,
        target: &Target,
        wanted: Option<usize>,
        fresh: bool,
        now: Instant,
    ) -> Result<usize, NotStarted> {
        let is_usable = |index: &usize| {
            target.credentials.get(*index).is_some_and(|it| it.health.usable(&target.model, now).is_ok())
        };
        if let Some(index) = wanted.filter(is_usable) {
            return Ok(index);
        }
        if let Some(index) = best_credential(target, &filter::load(&self.model, &self.facts.needs), now, |_| true) {
            return Ok(index);
        }
        usable_credential(target, now).map_err(|parked| match parked {
            Some(parked) if fresh && self.waits_for_park(parked, now) => NotStarted::Parked(parked.until),
            _ => NotStarted::Passed,
        })
    }

    fn waits_for_park(&self, parked: health::Parked, now: Instant) -> bool {
        waits_for(&self.model, parked, now) && parked.until < self.due()
    }

    /// Attempts that reached a model's work, with those that are about to, have reached their number.
    pub(super) fn work_is_spent(&self) -> bool {
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let targets = self.tracks.iter().filter(|track| track.reached_work).count();
        self.worked.saturating_add(running) >= self.model.settings.max_attempts
            || targets >= self.model.settings.max_targets as usize
    }

    /// Whether the target's window and model are not ruled out by a prompt that was too long elsewhere.
    pub(super) fn fits(&self, track: &Track) -> bool {
        let Some(target) = self.model.targets.get(track.target) else { return false };
        !self.too_small.iter().any(|refused| match (target.facts.context_window, refused.window) {
            (Some(window), Some(known)) => window <= known,
            (Some(_), None) | (None, _) => target.same_model == refused.same_model,
        })
    }

    pub(super) fn close(&mut self, track: usize) {
        if let Some(track) = self.tracks.get_mut(track) {
            track.closed = true;
        }
    }

    fn track_target(&self, track: usize) -> Option<(Arc<Target>, &Track)> {
        let track = self.tracks.get(track)?;
        Some((Arc::clone(self.model.targets.get(track.target)?), track))
    }
}

/// The target's median. The probe goes on after its hedge has served the caller, so a target that is slower than its
/// peer proves its recovery all the same and nobody waits for it.
fn hedge_delay(target: &Target) -> Duration {
    let samples = target.health.first_tokens();
    if samples.count < KNOWN_MEDIAN { COLD_HEDGE } else { samples.p50 }
}
