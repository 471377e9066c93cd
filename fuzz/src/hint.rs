//! No text of a provider makes the hint grammar panic, and no hint outlasts the longest that is believed.

use dialect::envelope::{ErrorFields, scrub};
use dialect::hint::{HintSource, exhausted, retry_after, until_pacific_midnight};
use std::time::{Duration, SystemTime};

const LONGEST: Duration = Duration::from_secs(3600);

/// Lines are headers (`name: value`) up to an empty one; the rest is the error body. The first eight bytes are the clock.
pub fn check(data: &[u8]) {
    let Some((clock, text)) = data.split_first_chunk::<8>() else { return };
    let text = String::from_utf8_lossy(text);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(':')).collect();
    let find = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let seconds = u64::from_le_bytes(*clock) % 20_000_000_000;
    let wall_now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let fields = ErrorFields::from_body(429, body.as_bytes());
    for resets in [false, true] {
        let source = HintSource {
            headers: &find,
            retry_delay: fields.retry_delay.as_deref().or(Some(body)),
            text: body,
            resets,
            longest: LONGEST,
            wall_now,
        };
        assert!(retry_after(&source).is_none_or(|wait| wait <= LONGEST));
    }
    exhausted(&find);
    assert!(until_pacific_midnight(wall_now) <= Duration::from_secs(25 * 3600));
    scrub(&text);
}
