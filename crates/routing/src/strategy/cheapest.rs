//! `cheapest`: by the estimated price of this request, unknown prices last, equal ones as written.
//!
//! Health demotes as under `priority`: a slow target stands behind the next dearer one.

use super::{Entrant, Ordered, by_price, priority};
use crate::Score;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant]) {
    for entrant in entrants.iter_mut() {
        entrant.score = Some(Score::Price { price: entrant.estimate.price });
    }
}

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    priority::order(by_price(entrants).into_iter(), rng)
}
