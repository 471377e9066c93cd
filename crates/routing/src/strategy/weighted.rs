//! `weighted`: a weighted random order without replacement.
//!
//! Each target draws one exponential key, divided by its weight; the smallest leads. The same keys with the weights
//! health leaves (the share of a ramp, a tenth of the pool for a chronic flapper) give the order now.

use super::{Entrant, Ordered, Placed, last_resort};
use crate::Demotion;
use health::BreakerStanding;

/// The most of a pool a degraded target gets.
const DEGRADED_SHARE: f64 = 0.1;

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let keys: Vec<f64> = entrants.iter().map(|_| -(1.0 - rng.f64()).ln()).collect();
    let healthy =
        sorted(entrants, &keys, |entrant| f64::from(entrant.weight)).iter().map(|entrant| entrant.target).collect();
    let pool: f64 = entrants.iter().filter(|entrant| entrant.available).map(scaled).sum();
    let weight_now = |entrant: &Entrant| {
        let weight = scaled(entrant);
        if last_resort(entrant).is_some() {
            weight.min((pool - weight) * DEGRADED_SHARE / (1.0 - DEGRADED_SHARE))
        } else {
            weight
        }
    };
    let now = sorted(entrants, &keys, weight_now)
        .into_iter()
        .filter(|entrant| entrant.available)
        .map(|entrant| Placed { target: entrant.target, standing: entrant.standing, demoted: demotion(entrant) })
        .collect();
    Ordered { healthy, now }
}

fn sorted<'a>(entrants: &'a [Entrant], keys: &[f64], weight: impl Fn(&Entrant) -> f64) -> Vec<&'a Entrant> {
    let mut by_key: Vec<(f64, &Entrant)> = entrants
        .iter()
        .zip(keys)
        .map(|(entrant, key)| (key / weight(entrant).max(f64::MIN_POSITIVE), entrant))
        .collect();
    by_key.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    by_key.into_iter().map(|(_, entrant)| entrant).collect()
}

fn scaled(entrant: &Entrant) -> f64 {
    let share = match entrant.standing.breaker {
        BreakerStanding::Ramping { share } => share,
        BreakerStanding::Closed
        | BreakerStanding::HalfOpen { .. }
        | BreakerStanding::Open { .. }
        | BreakerStanding::Off { .. } => 1.0,
    };
    f64::from(entrant.weight) * share * if entrant.standing.slow { 0.5 } else { 1.0 }
}

fn demotion(entrant: &Entrant) -> Option<Demotion> {
    last_resort(entrant).or(match entrant.standing.breaker {
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
    use health::Standing;

    fn entrants(weights: &[u32]) -> Vec<Entrant> {
        weights
            .iter()
            .enumerate()
            .map(|(target, &weight)| Entrant {
                target,
                weight,
                standing: Standing { breaker: BreakerStanding::Closed, degraded: false, slow: false },
                available: true,
                provider_unreachable: false,
            })
            .collect()
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
    fn a_degraded_target_gets_a_tenth_of_the_pool_at_most() {
        let mut pool = entrants(&[8, 1, 1]);
        pool[0].standing.degraded = true;
        assert!((leads(&pool, 0) - 0.1).abs() < 0.015);
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
