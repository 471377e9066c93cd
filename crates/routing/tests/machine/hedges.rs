//! The laws of a second attempt beside the first (design, section 7; `docs/HEDGING.md`), each checked where one starts.
//!
//! - A probe is hedged; else the first attempt of an exchange alone, once, hedged or raced as the model asks for it.
//! - Not before the first is late; a hedge for streams alone; none for what the caller's SDK repeats, for what may not be
//!   asked twice, or for a conversation that stands where it is asked.
//! - At a candidate of the plan that is no fallback for cause and not the first, closed, not slow, with a credential that
//!   is not parked and room within its limits.
//! - Not while more than a fifth of those who could serve are unwell, nor while the retry budget is below three.
//! - A hedge costs at most half as much again as the first, and both together keep to `max_price`. What it costs is what
//!   the one that loses does: its prompt where its provider stops with its caller.
//! - All hedges together have cost at most their share of the requests before them, of which ten are kept at most.
//!
//! The sums are made here a second time, of what can be seen from outside: a witness that asked the machine would agree
//! with it whatever it did.

use crate::met::Way;
use canon::{Instant, Load};
use health::BreakerStanding;
use routing::{Candidate, ExclusionReason, Hedge, HedgeAfter, Hedging, Machine, Model, Needs, Start, Target};

const ONE: u64 = 1_000_000;
/// Hedges that requests without one save up for later, at most.
const MOST_SAVED: u64 = 10;
/// Of the retry budget, below which nothing is hedged.
const BUDGET_LOW: f64 = 3.0;
/// Tokens of an answer while the model's own are unknown, and how many usual answers a caller's cap is believed.
const UNKNOWN_OUTPUT: u64 = 512;
const LONG_ANSWER: u64 = 4;

/// An exchange's attempt that may get another beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    pub(crate) target: usize,
    pub(crate) at: Instant,
    pub(crate) hedge_at: Option<Instant>,
    pub(crate) is_probe: bool,
}

/// A second attempt that has just started.
pub(crate) struct Second<'a> {
    pub(crate) model: &'a Model,
    pub(crate) machine: &'a Machine,
    pub(crate) needs: &'a Needs,
    pub(crate) is_retry: bool,
    pub(crate) may_hedge: bool,
    /// What it runs beside.
    pub(crate) first: First,
    /// Calls of the exchange before it.
    pub(crate) calls: usize,
    /// Whether each target was not slow and had room before.
    pub(crate) room: &'a [bool],
    pub(crate) start: &'a Start,
    pub(crate) now: Instant,
}

/// What hedges of a model may cost, in millionths of a request.
#[derive(Debug, Default)]
pub(crate) struct Hedges {
    saved: u64,
}

/// Whether each target is not slow and has room for a request, as far as its provider has told. A start takes of the room,
/// and is the one on trial at a target that comes back.
pub(crate) fn room(model: &Model, needs: &Needs, now: Instant) -> Vec<bool> {
    let usual = model.ledger.usual_output().unwrap_or(UNKNOWN_OUTPUT);
    let output = needs.max_output_tokens.map_or(usual, |cap| cap.min(usual * LONG_ANSWER));
    let answers = u64::from(needs.answers.max(1));
    let load = Load { input_tokens: needs.estimated_tokens, output_tokens: output * answers };
    let has_room = |target: &Target| {
        let is_slow = target.health.standing_for(needs.estimated_tokens, now).slow;
        !is_slow
            && target
                .credentials
                .iter()
                .any(|it| it.health.usable(&target.model, now).is_ok() && it.limits.has_room(&load, now))
    };
    model.targets.iter().map(|target| has_room(target)).collect()
}

