//! `fastest`: a random order without replacement, by weights that fall steeply with how much longer than the quickest a
//! target takes.
//!
//! Not simply the quickest first: everybody who is nearly as quick shares the load, and who is slow keeps a trickle, or
//! nobody would ever notice that it is quick again. What has not been seen is taken for as quick as the quickest.

use super::{Entrant, Ordered, weighted};
use crate::merit::{self, Merits};
use crate::{Score, SpeedBy};

/// Within this much of the quickest all are alike: nobody is moved for noise.
const ALIKE: f64 = 1.25;
/// How steeply the weight falls beyond.
const STEEPNESS: i32 = 3;
/// What is left of the weight of the slowest.
const FLOOR: f64 = 0.01;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant], by: SpeedBy) {
    let merits: Vec<Merits> = entrants.iter().map(|entrant| entrant.merits).collect();
    let quickest = merit::quickest(&merits, by);
    let weight = |entrant: &Entrant| {
        let longer = match (quickest, entrant.merits.seconds(by)) {
            (Some(quickest), Some(seconds)) => seconds / quickest.max(f64::MIN_POSITIVE),
            _ => 1.0,
        };
        f64::from(entrant.weight) * if longer <= ALIKE { 1.0 } else { (ALIKE / longer).powi(STEEPNESS).max(FLOOR) }
    };
    let sum = entrants.iter().map(weight).sum::<f64>().max(f64::MIN_POSITIVE);
    for entrant in entrants.iter_mut() {
        entrant.score = Some(Score::Speed { by, seconds: entrant.merits.seconds(by), share: weight(entrant) / sum });
    }
}

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let share = |entrant: &Entrant| match entrant.score {
        Some(Score::Speed { share, .. }) => share,
        _ => 0.0,
    };
    weighted::order_by(entrants, share, rng)
}
