//! `nearest`: by the region that leads, then by the other regions; within a region a random order by weight.
//!
//! One request in fifty begins with another region than the one that leads, or nobody would find out that it has become
//! nearer. Health demotes as under `priority`.

use super::{Entrant, Ordered, priority};
use crate::Score;

/// Share of requests that begin with another region.
const EXPLORED: f64 = 0.02;

pub(super) fn order(entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let mut keyed: Vec<(u16, f64, &Entrant)> = entrants
        .iter()
        .map(|entrant| {
            let key = -(1.0 - rng.f64()).ln() / f64::from(entrant.weight).max(f64::MIN_POSITIVE);
            (place(entrant), key, entrant)
        })
        .collect();
    keyed.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let leads = keyed.first().map(|(place, _, _)| *place);
    let others = keyed.iter().position(|(place, _, _)| Some(*place) != leads);
    if let Some(others) = others.filter(|_| rng.f64() < EXPLORED) {
        let explored = rng.usize(others..keyed.len());
        if let Some(front) = keyed.get_mut(..=explored) {
            front.rotate_right(1);
        }
    }
    priority::order(keyed.into_iter().map(|(_, _, entrant)| entrant), rng)
}

fn place(entrant: &Entrant) -> u16 {
    match entrant.score {
        Some(Score::Nearest(nearness)) => nearness.place,
        _ => u16::MAX,
    }
}
