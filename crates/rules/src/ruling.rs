//! Which rules hold for a request, and what follows for the targets of its plan.
//!
//! The laws: no rule takes the last able target away but one that says `exclude` in so many words; `prefer` never
//! lifts a target over its own health; what one rule avoids, no other prefers.

use crate::action::ReachOf;
use crate::eval::Failure;
use std::sync::Arc;

/// The rules that hold for a request, in the order they are written: an earlier one is stronger.
#[derive(Debug, Clone, Default)]
pub struct Ruling<'r> {
    /// Those that hold.
    pub held: Vec<Held<'r>>,
    /// Those that failed and were skipped: name, why, and how often that has happened.
    pub failed: Vec<(&'r Arc<str>, Failure, u64)>,
}

/// A rule that holds.
#[derive(Debug, Clone, Copy)]
pub struct Held<'r> {
    /// Its number in the set.
    pub rule: usize,
    /// Its name.
    pub name: &'r Arc<str>,
    /// It holds because of what was measured of targets, not because of what the request is: what it does is a
    /// diversion.
    pub is_diversion: bool,
    /// It replaces settings.
    pub sets: bool,
    pub(crate) reach: &'r ReachOf,
}

/// What remains of the able targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Targets that rules leave out, each with the place of the rule among those held.
    pub excluded: Vec<(usize, usize)>,
    /// Places of rules whose `only` was passed over, because none of its targets is able to serve.
    pub passed_over: Vec<usize>,
}

impl Ruling<'_> {
    /// Whether nothing holds.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The tiers that rules give the request, the strongest first.
    pub fn tiers(&self) -> impl Iterator<Item = &str> {
        self.held.iter().filter_map(|held| held.reach.tier.as_deref())
    }

    /// What `exclude` and `only` leave of the targets that are able to serve.
    pub fn sift(&self, able: &[usize]) -> Sifted {
        let mut sifted = Sifted::default();
        if self.held.is_empty() {
            return sifted;
        }
        let mut left = able.to_vec();
        for (place, held) in self.held.iter().enumerate() {
            left.retain(|target| {
                let excluded = held.reach.exclude.contains(target);
                if excluded {
                    sifted.excluded.push((*target, place));
                }
                !excluded
            });
        }
        for (place, held) in self.held.iter().enumerate().filter(|(_, held)| !held.reach.only.is_empty()) {
            if !left.iter().any(|target| held.reach.only.contains(target)) {
                sifted.passed_over.push(place);
                continue;
            }
            left.retain(|target| {
                let stays = held.reach.only.contains(target);
                if !stays {
                    sifted.excluded.push((*target, place));
                }
                stays
            });
        }
        sifted
    }

    /// Puts preferred targets first and avoided ones last; all others keep their order. `of` names the target and says
    /// whether its health lets it be preferred. `with_diversions` = rules that measure count too.
    pub fn reorder<T>(&self, order: &mut [T], with_diversions: bool, of: impl Fn(&T) -> (usize, bool)) {
        let counted = || self.held.iter().filter(|held| with_diversions || !held.is_diversion);
        let mut places: Vec<Place> = Vec::new();
        let mut put = |target: usize, place: Place| {
            if places.len() <= target {
                places.resize(target + 1, Place::AsItWas);
            }
            if let Some(known) = places.get_mut(target) {
                *known = place;
            }
        };
        // What stands last here is written last, so that it wins: the first to prefer, and whoever avoids.
        let preferred: usize = counted().map(|held| held.reach.prefer.len()).sum();
        let backwards = counted().rev().flat_map(|held| held.reach.prefer.iter().rev());
        for (from_end, target) in backwards.enumerate() {
            put(*target, Place::Preferred(preferred - from_end));
        }
        for target in counted().flat_map(|held| &held.reach.avoid) {
            put(*target, Place::Last);
        }
        if places.is_empty() {
            return;
        }
        order.sort_by_key(|it| {
            let (target, is_fit) = of(it);
            match places.get(target).copied().unwrap_or(Place::AsItWas) {
                Place::Preferred(_) if !is_fit => Place::AsItWas,
                place => place,
            }
        });
    }

    /// Whether a rule puts the target last for what was measured of targets.
    pub fn diverts_from(&self, target: usize) -> bool {
        self.held.iter().any(|held| held.is_diversion && held.reach.avoid.contains(&target))
    }
}

/// Where rules put a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Preferred(usize),
    AsItWas,
    Last,
}
