//! The hint grammar as a table, and its laws.

use dialect::hint::{HintSource, exhausted, retry_after};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

/// 2026-11-21T13:00:00Z, the clock of the gateway in these tests.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000)
}

fn hint(headers: &[(&str, &str)], retry_delay: Option<&str>, text: &str) -> Option<Duration> {
    let lookup = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    retry_after(&HintSource { headers: &lookup, retry_delay, text, resets: true, longest: HOUR, wall_now: wall() })
}

#[expect(clippy::unnecessary_wraps, reason = "what a table compares with")]
fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

#[test]
fn every_form_of_a_header_is_read() {
    for (name, value, expected) in [
        ("retry-after-ms", "1500", ms(1500)),
        ("retry-after-ms", "12.5", Some(Duration::from_micros(12_500))),
        ("retry-after", "7", ms(7000)),
        ("retry-after", "0", ms(0)),
        ("retry-after", " 1.5 ", ms(1500)),
        ("retry-after", "Sat, 21 Nov 2026 13:00:30 GMT", ms(30_000)),
        ("retry-after", "Sat, 21 Nov 2026 12:59:30 GMT", None),
        ("retry-after", "-3", None),
        ("retry-after", "soon", None),
        ("retry-after", "1e3", None),
        ("retry-after", "NaN", None),
        ("retry-after", "inf", None),
        ("retry-after", "", None),
        ("retry-after", "1.2.3", None),
        ("retry-after", "999999", Some(HOUR)),
        ("retry-after", "99999999999999999999999999999999999999999999", Some(HOUR)),
        ("x-ratelimit-reset-tokens", "6m0s", ms(360_000)),
        ("x-ratelimit-reset-tokens", "1s", ms(1000)),
        ("x-ratelimit-reset-requests", "120ms", ms(120)),
        ("x-ratelimit-reset-requests", "2m59.56s", ms(179_560)),
        ("x-ratelimit-reset-requests", "0h2m3.5s", ms(123_500)),
        ("x-ratelimit-reset-requests", "1h2m3.5s", Some(HOUR)),
        ("x-ratelimit-reset-requests", "-5s", None),
        ("x-ratelimit-reset-requests", "5s later", None),
        ("x-ratelimit-reset-tokens", "33", ms(33_000)),
        ("x-ratelimit-reset-tokens-minute", "11.382", ms(11_382)),
        ("anthropic-ratelimit-tokens-reset", "2026-11-21T13:00:05Z", ms(5000)),
        ("anthropic-ratelimit-tokens-reset", "2026-11-21T12:00:05Z", None),
        ("x-ratelimit-reset", "1795266010000", ms(10_000)),
        ("x-ratelimit-reset", "1795266010", ms(10_000)),
        ("x-ratelimit-reset", "10", ms(10_000)),
        ("ratelimitbysize-reset", "42", ms(42_000)),
    ] {
        assert_eq!(hint(&[(name, value)], None, ""), expected, "{name}: {value}");
    }
}

#[test]
fn the_body_speaks_where_the_headers_do_not() {
    for (delay, text, expected) in [
        (Some("3.957525076s"), "", Some(Duration::from_nanos(3_957_525_076))),
        (Some("33s"), "Please retry in 33.5s", ms(33_000)),
        (Some("-1s"), "Please retry in 33.5s.", ms(33_500)),
        (None, "Please retry in 48.9s.", ms(48_900)),
        (None, "Rate limit reached ... Please try again in 6ms. Visit https://x", ms(6)),
        (None, "Please TRY AGAIN in 7m12s. Visit", ms(432_000)),
        (None, "try again in 20 seconds", ms(20_000)),
        (None, "try again in 2 minutes.", ms(120_000)),
        (None, "try again in a moment, or retry in 2s", ms(2000)),
        (None, "try again in -2s", None),
        (None, "try again in 5 apples", None),
        (None, "try again later", None),
        (None, "try again in ", None),
    ] {
        assert_eq!(hint(&[], delay, text), expected, "{delay:?} {text}");
    }
}

#[test]
fn the_more_explicit_hint_wins() {
    let all = [
        ("retry-after-ms", "100"),
        ("retry-after", "2"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "3s"),
    ];
    let from = |first: usize| hint(&all[first..], Some("4s"), "try again in 5s");
    assert_eq!(from(0), ms(100));
    assert_eq!(from(1), ms(2000));
    assert_eq!(from(2), ms(3000));
    assert_eq!(hint(&[], Some("4s"), "try again in 5s"), ms(4000));
}

#[test]
fn a_zero_in_milliseconds_yields_to_a_longer_wait_beside_it() {
    assert_eq!(hint(&[("retry-after-ms", "0"), ("retry-after", "1")], None, ""), ms(1000));
    assert_eq!(hint(&[("retry-after-ms", "0")], None, ""), ms(0));
}

