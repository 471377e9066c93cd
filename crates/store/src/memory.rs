//! The response cache in memory: bounded by bytes, what is asked for again stays longest.
//!
//! The order of eviction is the library's (S3-FIFO: one long tail of questions that are asked once does not push out
//! what is asked often); expiry is ours, so that virtual time works.

use crate::{Cache, Entry, Found, Freshness, Key, Lookup};
use canon::Instant;
use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Locks the cache is divided into.
const SHARDS: usize = 4;
/// Of a shard, what a single answer may take: one must not push out all others.
const LARGEST: u64 = 2;
/// What an answer is taken to weigh when room for the index is made.
const USUAL: usize = 4 << 10;

/// Answers in this process's memory.
pub struct MemoryCache {
    kept: Quick<Key, Kept, Bytes, Digested, DefaultLifecycle<Key, Kept>>,
}

#[derive(Clone)]
struct Kept {
    entry: Arc<Entry>,
    fresh_until: Instant,
    stale_until: Instant,
}

impl MemoryCache {
    /// A cache of at most this many bytes; nothing is kept with none.
    pub fn new(bytes: u64) -> Self {
        let mut options = OptionsBuilder::new();
        let items = usize::try_from(bytes).unwrap_or(usize::MAX) / USUAL;
        options.weight_capacity(bytes).estimated_items_capacity(items.clamp(16, 1 << 16)).shards(SHARDS);
        let kept = match options.build() {
            Ok(options) => Quick::with_options(options, Bytes, Digested, DefaultLifecycle::default()),
            // Never: everything it needs was set.
            Err(_) => Quick::with(1, bytes, Bytes, Digested, DefaultLifecycle::default()),
        };
        Self { kept }
    }

    /// Changes the bound; what no longer fits is forgotten.
    pub fn resize(&self, bytes: u64) {
        if self.kept.capacity() != bytes {
            self.kept.set_capacity(bytes);
        }
    }

    /// The largest answer that is kept, in bytes as [`Entry::weight`] counts them.
    pub fn largest(&self) -> u64 {
        self.kept.shard_capacity() / LARGEST
    }
}

impl Cache for MemoryCache {
    fn get(&self, key: &Key, now: Instant) -> Lookup {
        let Some(kept) = self.kept.get(key) else { return Lookup::Miss };
        let age = now.saturating_since(kept.entry.made);
        if now < kept.fresh_until {
            Lookup::Hit(Found { entry: kept.entry, age })
        } else if now < kept.stale_until {
            Lookup::Stale(Found { entry: kept.entry, age })
        } else {
            let _gone = self.kept.remove_if(key, |there| there.stale_until <= now);
            Lookup::Miss
        }
    }

    fn put(&self, key: Key, entry: Arc<Entry>, freshness: Freshness) {
        if entry.weight() as u64 > self.largest() {
            return;
        }
        let fresh_until = entry.made + freshness.ttl;
        let kept = Kept { entry, fresh_until, stale_until: fresh_until + freshness.stale_for };
        self.kept.insert(key, kept);
    }

    fn bytes(&self) -> u64 {
        self.kept.weight()
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Kept> for Bytes {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.entry.weight() as u64
    }
}

/// Takes the eight bytes a [`Key`] gives as they are.
#[derive(Clone)]
struct Digested;

impl BuildHasher for Digested {
    type Hasher = Eight;
    fn build_hasher(&self) -> Eight {
        Eight(0)
    }
}

struct Eight(u64);

impl Hasher for Eight {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, eight: u64) {
        self.0 = eight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;
    use canon::Usage;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);
    const FRESHNESS: Freshness = Freshness { ttl: MINUTE, stale_for: MINUTE };

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn key(n: usize) -> Key {
        Key::of_idempotency(None, &n.to_string())
    }

    fn entry(bytes: usize, made: Instant) -> Arc<Entry> {
        Arc::new(Entry {
            form: Form::Whole,
            head: Vec::new(),
            body: vec![b'x'; bytes].into(),
            usage: Usage::default(),
            target: "a/b".to_owned(),
            model: None,
            made,
        })
    }

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let cache = MemoryCache::new(1 << 20);
        let kept = entry(10, at(100));
        cache.put(key(1), kept.clone(), FRESHNESS);
        assert_eq!(cache.get(&key(2), at(100)), Lookup::Miss);
        assert_eq!(
            cache.get(&key(1), at(159)),
            Lookup::Hit(Found { entry: kept.clone(), age: Duration::from_secs(59) })
        );
        assert_eq!(cache.get(&key(1), at(160)), Lookup::Stale(Found { entry: kept.clone(), age: MINUTE }));
        assert!(matches!(cache.get(&key(1), at(219)), Lookup::Stale(_)));
        assert_eq!(cache.get(&key(1), at(220)), Lookup::Miss);
        assert_eq!(cache.bytes(), 0, "what is past its time is not kept");
    }

    #[test]
    fn a_later_answer_takes_the_place_of_an_earlier_one() {
        let cache = MemoryCache::new(1 << 20);
        cache.put(key(1), entry(10, at(0)), FRESHNESS);
        cache.put(key(1), entry(20, at(50)), FRESHNESS);
        match cache.get(&key(1), at(70)) {
            Lookup::Hit(found) => assert_eq!((found.entry.body.len(), found.age), (20, Duration::from_secs(20))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_bytes_stay_within_their_bound_and_one_answer_is_not_the_whole_of_it() {
        let cache = MemoryCache::new(1 << 20);
        for n in 0..5_000 {
            cache.put(key(n), entry(1_000 + n % 3_000, at(0)), FRESHNESS);
            assert!(cache.bytes() <= 1 << 20, "{}", cache.bytes());
        }
        assert!(cache.bytes() > 1 << 19, "and are used: {}", cache.bytes());
        cache.put(key(9_999), entry(1 << 19, at(0)), FRESHNESS);
        assert_eq!(cache.get(&key(9_999), at(1)), Lookup::Miss);
        cache.resize(1 << 17);
        assert!(cache.bytes() <= 1 << 17, "{}", cache.bytes());
    }

    #[test]
    fn what_is_asked_for_again_outlives_what_is_asked_once() {
        let cache = MemoryCache::new(1 << 20);
        for n in 0..10_000 {
            if n % 20 == 0 {
                if matches!(cache.get(&key(1_000_000), at(0)), Lookup::Miss) {
                    assert!(n == 0, "pushed out after {n}");
                    cache.put(key(1_000_000), entry(1_000, at(0)), FRESHNESS);
                }
            } else {
                cache.put(key(n), entry(1_000, at(0)), FRESHNESS);
            }
        }
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let cache = MemoryCache::new(0);
        cache.put(key(1), entry(1, at(0)), FRESHNESS);
        assert_eq!(cache.get(&key(1), at(0)), Lookup::Miss);
    }
}
