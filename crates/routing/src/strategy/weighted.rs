//! `weighted`: a weighted random order without replacement.
//!
//! Each target draws one exponential key, divided by its weight; the smallest leads. The same keys with the weights
//! health leaves (the share of a ramp, a trickle for the slow, nothing but the last place for a chronic flapper and for
//! one whose limits are about to be used up) give the order now.

use super::{Entrant, Ordered, by_key, last_resort, ordinal};
use crate::{Demotion, Split};
use health::BreakerStanding;

/// What is left of the weight of a slow target: warm traffic, and a little more evidence.
const SLOW_SHARE: f64 = 0.03;

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    order_by(entrants, |entrant| f64::from(entrant.weight), rng)
}

/// With lots that are always the same for whoever is to be kept to an arm.
pub(super) fn order_of_split(entrants: &[Entrant], split: Split, rng: &mut fastrand::Rng) -> Ordered {
    let lots = entrants.iter().map(|entrant| entrant.ticket.lot(split).unwrap_or_else(|| 1.0 - rng.f64()));
    let keys: Vec<f64> = lots.map(|lot| -lot.ln()).collect();
    order_by_keys(entrants, &keys, |entrant| f64::from(entrant.weight))
}

/// With other weights than those written.
pub(super) fn order_by(entrants: &[Entrant], weight: impl Fn(&Entrant) -> f64, rng: &mut fastrand::Rng) -> Ordered {
    let keys: Vec<f64> = entrants.iter().map(|_| -(1.0 - rng.f64()).ln()).collect();
    order_by_keys(entrants, &keys, weight)
}

fn order_by_keys(entrants: &[Entrant], keys: &[f64], weight: impl Fn(&Entrant) -> f64) -> Ordered {
    let scaled = |entrant: &Entrant| weight(entrant) * share(entrant);
    let by_weight = sorted(entrants, keys, &weight);
    let healthy = by_weight.iter().map(|entrant| entrant.target).collect();
    // Any share of its own would let a flapper trip again and again, and meet a 429.
    let is_last = |entrant: &Entrant| entrant.near_limit || last_resort(entrant).is_some();
    let others = entrants.iter().any(|entrant| entrant.available && !is_last(entrant));
    let weight_now = |entrant: &Entrant| if others && is_last(entrant) { 0.0 } else { scaled(entrant) };
    let is_whole = |entrant: &Entrant| !is_last(entrant) && share(entrant) >= 1.0;
    let order_now = if entrants.iter().all(is_whole) { by_weight } else { sorted(entrants, keys, weight_now) };
    let mut now = Vec::with_capacity(entrants.len());
    let available =
        order_now.into_iter().filter(|entrant| entrant.available).map(|entrant| entrant.placed(demotion(entrant)));
    now.extend(available);
    Ordered { healthy, now }
}

fn sorted<'a>(entrants: &'a [Entrant], keys: &[f64], weight: impl Fn(&Entrant) -> f64) -> Vec<&'a Entrant> {
    let scaled = |(entrant, key): (&Entrant, &f64)| ordinal(key / weight(entrant).max(f64::MIN_POSITIVE));
    by_key(entrants, entrants.iter().zip(keys).map(scaled))
}

/// What health leaves of a weight.
fn share(entrant: &Entrant) -> f64 {
    let share = match entrant.standing.breaker {
        BreakerStanding::Ramping { share } => share,
        BreakerStanding::Closed
        | BreakerStanding::HalfOpen { .. }
        | BreakerStanding::Open { .. }
        | BreakerStanding::Off { .. } => 1.0,
    };
    share * if entrant.standing.slow { SLOW_SHARE } else { 1.0 }
}

fn demotion(entrant: &Entrant) -> Option<Demotion> {
    last_resort(entrant).or(entrant.near_limit.then_some(Demotion::NearLimit)).or(match entrant.standing.breaker {
        BreakerStanding::Ramping { .. } => Some(Demotion::Ramping),
        BreakerStanding::Closed
        | BreakerStanding::HalfOpen { .. }
        | BreakerStanding::Open { .. }
        | BreakerStanding::Off { .. } => entrant.standing.slow.then_some(Demotion::Slow),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::tests::entrant;

    fn entrants(weights: &[u32]) -> Vec<Entrant> {
        weights.iter().enumerate().map(|(target, &weight)| Entrant { weight, ..entrant(target) }).collect()
    }

    fn leads(entrants: &[Entrant], target: usize) -> f64 {
        let led = (0..20_000)
            .filter(|&seed| order(entrants, &mut fastrand::Rng::with_seed(seed)).now[0].target == target)
            .count();
        led as f64 / 20_000.0
    }

    #[test]
    fn each_target_leads_in_proportion_to_its_weight() {
        let pool = entrants(&[7, 2, 1]);
        assert!((leads(&pool, 0) - 0.7).abs() < 0.015);
        assert!((leads(&pool, 2) - 0.1).abs() < 0.015);
    }

    #[test]
    fn a_ramp_scales_the_weight() {
        let mut pool = entrants(&[1, 1]);
        pool[0].standing.breaker = BreakerStanding::Ramping { share: 0.05 };
        assert!((leads(&pool, 0) - 0.05 / 1.05).abs() < 0.01);
    }

    #[test]
    fn a_degraded_target_is_a_fallback_alone_and_keeps_its_weight_among_its_like() {
        let mut pool = entrants(&[8, 1, 1]);
        pool[0].standing.degraded = true;
        assert!(leads(&pool, 0) < f64::EPSILON);
        pool[1..].iter_mut().for_each(|entrant| entrant.standing.degraded = true);
        assert!((leads(&pool, 0) - 0.8).abs() < 0.015);
    }

    #[test]
    fn a_target_near_its_limit_leads_only_where_all_are() {
        let mut pool = entrants(&[2, 1, 1]);
        pool[0].near_limit = true;
        assert!(leads(&pool, 0) < f64::EPSILON);
        for entrant in &mut pool {
            entrant.near_limit = true;
        }
        assert!((leads(&pool, 0) - 0.5).abs() < 0.015);
    }

    #[test]
    fn a_slow_target_keeps_a_trickle() {
        let mut pool = entrants(&[1, 1, 1]);
        pool[0].standing.slow = true;
        assert!((leads(&pool, 0) - 0.03 / 2.03).abs() < 0.005);
    }

    #[test]
    fn with_everything_healthy_the_first_is_the_primary() {
        let pool = entrants(&[3, 2, 1]);
        for seed in 0..100 {
            let ordered = order(&pool, &mut fastrand::Rng::with_seed(seed));
            let now: Vec<_> = ordered.now.iter().map(|placed| placed.target).collect();
            assert_eq!(now, ordered.healthy);
        }
    }

    #[test]
    fn a_weight_of_zero_is_a_last_resort() {
        let pool = entrants(&[0, 1]);
        assert!(leads(&pool, 0) < f64::EPSILON);
    }
}
