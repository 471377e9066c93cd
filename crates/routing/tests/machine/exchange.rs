//! One exchange as the harness follows it, and what holds when it is over.

use crate::harness::{Call, Ended, fault};
use crate::hedges::First;
use canon::{FaultClass, Instant, Usage};
use routing::{
    AttemptId, Estimate, Event, Machine, Model, ModelSettings, Needs, RescueFailure, RescueMode, Start, Step,
    Stickiness, TranscriptCursor,
};
use std::collections::HashMap;
use std::sync::Arc;

/// One exchange.
pub(crate) struct Exchange {
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// When the caller hangs up if nothing has come.
    pub(crate) first_byte: Option<Instant>,
    pub(crate) needs: Needs,
    /// The caller's SDK repeats it.
    pub(crate) is_retry: bool,
    pub(crate) may_hedge: bool,
    pub(crate) machine: Option<Machine>,
    /// In force when it arrived.
    pub(crate) model: Option<Arc<Model>>,
    pub(crate) running: Vec<(AttemptId, usize, bool)>,
    pub(crate) committed: Option<Instant>,
    /// Whose answer the caller gets, and how much of it he has.
    pub(crate) serving: Option<AttemptId>,
    pub(crate) cursor: TranscriptCursor,
    pub(crate) calls: Vec<Call>,
    /// What each call was expected to cost when it started.
    pub(crate) estimates: Vec<Estimate>,
    /// Who may get another beside it.
    pub(crate) first: Option<First>,
    /// Who was started beside the first because he was late, or with it.
    pub(crate) second: Option<AttemptId>,
    pub(crate) hedges: usize,
    pub(crate) hung_up: bool,
    pub(crate) ended: Option<Ended>,
}

impl Exchange {
    pub(crate) fn rescue(&self) -> RescueMode {
        self.model.as_ref().map_or(RescueMode::Error, |model| model.settings.rescue.mode)
    }

    /// An attempt starts beside another because the caller is about to hang up.
    pub(crate) fn hurries(&mut self, start: &Start, now: Instant) {
        let by = self.first_byte.expect("the caller has announced it");
        let (_, call, _) = self.running[0];
        let beside = self.calls[call];
        let alone = by.saturating_since(beside.at).mul_f64(0.6);
        assert!(now >= beside.at + alone, "an attempt has three fifths of the time to itself");
        assert!(self.calls.iter().all(|call| call.target != start.target_index), "somebody else is asked");
        assert!(start.hedge_at.is_none(), "a second attempt has no third");
        self.second = Some(start.attempt);
    }

    /// Takes note of what it is told; says whether that may be the last of it: a whole answer, or a caller who is gone.
    pub(crate) fn hears(&mut self, event: &Event) -> bool {
        let runs = |attempt: &AttemptId| self.running.iter().any(|(id, _, _)| id == attempt);
        let is_last = match event {
            Event::Completed { attempt } => runs(attempt),
            event => *event == Event::HungUp,
        };
        match event {
            Event::Completed { attempt } if runs(attempt) => self.serving = Some(*attempt),
            Event::FirstContent { attempt } if runs(attempt) && self.needs.streamed => self.serving = Some(*attempt),
            Event::Progress { attempt, cursor } if self.serving == Some(*attempt) => self.cursor = *cursor,
            Event::HungUp => self.hung_up = true,
            Event::Completed { .. }
            | Event::FirstContent { .. }
            | Event::Progress { .. }
            | Event::Begin
            | Event::Failed { .. }
            | Event::Broken { .. }
            | Event::NotRescued { .. }
            | Event::Elapsed
            | Event::DeadlinePassed => {}
        }
        is_last
    }

    /// Targets that this event is about an attempt at; what is over leaves those that run.
    pub(crate) fn concerns(&mut self, event: &Event) -> Vec<usize> {
        let (attempt, is_over) = match event {
            Event::Failed { attempt, .. }
            | Event::Broken { attempt, .. }
            | Event::NotRescued { attempt, .. }
            | Event::Completed { attempt } => (attempt, true),
            Event::FirstContent { attempt } => (attempt, false),
            Event::DeadlinePassed => return self.running.iter().map(|(_, call, _)| self.calls[*call].target).collect(),
            Event::Begin | Event::Progress { .. } | Event::Elapsed | Event::HungUp => return Vec::new(),
        };
        let Some(place) = self.running.iter().position(|(id, _, _)| id == attempt) else { return Vec::new() };
        let target = self.calls[self.running[place].1].target;
        if is_over {
            self.running.remove(place);
        }
        vec![target]
    }

