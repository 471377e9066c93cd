//! The strategies: each is a file and a line in [`order`].
//!
//! A strategy orders twice with the same randomness: as full health would have it (that names the primary), and as
//! health is. The two differ by health alone, so every difference is a diversion with a reason.

mod priority;
mod weighted;

use crate::{Demotion, Strategy};
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
}

/// An entrant with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placed {
    pub(crate) target: usize,
    pub(crate) standing: Standing,
    pub(crate) demoted: Option<Demotion>,
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
pub(crate) fn order(strategy: Strategy, entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    match strategy {
        Strategy::Priority => priority::order(entrants, rng),
        Strategy::Weighted => weighted::order(entrants, rng),
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
