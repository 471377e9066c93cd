//! The attempt machine: one exchange from plan to settle.
//!
//! ```text
//!  Begin ─▶ Try ─▶ fault ─▶ same once │ other credential │ wait │ next candidate ─▶ Try … ─▶ GiveUp
//!            │ first content (the caller streams)
//!            ▼
//!          Commit ─▶ Completed ─▶ Done
//!            └─────▶ fault ─▶ Rescue … ─▶ (first content that goes on) Continue ─▶ Completed ─▶ Done
//!                      └─────▶ End
//! ```
//!
//! The rules that do not bend: one attempt in flight unless one is hedged; none is started after the commit but to
//! rescue a broken stream; no target is tried twice for a fault that excludes it; nothing is started after the
//! deadline; every permit is settled once. Permits live in [`record::Running`] and are released by their own drop, so a
//! machine that is dropped in any state (the caller hung up, a panic unwound) leaves health as it found it.
//!
//! What is asked again, and what counts, is `rules.rs`; who is next is `start.rs`; who runs beside another is
//! `beside.rs`, or `first_byte.rs` where the caller is about to hang up; who goes on with a broken stream is
//! `rescue.rs`; what the caller is told is `give_up.rs`.

mod beside;
mod first_byte;
mod give_up;
mod limits;
pub(crate) mod overtaken;
mod record;
mod rescue;
mod rules;
mod start;
mod types;

pub use first_byte::FirstByte;
pub use overtaken::Overtaken;
pub use types::{
    Action, AttemptId, CalledOff, Event, ExchangeFacts, GiveUp, HonestEnd, PhaseLimits, RescueFailure, Served, Start,
    TranscriptCursor,
};

use crate::{Model, Needs, Plan, Stickiness, cost, session};
use canon::{Fault, FaultClass, Instant, Origin, Phase};
use health::{Lesson, lesson};
use record::{Record, Running, Track};
use rules::{Rule, SameOnce, Then};
use start::{NotStarted, Order};
use std::sync::Arc;
use std::time::Duration;

/// Full jitter before the same target is asked again.
const SAME_TARGET_JITTER: Duration = Duration::from_millis(50);
/// Attempts one exchange makes at one target for faults of a credential.
const MAX_CREDENTIALS: u32 = 3;
/// Attempts one exchange makes at one target that limits or is short of capacity.
const MAX_LIMITED: u32 = 2;

/// What follows a wait.
#[derive(Debug)]
enum Pending {
    /// This attempt.
    Start { order: Order },
    /// The next candidate, of this model first.
    Advance { same_model: Option<String> },
}

/// A window that was too small for the prompt.
#[derive(Debug)]
struct TooSmall {
    window: Option<u64>,
    same_model: String,
}

/// Takes one exchange from plan to settle.
#[derive(Debug)]
pub struct Machine {
    model: Arc<Model>,
    plan: Plan,
    facts: ExchangeFacts,
    first_byte: Option<FirstByte>,
    /// What the request costs, in typical requests of the model: what trying again is charged.
    cost: f64,
    rng: fastrand::Rng,
    tracks: Vec<Track>,
    running: Vec<Running>,
    records: Vec<Record>,
    pending: Option<(Instant, Pending)>,
    too_small: Vec<TooSmall>,
    /// Attempts that reached a model's work.
    worked: u32,
    served: Option<AttemptId>,
    /// Whose fault the caller is told.
    told: Option<AttemptId>,
    overtaken: Option<Overtaken>,
    /// The stream broke and nobody goes on with it yet.
    broken: Option<rescue::Broken>,
    /// Calls made for rescue.
    rescues: u32,
    cursor: TranscriptCursor,
    over: bool,
}

impl Machine {
    /// A machine that has not begun: send it [`Event::Begin`].
    pub fn new(model: Arc<Model>, plan: Plan, facts: ExchangeFacts) -> Self {
        Self {
            tracks: plan.candidates.iter().map(|candidate| Track::new(candidate.target)).collect(),
            rng: fastrand::Rng::with_seed(facts.seed),
            cost: cost::relative(&model, &plan),
            model,
            plan,
            facts,
            first_byte: None,
            // Nearly always one attempt is all: room for four would be kept for as long as it streams.
            running: Vec::with_capacity(1),
            records: Vec::with_capacity(1),
            pending: None,
            too_small: Vec::new(),
            worked: 0,
            served: None,
            told: None,
            overtaken: None,
            broken: None,
            rescues: 0,
            cursor: TranscriptCursor::default(),
            over: false,
        }
    }

