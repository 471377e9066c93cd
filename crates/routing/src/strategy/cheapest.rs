//! `cheapest`: by the estimated price of this request, unknown prices last, equal ones as written.
//!
//! Health demotes as under `priority`: a slow target stands behind the next dearer one.

use super::{Entrant, Ordered, priority};
use crate::Score;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant]) {
    for entrant in entrants.iter_mut() {
        entrant.score = Some(Score::Price { price: entrant.merits.price });
    }
}

pub(super) fn order(entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    entrants.sort_by_key(|entrant| (entrant.merits.price.is_none(), entrant.merits.price));
    priority::order(entrants, rng)
}
