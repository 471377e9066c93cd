//! A second attempt beside the first, as a model asks for it: when the first token is late (`hedge`), or from the start
//! (`race`). Which of them answers first serves; the machine's part is in `machine/beside.rs`.
//!
//! What that may cost in all is a bucket of tokens that only requests fill: it begins empty, so that at no time more
//! has been spent on hedges than the budget's share of what was asked.

use crate::{Candidate, Model, Needs, Plan};
use catalog::{Ratio, Usd};
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

    /// Takes the cost of a hedge, in millionths of the attempt it runs beside, if there is that much.
    pub(crate) fn try_charge(&self, cost: u64) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(cost)).is_ok()
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
pub(crate) fn cost(model: &Model, first: &Candidate, second: &Candidate) -> Option<u64> {
    let limit = |candidate: &Candidate| model.targets.get(candidate.target)?.guards.max_price?.request;
    let limit = limit(first).into_iter().chain(limit(second)).min();
    if let Some(limit) = limit
        && first.estimate.most?.plus(second.estimate.most?) > limit
    {
        return None;
    }
    match model.settings.hedging {
        Hedging::Hedge(_) => cost_beside(first.estimate.price, second.estimate.price),
        // Whoever races has chosen to pay for two.
        Hedging::Race | Hedging::Off => Some(0),
    }
}

/// What a hedge costs beside an attempt of this price, in millionths of it; `None` where it is more than half as much
/// again, or where one of two prices alone is known. Where neither is, it counts as one attempt.
fn cost_beside(first: Option<Usd>, second: Option<Usd>) -> Option<u64> {
    let (first, second) = match (first, second) {
        (None, None) => return Some(ONE),
        (Some(first), Some(second)) => (u128::from(first.pico()), u128::from(second.pico())),
        _ => return None,
    };
    if second * 2 > first * 3 {
        return None;
    }
    u64::try_from((second * u128::from(ONE)).checked_div(first).unwrap_or(0)).ok()
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
        let Some(second) = rest.iter().filter(is_fit).find(|second| cost(self, first, second).is_some()) else {
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

    fn beside(first: Option<u64>, second: Option<u64>) -> Option<u64> {
        cost_beside(first.map(Usd::from_pico), second.map(Usd::from_pico))
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
                } else if budget.try_charge(cost) {
                    spent += cost;
                }
                prop_assert!(spent <= requests * share);
                prop_assert!(budget.0.load(Ordering::Relaxed) <= MOST_SAVED);
            }
        }
    }
}
