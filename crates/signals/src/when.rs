//! Times as feeds write them, as time since 1970.

use std::time::Duration;

pub(crate) use dialect::hint::rfc3339;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The zones that RFC 822 names, in hours from UTC.
const ZONES: [(&str, i8); 12] = [
    ("GMT", 0),
    ("UT", 0),
    ("UTC", 0),
    ("Z", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

/// `Sat, 21 Nov 2026 09:30:00 +0000`, the day and the seconds optional (RFC 2822 §3.3, §4.3); `None` for anything else.
pub(crate) fn rfc2822(text: &str) -> Option<Duration> {
    let after_day = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = after_day.split_whitespace();
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let zone = words.next().unwrap_or("GMT");
    let day: u8 = day.parse().ok()?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
    let year: u16 = year.parse().ok().filter(|year| *year >= 1970)?;
    let seconds = if time.matches(':').count() == 1 { ":00" } else { "" };
    let offset = match zone.split_at_checked(3) {
        Some((hours, minutes)) if zone.starts_with(['+', '-']) && minutes.len() == 2 => format!("{hours}:{minutes}"),
        _ => {
            let (_, hours) = ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone))?;
            format!("{}{:02}:00", if *hours < 0 { '-' } else { '+' }, hours.unsigned_abs())
        }
    };
    rfc3339(&format!("{year:04}-{month:02}-{day:02}T{time}{seconds}{offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_feeds_are_read_with_their_zones() {
        let expected = rfc3339("2026-11-21T09:30:00Z");
        assert!(expected.is_some());
        for text in [
            "Sat, 21 Nov 2026 09:30:00 GMT",
            "Sat, 21 Nov 2026 09:30:00 +0000",
            "21 Nov 2026 09:30 UT",
            "21 nov 2026 01:30:00 PST",
            "Sat, 21 Nov 2026 11:00:00 +0130",
        ] {
            assert_eq!(rfc2822(text), expected, "{text}");
        }
        for wrong in [
            "",
            "Sat, 21 Nov",
            "21 Nov 26 09:30 GMT",
            "32 Nov 2026 09:30:00 GMT",
            "21 Nov 2026 09:30:00 XYZ",
            "21 Nov 2026 9é:30",
        ] {
            assert_eq!(rfc2822(wrong), None, "{wrong}");
        }
    }
}
