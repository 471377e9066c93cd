//! Which region is nearest, by what its first tokens show.
//!
//! First tokens of a model's regions are compared by their logarithm, relative to what prompts of their size usually
//! take. The region that leads keeps its place until another is surely nearer: a fifth quicker over its latest answers,
//! and a minute after the change before.

use canon::Instant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Weight of the latest answer: half of what is known is of the last eleven.
const LATEST: f64 = 1.0 / 16.0;
/// Answers of a region before it is compared.
const KNOWN: u32 = 20;
/// A nearer region takes at most this share of the time.
const NEARER: f64 = 0.8;
/// From one change to the next, at least.
const DWELL: Duration = Duration::from_secs(60);

/// The regions of a model, and which of them leads.
#[derive(Debug, Default)]
pub struct Near(Mutex<Regions>);

#[derive(Debug, Default)]
struct Regions {
    list: Vec<Region>,
    /// Its place in the list.
    leader: usize,
    changed: Option<Instant>,
}

#[derive(Debug)]
struct Region {
    name: Arc<str>,
    /// Of logarithms, relative to the usual.
    mean: f64,
    answers: u32,
}

/// Where a region stands for a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearness {
    /// 0 = it leads; the others by what is known of them.
    pub place: u16,
    /// The time to its first tokens as a share of the usual; `None` = it has not answered often enough.
    pub share_of_usual: Option<f32>,
}

impl Near {
    /// These are the regions, each as often as you like. What is known of them stays; the first one leads until another
    /// is known to be nearer.
    pub fn compare(&self, names: &[&str]) {
        let mut regions = self.lock();
        let leader = regions.list.get(regions.leader).map(|region| Arc::clone(&region.name));
        let mut list: Vec<Region> = Vec::new();
        for name in names {
            if list.iter().any(|region| &*region.name == *name) {
                continue;
            }
            let known = regions.list.iter().find(|region| &*region.name == *name);
            let (mean, answers) = known.map_or((0.0, 0), |region| (region.mean, region.answers));
            list.push(Region { name: (*name).into(), mean, answers });
        }
        regions.leader = list.iter().position(|region| Some(&region.name) == leader.as_ref()).unwrap_or(0);
        regions.list = list;
    }

    /// A first token came from a region; `beside_usual` = the logarithm of its time over the usual.
    pub(crate) fn heard(&self, name: &str, beside_usual: f64, now: Instant) {
        let mut regions = self.lock();
        let Regions { list, leader, changed } = &mut *regions;
        let Some(place) = list.iter().position(|region| &*region.name == name) else { return };
        let Some(region) = list.get_mut(place) else { return };
        let share = LATEST.max(1.0 / f64::from(region.answers.saturating_add(1)));
        region.mean += share * (beside_usual - region.mean);
        region.answers = region.answers.saturating_add(1);
        let nearest = list
            .iter()
            .enumerate()
            .filter(|(_, region)| region.answers >= KNOWN)
            .min_by(|(_, one), (_, other)| one.mean.total_cmp(&other.mean));
        let (Some((nearest, near)), Some(leads)) = (nearest, list.get(*leader)) else { return };
        let is_nearer = leads.answers >= KNOWN && near.mean <= leads.mean + NEARER.ln();
        if is_nearer && changed.is_none_or(|at| now.saturating_since(at) >= DWELL) {
            *leader = nearest;
            *changed = Some(now);
        }
    }

    /// Where a region stands.
    pub fn nearness(&self, name: &str) -> Nearness {
        let regions = self.lock();
        let key = |place: usize, region: &Region| (region.answers < KNOWN, region.mean, place);
        let Some((own, region)) = regions.list.iter().enumerate().find(|(_, region)| &*region.name == name) else {
            return Nearness { place: u16::MAX, share_of_usual: None };
        };
        let own_key = key(own, region);
        let before = |place: usize, other: &Region| place != regions.leader && key(place, other) < own_key;
        let ahead = regions.list.iter().enumerate().filter(|(place, other)| before(*place, other)).count();
        let place = if own == regions.leader { 0 } else { u16::try_from(ahead + 1).unwrap_or(u16::MAX) };
        #[expect(clippy::cast_possible_truncation, reason = "a share needs no more than seven digits")]
        let share_of_usual = (region.answers >= KNOWN).then(|| region.mean.exp() as f32);
        Nearness { place, share_of_usual }
    }

