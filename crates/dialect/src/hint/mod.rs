//! The hint grammar: when may a limited credential be used again?
//!
//! Providers say it in seven ways. The most explicit wins: `retry-after-ms`, `retry-after`, the reset of a limit that
//! has nothing left, `retryDelay` in the body, "try again in 2.5s" in the text, and last the reset of the limit that is
//! nearest its end. Negative hints are ignored, absurd ones cut to the caller's longest. Nothing here panics on any
//! input.

mod calendar;
mod grammar;

pub use calendar::rfc3339;

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
        response_time(self.headers, self.wall_now)
    }
}

/// How long to wait before asking again; `None` = nothing usable is said.
pub fn retry_after(source: &HintSource<'_, '_>) -> Option<Duration> {
    let now = source.response_time();
    let tightest = if source.resets { tightest(source.headers, now) } else { None };
    let (exhausted, nearest) = match tightest {
        Some((reset, true)) => (Some(reset), None),
        Some((reset, false)) => (None, Some(reset)),
        None => (None, None),
    };
    explicit(source.headers, now)
        .or(exhausted)
        .or_else(|| source.retry_delay.and_then(grammar::duration))
        .or_else(|| grammar::in_text(source.text))
        .or(nearest)
        .map(|wait| wait.min(source.longest))
}

/// `retry-after-ms`, else `retry-after`. A zero in milliseconds is what is left of a rounded-down wait and yields to a
/// longer `retry-after` beside it.
fn explicit(headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
    let milliseconds = headers("retry-after-ms").and_then(grammar::number).map(|ms| grammar::seconds(ms / 1000.0));
    let stated = || {
        let text = headers("retry-after")?.trim();
        grammar::number(text).map(grammar::seconds).or_else(|| grammar::http_date(text, now))
    };
    match milliseconds {
        Some(wait) if !wait.is_zero() => Some(wait),
        Some(zero) => stated().or(Some(zero)),
        None => stated(),
    }
}

/// When a response was made: its own `Date`, else the gateway's wall clock.
pub fn response_time(headers: Headers<'_>, wall_now: SystemTime) -> SystemTime {
    headers("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(wall_now)
}

/// The value of a reset header: a duration, seconds, an RFC 3339 date, or an epoch in seconds or milliseconds.
/// `response_time` = what dates are read against.
pub fn reset(text: &str, response_time: SystemTime) -> Option<Duration> {
    grammar::reset(text, response_time)
}

/// Whether a limit the headers report has nothing left; `None` = they report none.
pub fn exhausted(headers: Headers<'_>) -> Option<bool> {
    let mut reported = None;
    for limit in limits() {
        if let Some(left) = headers(&limit.remaining).and_then(grammar::number) {
            reported = Some(reported.unwrap_or(false) || left <= 0.0);
        }
    }
    reported
}

/// Until the next midnight where Google's daily quotas are counted.
pub fn until_pacific_midnight(now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(0);
    let left = calendar::next_pacific_midnight(seconds).saturating_sub(seconds);
    Duration::from_secs(u64::try_from(left).unwrap_or(0))
}

/// The names under which one limit is reported.
struct Limit {
    allowed: String,
    remaining: String,
    reset: String,
}

/// Every limit that some provider reports with a reset.
fn limits() -> impl Iterator<Item = Limit> {
    const KINDS: [&str; 10] = [
        "requests",
        "tokens",
        "project-tokens",
        "requests-minute",
        "requests-hour",
        "requests-day",
        "tokens-minute",
        "tokens-hour",
        "tokens-day",
        "project-requests",
    ];
    const ANTHROPIC: [&str; 10] = [
        "ratelimit-requests",
        "ratelimit-tokens",
        "ratelimit-input-tokens",
        "ratelimit-output-tokens",
        "priority-requests",
        "priority-input-tokens",
        "priority-output-tokens",
        "fast-requests",
        "fast-input-tokens",
        "fast-output-tokens",
    ];
    let common = KINDS.into_iter().map(|kind| Limit {
        allowed: format!("x-ratelimit-limit-{kind}"),
        remaining: format!("x-ratelimit-remaining-{kind}"),
        reset: format!("x-ratelimit-reset-{kind}"),
    });
    let anthropic = ANTHROPIC.into_iter().map(|kind| Limit {
        allowed: format!("anthropic-{kind}-limit"),
        remaining: format!("anthropic-{kind}-remaining"),
        reset: format!("anthropic-{kind}-reset"),
    });
    let bare = ["x-ratelimit", "ratelimit", "ratelimitbysize"].into_iter().map(|name| Limit {
        allowed: format!("{name}-limit"),
        remaining: format!("{name}-remaining"),
        reset: format!("{name}-reset"),
    });
    common.chain(anthropic).chain(bare)
}

/// The reset of the limit with the smallest share left, and whether that limit is used up. A reset that says nothing of
/// what remains stands for a used-up limit; of several used-up limits the one that frees last counts.
fn tightest(headers: Headers<'_>, now: SystemTime) -> Option<(Duration, bool)> {
    let mut found: Option<(f64, Duration)> = None;
    for limit in limits() {
        let Some(reset) = headers(&limit.reset).and_then(|text| grammar::reset(text, now)) else { continue };
        let share = match headers(&limit.remaining).and_then(grammar::number) {
            None => 0.0,
            Some(left) if left <= 0.0 => 0.0,
            Some(left) => match headers(&limit.allowed).and_then(grammar::number) {
                Some(limit) if limit > 0.0 => (left / limit).min(1.0),
                _ => 1.0,
            },
        };
        let replaces = found.is_none_or(|(least, longest)| match share.total_cmp(&least) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => reset > longest,
            std::cmp::Ordering::Greater => false,
        });
        if replaces {
            found = Some((share, reset));
        }
    }
    found.map(|(share, reset)| (reset, share <= 0.0))
}
