//! Models whose targets are models: each orders its own, and stands in the model that lists it as one target.
//!
//! A group takes part with what is known of whoever it would choose first. Health is decided inside: a group whose lead
//! is well is well, however its other members are.

use super::{Entrant, Ordered, Placed};
use crate::{Node, Strategy};
use health::{BreakerStanding, Standing};

/// The entrants must stand by the numbers of their targets.
pub(super) fn order(nodes: &[Node], strategy: Strategy, entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let mut members: Vec<Ordered> = Vec::with_capacity(nodes.len());
    let mut stand_ins: Vec<Entrant> = Vec::with_capacity(nodes.len());
    let known = |target: usize| {
        let found = entrants.binary_search_by_key(&target, |entrant| entrant.target).ok()?;
        entrants.get(found).copied()
    };
    for node in nodes {
        let (ordered, stand_in) = match node {
            Node::Target(target) => {
                let Some(entrant) = known(*target) else { continue };
                (alone(&entrant), entrant)
            }
            Node::Group(group) => {
                let ordered = order(&group.nodes, group.strategy, entrants, rng);
                let Some(chosen) = ordered.healthy.first().and_then(|target| known(*target)) else { continue };
                let lead = ordered.now.first().and_then(|lead| Some((*lead, known(lead.target)?)));
                let stand_in = Entrant {
                    weight: group.weight,
                    available: lead.is_some(),
                    standing: lead.map_or(chosen.standing, |(lead, _)| standing(&lead)),
                    provider_unreachable: lead.is_some_and(|(_, entrant)| entrant.provider_unreachable),
                    ..chosen
                };
                (ordered, stand_in)
            }
        };
        stand_ins.push(Entrant { target: members.len(), ..stand_in });
        members.push(ordered);
    }
    let ordered = super::order(strategy, &mut stand_ins, rng);
    let of = |member: usize| members.get(member).into_iter();
    Ordered {
        healthy: ordered.healthy.iter().flat_map(|member| of(*member).flat_map(|it| &it.healthy)).copied().collect(),
        now: ordered
            .now
            .iter()
            .flat_map(|stand_in| of(stand_in.target).flat_map(|it| in_place(it, stand_in)))
            .collect(),
    }
}

fn alone(entrant: &Entrant) -> Ordered {
    let placed = Placed { target: entrant.target, standing: entrant.standing, demoted: None, score: None };
    Ordered { healthy: vec![entrant.target], now: entrant.available.then_some(placed).into_iter().collect() }
}

/// How a group stands whose first is this one.
fn standing(lead: &Placed) -> Standing {
    match lead.demoted {
        // Its turn was decided inside: a share of a ramp must not be drawn twice.
        None => Standing { breaker: BreakerStanding::Closed, degraded: false, slow: false },
        Some(_) => lead.standing,
    }
}

/// The members of a group in its place. Each keeps what its own model made of it; a target that stands for itself has
/// nothing but what is made of it here.
fn in_place<'a>(group: &'a Ordered, stand_in: &'a Placed) -> impl Iterator<Item = Placed> + 'a {
    let is_alone = group.healthy.len() == 1;
    group.now.iter().map(move |member| Placed {
        demoted: member.demoted.or(stand_in.demoted),
        score: if is_alone { member.score.or(stand_in.score) } else { member.score },
        ..*member
    })
}
