//! `fastest`: a random order without replacement, by weights that fall steeply with how much longer than the quickest a
//! target takes.
//!
//! Not simply the quickest first: everybody who is nearly as quick shares the load, and who is slow keeps a trickle, or
//! nobody would ever notice that it is quick again. What has not been seen is taken for as quick as the quickest.

use super::{Entrant, Ordered, weighted};
use crate::merit;
use crate::{Score, SpeedBy};

/// Within this much of the quickest all are alike: nobody is moved for noise.
const ALIKE: f64 = 1.25;
/// How steeply the weight falls beyond.
const STEEPNESS: i32 = 3;
/// What is left of the weight of the slowest.
const FLOOR: f64 = 0.01;

/// What everybody is rated by.
pub(super) fn rate(entrants: &mut [Entrant], by: SpeedBy) {
    let quickest = merit::quickest(entrants, by).map(|quickest| quickest.max(f64::MIN_POSITIVE));
    let mut sum = 0.0;
    for entrant in entrants.iter_mut() {
        let seconds = entrant.merits.seconds(by);
        let longer = quickest.zip(seconds).map_or(1.0, |(quickest, seconds)| seconds / quickest);
        let kept = if longer <= ALIKE { 1.0 } else { (ALIKE / longer).powi(STEEPNESS).max(FLOOR) };
        let weight = f64::from(entrant.weight) * kept;
        sum += weight;
        entrant.score = Some(Score::Speed { by, seconds, share: weight });
    }
    let sum = sum.max(f64::MIN_POSITIVE);
    for entrant in entrants.iter_mut() {
        if let Some(Score::Speed { share, .. }) = &mut entrant.score {
            *share /= sum;
        }
    }
}

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let share = |entrant: &Entrant| match entrant.score {
        Some(Score::Speed { share, .. }) => share,
        _ => 0.0,
    };
    weighted::order_by(entrants, share, rng)
}