    /// The plan it carries out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Answers an event with the one thing to do now.
    pub fn next(&mut self, event: Event, now: Instant) -> Action {
        if self.over {
            return Action::Done;
        }
        match event {
            Event::Begin => self.begin(now),
            Event::Failed { attempt, fault, altered } => self.failed(attempt, fault, altered, now),
            Event::FirstContent { attempt } => self.first_content(attempt, now),
            Event::Progress { attempt, cursor } => {
                if self.served == Some(attempt) {
                    self.cursor = cursor;
                }
                self.steady()
            }
            Event::Broken { attempt, fault, can_go_on } => self.broken(attempt, fault, can_go_on, now),
            Event::NotRescued { attempt, fault, failure } => self.not_rescued(attempt, &fault, failure, now),
            Event::Completed { attempt } => self.completed(attempt, now),
            Event::Elapsed => self.elapsed(now),
            Event::HungUp => self.hung_up(now),
            Event::DeadlinePassed => self.deadline_passed(now),
        }
    }

    fn begin(&mut self, now: Instant) -> Action {
        if !self.records.is_empty() || self.pending.is_some() {
            return self.steady();
        }
        self.advance(None, now)
    }

    fn failed(&mut self, attempt: AttemptId, fault: Fault, altered: bool, now: Instant) -> Action {
        let Some(running) = self.take(attempt) else { return self.steady() };
        let was_probe = running.permit.is_probe();
        let track = running.track;
        self.settle_failure(running, &fault, now);
        if self.served == Some(attempt) {
            return self.end(fault);
        }
        let rule = self.rule(track, &fault, altered);
        match rule.then {
            Then::Stop | Then::StopUnlessAltered if !self.leaves_the_word(attempt) => {
                let other =
                    if self.running.is_empty() { self.try_other_credential(track, rule, &fault, now) } else { None };
                return other.unwrap_or_else(|| self.give_up_stopped(attempt, now));
            }
            Then::NextLarger => self.rule_out_windows(track),
            Then::Next | Then::NextSameModelFirst | Then::Stop | Then::StopUnlessAltered => {}
        }
        if !self.running.is_empty() {
            self.close(track);
            return self.hurry_on(now);
        }
        if now >= self.due() {
            return self.deadline_passed(now);
        }
        self.same_target(track, rule, &fault, was_probe, now).unwrap_or_else(|| {
            self.close(track);
            self.next_target(track, rule.then, &fault, now)
        })
    }

    /// The row for a fault; the target of a conversation that would rather not move is asked once more.
    fn rule(&self, track: usize, fault: &Fault, altered: bool) -> Rule {
        let rule = rules::rule(&self.model, fault, altered);
        let is_next = matches!(rule.then, Then::Next | Then::NextSameModelFirst);
        let is_open = rule.same_once != SameOnce::Jittered && self.model.settings.on.policy(fault.class).step.is_none();
        if is_next && is_open && self.is_clung_to(track) && session::is_worth_a_retry(fault.class) {
            return Rule { same_once: SameOnce::Jittered, ..rule };
        }
        rule
    }

    /// Whether the conversation stands at this target and leaves it for a second fault alone.
    fn is_clung_to(&self, track: usize) -> bool {
        let clings = self.model.settings.sessions.is_some_and(|it| it.on_fault == Stickiness::RetryThenMove);
        let pinned = self.plan.session.as_ref().and_then(|seat| seat.pinned);
        clings && pinned.is_some() && pinned == self.tracks.get(track).map(|track| track.target)
    }

