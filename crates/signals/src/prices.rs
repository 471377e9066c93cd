//! A price feed: what some targets cost at the moment, told from outside.
//!
//! A price that is told counts from then on as a price that is written, so it is held to more: only targets that are
//! there, no half of a list, and no step larger than is allowed from the price in force. What is refused is said, and
//! the price in force stays. Nothing is guessed: a price that nobody tells any more stays as it was last told.

use catalog::{Moment, Prices, Rate, Ratio, Usd};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most prices of a feed that are read.
const MOST: usize = 4096;

/// Prices by target: `provider/model`, with its label where it has one.
pub type PriceSheet = BTreeMap<String, Arc<Prices>>;

/// What a feed says.
#[derive(Debug, Default)]
pub struct Told {
    /// By target.
    pub prices: Vec<(String, Prices)>,
    /// Entries that are none.
    pub malformed: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Wrapped { prices: Vec<Value> },
    Bare(Vec<Value>),
}

/// Reads a price feed: `[{ "target", "input", "output", "cached_input", "cache_write" }]`, in US dollars per million
/// tokens.
///
/// # Errors
/// When it is no list of prices at all; an entry that is none is counted.
pub fn read_prices(body: &[u8]) -> Result<Told, String> {
    let document: Document = serde_json::from_slice(body)
        .map_err(|_| "expected a JSON list of { \"target\", \"input\", \"output\" }, per million tokens".to_owned())?;
    let (Document::Wrapped { prices: entries } | Document::Bare(entries)) = document;
    let mut told = Told { malformed: entries.len().saturating_sub(MOST), ..Told::default() };
    for entry in entries.into_iter().take(MOST) {
        match read_entry(entry) {
            Some(entry) => told.prices.push(entry),
            None => told.malformed += 1,
        }
    }
    Ok(told)
}

fn read_entry(entry: Value) -> Option<(String, Prices)> {
    let Value::Object(mut fields) = entry else { return None };
    let Some(Value::String(target)) = fields.remove("target") else { return None };
    let mut prices = Prices::deserialize(Value::Object(fields)).ok()?;
    prices.source.get_or_insert_with(|| "price feed".to_owned());
    // What is told is the price of the moment: at which hours it is another is told then.
    (prices.when.is_empty() && prices.flaw().is_none()).then_some((target, prices))
}

/// A step that is larger than is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooFar {
    /// Of what.
    pub of: &'static str,
    /// The price in force.
    pub from: Rate,
    /// The price that was told.
    pub to: Rate,
}

impl fmt::Display for TooFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.of, self.from, self.to)
    }
}

/// Whether prices may follow on those in force at this moment: each within `most` of what it was. Where none is in
/// force, any may.
///
/// # Errors
/// The first step that is too large.
pub fn may_follow(old: Option<&Prices>, new: &Prices, most: Ratio, moment: Option<Moment>) -> Result<(), TooFar> {
    let Some(old) = old.map(|old| old.at(moment, 0)) else { return Ok(()) };
    let new = new.at(moment, 0);
    let steps = [
        ("input", Some(old.input), Some(new.input)),
        ("output", Some(old.output), Some(new.output)),
        ("cached_input", old.cached_input, new.cached_input),
        ("cache_write", old.cache_write, new.cache_write),
    ];
    let too_far = steps.into_iter().find_map(|(of, from, to)| {
        let (from, to) = (from?, to?);
        let (before, after): (Usd, Usd) = (from.of(1), to.of(1));
        let step = after.minus(before).plus(before.minus(after));
        (!most.allows(step, before)).then_some(TooFar { of, from, to })
    });
    too_far.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(body: &str) -> Told {
        read_prices(body.as_bytes()).unwrap()
    }

    fn prices(input: &str, output: &str) -> Prices {
        told(&format!(r#"[{{"target":"t","input":{input},"output":{output}}}]"#)).prices.remove(0).1
    }

    fn half() -> Ratio {
        Ratio::parse("50%").unwrap()
    }

    #[test]
    fn prices_are_exact_and_an_entry_that_is_none_is_counted() {
        let feed = told(
            r#"{"prices":[
                {"target":"openai/gpt-5.1","input":1.25,"output":"10","cached_input":0.125,"source":"https://x.test","read":"2026-11-21"},
                {"target":"a/half","input":1},
                {"target":"a/negative","input":-1,"output":1},
                {"input":1,"output":1},
                {"target":"a/hours","input":1,"output":1,"when":[{"from":"16:30","to":"00:30","input":0.1}]},
                {"target":"a/more","input":1,"output":1,"per_image":1},
                7
            ]}"#,
        );
        assert_eq!((feed.prices.len(), feed.malformed), (1, 6));
        let (target, list) = &feed.prices[0];
        assert_eq!(
            (target.as_str(), list.input.to_string(), list.output.to_string()),
            ("openai/gpt-5.1", "$1.25".into(), "$10.00".into())
        );
        for wrong in ["", "{}", "7", r#"{"prices":1}"#] {
            assert!(read_prices(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_step_is_bounded_up_and_down_and_its_edge_is_within() {
        let old = prices("2", "10");
        for (input, output, is_allowed) in [
            ("3", "15", true),
            ("1", "5", true),
            ("3.000001", "10", false),
            ("0.999999", "10", false),
            ("2", "15.000001", false),
            ("0", "10", false),
        ] {
            let step = may_follow(Some(&old), &prices(input, output), half(), None);
            assert_eq!(step.is_ok(), is_allowed, "{input} {output}: {step:?}");
        }
        let step = may_follow(Some(&old), &prices("20", "10"), half(), None).unwrap_err();
        assert_eq!(step.to_string(), "input from $2.00 to $20.00");
        assert!(
            may_follow(None, &prices("20", "10"), half(), None).is_ok(),
            "no price is known that it could follow on"
        );
    }

    #[test]
    fn the_step_is_measured_from_what_holds_at_that_hour() {
        let old: Prices = serde_json::from_str(
            r#"{"input":2,"output":4,"when":[{"from":"16:30","to":"00:30","input":0.5,"output":1}]}"#,
        )
        .unwrap();
        let night = Moment::parse("2026-11-21T17:00");
        assert!(may_follow(Some(&old), &prices("2", "4"), half(), Moment::parse("2026-11-21T12:00")).is_ok());
        assert!(may_follow(Some(&old), &prices("2", "4"), half(), night).is_err());
        assert!(may_follow(Some(&old), &prices("0.6", "1"), half(), night).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_told_never_moves_a_price_by_more_than_is_allowed(
            steps in proptest::collection::vec((1_u32..1_000_000, 1_u32..1_000_000), 1..20),
        ) {
            let rate = |micro: u32| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
            let mut held = prices("0.5", "0.5");
            for (input, output) in steps {
                let next = prices(&rate(input), &rate(output));
                let before = held.input.of(1).pico();
                if may_follow(Some(&held), &next, half(), None).is_ok() {
                    let after = next.input.of(1).pico();
                    prop_assert!(after * 2 <= before * 3 && after * 2 >= before);
                    held = next;
                }
            }
        }
    }
}
