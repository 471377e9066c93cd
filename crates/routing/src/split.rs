//! Weighted splits that keep to an arm, and experiments that are told.
//!
//! Whoever is drawn for a user or a session is drawn for it again: the random number of the draw is a hash of who asks
//! and of the arm (weighted rendezvous hashing). So a change of weights moves the share that has to move and nobody
//! else, an arm that is added takes from all in proportion, and the order of the list means nothing. It needs no
//! memory, holds over restarts, and is the same at every replica.

use crate::{Model, Node, Session, Strategy};
use std::fmt;
use std::num::NonZeroU64;

/// What a split keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sticky {
    /// All requests of an end user.
    User,
    /// All requests of a conversation that has a name.
    Session,
}

impl Sticky {
    /// As configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
        }
    }
}

/// A weighted split that keeps to its arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Split {
    /// By whom.
    pub sticky: Sticky,
    salt: u64,
}

impl Split {
    /// Splits of different names draw independently of one another.
    pub fn new(sticky: Sticky, name: &str) -> Self {
        Self { sticky, salt: hash([name]) }
    }
}

/// Whoever is kept to an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Unit(NonZeroU64);

impl Unit {
    /// An end user, by the id the caller has given it; users of two tenants are two.
    pub fn of_user(tenant: Option<&str>, user: &str) -> Self {
        Self::new(hash([tenant.unwrap_or_default(), user]))
    }

    /// A conversation; `None` = nobody has named it, so that nothing tells it from others that begin alike.
    pub fn of_session(session: Session) -> Option<Self> {
        session.name().map(Self::new)
    }

    fn new(hash: u64) -> Self {
        Self(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }
}

/// What an entrant draws its lot with: who asks, and the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ticket {
    unit: Option<Unit>,
    arm: u64,
}

impl Ticket {
    /// Of a request that nothing is to be kept together with, it says nothing.
    pub(crate) fn new(unit: Option<Unit>, arm: &str) -> Self {
        Self { unit, arm: unit.map_or(0, |_| hash([arm])) }
    }

    /// For another arm.
    pub(crate) fn of(self, arm: &str) -> Self {
        Self::new(self.unit, arm)
    }

    /// A number above 0 and at most 1, always the same; `None` = any will do.
    pub(crate) fn lot(self, split: Split) -> Option<f64> {
        let unit = self.unit?.0.get();
        let bits = mixed(mixed(unit ^ split.salt).wrapping_add(self.arm)) >> 11;
        Some((bits as f64 + 1.0) / (1_u64 << 53) as f64)
    }
}

/// FNV-1a over texts that cannot run into one another, then mixed. It is written out here so that an arm stays the same
/// over versions of the program and of its language.
fn hash<const N: usize>(texts: [&str; N]) -> u64 {
    let bytes = texts.iter().flat_map(|text| (text.len() as u64).to_le_bytes().into_iter().chain(text.bytes()));
    mixed(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finish of `SplitMix64`: every bit depends on every other.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A split whose arms are told, so that they can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// The names of what the model lists, in that order.
    pub arms: Vec<String>,
}

/// The part of a request in an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Trial<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// The arm that the request was drawn for.
    pub arm: &'a str,
    /// The arm that served instead; `None` = its own, or nobody.
    pub served: Option<&'a str>,
}

/// `tone=short`, or `tone=short;served=long`.
impl fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.experiment, self.arm)?;
        self.served.map_or(Ok(()), |served| write!(f, ";served={served}"))
    }
}

impl Model {
    /// By whom its splits, or those of models among its targets, keep to their arms.
    pub fn sticky(&self) -> Option<Sticky> {
        fn of(strategy: Strategy, nodes: &[Node]) -> Option<Sticky> {
            let own = if let Strategy::Sticky(split) = strategy { Some(split.sticky) } else { None };
            own.or_else(|| groups(nodes).find_map(|group| of(group.strategy, &group.nodes)))
        }
        of(self.settings.strategy, &self.nodes)
    }

