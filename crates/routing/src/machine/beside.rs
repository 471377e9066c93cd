//! A second attempt beside the first: the hedge of a first token that is late, and a race.
//!
//! It is for the first attempt of an exchange alone, and only while all is well: an extra attempt helps against chance,
//! and against trouble it makes it worse. So there is none for a request that the caller's own SDK repeats, none while
//! more than a fifth of the targets that could serve are resting, coming back or limited, and none while failing over
//! has used up the retry budget. Nor where it would do harm: a conversation stays at the target that keeps its cache,
//! what is bound to one provider stays there, and what both attempts may cost in all keeps to the price that is allowed
//! for one. What a caller that is about to hang up has started beside an attempt is another matter: `first_byte.rs`.

use super::start::Order;
use super::{Action, Machine, Start};
use crate::filter::{self, usable_credential};
use crate::hedging::{self, Hedging};
use crate::{HedgeAfter, Target};
use canon::Instant;
use std::time::Duration;

/// Of a retry budget that is idle, six are left by what time alone earns: half of that is trouble.
const RETRY_BUDGET_LOW: f64 = 3.0;
/// One target in so many may be unwell.
const UNWELL_IN: usize = 5;
/// What is not paid for is tried again when it has waited for this part more of its age.
const LATER: u32 = 4;
/// And no more when it has waited for so many times as long as what is late.
const GIVEN_UP: f64 = 2.0;
/// What has waited for so many times as long as what is late is late by much: what is merely slow has been answered.
const SURELY_LATE: f64 = 1.2;
/// Hedges that are kept for those: half of what a bucket saves up.
const KEPT: u64 = 5;
const SOONEST_LATER: Duration = Duration::from_millis(50);

/// Why an attempt was started beside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// The other is a probe.
    Probe,
    /// The first token of the other was late.
    Hedge,
    /// The two were started together.
    Race,
    /// The caller was about to hang up.
    ReadTimeout,
}

impl Beside {
    /// The word in headers and traces.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "half_open",
            Self::Hedge => "hedge",
            Self::Race => "race",
            Self::ReadTimeout => "read_timeout",
        }
    }
}

impl Machine {
    /// When another attempt is to start beside the exchange's first, which starts now.
    pub(super) fn beside_at(&self, target: &Target, order: &Order, now: Instant) -> Option<Instant> {
        let hedging = self.model.settings.hedging;
        if hedging == Hedging::Off || order.is_rescue || !self.records.is_empty() {
            return None;
        }
        let index = self.tracks.get(order.track)?.target;
        let is_pinned = self.plan.session.as_ref().is_some_and(|seat| seat.pinned == Some(index));
        if self.facts.is_callers_retry || !self.facts.may_hedge || is_pinned {
            return None;
        }
        let at = match hedging {
            Hedging::Off => return None,
            // When an answer comes whole, its time tells how long it is and not how late.
            Hedging::Hedge(_) if !self.facts.needs.streamed => return None,
            Hedging::Hedge(hedge) => now + self.lateness(hedge.after, target)?,
            Hedging::Race => now,
        };
        (at < self.due()).then_some(at)
    }

    /// Every request fills the budget of hedges, hedged or not.
    pub(super) fn deposit_for_hedges(&self) {
        if let Hedging::Hedge(hedge) = self.model.settings.hedging {
            self.model.ledger.hedges.deposit(hedge.budget);
        }
    }

    /// Starts the second attempt, if somebody fit for it is there and nothing speaks against it.
    pub(super) fn start_beside(&mut self, now: Instant) -> Action {
        self.running.iter_mut().for_each(|running| running.hedge_at = None);
        let started = self.try_in_hurry(now).or_else(|hurried| {
            let beside = self.try_beside(now);
            beside.map_err(|later| later.into_iter().chain(hurried).min())
        });
        match started {
            Ok(start) => Action::Hedge(start),
            Err(hedge_at) => {
                if let Some(running) = self.running.first_mut() {
                    running.hedge_at = hedge_at;
                }
                Action::Continue { hedge_at }
            }
        }
    }

