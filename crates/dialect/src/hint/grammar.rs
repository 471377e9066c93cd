//! The forms a wait is written in. Every parser takes any text and answers `None` to what it cannot read.

use super::calendar;
use std::time::{Duration, SystemTime};

/// A plain decimal number, not negative: `20`, `3.957`, `.5`.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let dots = text.bytes().filter(|b| *b == b'.').count();
    if digits == 0 || dots > 1 || digits + dots != text.len() {
        return None;
    }
    text.parse().ok()
}

/// A span; more seconds than a `Duration` holds are its longest.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

/// `Wed, 21 Oct 2026 07:28:00 GMT`, read against `now`. A date that has passed says nothing.
pub(super) fn http_date(text: &str, now: SystemTime) -> Option<Duration> {
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

/// `1h2m3.5s`, `825ms`, `33s`; also a bare number of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(value) = number(text) {
        return Some(seconds(value));
    }
    let (span, read) = leading_duration(text.as_bytes())?;
    (read == text.len()).then_some(span)
}

/// The value of a reset header: a duration, seconds, an RFC 3339 date, or an epoch in seconds or milliseconds.
pub(super) fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    /// No limit is reset in more seconds than this, and no epoch in seconds is smaller.
    const SMALLEST_EPOCH: f64 = 1e9;
    /// No epoch in seconds is larger for thousands of years.
    const SMALLEST_EPOCH_MS: f64 = 1e11;
    let text = text.trim();
    let until = |epoch: Duration| SystemTime::UNIX_EPOCH.checked_add(epoch)?.duration_since(now).ok();
    match number(text) {
        Some(value) if value >= SMALLEST_EPOCH_MS => until(seconds(value / 1000.0)),
        Some(value) if value >= SMALLEST_EPOCH => until(seconds(value)),
        Some(value) => Some(seconds(value)),
        None => duration(text).or_else(|| until(calendar::rfc3339(text)?)),
    }
}

/// "try again in 6ms", "Please retry in 48.9s", "try again in 20 seconds": the first that can be read.
pub(super) fn in_text(text: &str) -> Option<Duration> {
    const PHRASES: [&[u8]; 2] = [b"try again in ", b"retry in "];
    let text = text.as_bytes();
    (0..text.len()).find_map(|start| {
        let rest = text.get(start..)?;
        PHRASES.iter().find_map(|phrase| {
            let (said, after) = rest.split_at_checked(phrase.len())?;
            if said.eq_ignore_ascii_case(phrase) { leading_duration(after).map(|(span, _)| span) } else { None }
        })
    })
}

/// A run of numbers with units at the start, and how many bytes it took. `20 seconds` counts as one.
fn leading_duration(text: &[u8]) -> Option<(Duration, usize)> {
    let mut total = Duration::ZERO;
    let mut read = 0;
    while let Some((span, more)) = text.get(read..).and_then(number_with_unit) {
        total = total.saturating_add(span);
        read += more;
    }
    (read > 0).then_some((total, read))
}

fn number_with_unit(text: &[u8]) -> Option<(Duration, usize)> {
    let run = |from: usize, belongs: &dyn Fn(u8) -> bool| {
        text.get(from..).unwrap_or_default().iter().take_while(|b| belongs(**b)).count()
    };
    let digits = run(0, &|b| b.is_ascii_digit() || b == b'.');
    let value = number(std::str::from_utf8(text.get(..digits)?).ok()?)?;
    let space = run(digits, &|b| b == b' ').min(1);
    // The micro sign and the Greek letter are the only letters of a unit beyond ASCII.
    let letters = run(digits + space, &|b| b.is_ascii_alphabetic() || [0xc2, 0xb5, 0xce, 0xbc].contains(&b));
    let end = digits + space + letters;
    let unit = std::str::from_utf8(text.get(digits + space..end)?).ok()?.to_ascii_lowercase();
    let factor = match unit.as_str() {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    Some((seconds(value * factor), end))
}