#[test]
fn the_reset_of_the_limit_with_nothing_left_counts() {
    let headers = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-reset-requests", "2h"),
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "4s"),
    ];
    assert_eq!(hint(&headers, None, "try again in 9s"), ms(4000));
}

#[test]
fn of_two_used_up_limits_the_one_that_frees_last_counts() {
    let headers = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "40s"),
    ];
    assert_eq!(hint(&headers, None, ""), ms(40_000));
}

#[test]
fn with_something_left_of_each_limit_the_text_knows_better_and_the_tightest_reset_is_last() {
    let headers = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "300"),
        ("x-ratelimit-reset-tokens", "59s"),
    ];
    assert_eq!(hint(&headers, None, "Please try again in 6.5s"), ms(6500));
    assert_eq!(hint(&headers, None, ""), ms(59_000));
}

#[test]
fn a_date_is_read_against_the_response_s_own_clock() {
    let headers = [("date", "Sat, 21 Nov 2026 15:00:00 GMT"), ("retry-after", "Sat, 21 Nov 2026 15:00:09 GMT")];
    assert_eq!(hint(&headers, None, ""), ms(9000));
    let headers =
        [("date", "Sat, 21 Nov 2026 15:00:00 GMT"), ("anthropic-ratelimit-requests-reset", "2026-11-21T15:00:02Z")];
    assert_eq!(hint(&headers, None, ""), ms(2000));
}

#[test]
fn resets_count_only_where_a_limit_was_hit() {
    let lookup = |name: &str| (name == "x-ratelimit-reset-tokens").then_some("9s");
    let source =
        HintSource { headers: &lookup, retry_delay: None, text: "", resets: false, longest: HOUR, wall_now: wall() };
    assert_eq!(retry_after(&source), None);
}

#[test]
fn a_quota_may_last_longer_than_an_hour() {
    let lookup = |name: &str| (name == "retry-after").then_some("86400");
    let day = Duration::from_secs(86_400);
    let source =
        HintSource { headers: &lookup, retry_delay: None, text: "", resets: true, longest: day, wall_now: wall() };
    assert_eq!(retry_after(&source), Some(day));
}

#[test]
fn a_limit_is_exhausted_when_a_header_says_nothing_is_left() {
    let with = |headers: &[(&str, &str)]| {
        let lookup = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        exhausted(&lookup)
    };
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[("x-ratelimit-remaining-requests", "3")]), Some(false));
    assert_eq!(
        with(&[("x-ratelimit-remaining-requests", "3"), ("anthropic-ratelimit-tokens-remaining", "0")]),
        Some(true)
    );
}

proptest! {
    #[test]
    fn any_text_anywhere_gives_a_hint_within_bounds_or_none(
        values in prop::collection::vec("\\PC{0,24}", 4),
        delay in prop::option::of("\\PC{0,24}"),
        text in "(try again in |retry in )?\\PC{0,40}",
    ) {
        let names = ["retry-after-ms", "retry-after", "x-ratelimit-reset-tokens", "date"];
        let headers: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
        if let Some(wait) = hint(&headers, delay.as_deref(), &text) {
            prop_assert!(wait <= HOUR);
        }
    }

    #[test]
    fn forms_made_of_the_grammar_s_own_letters_never_panic(text in "[-+0-9.hmsnuµdTZ: ]{0,40}") {
        for name in ["retry-after-ms", "retry-after", "x-ratelimit-reset", "anthropic-ratelimit-tokens-reset"] {
            if let Some(wait) = hint(&[(name, &text)], Some(&text), &format!("retry in {text}")) {
                prop_assert!(wait <= HOUR);
            }
        }
    }

    #[test]
    fn a_go_duration_means_the_sum_of_its_parts(minutes in 0_u64..59, seconds in 0_u64..60, millis in 0_u64..1000) {
        let text = format!("{minutes}m{seconds}.{millis:03}s");
        prop_assert_eq!(
            hint(&[("x-ratelimit-reset-tokens", &text)], None, ""),
            ms(minutes * 60_000 + seconds * 1000 + millis)
        );
    }

    #[test]
    fn seconds_milliseconds_and_dates_agree(wait in 0_u64..3600) {
        let date = httpdate::fmt_http_date(wall() + Duration::from_secs(wait));
        let expected = Some(Duration::from_secs(wait));
        prop_assert_eq!(hint(&[("retry-after", &wait.to_string())], None, ""), expected);
        prop_assert_eq!(hint(&[("retry-after-ms", &(wait * 1000).to_string())], None, ""), expected);
        prop_assert_eq!(hint(&[("retry-after", &date)], None, ""), expected);
        prop_assert_eq!(hint(&[("x-ratelimit-reset", &(1_795_266_000 + wait).to_string())], None, ""), expected);
        prop_assert_eq!(hint(&[], None, &format!("Please retry in {wait}s.")), expected);
    }
}
