//! A second attempt beside the first, as a model asks for it: when the first token is late (`hedge`), or from the start
//! (`race`). Which of them answers first serves; the machine's part is in `machine/beside.rs`.
//!
//! What that may cost in all is a bucket of tokens that only requests fill: it begins empty, so that at no time more
//! has been spent on hedges than the budget's share of what was asked.

use crate::{Candidate, Model, Needs, Plan, price};
use catalog::Ratio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A hedge at the price of the attempt it runs beside, in the parts a budget is kept in.
const ONE: u64 = 1_000_000;
/// Hedges that requests without one save up for later: a bad moment is met with a few more, an outage is not.
const MOST_SAVED: u64 = 10 * ONE;

/// What is started beside the first attempt of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hedging {
    /// Nothing.
    #[default]
    Off,
    /// A second attempt, when the first token is late.
    Hedge(Hedge),
    /// A second attempt at once.
    Race,
}

/// `hedge:` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// When the first token is late.
    pub after: HedgeAfter,
    /// What hedges may cost in all, of what requests cost without them.
    pub budget: Ratio,
}

/// One request in twenty: as many as are later than 95 %.
impl Default for Hedge {
    fn default() -> Self {
        Self { after: HedgeAfter::default(), budget: Ratio::of_millionths(ONE / 20) }
    }
}

/// When a first token is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HedgeAfter {
    /// Later than 95 % of its target's own, to prompts of that size.
    #[default]
    P95,
    /// After this long.
    Fixed(Duration),
}

/// What hedges of a model may cost at this moment; outlives reloads with the rest of the model's books.
#[derive(Debug, Default)]
pub struct HedgeBudget(AtomicU64);

impl HedgeBudget {
    /// A request was made: its share is saved.
    pub(crate) fn deposit(&self, share: Ratio) {
        self.add(share.millionths());
    }

