//! The strategies: each is a file and a line in [`order`].
//!
//! A strategy orders twice with the same randomness: as full health would have it (that names the primary), and as
//! health is. The two differ by health alone, so every difference is a diversion with a reason.

pub(crate) mod auto;
mod balanced;
mod cheapest;
mod fastest;
mod nearest;
mod nested;
mod priority;
mod weighted;

use crate::merit::Merits;
use crate::split::Ticket;
use crate::{Demotion, Model, Node, Score, Strategy};
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
    /// What the strategy makes of it; `None` before it was asked, and where it rates nobody. A forecast is there
    /// before.
    pub(crate) score: Option<Score>,
    /// The request is beyond what its provider allows any of its credentials now, as far as is known.
    pub(crate) near_limit: bool,
    /// What it draws its lot with, where a split keeps to its arms.
    pub(crate) ticket: Ticket,
}

/// An entrant with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placed {
    pub(crate) target: usize,
    pub(crate) standing: Standing,
    pub(crate) demoted: Option<Demotion>,
    pub(crate) score: Option<Score>,
}

impl Placed {
    /// It is predicted to miss an objective of its model.
    pub(crate) fn misses(&self) -> bool {
        matches!(self.score, Some(Score::Forecast(forecast)) if forecast.misses())
    }
}

/// What a strategy answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered {
    /// Every entrant, as full health would have it.
    pub(crate) healthy: Vec<usize>,
    /// Those available, as health is.
    pub(crate) now: Vec<Placed>,
}

/// Orders the targets of a model, and of the models it lists.
pub(crate) fn order_of(model: &Model, entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    if model.nodes.is_empty() {
        order(model.settings.strategy, entrants, rng)
    } else {
        entrants.sort_unstable_by_key(|entrant| entrant.target);
        nested::order(&model.nodes, model.settings.strategy, entrants, rng)
    }
}

/// The registry.
fn order(strategy: Strategy, entrants: &mut [Entrant], rng: &mut fastrand::Rng) -> Ordered {
    match strategy {
        Strategy::Priority => priority::order(entrants, rng),
        Strategy::Weighted => weighted::order(entrants, rng),
        Strategy::Sticky(split) => weighted::order_of_split(entrants, split, rng),
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
        Strategy::Auto(_) => auto::order(entrants, rng),
        Strategy::Nearest => nearest::order(entrants, rng),
    }
}

/// Whether the order of a model depends on speed.
pub(crate) fn goes_by_speed(model: &Model) -> bool {
    fn any(nodes: &[Node]) -> bool {
        nodes.iter().any(|node| match node {
            Node::Target(_) => false,
            Node::Group(group) => does(group.strategy) || any(&group.nodes),
        })
    }
    fn does(strategy: Strategy) -> bool {
        match strategy {
            Strategy::Priority
            | Strategy::Weighted
            | Strategy::Sticky(_)
            | Strategy::Cheapest
            | Strategy::Auto(_)
            | Strategy::Nearest => false,
            Strategy::Fastest(_) | Strategy::Balanced(_) => true,
        }
    }
    does(model.settings.strategy) || any(&model.nodes)
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
