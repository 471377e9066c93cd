//! The strategies: each is a file and a line in [`order`].
//!
//! A strategy orders twice with the same randomness: as full health would have it (that names the primary), and as
//! health is. The two differ by health alone, so every difference is a diversion with a reason.

pub(crate) mod auto;
mod balanced;
mod cheapest;
mod fastest;
mod nearest;
mod nested;
mod priority;
mod weighted;

use crate::merit::{Gauge, Merits};
use crate::price::Estimate;
use crate::split::Ticket;
use crate::{Candidate, Demotion, Model, Node, Score, SpeedBy, Strategy};
use catalog::Usd;
use health::Standing;

/// A target that can serve the request, as a strategy sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entrant {
    pub(crate) target: usize,
    pub(crate) weight: u32,
    pub(crate) standing: Standing,
    /// Health allows it now.
    pub(crate) available: bool,
    pub(crate) provider_unreachable: bool,
    /// What the request is expected to cost there.
    pub(crate) estimate: Estimate,
    /// What speaks for it, where the strategy asks for that.
    pub(crate) merits: Merits,
    /// What the strategy makes of it; `None` before it was asked, and where it rates nobody. A forecast is there
    /// before.
    pub(crate) score: Option<Score>,
    /// The request is beyond what its provider allows any of its credentials now, as far as is known.
    pub(crate) near_limit: bool,
    /// What it draws its lot with, where a split keeps to its arms.
    pub(crate) ticket: Ticket,
}

impl Entrant {
    /// As a candidate. Which of them is the primary is known when all stand in their order.
    fn placed(&self, demoted: Option<Demotion>) -> Candidate {
        let Self { target, standing, estimate, score, .. } = *self;
        Candidate { target, standing, is_primary: false, demoted, estimate, score }
    }
}

/// Stands behind all.
const LAST: u64 = u64::MAX;

/// Entrants by keys, the least first; equal ones as they stand.
fn by_key(entrants: &[Entrant], keys: impl Iterator<Item = u64>) -> Vec<&Entrant> {
    // Key and place are one number: those sort without a branch. What the place leaves to the key is more than any needs.
    let bits = usize::BITS - entrants.len().leading_zeros();
    let last = LAST >> bits;
    let mut keyed = Vec::with_capacity(entrants.len());
    let key = |key: u64| if key == LAST { last } else { key.min(last - 1) };
    keyed.extend((0..entrants.len() as u64).zip(keys).map(|(place, it)| key(it) << bits | place));
    keyed.sort_unstable();
    let mut sorted = Vec::with_capacity(entrants.len());
    let place = |keyed: u64| usize::try_from(keyed & !(LAST << bits)).ok();
    sorted.extend(keyed.into_iter().filter_map(|keyed| entrants.get(place(keyed)?)));
    sorted
}

/// Entrants by price, unknown ones last.
fn by_price(entrants: &[Entrant]) -> Vec<&Entrant> {
    by_key(entrants, entrants.iter().map(|entrant| entrant.estimate.price.map_or(LAST, Usd::pico)))
}

/// The ordinals of all numbers are less.
const ORDINALS: u64 = 1 << 47;

/// What is no less than nothing, as a key: sorts as its number does, to the tenth digit.
fn ordinal(number: f64) -> u64 {
    number.abs().to_bits() >> 16
}

/// What a strategy answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered {
    /// Every entrant, as full health would have it.
    pub(crate) healthy: Vec<usize>,
    /// Those available, as health is.
    pub(crate) now: Vec<Candidate>,
}

/// Orders the targets of a model, and of the models it lists.
pub(crate) fn order_of(model: &Model, entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    if model.nodes.is_empty() {
        order(model.settings.strategy, entrants, rng)
    } else {
        entrants.sort_unstable_by_key(|entrant| entrant.target);
        nested::order(&model.nodes, model.settings.strategy, entrants, rng)
    }
}

/// The registry.
fn order(strategy: Strategy, entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    match strategy {
        Strategy::Priority => priority::order(entrants.iter(), rng),
        Strategy::Weighted => weighted::order(entrants, rng),
        Strategy::Sticky(split) => weighted::order_of_split(entrants, split, rng),
        Strategy::Cheapest => {
            cheapest::rate(entrants);
            cheapest::order(entrants, rng)
        }
        Strategy::Fastest(by) => {
            fastest::rate(entrants, by);
            fastest::order(entrants, rng)
        }
        Strategy::Balanced(weights) => {
            balanced::rate(entrants, weights);
            balanced::order(entrants, rng)
        }
        Strategy::Auto(_) => auto::order(entrants, rng),
        Strategy::Nearest => nearest::order(entrants, rng),
    }
}

/// What the order of a model goes by, its models among the targets included.
pub(crate) fn gauge(model: &Model) -> Gauge {
    fn all(nodes: &[Node]) -> Gauge {
        nodes.iter().fold(Gauge::Nothing, |known, node| match node {
            Node::Target(_) => known,
            Node::Group(group) => known.max(of(group.strategy)).max(all(&group.nodes)),
        })
    }
    fn of(strategy: Strategy) -> Gauge {
        match strategy {
            Strategy::Priority
            | Strategy::Weighted
            | Strategy::Sticky(_)
            | Strategy::Cheapest
            | Strategy::Auto(_)
            | Strategy::Nearest => Gauge::Nothing,
            Strategy::Fastest(SpeedBy::FirstToken) => Gauge::Answer,
            Strategy::Fastest(SpeedBy::Throughput | SpeedBy::Total) | Strategy::Balanced(_) => Gauge::All,
        }
    }
    of(model.settings.strategy).max(all(&model.nodes))
}

/// Demotions that put a target behind every other, in any strategy.
fn last_resort(entrant: &Entrant) -> Option<Demotion> {
    if entrant.provider_unreachable {
        Some(Demotion::ProviderUnreachable)
    } else if entrant.standing.degraded {
        Some(Demotion::Degraded)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::Strategy as _;

    /// One that nothing is wrong with.
    pub(super) fn entrant(target: usize) -> Entrant {
        Entrant {
            target,
            weight: 1,
            standing: Standing::WELL,
            available: true,
            provider_unreachable: false,
            estimate: Estimate::default(),
            merits: Merits::default(),
            score: None,
            near_limit: false,
            ticket: Ticket::default(),
        }
    }

    proptest! {
        #[test]
        fn entrants_stand_by_their_keys_and_equal_ones_as_they_stood(
            keys in prop::collection::vec(prop_oneof![0_u64..10, any::<u64>().prop_map(|key| key >> 9), Just(LAST)], 0..200),
        ) {
            let entrants: Vec<Entrant> = (0..keys.len()).map(entrant).collect();
            let sorted: Vec<usize> = by_key(&entrants, keys.iter().copied()).iter().map(|it| it.target).collect();
            let mut expected: Vec<usize> = (0..keys.len()).collect();
            expected.sort_by_key(|target| keys[*target]);
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn ordinals_sort_as_their_numbers_do(number in 0.0..1e300_f64, more in 1e-9..10.0_f64) {
            prop_assert!(ordinal(number) <= ordinal(number * (1.0 + more)) && ordinal(number) < ORDINALS);
            prop_assert!(number < 1e-290 || ordinal(number) < ordinal(number * (1.0 + more)));
            prop_assert_eq!(ordinal(-0.0), ordinal(0.0));
        }
    }
}