    /// Where there is no second attempt: when it is to be tried again, if ever.
    fn try_beside(&mut self, now: Instant) -> Result<Start, Option<Instant>> {
        let way = match self.model.settings.hedging {
            Hedging::Off => return Err(None),
            Hedging::Hedge(_) => Beside::Hedge,
            Hedging::Race => Beside::Race,
        };
        if self.records.len() > 1 || self.is_in_trouble(now) {
            return Err(None);
        }
        let first = self.running.first().map(|running| (running.track, running.attempt)).ok_or(None)?;
        let (track, cost) = self.peer(first.0, now).ok_or(None)?;
        let kept = if self.is_surely_late(first.1, now) { 0 } else { cost.saturating_mul(KEPT) };
        if !self.model.ledger.hedges.try_charge(cost, kept) {
            return Err(self.later(first.1, now));
        }
        let order = Order { is_hedge: true, ..Order::next(track).paid() };
        let Ok(start) = self.start(order, now) else {
            self.model.ledger.hedges.refund(cost);
            return Err(None);
        };
        if let Some(record) = self.record_mut(start.attempt) {
            record.beside = Some(way);
        }
        Ok(start)
    }

    /// How long a first token of the target takes that is late; `None` where that is not known yet.
    fn lateness(&self, after: HedgeAfter, target: &Target) -> Option<Duration> {
        match after {
            HedgeAfter::P95 => target.health.late_first_token(self.facts.needs.estimated_tokens),
            HedgeAfter::Fixed(after) => Some(after),
        }
    }

    /// For how long the first token of an attempt has been waited for, and how long one takes that is late.
    fn waited(&self, first: super::AttemptId, now: Instant) -> Option<(Duration, Duration)> {
        let Hedging::Hedge(hedge) = self.model.settings.hedging else { return None };
        let record = self.record(first)?;
        Some((now.saturating_since(record.started), self.lateness(hedge.after, &record.target)?))
    }

    /// Most of what has just become late is about to be answered, where a few are late by much: a hedge is worth more to
    /// those few.
    fn is_surely_late(&self, first: super::AttemptId, now: Instant) -> bool {
        self.waited(first, now).is_none_or(|(waited, late)| waited >= late.mul_f64(SURELY_LATE))
    }

    /// A hedge that is not paid for yet is tried again, but not for ever: when there are more late ones than the budget
    /// pays for, those who have waited long may as well be answered.
    fn later(&self, first: super::AttemptId, now: Instant) -> Option<Instant> {
        let (waited, late) = self.waited(first, now)?;
        let more = (waited / LATER).max(SOONEST_LATER);
        let at = now + more;
        (waited + more <= late.mul_f64(GIVEN_UP) && at < self.due()).then_some(at)
    }

    /// The next candidate that is well and may serve beside the first, and what that takes of the budget.
    fn peer(&self, first: usize, now: Instant) -> Option<(usize, u64)> {
        if self.work_is_spent() {
            return None;
        }
        let beside = self.plan.candidates.get(first)?;
        let load = filter::load(&self.model, &self.facts.needs);
        self.tracks.iter().zip(&self.plan.candidates).enumerate().find_map(|(index, (track, candidate))| {
            let target = self.model.targets.get(track.target)?;
            let is_open = track.attempts == 0 && !track.closed && candidate.demoted.is_none() && self.fits(track);
            let is_well = || {
                let standing = target.health.standing_for(self.facts.needs.estimated_tokens, now);
                standing.is_healthy() && !standing.slow && filter::has_room(target, &load, now)
            };
            let is_open = is_open && is_well() && usable_credential(target, now).is_ok();
            let cost = if is_open { hedging::cost(&self.model, &self.facts.needs, beside, candidate) } else { None };
            cost.map(|cost| (index, cost))
        })
    }

    fn is_in_trouble(&self, now: Instant) -> bool {
        let able = self.plan.healthy_order.iter().filter(|index| !self.plan.is_barred(**index));
        let targets = able.filter_map(|index| self.model.targets.get(*index));
        let (mut all, mut unwell) = (0, 0);
        for target in targets {
            all += 1;
            let is_well = target.health.standing_for(self.facts.needs.estimated_tokens, now).is_healthy()
                && usable_credential(target, now).is_ok();
            unwell += usize::from(!is_well);
        }
        unwell * UNWELL_IN > all || self.model.budget.balance(now) < RETRY_BUDGET_LOW
    }

    /// Whether the fault of an attempt that was to help out leaves the word to the one it runs beside.
    pub(super) fn leaves_the_word(&self, attempt: super::AttemptId) -> bool {
        let way = self.record(attempt).and_then(|record| record.beside);
        matches!(way, Some(Beside::Hedge | Beside::Race | Beside::ReadTimeout)) && !self.running.is_empty()
    }
}
