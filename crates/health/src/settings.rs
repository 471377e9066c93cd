//! The knobs of a breaker, with the shipped defaults.

use std::time::Duration;

/// When a breaker trips, how long it rests, and how its target comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSettings {
    /// Hard faults in a row that trip it.
    pub consecutive: u32,
    /// Samples the window needs before its failure ratio means anything.
    pub min_samples: u32,
    /// Failure ratio that the Wilson lower bound must exceed, 0–1.
    pub failure_ratio: f64,
    /// Length of the window; counted exactly, in ten buckets.
    pub window: Duration,
    /// First-token timeouts among the last three started that trip it.
    pub first_token_timeouts: u32,
    /// The first rest; doubles with every trip and failed probe.
    pub rest: Duration,
    /// The longest rest.
    pub rest_cap: Duration,
    /// Healthy service that takes one doubling back.
    pub decay: Duration,
    /// First tokens that end half-open.
    pub probe_successes: u32,
    /// How long a recovered target takes to get its full share back.
    pub ramp: Duration,
    /// Share at the start of the ramp, 0–1.
    pub ramp_start: f64,
    /// Success ratio below which the ramp stands still, 0–1.
    pub ramp_healthy: f64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive: 3,
            min_samples: 8,
            failure_ratio: 0.25,
            window: Duration::from_secs(30),
            first_token_timeouts: 2,
            rest: Duration::from_secs(2),
            rest_cap: Duration::from_secs(15),
            decay: Duration::from_secs(60),
            probe_successes: 2,
            ramp: Duration::from_secs(60),
            ramp_start: 0.05,
            ramp_healthy: 0.95,
        }
    }
}