    /// Locks even after another thread panicked while holding the lock: the state is a set of means, each valid alone.
    fn lock(&self) -> MutexGuard<'_, Regions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nearness {
    /// What would have to change for `follower` to stand before `leader`.
    pub(crate) fn reversal(leader: &str, follower: &str) -> String {
        format!(
            "{follower} comes before {leader} when first tokens from its region take at most {NEARER} of the time of those from \
             the region that leads"
        )
    }
}

/// As `explain` prints it.
impl std::fmt::Display for Nearness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.place == 0 { "its region leads" } else { "its region does not lead" })?;
        match self.share_of_usual {
            Some(share) => write!(f, ", first tokens in {share:.2} of the usual time"),
            None => write!(f, ", fewer than {KNOWN} answers known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn near() -> Near {
        let near = Near::default();
        near.compare(&["eu", "us", "eu", "asia"]);
        near
    }

    fn places(near: &Near) -> [u16; 3] {
        ["eu", "us", "asia"].map(|name| near.nearness(name).place)
    }

    #[test]
    fn the_first_leads_until_another_is_known_to_be_a_fifth_quicker() {
        let near = near();
        assert_eq!(places(&near), [0, 1, 2], "as written");
        (0..100).for_each(|i| near.heard("eu", 0.0, at(f64::from(i))));
        (0..19).for_each(|i| near.heard("us", -1.0, at(100.0 + f64::from(i))));
        assert_eq!(places(&near), [0, 1, 2], "nineteen answers are few");
        near.heard("us", -1.0, at(120.0));
        assert_eq!(places(&near), [1, 0, 2]);
        (0..100).for_each(|i| near.heard("asia", -1.1, at(200.0 + f64::from(i))));
        assert_eq!(places(&near), [2, 0, 1], "not quicker by a fifth");
    }

    #[test]
    fn regions_that_stay_keep_what_is_known_of_them() {
        let near = near();
        (0..40).for_each(|_| near.heard("eu", 0.0, at(1.0)));
        (0..40).for_each(|_| near.heard("us", -1.0, at(2.0)));
        near.compare(&["asia", "us"]);
        assert_eq!((near.nearness("us").place, near.nearness("asia").place), (0, 1));
        near.compare(&["asia"]);
        assert_eq!(near.nearness("asia").place, 0, "whoever is left leads");
    }

    #[test]
    fn a_minute_passes_between_two_changes() {
        let near = near();
        (0..40).for_each(|_| near.heard("eu", 0.0, at(1.0)));
        (0..40).for_each(|_| near.heard("us", -1.0, at(2.0)));
        (0..200).for_each(|_| near.heard("eu", -3.0, at(30.0)));
        assert_eq!(near.nearness("us").place, 0);
        near.heard("eu", -3.0, at(62.0));
        assert_eq!(near.nearness("eu").place, 0);
    }

    proptest! {
        #[test]
        fn places_are_a_permutation_and_noise_of_equals_changes_the_leader_seldom(seed in 0_u64..500) {
            let near = near();
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut changes = 0;
            let mut leader = 0;
            for i in 0..3_600 {
                let region = if rng.f64() < 0.02 { ["us", "asia"][rng.usize(0..2)] } else { ["eu", "us", "asia"][leader] };
                let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
                near.heard(region, 0.4 * normal, at(f64::from(i)));
                let now = places(&near);
                let mut sorted = now;
                sorted.sort_unstable();
                prop_assert!(sorted == [0, 1, 2]);
                let leads = now.iter().position(|place| *place == 0).unwrap();
                changes += usize::from(leads != leader);
                leader = leads;
            }
            prop_assert!(changes <= 12, "{changes} changes in an hour");
        }
    }
}
