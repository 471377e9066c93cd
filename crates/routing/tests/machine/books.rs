//! Who is in flight where, and what was paid, by the harness's own count: what is taken is given back, once.

use canon::{Instant, LimitKind, LimitReading, Load};
use catalog::Usd;
use routing::{Estimate, Model, Target};
use std::collections::HashMap;
use std::sync::Arc;

/// More than any test asks of a limit.
const ALL: u64 = 1 << 40;

#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By the address of what counts them, which lives as long as its model.
    flights: HashMap<usize, usize>,
    /// What answers cost, by the target's id.
    paid: HashMap<String, Vec<(Instant, Usd)>>,
}

impl Books {
    /// A call starts; says whether its target may spend so much and no more.
    pub(crate) fn started(&mut self, target: &Target, estimate: &Estimate, now: Instant) -> bool {
        places(target).for_each(|place| *self.flights.entry(place).or_default() += 1);
        let Some(guard) = target.guards.spend else { return false };
        let paid = self.paid.entry(target.id.clone()).or_default();
        paid.retain(|(when, _)| *when + guard.window > now);
        let spent = paid.iter().fold(Usd::ZERO, |sum, (_, cost)| sum.plus(*cost));
        let most = estimate.most.expect("a target under a spend limit has a price");
        assert!(spent.plus(most) <= guard.limit, "{spent} spent and {most} more of {}", guard.limit);
        let known = target.ledger.spending.spent(guard.window, now);
        assert!(known <= guard.limit && known >= most, "{known} spent, what is in flight included, of {}", guard.limit);
        true
    }

    /// A call is over, or called off.
    pub(crate) fn over(&mut self, target: &Target) {
        places(target).for_each(|place| *self.flights.get_mut(&place).unwrap() -= 1);
    }

    /// An answer was paid.
    pub(crate) fn paid(&mut self, target: &Target, cost: Usd, now: Instant) {
        self.paid.entry(target.id.clone()).or_default().push((now, cost));
    }

    /// Health counts the calls that there are.
    pub(crate) fn check(&self, model: &Model) {
        let count = |place: usize| self.flights.get(&place).copied().unwrap_or(0);
        for target in model.targets.iter() {
            let expected = count(Arc::as_ptr(&target.health) as usize);
            assert_eq!(target.health.in_flight(), expected, "calls in flight at {}", target.id);
            if let Some(bound) = &target.bound {
                assert_eq!(bound.in_flight(), count(Arc::as_ptr(bound) as usize), "places taken at {}", target.id);
            }
        }
    }

    /// Everything is over: nothing is held of any limit or account.
    pub(crate) fn close(&self, model: &Model, now: Instant) {
        assert!(self.flights.values().all(|count| *count == 0), "every call is over");
        for target in model.targets.iter() {
            if let Some(guard) = target.guards.spend {
                let later = now + 3 * guard.window;
                assert_eq!(target.ledger.spending.spent(guard.window, later), Usd::ZERO, "reserved at {}", target.id);
            }
            for credential in &target.credentials {
                // Of limits that are whole, all is there only if nothing is taken.
                let kinds = [LimitKind::Requests, LimitKind::Tokens, LimitKind::InputTokens, LimitKind::OutputTokens];
                let whole = |kind| LimitReading { kind, limit: ALL, remaining: ALL, reset: None };
                credential.limits.told(kinds.into_iter().map(whole), now);
                let all = Load { input_tokens: ALL, output_tokens: ALL };
                assert!(credential.limits.leaves(0.0, &all, now), "taken of the limits of {}", credential.id);
                let counted = format!("{:?}", credential.limits);
                assert!(counted.contains("in_flight: 0,"), "in flight with {}: {counted}", credential.id);
            }
        }
    }
}

/// What counts the calls of a target.
fn places(target: &Target) -> impl Iterator<Item = usize> {
    let bound = target.bound.as_ref().map(|bound| Arc::as_ptr(bound) as usize);
    std::iter::once(Arc::as_ptr(&target.health) as usize).chain(bound)
}
