//! `auto`: by the estimated price of this request among those predicted to meet the model's objectives, then those that
//! are not, the nearest to meeting them first.
//!
//! Whoever was left is tried by one request in fifty once its dwell is over (of few requests by one every five
//! seconds), where it would come first if it met them again; one that has returned has a share that grows. Health
//! demotes as under `priority`.

use super::{Entrant, Ordered, by_price, priority};
use crate::Score;
use crate::objectives::Forecast;

/// Share of requests that try a target that was left.
const TRIED: f64 = 0.02;
/// And of those that come when it was not tried for long, or a trial of few requests would never end.
const TRIED_IF_DUE: f64 = 0.2;

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let distance = |entrant: &Entrant| forecast(entrant).map_or(1.0, Forecast::short);
    let mut best = by_price(entrants);
    if entrants.iter().any(misses) {
        best.sort_by(|one, other| misses(one).cmp(&misses(other)).then(distance(one).total_cmp(&distance(other))));
    }
    if !try_again(&mut best, rng) {
        give_way(&mut best, rng);
    }
    priority::order(best.into_iter(), rng)
}

/// Where nobody of a tier meets the objectives: puts the one in front that this request tries again, if it tries one.
pub(crate) fn try_again_of(tier: &mut Ordered, rng: &mut fastrand::Rng) -> bool {
    let tried = tier.now.iter().position(|placed| match &placed.score {
        Some(Score::Forecast(it)) => is_tried(it, rng),
        _ => false,
    });
    let Some(front) = tried.and_then(|tried| tier.now.get_mut(..=tried)) else { return false };
    front.rotate_right(1);
    let leads = front.first().and_then(|first| tier.healthy.iter().position(|target| *target == first.target));
    if let Some(front) = leads.and_then(|leads| tier.healthy.get_mut(..=leads)) {
        front.rotate_right(1);
    }
    true
}

/// Whether it is predicted to miss an objective.
pub(crate) fn misses(entrant: &Entrant) -> bool {
    forecast(entrant).is_some_and(Forecast::misses)
}

fn forecast(entrant: &Entrant) -> Option<&Forecast> {
    match &entrant.score {
        Some(Score::Forecast(forecast)) => Some(forecast),
        _ => None,
    }
}

fn is_tried(forecast: &Forecast, rng: &mut fastrand::Rng) -> bool {
    forecast.is_on_trial() && rng.f64() < if forecast.is_due { TRIED_IF_DUE } else { TRIED }
}

/// A target on trial is asked first, where it would be first if it were well: never one that is dearer than who meets
/// the objectives.
fn try_again(entrants: &mut [&Entrant], rng: &mut fastrand::Rng) -> bool {
    let Some((first, others)) = entrants.split_first() else { return false };
    let chosen = others.iter().position(|entrant| {
        let Some(forecast) = forecast(entrant).filter(|_| entrant.available) else { return false };
        let is_first_if_well = misses(first)
            || match (entrant.estimate.price, first.estimate.price) {
                (Some(own), Some(price)) => own < price,
                (own, _) => own.is_some(),
            };
        is_first_if_well && is_tried(forecast, rng)
    });
    let front = chosen.and_then(|chosen| entrants.get_mut(..=chosen + 1));
    front.map(|front| front.rotate_right(1)).is_some()
}

/// A target that has returned leads for its share of the requests, and stands behind the next for the rest.
fn give_way(entrants: &mut [&Entrant], rng: &mut fastrand::Rng) {
    let share = |entrant: &Entrant| forecast(entrant).map_or(1.0, |it| it.share);
    let Some(first) = entrants.first() else { return };
    if share(first) >= 1.0 || rng.f64() < share(first) {
        return;
    }
    let next = entrants.iter().position(|other| !misses(other) && share(other) >= 1.0);
    if let Some(front) = next.and_then(|next| entrants.get_mut(..=next)) {
        front.rotate_left(1);
    }
}
