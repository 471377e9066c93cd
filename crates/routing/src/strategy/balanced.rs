//! `balanced`: by the weighted mean of price, speed, reliability and quality, equal ones as written.
//!
//! One request in fifty begins with another than the best, or nobody would find out that it has become better; what
//! costs more than twice as much is not asked for that. Health demotes as under `priority`.

use super::{Entrant, Ordered, priority};
use crate::Score;
use crate::merit::{self, Balance, Merits};
use catalog::Usd;

/// Share of requests that begin with another than the best.
const EXPLORED: f64 = 0.02;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant], weights: Balance) {
    let merits: Vec<Merits> = entrants.iter().map(|entrant| entrant.merits).collect();
    for (entrant, score) in entrants.iter_mut().zip(merit::balanced(&merits, weights)) {
        entrant.score = Some(score);
    }
}

pub(super) fn order(entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let total = |entrant: &Entrant| match entrant.score {
        Some(Score::Balanced { total, .. }) => total,
        _ => 0.0,
    };
    entrants.sort_by(|one, other| total(other).total_cmp(&total(one)));
    if rng.f64() < EXPLORED && entrants.len() > 1 {
        let explored = rng.usize(1..entrants.len());
        if is_affordable(entrants, explored)
            && let Some(front) = entrants.get_mut(..=explored)
        {
            front.rotate_right(1);
        }
    }
    priority::order(entrants, rng)
}

fn is_affordable(entrants: &[Entrant], index: usize) -> bool {
    let price = |index: usize| entrants.get(index).map(|entrant| entrant.merits.price);
    let twice = |price: Usd| price.plus(price);
    match (price(0), price(index)) {
        (Some(Some(best)), Some(Some(other))) => other <= twice(best),
        (best, other) => best == other,
    }
}
