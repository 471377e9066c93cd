//! Where records go: a file, a list in memory, or straight into a checker.

use crate::check::{Checker, Source};
use crate::record::{Event, Record};
use crate::report::Report;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes records. Shared by everything that happens in a process, so it must not block: a recorder that cannot keep up
/// drops records, counts them and says so in the log ([`Event::Lost`]).
pub trait Recorder: Send + Sync {
    /// Microseconds on the time line of this log.
    fn now(&self) -> u64;

    /// Takes a record.
    fn write(&self, record: Record);

    /// Takes what happens now.
    fn record(&self, id: Option<&str>, event: Event) {
        self.write(Record { at: self.now(), id: id.map(Box::from), event });
    }
}

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// Keeps every record.
pub struct Memory {
    now: Clock,
    records: Mutex<Vec<Record>>,
}

impl Memory {
    /// A recorder that reads this clock.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), records: Mutex::default() }
    }

    /// Takes the records out, in the order they came.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut lock(&self.records))
    }
}

impl Recorder for Memory {
    fn now(&self) -> u64 {
        (self.now)()
    }

    fn write(&self, record: Record) {
        lock(&self.records).push(record);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("records", &lock(&self.records).len()).finish_non_exhaustive()
    }
}

/// Checks records as they come, so that a run of any length needs no more memory than what is in flight.
pub struct Live {
    now: Clock,
    checker: Mutex<Checker>,
}

impl Live {
    /// A checker behind this clock. Its policy should say that records come in order.
    pub fn new(checker: Checker, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), checker: Mutex::new(checker) }
    }

    /// Looks at the checker between two records.
    pub fn look<T>(&self, look: impl FnOnce(&Checker) -> T) -> T {
        look(&lock(&self.checker))
    }

    /// Judges what is left; what is recorded later is not.
    pub fn finish(&self) -> Report {
        std::mem::take(&mut *lock(&self.checker)).finish()
    }
}

impl Recorder for Live {
    fn now(&self) -> u64 {
        (self.now)()
    }

    fn write(&self, record: Record) {
        lock(&self.checker).feed(Source::default(), record);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("held", &lock(&self.checker).held()).finish_non_exhaustive()
    }
}

/// A lock whose holder panicked is still a lock: a test that failed should not hide what was recorded.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