    /// Another go at the target that has just failed, where its fault allows one.
    fn same_target(
        &mut self,
        track: usize,
        rule: Rule,
        fault: &Fault,
        was_probe: bool,
        now: Instant,
    ) -> Option<Action> {
        let retried = self.tracks.get(track)?.retried;
        let again = match rule.same_once {
            SameOnce::Never => None,
            SameOnce::Jittered => Some(SAME_TARGET_JITTER.mul_f64(self.rng.f64())),
            SameOnce::IfStale => fault.stale_connection.then_some(Duration::ZERO),
        };
        if let Some(pause) = again
            && !retried
            && !was_probe
            && !self.work_is_spent()
            && now + pause < self.due()
            && self.model.budget.try_charge(self.cost, now)
        {
            let credential = self.tracks.get(track).and_then(|it| it.tried_credentials.last().copied());
            return self.once_more(track, credential, now + pause, now);
        }
        let other = self.try_other_credential(track, rule, fault, now);
        if other.is_none() && rule.waits { self.wait_for_hint(track, fault, now) } else { other }
    }

    fn try_other_credential(&mut self, track: usize, rule: Rule, fault: &Fault, now: Instant) -> Option<Action> {
        let attempts = self.tracks.get(track)?.attempts;
        let most = if fault.class == FaultClass::RateLimited { MAX_LIMITED } else { MAX_CREDENTIALS };
        if !rule.other_credential || attempts >= most || now >= self.due() {
            return None;
        }
        let credential = self.other_credential(track, now)?;
        self.start(Order::again(track, Some(credential)), now).ok().map(Action::Try)
    }

    /// Waits out a rate limit on its target although others exist, because the operator says so.
    fn wait_for_hint(&mut self, track: usize, fault: &Fault, now: Instant) -> Option<Action> {
        let hint = fault.retry_after?;
        let until = now + hint;
        self.tracks.get_mut(track)?.limited_until = Some(until);
        let stated = self.model.settings.on.policy(FaultClass::RateLimited).max_wait;
        let max_wait = stated.or_else(|| self.is_clung_to(track).then_some(start::LAST_MAX_WAIT))?;
        let tracked = self.tracks.get(track)?;
        let spent = tracked.attempts >= MAX_LIMITED || tracked.retried;
        if spent || hint > max_wait || until >= self.due() {
            return None;
        }
        if !self.model.budget.try_charge(self.cost, now) {
            return None;
        }
        self.once_more(track, None, until, now)
    }

    fn once_more(&mut self, track: usize, credential: Option<usize>, at: Instant, now: Instant) -> Option<Action> {
        self.tracks.get_mut(track)?.retried = true;
        let order = Order::again(track, credential);
        if at > now {
            return Some(self.wait(at, Pending::Start { order }));
        }
        self.start(order, now).ok().map(Action::Try)
    }

    fn next_target(&mut self, track: usize, then: Then, fault: &Fault, now: Instant) -> Action {
        let failed = self.tracks.get(track).and_then(|it| self.model.targets.get(it.target));
        let same_model = failed.filter(|_| then == Then::NextSameModelFirst).map(|target| target.same_model.clone());
        let delay = self.model.settings.on.policy(fault.class).delay;
        if delay.is_zero() {
            return self.advance(same_model.as_deref(), now);
        }
        let until = (now + delay).min(self.due());
        self.wait(until, Pending::Advance { same_model })
    }

    fn elapsed(&mut self, now: Instant) -> Action {
        if let Some((until, pending)) = self.pending.take() {
            if now < until {
                self.pending = Some((until, pending));
                return Action::Wait { until };
            }
            if now >= self.due() {
                return self.deadline_passed(now);
            }
            return match pending {
                Pending::Advance { same_model } => self.advance(same_model.as_deref(), now),
                Pending::Start { order } => match self.start(order, now) {
                    Ok(start) => Action::Try(start),
                    Err(NotStarted::Passed | NotStarted::Parked(_)) => {
                        self.close(order.track);
                        self.advance(None, now)
                    }
                },
            };
        }
        let due = self.running.iter().any(|running| running.hedge_at.is_some_and(|at| now >= at));
        if due && self.running.len() == 1 && self.served.is_none() && now < self.due() {
            let is_paid = self.running.iter().any(|running| running.hedge_paid);
            return if is_paid { self.hedge(now) } else { self.start_beside(now) };
        }
        self.steady()
    }