    /// Takes the cost of a hedge, in millionths of the attempt it runs beside, if there is that much and `kept` is left.
    pub(crate) fn try_charge(&self, cost: u64, kept: u64) -> bool {
        let take = |saved: u64| saved.checked_sub(cost).filter(|left| *left >= kept);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives back what was taken for a hedge that was not started after all.
    pub(crate) fn refund(&self, cost: u64) {
        self.add(cost);
    }

    fn add(&self, amount: u64) {
        let sum = |saved: u64| Some(saved.saturating_add(amount).min(MOST_SAVED));
        let _added = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
    }
}

/// What a second attempt takes of the budget; `None` where it is too dear, or both together are.
pub(crate) fn cost(model: &Model, needs: &Needs, first: &Candidate, second: &Candidate) -> Option<u64> {
    let limit = |candidate: &Candidate| model.targets.get(candidate.target)?.guards.max_price?.request;
    let limit = limit(first).into_iter().chain(limit(second)).min();
    if let Some(limit) = limit
        && first.estimate.most?.plus(second.estimate.most?) > limit
    {
        return None;
    }
    match model.settings.hedging {
        Hedging::Hedge(_) => cost_beside(Outlay::of(model, needs, first), Outlay::of(model, needs, second)),
        // Whoever races has chosen to pay for two.
        Hedging::Race | Hedging::Off => Some(0),
    }
}

/// What one of two attempts is expected to cost, in trillionths of a dollar.
#[derive(Debug, Clone, Copy)]
struct Outlay {
    /// When it serves.
    served: u128,
    /// When it is called off as the other answers first.
    lost: u128,
}

impl Outlay {
    fn of(model: &Model, needs: &Needs, candidate: &Candidate) -> Option<Self> {
        let served = candidate.estimate.price?;
        let target = model.targets.get(candidate.target)?;
        // What reasons has written much before its first content, and nobody knows how much.
        let reasons = target.facts.reasoning_model || needs.reasoning;
        let is_stopped = needs.streamed && target.provider.cancel_stops_billing && !reasons;
        let lost = if is_stopped { price::called_off(target, &candidate.estimate, needs)? } else { served };
        Some(Self { served: u128::from(served.pico()), lost: u128::from(lost.pico()) })
    }
}

/// The most that a hedge is expected to cost beside an attempt, in millionths of that; `None` where an answer of it costs
/// more than half as much again, or where one of two prices alone is known. Where neither is, it counts as one attempt.
///
/// One of the two serves and is paid for with or without a hedge; the other is what the hedge costs.
fn cost_beside(first: Option<Outlay>, second: Option<Outlay>) -> Option<u64> {
    let (first, second) = match (first, second) {
        (None, None) => return Some(ONE),
        (Some(first), Some(second)) => (first, second),
        _ => return None,
    };
    if second.served * 2 > first.served * 3 {
        return None;
    }
    let if_it_serves = (first.lost + second.served).saturating_sub(first.served);
    let most = second.lost.max(if_it_serves);
    u64::try_from((most * u128::from(ONE)).checked_div(first.served).unwrap_or(0)).ok()
}

impl Model {
    /// When a second attempt would start beside the first of this plan, where, and what that may cost, in words; `None`
    /// where the model asks for none.
    pub fn hedging_told(&self, plan: &Plan, needs: &Needs) -> Option<String> {
        let word = match self.settings.hedging {
            Hedging::Off => return None,
            Hedging::Hedge(_) => "hedge",
            Hedging::Race => "race",
        };
        let target = |candidate: &Candidate| self.targets.get(candidate.target);
        let (first, rest) = plan.candidates.split_first()?;
        let is_fit = |it: &&Candidate| it.demoted.is_none() && it.standing.is_healthy() && !it.standing.slow;
        let Some(second) = rest.iter().filter(is_fit).find(|second| cost(self, needs, first, second).is_some()) else {
            return Some(format!("{word}: none, as no second candidate is well and cheap enough"));
        };
        let second = target(second).map_or("", |target| &*target.id);
        let Hedging::Hedge(hedge) = self.settings.hedging else {
            return Some(format!("race: {second} is asked at the same time, and the first answer serves"));
        };
        let when = match hedge.after {
            _ if !needs.streamed => "none, as the request is not streamed".to_owned(),
            HedgeAfter::Fixed(after) => format!("{second} is asked too when no token has come after {after:?}"),
            HedgeAfter::P95 => match target(first)?.health.late_first_token(needs.estimated_tokens) {
                Some(late) => {
                    format!("{second} is asked too when no token has come after {late:.1?}, the target's p95")
                }
                None => format!(
                    "{second} is asked too when the first token is later than the target's p95, known after 200"
                ),
            },
        };
        Some(format!("hedge: {when}; at most {} of the requests' cost", hedge.budget))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of attempts that are billed in full when they are called off.
    fn beside(first: Option<u64>, second: Option<u64>) -> Option<u64> {
        let outlay = |price: u64| Outlay { served: price.into(), lost: price.into() };
        cost_beside(first.map(outlay), second.map(outlay))
    }

    #[test]
    fn a_hedge_costs_what_its_target_does_and_a_much_dearer_one_is_none() {
        assert_eq!(beside(Some(200), Some(200)), Some(ONE));
        assert_eq!(beside(Some(200), Some(300)), Some(ONE * 3 / 2));
        assert_eq!(beside(Some(200), Some(301)), None);
        assert_eq!(beside(Some(200), Some(20)), Some(ONE / 10));
        assert_eq!(beside(Some(0), Some(0)), Some(0), "what costs nothing");
        assert_eq!(beside(None, None), Some(ONE));
        assert_eq!((beside(Some(2), None), beside(None, Some(2))), (None, None));
    }

    #[test]
    fn one_of_the_two_is_paid_for_anyway_and_a_hedge_costs_what_the_other_does() {
        let cost = |first: (u128, u128), second: (u128, u128)| {
            let outlay = |(served, lost): (u128, u128)| Some(Outlay { served, lost });
            cost_beside(outlay(first), outlay(second))
        };
        assert_eq!(cost((200, 80), (200, 80)), Some(ONE * 2 / 5), "the prompt of whoever loses");
        assert_eq!(cost((200, 80), (200, 200)), Some(ONE), "the second is billed in full if it loses");
        assert_eq!(cost((200, 200), (200, 80)), Some(ONE), "the first is, if the second serves");
        assert_eq!(cost((200, 80), (260, 104)), Some(ONE * 7 / 10), "the second serves: 80 and the 60 it is dearer by");
        assert_eq!(cost((200, 80), (100, 40)), Some(ONE / 5), "the second loses; served by it the request costs less");
        assert_eq!(cost((200, 80), (301, 1)), None, "the answer is too dear, whatever the prompt costs");
    }

    #[test]
    fn what_is_kept_is_for_those_who_may_take_it() {
        let budget = HedgeBudget::default();
        budget.deposit(Ratio::of_millionths(2 * ONE));
        assert!(!budget.try_charge(ONE, 2 * ONE) && budget.try_charge(ONE, ONE));
        assert!(!budget.try_charge(ONE, 1) && budget.try_charge(ONE, 0));
    }

    proptest! {
        /// Whatever comes when, hedges have cost at most the share of what was asked before.
        #[test]
        fn a_budget_is_never_overdrawn(
            events in proptest::collection::vec((any::<bool>(), 0_u64..2 * ONE), 1..400), share in 0_u64..=ONE
        ) {
            let budget = HedgeBudget::default();
            let (mut requests, mut spent) = (0, 0);
            for (is_request, cost) in events {
                if is_request {
                    requests += 1;
                    budget.deposit(Ratio::of_millionths(share));
                } else if budget.try_charge(cost, 0) {
                    spent += cost;
                }
                prop_assert!(spent <= requests * share);
                prop_assert!(budget.0.load(Ordering::Relaxed) <= MOST_SAVED);
            }
        }
    }
}
