//! Durations as people write them: `250ms`, `2s`, `1.5s`, `2m`; a bare number is seconds.

use std::time::Duration;

/// Reads a duration; the error says what was expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let (number, scale) = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
        .into_iter()
        .find_map(|(unit, scale)| trimmed.strip_suffix(unit).map(|number| (number, scale)))
        .unwrap_or((trimmed, 1.0));
    number
        .trim()
        .parse::<f64>()
        .ok()
        .and_then(|value| Duration::try_from_secs_f64(value * scale).ok())
        .ok_or_else(|| format!("`{text}` is not a duration: expected a form like 250ms, 2s or 1.5m"))
}

/// Writes a duration so that [`parse`] reads the same one back, to the microsecond.
pub(crate) fn write(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else if duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}ms", duration.as_secs_f64() * 1000.0)
    }
}

/// `#[serde(with = …)]` for a `Duration`.
pub(crate) mod plain {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::write(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = super::Text::deserialize(deserializer)?;
        super::parse(&text.into_string()).map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with = …)]` for an `Option<Duration>`.
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "the signature serde calls")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&super::write(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<super::Text>::deserialize(deserializer)?
            .map(|text| super::parse(&text.into_string()).map_err(serde::de::Error::custom))
            .transpose()
    }
}

/// A duration in a file: text with a unit, or a number of seconds.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Text {
    Written(String),
    Seconds(f64),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Written(text) => text,
            Self::Seconds(seconds) => seconds.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for text in ["250ms", "2s", "90s", "1.5ms"] {
            assert_eq!(write(parse(text).unwrap()), text);
        }
        assert_eq!(parse("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(parse("3").unwrap(), Duration::from_secs(3));
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for text in ["", "fast", "-1s", "1e400s"] {
            assert!(parse(text).unwrap_err().contains("expected"), "{text}");
        }
    }
}