    fn first_content(&mut self, attempt: AttemptId, now: Instant) -> Action {
        let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt) else {
            return self.steady();
        };
        running.permit.first_token(now);
        if let Some(taken) = &mut running.taken {
            taken.counted();
        }
        running.hedge_at = None;
        let credential = running.credential;
        let hedge_was_paid = std::mem::take(&mut running.hedge_paid);
        if running.place.is_some() {
            self.tell_bound(attempt, now);
        }
        self.refund_hedge(hedge_was_paid, now);
        let (is_streamed, class) = (self.facts.needs.streamed, self.facts.needs.class());
        if let Some(record) = self.record_mut(attempt)
            && record.first_content.is_none()
        {
            record.first_content = Some(now);
            record.last = now;
            if is_streamed {
                record.heard(class, now);
            }
        }
        self.answered(attempt, credential, now);
        if self.broken.is_some() {
            self.joined(attempt);
            return self.steady();
        }
        if !self.facts.needs.streamed || self.served.is_some() {
            return self.steady();
        }
        self.served = Some(attempt);
        let cancel = self.cancel_all_but(attempt, now);
        Action::Commit { attempt, cancel }
    }

    fn completed(&mut self, attempt: AttemptId, now: Instant) -> Action {
        let Some(running) = self.take(attempt) else { return self.steady() };
        let credential = running.credential;
        self.refund_hedge(running.hedge_paid, now);
        if let (Some(place), Some(record), false) = (&running.place, self.record(attempt), self.facts.needs.streamed) {
            let took = now.saturating_since(record.started);
            place.answered(self.facts.needs.estimated_tokens, false, took, now);
        }
        running.permit.succeeded(now);
        if let Some(record) = self.record_mut(attempt) {
            record.last = now;
            record.watch.succeeded(now);
            record.target.ended(credential, None, now);
        }
        self.answered(attempt, credential, now);
        self.served = Some(attempt);
        if let Some(record) = self.record(attempt) {
            session::settle(&self.model, &self.plan, &self.facts.needs, &record.target, now);
        }
        self.cancel_all_but(attempt, now);
        self.settle(now)
    }

    fn hung_up(&mut self, now: Instant) -> Action {
        self.settle(now)
    }

    /// Ends the exchange: with an honest end after the commit, with a 504 before it.
    fn deadline_passed(&mut self, now: Instant) -> Action {
        let limit = self.due().saturating_since(self.facts.started);
        let fault = Fault::timed_out(Phase::Deadline, limit);
        for running in std::mem::take(&mut self.running) {
            self.settle_failure(running, &fault, now);
        }
        if self.served.is_some() { self.end(fault) } else { self.give_up_deadline(now) }
    }

    fn settle(&mut self, now: Instant) -> Action {
        self.cancel_running(None, now);
        self.pending = None;
        self.over = true;
        Action::Done
    }

    /// What a running machine answers to news that changes nothing.
    fn steady(&self) -> Action {
        match &self.pending {
            Some((until, _)) => Action::Wait { until: *until },
            None => Action::Continue { hedge_at: self.running.iter().find_map(|running| running.hedge_at) },
        }
    }

    fn take(&mut self, attempt: AttemptId) -> Option<Running> {
        let index = self.running.iter().position(|running| running.attempt == attempt)?;
        Some(self.running.remove(index))
    }

    /// Gives the permit its verdict and tells credential and provider what the fault teaches.
    fn settle_failure(&mut self, running: Running, fault: &Fault, now: Instant) {
        self.refund_hedge(running.hedge_paid, now);
        let Some(record) = self.records.get_mut(running.attempt.0 as usize) else { return };
        record.fault = Some(fault.clone());
        record.last = now;
        if !fault.may_be_billed {
            record.reservation.release();
        }
        let target = Arc::clone(&record.target);
        // A limit that comes from the caller's deadline says something about the target only if the target was silent
        // for as long as it is ever given; else short deadlines could open breakers.
        let silence = now.saturating_since(record.started);
        let is_to_blame = match fault.phase {
            Some(Phase::Attempt | Phase::Deadline) => {
                record.first_content.is_none()
                    && silence >= limits::first_token(&self.model, &target, &self.facts.needs)
            }
            Some(Phase::Connect | Phase::FirstToken | Phase::Response | Phase::Idle) | None => true,
        };
        if is_to_blame {
            let is_of_size = running.permit.failed(fault, now);
            if lesson(fault) == Lesson::Failure {
                record.watch.failed(fault.retry_after, is_of_size, now);
            }
            target.ended(running.credential, Some(fault), now);
        } else {
            running.permit.abandoned(now);
        }
        if let Some(place) = &running.place {
            let is_silent = fault.phase == Some(Phase::FirstToken);
            if is_silent {
                place.answered(self.facts.needs.estimated_tokens, self.facts.needs.streamed, silence, now);
            } else if matches!(fault.class, FaultClass::Overloaded | FaultClass::RateLimited) {
                place.overloaded(now);
            }
        }
        overtaken::learn(&target, running.credential, fault, now);
        let reached_work = rules::reached_work(fault);
        self.worked += u32::from(reached_work);
        if let Some(track) = self.tracks.get_mut(running.track) {
            track.reached_work |= reached_work;
            track.last_fault = Some(Box::new(fault.clone()));
        }
    }

    /// What bounds the target's calls learns how long the first token took; of a rescue that is no usual one.
    fn tell_bound(&self, attempt: AttemptId, now: Instant) {
        let running = self.running.iter().find(|running| running.attempt == attempt);
        let (Some(running), Some(record)) = (running, self.record(attempt)) else { return };
        if let Some(place) = running.place.as_ref().filter(|_| record.first_content.is_none() && !record.rescue) {
            let Needs { estimated_tokens, streamed, .. } = self.facts.needs;
            place.answered(estimated_tokens, streamed, now.saturating_since(record.started), now);
        }
    }

    /// Credential and provider did their part.
    fn answered(&self, attempt: AttemptId, credential: usize, now: Instant) {
        let Some(target) = self.record(attempt).map(|record| &record.target) else { return };
        target.provider_health.answered();
        if let Some(credential) = target.credentials.get(credential) {
            credential.answered(&target.model, now);
        }
        target.heard(credential, now);
    }

    fn cancel_all_but(&mut self, winner: AttemptId, now: Instant) -> Option<AttemptId> {
        let loser = self.running.iter().map(|running| running.attempt).find(|attempt| *attempt != winner);
        self.cancel_running(Some(winner), now);
        loser
    }

    fn cancel_running(&mut self, keep: Option<AttemptId>, now: Instant) {
        if self.running.iter().all(|running| Some(running.attempt) == keep) {
            return;
        }
        let (kept, cancelled) =
            std::mem::take(&mut self.running).into_iter().partition(|running: &Running| Some(running.attempt) == keep);
        self.running = kept;
        for running in cancelled {
            // Nobody waits for it any more, and only its own answer can tell whether its target has recovered.
            let goes_on = keep.is_some() && running.permit.is_probe();
            let fault = Fault::new(FaultClass::Cancelled, Origin::Mainstay, "");
            if let Some(track) = self.tracks.get_mut(running.track) {
                track.last_fault.get_or_insert_with(|| Box::new(fault.clone()));
            }
            if let Some(record) = self.records.get_mut(running.attempt.0 as usize) {
                record.fault = Some(Fault { may_be_billed: true, ..fault });
                record.last = now;
                record.watch.given_up(now);
            }
            self.refund_hedge(running.hedge_paid, now);
            match self.record(running.attempt).map(|record| Arc::clone(&record.target)).filter(|_| goes_on) {
                Some(target) => self.overtaken = Some(Overtaken::new(target, running)),
                None => running.permit.abandoned(now),
            }
        }
    }

    fn refund_hedge(&self, was_paid: bool, now: Instant) {
        if was_paid {
            self.model.budget.refund(self.cost, now);
        }
    }

    fn rule_out_windows(&mut self, track: usize) {
        let Some(target) = self.tracks.get(track).and_then(|track| self.model.targets.get(track.target)) else {
            return;
        };
        let refused = TooSmall { window: target.facts.context_window, same_model: target.same_model.clone() };
        self.too_small.push(refused);
    }
}
