//! The only place that reads a clock.
//!
//! Intervals come from the runtime's monotonic clock, so that a paused runtime (tests, the simulator) moves everything
//! at once; wall-clock time is only for what the outside reads (`created`, the hint dates).

use canon::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// A monotonic time line that starts when the gateway does.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Starts the time line.
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// Now, on the time line.
    pub fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    /// The runtime's instant for a point on the time line; far futures are clamped to thirty years.
    pub(crate) fn runtime(&self, at: Instant) -> tokio::time::Instant {
        const THIRTY_YEARS: std::time::Duration = std::time::Duration::from_secs(30 * 365 * 24 * 3600);
        self.origin + at.since_origin().min(THIRTY_YEARS)
    }
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Wall-clock time since the Unix epoch, for dates of documents.
pub(crate) fn since_1970() -> std::time::Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Wall-clock time, for dates in hints.
pub fn wall() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    SystemTime::now()
}