    /// Whether the second of two fails, who leaves the word to the first whatever his fault.
    pub(crate) fn leaves_the_word(&self, event: &Event) -> bool {
        let Event::Failed { attempt, .. } = event else { return false };
        let runs = |id: AttemptId| self.running.iter().any(|(running, _, _)| *running == id);
        self.second == Some(*attempt) && runs(*attempt) && self.running.len() == 2
    }
}

/// Everything that could still be said of an exchange.
pub(crate) fn everything(attempt: AttemptId) -> [Event; 10] {
    let fault = fault(FaultClass::ServerError);
    [
        Event::Begin,
        Event::FirstContent { attempt },
        Event::Progress { attempt, cursor: TranscriptCursor { bytes: 1, events: 1 } },
        Event::Failed { attempt, fault: fault.clone(), altered: false },
        Event::Broken { attempt, fault: fault.clone(), can_go_on: true },
        Event::NotRescued { attempt, fault, failure: RescueFailure::Fault },
        Event::Completed { attempt },
        Event::Elapsed,
        Event::HungUp,
        Event::DeadlinePassed,
    ]
}

/// What a provider says that an answer came to, within what was expected of it.
pub(crate) fn usage(needs: &Needs, expected: &Estimate, rng: &mut fastrand::Rng) -> Usage {
    let input = needs.estimated_tokens;
    Usage {
        input_tokens: Some(input),
        cached_input_tokens: rng.bool().then(|| rng.u64(0..=input)),
        output_tokens: Some(rng.u64(0..=expected.output_tokens)),
        ..Usage::default()
    }
}

/// No target is tried twice for a fault that excludes it, and never more than its table row allows.
pub(crate) fn check_repeats(exchange: &Exchange, settings: &ModelSettings) {
    let retries = settings.sessions.is_some_and(|it| it.on_fault == Stickiness::RetryThenMove);
    let clings = |class: &FaultClass| {
        let helps = matches!(class, FaultClass::Overloaded | FaultClass::StreamBroken | FaultClass::BadAnswer)
            || *class == FaultClass::TooSlow;
        retries && helps && exchange.needs.session.is_some()
    };
    let asked_again = |class: &FaultClass| settings.on.policy(*class).step == Some(Step::SameThenNext) || clings(class);
    let ended = exchange.ended.as_ref().unwrap();
    let mut last: HashMap<usize, Vec<FaultClass>> = HashMap::new();
    // Rescue has rules of its own.
    let rescues = ended.faults.iter().zip(&ended.rescues);
    let ordinary: Vec<_> = rescues.map(|(fault, rescue)| fault.filter(|_| !rescue)).collect();
    for (call, fault) in exchange.calls.iter().zip(&ordinary).zip(&ended.rescues).filter(|it| !it.1).map(|it| it.0) {
        let faults = last.entry(call.target).or_default();
        if let Some(previous) = faults.last() {
            let allowed = matches!(
                previous,
                FaultClass::ServerError
                    | FaultClass::Unreachable
                    | FaultClass::RateLimited
                    | FaultClass::QuotaExhausted
                    | FaultClass::AuthRejected
            );
            let never = matches!(previous, FaultClass::TimedOut | FaultClass::ContextExceeded);
            assert!(allowed || (asked_again(previous) && !never), "{previous} is not asked again");
        }
        faults.extend(*fault);
        let count = |class| faults.iter().filter(|it| **it == class).count();
        let overloads = 1 + usize::from(asked_again(&FaultClass::Overloaded));
        assert!(count(FaultClass::RateLimited) <= 2 && count(FaultClass::Overloaded) <= overloads);
        assert!(count(FaultClass::ServerError) <= 2 && count(FaultClass::Unreachable) <= 2);
        assert!(faults.len() <= 4, "{faults:?}");
    }
    let worked = ordinary.iter().flatten().filter(|class| {
        matches!(
            class,
            FaultClass::ServerError | FaultClass::StreamBroken | FaultClass::BadAnswer | FaultClass::TimedOut
        )
    });
    assert!(worked.count() <= 3, "three attempts may reach a model's work: {:?}", ended.faults);
}
