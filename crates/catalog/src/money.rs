//! Money, exact: integers of a millionth of a millionth of a dollar, never floats.
//!
//! Providers state prices in dollars per million tokens with up to six decimals, and a dollar per million tokens is a
//! millionth of a dollar per token: counted in picodollars every such price is a whole number, and so is every sum.

use crate::written::Written;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// Picodollars of a dollar.
const DOLLAR: u64 = 1_000_000_000_000;
/// Digits after the point of a dollar.
const DIGITS: usize = 12;
/// Digits after the point of a price per million tokens.
const RATE_DIGITS: usize = 6;
/// Digits after the point of a ratio.
const RATIO_DIGITS: usize = 6;
/// A ratio of one.
const RATIO_ONE: u64 = 1_000_000;

/// An amount of US dollars. Sums stop at eighteen million dollars rather than wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u64);

/// A price of a token, stated in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(u64);

/// How much dearer one price may be than another, in millionths: `1.5`, `150%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than anything costs.
    pub const MAX: Self = Self(u64::MAX);

    /// An amount in picodollars.
    pub fn from_pico(pico: u64) -> Self {
        Self(pico)
    }

    /// The amount in picodollars.
    #[inline]
    pub fn pico(self) -> u64 {
        self.0
    }

    /// An amount as people write it: `5`, `$0.05`, with up to twelve decimals.
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, DIGITS).map(Self)
    }

    /// The sum.
    #[must_use]
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it; nothing when `other` is more.
    #[must_use]
    #[inline]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// For logs and JSON, whose numbers are floats; nothing is computed with it.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / DOLLAR as f64
    }

    /// With nine decimals and no sign, for a header: rounded to the nearest.
    pub fn to_nine_decimals(self) -> String {
        let nano = self.0 / 1_000 + u64::from(self.0 % 1_000 >= 500);
        format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
    }
}

impl Rate {
    /// A price as providers state it, in dollars per million tokens: `0.15`, `$3`, with up to six decimals.
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, RATE_DIGITS).map(Self)
    }

    /// What that many tokens cost.
    #[inline]
    pub fn of(self, tokens: u64) -> Usd {
        Usd(self.0.saturating_mul(tokens))
    }
}

impl Ratio {
    /// A ratio as people write it, with up to six decimals, or per cent with up to four.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => decimal(percent, RATIO_DIGITS - 2),
            None => decimal(text, RATIO_DIGITS),
        }
        .filter(|_| !text.contains('$'))
        .map(Self)
    }

    /// A ratio in millionths.
    pub const fn of_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// Whether `price` is at most this much of `base`.
    #[inline]
    pub fn allows(self, price: Usd, base: Usd) -> bool {
        u128::from(price.0) * u128::from(RATIO_ONE) <= u128::from(base.0) * u128::from(self.0)
    }

    /// As a number: 1.5 for 150 %.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / RATIO_ONE as f64
    }

    /// The ratio in millionths.
    pub fn millionths(self) -> u64 {
        self.0
    }

    /// Nothing is allowed but what is free.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// `$12.5`, exact to this many decimals, as a whole number of the last of them.
fn decimal(text: &str, digits: usize) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text).trim_start();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !only_digits(whole) || !only_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = u32::try_from(digits.checked_sub(fraction.len())?).ok()?;
    let units = 10_u64.checked_pow(u32::try_from(digits).ok()?)?;
    let parts = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    whole.parse::<u64>().ok()?.checked_mul(units)?.checked_add(parts.checked_mul(10_u64.checked_pow(missing)?)?)
}

/// A number with up to `digits` decimals, without zeros nobody needs: at least two decimals are shown.
fn shown(f: &mut fmt::Formatter<'_>, value: u64, digits: usize) -> fmt::Result {
    let units = 10_u64.pow(u32::try_from(digits).unwrap_or(0));
    let fraction = format!("{:0digits$}", value % units);
    let shortest = fraction.trim_end_matches('0');
    write!(f, "${}.{:0<2}", value / units, shortest)
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, self.0, DIGITS)
    }
}

