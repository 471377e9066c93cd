//! The strategies: each is a file and a line in [`order`].
//!
//! A strategy orders twice with the same randomness: as full health would have it (that names the primary), and as
//! health is. The two differ by health alone, so every difference is a diversion with a reason.

mod balanced;
mod cheapest;
mod fastest;
mod priority;
mod weighted;

use crate::merit::Merits;
use crate::{Demotion, Score, SpeedBy, Strategy};
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
    /// What speaks for it, where the strategy asks for that.
    pub(crate) merits: Merits,
    /// What the strategy makes of it; `None` before it was asked, and where it rates nobody.
    pub(crate) score: Option<Score>,
    /// The request is beyond what its provider allows any of its credentials now, as far as is known.
    pub(crate) near_limit: bool,
}

/// An entrant with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placed {
    pub(crate) target: usize,
    pub(crate) standing: Standing,
    pub(crate) demoted: Option<Demotion>,
    pub(crate) score: Option<Score>,
}

/// What a strategy answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered {
    /// Every entrant, as full health would have it.
    pub(crate) healthy: Vec<usize>,
    /// Those available, as health is.
    pub(crate) now: Vec<Placed>,
}

/// The registry.
pub(crate) fn order(strategy: Strategy, entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    match strategy {
        Strategy::Priority => priority::order(entrants, rng),
        Strategy::Weighted => weighted::order(entrants, rng),
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
    }
}

/// Which speed a strategy goes by; `None` = by none.
pub(crate) fn speed_by(strategy: Strategy) -> Option<SpeedBy> {
    match strategy {
        Strategy::Priority | Strategy::Weighted | Strategy::Cheapest => None,
        Strategy::Fastest(by) => Some(by),
        Strategy::Balanced(_) => Some(SpeedBy::Total),
    }
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
