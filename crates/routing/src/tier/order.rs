//! The order of candidates of a model with tiers: the model's strategy within each tier, the request's own tier first.
//!
//! What health says holds over tiers as within one: chronic flappers, targets of an unreachable provider and those
//! whose limit the request would not fit into stand behind all others, and where all of a tier are slow or outside the
//! share of their ramp, the next tier's first stands before them. Only upwards: slowness alone sends no request down.
//! So does a tier under `auto` in which nobody is predicted to meet the objectives, but for the requests that try one
//! of it again.

use super::{Assigned, Step, Tiers};
use crate::strategy::{self, Entrant, Ordered, auto};
use crate::{Candidate, Demotion, Model, Strategy};
use health::BreakerStanding;

/// Orders entrants of a request of the tier `asked`; none of them is below its floor.
pub(crate) fn order(
    model: &Model,
    tiers: &Tiers,
    asked: Assigned,
    entrants: &mut [Entrant],
    rng: &mut fastrand::Rng,
) -> Ordered {
    let step = |entrant: &Entrant| tiers.step(asked, entrant.target);
    entrants.sort_by_key(step);
    let by_objectives = matches!(model.settings.strategy, Strategy::Auto(_));
    let mut whole = Whole { weighs: weighs(model), healthy: Vec::with_capacity(entrants.len()), ..Whole::default() };
    for tier in entrants.chunk_by_mut(|a, b| step(a) == step(b)) {
        let is_down = tier.first().and_then(step).is_some_and(Step::is_down);
        let mut ordered = strategy::order_of(model, tier, rng);
        if is_down {
            whole.healthy.append(&mut whole.healthy_behind);
        }
        let is_short = by_objectives && tier.iter().all(auto::misses) && !auto::try_again_of(&mut ordered, rng);
        whole.add(ordered, is_down, is_short, rng);
    }
    whole.finish()
}

/// The order so far.
#[derive(Default)]
struct Whole {
    /// The strategy weighs a ramp and draws no share of it.
    weighs: bool,
    healthy: Vec<usize>,
    /// Of tiers in which nobody meets the objectives: behind the next one's first.
    healthy_behind: Vec<usize>,
    now: Vec<Candidate>,
    /// Of tiers in which all give way: behind the next one's first.
    behind: Vec<Candidate>,
    /// Behind everybody.
    last: Vec<Candidate>,
}

impl Whole {
    fn add(&mut self, mut tier: Ordered, is_down: bool, is_short: bool, rng: &mut fastrand::Rng) {
        if is_short {
            self.healthy_behind.append(&mut tier.healthy);
        } else {
            let rest = tier.healthy.split_off(1.min(tier.healthy.len()));
            self.healthy.append(&mut tier.healthy);
            self.healthy.append(&mut self.healthy_behind);
            self.healthy.extend(rest);
        }
        self.last.extend(tier.now.extract_if(.., |placed| is_last_resort(placed.demoted)));
        if is_down {
            self.now.append(&mut self.behind);
        }
        match tier.now.iter().position(|placed| !is_short && !self.gives_way(placed, rng)) {
            None => self.behind.append(&mut tier.now),
            Some(stays) => {
                let rest = tier.now.split_off(stays + 1);
                self.now.append(&mut tier.now);
                self.now.append(&mut self.behind);
                self.now.extend(rest);
            }
        }
    }

    /// Whether the next healthy target stands before this one.
    fn gives_way(&self, placed: &Candidate, rng: &mut fastrand::Rng) -> bool {
        match placed.demoted {
            None | Some(Demotion::Rule) => false,
            Some(Demotion::Slow | Demotion::NearLimit | Demotion::Degraded | Demotion::ProviderUnreachable) => true,
            // Alone in its tier, what is only weighed would have everything or nothing: its share is drawn here.
            Some(Demotion::Ramping) => match placed.standing.breaker {
                BreakerStanding::Ramping { share } if self.weighs => rng.f64() >= share,
                BreakerStanding::Ramping { .. }
                | BreakerStanding::Closed
                | BreakerStanding::HalfOpen { .. }
                | BreakerStanding::Open { .. }
                | BreakerStanding::Off { .. } => true,
            },
        }
    }

    fn finish(mut self) -> Ordered {
        self.healthy.append(&mut self.healthy_behind);
        self.now.append(&mut self.behind);
        self.now.append(&mut self.last);
        Ordered { healthy: self.healthy, now: self.now }
    }
}

fn is_last_resort(demoted: Option<Demotion>) -> bool {
    match demoted {
        Some(Demotion::Degraded | Demotion::ProviderUnreachable | Demotion::NearLimit) => true,
        Some(Demotion::Slow | Demotion::Ramping | Demotion::Rule) | None => false,
    }
}

/// Whether a ramp may be weighed rather than drawn. With models among the targets it may: one that draws has then at
/// most twice its share.
fn weighs(model: &Model) -> bool {
    !model.nodes.is_empty()
        || match model.settings.strategy {
            Strategy::Weighted | Strategy::Sticky(_) | Strategy::Fastest(_) => true,
            Strategy::Priority | Strategy::Cheapest | Strategy::Balanced(_) | Strategy::Auto(_) | Strategy::Nearest => {
                false
            }
        }
}
