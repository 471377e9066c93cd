//! Going on with a stream that broke after something of it was shown: who takes over, and when that is over.

use super::record::{Track, is_called_off};
use super::start::Order;
use super::{Action, AttemptId, Event, Machine, RescueFailure};
use crate::{Across, RescueMode};
use canon::{Fault, FaultClass, Instant};

/// Calls one exchange makes for rescue, refused forms included.
const MAX_RESCUES: u32 = 4;
/// Answers that did not go on from what was shown, after which nobody else is asked.
const MAX_NO_JOINS: u32 = 2;

/// A broken stream that somebody may go on with.
#[derive(Debug)]
pub(super) struct Broken {
    /// What broke it: what the caller is told if nobody goes on.
    fault: Fault,
    /// The track that served.
    track: usize,
    no_joins: u32,
}

impl Machine {
    pub(super) fn broken(&mut self, attempt: AttemptId, fault: Fault, can_go_on: bool, now: Instant) -> Action {
        if self.served != Some(attempt) {
            return self.next(Event::Failed { attempt, fault, altered: true }, now);
        }
        let Some(running) = self.take(attempt) else { return self.steady() };
        let track = running.track;
        self.settle_failure(running, &fault, now);
        if !can_go_on || self.facts.rescue == RescueMode::Error || now >= self.due() {
            return self.end(fault);
        }
        self.broken = Some(Broken { fault, track, no_joins: 0 });
        self.next_rescuer(now)
    }

    pub(super) fn not_rescued(
        &mut self,
        attempt: AttemptId,
        fault: &Fault,
        failure: RescueFailure,
        now: Instant,
    ) -> Action {
        if self.broken.is_none() {
            return self.next(Event::Failed { attempt, fault: fault.clone(), altered: true }, now);
        }
        let Some(running) = self.take(attempt) else { return self.steady() };
        let track = running.track;
        match failure {
            RescueFailure::Fault => self.settle_failure(running, fault, now),
            // The target did what it was asked to do, as far as it can: nothing is learned about its health.
            RescueFailure::PrefillRefused | RescueFailure::NotContinued | RescueFailure::NoJoin => {
                running.permit.cancelled();
                if let Some(record) = self.record_mut(attempt) {
                    record.fault = Some(fault.clone());
                    record.last = now;
                }
            }
        }
        if now >= self.due() {
            return self.deadline_passed(now);
        }
        match failure {
            RescueFailure::PrefillRefused | RescueFailure::NotContinued => self.once_more_in_words(track, now),
            RescueFailure::NoJoin => {
                let spent = self.broken.as_mut().is_none_or(|broken| {
                    broken.no_joins += 1;
                    broken.no_joins >= MAX_NO_JOINS
                });
                if spent { self.give_up_rescue() } else { self.next_rescuer(now) }
            }
            RescueFailure::Fault => self.next_rescuer(now),
        }
    }

    /// The rescue goes on from what was shown: the attempt serves from here.
    pub(super) fn joined(&mut self, attempt: AttemptId) {
        self.served = Some(attempt);
        self.broken = None;
    }

    /// A form that came to nothing says nothing about the other form: the same target once more, at the budget's
    /// expense.
    fn once_more_in_words(&mut self, track: usize, now: Instant) -> Action {
        let retried = self.tracks.get_mut(track).is_none_or(|it| std::mem::replace(&mut it.asked_in_words, true));
        if !retried && self.rescues < MAX_RESCUES && self.model.budget.try_charge(self.cost, now) {
            self.rescues += 1;
            if let Ok(start) = self.start(Order::rescue(track).paid(), now) {
                return Action::Rescue(start);
            }
        }
        self.next_rescuer(now)
    }

    fn next_rescuer(&mut self, now: Instant) -> Action {
        while self.rescues < MAX_RESCUES {
            let Some(track) = self.rescuer() else { break };
            self.rescues += 1;
            if let Some(tracked) = self.tracks.get_mut(track) {
                tracked.asked_to_rescue = true;
            }
            if let Ok(start) = self.start(Order::rescue(track), now) {
                return Action::Rescue(start);
            }
            // Nothing was asked of it.
            self.rescues -= 1;
        }
        self.give_up_rescue()
    }

    /// Who is asked next: the same model first, then as listed; the one that broke only if there is nobody else, and
    /// never one that was silent.
    fn rescuer(&self) -> Option<usize> {
        let broken = self.broken.as_ref()?;
        let of = |track: usize| self.tracks.get(track).and_then(|it| self.model.targets.get(it.target));
        let same_model = &of(broken.track)?.same_model;
        let is_same = |track: &usize| of(*track).is_some_and(|target| target.same_model == *same_model);
        // A hedge that was called off because another attempt was quicker says nothing against its target.
        let is_open = |it: &Track| {
            !it.asked_to_rescue && (it.attempts == 0 || it.last_fault.as_deref().is_some_and(is_called_off))
        };
        let open: Vec<usize> = (0..self.tracks.len())
            .filter(|track| *track != broken.track)
            .filter(|track| self.tracks.get(*track).is_some_and(is_open))
            .collect();
        let others = self.model.settings.rescue.across == Across::Any;
        let itself = || {
            let was_silent = matches!(broken.fault.class, FaultClass::TimedOut | FaultClass::TooSlow);
            let asked = self.tracks.get(broken.track).is_none_or(|it| it.asked_to_rescue);
            (!was_silent && !asked).then_some(broken.track)
        };
        let first = open.iter().copied().find(|track| is_same(track));
        first.or_else(|| open.first().copied().filter(|_| others)).or_else(itself)
    }

    /// The caller is told what broke the stream, not what became of its rescue.
    fn give_up_rescue(&mut self) -> Action {
        match self.broken.take() {
            Some(broken) => self.end(broken.fault),
            None => self.steady(),
        }
    }
}
