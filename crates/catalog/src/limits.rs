//! A provider's own word on its limits, from the headers of its answers: names from the catalogue, forms of the hint
//! grammar.

use crate::provider::Provider;
use crate::raw::LimitHeaders;
use canon::LimitReading;
use dialect::hint::{self, Headers};
use std::time::SystemTime;

/// What the answer's headers tell of the provider's limits. `wall_now` is used where the response carries no `Date`.
pub fn read<'a>(
    provider: &'a Provider,
    headers: Headers<'a>,
    wall_now: SystemTime,
) -> impl Iterator<Item = LimitReading> {
    provider.limits.iter().filter_map(move |names| reading(names, headers, wall_now))
}

fn reading(names: &LimitHeaders, headers: Headers<'_>, wall_now: SystemTime) -> Option<LimitReading> {
    let count = |name: &str| headers(name)?.trim().parse::<u64>().ok();
    let limit = count(&names.limit).filter(|limit| *limit > 0)?;
    let remaining = count(&names.remaining)?.min(limit);
    let reset = names.reset.as_deref().and_then(headers);
    let reset = reset.and_then(|text| hint::reset(text, hint::response_time(headers, wall_now)));
    Some(LimitReading { kind: names.counts, limit, remaining, reset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use canon::LimitKind;
    use std::time::Duration;

    fn told(provider: &str, headers: &[(&str, &str)]) -> Vec<LimitReading> {
        let catalog = Catalog::builtin().unwrap();
        let lookup = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        // 2026-11-21T13:00:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000);
        read(&catalog.providers[provider], &lookup, now).collect()
    }

    #[test]
    fn openais_anthropics_and_mistrals_words_are_read() {
        let openai = told(
            "openai",
            &[
                ("x-ratelimit-limit-requests", "500"),
                ("x-ratelimit-remaining-requests", "499"),
                ("x-ratelimit-reset-requests", "120ms"),
                ("x-ratelimit-limit-tokens", "30000"),
                ("x-ratelimit-remaining-tokens", "29000"),
                ("x-ratelimit-reset-tokens", "2s"),
            ],
        );
        let reading = |kind, limit, remaining, ms: Option<u64>| LimitReading {
            kind,
            limit,
            remaining,
            reset: ms.map(Duration::from_millis),
        };
        assert_eq!(
            openai,
            [
                reading(LimitKind::Requests, 500, 499, Some(120)),
                reading(LimitKind::Tokens, 30_000, 29_000, Some(2_000))
            ]
        );
        let anthropic = told(
            "anthropic",
            &[
                ("anthropic-ratelimit-input-tokens-limit", "50000"),
                ("anthropic-ratelimit-input-tokens-remaining", "10000"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T13:00:48Z"),
            ],
        );
        assert_eq!(anthropic, [reading(LimitKind::InputTokens, 50_000, 10_000, Some(48_000))]);
        let mistral = told(
            "mistral",
            &[("x-ratelimit-limit-tokens-minute", "100"), ("x-ratelimit-remaining-tokens-minute", "0")],
        );
        assert_eq!(mistral, [reading(LimitKind::Tokens, 100, 0, None)]);
    }

    #[test]
    fn what_cannot_be_read_or_means_nothing_says_nothing() {
        for (limit, remaining) in [("0", "0"), ("many", "1"), ("10", "-1"), ("10", ""), ("", "1"), ("1e3", "1")] {
            let headers = [("x-ratelimit-limit-requests", limit), ("x-ratelimit-remaining-requests", remaining)];
            assert_eq!(told("openai", &headers), [], "{limit} {remaining}");
        }
        let more = [("x-ratelimit-limit-requests", "10"), ("x-ratelimit-remaining-requests", "99")];
        assert_eq!(told("openai", &more)[0].remaining, 10, "never more than is allowed");
    }
}