    /// The experiments a request takes part in that was drawn for one target and was served by another, or by nobody.
    pub fn trials(&self, drawn: usize, served: Option<usize>) -> Vec<Trial<'_>> {
        let mut found = Vec::new();
        let mut level = (self.settings.experiment.as_ref(), &self.nodes[..]);
        loop {
            let (experiment, nodes) = level;
            // A model that lists targets alone has no nodes: each stands for itself.
            let place = |target: usize| {
                if nodes.is_empty() { Some(target) } else { nodes.iter().position(|node| holds(node, target)) }
            };
            let Some(own) = place(drawn) else { return found };
            if let Some(experiment) = experiment
                && let Some(arm) = experiment.arms.get(own)
            {
                let other = served.map(place).filter(|place| *place != Some(own));
                let served = other.map(|place| place.and_then(|at| experiment.arms.get(at)).map_or("none", |it| it));
                found.push(Trial { experiment: &experiment.name, arm, served });
            }
            level = match nodes.get(own) {
                Some(Node::Group(group)) => (group.experiment.as_ref(), &group.nodes),
                Some(Node::Target(_)) | None => return found,
            };
        }
    }

    /// What its splits draw for somebody, by the place in each list: answers are not given from one arm to another.
    pub fn draws(&self, unit: Unit) -> Vec<usize> {
        let mut drawn = Vec::new();
        let flat: Vec<Node>;
        let nodes = if self.nodes.is_empty() {
            flat = (0..self.targets.len()).map(Node::Target).collect();
            &flat
        } else {
            &self.nodes
        };
        self.draw(self.settings.strategy, nodes, unit, &mut drawn);
        drawn
    }

    fn draw(&self, strategy: Strategy, nodes: &[Node], unit: Unit, drawn: &mut Vec<usize>) {
        if let Strategy::Sticky(split) = strategy {
            let key = |node: &Node| {
                let (name, weight) = match node {
                    Node::Target(target) => self.targets.get(*target).map_or(("", 0), |it| (&*it.id, it.weight)),
                    Node::Group(group) => (&*group.name, group.weight),
                };
                let lot = Ticket::new(Some(unit), name).lot(split).unwrap_or(1.0);
                -lot.ln() / f64::from(weight).max(f64::MIN_POSITIVE)
            };
            let first = nodes.iter().enumerate().min_by(|(_, a), (_, b)| key(a).total_cmp(&key(b)));
            drawn.extend(first.map(|(place, _)| place));
        }
        for group in groups(nodes) {
            self.draw(group.strategy, &group.nodes, unit, drawn);
        }
    }
}

fn groups(nodes: &[Node]) -> impl Iterator<Item = &crate::Group> {
    nodes.iter().filter_map(|node| if let Node::Group(group) = node { Some(group) } else { None })
}

fn holds(node: &Node, target: usize) -> bool {
    match node {
        Node::Target(own) => *own == target,
        Node::Group(group) => group.nodes.iter().any(|node| holds(node, target)),
    }
}

/// Whether an experiment is told at all, at a glance.
pub(crate) fn is_experimental(model: &Model) -> bool {
    model.settings.experiment.is_some() || !model.nodes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first<'a>(unit: Unit, split: Split, arms: &[(&'a str, f64)]) -> &'a str {
        let key = |(name, weight): &&(&str, f64)| -Ticket::new(Some(unit), name).lot(split).unwrap().ln() / weight;
        arms.iter().min_by(|a, b| key(a).total_cmp(&key(b))).unwrap().0
    }

    fn users() -> impl Iterator<Item = Unit> {
        (0..20_000).map(|user| Unit::of_user(Some("app"), &format!("user-{user}")))
    }

    #[test]
    fn each_arm_has_its_share_of_users_whatever_their_ids() {
        let split = Split::new(Sticky::User, "chat");
        let arms = [("a/m", 70.0), ("b/m", 20.0), ("c/m", 10.0)];
        for (name, weight) in arms {
            let share = users().filter(|user| first(*user, split, &arms) == name).count() as f64 / 20_000.0;
            assert!((share - weight / 100.0).abs() < 0.01, "{name}: {share}");
        }
    }

    #[test]
    fn a_change_of_weights_moves_the_share_that_has_to_move_and_nobody_else() {
        let split = Split::new(Sticky::User, "chat");
        let (before, after) = ([("a/m", 90.0), ("b/m", 10.0)], [("b/m", 20.0), ("a/m", 80.0)]);
        let mut moved = 0;
        for user in users() {
            let (was, is) = (first(user, split, &before), first(user, split, &after));
            assert!(was == is || (was, is) == ("a/m", "b/m"), "nobody leaves the arm that grows");
            moved += usize::from(was != is);
        }
        assert!((moved as f64 / 20_000.0 - 0.1).abs() < 0.01, "{moved}");
    }

    #[test]
    fn splits_of_different_names_draw_independently() {
        let arms = [("a/m", 1.0), ("b/m", 1.0)];
        let (one, other) = (Split::new(Sticky::User, "one"), Split::new(Sticky::User, "other"));
        let same = users().filter(|user| first(*user, one, &arms) == first(*user, other, &arms)).count();
        assert!((same as f64 / 20_000.0 - 0.5).abs() < 0.015, "{same}");
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        assert_eq!(hash(["", "user-1"]), 0x1704_493f_826f_5140);
        assert_ne!(hash(["a", "bc"]), hash(["ab", "c"]));
    }
}
