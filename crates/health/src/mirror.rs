//! A mirror of what a provider counts for one credential on one model, so that a target is passed over before the 429.
//!
//! Each limit is a bucket that fills steadily, as GCRA has it: what was left at the last word of the provider, plus
//! what time has given back since, minus the calls that were started and not yet counted in any word. The provider's
//! word always replaces our own. It is a hint all the same (buckets are finer than they are told, counters lag): a part
//! is held back, a larger one after each 429 that came unforeseen, and what was said a minute ago binds nobody.
//!
//! Beside what is told stands what is felt ([`Cap`]): what is beyond that number goes to another credential of the
//! target; whether other targets bear it is the operator's to say (`concurrency: aimd`, [`crate::Bound`]). And a target
//! that inherits another's traffic is not given it all at once: above seven tenths of a limit, ten seconds may bring
//! twice the calls of the ten before.
//!
//! A mirror steers and never refuses: the 429 is the truth, and parks.

use crate::cap::Cap;
use canon::{Instant, LimitKind, LimitReading, Load};
use std::time::Duration;

/// What is believed of a limit at first, of what is left: a tenth is held back.
const TRUST: f64 = 0.9;
const LEAST_TRUST: f64 = 0.5;
/// Lost with a 429 that came unforeseen.
const SURPRISE: f64 = 0.9;
/// Got back with an answer, up to [`TRUST`].
const CONFIRMED: f64 = 0.001;
/// What the provider said longer ago binds nobody.
const FRESH: Duration = Duration::from_secs(60);
/// In which a limit is whole again where the provider does not say.
const WINDOW: Duration = Duration::from_secs(60);

/// The part of a limit above which traffic may not surge, and the time in which it may double.
const SURGE_FROM: f64 = 0.7;
const SURGE_WINDOW: Duration = Duration::from_secs(10);
/// So few calls are no surge.
const SURGE_LEAST: u32 = 10;

/// One limit.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: f64,
    /// What was left at `told`.
    left: f64,
    /// What time gives back in a second.
    rate: f64,
    told: Instant,
}

/// Every limit of one credential on one model.
#[derive(Debug)]
pub(crate) struct Mirror {
    buckets: [Option<Bucket>; LimitKind::COUNT],
    /// What calls in flight take that no word of the provider counts yet.
    untold: [u64; LimitKind::COUNT],
    trust: f64,
    in_flight: u32,
    cap: Cap,
    /// Which ten seconds, the calls started in them, and in those before.
    starts: (u64, u32, u32),
}

const KINDS: [LimitKind; LimitKind::COUNT] =
    [LimitKind::Requests, LimitKind::Tokens, LimitKind::InputTokens, LimitKind::OutputTokens];

impl Default for Mirror {
    fn default() -> Self {
        Self {
            buckets: [None; LimitKind::COUNT],
            untold: [0; LimitKind::COUNT],
            trust: TRUST,
            in_flight: 0,
            cap: Cap::default(),
            starts: (0, 0, 0),
        }
    }
}

impl Mirror {
    /// Whether a call like this is within every limit now.
    pub(crate) fn has_room(&self, load: &Load, now: Instant) -> bool {
        self.leaves(0.0, load, now) && !self.surges(now)
    }

    /// Whether a call like this is within every limit now, with this part of each left for others.
    pub(crate) fn leaves(&self, part: f64, load: &Load, now: Instant) -> bool {
        self.fresh(now).all(|(kind, bucket, untold)| {
            let held_back = bucket.limit * (1.0 - self.trust + part).min(1.0);
            // What no bucket could ever hold is the provider's to refuse.
            let wanted = (load.of(kind) as f64).min(bucket.limit - held_back);
            bucket.left(now) - untold - held_back >= wanted
        })
    }

