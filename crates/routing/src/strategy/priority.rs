//! `priority`: as written; health decides who is demoted.
//!
//! A ramping target keeps its place for its share of the requests and stands behind the next healthy one for the rest;
//! so does a slow one, and one whose limits are about to be used up: both answer, so they stand before one that has not
//! proved itself yet. A chronic flapper and a target of an unreachable provider stand behind all others.

use super::{Entrant, Ordered, last_resort};
use crate::Demotion;
use health::BreakerStanding;

pub(super) fn order<'a>(entrants: impl ExactSizeIterator<Item = &'a Entrant>, rng: &mut fastrand::Rng) -> Ordered {
    let mut healthy = Vec::with_capacity(entrants.len());
    let mut now = Vec::with_capacity(entrants.len());
    let mut behind_next = Vec::new();
    let mut ramping = Vec::new();
    let mut last = Vec::new();
    for entrant in entrants {
        healthy.push(entrant.target);
        if !entrant.available {
            continue;
        }
        let place = |demoted| entrant.placed(demoted);
        let outside_share = match entrant.standing.breaker {
            BreakerStanding::Ramping { share } => rng.f64() >= share,
            BreakerStanding::Closed
            | BreakerStanding::HalfOpen { .. }
            | BreakerStanding::Open { .. }
            | BreakerStanding::Off { .. } => false,
        };
        if let Some(demotion) = last_resort(entrant) {
            last.push(place(Some(demotion)));
        } else if outside_share {
            ramping.push(place(Some(Demotion::Ramping)));
        } else if entrant.near_limit {
            behind_next.push(place(Some(Demotion::NearLimit)));
        } else if entrant.standing.slow {
            behind_next.push(place(Some(Demotion::Slow)));
        } else {
            now.push(place(None));
            if !(behind_next.is_empty() && ramping.is_empty()) {
                now.append(&mut behind_next);
                now.append(&mut ramping);
            }
        }
    }
    now.append(&mut behind_next);
    now.append(&mut ramping);
    now.append(&mut last);
    Ordered { healthy, now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::tests::entrant as healthy;
    use health::Standing;

    fn entrant(target: usize, breaker: BreakerStanding) -> Entrant {
        Entrant { standing: Standing { breaker, ..Standing::WELL }, ..healthy(target) }
    }

    fn targets(entrants: &[Entrant], seed: u64) -> Vec<usize> {
        order(entrants.iter(), &mut fastrand::Rng::with_seed(seed)).now.iter().map(|placed| placed.target).collect()
    }

    #[test]
    fn healthy_targets_keep_their_written_order() {
        let entrants = [0, 1, 2].map(|target| entrant(target, BreakerStanding::Closed));
        assert_eq!(targets(&entrants, 1), [0, 1, 2]);
    }

    #[test]
    fn a_ramping_target_leads_for_its_share_and_stands_behind_the_next_for_the_rest() {
        let entrants = [
            entrant(0, BreakerStanding::Ramping { share: 0.2 }),
            entrant(1, BreakerStanding::Closed),
            entrant(2, BreakerStanding::Closed),
        ];
        let orders: Vec<_> = (0..2_000).map(|seed| targets(&entrants, seed)).collect();
        let leads = orders.iter().filter(|order| **order == [0, 1, 2]).count();
        assert!((300..=500).contains(&leads), "{leads}");
        assert!(orders.iter().all(|order| *order == [0, 1, 2] || *order == [1, 0, 2]));
    }

    #[test]
    fn outside_its_share_a_ramping_target_does_not_lead_because_the_next_is_slow() {
        let mut entrants = [entrant(0, BreakerStanding::Ramping { share: 0.2 }), entrant(1, BreakerStanding::Closed)];
        entrants[1].standing.slow = true;
        let leads = (0..2_000).filter(|seed| targets(&entrants, *seed) == [0, 1]).count();
        assert!((300..=500).contains(&leads), "{leads}");
    }

    #[test]
    fn the_degraded_and_the_unreachable_stand_last_and_the_slow_behind_the_next() {
        let mut entrants = [0, 1, 2, 3].map(|target| entrant(target, BreakerStanding::Closed));
        entrants[0].standing.degraded = true;
        entrants[1].standing.slow = true;
        entrants[2].provider_unreachable = true;
        let ordered = order(entrants.iter(), &mut fastrand::Rng::with_seed(1));
        let got: Vec<_> = ordered.now.iter().map(|placed| (placed.target, placed.demoted)).collect();
        assert_eq!(
            got,
            [
                (3, None),
                (1, Some(Demotion::Slow)),
                (0, Some(Demotion::Degraded)),
                (2, Some(Demotion::ProviderUnreachable))
            ]
        );
        assert_eq!(ordered.healthy, [0, 1, 2, 3]);
    }

    #[test]
    fn a_target_near_its_limit_stands_behind_the_next() {
        let mut entrants = [0, 1, 2].map(|target| entrant(target, BreakerStanding::Closed));
        entrants[0].near_limit = true;
        assert_eq!(targets(&entrants, 1), [1, 0, 2]);
        for entrant in &mut entrants {
            entrant.near_limit = true;
        }
        assert_eq!(targets(&entrants, 1), [0, 1, 2], "where all are, none is");
    }

    #[test]
    fn a_demoted_target_without_a_next_one_is_still_tried() {
        let entrants = [entrant(0, BreakerStanding::Ramping { share: 0.0 })];
        assert_eq!(targets(&entrants, 1), [0]);
    }
}
