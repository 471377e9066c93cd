//! Days, RFC 3339 and the one time zone a provider counts its quotas in. Proleptic Gregorian, seconds since 1970 UTC.

use std::time::Duration;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// Days from 1970-01-01 to a date; the date need not be valid.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day at their end.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn year_of(days: i64) -> i64 {
    // 1 January is never more than a year from the mean year's estimate.
    let guess = 1970 + days.div_euclid(365);
    (0..=guess.abs_diff(1970) / 1000 + 2)
        .map(|back| guess - i64::try_from(back).unwrap_or(0))
        .find(|year| days_before(*year, 1, 1) <= days)
        .unwrap_or(guess)
}

/// `2026-04-02T11:23:11Z`, with a fraction or an offset, as time since 1970; `None` for anything else or earlier.
pub fn rfc3339(text: &str) -> Option<Duration> {
    let bytes = text.as_bytes();
    let field = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_i64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    if !shaped || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(digit) = field(at, at + 1) {
            nanos += u32::try_from(digit).unwrap_or(0) * unit;
            unit /= 10;
            at += 1;
        }
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if is(at + 3, b":") && bytes.len() == at + 6 => {
            let seconds = field(at + 1, at + 3)? * HOUR + field(at + 4, at + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days_before(year, month, day) * DAY + hour * HOUR + minute * 60 + second - offset;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// The next midnight in Los Angeles after `now`; both in seconds since 1970.
pub(super) fn next_pacific_midnight(now: i64) -> i64 {
    let offset = pacific_offset(now);
    let next_day = (now + offset).div_euclid(DAY) + 1;
    // The clocks change at two in the morning: the midnight after a change has the new offset.
    let guess = next_day * DAY - offset;
    next_day * DAY - pacific_offset(guess)
}

/// Seconds that Los Angeles is ahead of UTC: summer time from the second Sunday of March to the first of November.
fn pacific_offset(now: i64) -> i64 {
    let year = year_of(now.div_euclid(DAY));
    let begins = sunday_from(days_before(year, 3, 8)) * DAY + 10 * HOUR;
    let ends = sunday_from(days_before(year, 11, 1)) * DAY + 9 * HOUR;
    if (begins..ends).contains(&now) { -7 * HOUR } else { -8 * HOUR }
}

/// The first Sunday on or after a day.
fn sunday_from(day: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    day + (3 - day).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_years_agree_over_four_centuries() {
        let mut day = days_before(1970, 1, 1);
        assert_eq!(day, 0);
        for year in 1970..2400_i64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = if leap { 366 } else { 365 };
            assert_eq!(days_before(year, 1, 1), day, "{year}");
            assert_eq!(year_of(day), year);
            assert_eq!(year_of(day + length - 1), year);
            day += length;
        }
    }

    #[test]
    fn midnight_in_los_angeles_follows_summer_time() {
        let at = |text: &str| i64::try_from(rfc3339(text).unwrap().as_secs()).unwrap();
        for (now, midnight) in [
            ("2026-11-21T13:00:00Z", "2026-11-22T08:00:00Z"),
            ("2026-07-01T06:59:59Z", "2026-07-01T07:00:00Z"),
            ("2026-07-01T07:00:00Z", "2026-07-02T07:00:00Z"),
            // The nights in which the clocks change: 8 March and 1 November 2026.
            ("2026-03-08T08:30:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:30:00Z", "2026-11-02T08:00:00Z"),
            ("2026-12-31T20:00:00Z", "2027-01-01T08:00:00Z"),
        ] {
            assert_eq!(next_pacific_midnight(at(now)), at(midnight), "{now}");
        }
    }

    #[test]
    fn rfc3339_is_read_with_fractions_and_offsets() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(Duration::ZERO)),
            ("2026-04-02T11:23:11Z", Some(Duration::from_secs(1_775_128_991))),
            ("2026-04-02T13:23:11+02:00", Some(Duration::from_secs(1_775_128_991))),
            ("2026-04-02T11:23:11.25Z", Some(Duration::from_millis(1_775_128_991_250))),
            ("2026-04-02T11:23:11", None),
            ("2026-13-02T11:23:11Z", None),
            ("2026-04-02", None),
            ("1960-04-02T11:23:11Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text), expected, "{text}");
        }
    }
}
