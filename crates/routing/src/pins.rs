//! Where conversations stand: a table of soft pins, bounded by entries and by time.
//!
//! Each shard keeps two generations. A pin that is set goes into the younger one; when that is full, or older than the
//! pins live, the older one is forgotten as a whole and the younger takes its place. So no pin is looked for to be
//! thrown out, what was set lately stays, and what has expired does not lie there for ever.

use canon::Instant;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Shards: neighbours rarely wait for each other.
const SHARDS: usize = 64;
/// Most pins of one generation of a shard: what a hash table of 512 places takes.
const GENERATION: usize = 448;
/// Most pins of a table, in less than 3 MB: all that 190 new conversations a second leave in five minutes.
pub const MOST_PINS: usize = SHARDS * GENERATION * 2;

/// A conversation's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin<T> {
    /// Who serves it.
    pub to: T,
    /// From then on it is forgotten.
    pub until: Instant,
    /// Tokens of the prompt that were lately sent there: what its cache holds, as an estimate.
    pub tokens: u64,
    /// Turns of the model the history held then.
    pub turns: u32,
}

/// A table of pins by key.
#[derive(Debug)]
pub struct Pins<T> {
    /// Made with the first pin: most models have none.
    shards: OnceLock<Box<[Mutex<Shard<T>>]>>,
}

#[derive(Debug)]
struct Shard<T> {
    young: HashMap<u64, Pin<T>>,
    old: HashMap<u64, Pin<T>>,
    /// When the younger generation began.
    began: Instant,
}

impl<T> Default for Pins<T> {
    fn default() -> Self {
        Self { shards: OnceLock::new() }
    }
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), began: Instant::ORIGIN }
    }
}

impl<T: Clone> Pins<T> {
    /// The pin of a key, unless it has expired.
    pub fn get(&self, key: u64, now: Instant) -> Option<Pin<T>> {
        lock(self.shards.get()?.get(shard_of(key))?).get(key, now).cloned()
    }

    /// Decides about the pin of a key by what it is now, in one step: `decide` gives the new one, or `None` to leave
    /// things as they are. `ttl` is how long pins live.
    pub fn settle(
        &self,
        key: u64,
        ttl: Duration,
        now: Instant,
        decide: impl FnOnce(Option<&Pin<T>>) -> Option<Pin<T>>,
    ) {
        let shards = self.shards.get_or_init(|| (0..SHARDS).map(|_| Mutex::default()).collect());
        let Some(shard) = shards.get(shard_of(key)) else { return };
        let mut shard = lock(shard);
        if let Some(pin) = decide(shard.get(key, now)) {
            shard.set(key, pin, ttl, now);
        }
    }

    /// Pins it holds, those that have expired and were not forgotten yet included; never more than [`MOST_PINS`].
    pub fn len(&self) -> usize {
        let held = |shard: &Mutex<Shard<T>>| {
            let shard = lock(shard);
            shard.young.len() + shard.old.len()
        };
        self.shards.get().map_or(0, |shards| shards.iter().map(held).sum())
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Shard<T> {
    fn get(&self, key: u64, now: Instant) -> Option<&Pin<T>> {
        self.young.get(&key).or_else(|| self.old.get(&key)).filter(|pin| pin.until > now)
    }

    fn set(&mut self, key: u64, pin: Pin<T>, ttl: Duration, now: Instant) {
        let is_full = self.young.len() >= GENERATION && !self.young.contains_key(&key);
        if is_full || now.saturating_since(self.began) > ttl {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
        self.old.remove(&key);
        self.young.insert(key, pin);
    }
}

/// Locks even after another thread panicked while holding the lock: each pin is valid alone.
fn lock<T>(shard: &Mutex<Shard<T>>) -> MutexGuard<'_, Shard<T>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of shards")]
fn shard_of(key: u64) -> usize {
    (key % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn pin(to: u32, now: Instant) -> Pin<u32> {
        Pin { to, until: now + TTL, tokens: 0, turns: 0 }
    }

    fn put(pins: &Pins<u32>, key: u64, to: u32, now: Instant) {
        pins.settle(key, TTL, now, |_| Some(pin(to, now)));
    }

    #[test]
    fn a_table_without_pins_takes_no_memory() {
        let pins = Pins::<u32>::default();
        assert!(pins.get(1, at(0)).is_none() && pins.is_empty() && pins.shards.get().is_none());
    }

    #[test]
    fn a_pin_ends_with_its_time_and_what_is_decided_sees_none_then() {
        let pins = Pins::default();
        put(&pins, 7, 1, at(0));
        assert_eq!(pins.get(7, at(299)).map(|pin| pin.to), Some(1));
        assert_eq!(pins.get(7, at(300)), None);
        pins.settle(7, TTL, at(300), |current| {
            assert_eq!(current, None);
            None
        });
        assert_eq!(pins.get(7, at(300)), None);
    }

    #[test]
    fn what_has_expired_is_forgotten_under_traffic_of_others() {
        let pins = Pins::default();
        // All in one shard.
        (0..100).for_each(|n| put(&pins, n * SHARDS as u64, 1, at(0)));
        for minute in [6, 12] {
            put(&pins, 0, 1, at(minute * 60));
        }
        assert_eq!(pins.len(), 1);
    }

    proptest! {
        /// Against a plain map: whatever is set and asked when, a pin is the latest set and not expired, or, when
        /// others pushed it out, none; and it is not pushed out while fewer than a generation of others were set since.
        #[test]
        fn a_pin_is_what_was_set_last_or_nothing(
            steps in proptest::collection::vec((0_u64..1_500, 0_u64..20, any::<bool>()), 1..3_000)
        ) {
            let pins = Pins::default();
            let mut set: HashMap<u64, (u32, Instant, usize)> = HashMap::new();
            let mut clock = 0;
            for (step, (key, pause, is_set)) in steps.into_iter().enumerate() {
                clock += pause / 15;
                let (now, key) = (at(clock), key * SHARDS as u64);
                let found = pins.get(key, now).map(|pin| pin.to);
                let known = set.get(&key).filter(|(_, until, _)| *until > now);
                match (found, known) {
                    (Some(found), known) => prop_assert_eq!(Some(found), known.map(|(to, _, _)| *to)),
                    (None, Some((_, _, when))) => prop_assert!(step - when > GENERATION, "pushed out too soon"),
                    (None, None) => {}
                }
                if is_set {
                    let to = u32::try_from(step).unwrap();
                    put(&pins, key, to, now);
                    set.insert(key, (to, now + TTL, step));
                }
                prop_assert!(pins.len() <= GENERATION * 2);
            }
        }
    }

    #[test]
    fn a_flood_of_conversations_is_held_in_bounds() {
        let pins = Pins::default();
        for key in 0..3 * MOST_PINS as u64 {
            put(&pins, key, 1, at(0));
        }
        assert!(pins.len() <= MOST_PINS && pins.len() >= MOST_PINS / 2, "{}", pins.len());
        assert!(pins.get(3 * MOST_PINS as u64 - 1, at(0)).is_some());
    }
}