/// Per million tokens.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, self.0, RATE_DIGITS)
    }
}

/// In per cent.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = RATIO_DIGITS - 2;
        let fraction = format!("{:0digits$}", self.0 % (RATIO_ONE / 100));
        let (whole, shortest) = (self.0 / (RATIO_ONE / 100), fraction.trim_end_matches('0'));
        if shortest.is_empty() { write!(f, "{whole} %") } else { write!(f, "{whole}.{shortest} %") }
    }
}

impl serde::Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_dollars())
    }
}

const AMOUNT: &str = "an amount of US dollars such as 5 or $0.05";
const RATIO: &str = "a ratio such as 1.5, or per cent such as 150%";
const RATE: &str = "US dollars per million tokens, 0 or more, with up to six decimals, such as 0.15 or $3";

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { parse: Self::parse, expected: AMOUNT })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { parse: Self::parse, expected: RATE })
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { parse: Self::parse, expected: RATIO })
    }
}

fn schema(description: &str) -> Schema {
    json_schema!({
        "oneOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^\\$? *[0-9]+(\\.[0-9]+)?$" }],
        "description": description
    })
}

impl JsonSchema for Usd {
    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(AMOUNT)
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? *%?$" }],
            "description": RATIO
        })
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_price_is_read_to_its_last_decimal() {
        assert_eq!(Rate::parse("0.003625").unwrap().of(1_000_000), Usd::parse("0.003625").unwrap());
        assert_eq!(Rate::parse("$3").unwrap().of(1), Usd::from_pico(3_000_000));
        assert_eq!(Usd::parse("0.000000000001"), Some(Usd::from_pico(1)));
        for wrong in ["", "-1", "1e3", ".5", "1,5", "0.0000001", "NaN", "inf", "99999999999999999999"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_amount_is_shown_without_needless_zeros() {
        let shown = |text: &str| Usd::parse(text).unwrap().to_string();
        assert_eq!(shown("5"), "$5.00");
        assert_eq!(shown("0.5"), "$0.50");
        assert_eq!(shown("0.00042"), "$0.00042");
        assert_eq!(Usd::parse("1.2345678915").unwrap().to_nine_decimals(), "1.234567892");
        assert_eq!(Usd::MAX.plus(Usd::from_pico(1)), Usd::MAX);
    }

    #[test]
    fn a_ratio_is_a_number_or_per_cent_and_is_exact_at_its_edge() {
        let half_more = Ratio::parse("1.5").unwrap();
        assert_eq!(Ratio::parse("150%"), Some(half_more));
        assert_eq!(Ratio::parse("150 %"), Some(half_more));
        assert_eq!(
            (half_more.to_string(), Ratio::parse("112.5%").unwrap().to_string()),
            ("150 %".into(), "112.5 %".into())
        );
        assert!(half_more.allows(Usd::from_pico(3), Usd::from_pico(2)));
        assert!(!half_more.allows(Usd::from_pico(4), Usd::from_pico(2)));
        assert!(!half_more.allows(Usd::MAX, Usd::from_pico(u64::MAX / 2)));
        for wrong in ["", "$1", "%", "-1", "1,5", "a%"] {
            assert_eq!(Ratio::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_float_is_read_as_it_was_written() {
        let read = |yaml: &str| serde_saphyr::from_str::<Rate>(yaml).unwrap();
        for written in ["0.1", "0.075", "2.5", "0.0028", "15", "'$0.25'", "1.1", "0.000001"] {
            assert_eq!(read(written), Rate::parse(written.trim_matches('\'')).unwrap(), "{written}");
        }
        assert!(serde_saphyr::from_str::<Rate>("-1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_was_meant(pico in any::<u64>()) {
            let amount = Usd::from_pico(pico);
            prop_assert_eq!(Usd::parse(&amount.to_string()), Some(amount));
        }
    }
}