    /// A call of fewer tokens than this has room whenever it is asked, until something changes: time only fills the
    /// buckets and wears out words. Zero where nothing is sure.
    pub(crate) fn sure_room(&self) -> u64 {
        let mut least = f64::INFINITY;
        for ((kind, bucket), untold) in KINDS.into_iter().zip(&self.buckets).zip(&self.untold) {
            let Some(bucket) = bucket else { continue };
            let left = bucket.left.min(bucket.limit) - *untold as f64;
            if left < (1.0 - SURGE_FROM) * bucket.limit {
                return 0;
            }
            let room = left - bucket.limit * (1.0 - self.trust);
            match kind {
                LimitKind::Requests if room < 1.0 => return 0,
                LimitKind::Requests => {}
                LimitKind::Tokens | LimitKind::InputTokens | LimitKind::OutputTokens => least = least.min(room),
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "stops at what a u64 holds")]
        let least = least as u64;
        least
    }

    /// Whether more are in flight than the last 429 left room for.
    pub(crate) fn is_crowded(&self, now: Instant) -> bool {
        self.cap.most(now).is_some_and(|most| f64::from(self.in_flight) + 1.0 > most)
    }

    fn surges(&self, now: Instant) -> bool {
        let (_, starts, before) = self.starts_at(now);
        starts >= before.saturating_mul(2).max(SURGE_LEAST)
            && self.fresh(now).any(|(_, bucket, untold)| bucket.left(now) - untold < (1.0 - SURGE_FROM) * bucket.limit)
    }

    /// What the provider said lately, with what it does not count yet.
    fn fresh(&self, now: Instant) -> impl Iterator<Item = (LimitKind, Bucket, f64)> {
        KINDS.into_iter().zip(&self.buckets).zip(&self.untold).filter_map(move |((kind, bucket), untold)| {
            let bucket = bucket.filter(|bucket| now.saturating_since(bucket.told) < FRESH)?;
            Some((kind, bucket, *untold as f64))
        })
    }

    fn starts_at(&self, now: Instant) -> (u64, u32, u32) {
        let epoch = now.since_origin().as_secs() / SURGE_WINDOW.as_secs() + 1;
        match (self.starts, epoch.saturating_sub(self.starts.0)) {
            (known, 0) => known,
            ((_, starts, _), 1) => (epoch, 0, starts),
            _ => (epoch, 0, 0),
        }
    }

    /// A call starts.
    pub(crate) fn reserve(&mut self, load: &Load, now: Instant) {
        let (epoch, starts, before) = self.starts_at(now);
        self.starts = (epoch, starts.saturating_add(1), before);
        self.in_flight += 1;
        for (kind, untold) in KINDS.into_iter().zip(&mut self.untold) {
            *untold = untold.saturating_add(load.of(kind));
        }
    }

    /// The call is counted in the provider's words from here on, or never reached it.
    pub(crate) fn release(&mut self, load: &Load) {
        for (kind, untold) in KINDS.into_iter().zip(&mut self.untold) {
            *untold = untold.saturating_sub(load.of(kind));
        }
    }

    /// The call is over.
    pub(crate) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The provider's word.
    pub(crate) fn told(&mut self, reading: &LimitReading, now: Instant) {
        let (limit, left) = (reading.limit as f64, reading.remaining as f64);
        let Some(bucket) = self.buckets.get_mut(reading.kind.index()) else { return };
        // Of a bucket that is nearly whole, the time to be whole says little about its rate.
        let used = limit - left;
        let known = || bucket.filter(|known| (known.limit - limit).abs() < 0.5).map(|known| known.rate);
        let rate = match reading.reset.filter(|reset| !reset.is_zero() && used >= 0.01 * limit) {
            Some(reset) => used / reset.as_secs_f64(),
            None => known().unwrap_or(limit / WINDOW.as_secs_f64()),
        };
        *bucket = Some(Bucket { limit, left, rate, told: now });
    }

