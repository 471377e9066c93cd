//! `balanced`: by the weighted mean of price, speed, reliability and quality, equal ones as written.
//!
//! One request in fifty begins with another than the best, or nobody would find out that it has become better; what
//! costs more than twice as much is not asked for that. Health demotes as under `priority`.

use super::{Entrant, ORDINALS, Ordered, by_key, ordinal, priority};
use crate::Score;
use crate::merit::{self, Balance};
use catalog::Usd;

/// Share of requests that begin with another than the best.
const EXPLORED: f64 = 0.02;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant], weights: Balance) {
    merit::balance(entrants, weights);
}

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let total = |entrant: &Entrant| match entrant.score {
        Some(Score::Balanced { total, .. }) => total,
        _ => 0.0,
    };
    let mut best = by_key(entrants, entrants.iter().map(|entrant| ORDINALS - ordinal(total(entrant))));
    if rng.f64() < EXPLORED && best.len() > 1 {
        let explored = rng.usize(1..best.len());
        if is_affordable(&best, explored)
            && let Some(front) = best.get_mut(..=explored)
        {
            front.rotate_right(1);
        }
    }
    priority::order(best.into_iter(), rng)
}

fn is_affordable(entrants: &[&Entrant], index: usize) -> bool {
    let price = |index: usize| entrants.get(index).map(|entrant| entrant.estimate.price);
    let twice = |price: Usd| price.plus(price);
    match (price(0), price(index)) {
        (Some(Some(best)), Some(Some(other))) => other <= twice(best),
        (best, other) => best == other,
    }
}
