//! The attempt machine.

mod types;

pub use types::{
    Action, AttemptId, Event, ExchangeFacts, GiveUp, HonestEnd, PhaseLimits, Served, Start, TranscriptCursor,
};

use crate::{Model, Plan};
use canon::{AttemptReport, Instant};
use std::sync::Arc;

/// Takes one exchange from plan to settle.
#[derive(Debug)]
pub struct Machine {
    model: Arc<Model>,
    plan: Plan,
    facts: ExchangeFacts,
}

impl Machine {
    /// A machine that has not begun: send it [`Event::Begin`].
    pub fn new(model: Arc<Model>, plan: Plan, facts: ExchangeFacts) -> Self {
        Self { model, plan, facts }
    }

    /// Answers an event with the one thing to do now.
    pub fn next(&mut self, event: Event, now: Instant) -> Action {
        let _ = (event, now, &self.model, &self.facts);
        Action::Done
    }

    /// Every attempt so far, in order.
    pub fn attempts(&self) -> Vec<AttemptReport> {
        Vec::new()
    }

    /// Who serves, once that is decided.
    pub fn served_by(&self) -> Option<Served> {
        None
    }

    /// Why another target than the primary serves, as a short code (a fault class or a standing); `None` when the
    /// primary serves or nobody does.
    pub fn fallback_reason(&self) -> Option<&'static str> {
        None
    }

    /// The plan it carries out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