    /// A 429: unforeseen if there seemed to be room.
    pub(crate) fn limited(&mut self, now: Instant) {
        if self.fresh(now).next().is_some() && self.leaves(0.0, &Load::default(), now) {
            self.trust = (self.trust * SURPRISE).max(LEAST_TRUST);
        }
        self.overloaded(now);
    }

    /// A 429 or a 529: too many at once. The call that says so is still in flight.
    pub(crate) fn overloaded(&mut self, now: Instant) {
        self.cap.overloaded(self.in_flight, now);
    }

    /// An answer.
    pub(crate) fn answered(&mut self) {
        self.trust = (self.trust + CONFIRMED).min(TRUST);
        self.cap.answered(self.in_flight);
    }
}

impl Bucket {
    fn left(&self, now: Instant) -> f64 {
        (self.left + self.rate * now.saturating_since(self.told).as_secs_f64()).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn reading(kind: LimitKind, limit: u64, remaining: u64, reset: f64) -> LimitReading {
        LimitReading { kind, limit, remaining, reset: Some(Duration::from_secs_f64(reset)) }
    }

    fn load(input_tokens: u64, output_tokens: u64) -> Load {
        Load { input_tokens, output_tokens }
    }

    #[test]
    fn nothing_told_binds_nobody() {
        assert!(Mirror::default().has_room(&load(u64::MAX, u64::MAX), at(1.0)));
    }

    #[test]
    fn room_is_what_is_left_with_a_tenth_held_back_and_time_gives_it_back() {
        let mut mirror = Mirror::default();
        mirror.told(&reading(LimitKind::Tokens, 60_000, 12_000, 48.0), at(0.0));
        assert!(mirror.has_room(&load(5_000, 1_000), at(0.0)));
        assert!(!mirror.has_room(&load(5_000, 1_001), at(0.0)));
        assert!(mirror.has_room(&load(5_000, 2_000), at(1.0)), "a thousand a second");
        assert!(!mirror.has_room(&load(60_000, 60_000), at(40.0)), "nor more than all but the tenth");
        assert!(mirror.has_room(&load(60_000, 60_000), at(48.0)), "what no bucket could hold is not ours to refuse");
        assert!(mirror.has_room(&load(60_000, 60_000), at(60.0)), "old words bind nobody");
    }

    #[test]
    fn calls_in_flight_take_their_part_until_the_provider_counts_them() {
        let mut mirror = Mirror::default();
        mirror.told(&reading(LimitKind::Requests, 10, 4, 6.0), at(0.0));
        let call = load(100, 100);
        for _ in 0..3 {
            assert!(mirror.has_room(&call, at(0.0)));
            mirror.reserve(&call, at(0.0));
        }
        assert!(!mirror.has_room(&call, at(0.0)));
        mirror.release(&call);
        assert!(mirror.has_room(&call, at(0.0)));
        mirror.told(&reading(LimitKind::Requests, 10, 3, 7.0), at(0.1));
        assert!(!mirror.has_room(&call, at(0.1)), "its word replaces ours");
    }

    #[test]
    fn an_unforeseen_429_widens_what_is_held_back_and_answers_narrow_it_again() {
        let mut mirror = Mirror::default();
        mirror.limited(at(0.0));
        mirror.told(&reading(LimitKind::Tokens, 1_000, 200, 48.0), at(0.0));
        assert!(mirror.has_room(&load(100, 0), at(0.0)), "without a word there was nothing to foresee");
        mirror.limited(at(0.0));
        assert!(!mirror.has_room(&load(100, 0), at(0.0)));
        (0..100).for_each(|_| mirror.answered());
        assert!(mirror.has_room(&load(100, 0), at(0.0)));
    }

    #[test]
    fn a_429_lowers_the_number_in_flight_and_answers_raise_it_again() {
        let mut mirror = Mirror::default();
        let call = load(10, 10);
        (0..20).for_each(|_| mirror.reserve(&call, at(0.0)));
        (0..5).for_each(|_| mirror.overloaded(at(1.0)));
        assert!(mirror.is_crowded(at(1.0)));
        (0..7).for_each(|_| mirror.end());
        assert!(!mirror.is_crowded(at(1.0)), "fourteen of twenty, whoever else says the same");
        mirror.reserve(&call, at(1.0));
        assert!(mirror.is_crowded(at(1.0)));
        (0..15).for_each(|_| mirror.answered());
        assert!(!mirror.is_crowded(at(1.0)), "fifteen, after about as many answers");
        mirror.overloaded(at(4.0));
        assert!(mirror.is_crowded(at(4.0)), "ten");
        assert!(!mirror.is_crowded(at(605.0)), "forgotten after ten minutes");
    }

    #[test]
    fn near_its_limit_a_target_takes_twice_the_calls_in_ten_seconds_and_no_more() {
        let call = load(1, 1);
        let taken = |left: u64, before: u32| {
            let mut mirror = Mirror::default();
            (0..before).for_each(|_| mirror.reserve(&call, at(5.0)));
            (0..before).for_each(|_| mirror.release(&call));
            (0..before).for_each(|_| mirror.end());
            mirror.told(&reading(LimitKind::Requests, 10_000, left, 60.0), at(10.0));
            (0..200)
                .take_while(|_| {
                    let room = mirror.has_room(&call, at(10.0));
                    mirror.reserve(&call, at(10.0));
                    room
                })
                .count()
        };
        assert_eq!(taken(2_500, 30), 60);
        assert_eq!(taken(2_500, 0), 10, "a standby wakes with ten");
        assert_eq!(taken(9_000, 30), 200, "far from its limit it may take what comes");
    }

    #[test]
    fn what_is_left_for_others_is_kept_beside_what_is_held_back() {
        let mut mirror = Mirror::default();
        mirror.told(&reading(LimitKind::Requests, 100, 25, 45.0), at(0.0));
        assert!(mirror.leaves(0.0, &load(1, 1), at(0.0)) && mirror.leaves(0.14, &load(1, 1), at(0.0)));
        assert!(!mirror.leaves(0.2, &load(1, 1), at(0.0)), "twenty and ten are not there");
        assert!(mirror.leaves(0.2, &load(1, 1), at(4.0)), "time gives them back");
        assert!(Mirror::default().leaves(1.0, &load(1, 1), at(0.0)));
    }

    proptest! {
        #[test]
        fn what_surely_has_room_has_it_whenever_it_is_asked(
            words in prop::collection::vec((0_usize..4, 0_u64..2_000, 0_u64..2_000, 0.0..90.0_f64), 0..6),
            calls in prop::collection::vec((0_u64..400, 0_u64..400), 0..30),
            surprises in 0_usize..8,
            (input, output, later) in (0_u64..1_500, 0_u64..1_500, 0.0..200.0_f64),
        ) {
            let mut mirror = Mirror::default();
            for (kind, limit, remaining, reset) in words {
                mirror.told(&reading(KINDS[kind], limit, remaining, reset), at(20.0));
            }
            (0..surprises).for_each(|_| mirror.limited(at(20.0)));
            for (input, output) in calls {
                mirror.reserve(&load(input, output), at(21.0));
            }
            let call = load(input, output);
            if call.of(LimitKind::Tokens) < mirror.sure_room() {
                prop_assert!(mirror.has_room(&call, at(21.0 + later)));
            }
        }

        #[test]
        fn what_is_released_was_reserved_and_nothing_is_lost(
            loads in prop::collection::vec((0_u64..1_000_000, 0_u64..1_000_000), 0..50),
        ) {
            let mut mirror = Mirror::default();
            let loads: Vec<_> = loads.into_iter().map(|(input, output)| load(input, output)).collect();
            for load in &loads {
                mirror.reserve(load, at(0.0));
            }
            for load in &loads {
                mirror.release(load);
            }
            prop_assert!(mirror.untold.iter().all(|untold| *untold == 0));
        }
    }
}
