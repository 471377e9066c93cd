//! Models whose targets are models: each orders its own, and stands in the model that lists it as one target.
//!
//! A group takes part with what is known of whoever it would choose first. Health is decided inside: a group whose lead
//! is well is well, however its other members are.

use super::{Entrant, Ordered};
use crate::{Candidate, Node, Strategy};
use health::Standing;

/// What stands in a model as one target.
enum Member {
    One(usize),
    Group(Ordered),
}

/// The entrants must stand by the numbers of their targets.
pub(super) fn order(nodes: &[Node], strategy: Strategy, entrants: &[Entrant], rng: &mut fastrand::Rng) -> Ordered {
    let mut members: Vec<Member> = Vec::with_capacity(nodes.len());
    let mut stand_ins: Vec<Entrant> = Vec::with_capacity(nodes.len());
    let known = |target: usize| {
        let found = entrants.binary_search_by_key(&target, |entrant| entrant.target).ok()?;
        entrants.get(found).copied()
    };
    for node in nodes {
        let (member, stand_in) = match node {
            Node::Target(target) => {
                let Some(entrant) = known(*target) else { continue };
                (Member::One(*target), entrant)
            }
            Node::Group(group) => {
                let ordered = order(&group.nodes, group.strategy, entrants, rng);
                let Some(chosen) = ordered.healthy.first().and_then(|target| known(*target)) else { continue };
                let lead = ordered.now.first().and_then(|lead| Some((*lead, known(lead.target)?)));
                let stand_in = Entrant {
                    weight: group.weight,
                    ticket: chosen.ticket.of(&group.name),
                    available: lead.is_some(),
                    standing: lead.map_or(chosen.standing, |(lead, _)| standing(&lead)),
                    provider_unreachable: lead.is_some_and(|(_, entrant)| entrant.provider_unreachable),
                    ..chosen
                };
                (Member::Group(ordered), stand_in)
            }
        };
        stand_ins.push(Entrant { target: members.len(), ..stand_in });
        members.push(member);
    }
    let ordered = super::order(strategy, &mut stand_ins, rng);
    let mut healthy = Vec::with_capacity(entrants.len());
    for member in &ordered.healthy {
        match members.get(*member) {
            Some(Member::One(target)) => healthy.push(*target),
            Some(Member::Group(group)) => healthy.extend(&group.healthy),
            None => {}
        }
    }
    let mut now = Vec::with_capacity(entrants.len());
    for stand_in in &ordered.now {
        match members.get(stand_in.target) {
            Some(Member::One(target)) => now.push(Candidate { target: *target, ..*stand_in }),
            Some(Member::Group(group)) => now.extend(in_place(group, stand_in)),
            None => {}
        }
    }
    Ordered { healthy, now }
}

/// How a group stands whose first is this one.
fn standing(lead: &Candidate) -> Standing {
    match lead.demoted {
        // Its turn was decided inside: a share of a ramp must not be drawn twice.
        None => Standing::WELL,
        Some(_) => lead.standing,
    }
}

/// The members of a group in its place. Each keeps what its own model made of it; a target that stands for itself has
/// nothing but what is made of it here.
fn in_place<'a>(group: &'a Ordered, stand_in: &'a Candidate) -> impl Iterator<Item = Candidate> + 'a {
    let is_alone = group.healthy.len() == 1;
    group.now.iter().map(move |member| Candidate {
        demoted: member.demoted.or(stand_in.demoted),
        score: if is_alone { member.score.or(stand_in.score) } else { member.score },
        ..*member
    })
}