impl Hedges {
    /// The first attempt of an exchange has started.
    pub(crate) fn first(&mut self, model: &Model, needs: &Needs, is_retry: bool, first: First) {
        if let (Hedging::Hedge(hedge), false) = (model.settings.hedging, is_retry) {
            self.saved = (self.saved + hedge.budget.millionths()).min(MOST_SAVED * ONE);
        }
        let Some(hedge_at) = first.hedge_at.filter(|_| !first.is_probe) else { return };
        let target = &model.targets[first.target];
        let expected = match model.settings.hedging {
            Hedging::Off => None,
            Hedging::Race => Some(first.at),
            Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(after), .. }) => Some(first.at + after),
            Hedging::Hedge(Hedge { after: HedgeAfter::P95, .. }) => {
                target.health.late_first_token(needs.estimated_tokens).map(|late| first.at + late)
            }
        };
        assert_eq!(Some(hedge_at), expected, "the second is due when the first is late");
    }

    /// A second attempt has started; returns how.
    pub(crate) fn second(&mut self, it: &Second<'_>) -> Way {
        let reports = it.machine.attempts();
        let beside = reports[it.start.attempt.0 as usize].beside;
        let way = match (beside, it.model.settings.hedging) {
            (Some("half_open"), _) => Way::HedgeOfProbe,
            (Some("race"), Hedging::Race) => Way::Race,
            (Some("hedge"), Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(_), .. })) => Way::HedgeFixed,
            (Some("hedge"), Hedging::Hedge(Hedge { after: HedgeAfter::P95, .. })) => Way::HedgeLate,
            other => panic!("a second attempt that nobody asked for: {other:?}"),
        };
        assert!(!it.start.is_probe && it.start.hedge_at.is_none(), "a second attempt is no probe and has no third");
        assert_ne!(it.start.target_index, it.first.target, "two attempts at one target");
        assert!(it.now >= it.first.hedge_at.expect("somebody waits for it"), "too soon");
        let standing = it.start.target.health.standing_for(it.needs.estimated_tokens, it.now);
        assert!(standing.is_healthy(), "a hedge at a target that stands {standing:?}");
        let credential = &it.start.target.credentials[it.start.credential];
        assert!(credential.health.usable(&it.start.target.model, it.now).is_ok(), "a hedge with a parked credential");
        if matches!(way, Way::HedgeOfProbe) {
            assert!(it.first.is_probe, "a hedge of a probe, of no probe");
            return way;
        }
        assert!(!it.first.is_probe && it.calls == 1, "the first attempt alone, once");
        assert!(!it.is_retry && it.may_hedge, "what may not be asked twice");
        assert!(it.needs.streamed || matches!(way, Way::Race), "a hedge of what is not streamed");
        let pinned = it.machine.plan().session.as_ref().and_then(|seat| seat.pinned);
        assert_ne!(pinned, Some(it.first.target), "a conversation stays");
        assert!(it.room[it.start.target_index], "a hedge where it is slow or full");
        it.is_calm();
        self.pay(it, way);
        way
    }

    fn pay(&mut self, it: &Second<'_>, way: Way) {
        let (first, second) = (it.candidate(it.first.target), it.candidate(it.start.target_index));
        assert!(second.demoted.is_none(), "a hedge at a fallback for cause: {:?}", second.demoted);
        let limit = |candidate: &Candidate| it.model.targets[candidate.target].guards.max_price?.request;
        for limit in [limit(first), limit(second)].into_iter().flatten() {
            let both = first.estimate.most.unwrap().plus(second.estimate.most.unwrap());
            assert!(both <= limit, "both may cost {both} of {limit}");
        }
        if matches!(way, Way::Race) {
            return;
        }
        let cost = match (first.estimate.price, second.estimate.price) {
            (None, None) => ONE,
            (Some(price), Some(of_second)) => {
                let (price, of_second) = (u128::from(price.pico()), u128::from(of_second.pico()));
                assert!(of_second * 2 <= price * 3, "a hedge at {of_second} beside {price}");
                let if_first_serves = it.lost(second);
                let if_second_serves = (it.lost(first) + of_second).saturating_sub(price);
                let most = if_first_serves.max(if_second_serves);
                u64::try_from((most * u128::from(ONE)).checked_div(price).unwrap_or(0)).unwrap()
            }
            prices => panic!("a hedge at an unknown price: {prices:?}"),
        };
        assert!(cost <= self.saved, "a hedge of {cost} millionths with {} saved", self.saved);
        self.saved -= cost;
    }
}

impl Second<'_> {
    /// What an attempt costs when it is called off: the prompt and some tokens on their way where its provider stops and
    /// nothing is thought before, else all of it.
    fn lost(&self, candidate: &Candidate) -> u128 {
        let (target, estimate) = (&self.model.targets[candidate.target], &candidate.estimate);
        if !target.provider.cancel_stops_billing || target.facts.reasoning_model || self.needs.reasoning {
            return estimate.price.unwrap().pico().into();
        }
        let rates = target.facts.prices.as_ref().unwrap().at(self.needs.asked_at, estimate.input_tokens);
        let cached = rates.cached_input.unwrap_or(rates.input).of(estimate.cached_tokens);
        let fresh = rates.input.of(estimate.input_tokens - estimate.cached_tokens);
        let written = rates.output.of(estimate.output_tokens.min(16));
        fresh.plus(cached).plus(written).pico().into()
    }

    fn candidate(&self, target: usize) -> &Candidate {
        let plan = self.machine.plan();
        assert!(plan.excluded.iter().all(|it| it.target != target), "an attempt at a target that was left out");
        plan.candidates.iter().find(|it| it.target == target).expect("a candidate of the plan")
    }

    /// An extra attempt helps against chance; in an outage it is load.
    fn is_calm(&self) {
        let plan = self.machine.plan();
        let bars = |reason: &ExclusionReason| reason.is_guard() || matches!(reason, ExclusionReason::Rule { .. });
        let is_barred = |target: usize| plan.excluded.iter().any(|it| it.target == target && bars(&it.reason));
        let able: Vec<_> = plan.healthy_order.iter().filter(|index| !is_barred(**index)).collect();
        let is_unwell = |index: &usize| {
            let target = &self.model.targets[*index];
            let standing = target.health.standing_for(self.needs.estimated_tokens, self.now);
            let is_parked = target.credentials.iter().all(|it| it.health.usable(&target.model, self.now).is_err());
            standing.breaker != BreakerStanding::Closed || standing.degraded || is_parked
        };
        let unwell = able.iter().filter(|index| is_unwell(index)).count();
        assert!(unwell * 5 <= able.len(), "a hedge while {unwell} of {} are unwell", able.len());
        let balance = self.model.budget.balance(self.now);
        assert!(balance >= BUDGET_LOW, "a hedge with {balance} left to fail over with");
    }
}
