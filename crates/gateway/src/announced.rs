//! How long the caller's SDK waits for the first byte, as it announces.
//!
//! The official SDKs hang up when nothing has come by then, and send the same request again. So until something goes to
//! the caller, that time, less what the way back takes, is the exchange's deadline. Read in the SDKs' own sources:
//!
//! - Python (openai 3.54, anthropic 2.12, `_base_client.py`): `x-stainless-read-timeout`, seconds with a fraction, is
//!   the read timeout of the HTTP client: the longest wait for the next bytes. It begins when the request has been sent.
//! - JavaScript (openai 7.57, `@anthropic-ai/sdk` 1.12, `client.js`): `x-stainless-timeout`, whole seconds and
//!   truncated, so that 0 is anything under a second; openai's where the call itself says it, not the client. The timer
//!   begins before the connection is made. It is cleared when the head of the answer has come; openai goes on with it
//!   until an answer that is not streamed has been read.
//! - anthropic's Python sends both, and in the second what its caller passed to this one call (`NOT_GIVEN`, mostly):
//!   the first one holds.
//!
//! Mainstay sends the head with the first content, and an answer that is not streamed in one piece, so for both the
//! limit is the time to the first content of a stream and to the whole of another answer. Where a caller is kept
//! company in the queue (`queue: { keep_alive }`), the head has gone and comments follow: then it is over.

use canon::Instant;
use http::{HeaderMap, HeaderName, HeaderValue};
use routing::FirstByte;
use std::time::Duration;

const READ_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-read-timeout");
const TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-timeout");

/// What the answer's way back takes of the announced time: this share of it …
const MARGIN_SHARE: u32 = 10;
/// … and no more than this, in which an answer goes round the world, a lost packet included.
const MOST_MARGIN: Duration = Duration::from_millis(500);
/// What a truncated 0 is taken for: the time by which certainly nobody waits any more. Anything less would give up
/// answers that might still be heard.
const UNDER_A_SECOND: Duration = Duration::from_secs(1);

/// What a caller has announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    /// It has hung up by then.
    gone: Instant,
    first_byte: FirstByte,
}

impl Announced {
    /// Reads what the caller announces. `started` = its head had come, `complete` = its body had.
    pub(crate) fn read(headers: &HeaderMap, started: Instant, complete: impl FnOnce() -> Instant) -> Option<Self> {
        if let Some(wait) = headers.get(READ_TIMEOUT).and_then(seconds).filter(|wait| !wait.is_zero()) {
            return Some(Self::new(complete(), wait, "x-stainless-read-timeout"));
        }
        let wait = headers.get(TIMEOUT).and_then(seconds)?;
        let wait = if wait.is_zero() { UNDER_A_SECOND } else { wait };
        Some(Self::new(started, wait, "x-stainless-timeout"))
    }

    fn new(from: Instant, wait: Duration, announced_in: &'static str) -> Self {
        let margin = (wait / MARGIN_SHARE).min(MOST_MARGIN);
        Self { gone: from + wait, first_byte: FirstByte { by: from + wait.saturating_sub(margin), announced_in } }
    }

    /// When the first byte is due; `None` = the caller waits for as long as the exchange may take anyway.
    pub(crate) fn first_byte(&self, deadline: Instant) -> Option<FirstByte> {
        (self.gone < deadline).then_some(self.first_byte)
    }
}

/// A length of time; `None` for what is none, such as `None`, `NOT_GIVEN`, `nan`, `inf` or `-1`.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: f64 = value.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Instant = Instant::ORIGIN;
    const HOUR: Duration = Duration::from_secs(3600);

    fn complete() -> Instant {
        STARTED + Duration::from_secs(2)
    }

    /// The header that is read and the milliseconds from the start until the first byte is due.
    fn due(headers: &[(&'static str, &str)], deadline: Duration) -> Option<(&'static str, u128)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let first_byte = Announced::read(&map, STARTED, complete)?.first_byte(STARTED + deadline)?;
        Some((first_byte.announced_in, first_byte.by.saturating_since(STARTED).as_millis()))
    }

    #[test]
    fn a_read_timeout_is_a_fraction_of_seconds_from_when_the_request_was_complete() {
        let read = |value| due(&[("x-stainless-read-timeout", value)], HOUR).map(|(_, ms)| ms);
        assert_eq!(read("4.0"), Some(2_000 + 3_600), "less a tenth");
        assert_eq!(read("0.25"), Some(2_000 + 225));
        assert_eq!(read("600"), Some(2_000 + 599_500), "or half a second, where that is less");
    }

    #[test]
    fn a_timeout_is_whole_seconds_from_the_start_and_zero_is_under_one() {
        let read = |value| due(&[("x-stainless-timeout", value)], HOUR).map(|(_, ms)| ms);
        assert_eq!(read("4"), Some(3_600));
        assert_eq!(read("60"), Some(59_500));
        assert_eq!(read("0"), Some(900));
    }

    #[test]
    fn what_is_no_time_changes_nothing() {
        for value in ["", "None", "NOT_GIVEN", "nan", "inf", "-inf", "-1", "1e300", "4s", "4,0"] {
            for name in ["x-stainless-read-timeout", "x-stainless-timeout"] {
                assert_eq!(due(&[(name, value)], HOUR), None, "{name}: {value}");
            }
        }
        assert_eq!(
            due(&[("x-stainless-read-timeout", "0.0")], HOUR),
            None,
            "nothing can be heard by somebody who is gone"
        );
        assert_eq!(due(&[], HOUR), None);
    }

    #[test]
    fn of_both_the_read_timeout_holds_where_it_is_one() {
        let both = |read, other| due(&[("x-stainless-read-timeout", read), ("x-stainless-timeout", other)], HOUR);
        assert_eq!(both("4.0", "NOT_GIVEN"), Some(("x-stainless-read-timeout", 5_600)));
        assert_eq!(both("4.0", "9"), Some(("x-stainless-read-timeout", 5_600)));
        assert_eq!(both("None", "9"), Some(("x-stainless-timeout", 8_500)));
    }

    #[test]
    fn a_caller_that_waits_for_as_long_as_the_deadline_changes_nothing() {
        let (read, other) = (("x-stainless-read-timeout", "600.0"), ("x-stainless-timeout", "600"));
        assert_eq!(due(&[other], Duration::from_secs(600)), None, "the default of the SDKs and of the deadline");
        assert_eq!(due(&[read], Duration::from_secs(600)), None);
        assert_eq!(due(&[read], Duration::from_secs(60)), None);
        assert!(due(&[other], Duration::from_secs(601)).is_some());
    }
}
