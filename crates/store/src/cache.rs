//! What a response cache promises, whatever keeps it.

use crate::{Entry, Key};
use canon::Instant;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// In the place of asking.
    pub ttl: Duration,
    /// For so much longer when nothing can serve.
    pub stale_for: Duration,
}

/// An answer that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// It.
    pub entry: Arc<Entry>,
    /// Since it was complete.
    pub age: Duration,
}

/// What is there under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// Fresh: it can be given in the place of asking.
    Hit(Found),
    /// Past its time, and kept for when nothing can serve.
    Stale(Found),
    /// Nothing.
    Miss,
}

/// Complete answers by the question they answer. What it keeps it has been handed over; it checks nothing.
///
/// An implementation is asked on the path of a request and answers from this process's memory. One that shares answers
/// between replicas brings them here in its own time.
pub trait Cache: Send + Sync {
    /// Looks a question up.
    fn get(&self, key: &Key, now: Instant) -> Lookup;
    /// Keeps an answer, in the place of an earlier one. It may be refused for its size, and forgotten at any time.
    fn put(&self, key: Key, entry: Arc<Entry>, freshness: Freshness);
    /// Bytes it occupies.
    fn bytes(&self) -> u64;
}
